//! Channel ids that were computed before.
//!
//! A client repeats its channel's terms with every voucher, and hashing them (three blocks of Keccak) is a third of what it costs to
//! read one. Whoever reads many vouchers keeps a [`KnownIds`] beside its other scratch memory: terms that were proven once are
//! compared from then on.

use alloc::boxed::Box;
use alloc::vec;

use super::Descriptor;
use crate::units::{Address, ChainId, ChannelId};

/// Sets of places; a power of two.
const SETS: usize = 1_024;
/// The most channels that are kept: two in each set, some 230 bytes each.
pub const KNOWN_IDS_MAX: usize = 2 * SETS;

/// Terms and the id that they hash to.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    id: ChannelId,
    chain_id: ChainId,
    escrow: Address,
    descriptor: Descriptor,
}

/// At most [`KNOWN_IDS_MAX`] channels whose id is known; those that were seen last.
pub struct KnownIds {
    /// In each set the one that was seen last comes first.
    sets: Box<[[Option<Known>; 2]]>,
}

impl Default for KnownIds {
    fn default() -> Self {
        Self { sets: vec![[None; 2]; SETS].into_boxed_slice() }
    }
}

impl core::fmt::Debug for KnownIds {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("KnownIds(..)")
    }
}

impl KnownIds {
    /// Whether these terms hash to `claimed`: [`Descriptor::channel_id`], which is computed when it is not known.
    pub fn prove(
        &mut self,
        descriptor: &Descriptor,
        chain_id: ChainId,
        escrow: Address,
        claimed: ChannelId,
    ) -> bool {
        let wanted = Known { id: claimed, chain_id, escrow, descriptor: *descriptor };
        // An id that somebody made up finds a set as well, and costs what it cost without this memory.
        let set = &mut self.sets[set_of(claimed)];
        match set {
            [Some(first), _] if *first == wanted => return true,
            [_, Some(second)] if *second == wanted => {
                set.swap(0, 1);
                return true;
            }
            _ => {}
        }
        let is_proven = descriptor.channel_id(chain_id, escrow) == claimed;
        if is_proven {
            *set = [Some(wanted), set[0]];
        }
        is_proven
    }
}

/// Ids are hashes: any of their bits are as good as others.
fn set_of(id: ChannelId) -> usize {
    usize::from(u16::from_be_bytes([id.0[30], id.0[31]])) % SETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::B256;
    use crate::voucher::v2::CHANNEL_RESERVE;

    const CHAIN: ChainId = ChainId(4_217);

    fn descriptor(salt: u64) -> Descriptor {
        let mut word = B256::ZERO;
        word[..8].copy_from_slice(&salt.to_be_bytes());
        let address = Address::repeat_byte;
        Descriptor {
            payer: address(1),
            payee: address(2),
            operator: Address::ZERO,
            token: address(3),
            salt: word,
            authorized_signer: Address::ZERO,
            expiring_nonce_hash: B256::repeat_byte(4),
        }
    }

    #[test]
    fn it_says_what_the_hash_says_however_full_it_is() {
        let mut known = KnownIds::default();
        for round in 0..2 {
            for salt in 0..3 * KNOWN_IDS_MAX as u64 {
                let (terms, other) = (descriptor(salt), descriptor(salt + 1));
                let id = terms.channel_id(CHAIN, CHANNEL_RESERVE);
                assert!(known.prove(&terms, CHAIN, CHANNEL_RESERVE, id), "{salt} in round {round}");
                assert!(known.prove(&terms, CHAIN, CHANNEL_RESERVE, id), "now it is known");
                assert!(!known.prove(&other, CHAIN, CHANNEL_RESERVE, id), "other terms");
                assert!(!known.prove(&terms, ChainId(1), CHANNEL_RESERVE, id), "another chain");
                assert!(!known.prove(&terms, CHAIN, terms.payer, id), "another escrow");
                assert!(known.prove(&terms, CHAIN, CHANNEL_RESERVE, id), "refusals forget nothing");
            }
        }
    }

    #[test]
    fn who_was_seen_last_stays() {
        let mut known = KnownIds::default();
        let mut together =
            (0..).map(descriptor).map(|terms| (terms, terms.channel_id(CHAIN, CHANNEL_RESERVE)));
        let [first, second, third] = core::array::from_fn(|_| {
            together.by_ref().find(|(_, id)| set_of(*id) == 7).expect("every set has its ids")
        });
        let holds = |known: &KnownIds, wanted: &(Descriptor, ChannelId)| {
            known.sets[7].iter().flatten().any(|known| known.id == wanted.1)
        };
        for (terms, id) in [first, second, first, third] {
            assert!(known.prove(&terms, CHAIN, CHANNEL_RESERVE, id));
        }
        assert!(holds(&known, &first) && holds(&known, &third) && !holds(&known, &second));
    }
}
