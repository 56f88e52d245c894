//! Writes what a committer would write: channels, frames, images.

use std::sync::Arc;

use farebox_core::channel::{ChainPosition, Event, Identity, RequestKey, State, Terms};
use farebox_core::journal::{Cursor, FrameBuilder, Head, Link, encode_event};
use farebox_core::units::{Address, Amount, B256, ChainId, ChannelId, UnixSeconds};
use farebox_core::voucher::{Signature, v1, v2};

use crate::ledger::{Ledger, StoredChannel, recover};

/// A channel to write about.
pub(in crate::ledger) fn identity(number: u16) -> Identity {
    let address = |byte| Address::repeat_byte(byte);
    let salt = B256::left_padding_from(&number.to_be_bytes());
    let terms = if number.is_multiple_of(2) {
        Terms::V1(v1::Terms {
            payer: address(1),
            payee: address(2),
            token: address(3),
            salt,
            authorized_signer: Address::ZERO,
        })
    } else {
        Terms::V2(v2::Descriptor {
            payer: address(1),
            payee: address(2),
            operator: Address::ZERO,
            token: address(3),
            salt,
            authorized_signer: address(4),
            expiring_nonce_hash: B256::repeat_byte(9),
        })
    };
    Identity { chain_id: ChainId(42_431), escrow: address(5), terms }
}

pub(super) fn opened(number: u16) -> Event {
    Event::Opened {
        identity: Box::new(identity(number)),
        deposit: Amount::new(1_000),
        settled: Amount::ZERO,
        at: UnixSeconds(10),
        position: ChainPosition { block: 1, log_index: 2 },
    }
}

pub(in crate::ledger) fn accepted(amount: u128) -> Event {
    let signature = Signature::restore(&[7; 65]).unwrap();
    Event::Accepted { amount: Amount::new(amount), signature, at: UnixSeconds(11) }
}

pub(in crate::ledger) fn reserved(key: u8, amount: u128) -> Event {
    Event::Reserved { key: RequestKey([key; 16]), amount: Amount::new(amount), at: UnixSeconds(12) }
}

pub(super) fn released(key: u8) -> Event {
    Event::Released { key: RequestKey([key; 16]), at: UnixSeconds(13) }
}

/// Writes frames as the committer would.
pub(super) struct Author<'a, L> {
    ledger: &'a L,
    pub(super) head: Head,
}

impl<'a, L: Ledger> Author<'a, L> {
    /// Continues what the ledger holds.
    pub(super) fn on(ledger: &'a L) -> Self {
        let head = recover(ledger).unwrap().head;
        Self { ledger, head }
    }

    pub(super) fn frame(&self, cursor: Option<Cursor>, events: &[(ChannelId, u64, Event)]) -> Vec<u8> {
        let mut records = Vec::new();
        for (channel, sequence, event) in events {
            encode_event(&mut records, *channel, *sequence, event);
        }
        let mut builder = FrameBuilder::new();
        builder.append(&records).unwrap();
        builder.finish(self.ledger.epoch(), self.head.sequence + 1, self.head.link, cursor).to_vec()
    }

    pub(super) fn write(&mut self, cursor: Option<Cursor>, events: &[(ChannelId, u64, Event)]) {
        let bytes = self.frame(cursor, events);
        let sequence = self.head.sequence + 1;
        self.ledger.append(&bytes, sequence).unwrap();
        let cursor = cursor.or(self.head.cursor);
        self.head = Head { epoch: self.ledger.epoch(), sequence, link: Link::to(&bytes), cursor };
    }

    /// Opens channel `number`, then accepts 10, 20, … in a frame each.
    pub(super) fn channel(&mut self, number: u16, vouchers: u64) -> ChannelId {
        let channel = identity(number).channel_id();
        self.write(None, &[(channel, 1, opened(number))]);
        for voucher in 1..=vouchers {
            self.write(None, &[(channel, voucher + 1, accepted(u128::from(voucher) * 10))]);
        }
        channel
    }
}

/// Opens channel `number` and accepts vouchers, a frame each.
#[cfg(feature = "rocksdb")]
pub(in crate::ledger) fn write_channel(ledger: &impl Ledger, number: u16, vouchers: u64) {
    Author::on(ledger).channel(number, vouchers);
}

/// Stores an image of channel `number` with a running request.
#[cfg(feature = "rocksdb")]
pub(in crate::ledger) fn write_running(ledger: &impl Ledger, number: u16) -> ChannelId {
    let running = image(number, &[accepted(100), reserved(1, 40)]);
    ledger.store_images(std::slice::from_ref(&running)).unwrap();
    running.channel
}

pub(super) fn state(number: u16, events: &[Event]) -> State {
    let mut state = State::from_opened(&opened(number)).unwrap();
    for event in events {
        state.evolve(event);
    }
    state
}

pub(in crate::ledger) fn image(number: u16, events: &[Event]) -> StoredChannel {
    let identity = identity(number);
    StoredChannel {
        channel: identity.channel_id(),
        identity: Arc::new(identity),
        state: state(number, events),
    }
}
