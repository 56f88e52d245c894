//! A channel in memory as few bytes: its books and terms as the ledger stores them, less what others have as well.
//!
//! Most of these bytes are the same for all channels of an escrow (payee, token, chain) or zero (the high bytes of
//! amounts and times). So the terms are told apart from those of another channel of the escrow, byte by byte, what is in
//! the other's too becomes zero, and runs of zeros become their length. The same with the beginning of the books. Checksums
//! are left out, and computed anew. What comes back is what went in, bit by bit.

use std::sync::Arc;

use farebox_core::channel::{Identity, State};
use farebox_core::journal::{
    decode_identity, decode_state, encode_identity, encode_state, readdress_state, reseal,
};
use farebox_core::units::{Address, B256, ChannelId};

/// Bytes of books that are compared: up to their lists, where every channel's differ.
const BOOKS_COMPARED_BYTES: usize = 140;

/// Bytes of a checksum, at the end of books and of terms.
const CHECKSUM_BYTES: usize = 8;

/// Fewer zeros than that are cheaper as they are: a run costs two bytes.
const ZEROS_MIN: usize = 3;

/// The longest run of either kind, as one byte tells it.
const RUN_MAX: usize = u8::MAX as usize;

/// Buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Packer {
    plain: Vec<u8>,
    squeezed: Vec<u8>,
}

/// Some channel, as bytes: what others of its escrow are compared with.
#[derive(Debug)]
pub(super) struct Sample {
    terms: Vec<u8>,
    /// The beginning of its books.
    books: Vec<u8>,
}

impl Sample {
    pub(super) fn of(identity: &Identity, state: &State) -> Self {
        let (mut terms, mut books) = (Vec::new(), Vec::new());
        encode_identity(&mut terms, identity);
        encode_state(&mut books, &without_address(state.clone()));
        books.truncate(BOOKS_COMPARED_BYTES);
        Self { terms, books }
    }

    /// Sets apart or puts together again. Terms of one protocol have one length.
    fn apply(&self, books: &mut [u8], terms: &mut [u8]) {
        assert_eq!(terms.len(), self.terms.len(), "channels of one escrow have terms of one kind");
        terms.iter_mut().zip(&self.terms).for_each(|(byte, other)| *byte ^= other);
        books.iter_mut().zip(&self.books).for_each(|(byte, other)| *byte ^= other);
    }
}

impl Packer {
    /// The books and terms of a channel. Its id and signer are for the caller to keep: they are taken out of `state`.
    pub(super) fn pack(&mut self, state: &mut State, identity: &Identity, sample: &Sample) -> &[u8] {
        let Self { plain, squeezed } = self;
        // Both follow from the terms.
        (state.channel_id, state.signer) = (ChannelId(B256::ZERO), Address::ZERO);
        plain.clear();
        encode_state(plain, state);
        let terms_at = plain.len();
        encode_identity(plain, identity);
        let (books, terms) = plain.split_at_mut(terms_at);
        sample.apply(books, terms);
        for part in [books, terms] {
            let sum_at = part.len() - CHECKSUM_BYTES;
            part[sum_at..].fill(0);
        }
        squeezed.clear();
        squeeze(plain, squeezed);
        squeezed
    }

    /// Appends the books of what [`Packer::pack`] was given, as [`encode_state`] writes them.
    pub(super) fn unpack_books(
        &mut self,
        channel: ChannelId,
        bytes: &[u8],
        sample: &Sample,
        books: &mut Vec<u8>,
    ) {
        let (state, _) = self.expand(channel, bytes, sample);
        books.extend_from_slice(state);
    }

    /// The books as they are stored, and the terms.
    fn expand(&mut self, channel: ChannelId, bytes: &[u8], sample: &Sample) -> (&[u8], Identity) {
        let plain = &mut self.plain;
        plain.clear();
        expand(bytes, plain);
        let terms_at = plain.len() - sample.terms.len();
        let (state, terms) = plain.split_at_mut(terms_at);
        sample.apply(state, terms);
        reseal(terms);
        let identity = decode_identity(terms).expect("these bytes were packed by this process");
        readdress_state(state, channel, identity.expected_signer());
        (state, identity)
    }

    /// What [`Packer::pack`] was given.
    pub(super) fn unpack(
        &mut self,
        channel: ChannelId,
        bytes: &[u8],
        sample: &Sample,
    ) -> (State, Arc<Identity>) {
        let (state, identity) = self.expand(channel, bytes, sample);
        let state = decode_state(state).expect("these bytes were packed by this process");
        (state, Arc::new(identity))
    }
}

/// Books without what follows from the terms.
fn without_address(state: State) -> State {
    State { channel_id: ChannelId(B256::ZERO), signer: Address::ZERO, ..state }
}

/// Each step: how many bytes follow as they are, how many zeros follow them, the bytes.
fn squeeze(plain: &[u8], out: &mut Vec<u8>) {
    let mut rest = plain;
    while !rest.is_empty() {
        let (as_is, tail) = rest.split_at(before_zeros(rest));
        let zeros = tail.iter().take(RUN_MAX).take_while(|byte| **byte == 0).count();
        out.extend([as_is.len() as u8, zeros as u8]);
        out.extend_from_slice(as_is);
        rest = &tail[zeros..];
    }
}

/// How many bytes stand before the next zeros that are worth a run.
fn before_zeros(bytes: &[u8]) -> usize {
    let zeros = bytes.windows(ZEROS_MIN).take(RUN_MAX).position(|window| window == [0; ZEROS_MIN]);
    zeros.unwrap_or(bytes.len().min(RUN_MAX))
}

