//! `[stripe]`: charges by Stripe, for clients without a session.

use std::path::{Path, PathBuf};

use super::expected::expected;
use super::problem::{Problems, quoted};
use super::{UpstreamUrl, file, parse, raw, shown_url};

/// The most kinds of payment methods.
const METHOD_TYPES_MAX: usize = 16;
/// The longest name of anything here, in characters.
const NAME_CHARS_MAX: usize = 64;

/// Whose account is paid, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// The secret key of the account; the environment wins over it.
    pub secret_key_file: PathBuf,
    /// The profile in Stripe's business network that tokens are made for.
    pub network_id: String,
    /// What may be paid with.
    pub payment_method_types: Vec<String>,
    /// The currency of all prices.
    pub currency: String,
    /// Another address than Stripe's own.
    pub api_url: Option<UpstreamUrl>,
}

/// The account of the file; `None` inside when there is none.
pub(super) fn stripe(
    raw: Option<&raw::Stripe>,
    directory: &Path,
    problems: &mut Problems,
) -> Option<Option<Stripe>> {
    let Some(raw) = raw else { return Some(None) };
    if !cfg!(feature = "charge") {
        let needed = "no such table: this program was built without the feature charge";
        problems.add("stripe", "a table", needed);
    }
    let key_file = file("stripe.secret_key_file", &raw.secret_key_file, directory, problems);
    let key = "stripe.network_id";
    let network_id = problems.check(key, &raw.network_id, expected(key), name);
    let key = "stripe.currency";
    let currency = problems.check(key, &raw.currency, expected(key), currency);
    let key = "stripe.payment_method_types";
    let kinds: Vec<String> = raw.payment_method_types.iter().filter_map(|kind| name(kind)).collect();
    if kinds.is_empty() || kinds.len() != raw.payment_method_types.len() || kinds.len() > METHOD_TYPES_MAX {
        problems.add(key, quoted(&raw.payment_method_types.join(", ")), expected(key));
    }
    let api_url = match &raw.api_url {
        None => Some(None),
        Some(url) => {
            let key = "stripe.api_url";
            // The key goes there.
            let api = || parse::upstream(url).filter(UpstreamUrl::is_private);
            problems.check(key, shown_url(url), expected(key), |_| api()).map(Some)
        }
    };
    Some(Some(Stripe {
        secret_key_file: key_file?,
        network_id: network_id?,
        payment_method_types: kinds,
        currency: currency?,
        api_url: api_url?,
    }))
}

fn name(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!text.is_empty() && text.len() <= NAME_CHARS_MAX && text.bytes().all(fits)).then(|| text.into())
}

fn currency(text: &str) -> Option<String> {
    (text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_lowercase())).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: impl FnOnce(&mut raw::Stripe)) -> (Option<Stripe>, Vec<String>) {
        let mut raw = raw::Stripe {
            secret_key_file: "stripe.key".into(),
            network_id: "profile_123".into(),
            payment_method_types: vec!["card".into(), "link".into()],
            currency: "usd".into(),
            api_url: None,
        };
        change(&mut raw);
        let mut problems = Problems::new(Default::default());
        let stripe = stripe(Some(&raw), Path::new("/etc"), &mut problems).flatten();
        let found = problems.into_vec().into_iter().map(|problem| problem.to_string());
        (stripe, found.filter(|problem| !problem.starts_with("stripe: ")).collect())
    }

    #[test]
    fn an_account_is_read() {
        let (stripe, problems) = read(|raw| raw.api_url = Some("http://127.0.0.1:9".into()));
        let stripe = stripe.unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(stripe.secret_key_file, Path::new("/etc/stripe.key"));
        assert_eq!(stripe.payment_method_types, ["card", "link"]);
        assert_eq!(stripe.api_url.unwrap().to_string(), "http://127.0.0.1:9");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refuses = |key: &str, change: fn(&mut raw::Stripe)| {
            let (_, problems) = read(change);
            assert!(problems.iter().any(|problem| problem.starts_with(key)), "{key}: {problems:?}");
        };
        refuses("stripe.secret_key_file", |raw| raw.secret_key_file.clear());
        refuses("stripe.network_id", |raw| raw.network_id = "a b".into());
        refuses("stripe.currency", |raw| raw.currency = "USD".into());
        refuses("stripe.payment_method_types", |raw| raw.payment_method_types.clear());
        refuses("stripe.payment_method_types", |raw| raw.payment_method_types.push("\"".into()));
        refuses("stripe.api_url", |raw| raw.api_url = Some("http://stripe.example.com".into()));
        refuses("stripe.api_url", |raw| raw.api_url = Some("https://user:hunter2@x".into()));
    }

    #[test]
    fn only_a_program_that_can_charge_takes_an_account() {
        let raw = raw::Stripe {
            secret_key_file: "stripe.key".into(),
            network_id: "profile_123".into(),
            payment_method_types: vec!["card".into()],
            currency: "usd".into(),
            api_url: None,
        };
        let mut problems = Problems::new(Default::default());
        assert!(stripe(Some(&raw), Path::new("/"), &mut problems).flatten().is_some());
        assert_eq!(problems.into_vec().is_empty(), cfg!(feature = "charge"));
    }
}
