//! How long it takes from the bytes of a header to a voucher that answers a challenge of ours.

use std::cell::RefCell;
use std::hint::black_box;

use farebox_core::challenge::rfc3339::UnixMillis;
use farebox_core::challenge::{Challenge, Credential, Payload, Request, credential};
use farebox_core::units::ChainId;
use farebox_core::voucher::{AnySignedVoucher, ProtocolVersion, Voucher, v2};
use farebox_engine::http::DoorConfig;
use mpp::protocol::core::parse_authorization;
use mpp::protocol::methods::tempo::SessionCredentialPayload;
use rustix::time::ClockId;

use crate::cpu_us;
use crate::payers::{PRICE, Payer, door_config};

/// Headers that are read, again and again.
const HEADERS: usize = 64;
/// How often each is read.
const ROUNDS: usize = 2_000;

/// What was measured, in microseconds a header.
pub struct Words {
    pub ours_us: f64,
    pub peer_us: f64,
}

/// Reads the same headers with both.
pub fn measure() -> Result<Words, String> {
    let config = door_config();
    let escrow = config.escrows.first().ok_or("the door has an escrow")?;
    let request = Request {
        amount: PRICE,
        currency: config.token,
        recipient: config.payee,
        unit_type: Some("request".into()),
        suggested_deposit: None,
        details: farebox_core::challenge::MethodDetails {
            chain_id: escrow.chain_id,
            escrow: escrow.address,
            protocol: ProtocolVersion::V2,
            operator: escrow.operator,
            voucher_delta_min: farebox_core::units::Amount::ZERO,
            fee_payer: false,
        },
    };
    let challenge = Challenge::issue(&config.keys, &config.realm, &request, UnixMillis(2_000_000_000_000));
    let encoded = request.encode();
    let headers: Vec<String> =
        (0..HEADERS).map(|index| Payer::new(index).authorization(&challenge, index)).collect();
    let reader = RefCell::new((Vec::new(), v2::KnownIds::default()));
    let read =
        |header: &str| ours(header, &config, &encoded, escrow.chain_id, &mut reader.borrow_mut()).map(drop);
    for header in &headers {
        read(header).ok_or("a header of ours is not read")?;
        peer(header).ok_or("the peer does not read a header of ours")?;
    }
    let ours_us = time(&headers, |header| {
        let _ = black_box(read(header));
    });
    let peer_us = time(&headers, |header| drop(black_box(peer(header))));
    Ok(Words { ours_us, peer_us })
}

/// All that the door does before it asks the books, with the memory that it keeps for it.
fn ours(
    header: &str,
    config: &DoorConfig,
    request: &str,
    chain: ChainId,
    (scratch, known): &mut (Vec<u8>, v2::KnownIds),
) -> Option<AnySignedVoucher> {
    let token = credential::find([header.as_bytes()]).ok()??;
    let read = Credential::parse_with(token, scratch).ok()?;
    let now = UnixMillis(1_900_000_000_000);
    read.challenge.authenticate(&config.keys, &config.realm, now).ok()?;
    let Payload::Voucher(fields) = &read.payload else { return None };
    let is_ours = read.challenge.request() == request
        && known.prove(&fields.descriptor?, chain, v2::CHANNEL_RESERVE, fields.channel);
    let voucher = Voucher { channel_id: fields.channel, cumulative_amount: fields.cumulative };
    AnySignedVoucher::parse(ProtocolVersion::V2, voucher, &fields.signature).ok().filter(|_| is_ours)
}

/// The Rust SDK: the same fields as texts, without the challenge's HMAC and the channel id.
fn peer(header: &str) -> Option<SessionCredentialPayload> {
    parse_authorization(header).ok()?.payload_as().ok()
}

fn time(headers: &[String], read: impl Fn(&str)) -> f64 {
    let began = cpu_us(ClockId::ThreadCPUTime);
    for _ in 0..ROUNDS {
        headers.iter().for_each(|header| read(header));
    }
    (cpu_us(ClockId::ThreadCPUTime) - began) / (ROUNDS * headers.len()) as f64
}
