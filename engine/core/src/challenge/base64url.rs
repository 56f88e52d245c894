//! base64url as the drafts write it: out without padding, in with or without.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE_NO_PAD};

/// Reads with or without padding. Trailing bits must be zero, so that bytes have one text only.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text of `bytes`, without padding.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of `text`, or `None` when it is not base64url.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    TOLERANT.decode(text).ok()
}

/// The bytes of `text` if there are exactly so many.
pub(super) fn decode_exact<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Longer texts than those of N bytes with padding have more bytes, or are no base64url.
    let written = TOLERANT.decode_slice(text, &mut bytes).ok()?;
    (written == N).then_some(bytes)
}
