//! Which claims the chain would take now: by halving, so that one refused claim among many costs few questions.

use alloy::primitives::{Address, Bytes};

use super::Sender;
use crate::claim::call::encode;
use crate::claim::{Claimed, Claiming, Failure};
use crate::client::ClientError;

/// What a simulation says.
#[derive(Debug, Default)]
pub(super) struct Simulated {
    /// Claims that go together.
    pub(super) good: Vec<Claiming>,
    /// What they use.
    pub(super) gas: u64,
    /// The others.
    pub(super) refused: Vec<Claimed>,
}

impl Sender {
    /// Simulates all claims together. When that reverts, halves are simulated until the refused ones are alone; what
    /// is left is simulated once more as a whole, because together they must go through.
    pub(super) async fn simulate(&self, claims: Vec<Claiming>) -> Simulated {
        let mut refused = Vec::new();
        let mut good = Vec::new();
        let mut parts = vec![claims];
        let mut is_whole = true;
        while let Some(mut part) = parts.pop() {
            match self.estimate(&part).await {
                Ok(gas) if is_whole => return Simulated { good: part, gas, refused },
                Ok(_) => good.extend(part),
                Err(ClientError::Reverts { message }) if part.len() == 1 => {
                    let failure = Failure::Refused { what: format!("the call would revert: {message}") };
                    refused.extend(failed(&part, &failure));
                }
                Err(ClientError::Reverts { .. }) => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Err(error) => {
                    refused.extend(failed(&part, &Failure::unavailable(&error)));
                }
            }
            is_whole = false;
        }
        if good.is_empty() {
            return Simulated { good, gas: 0, refused };
        }
        match self.estimate(&good).await {
            Ok(gas) => Simulated { good, gas, refused },
            // Each part went through a moment ago: the chain moved, and the next round finds out how.
            Err(error) => {
                refused.extend(failed(&good, &Failure::unavailable(&error)));
                Simulated { good: Vec::new(), gas: 0, refused }
            }
        }
    }

    async fn estimate(&self, claims: &[Claiming]) -> Result<u64, ClientError> {
        let calls: Vec<(Address, Bytes)> =
            claims.iter().map(|claim| (claim.call.escrow, encode(&claim.call))).collect();
        self.client.estimate_gas(self.signer.address(), &calls).await
    }
}

fn failed(claims: &[Claiming], failure: &Failure) -> Vec<Claimed> {
    claims.iter().map(|claim| (claim.channel(), Err(failure.clone()))).collect()
}
