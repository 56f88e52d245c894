//! Shutting out by hand: a channel is quarantined, a payer denied, and both are let in again. Only with the admin key.
//!
//! A quarantined channel takes no vouchers and no charges; what was spent is claimed as ever, and its payer may close it.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use farebox_engine::clock::{Clock, SystemClock};
use farebox_engine::core::channel::{Subject, Until};
use farebox_engine::core::units::{Address, UnixSeconds};
use serde::Deserialize;
use serde_json::{Value, json};

use super::actions::refuse;
use super::{Admin, bad_id, problem, read_id, unavailable};
use crate::denials::{DenialError, Denials};

/// The longest time that makes sense, in seconds: a hundred years.
const FOR_S_MAX: u64 = 100 * 365 * 86_400;

#[derive(Deserialize)]
pub(super) struct Term {
    r#for: Option<u64>,
}

impl Term {
    fn until(&self, now: UnixSeconds) -> Result<Until, Box<Response>> {
        match self.r#for {
            None => Ok(None),
            Some(seconds @ 1..=FOR_S_MAX) => Ok(Some(UnixSeconds(now.0.saturating_add(seconds)))),
            Some(found) => {
                let detail = format!("found for={found}, expected seconds, 1 to {FOR_S_MAX}");
                Err(problem(StatusCode::BAD_REQUEST, &detail).into())
            }
        }
    }
}

/// `GET /v1/denials`: who is shut out by hand.
pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let denials =
        admin.denials.as_ref().map(|denials| denials.by_hand(SystemClock.now())).unwrap_or_default();
    let listed: Vec<Value> = denials.iter().map(|(subject, until)| view(subject, *until)).collect();
    Json(json!({ "denials": listed })).into_response()
}

/// `POST /v1/channels/{id}/quarantine?for=3600`
pub(super) async fn quarantine(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Query(term): Query<Term>,
    headers: HeaderMap,
) -> Response {
    let denials = match permitted(&admin, &headers) {
        Ok(denials) => denials,
        Err(refusal) => return *refusal,
    };
    let Some(id) = read_id(&id) else { return bad_id("id") };
    match admin.engine.read(id).await {
        Ok(Some(_)) => {}
        Ok(None) => return problem(StatusCode::NOT_FOUND, &format!("the books hold no channel {id}")),
        Err(error) => return unavailable(&error),
    }
    deny(denials, Subject::Channel(id), &term).await
}

/// `POST /v1/channels/{id}/release`
pub(super) async fn release(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    match permitted(&admin, &headers) {
        Err(refusal) => *refusal,
        Ok(denials) => match read_id(&id) {
            Some(id) => allow(denials, Subject::Channel(id)).await,
            None => bad_id("id"),
        },
    }
}

/// `POST /v1/payers/{address}/deny?for=3600`
pub(super) async fn deny_payer(
    State(admin): State<Admin>,
    Path(payer): Path<String>,
    Query(term): Query<Term>,
    headers: HeaderMap,
) -> Response {
    match permitted_payer(&admin, &headers, &payer) {
        Err(refusal) => *refusal,
        Ok((denials, payer)) => deny(denials, payer, &term).await,
    }
}

/// `POST /v1/payers/{address}/allow`
pub(super) async fn allow_payer(
    State(admin): State<Admin>,
    Path(payer): Path<String>,
    headers: HeaderMap,
) -> Response {
    match permitted_payer(&admin, &headers, &payer) {
        Err(refusal) => *refusal,
        Ok((denials, payer)) => allow(denials, payer).await,
    }
}

/// The payer of an action that is permitted.
fn permitted_payer<'a>(
    admin: &'a Admin,
    headers: &HeaderMap,
    payer: &str,
) -> Result<(&'a Denials, Subject), Box<Response>> {
    let denials = permitted(admin, headers)?;
    let payer = read_address(payer).ok_or_else(|| Box::new(bad_address()))?;
    Ok((denials, Subject::Payer(payer)))
}

fn permitted<'a>(admin: &'a Admin, headers: &HeaderMap) -> Result<&'a Denials, Box<Response>> {
    if let Some(refusal) = refuse(admin, headers) {
        return Err(refusal.into());
    }
    let nobody =
        || Box::new(problem(StatusCode::CONFLICT, "this process sells nothing: nobody can be shut out"));
    admin.denials.as_ref().ok_or_else(nobody)
}

async fn deny(denials: &Denials, subject: Subject, term: &Term) -> Response {
    let until = match term.until(SystemClock.now()) {
        Ok(until) => until,
        Err(refusal) => return *refusal,
    };
    match denials.deny(subject, until).await {
        Ok(()) => {
            let view = view(&subject, until);
            tracing::info!(entry = %view, "shut out: the operator asked for it");
            Json(view).into_response()
        }
        Err(error) => failure(&error),
    }
}

async fn allow(denials: &Denials, subject: Subject) -> Response {
    match denials.allow(subject).await {
        Ok(()) => {
            let view = named(&subject);
            tracing::info!(entry = %view, "let in again: the operator asked for it");
            Json(view).into_response()
        }
        Err(error) => failure(&error),
    }
}

fn failure(error: &DenialError) -> Response {
    let status = match error {
        DenialError::Engine(error) => return unavailable(error),
        DenialError::Unknown => StatusCode::NOT_FOUND,
        DenialError::Full | DenialError::Configured => StatusCode::CONFLICT,
    };
    problem(status, &error.to_string())
}

fn named(subject: &Subject) -> Value {
    match subject {
        Subject::Payer(payer) => json!({ "payer": format!("{payer:#x}") }),
        Subject::Signer(signer) => json!({ "signer": format!("{signer:#x}") }),
        Subject::Channel(channel) => json!({ "channelId": channel.to_string() }),
    }
}

fn view(subject: &Subject, until: Until) -> Value {
    let mut view = named(subject);
    view["until"] = until.map(|until| until.0).into();
    view
}

fn read_address(text: &str) -> Option<Address> {
    let digits = text.strip_prefix("0x")?;
    (digits.len() == 40).then(|| digits.parse().ok()).flatten()
}

fn bad_address() -> Response {
    problem(StatusCode::BAD_REQUEST, "payer is malformed, expected 0x and 40 hex digits")
}
