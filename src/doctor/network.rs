//! Addresses to listen on, and the upstream.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use super::books::Server;
use super::finding::Finding;
use crate::config::Config;

/// Tries to listen where the server will.
pub(super) fn listeners(config: &Config, server: Option<Server>, findings: &mut Vec<Finding>) {
    let mut addresses = vec![("listen.admin", "server.admin_listen", config.server.admin_listen)];
    if config.upstream.is_some() {
        addresses.push(("listen", "server.listen", config.server.listen));
    }
    addresses.extend(config.local.listen.map(|address| ("listen.local", "local.listen", address)));
    for (check, key, address) in addresses {
        findings.push(match TcpListener::bind(address) {
            Ok(_) => Finding::ok(check, format!("{key} {address} is free")),
            Err(error) => not_free(check, key, address, server, &error),
        });
    }
    let admin = config.server.admin_listen;
    if !admin.ip().is_loopback() {
        let found =
            format!("server.admin_listen {admin} is reachable from other machines; it shows the books");
        let fix = "listen on 127.0.0.1, or keep the port inside a private network";
        findings.push(Finding::warning("listen.admin", found, fix));
    }
}

fn not_free(
    check: &'static str,
    key: &str,
    address: SocketAddr,
    server: Option<Server>,
    error: &io::Error,
) -> Finding {
    match (error.kind(), server) {
        (ErrorKind::AddrInUse, Some(_)) => Finding::ok(
            check,
            format!("{key} {address} is taken, and a server holds the books: it is probably that one's"),
        ),
        (ErrorKind::AddrInUse, None) => {
            let fix =
                format!("see who has it (ss -ltnp 'sport = :{}'), end it or change {key}", address.port());
            Finding::error(check, format!("{key} {address} is taken by another program"), fix)
        }
        (ErrorKind::PermissionDenied, _) => {
            let fix =
                "take a port above 1023, or AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit";
            Finding::error(check, format!("{key} {address} may not be used: {error}"), fix)
        }
        (ErrorKind::AddrNotAvailable, _) => {
            let fix = format!("set {key} to an address of this machine (ip address)");
            Finding::error(check, format!("{key} {address} is no address of this machine"), fix)
        }
        _ => Finding::error(
            check,
            format!("{key} {address} cannot be used: {error}"),
            format!("correct {key}"),
        ),
    }
}

/// Opens a connection to the upstream, and asks nothing.
pub(super) fn upstream(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "upstream";
    let Some(upstream) = &config.upstream else { return };
    let url = &upstream.url;
    let port =
        url.authority.port_u16().unwrap_or(if url.scheme == http::uri::Scheme::HTTPS { 443 } else { 80 });
    let host = url.authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let connected = (host, port).to_socket_addrs().and_then(|addresses| {
        let mut last = io::Error::new(ErrorKind::NotFound, "its name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, upstream.connect_timeout) {
                Ok(_) => return Ok(address),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    findings.push(match connected {
        Ok(address) => Finding::ok(CHECK, format!("{url} answers at {address}")),
        Err(error) => {
            let found =
                format!("upstream.url {url} does not answer: {error}; clients get 502, and pay nothing");
            Finding::error(CHECK, found, "start the upstream, or correct upstream.url")
        }
    });
}
