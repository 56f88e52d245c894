//! The claims of many channels, in as few transactions as hold them.
//!
//! A transaction has one sender and one fee token, so claims are grouped by both; and by lane, because one call that
//! the payment lane does not take keeps all calls of its transaction out of it. Within a group the most pressing go
//! first, so that nothing with a deadline waits for something without.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use farebox_core::units::{Address, Amount, ChannelId, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;

use super::account::Account;
use super::decision::{Action, Decision, Left, Why, decide, pays};
use super::policy::{Limits, Market, Policy};
use crate::gas::Gas;

/// Which part of a block a transaction competes for (TIP-1045).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Calls of the channel reserve, short enough.
    Payment,
    /// Everything else.
    General,
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Who sends it.
    pub sender: Address,
    /// In which token its fee is paid.
    pub fee_token: Address,
    /// Its lane.
    pub lane: Lane,
    /// Its calls, in order.
    pub calls: Vec<Planned>,
    /// What it will use, about.
    pub gas: Gas,
    /// In which block from now on there is room for it: 0 is the next.
    pub round: usize,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The channel.
    pub channel: ChannelId,
    /// What is claimed.
    pub action: Action,
    /// Why.
    pub why: Why,
    /// What it pays the payee.
    pub gain: Amount,
}

/// What is to be done, and a reason for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The transactions, the most pressing first.
    pub batches: Vec<Batch>,
    /// What was decided about every channel that was asked about, in the order of the question.
    pub decisions: Vec<(ChannelId, Decision)>,
}

/// What the calls of one transaction have in common.
type Group = (Address, Address, Lane);

/// How pressing a claim is; the least goes first. The channel makes the order total, and so the plan deterministic.
type Rank = (bool, UnixSeconds, Reverse<Amount>, ChannelId);

/// Plans the claims of these channels. Each may be named once. `exposed` are those that have to go because too much
/// waits in all channels together ([`super::DueIndex::exposed`]).
pub fn plan(
    accounts: &[Account],
    policy: &Policy,
    limits: &Limits,
    market: &Market,
    exposed: &[ChannelId],
) -> Plan {
    let mut exposed: Vec<_> = exposed.to_vec();
    exposed.sort_unstable();
    let mut decisions = Vec::with_capacity(accounts.len());
    // The claims of each group, by their places among the decisions.
    let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
    for account in accounts {
        let too_exposed = exposed.binary_search(&account.channel).is_ok();
        let mut decision = decide(account, policy, market, too_exposed);
        if let (Decision::Claim { action, .. }, Some(sender)) = (decision, account.sender) {
            if fits_alone(call_gas(action, market), limits, market) {
                let group = (sender, account.fee_token, lane(account, limits));
                groups.entry(group).or_default().push(decisions.len());
            } else {
                decision = Decision::Leave { why: Left::TooMuchGas, look_at: None };
            }
        }
        decisions.push((account.channel, decision));
    }
    let mut batches = Vec::new();
    for (group, places) in groups {
        let mut filler = Filler { accounts, policy, limits, market, decisions: &mut decisions };
        filler.fill(group, places, &mut batches);
    }
    batches.sort_by_key(|batch| batch.calls.iter().map(rank).min());
    assign_rounds(&mut batches, limits);
    Plan { batches, decisions }
}

fn lane(account: &Account, limits: &Limits) -> Lane {
    let is_short = account.calldata_bytes <= limits.payment_calldata_bytes_max;
    match account.protocol {
        ProtocolVersion::V2 if is_short => Lane::Payment,
        ProtocolVersion::V1 | ProtocolVersion::V2 => Lane::General,
    }
}

const fn call_gas(action: Action, market: &Market) -> Gas {
    match action {
        Action::Settle { .. } => market.call_gas.settle,
        Action::Close { .. } => market.call_gas.close,
    }
}

fn gas_max(limits: &Limits) -> Gas {
    limits.gas_per_transaction_max.min(limits.gas_per_block_max)
}

fn fits_alone(gas: Gas, limits: &Limits, market: &Market) -> bool {
    limits.calls_max > 0 && market.call_gas.transaction.saturating_add(gas) <= gas_max(limits)
}

fn rank(planned: &Planned) -> Rank {
    let pressing = match planned.why {
        Why::CloseAsked { claim_by, .. } => Some(claim_by),
        Why::CloseBegan => Some(UnixSeconds(0)),
        _ => None,
    };
    let at = pressing.unwrap_or(UnixSeconds(u64::MAX));
    (pressing.is_none(), at, Reverse(planned.gain), planned.channel)
}

/// Fills claims into transactions.
struct Filler<'a> {
    accounts: &'a [Account],
    policy: &'a Policy,
    limits: &'a Limits,
    market: &'a Market,
    decisions: &'a mut [(ChannelId, Decision)],
}

impl Filler<'_> {
    /// The claim at a place.
    fn planned(&self, place: usize) -> Planned {
        let (channel, Decision::Claim { action, why }) = self.decisions[place] else {
            unreachable!("only claims are grouped")
        };
        Planned { channel, action, why, gain: action.gain(self.accounts[place].settled) }
    }

    /// Fills a group's claims.
    fn fill(&mut self, (sender, fee_token, lane): Group, mut places: Vec<usize>, batches: &mut Vec<Batch>) {
        places.sort_unstable_by_key(|place| rank(&self.planned(*place)));
        let mut rest = places.as_slice();
        while !rest.is_empty() {
            let (mut gas, mut calls) = (self.market.call_gas.transaction, Vec::new());
            for place in rest.iter().take(self.limits.calls_max) {
                let planned = self.planned(*place);
                let with_it = gas.saturating_add(call_gas(planned.action, self.market));
                if with_it > gas_max(self.limits) {
                    break;
                }
                gas = with_it;
                calls.push(planned);
            }
            let (taken, later) = rest.split_at(calls.len());
            rest = later;
            match self.check_pays(&calls, gas) {
                Ok(()) => batches.push(Batch { sender, fee_token, lane, calls, gas, round: 0 }),
                Err(why) => {
                    let look_at = Some(self.market.now.saturating_add(self.policy.dust_look_s));
                    taken
                        .iter()
                        .for_each(|place| self.decisions[*place].1 = Decision::Leave { why, look_at });
                }
            }
        }
    }

    /// A transaction that nobody demands has to pay for itself as a whole. Otherwise what is demanded carries its
    /// own share, and the calls beside it were asked about theirs.
    fn check_pays(&self, calls: &[Planned], gas: Gas) -> Result<(), Left> {
        if calls.iter().any(|call| call.why.is_demanded()) {
            return Ok(());
        }
        let gain = Amount::new(calls.iter().map(|call| call.gain.get()).fold(0, u128::saturating_add));
        let fee = gas.fee(self.market.gas_price);
        if pays(gain, fee, self.policy) { Ok(()) } else { Err(Left::Dust { gain, fee }) }
    }
}

/// Says which block has room for which transaction.
fn assign_rounds(batches: &mut [Batch], limits: &Limits) {
    let (mut round, mut used) = (0, Gas(0));
    for batch in batches {
        let with_it = used.saturating_add(batch.gas);
        if with_it > limits.gas_per_block_max && used > Gas(0) {
            round += 1;
            used = batch.gas;
        } else {
            used = with_it;
        }
        batch.round = round;
    }
}
