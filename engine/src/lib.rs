//! Verifies vouchers in batches, keeps the books, and answers only what is on disk.
//!
//! This is what a service embeds to be paid by machines. An [`Engine`] takes vouchers of payment
//! channels, verifies them against the signer that the books know, charges for requests in the same step,
//! and answers when that is durable. It never talks to a chain. A service that only wants to know whether vouchers hold
//! takes a [`Verifier`].
//!
#![cfg_attr(feature = "pipeline", doc = "```")]
#![cfg_attr(not(feature = "pipeline"), doc = "```ignore")]
//! use farebox_engine::core::channel::{RequestKey, Spend};
//! use farebox_engine::core::units::{Amount, ChannelId};
//! use farebox_engine::core::voucher::AnySignedVoucher;
//! use farebox_engine::{Config, Engine, EngineError, MemoryLedger, SystemClock};
//!
//! /// Takes a voucher and pays 25 base units with it; true when the service may be delivered.
//! async fn pay(
//!     engine: &Engine,
//!     channel: ChannelId,
//!     voucher: AnySignedVoucher,
//!     request: RequestKey, // a retry with the same key is charged once
//! ) -> Result<bool, EngineError> {
//!     let price = Spend::Charge { key: Some(request), amount: Amount::new(25), units: 1 };
//!     let verdict = engine.submit(channel, voucher, price).await?; // resolves when it is durable
//!     Ok(verdict.paid().is_ok())
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! // A server opens a `RocksLedger` (feature `rocksdb`); this one forgets everything with the process.
//! let engine = Engine::start(Config::default(), MemoryLedger::new(), SystemClock)?;
//! # use farebox_engine::core::channel::{ChainPosition, Identity, Terms};
//! # use farebox_engine::core::units::{Address, B256, ChainId};
//! # use farebox_engine::core::voucher::{AnyDomain, ProtocolVersion, Voucher, v1};
//! # let key = k256::ecdsa::SigningKey::from_slice(&[1; 32]).unwrap();
//! # let public = key.verifying_key().to_sec1_point(false);
//! # let payer = Address::from_slice(&farebox_crypto::keccak256(&public.as_bytes()[1..])[12..]);
//! # let terms = v1::Terms { payer, payee: payer, token: payer, salt: B256::ZERO, authorized_signer: Address::ZERO };
//! # let identity = Identity { chain_id: ChainId(42_431), escrow: payer, terms: Terms::V1(terms) };
//! # let channel = identity.channel_id();
//! # let domain = AnyDomain::new(ProtocolVersion::V1, identity.chain_id, identity.escrow);
//! # let voucher = Voucher { channel_id: channel, cumulative_amount: Amount::new(40) };
//! # let (signature, parity) = key.sign_prehash_recoverable(domain.digest(&voucher).unwrap().as_slice());
//! # let mut bytes = signature.to_bytes().to_vec();
//! # bytes.push(27 + parity.to_byte());
//! # let voucher = domain.parse(voucher, &bytes).unwrap();
//! # let (deposit, request) = (Amount::new(100), RequestKey([1; 16]));
//! engine.open(identity, deposit, Amount::ZERO, ChainPosition::default()).await?;
//! assert!(pay(&engine, channel, voucher.clone(), request).await?);
//! assert!(pay(&engine, channel, voucher.clone(), request).await?); // a retry: delivered, not charged again
//! assert!(!pay(&engine, channel, voucher, RequestKey([2; 16])).await?); // 15 are left, 25 are asked
//! engine.shutdown().await?;
//! # Ok::<(), EngineError>(()) }).unwrap();
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`pipeline`] | the engine: queues, shards, one committer, checkpoints |
//! | [`ledger`] | where the books live: in RocksDB, or in memory for tests |
//! | [`chain`] | the port through which the door talks to the chain |
//! | [`sponsor`] | when this server pays the fees of a client's transaction (pure) |
//! | `http` | the door (feature `http`): 402 answers, a tower layer, metered streams |
//! | [`verifier`] | verifies without books: one verifier for all threads, on the backend that the environment names |
//! | [`clock`], [`entropy`] | the only readers of time and randomness |
//! | [`core`](mod@core) | the rules and the words, without IO |
//!
//! The features `pipeline` (the engine and its ledgers), `rocksdb` and `http` are all on by default and only add modules.
//! Without any, this is [`verifier`] and [`core`](mod@core): no tokio, no RocksDB.
#![forbid(unsafe_code)]

#[cfg(feature = "failpoints")]
pub mod fail_points;
#[cfg(all(feature = "pipeline", not(feature = "failpoints")))]
#[allow(dead_code, reason = "only tests look at the list")]
mod fail_points;
mod pages;
pub mod verifier;

#[cfg(feature = "pipeline")]
pub mod chain;
#[cfg(feature = "pipeline")]
pub mod clock;
#[cfg(feature = "pipeline")]
pub mod entropy;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "pipeline")]
pub mod ledger;
#[cfg(feature = "pipeline")]
pub mod pipeline;
#[cfg(feature = "pipeline")]
pub mod sponsor;

pub use farebox_core as core;
pub use verifier::{BackendVariableError, Verifier, backend_from_environment, verifier_from_environment};

#[cfg(feature = "pipeline")]
pub use clock::{Clock, SystemClock};
#[cfg(feature = "pipeline")]
pub use ledger::{Ledger, LedgerError, LedgerRead, MemoryLedger};
#[cfg(feature = "rocksdb")]
pub use ledger::{RocksLedger, RocksView};
#[cfg(feature = "pipeline")]
pub use pipeline::{
    Channel, Config, ConfigError, Engine, EngineError, Health, LimitsFixed, Refusal, Reply, RetireStep, Step,
    Submission, Verdict, Verdicts, VoucherBatch, Waited, block_on,
};
