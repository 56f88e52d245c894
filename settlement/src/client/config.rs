//! The client's endpoints, waits and bounds, each with its unit.

/// How the client speaks with the nodes.
#[derive(Clone)]
pub struct ClientConfig {
    /// HTTP addresses of the nodes, in the order in which they are tried. They may hold keys.
    pub endpoints: Vec<String>,
    /// How long one request may take.
    pub request_timeout_ms: u64,
    /// How long an endpoint that failed comes last.
    pub cooldown_ms: u64,
    /// How long a client's transaction is awaited after its broadcast.
    pub receipt_wait_ms: u64,
    /// The pause before the first look for a receipt; the pauses grow up to `retry_pause_ms`.
    pub receipt_poll_ms: u64,
    /// The pause between two tries of anything else.
    pub retry_pause_ms: u64,
    /// How often a read is tried again when the nodes do not have the block yet, or do not answer.
    pub read_tries_max: u32,
    /// How many endpoints must say the same where money is decided: the fate of transactions, the state of channels, the
    /// escrows' events. One believes the first that answers.
    pub quorum: usize,
    /// How long an endpoint is not asked that said something else than the majority.
    pub aside_ms: u64,
    /// How often a receipt is looked for after the nodes refused a transaction: they may have it already.
    pub refused_looks_max: u32,
}

impl std::fmt::Debug for ClientConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientConfig").field("endpoints", &self.endpoints.len()).finish_non_exhaustive()
    }
}

impl ClientConfig {
    /// The usual waits, for the given endpoints.
    ///
    /// Tempo makes a block about twice a second, so a receipt comes within a second or two; the wait is
    /// for a full chain, and shorter than the 25 seconds for which clients sign.
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            request_timeout_ms: 5_000,
            cooldown_ms: 10_000,
            receipt_wait_ms: 20_000,
            receipt_poll_ms: 50,
            retry_pause_ms: 500,
            read_tries_max: 10,
            quorum: 1,
            aside_ms: 600_000,
            refused_looks_max: 3,
        }
    }
}
