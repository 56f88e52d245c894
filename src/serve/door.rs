//! What the door is told: who is paid, through which escrows, on which terms.

use std::time::Duration;

use farebox_engine::core::challenge::{ChallengeKey, ChallengeKeys};
use farebox_engine::core::units::Address;
use farebox_engine::core::voucher::ProtocolVersion;
use farebox_engine::http::{DoorConfig, Escrow};

use crate::config::{Config, SERVES};

/// The door's configuration. Escrows are offered v2 first.
pub(super) fn config(config: &Config, challenge_key: &[u8; 32]) -> DoorConfig {
    let key =
        ChallengeKey::new(challenge_key).expect("a challenge key file holds 32 bytes, which are enough");
    let (payee, token) = (config.payee.address, config.payee.token);
    let operator = config.payee.operator.unwrap_or(Address::ZERO);
    let chain_id = config.chain.id;
    let escrow = |protocol, address, operator| Escrow { protocol, chain_id, address, operator };
    let mut door =
        DoorConfig::new(config.server.realm.clone().expect(SERVES), ChallengeKeys::new(key), payee, token)
            .escrow(escrow(ProtocolVersion::V2, config.escrow.v2, operator));
    if let Some(v1) = config.escrow.v1 {
        // The legacy escrow knows no operators.
        door = door.escrow(escrow(ProtocolVersion::V1, v1, Address::ZERO));
    }
    door.voucher_delta_min = config.voucher.delta_min;
    door.challenge_lifetime_ms = millis(config.server.challenge_lifetime);
    door.need_voucher_wait_ms_max = millis(config.voucher.need_voucher_wait);
    door
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
