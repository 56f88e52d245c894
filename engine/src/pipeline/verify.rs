//! A batch's signatures, all at once.
//!
//! First the cheap refusals, which need no cryptography (see [`precheck`]), then one call of the verifier
//! for all vouchers that are left, each against the signer that the books know (rule 9).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use farebox_core::channel::{Identity, Rejection};
use farebox_core::units::{Address, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, Verified, Verifier, Voucher};

use super::message::{Change, Request};
use super::residents::Residents;
use super::{EngineError, Refusal, precheck};
use crate::ledger::LedgerRead;

/// What is known of a request's voucher before the rules are asked.
#[derive(Debug)]
pub(super) enum Proof {
    /// The request has none.
    NotNeeded,
    /// Its signer signed it.
    Verified(Verified<Voucher>),
    /// It is refused.
    Refused(Refusal),
    /// The channel could not be looked up.
    Failed(EngineError),
}

/// Whether a voucher's signature is worth looking at.
enum Examined {
    /// It is, with this domain and this signer.
    Wanted { domain: Arc<AnyDomain>, signer: Address },
    /// It is not.
    Settled(Proof),
}

/// A voucher whose signature is worth looking at.
struct Task<'a> {
    /// Its request's place in the batch.
    place: usize,
    domain: Arc<AnyDomain>,
    voucher: &'a AnySignedVoucher,
    signer: Address,
}

/// What earlier requests of the same batch may have done to a channel when its voucher's turn comes.
#[derive(Default)]
struct Earlier {
    /// Channels that may be open by then.
    opened: HashMap<ChannelId, Arc<Identity>>,
    /// Channels of which no refusal can be foretold: a deposit may have grown, a close may be called off.
    stepped: HashSet<ChannelId>,
}

/// Looks at every request of a batch; one proof a request, in order.
pub(super) fn verify(
    residents: &mut Residents,
    ledger: &dyn LedgerRead,
    verifier: &Verifier,
    requests: &[Request],
) -> Vec<Proof> {
    let mut earlier = Earlier::default();
    let mut tasks = Vec::new();
    let mut proofs = Vec::with_capacity(requests.len());
    for (place, request) in requests.iter().enumerate() {
        let Request::Change { channel, change, .. } = request else {
            proofs.push(Proof::NotNeeded);
            continue;
        };
        proofs.push(match change {
            Change::Open { identity, .. } => {
                earlier.opened.insert(*channel, Arc::clone(identity));
                Proof::NotNeeded
            }
            Change::Step(_) => {
                earlier.stepped.insert(*channel);
                Proof::NotNeeded
            }
            Change::Submit { voucher, .. } | Change::Close { voucher } => {
                match examine(residents, ledger, &earlier, *channel, change) {
                    Examined::Wanted { domain, signer } => {
                        tasks.push(Task { place, domain, voucher, signer });
                        // Overwritten below, when all signatures were looked at.
                        Proof::NotNeeded
                    }
                    Examined::Settled(proof) => proof,
                }
            }
        });
    }
    let jobs: Vec<_> = tasks.iter().map(|task| (&*task.domain, task.voucher, task.signer)).collect();
    let outcomes = verifier.verify_mixed(&jobs);
    for (task, outcome) in tasks.iter().zip(outcomes) {
        proofs[task.place] = match outcome {
            Ok(verified) => Proof::Verified(verified),
            Err(error) => Proof::Refused(error.into()),
        };
    }
    proofs
}

/// Finds whose signature a voucher needs, or why it needs none any more.
fn examine(
    residents: &mut Residents,
    ledger: &dyn LedgerRead,
    earlier: &Earlier,
    channel: ChannelId,
    change: &Change,
) -> Examined {
    let found = match residents.get(channel, ledger) {
        Ok(found) => found,
        Err(error) => return Examined::Settled(Proof::Failed(error.into())),
    };
    if let Some(resident) = found {
        let foretold = match change {
            _ if earlier.stepped.contains(&channel) => None,
            Change::Submit { voucher, then } => {
                precheck::submit(&resident.state, voucher.voucher().cumulative_amount, then)
            }
            Change::Close { voucher } => {
                precheck::close(&resident.state, voucher.voucher().cumulative_amount)
            }
            Change::Open { .. } | Change::Step(_) => None,
        };
        return match foretold {
            Some(rejection) => Examined::Settled(Proof::Refused(rejection.into())),
            None => Examined::Wanted { domain: Arc::clone(&resident.domain), signer: resident.state.signer },
        };
    }
    match earlier.opened.get(&channel) {
        Some(identity) => {
            Examined::Wanted { domain: residents.domain(identity), signer: identity.expected_signer() }
        }
        None => Examined::Settled(Proof::Refused(Rejection::ChannelNotFound.into())),
    }
}
