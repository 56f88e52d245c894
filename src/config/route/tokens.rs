//! The other tokens that a route takes.

use farebox_core::units::Address;
use farebox_engine::http::TokenPrice;

use super::expected;
use super::{Problems, parse, raw};

/// The most tokens of one route beside the payee's own: each is one more challenge in every 402.
const TOKENS_MAX: usize = 16;

/// The entries of `route[].tokens`.
pub(super) fn tokens(key: &str, raw: &[raw::TokenPrice], problems: &mut Problems) -> Option<Vec<TokenPrice>> {
    if raw.len() > TOKENS_MAX {
        problems.add(key, format!("{} entries", raw.len()), expected(key));
        return None;
    }
    let mut tokens = Vec::with_capacity(raw.len());
    let mut seen: Vec<Address> = Vec::with_capacity(raw.len());
    for (index, entry) in raw.iter().enumerate() {
        let price = token(&format!("{key}[{index}]"), entry, problems);
        let Some(price) = price else { continue };
        if seen.contains(&price.token) {
            let key = format!("{key}[{index}].token");
            problems.add(key, "a token that is listed before", "each token once");
        }
        seen.push(price.token);
        tokens.push(price);
    }
    (tokens.len() == raw.len()).then_some(tokens)
}

fn token(key: &str, raw: &raw::TokenPrice, problems: &mut Problems) -> Option<TokenPrice> {
    let mut amount = |name: &str, value: &str| {
        let key = format!("{key}.{name}");
        problems.check(&key, value, expected(&key), parse::price)
    };
    let price = amount("amount", &raw.amount);
    let deposit = match &raw.suggested_deposit {
        Some(deposit) => amount("suggested_deposit", deposit).map(Some),
        None => Some(None),
    };
    let token_key = format!("{key}.token");
    let token = problems.check(&token_key, &raw.token, expected(&token_key), parse::address);
    Some(TokenPrice { token: token?, price: price?, suggested_deposit: deposit? })
}
