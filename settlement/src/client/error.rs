//! How a question to the chain fails.

use farebox_core::units::ChainId;

/// A question was not answered, or not with what was asked. None of this says that something did not
/// happen on chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The configuration names no endpoint.
    #[error("no RPC endpoint is configured")]
    NoEndpoint,
    /// An endpoint's address cannot be used. (The address is not shown: it may hold a key.)
    #[error("RPC endpoint number {index} is not an http or https address")]
    BadAddress {
        /// Which one, from one.
        index: usize,
    },
    /// The endpoint serves another chain.
    #[error("RPC endpoint {endpoint} serves chain {found}, expected {expected}")]
    WrongChain {
        /// Its host.
        endpoint: String,
        /// What it serves.
        found: ChainId,
        /// What it must serve.
        expected: ChainId,
    },
    /// No answer from the last endpoint that was asked.
    #[error("RPC endpoint {endpoint} gave no answer: {what}")]
    NoAnswer {
        /// Its host.
        endpoint: String,
        /// What went wrong.
        what: String,
    },
    /// The node answered with an error.
    #[error("RPC endpoint {endpoint} refused: {message} ({code})")]
    Refused {
        /// Its host.
        endpoint: String,
        /// The JSON-RPC error code.
        code: i64,
        /// The message, cut to a sane length.
        message: String,
    },
    /// The simulated call reverted.
    #[error("the call would revert: {message}")]
    Reverts {
        /// What the node says about it.
        message: String,
    },
    /// The answer is not what was asked for.
    #[error("RPC endpoint {endpoint} answered nonsense: {what}")]
    BadAnswer {
        /// Its host.
        endpoint: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Too few endpoints answered: nothing is known.
    #[error("{question}: {answers} RPC endpoints answered, {wanted} must agree")]
    NoQuorum {
        /// What was asked.
        question: &'static str,
        /// How many answered, all the same.
        answers: usize,
        /// How many must.
        wanted: usize,
    },
    /// The endpoints say different things, and no majority is large enough.
    #[error("{question}: {answers} RPC endpoints gave {different} different answers, {wanted} must agree")]
    Disagreement {
        /// What was asked.
        question: &'static str,
        /// How many answered.
        answers: usize,
        /// How many different answers there are.
        different: usize,
        /// How many must agree.
        wanted: usize,
    },
    /// No node has the block that is needed.
    #[error("no RPC endpoint has block {wanted} yet, the newest is {found}")]
    Behind {
        /// What is needed.
        wanted: u64,
        /// What they have.
        found: u64,
    },
}
