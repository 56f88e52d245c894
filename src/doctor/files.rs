//! The configuration and the key files.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::finding::Finding;
use crate::cli::{load_config, load_config_for};
use crate::config::{Config, ConfigError, Fare, PayeeKey, Purpose};
use crate::gateway::Tls;
use crate::keys::{self, KeyError};

/// What nobody but the owner may do with the configuration: it says who is paid.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Reads the configuration; every problem of it is a finding.
pub(super) fn config(path: &Path, findings: &mut Vec<Finding>) -> Option<Config> {
    const CHECK: &str = "config";
    match load_config_for(path, purpose(path)) {
        Ok(config) => {
            findings.push(Finding::ok(CHECK, format!("{} is read and understood", path.display())));
            mode(path, findings);
            deposits(&config, findings);
            Some(config)
        }
        Err(ConfigError::Unreadable { path, cause }) => {
            let fix = match cause.kind() {
                ErrorKind::NotFound => {
                    "copy farebox.example.toml to there and edit it, or name the right file with -c"
                }
                _ => "let the user that Farebox runs as read the file",
            };
            findings.push(Finding::error(CHECK, format!("{} cannot be read: {cause}", path.display()), fix));
            None
        }
        Err(ConfigError::Syntax { path, what }) => {
            let found = format!("{} is no TOML: {what}", path.display());
            findings.push(Finding::error(CHECK, found, "repair the file there; texts need quotes"));
            None
        }
        Err(ConfigError::Invalid { problems, .. }) => {
            for problem in problems {
                let place = problem.variable.as_deref().map_or_else(String::new, |variable| {
                    format!(" (it is set by the environment variable {variable})")
                });
                let found = format!("{} is {}{place}", problem.key, problem.found);
                let fix = format!("set {} to {}", problem.key, problem.expected);
                findings.push(Finding::error(CHECK, found, fix));
            }
            None
        }
    }
}

/// A set-up without upstream but with a local API is that of `farebox settle`; every other is for `farebox serve`.
fn purpose(path: &Path) -> Purpose {
    match load_config(path) {
        Ok(Config { upstream: None, local, .. }) if local.socket.is_some() || local.listen.is_some() => {
            Purpose::Books
        }
        _ => Purpose::Serve,
    }
}

fn mode(path: &Path, findings: &mut Vec<Finding>) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & WRITTEN_BY_OTHERS != 0 {
        let found =
            format!("{} has mode {mode:04o}: others may change prices and who is paid", path.display());
        findings.push(Finding::warning("config.mode", found, format!("chmod go-w {}", path.display())));
    }
}

/// A client that deposits what it is advised to must be let in.
fn deposits(config: &Config, findings: &mut Vec<Finding>) {
    const CHECK: &str = "config.deposit";
    for (index, route) in config.routes.as_slice().iter().enumerate() {
        let Fare::Paid(price) = &route.fare else { continue };
        let Some(advised) = price.suggested_deposit else { continue };
        let key = format!("route[{index}].suggested_deposit");
        if advised < config.risk.deposit_min {
            let found = format!("{key} is {advised}, less than risk.deposit_min: who follows it is refused");
            findings.push(Finding::warning(CHECK, found, format!("raise {key}, or lower risk.deposit_min")));
        }
    }
}

