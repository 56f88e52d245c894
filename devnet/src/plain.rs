//! A local chain that is not Tempo: anvil as it comes. The legacy escrow works there too, with an ERC-20 whose address has
//! the form of a TIP-20 token's.

use std::path::PathBuf;

use crate::accounts::{self, Account};
use crate::anvil::{self, Anvil};
use crate::{DEFAULT_CHAIN_ID, Error};

/// A running chain without anything on it. Dropping it kills the chain.
#[derive(Debug)]
pub struct PlainChain {
    anvil: Anvil,
}

impl PlainChain {
    /// Starts a chain and returns when it answers. The binary is looked for as for a [`Devnet`](crate::Devnet).
    ///
    /// # Errors
    ///
    /// There is no anvil, or it does not start.
    pub async fn start(binary: Option<PathBuf>) -> Result<Self, Error> {
        let binary = anvil::find(binary.as_deref())?;
        Ok(Self { anvil: Anvil::start_plain(&binary, DEFAULT_CHAIN_ID).await? })
    }

    /// JSON-RPC over HTTP.
    #[must_use]
    pub fn rpc_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.anvil.port())
    }

    /// The chain's id.
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        DEFAULT_CHAIN_ID
    }

    /// Accounts with money for gas, which the node signs for. Their keys are known to everybody.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        accounts::all()
    }
}
