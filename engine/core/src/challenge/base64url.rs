//! base64url as the drafts write it: out without padding, in with or without.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

/// Reads with or without padding. Trailing bits must be zero, so that bytes have one text only.
const TOLERANT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The text of `bytes`, without padding.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes.as_ref())
}

/// The bytes of `text`, or `None` when it is not base64url.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decode_into(text, &mut bytes)?;
    Some(bytes)
}

/// The same in memory that is used again. Every request is read here, and nearly none has padding: that is read many bytes
/// at a time.
pub(super) fn decode_into<'a>(text: &str, bytes: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    bytes.clear();
    bytes.resize(text.len() / 4 * 3 + 3, 0);
    let plain = base64_simd::URL_SAFE_NO_PAD.decode(text.as_bytes(), base64_simd::Out::from_slice(bytes));
    let length = match plain {
        Ok(plain) => plain.len(),
        Err(_) => TOLERANT.decode_slice(text, bytes).ok()?,
    };
    bytes.truncate(length);
    Some(bytes)
}

/// The bytes of `text` if there are exactly so many.
pub(super) fn decode_exact<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Longer texts than those of N bytes with padding have more bytes, or are no base64url.
    let written = TOLERANT.decode_slice(text, &mut bytes).ok()?;
    (written == N).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is read fast is what the other reader takes too, with the same bytes: no text becomes valid by it.
        #[test]
        fn both_readers_agree(text in "[A-Za-z0-9_+/=,-]{0,80}|[A-Za-z0-9_-]{0,200}={0,3}") {
            prop_assert_eq!(decode(&text), TOLERANT.decode(&text).ok());
        }

        #[test]
        fn what_is_written_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = encode(&bytes);
            prop_assert!(!text.contains('='));
            prop_assert_eq!(decode(&text), Some(bytes));
        }
    }
}
