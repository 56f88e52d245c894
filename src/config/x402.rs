//! `[x402]`: authorizations for a token on another chain (EIP-3009), which clients of x402 can pay with.

use farebox_core::challenge::evm::EvmTerms;
use farebox_core::units::{Address, ChainId};

use super::expected::expected;
use super::problem::{Problems, quoted};
use super::{UpstreamUrl, parse, raw, shown_url};

/// More digits than any token has behind its point.
const DECIMALS_MAX: u64 = 36;
/// The longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Who is paid in which token, and who sends the authorizations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct X402 {
    /// Chain, token and payee.
    pub terms: EvmTerms,
    /// Who sends authorizations to their chain.
    pub facilitator: UpstreamUrl,
    /// Where clients see this server, without a path.
    pub origin: String,
}

/// The table of the file; `None` inside when there is none.
pub(super) fn x402(
    raw: Option<&raw::X402>,
    payee: Option<Address>,
    problems: &mut Problems,
) -> Option<Option<X402>> {
    let Some(raw) = raw else { return Some(None) };
    let mut url = |key: &str, text: &str| {
        problems.check(key, shown_url(text), expected(key), |_| {
            // Authorizations and answers are money: only over TLS, or on this machine.
            parse::upstream(text).filter(UpstreamUrl::is_private)
        })
    };
    let facilitator = url("x402.facilitator_url", &raw.facilitator_url);
    let origin = url("x402.origin", &raw.origin);
    if origin.as_ref().is_some_and(|origin| !origin.path_prefix.is_empty()) {
        problems.add("x402.origin", quoted(shown_url(&raw.origin)), expected("x402.origin"));
    }
    let mut address = |key: &str, text: &str| problems.check(key, text, expected(key), parse::address);
    let token = address("x402.token", &raw.token);
    let payee = match &raw.payee {
        Some(text) => address("x402.payee", text),
        None => payee,
    };
    let mut name = |key: &str, text: &str| {
        let fits = |text: &str| {
            let is_fine = !text.is_empty() && text.len() <= NAME_BYTES_MAX;
            (is_fine && !text.chars().any(char::is_control)).then(|| text.to_owned())
        };
        problems.check(key, text, expected(key), fits)
    };
    let token_name = name("x402.token_name", &raw.token_name);
    let token_version = name("x402.token_version", &raw.token_version);
    let decimals = u8::try_from(raw.decimals).ok().filter(|_| raw.decimals <= DECIMALS_MAX);
    if decimals.is_none() {
        problems.add("x402.decimals", raw.decimals.to_string(), expected("x402.decimals"));
    }
    if raw.chain_id == 0 {
        problems.add("x402.chain_id", "0", expected("x402.chain_id"));
    }
    let terms = EvmTerms {
        chain_id: ChainId(raw.chain_id),
        token: token?,
        token_name: token_name?,
        token_version: token_version?,
        payee: payee?,
        decimals: decimals?,
    };
    Some(Some(X402 { terms, facilitator: facilitator?, origin: origin?.to_string() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYEE: Address = Address::repeat_byte(7);

    fn read(change: impl FnOnce(&mut raw::X402)) -> (Option<X402>, Vec<String>) {
        let mut raw = raw::X402 {
            facilitator_url: "https://facilitator.example.com/v2".into(),
            origin: "https://api.example.com".into(),
            chain_id: 84_532,
            token: "0x036cbd53842c5426634e7929541ec2318f3dcf7e".into(),
            token_name: "USDC".into(),
            token_version: "2".into(),
            decimals: 6,
            payee: None,
        };
        change(&mut raw);
        let mut problems = Problems::new(Default::default());
        let read = x402(Some(&raw), Some(PAYEE), &mut problems).flatten();
        (read, problems.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_table_is_read() {
        let (read_, problems) = read(|_| ());
        let x402 = read_.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!((x402.terms.payee, x402.terms.chain_id), (PAYEE, ChainId(84_532)));
        assert_eq!(x402.origin, "https://api.example.com");
        assert_eq!(x402.facilitator.to_string(), "https://facilitator.example.com/v2");
        let other = format!("{:#x}", Address::repeat_byte(8));
        let (read, _) = read(|raw| raw.payee = Some(other));
        assert_eq!(read.unwrap().terms.payee, Address::repeat_byte(8));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refuses = |key: &str, change: fn(&mut raw::X402)| {
            let (_, problems) = read(change);
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        };
        refuses("x402.facilitator_url", |raw| raw.facilitator_url = "http://facilitator.example.com".into());
        refuses("x402.origin", |raw| raw.origin = "http://api.example.com".into());
        refuses("x402.origin", |raw| raw.origin = "https://api.example.com/base".into());
        refuses("x402.chain_id", |raw| raw.chain_id = 0);
        refuses("x402.token", |raw| raw.token = "0x0".into());
        refuses("x402.token_name", |raw| raw.token_name.clear());
        refuses("x402.token_version", |raw| raw.token_version = "\n".into());
        refuses("x402.decimals", |raw| raw.decimals = 37);
        refuses("x402.payee", |raw| raw.payee = Some("x".into()));
    }
}
