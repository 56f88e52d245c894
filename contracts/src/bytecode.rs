//! The compiled escrows, for putting them on a local chain in development and tests.
//!
//! `scripts/contracts.sh artifacts` makes the files from the Solidity sources, `scripts/contracts.sh check`
//! proves that they belong together.

use alloy_primitives::hex;

/// Decodes a hex file with one line at compile time, so that a damaged file never compiles.
macro_rules! bytecode {
    ($file:literal) => {{
        const HEX: &[u8] = include_bytes!(concat!("../artifacts/", $file)).trim_ascii();
        const BYTES: [u8; HEX.len() / 2] = match hex::const_decode_to_array(HEX) {
            Ok(bytes) => bytes,
            Err(_) => panic!("not a hex file"),
        };
        &BYTES
    }};
}

/// What an address must hold to be the v2 reserve.
pub const RESERVE_RUNTIME: &[u8] = bytecode!("TIP20ChannelReserve.runtime.hex");

/// What deploys a v2 reserve (the constructor takes nothing). Useful only where no address can be overwritten.
pub const RESERVE_CREATION: &[u8] = bytecode!("TIP20ChannelReserve.creation.hex");

/// What an address must hold to be a v1 escrow.
pub const STREAM_CHANNEL_RUNTIME: &[u8] = bytecode!("TempoStreamChannel.runtime.hex");

/// What deploys a v1 escrow (the constructor takes nothing).
pub const STREAM_CHANNEL_CREATION: &[u8] = bytecode!("TempoStreamChannel.creation.hex");

/// What deploys a `Batch`, before its constructor's argument: the owner.
pub const BATCH_CREATION: &[u8] = bytecode!("Batch.creation.hex");

/// What deploys an ERC-20 token for local chains that are not Tempo, before its constructor's argument: the supply.
pub const PLAIN_TOKEN_CREATION: &[u8] = bytecode!("PlainToken.creation.hex");

/// Storage slot of the reserve's mapping from `keccak256(abi.encode(payer, salt))` to the hash of the
/// transaction that opens the channel. The devnet writes it; the real chain knows the hash by itself.
pub const RESERVE_OPEN_CONTEXTS_SLOT: u64 = 1;
