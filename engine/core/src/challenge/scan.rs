//! Reads the credentials of paid requests in one pass, without a tree of JSON values.
//!
//! Nearly every credential is a voucher whose members are the known ones and plain strings. Those are read here; anything
//! else (another action, an escape, an unknown or repeated member, a wrong type, a broken text) is `None`, and the whole
//! parser decides about it and says what is wrong. So both agree by construction: what is read here, the whole parser
//! reads in the same way.

use super::credential::{Payload, VoucherFields};
use super::{Credential, Echo};
use crate::units::{Address, Amount, B256, ChannelId};
use crate::voucher::v2::Descriptor;

/// The longest signature that is read here, in bytes: more than a WebAuthn signature needs.
const SIGNATURE_BYTES_MAX: usize = 4_096;

/// A voucher's credential; `None` when it is something else, or not as plain as it should be.
pub(super) fn voucher(json: &str) -> Option<Credential> {
    let mut scanner = Scanner { text: json, json: json.as_bytes(), at: 0 };
    let mut challenge = None;
    let mut payload = None;
    let mut source = None;
    scanner.object(|scanner, name| match name {
        b"challenge" => once(&mut challenge, echo(scanner)?),
        b"payload" => once(&mut payload, fields(scanner)?),
        b"source" => once(&mut source, scanner.string()?.into()),
        _ => None,
    })?;
    scanner.space();
    if scanner.at != json.len() {
        return None;
    }
    Some(Credential { challenge: challenge?, payload: payload?, source })
}

fn echo(scanner: &mut Scanner<'_>) -> Option<Echo> {
    let mut slots: [Option<&str>; 8] = [None; 8];
    scanner.object(|scanner, name| {
        let slot = match name {
            b"id" => 0,
            b"realm" => 1,
            b"method" => 2,
            b"intent" => 3,
            b"request" => 4,
            b"expires" => 5,
            b"digest" => 6,
            b"opaque" => 7,
            // Clients repeat it; it binds nothing.
            b"description" => return scanner.string().map(drop),
            _ => return None,
        };
        once(&mut slots[slot], scanner.string()?)
    })?;
    let [id, realm, method, intent, request, expires, digest, opaque] = slots;
    Some(Echo::from_parts(id?, [realm?, method?, intent?, request?], [expires, digest, opaque]))
}

fn fields(scanner: &mut Scanner<'_>) -> Option<Payload> {
    let (mut is_voucher, mut channel, mut cumulative, mut signature, mut terms) =
        (None, None, None, None, None);
    scanner.object(|scanner, name| match name {
        b"action" => once(&mut is_voucher, (scanner.string()? == "voucher").then_some(())?),
        b"channelId" => once(&mut channel, hex::<32>(scanner.string()?)?),
        b"cumulativeAmount" => once(&mut cumulative, scanner.string()?.parse::<Amount>().ok()?),
        b"signature" => once(&mut signature, scanner.string()?),
        b"descriptor" => once(&mut terms, descriptor(scanner)?),
        _ => None,
    })?;
    is_voucher?;
    let digits = signature?.strip_prefix("0x")?;
    if digits.is_empty() || digits.len() > 2 * SIGNATURE_BYTES_MAX || !digits.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = alloc::vec![0; digits.len() / 2];
    decode(digits.as_bytes(), &mut bytes)?;
    Some(Payload::Voucher(VoucherFields {
        channel: ChannelId(B256::new(channel?)),
        cumulative: cumulative?,
        signature: bytes,
        descriptor: terms,
    }))
}

