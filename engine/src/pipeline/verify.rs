//! A batch's signatures, all at once.
//!
//! First the cheap refusals, which need no cryptography (see [`precheck`]), then one call of the verifier
//! for all vouchers that are left, each against the signer that the books know (rule 9).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use farebox_core::channel::{Identity, Rejection};
use farebox_core::units::{Address, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, Verified, Verifier, Voucher};

use super::message::{Change, Request};
use super::residents::{Place, Resident, Residents};
use super::risk::Guard;
use super::{EngineError, Refusal, precheck, report};
use crate::ledger::LedgerRead;

/// What is known of a request's voucher before the rules are asked.
#[derive(Debug)]
pub(super) enum Proof {
    /// The request has none.
    NotNeeded,
    /// Its signer signed it. The place is that of the channel, if it was there already.
    Verified(Verified<Voucher>, Option<Place>),
    /// It is refused.
    Refused(Refusal),
    /// The channel could not be looked up.
    Failed(EngineError),
}

/// A voucher whose signature is worth looking at.
struct Task<'a> {
    /// Its place among the proofs.
    index: usize,
    voucher: &'a AnySignedVoucher,
    whose: Whose,
}

/// Where domain and signer of a voucher are known from.
enum Whose {
    /// The books.
    Resident(Place),
    /// A request before it in the same batch may open the channel.
    Opened(Arc<AnyDomain>, Address),
}

impl Task<'_> {
    /// What the verifier is asked.
    fn job<'a>(&'a self, residents: &'a Residents) -> (&'a AnyDomain, &'a AnySignedVoucher, Address) {
        let (domain, signer) = match &self.whose {
            Whose::Resident(place) => residents.at(*place).signs(),
            Whose::Opened(domain, signer) => (&**domain, *signer),
        };
        (domain, self.voucher, signer)
    }
}

/// What earlier requests of the same batch may have done to a channel when its voucher's turn comes.
#[derive(Default)]
struct Earlier {
    /// Channels that may be open by then.
    opened: HashMap<ChannelId, Arc<Identity>>,
    /// Channels of which no refusal can be foretold: a deposit may have grown, a close may be called off.
    stepped: HashSet<ChannelId>,
}

/// Looks at every voucher and change of a batch; one proof for each, in order.
pub(super) fn verify(
    residents: &mut Residents,
    ledger: &dyn LedgerRead,
    verifier: &Verifier,
    guard: &Guard,
    requests: &[Request],
) -> Vec<Proof> {
    let weight = requests.iter().map(Request::weight).sum();
    residents.approach(requests.iter().flat_map(|request| {
        match request {
            Request::Vouchers(part) => part.payments(),
            Request::Change { .. } | Request::Read { .. } | Request::List { .. } => &[],
        }
        .iter()
        .map(|payment| payment.voucher.voucher().channel_id)
    }));
    let mut looking =
        Looking { residents, ledger, earlier: Earlier::default(), tasks: Vec::with_capacity(weight) };
    let mut proofs = Vec::with_capacity(weight);
    for request in requests {
        match request {
            Request::Change { channel, change, .. } => {
                proofs.push(looking.change(*channel, change, proofs.len()))
            }
            Request::Vouchers(part) => {
                for payment in part.payments() {
                    let amount = payment.voucher.voucher().cumulative_amount;
                    let foretold = |resident: &Resident| {
                        let limited = || guard.foretell(resident, amount);
                        precheck::submit(&resident.state, amount, &payment.then, limited)
                    };
                    proofs.push(looking.voucher(&payment.voucher, proofs.len(), foretold));
                }
            }
            Request::Read { .. } | Request::List { .. } => {}
        }
    }
    let Looking { residents, tasks, .. } = looking;
    let residents = &*residents;
    let jobs: Vec<_> = tasks.iter().map(|task| task.job(residents)).collect();
    let started = Instant::now();
    let outcomes = verifier.verify_mixed(&jobs);
    report::verified(jobs.len(), started.elapsed());
    for (task, outcome) in tasks.iter().zip(outcomes) {
        let place = match task.whose {
            Whose::Resident(place) => Some(place),
            Whose::Opened(..) => None,
        };
        proofs[task.index] = match outcome {
            Ok(verified) => Proof::Verified(verified, place),
            Err(error) => Proof::Refused(error.into()),
        };
    }
    proofs
}

/// The first look at a batch, before any cryptography.
struct Looking<'a> {
    residents: &'a mut Residents,
    ledger: &'a dyn LedgerRead,
    earlier: Earlier,
    tasks: Vec<Task<'a>>,
}

impl<'a> Looking<'a> {
    fn change(&mut self, channel: ChannelId, change: &'a Change, index: usize) -> Proof {
        match change {
            Change::Open { identity, .. } => {
                self.earlier.opened.insert(channel, Arc::clone(identity));
                Proof::NotNeeded
            }
            Change::Step(_) => {
                self.earlier.stepped.insert(channel);
                Proof::NotNeeded
            }
            Change::Close { voucher } => {
                let amount = voucher.voucher().cumulative_amount;
                self.voucher(voucher, index, |resident| precheck::close(&resident.state, amount))
            }
        }
    }

    /// Finds whose signature a voucher needs, or why it needs none any more. The proof of one that needs it is
    /// overwritten when all signatures were looked at.
    fn voucher(
        &mut self,
        voucher: &'a AnySignedVoucher,
        index: usize,
        foretold: impl FnOnce(&Resident) -> Option<Rejection>,
    ) -> Proof {
        let channel = voucher.voucher().channel_id;
        let whose = match self.residents.find(channel, self.ledger) {
            Err(error) => return Proof::Failed(error.into()),
            Ok(Some(place)) => {
                if !self.earlier.stepped.contains(&channel)
                    && let Some(rejection) = foretold(self.residents.at(place))
                {
                    return Proof::Refused(rejection.into());
                }
                Whose::Resident(place)
            }
            Ok(None) => match self.earlier.opened.get(&channel) {
                Some(identity) => Whose::Opened(self.residents.domain(identity), identity.expected_signer()),
                None => return self.unknown(channel),
            },
        };
        self.tasks.push(Task { index, voucher, whose });
        Proof::NotNeeded
    }

    /// A channel without books never had any, or is over and retired.
    fn unknown(&self, channel: ChannelId) -> Proof {
        match self.ledger.tombstone(channel) {
            Ok(Some(_)) => Proof::Refused(Rejection::ChannelFinalized.into()),
            Ok(None) => Proof::Refused(Rejection::ChannelNotFound.into()),
            Err(error) => Proof::Failed(error.into()),
        }
    }
}
