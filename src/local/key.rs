//! The key of TCP clients: `Authorization: Bearer` and 64 hex digits.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::keys::{self, Secret};

/// Whether a request shows the key. The comparison takes the same time wherever two keys differ.
pub(crate) fn is_shown(headers: &HeaderMap, key: &Secret) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, token)) = value.as_bytes().split_at_checked("Bearer ".len()) else { return false };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return false;
    }
    let Ok(shown) = keys::parse(token) else { return false };
    let different = shown.iter().zip(key.iter()).fold(0, |sum, (one, other)| sum | (one ^ other));
    std::hint::black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn only_the_whole_key_opens() {
        let key = Zeroizing::new([0xab; 32]);
        let shown = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            is_shown(&headers, &key)
        };
        let right = format!("Bearer {}", "ab".repeat(32));
        assert!(shown(&[&right]));
        assert!(shown(&[&right.to_uppercase().replace("BEARER", "bearer")]));
        assert!(!shown(&[]));
        assert!(!shown(&[&right, &right]), "one key, not two");
        assert!(!shown(&[&format!("Bearer {}", "ab".repeat(31))]));
        assert!(!shown(&[&format!("Bearer {}ac", "ab".repeat(31))]));
        assert!(!shown(&[&format!("Basic {}", "ab".repeat(32))]));
        assert!(!shown(&["Bearer"]));
    }
}