fn descriptor(scanner: &mut Scanner<'_>) -> Option<Descriptor> {
    let (mut payer, mut payee, mut operator, mut token, mut signer) = (None, None, None, None, None);
    let (mut salt, mut nonce_hash) = (None, None);
    scanner.object(|scanner, name| {
        let mut address = |slot: &mut Option<Address>| once(slot, hex::<20>(scanner.string()?)?.into());
        match name {
            b"payer" => address(&mut payer),
            b"payee" => address(&mut payee),
            b"operator" => address(&mut operator),
            b"token" => address(&mut token),
            b"authorizedSigner" => address(&mut signer),
            b"salt" => once(&mut salt, hex::<32>(scanner.string()?)?.into()),
            b"expiringNonceHash" => once(&mut nonce_hash, hex::<32>(scanner.string()?)?.into()),
            _ => None,
        }
    })?;
    Some(Descriptor {
        payer: payer?,
        payee: payee?,
        operator: operator?,
        token: token?,
        salt: salt?,
        authorized_signer: signer?,
        expiring_nonce_hash: nonce_hash?,
    })
}

/// Fills a member; a second one of the same name is no plain credential.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.is_none().then(|| *slot = Some(value))
}

/// `0x` and exactly so many bytes in hex.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let mut bytes = [0; N];
    (digits.len() == 2 * N).then(|| decode(digits, &mut bytes))??;
    Some(bytes)
}

/// Two digits a byte; the caller saw to it that the lengths fit.
fn decode(digits: &[u8], bytes: &mut [u8]) -> Option<()> {
    let mut wrong = 0;
    for (pair, byte) in digits.chunks_exact(2).zip(bytes) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = (high << 4) | (low & 0x0F);
    }
    (wrong & 0xF0 == 0).then_some(())
}

/// The value of each hex digit, in any letter case; `0xF0` for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0xF0; 256];
    let mut value = 0;
    while value < 10 {
        digits[b'0' as usize + value] = value as u8;
        value += 1;
    }
    let mut value = 0;
    while value < 6 {
        digits[b'a' as usize + value] = 10 + value as u8;
        digits[b'A' as usize + value] = 10 + value as u8;
        value += 1;
    }
    digits
};

/// A place in a JSON text.
struct Scanner<'a> {
    text: &'a str,
    /// The bytes of `text`.
    json: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Reads an object, giving each member's name to `member`, which reads its value.
    fn object(&mut self, mut member: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.take(b'{')?;
        loop {
            let name = self.string()?;
            self.take(b':')?;
            member(self, name.as_bytes())?;
            self.space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// Reads a string without escapes.
    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let rest = self.json.get(self.at..)?;
        let length = plain_bytes(rest);
        if *rest.get(length)? != b'"' {
            return None;
        }
        let begin = self.at;
        self.at += length + 1;
        // Between two quotes, which are no part of a longer character.
        self.text.get(begin..begin + length)
    }

    /// Takes a byte that must come next, after white space.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.space();
        (self.next()? == byte).then_some(())
    }

    fn next(&mut self) -> Option<u8> {
        let byte = *self.json.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.json.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// How many bytes come before the first that ends a plain string, or makes it less plain: a quote, a backslash, a control
/// character. Eight bytes at a time: `(word ^ each of the wanted) - 1` borrows into the top bit of the first byte that
/// is one of them (Mycroft 1987); a borrow may run on into bytes behind that one, and only the first counts.
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut words = bytes.chunks_exact(8);
    let mut at = 0;
    for eight in words.by_ref() {
        let word = u64::from_le_bytes(eight.try_into().expect("chunks of eight"));
        let quotes = zero(word ^ (ONES * u64::from(b'"')));
        let backslashes = zero(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let stops = quotes | backslashes | controls;
        if stops != 0 {
            return at + stops.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_stop = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    at + words.remainder().iter().position(is_stop).unwrap_or(words.remainder().len())
}

#[cfg(test)]
mod tests {
    use super::plain_bytes;

    #[test]
    fn every_byte_at_every_place_is_a_stop_or_none() {
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=255 {
                    for filler in [b'a', 0xFF, 0x80, 0x21, 0x5D] {
                        let mut bytes = [filler; 20];
                        bytes[place] = byte;
                        let is_stop = byte < 0x20 || byte == b'"' || byte == b'\\';
                        let expected = if is_stop { place } else { length };
                        assert_eq!(plain_bytes(&bytes[..length]), expected, "{byte} at {place} of {length}");
                    }
                }
            }
        }
    }
}
