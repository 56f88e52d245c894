//! Simulations of Tempo transactions, which anvil gets wrong: it ignores the field `calls` of a request, and so
//! simulates a transaction that does nothing.
//!
//! A request with one call becomes an ordinary request with `to` and `input`. A request with several calls is
//! simulated with `eth_simulateV1`, one call after the other on the same state: that is not atomic in gas, but it
//! says whether they succeed. Calls that open or top up a channel get the state that the reserve needs
//! ([`crate::reserve`]) as an override, so that a simulation never writes to the chain.

use alloy_eips::eip2718::{Decodable2718, Encodable2718};
use alloy_primitives::{Address, Bytes, TxKind, U256, keccak256};
use serde_json::{Map, Value, json};
use tempo_primitives::{AASigned, TempoTxEnvelope, transaction::Call as TxCall};

use crate::{
    reserve::{self, SlotWrite},
    rpc::{INTERNAL_ERROR, RpcError, Upstream},
};

/// What several calls cost at least; most batches cost less.
const BATCH_GAS_MIN: u64 = 2_000_000;
/// Added to every estimate of a Tempo transaction: anvil estimates without the signatures, and a P-256 or WebAuthn
/// signature and a fee payer's cost up to this much. Too little gas would leave a transaction pending for ever.
const SIGNATURES_GAS_MAX: u64 = 30_000;

const EXECUTION_REVERTED: i64 = 3;
const INVALID_PARAMS: i64 = -32_602;

/// One call of a request.
#[derive(Clone, Debug)]
struct Call {
    to: Option<Address>,
    value: Value,
    input: Bytes,
}

impl Call {
    fn parse(object: &Map<String, Value>) -> Result<Self, RpcError> {
        let field = |name: &str| object.get(name).filter(|value| !value.is_null());
        let to = field("to").map(|to| parse::<Address>("to", to)).transpose()?;
        let input = field("input").or_else(|| field("data"));
        let input = input.map(|input| parse::<Bytes>("input", input)).transpose()?.unwrap_or_default();
        Ok(Self { to, value: field("value").cloned().unwrap_or_else(|| json!("0x0")), input })
    }

    fn write_into(&self, object: &mut Map<String, Value>) {
        object.remove("data");
        match self.to {
            Some(to) => object.insert("to".into(), json!(to)),
            None => object.remove("to"),
        };
        object.insert("value".into(), self.value.clone());
        object.insert("input".into(), json!(self.input));
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str, value: &Value) -> Result<T, RpcError> {
    let text =
        value.as_str().ok_or_else(|| invalid(format!("{name} is {value}, expected a string of hex")))?;
    text.parse().map_err(|cause| invalid(format!("{name} is {text}: {cause}")))
}

fn invalid(what: String) -> RpcError {
    RpcError::new(INVALID_PARAMS, format!("devnet: {what}"))
}

/// A transaction to simulate: what anvil understands, and the calls apart.
#[derive(Clone, Debug)]
pub(crate) struct Simulation {
    /// The request without its calls.
    request: Map<String, Value>,
    from: Address,
    calls: Vec<Call>,
    /// Whether the request had the field `calls`, which makes it a Tempo transaction.
    is_tempo: bool,
    block: Value,
    overrides: Map<String, Value>,
}

impl Simulation {
    /// Reads the parameters of `eth_call`, `eth_estimateGas` and `eth_fillTransaction`. None when anvil
    /// understands them by itself.
    pub(crate) fn parse(params: &Value) -> Result<Option<Self>, RpcError> {
        let Some(Value::Object(request)) = params.get(0) else { return Ok(None) };
        let mut request = request.clone();
        let listed = match request.remove("calls") {
            Some(Value::Array(calls)) => calls,
            _ => Vec::new(),
        };
        let is_tempo = !listed.is_empty();
        let mut calls = Vec::with_capacity(listed.len() + 1);
        for call in &listed {
            let call =
                call.as_object().ok_or_else(|| invalid(format!("a call is {call}, expected an object")))?;
            calls.push(Call::parse(call)?);
        }
        // A request may have both; then the plain call is the last one.
        let plain = Call::parse(&request)?;
        if plain.to.is_some() || !is_tempo {
            calls.push(plain);
        }
        let from = match request.get("from").filter(|from| !from.is_null()) {
            Some(from) => parse("from", from)?,
            None => Address::ZERO,
        };

        let block =
            params.get(1).filter(|block| !block.is_null()).cloned().unwrap_or_else(|| json!("latest"));
        let writes: Vec<SlotWrite> =
            calls.iter().flat_map(|call| reserve::pretence(from, call.to, &call.input)).collect();
        if !is_tempo && writes.is_empty() {
            return Ok(None);
        }
        let overrides = params.get(2).and_then(Value::as_object).cloned().unwrap_or_default();
        let overrides = with_writes(overrides, &writes);
        Ok(Some(Self { request, from, calls, is_tempo, block, overrides }))
    }

    /// Answers `eth_call`: what the last call returns.
    pub(crate) async fn call(&self, upstream: &Upstream) -> Result<Value, RpcError> {
        match self.calls.as_slice() {
            [call] => upstream.call("eth_call", self.single(call)).await,
            _ => Ok(self.batch(upstream).await?.returned),
        }
    }

    /// Answers `eth_estimateGas`.
    pub(crate) async fn estimate(&self, upstream: &Upstream) -> Result<Value, RpcError> {
        Ok(json!(format!("{:#x}", self.gas(upstream).await?)))
    }

