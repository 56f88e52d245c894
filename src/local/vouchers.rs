//! `POST /v1/vouchers`: one voucher as JSON, or many as NDJSON, an answer a line in the same order.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Request};
use axum::response::{IntoResponse, Response};
use farebox_engine::core::channel::Spend;
use farebox_engine::core::units::ChannelId;
use farebox_engine::core::voucher::AnySignedVoucher;
use farebox_engine::pipeline::BATCH_SUBMIT_MAX;
use farebox_engine::{Engine, EngineError, VoucherBatch};

use super::answer::{Done, Failure};
use super::read::{Unreadable, VoucherText, header_key, json};
use super::{Local, body};

/// The type of many.
const NDJSON: &str = "application/x-ndjson";
/// The most vouchers of one request.
const LINES_MAX: usize = BATCH_SUBMIT_MAX;

/// Takes what came.
pub(super) async fn take(State(local): State<Arc<Local>>, request: Request<Body>) -> Response {
    match answer(&local, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn answer(local: &Local, request: Request<Body>) -> Result<Response, Failure> {
    let is_many = is_ndjson(request.headers());
    let key = header_key(request.headers()).map_err(Failure::bad_request)?;
    let text = body(request).await?;
    if !is_many {
        let read = json(&text).and_then(|voucher: VoucherText| voucher.read(key));
        let (voucher, then) = read.map_err(Failure::bad_request)?;
        let channel = voucher.voucher().channel_id;
        return Ok(Done::of(channel, local.engine.submit(channel, voucher, then).await).into_response());
    }
    if key.is_some() {
        return Err(Failure::bad_request("a batch names its requests line by line, not in a header"));
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    let lines: Vec<&[u8]> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    if lines.len() > LINES_MAX {
        let detail = format!("found {} vouchers, expected at most {LINES_MAX}", lines.len());
        return Err(Failure::bad_request(detail));
    }
    let mut many = Many::new(&local.engine, lines.len());
    for line in lines {
        many.add(json(line).and_then(|voucher: VoucherText| voucher.read(None))).await;
    }
    let text = many.finish().await;
    Ok(([(CONTENT_TYPE, NDJSON)], text).into_response())
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(NDJSON)
}

/// A request of many vouchers under way.
struct Many {
    batch: VoucherBatch,
    /// What is in the batch: its place among the answers, and its channel.
    waiting: Vec<(usize, ChannelId)>,
    answers: Vec<Option<Done>>,
}

impl Many {
    fn new(engine: &Engine, lines: usize) -> Self {
        Self { batch: engine.batch(), waiting: Vec::with_capacity(lines), answers: Vec::with_capacity(lines) }
    }

    async fn add(&mut self, read: Result<(AnySignedVoucher, Spend), Unreadable>) {
        let (voucher, then) = match read {
            Ok(read) => read,
            Err(error) => {
                let failure = Failure::bad_request(error);
                return self.answers.push(Some(Done::refused("refused", failure)));
            }
        };
        let channel = voucher.voucher().channel_id;
        self.answers.push(None);
        let mut pushed = self.batch.push(voucher.clone(), then);
        if matches!(pushed, Err(EngineError::BatchFull { .. })) {
            self.submit().await;
            pushed = self.batch.push(voucher, then);
        }
        let place = self.answers.len() - 1;
        match pushed {
            Ok(()) => self.waiting.push((place, channel)),
            Err(error) => self.answers[place] = Some(Done::refused("unavailable", error.into())),
        }
    }

    /// Hands in what is there, and keeps the answers.
    async fn submit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        match self.batch.submit().await {
            Ok(verdicts) => {
                for ((place, channel), verdict) in waiting.into_iter().zip(verdicts.iter()) {
                    self.answers[place] = Some(Done::of(channel, verdict.clone()));
                }
            }
            // Busy: nothing was done. Anything else: a retry finds out.
            Err(error) => {
                for (place, _) in waiting {
                    self.answers[place] = Some(Done::refused("unavailable", error.clone().into()));
                }
                self.batch.clear();
            }
        }
    }

    async fn finish(mut self) -> String {
        self.submit().await;
        let mut text = String::new();
        for answer in &self.answers {
            let answer = answer.as_ref().expect("every line was answered when the last batch was");
            text.push_str(
                &serde_json::to_string(answer).expect("strings and numbers always have a JSON form"),
            );
            text.push('\n');
        }
        text
    }
}
