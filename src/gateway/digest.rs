//! The digest of a request's body (RFC 9530), for challenges that hold for one body alone.

use bytes::Bytes;
use farebox_engine::core::challenge::digest::{body_digest, sha256_of};
use http::header::HeaderName;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, LengthLimitError};

use super::body::{Body, Paused, full};
use super::problem::Problem;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// Reads the body, whose bounds are set already, and says its digest. One that the client states must be true.
pub async fn read(
    request: Request<Body>,
    bytes_max: u64,
) -> Result<(Request<Body>, Option<String>), Problem> {
    let (parts, body) = request.into_parts();
    let bytes = collect(body, bytes_max).await?;
    let digest = body_digest(&bytes);
    if stated(&parts.headers).any(|stated| stated != digest) {
        return Err(Problem::BodyDigest);
    }
    Ok((Request::from_parts(parts, full(bytes)), Some(digest)))
}

/// Reads a body whose bounds are set already.
pub async fn collect(body: Body, bytes_max: u64) -> Result<Bytes, Problem> {
    Ok(body.collect().await.map_err(|error| problem(&*error, bytes_max))?.to_bytes())
}

/// The SHA-256 digests that a client states. Other algorithms are not looked at.
fn stated(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(CONTENT_DIGEST).into_iter().filter_map(|value| sha256_of(value.to_str().ok()?))
}

fn problem(error: &(dyn std::error::Error + 'static), bytes_max: u64) -> Problem {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        if inner.is::<LengthLimitError>() {
            return Problem::BodyTooLarge { bytes_max };
        }
        if inner.is::<Paused>() {
            return Problem::BodySlow;
        }
        cause = inner.source();
    }
    Problem::BodyBroken
}
