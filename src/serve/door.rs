//! What the door is told: who is paid, through which escrows, on which terms.

use std::time::Duration;

use farebox_engine::core::challenge::{ChallengeKey, ChallengeKeys};
use farebox_engine::core::units::Address;
use farebox_engine::core::voucher::ProtocolVersion;
use farebox_engine::http::{DoorConfig, Escrow};
use zeroize::Zeroizing;

use crate::config::{Config, SERVES};

/// The door's configuration. Escrows are offered v2 first.
pub(super) fn config(
    config: &Config,
    challenge_key: &[u8; 32],
    previous_keys: &[Zeroizing<[u8; 32]>],
) -> DoorConfig {
    let key = |secret: &[u8; 32]| {
        ChallengeKey::new(secret).expect("a challenge key file holds 32 bytes, which are enough")
    };
    let keys = ChallengeKeys::new(key(challenge_key));
    let keys = previous_keys.iter().fold(keys, |keys, previous| keys.with_previous(key(previous)));
    let (payee, token) = (config.payee.address, config.payee.token);
    let operator = config.payee.operator.unwrap_or(Address::ZERO);
    let chain_id = config.chain.id;
    let escrow = |protocol, address, operator| Escrow { protocol, chain_id, address, operator };
    let realm = config.server.realm.clone().expect(SERVES);
    let mut door = DoorConfig::new(realm, keys, payee, token).escrow(escrow(
        ProtocolVersion::V2,
        config.escrow.v2,
        operator,
    ));
    if let Some(v1) = config.escrow.v1 {
        // The legacy escrow knows no operators.
        door = door.escrow(escrow(ProtocolVersion::V1, v1, Address::ZERO));
    }
    door.fee_payer = config.sponsor.is_some();
    door.voucher_delta_min = config.voucher.delta_min;
    door.challenge_lifetime_ms = millis(config.server.challenge_lifetime);
    door.failures = config.limits.failures;
    door.requests = config.limits.requests;
    door.need_voucher_wait_ms_max = millis(config.voucher.need_voucher_wait);
    door
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
