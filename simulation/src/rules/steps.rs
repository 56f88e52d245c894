//! What one step may do to one channel: looked at as soon as it was decided, before anybody hears of it.

use super::*;

impl Witness {
    /// Checks one step.
    pub fn processed(&self, processed: &Processed) -> Check {
        let Processed { at, request, verdict, alarm, before, after } = processed;
        let Some(after) = after else {
            return must(6, before.is_none(), || format!("{request:?} made {before:?} go away"));
        };
        if let Err(violation) = after.check() {
            return broken(Rule::Promise, format!("{violation} after {request:?}: {after:?}"));
        }
        let what = || format!("{request:?} made {after:?} of {before:?}, and was answered {verdict:?}");
        let amounts = [after.spent, after.reserved()].map(|amount| amount.get());
        let fits = amounts.iter().sum::<u128>() <= after.accepted.get() && after.accepted <= after.deposit;
        must(2, fits, what)?;
        self.vouchers_are_signed(request.member, before.as_ref(), after)?;
        let Some(before) = before else { return Ok(()) };
        let expects_alarm = after.settled > before.settled && after.settled > after.spent;
        must(2, *alarm == expects_alarm, what)?;
        let grows = after.accepted >= before.accepted
            && after.spent >= before.spent
            && after.deposit >= before.deposit
            && after.settled >= before.settled;
        must(3, grows, what)?;
        must(6, after.sequence >= before.sequence, what)?;
        if matches!(before.phase, Phase::Closed(_)) {
            must(6, after == before, what)?;
        }
        match verdict {
            Verdict::Rejected(refusal) => {
                must(5, after == before, what)?;
                must(3, request.hand == Hand::Signer || is_discreet(refusal), what)
            }
            Verdict::Accepted(reply) => {
                must(9, request.hand == Hand::Signer, what)?;
                granted(request, reply, (before, after), *at).map_err(|rule| Broken { rule, what: what() })
            }
        }
    }

    /// Rule 9: every voucher in the books was signed by the channel's signer, for somebody who asked.
    fn vouchers_are_signed(&self, index: MemberIndex, before: Option<&State>, after: &State) -> Check {
        if before.is_some_and(|before| before.kept == after.kept) {
            return Ok(());
        }
        for kept in after.kept.iter() {
            let bytes = kept.signature.as_bytes();
            let is_signed = with_notary(|notary| notary.is_signed(index, kept.amount, bytes));
            let is_asked = self.seen[index].signed.contains(&kept.amount.get());
            must(9, is_signed && is_asked, || format!("nobody signed {} on channel {index}", kept.amount))?;
        }
        Ok(())
    }
}

/// A refusal that a stranger may hear shows no accepted or spent amount (rule 3).
fn is_discreet(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Channel(rejection) => matches!(
            rejection,
            Rejection::ChannelNotFound
                | Rejection::WrongChannel { .. }
                | Rejection::WrongSigner { .. }
                | Rejection::ChannelFinalized
                | Rejection::ClosePending { .. }
                | Rejection::CloseInFlight
                | Rejection::AmountNotIncreasing
                | Rejection::AmountExceedsDeposit { .. }
        ),
        _ => true,
    }
}

/// A step that was granted: which rule forbade it?
fn granted(
    request: &Request,
    reply: &Reply,
    (before, after): (&State, &State),
    at: UnixSeconds,
) -> Result<(), Rule> {
    let broken = |number| Err(Rule::Money(number));
    let charged = after.spent.get() - before.spent.get();
    let (spend, voucher) = match &request.op {
        Op::Submit { amount, then, .. } => (Some(*then), Some(*amount)),
        Op::Step(Step::Spend(spend)) => (Some(*spend), None),
        Op::Step(Step::Capture { amount, .. }) => {
            return if charged == amount.get() { Ok(()) } else { broken(5) };
        }
        _ => return if charged == 0 { Ok(()) } else { broken(5) },
    };
    let spend = spend.unwrap_or(Spend::Nothing);
    if let Answer::Replayed(outcome) = &reply.answer {
        let is_remembered = remembered(before, &outcome.key, at) == Some(outcome);
        return if is_remembered && after == before { Ok(()) } else { broken(8) };
    }
    if voucher.is_some_and(|amount| amount < before.accepted.get()) {
        return broken(3);
    }
    if before.close_requested_at.is_some() || before.phase != Phase::Open {
        return broken(7);
    }
    if let Answer::AcceptedOnly(_) = reply.answer {
        let is_kept_only = charged == 0 && after.reserved() == before.reserved();
        return if is_kept_only { Ok(()) } else { broken(5) };
    }
    let (key, price, reserved) = match spend {
        Spend::Nothing => return if charged == 0 { Ok(()) } else { broken(5) },
        Spend::Charge { key, amount, .. } => (key, amount.get(), 0),
        Spend::Reserve { key, amount } => (Some(key), 0, amount.get()),
    };
    if key.is_some_and(|key| remembered(before, &key, at).is_some() || before.reservation(&key).is_some()) {
        return broken(8);
    }
    if !after.settled.is_zero() && after.accepted <= after.settled {
        return broken(4);
    }
    let is_one_step = charged == price && after.reserved().get() == before.reserved().get() + reserved;
    if is_one_step { Ok(()) } else { broken(5) }
}

/// The outcome of a paid request, as long as it is answered.
fn remembered<'a>(books: &'a State, key: &RequestKey, at: UnixSeconds) -> Option<&'a Outcome> {
    let outcome = books.outcomes.get(key)?;
    (at.0.saturating_sub(outcome.at.0) <= OUTCOME_AGE_S_MAX).then_some(outcome)
}
