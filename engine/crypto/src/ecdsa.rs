//! A secp256k1 signature that is in range and low-s, by construction.
//!
//! Every [`Signature`] has `1 <= r < n`, `1 <= s <= n/2` and the parity of the point behind `r`, so the
//! verifier need not ask again. A parser that meets anything else gets a [`SignatureError`] that names it.

/// The order of the group: `n`.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba,
    0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// `n/2`, rounded down: the largest low `s` (EIP-2).
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// The `v` byte of an even point; an odd one adds 1.
const V_EVEN: u8 = 27;

/// A signature over secp256k1: in range, low-s, with the parity that recovery needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature {
    r: [u8; 32],
    s: [u8; 32],
    parity: bool,
}

/// Why numbers are not a [`Signature`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// `r` is zero.
    #[error("r is zero, expected 1 <= r < n")]
    ZeroR,
    /// `r` is the group order or more.
    #[error("r is not below the group order n, expected 1 <= r < n")]
    RNotInRange,
    /// `s` is zero.
    #[error("s is zero, expected 1 <= s <= n/2")]
    ZeroS,
    /// `s` is above half of the group order: the malleable twin of a signature, or no scalar at all.
    #[error("s is above n/2, expected 1 <= s <= n/2")]
    HighS,
    /// `v` is neither 27 nor 28.
    #[error("v is {found}, expected 27 or 28")]
    BadV {
        /// The byte that stood there.
        found: u8,
    },
}

impl Signature {
    /// Checks the ranges of `r` and `s` (big-endian). `parity` is true when the point's `y` is odd.
    pub fn new(r: [u8; 32], s: [u8; 32], parity: bool) -> Result<Self, SignatureError> {
        // Big-endian arrays of one length compare like the numbers they hold.
        if r == [0; 32] {
            return Err(SignatureError::ZeroR);
        }
        if r >= ORDER {
            return Err(SignatureError::RNotInRange);
        }
        if s == [0; 32] {
            return Err(SignatureError::ZeroS);
        }
        if s > HALF_ORDER {
            return Err(SignatureError::HighS);
        }
        Ok(Self { r, s, parity })
    }

    /// Reads `r ‖ s ‖ v` with `v` 27 or 28. The raw parities 0 and 1 are refused.
    pub fn from_rsv(bytes: &[u8; 65]) -> Result<Self, SignatureError> {
        let parity = match bytes[64] {
            V_EVEN => false,
            v if v == V_EVEN + 1 => true,
            found => return Err(SignatureError::BadV { found }),
        };
        let (r, s) = halves(bytes[..64].try_into().expect("64 of 65 bytes"));
        Self::new(r, s, parity)
    }

    /// Reads the compact form of EIP-2098: `r`, then `s` with the parity in its highest bit.
    pub fn from_eip2098(bytes: &[u8; 64]) -> Result<Self, SignatureError> {
        let (r, mut s) = halves(bytes);
        let parity = s[0] & 0x80 != 0;
        s[0] &= 0x7f;
        Self::new(r, s, parity)
    }

    /// The number `r`, big-endian.
    pub const fn r(&self) -> &[u8; 32] {
        &self.r
    }

    /// The number `s`, big-endian.
    pub const fn s(&self) -> &[u8; 32] {
        &self.s
    }

    /// True when the `y` of the point behind `r` is odd.
    pub const fn parity(&self) -> bool {
        self.parity
    }

    /// `r ‖ s ‖ v` with `v` 27 or 28: the form that contracts take.
    pub fn to_rsv(&self) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes[..32].copy_from_slice(&self.r);
        bytes[32..64].copy_from_slice(&self.s);
        bytes[64] = V_EVEN + u8::from(self.parity);
        bytes
    }

    /// The compact form of EIP-2098.
    pub fn to_eip2098(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.r);
        bytes[32..].copy_from_slice(&self.s);
        // A low s leaves the highest bit free.
        bytes[32] |= u8::from(self.parity) << 7;
        bytes
    }
}

/// Splits `r ‖ s`.
fn halves(bytes: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let mut r = [0; 32];
    let mut s = [0; 32];
    r.copy_from_slice(&bytes[..32]);
    s.copy_from_slice(&bytes[32..]);
    (r, s)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number `value`, 32 bytes big-endian.
    fn number(value: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[31] = value;
        bytes
    }

    /// `bytes + 1`, without overflow.
    fn plus_one(mut bytes: [u8; 32]) -> [u8; 32] {
        for byte in bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        bytes
    }

    #[test]
    fn the_edges_of_the_ranges() {
        let below_order = {
            let mut bytes = ORDER;
            bytes[31] -= 1;
            bytes
        };
        assert!(Signature::new(number(1), number(1), false).is_ok());
        assert!(Signature::new(below_order, HALF_ORDER, true).is_ok());
        assert_eq!(Signature::new(number(0), number(1), false), Err(SignatureError::ZeroR));
        assert_eq!(Signature::new(ORDER, number(1), false), Err(SignatureError::RNotInRange));
        assert_eq!(Signature::new([0xff; 32], number(1), false), Err(SignatureError::RNotInRange));
        assert_eq!(Signature::new(number(1), number(0), false), Err(SignatureError::ZeroS));
        assert_eq!(Signature::new(number(1), plus_one(HALF_ORDER), false), Err(SignatureError::HighS));
        assert_eq!(Signature::new(number(1), ORDER, false), Err(SignatureError::HighS));
    }

    #[test]
    fn half_the_order_is_half() {
        // 2 * HALF_ORDER + 1 == ORDER, limb by limb from the right.
        let mut carry = 1;
        for i in (0..32).rev() {
            let sum = 2 * u16::from(HALF_ORDER[i]) + carry;
            assert_eq!(sum & 0xff, u16::from(ORDER[i]), "byte {i}");
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
    }

    #[test]
    fn both_encodings_return_unchanged() {
        for parity in [false, true] {
            let signature = Signature::new(number(7), HALF_ORDER, parity).unwrap();
            assert_eq!(Signature::from_rsv(&signature.to_rsv()), Ok(signature));
            assert_eq!(Signature::from_eip2098(&signature.to_eip2098()), Ok(signature));
        }
    }

    #[test]
    fn v_is_27_or_28_and_nothing_else() {
        let mut bytes = Signature::new(number(7), number(9), false).unwrap().to_rsv();
        for v in 0..=u8::MAX {
            bytes[64] = v;
            match (v, Signature::from_rsv(&bytes)) {
                (27 | 28, found) => assert_eq!(found.map(|s| s.parity()), Ok(v == 28)),
                (_, found) => assert_eq!(found, Err(SignatureError::BadV { found: v })),
            }
        }
    }
}
