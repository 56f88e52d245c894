//! The texts of the configuration, one parser a kind. `None` means: not that.

use std::fmt;
use std::time::Duration;

use farebox_core::challenge::Realm;
use farebox_core::units::{Address, Amount};
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// A nonzero address: lowercase hex, or mixed case with a correct checksum, so that a slip in an address
/// that money goes to is found.
pub(super) fn address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x")?;
    let address = if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Address::parse_checksummed(text, None).ok()?
    } else {
        text.parse().ok()?
    };
    (digits.len() == 40 && !address.is_zero()).then_some(address)
}

/// Base units.
pub(super) fn amount(text: &str) -> Option<Amount> {
    text.parse().ok().filter(|amount| *amount <= Amount::MAX_V2)
}

/// Base units, not zero.
pub(super) fn price(text: &str) -> Option<Amount> {
    amount(text).filter(|amount| !amount.is_zero())
}

/// A realm.
pub(super) fn realm(text: &str) -> Option<Realm> {
    Realm::new(text).ok()
}

/// The name of a unit.
pub(super) fn unit(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(fits)).then(|| text.into())
}

/// Words for people: what fits into a header parameter.
pub(super) fn description(text: &str) -> Option<String> {
    let fits = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\';
    (!text.trim().is_empty() && text.len() <= 512 && text.bytes().all(fits)).then(|| text.into())
}

/// Where the upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// What is put before the path of a request; empty, or it starts with `/` and ends without one.
    pub path_prefix: String,
}

impl UpstreamUrl {
    /// Whether nobody on the way reads what is sent there: it is TLS, or this machine.
    pub(super) fn is_private(&self) -> bool {
        let host = self.authority.host().trim_matches(['[', ']']);
        let is_local = host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
        self.scheme == Scheme::HTTPS || is_local
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.path_prefix)
    }
}

/// An upstream's base URL.
pub(super) fn upstream(text: &str) -> Option<UpstreamUrl> {
    let parts = web_url(text)?.into_parts();
    let path = parts.path_and_query.unwrap_or(PathAndQuery::from_static("/"));
    if path.query().is_some() || parts.authority.as_ref()?.as_str().contains('@') {
        return None;
    }
    let path_prefix = path.path().trim_end_matches('/').to_owned();
    Some(UpstreamUrl { scheme: parts.scheme?, authority: parts.authority?, path_prefix })
}

/// Where an RPC endpoint is. Its path, query and credentials may hold an access key, so it shows its host only.
#[derive(Clone, PartialEq, Eq)]
pub struct RpcUrl(String);

impl RpcUrl {
    /// The whole URL. Do not print it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri: Option<Uri> = self.0.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or("?");
        match uri.as_ref().and_then(Uri::port_u16) {
            Some(port) => write!(f, "{host}:{port}"),
            None => f.write_str(host),
        }
    }
}

impl fmt::Debug for RpcUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcUrl({self})")
    }
}

/// The URL of an RPC endpoint.
pub(super) fn rpc(text: &str) -> Option<RpcUrl> {
    web_url(text).map(|_| RpcUrl(text.into()))
}

/// The URL of a WebSocket.
pub(super) fn heads(text: &str) -> Option<RpcUrl> {
    let uri: Uri = text.parse().ok()?;
    let is_socket = matches!(uri.scheme_str(), Some("ws" | "wss"));
    let is_whole = !uri.host()?.is_empty() && !text.contains('#');
    (is_socket && is_whole).then(|| RpcUrl(text.into()))
}

/// A URL with a scheme of the web and a host, without a fragment.
fn web_url(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let web = uri.scheme() == Some(&Scheme::HTTP) || uri.scheme() == Some(&Scheme::HTTPS);
    (web && !uri.host()?.is_empty() && !text.contains('#')).then_some(uri)
}

/// Whole seconds between two bounds.
pub(super) fn seconds(value: u64, least: u64, most: u64) -> Option<Duration> {
    (least..=most).contains(&value).then(|| Duration::from_secs(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_a_slip_are_refused() {
        let checksummed = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
        assert_eq!(address(checksummed), address(&checksummed.to_lowercase()));
        assert!(address(checksummed).is_some());
        for wrong in [
            "0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "f39fd6e51aad88f6f4ce6ab8827279cfffb92266",
            "0xf39fd6e51aad88f6f4ce6ab8827279cfffb9226",
            "0xf39fd6e51aad88f6f4ce6ab8827279cfffb922666",
            "0x0000000000000000000000000000000000000000",
            "0xg39fd6e51aad88f6f4ce6ab8827279cfffb92266",
            "",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_rpc_url_never_shows_its_secret() {
        let url = rpc("https://user:hunter2@rpc.example.com:8443/v3/s3cret?key=s3cret").unwrap();
        assert_eq!(format!("{url} {url:?}"), "rpc.example.com:8443 RpcUrl(rpc.example.com:8443)");
        assert!(url.reveal().contains("s3cret"));
    }

    #[test]
    fn urls_of_the_web_only() {
        let url = upstream("https://api.example.com/base/").unwrap();
        assert_eq!(url.to_string(), "https://api.example.com/base");
        assert_eq!(upstream("http://127.0.0.1:9000").unwrap().to_string(), "http://127.0.0.1:9000");
        for wrong in
            ["127.0.0.1:9000", "ftp://x", "http://", "/x", "http://u:p@x", "http://x/?q=1", "http://x/#f", ""]
        {
            assert_eq!(upstream(wrong), None, "{wrong}");
        }
        for wrong in ["ws://x", "localhost", "http//x"] {
            assert_eq!(rpc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn prices_are_whole_base_units() {
        assert_eq!(price("25"), Some(Amount::new(25)));
        for wrong in ["0", "-1", "2.5", "0x19", "", " 25", "79228162514264337593543950336"] {
            assert_eq!(price(wrong), None, "{wrong}");
        }
        assert_eq!(amount("0"), Some(Amount::ZERO));
    }
}