    async fn gas(&self, upstream: &Upstream) -> Result<u64, RpcError> {
        let signatures = if self.is_tempo { SIGNATURES_GAS_MAX } else { 0 };
        let [call] = self.calls.as_slice() else {
            let used = self.batch(upstream).await?.gas;
            // The calls were measured one by one; together they share warm storage, but refunds come late.
            return Ok((used.saturating_mul(3) / 2).max(BATCH_GAS_MIN));
        };
        let estimate = upstream.call("eth_estimateGas", self.single(call)).await?;
        Ok(quantity(&estimate)?.saturating_add(signatures))
    }

    /// Answers `eth_fillTransaction`: anvil fills in nonce and fees, we fill in the gas and the calls.
    pub(crate) async fn fill(&self, upstream: &Upstream) -> Result<Value, RpcError> {
        let mut request = self.request.clone();
        if request.get("gas").is_none_or(Value::is_null) {
            request.insert("gas".into(), self.estimate(upstream).await?);
        }
        // anvil fills one call; a list of several is put back into its answer.
        if let Some(first) = self.calls.first() {
            first.write_into(&mut request);
        }
        let mut filled = upstream.call("eth_fillTransaction", json!([request])).await?;
        if self.calls.len() > 1 {
            replace_calls(&mut filled, &self.calls)?;
        }
        Ok(filled)
    }

    /// Parameters that anvil understands, for one call.
    fn single(&self, call: &Call) -> Value {
        let mut request = self.request.clone();
        call.write_into(&mut request);
        json!([request, self.block, self.overrides])
    }

    async fn batch(&self, upstream: &Upstream) -> Result<Batch, RpcError> {
        let calls: Vec<Value> = self
            .calls
            .iter()
            .map(|call| {
                let mut object = Map::new();
                object.insert("from".into(), json!(self.from));
                call.write_into(&mut object);
                Value::Object(object)
            })
            .collect();
        let block = json!({ "stateOverrides": self.overrides, "calls": calls });
        let answer =
            upstream.call("eth_simulateV1", json!([{ "blockStateCalls": [block] }, self.block])).await?;
        let results = answer[0]["calls"].as_array().cloned().unwrap_or_default();
        if results.len() != self.calls.len() {
            let message = format!("devnet: anvil simulated {} of {} calls", results.len(), self.calls.len());
            return Err(RpcError::new(INTERNAL_ERROR, message));
        }
        let mut batch = Batch { gas: 0, returned: json!("0x") };
        for (index, result) in results.into_iter().enumerate() {
            if result["status"] != "0x1" {
                return Err(reverted(index, self.calls.len(), &result));
            }
            batch.gas = batch.gas.saturating_add(quantity(&result["gasUsed"])?);
            batch.returned = result["returnData"].clone();
        }
        Ok(batch)
    }
}

/// What several calls did.
struct Batch {
    gas: u64,
    returned: Value,
}

fn reverted(index: usize, calls: usize, result: &Value) -> RpcError {
    RpcError(json!({
        "code": EXECUTION_REVERTED,
        "message": format!("execution reverted: call {} of {calls}", index + 1),
        "data": result["returnData"],
    }))
}

fn quantity(value: &Value) -> Result<u64, RpcError> {
    let hex = value.as_str().and_then(|text| text.strip_prefix("0x"));
    hex.and_then(|hex| u64::from_str_radix(hex, 16).ok()).ok_or_else(|| {
        RpcError::new(INTERNAL_ERROR, format!("devnet: anvil answered {value}, expected a quantity"))
    })
}

/// Adds slots to the overrides of the request. What the request overrides itself stays.
fn with_writes(mut overrides: Map<String, Value>, writes: &[SlotWrite]) -> Map<String, Value> {
    for write in writes {
        let account = write.account.to_string();
        let named = overrides.keys().find(|key| key.eq_ignore_ascii_case(&account)).cloned();
        let account = overrides.entry(named.unwrap_or(account)).or_insert_with(|| json!({}));
        let slots = &mut account["stateDiff"];
        if slots.is_null() {
            *slots = json!({});
        }
        if let Some(slots) = slots.as_object_mut() {
            slots.entry(write.slot.to_string()).or_insert_with(|| json!(write.value));
        }
    }
    overrides
}

/// Puts all calls into a transaction that anvil filled with the first one: into the object, and into the bytes.
fn replace_calls(filled: &mut Value, calls: &[Call]) -> Result<(), RpcError> {
    let raw: Bytes = parse("raw", &filled["raw"])?;
    let decoded = TempoTxEnvelope::decode_2718(&mut raw.as_ref())
        .map_err(|cause| invalid(format!("anvil's filled transaction cannot be decoded: {cause}")))?;
    let TempoTxEnvelope::AA(signed) = decoded else {
        return Err(invalid("several calls need a Tempo transaction (type 0x76)".into()));
    };
    let (mut transaction, signature, _) = signed.into_parts();
    transaction.calls = calls
        .iter()
        .map(|call| {
            let value = parse::<U256>("value", &call.value)?;
            let to = call.to.map_or(TxKind::Create, TxKind::Call);
            Ok(TxCall { to, value, input: call.input.clone() })
        })
        .collect::<Result<_, RpcError>>()?;
    let raw = TempoTxEnvelope::AA(AASigned::new_unhashed(transaction, signature)).encoded_2718();
    filled["tx"]["hash"] = json!(keccak256(&raw));
    filled["raw"] = json!(Bytes::from(raw));
    filled["tx"]["calls"] = calls
        .iter()
        .map(|call| json!({ "to": call.to, "value": call.value, "input": call.input, "data": null }))
        .collect();
    Ok(())
}