/// The payee's key and the key that binds challenges.
pub(super) fn keys(config: &Config, findings: &mut Vec<Finding>) {
    const PAYEE: &str = "keys.payee";
    match keys::payee_key(config) {
        Ok(key) => {
            let role = if key.address() == config.payee.address { "payee" } else { "operator" };
            let found = match &config.payee.key {
                PayeeKey::File(_) => {
                    format!("mode and owner are right; it is the {role}'s, {:#x}", key.address())
                }
                PayeeKey::Kms(name) => format!("{name} is to be the {role}'s, {:#x}", key.address()),
            };
            findings.push(Finding::ok(PAYEE, found));
        }
        Err(error) => findings.push(refused(PAYEE, &error)),
    }
    if let Some(path) = &config.server.admin_key_file {
        const ADMIN: &str = "keys.admin";
        findings.push(match keys::admin_key(path) {
            Ok(_) => Finding::ok(ADMIN, "mode and content are right; actions of the admin API need it"),
            Err(error) => refused(ADMIN, &error),
        });
    }
    const SPONSOR: &str = "keys.sponsor";
    match keys::sponsor_key(config) {
        Ok(None) => {}
        Ok(Some(key)) => {
            let found = format!("mode and content are right; {:#x} pays the fees of clients", key.address());
            findings.push(Finding::ok(SPONSOR, found));
        }
        Err(error) => findings.push(refused(SPONSOR, &error)),
    }
    if let Some(webhook) = &config.webhook {
        const WEBHOOK: &str = "keys.webhook";
        findings.push(match keys::webhook_key(&webhook.key_file) {
            Ok(_) => Finding::ok(WEBHOOK, "mode and content are right; money events are signed with it"),
            Err(error) => refused(WEBHOOK, &error),
        });
    }
    if config.stripe.is_some() {
        const STRIPE: &str = "keys.stripe";
        findings.push(match keys::stripe_key(config) {
            Ok(_) => Finding::ok(STRIPE, "mode and content are right; charges by Stripe are made with it"),
            Err(error) => refused(STRIPE, &error),
        });
    }
    if let Some(files) = &config.server.tls {
        const TLS: &str = "tls";
        findings.push(match Tls::load(files) {
            Ok(_) => Finding::ok(TLS, "certificate and key can be used"),
            Err(error) => {
                let fix =
                    "let both files be PEM, the key that of the first certificate, readable by Farebox alone";
                Finding::error(TLS, error.to_string(), fix)
            }
        });
    }
    if let Err(error) = keys::previous_challenge_keys(&config.server.previous_challenge_key_files) {
        findings.push(refused("keys.challenge", &error));
    }
    const CHALLENGE: &str = "keys.challenge";
    let path = &config.server.challenge_key_file;
    match keys::check_challenge_key(path) {
        Err(error) => findings.push(refused(CHALLENGE, &error)),
        Ok(()) if path.exists() => findings.push(Finding::ok(CHALLENGE, "mode and content are right")),
        Ok(()) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            findings.push(if folder.is_dir() {
                let found = format!("{} is absent; the first start makes it", path.display());
                Finding::ok(CHALLENGE, found)
            } else {
                let found = format!("{} cannot be made: its folder is not there", path.display());
                Finding::error(CHALLENGE, found, format!("mkdir -p {}", folder.display()))
            });
        }
    }
}

fn refused(check: &'static str, error: &KeyError) -> Finding {
    let fix = match error {
        KeyError::Io { path, cause, .. } if cause.kind() == ErrorKind::NotFound => {
            format!("put the key there: install -m 600 /dev/stdin {}", path.display())
        }
        KeyError::Io { path, .. } => {
            format!("let the user that Farebox runs as read {}, and nobody else", path.display())
        }
        KeyError::Mode { path, .. } => format!("chmod 600 {}", path.display()),
        KeyError::Malformed { path, .. } => {
            format!("write the key as 64 hex digits into {}; nothing else may be in the file", path.display())
        }
        KeyError::Variable { variable, .. } => format!("set {variable} to 64 hex digits, or unset it"),
        KeyError::NoService { feature, .. } => {
            format!("use a program that was built with --features {feature}, or payee.key_file")
        }
        KeyError::Stripe { .. } => {
            "copy the secret key from Stripe's dashboard; nothing else may be in its place".into()
        }
        KeyError::Stranger { .. } => {
            "use the payee's key, or correct payee.address (or payee.operator) if the key is right".into()
        }
    };
    Finding::error(check, error.to_string(), fix)
}
