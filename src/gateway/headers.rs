//! Which headers cross the gateway, and which end here.
//!
//! Payment credentials are for Farebox: the upstream never sees them, and cannot speak in our name to the
//! client. Hop-by-hop headers (RFC 9110, 7.6.1) belong to one connection.

use std::net::IpAddr;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ACCEPT_PAYMENT: HeaderName = HeaderName::from_static("accept-payment");
/// What the headers of this protocol begin with.
const PAYMENT_PREFIX: &str = "payment-";
/// The authentication scheme of this protocol.
const PAYMENT_SCHEME: &str = "payment";

/// What is known about the client side of a request.
#[derive(Clone, Copy, Debug)]
pub struct ClientSide<'a> {
    /// Who is connected.
    pub address: IpAddr,
    /// The authority that was asked for.
    pub host: Option<&'a str>,
    /// Whether what the client says about those before it is believed.
    pub trusted: bool,
    /// Whether its connection is TLS.
    pub is_tls: bool,
}

/// Who asks: the peer, or whom a trusted proxy names last.
pub fn client_address(headers: &HeaderMap, peer: IpAddr, trusted: bool) -> IpAddr {
    let last = headers.get_all(X_FORWARDED_FOR).iter().next_back().and_then(|value| value.to_str().ok());
    let named = last.and_then(|chain| chain.rsplit(',').next()?.trim().parse().ok());
    named.filter(|_| trusted).unwrap_or(peer)
}

/// A request's headers as the upstream gets them.
pub fn to_upstream(headers: &mut HeaderMap, client: ClientSide<'_>, plain_body: bool) {
    let host = client.host.and_then(|host| HeaderValue::from_str(host).ok());
    let host = headers.remove(HOST).or(host);
    remove_hop_by_hop(headers);
    remove_payment(headers);
    // The server answered it already, when the body was asked for.
    headers.remove(EXPECT);
    if plain_body {
        // Events are counted, so they must be readable.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    forwarded(headers, client, host);
}

/// A response's headers as the client gets them. Receipts and challenges are ours to give.
pub fn to_client(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    remove_payment(headers);
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn remove_payment(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(PAYMENT_PREFIX) || **name == ACCEPT_PAYMENT)
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
    for name in [AUTHORIZATION, http::header::WWW_AUTHENTICATE] {
        keep_other_schemes(headers, &name);
    }
}

/// Removes the values that speak of payments. A list of challenges or credentials in one value is removed
/// whole: it cannot be told apart without parsing what is not ours.
fn keep_other_schemes(headers: &mut HeaderMap, name: &HeaderName) {
    let kept: Vec<HeaderValue> =
        headers.get_all(name).iter().filter(|value| !speaks_payment(value.as_bytes())).cloned().collect();
    if kept.len() == headers.get_all(name).iter().count() {
        return;
    }
    headers.remove(name);
    for value in kept {
        headers.append(name, value);
    }
}

/// Whether some element of the list names the scheme.
fn speaks_payment(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|element| {
        let element = element.trim_ascii_start();
        let end = element.iter().position(u8::is_ascii_whitespace).unwrap_or(element.len());
        element[..end].eq_ignore_ascii_case(PAYMENT_SCHEME.as_bytes())
    })
}

/// `X-Forwarded-*`: from a trusted client side they are kept and extended, else they start here.
fn forwarded(headers: &mut HeaderMap, client: ClientSide<'_>, host: Option<HeaderValue>) {
    let address = client.address.to_canonical().to_string();
    let chain = match headers.get(X_FORWARDED_FOR).and_then(|value| value.to_str().ok()) {
        Some(before) if client.trusted => format!("{before}, {address}"),
        _ => address,
    };
    if !client.trusted {
        for name in [X_FORWARDED_HOST, X_FORWARDED_PROTO, FORWARDED] {
            headers.remove(name);
        }
    }
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    if let Some(host) = host {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    let scheme = if client.is_tls { "https" } else { "http" };
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static(scheme));
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientSide<'_> = ClientSide {
        address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        host: None,
        trusted: false,
        is_tls: false,
    };

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn list(headers: &HeaderMap) -> Vec<String> {
        let mut list: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        list.sort();
        list
    }

    #[test]
    fn payment_and_hop_by_hop_headers_end_here() {
        let mut headers = map(&[
            ("host", "api.example.com"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
            ("authorization", "Payment eyJ4"),
            ("authorization", "Bearer token"),
            ("payment-session", "0x1"),
            ("payment-anything", "x"),
            ("accept-payment", "tempo/session"),
            ("idempotency-key", "k"),
            ("x-kept", "1"),
        ]);
        to_upstream(&mut headers, CLIENT, false);
        assert_eq!(
            list(&headers),
            [
                "authorization: Bearer token",
                "idempotency-key: k",
                "x-forwarded-for: 192.0.2.7",
                "x-forwarded-host: api.example.com",
                "x-forwarded-proto: http",
                "x-kept: 1",
            ]
        );
    }

    #[test]
    fn the_scheme_is_found_in_any_case_and_place() {
        for value in ["Payment x", "PAYMENT", "payment  x", "Bearer a, Payment b", "Bearer a,\tpayment b"] {
            assert!(speaks_payment(value.as_bytes()), "{value}");
        }
        for value in ["Bearer Payment", "Payments x", "Basic cGF5bWVudA==", ""] {
            assert!(!speaks_payment(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn what_a_stranger_says_about_those_before_it_is_not_passed_on() {
        let said = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=10.0.0.1"),
        ];
        let mut headers = map(&said);
        to_upstream(&mut headers, ClientSide { host: Some("h:1"), ..CLIENT }, false);
        assert_eq!(
            list(&headers),
            ["x-forwarded-for: 192.0.2.7", "x-forwarded-host: h:1", "x-forwarded-proto: http"]
        );
        let mut headers = map(&said);
        to_upstream(&mut headers, ClientSide { trusted: true, ..CLIENT }, true);
        assert_eq!(
            list(&headers),
            [
                "accept-encoding: identity",
                "forwarded: for=10.0.0.1",
                "x-forwarded-for: 10.0.0.1, 192.0.2.7",
                "x-forwarded-host: evil.example",
                "x-forwarded-proto: https",
            ]
        );
    }

    #[test]
    fn an_upstream_cannot_give_receipts_or_challenges() {
        let mut headers = map(&[
            ("payment-receipt", "forged"),
            ("www-authenticate", "Payment id=\"x\""),
            ("www-authenticate", "Basic realm=\"x\""),
            ("connection", "keep-alive"),
            ("content-type", "text/plain"),
        ]);
        to_client(&mut headers);
        assert_eq!(list(&headers), ["content-type: text/plain", "www-authenticate: Basic realm=\"x\""]);
    }

    #[test]
    fn only_a_trusted_proxy_names_the_client() {
        let peer: IpAddr = "192.0.2.7".parse().unwrap();
        let named = |value: &'static str, trusted| {
            client_address(&map(&[("x-forwarded-for", value)]), peer, trusted).to_string()
        };
        assert_eq!(named("198.51.100.1", false), "192.0.2.7");
        assert_eq!(named("203.0.113.9, 198.51.100.1", true), "198.51.100.1", "what it appended itself");
        assert_eq!(named("nonsense", true), "192.0.2.7");
        assert_eq!(client_address(&HeaderMap::new(), peer, true), peer);
    }
}