fn expand(mut squeezed: &[u8], out: &mut Vec<u8>) {
    while let Some(([as_is, zeros], rest)) = squeezed.split_first_chunk() {
        let (bytes, rest) = rest.split_at(usize::from(*as_is));
        out.extend_from_slice(bytes);
        out.resize(out.len() + usize::from(*zeros), 0);
        squeezed = rest;
    }
}

#[cfg(test)]
mod tests {
    use farebox_core::channel::{ChainPosition, Event, RequestKey, Terms};
    use farebox_core::units::{Amount, ChainId, UnixSeconds};
    use farebox_core::voucher::{Signature, v1, v2};
    use proptest::prelude::*;

    use super::*;

    fn identity(is_v1: bool, payer: [u8; 20], salt: [u8; 32]) -> Identity {
        let (payer, salt) = (Address::new(payer), B256::new(salt));
        let (payee, token) = (Address::repeat_byte(2), Address::repeat_byte(3));
        let terms = if is_v1 {
            Terms::V1(v1::Terms { payer, payee, token, salt, authorized_signer: Address::ZERO })
        } else {
            Terms::V2(v2::Descriptor {
                payer,
                payee,
                operator: Address::ZERO,
                token,
                salt,
                authorized_signer: payer,
                expiring_nonce_hash: B256::repeat_byte(4),
            })
        };
        Identity { chain_id: ChainId(42_431), escrow: Address::repeat_byte(5), terms }
    }

    fn opened(identity: &Identity) -> State {
        let opened = Event::Opened {
            identity: Box::new(identity.clone()),
            deposit: Amount::MAX_V2,
            settled: Amount::ZERO,
            at: UnixSeconds(1_800_000_000),
            position: ChainPosition { block: 9, log_index: 7 },
        };
        State::from_opened(&opened).unwrap()
    }

    fn sample(is_v1: bool) -> Sample {
        let terms = identity(is_v1, [1; 20], [2; 32]);
        Sample::of(&terms, &opened(&terms))
    }

    /// A voucher for so much more, and a charge of half of what there is.
    fn paid(state: &mut State, more: u128, key: [u8; 16], signature: &[u8]) {
        let amount = Amount::new(state.accepted.get() + more);
        let (signature, at) = (Signature::restore(signature).unwrap(), UnixSeconds(1_800_000_001));
        state.evolve(&Event::Accepted { amount, signature, at });
        let amount = Amount::new(state.available().get().div_ceil(2));
        state.evolve(&Event::Charged { key: Some(RequestKey(key)), amount, units: 1, at });
    }

    proptest! {
        #[test]
        fn what_was_squeezed_comes_back(
            runs in prop::collection::vec((any::<u8>(), 0_usize..600), 0..8),
            noise in prop::collection::vec(any::<u8>(), 0..700),
        ) {
            let mut plain = noise;
            for (byte, length) in runs {
                plain.resize(plain.len() + length, byte % 3);
                plain.push(byte);
            }
            let (mut squeezed, mut back) = (Vec::new(), Vec::new());
            squeeze(&plain, &mut squeezed);
            expand(&squeezed, &mut back);
            prop_assert!(squeezed.len() <= plain.len() + 2 * plain.len().div_ceil(RUN_MAX) + 2);
            prop_assert_eq!(back, plain);
        }

        #[test]
        fn channels_come_back(
            is_v1: bool,
            payer: [u8; 20],
            salt: [u8; 32],
            payments in prop::collection::vec((1_u128..1 << 60, any::<[u8; 16]>()), 0..40),
            close_requested: bool,
        ) {
            let terms = identity(is_v1, payer, salt);
            let mut state = opened(&terms);
            for (amount, key) in payments {
                paid(&mut state, amount, key, &[7; 65]);
            }
            let (key, amount, at) = (RequestKey([9; 16]), state.available(), UnixSeconds(1_800_000_002));
            state.evolve(&Event::Reserved { key, amount, at });
            if close_requested {
                let position = ChainPosition { block: 10, log_index: 0 };
                state.evolve(&Event::CloseRequested { at, position });
            }
            prop_assume!(state.check().is_ok());
            let (mut packer, sample) = (Packer::default(), sample(is_v1));
            let packed = packer.pack(&mut state.clone(), &terms, &sample).to_vec();
            let (back, back_terms) = packer.unpack(state.channel_id, &packed, &sample);
            let (mut books, mut expected) = (Vec::new(), Vec::new());
            packer.unpack_books(state.channel_id, &packed, &sample, &mut books);
            encode_state(&mut expected, &state);
            prop_assert_eq!(books, expected);
            prop_assert_eq!(back, state);
            prop_assert_eq!(&*back_terms, &terms);
        }
    }

    #[test]
    fn a_channel_is_small() {
        let noise =
            |seed: u8| -> Vec<u8> { (0..65_u8).map(|place| (place ^ seed).wrapping_mul(151)).collect() };
        let terms = identity(false, noise(3)[..20].try_into().unwrap(), noise(9)[..32].try_into().unwrap());
        let mut state = opened(&terms);
        let (mut packer, sample) = (Packer::default(), sample(false));
        let fresh = packer.pack(&mut state.clone(), &terms, &sample).len();
        paid(&mut state, 1_000, noise(1)[..16].try_into().unwrap(), &noise(2));
        let paying = packer.pack(&mut state, &terms, &sample).len();
        assert!(fresh <= 192, "{fresh} bytes for a new channel");
        assert!(paying <= 320, "{paying} bytes for one with a voucher and an outcome");
    }
}
