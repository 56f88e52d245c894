//! What the operator sets: which escrows are offered, for whom, and the door's bounds.

use std::sync::Arc;

use farebox_core::challenge::{ChallengeKeys, MethodDetails, Realm, Request};
use farebox_core::channel::Advertised;
use farebox_core::units::{Address, Amount, ChainId};
use farebox_core::voucher::ProtocolVersion;

use super::{EvmCharge, FailureRate, PaymentMethod, RequestRate, Route};

/// One escrow that clients may pay through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escrow {
    /// Its protocol.
    pub protocol: ProtocolVersion,
    /// Its chain.
    pub chain_id: ChainId,
    /// The contract.
    pub address: Address,
    /// Who may settle and close for the payee (v2); zero when nobody may (rule 11).
    pub operator: Address,
}

/// How a door is set up.
#[derive(Clone, Debug)]
pub struct DoorConfig {
    /// The protection space: the server's name.
    pub realm: Realm,
    /// The secret that binds challenges.
    pub keys: ChallengeKeys,
    /// The escrows, in the order in which they are offered. With none, nothing can be paid.
    pub escrows: Vec<Escrow>,
    /// The payee.
    pub payee: Address,
    /// The TIP-20 token; a route may take others beside it.
    pub token: Address,
    /// Ways to pay for one request at once beside transfers on chain, in the order in which they are offered.
    pub methods: Vec<Arc<dyn PaymentMethod>>,
    /// Authorizations for a token on another chain, which clients of x402 can pay with as well. Offered last.
    pub evm: Option<Arc<EvmCharge>>,
    /// The least by which a voucher must rise: the same as the engine's policy, which enforces it.
    pub voucher_delta_min: Amount,
    /// Whether the server pays the fees of `open` and `topUp`: then the chain's side must have a sponsor. A route may
    /// decline.
    pub fee_payer: bool,
    /// How long a challenge holds. Longer than the longest stream: its vouchers reuse the challenge.
    pub challenge_lifetime_ms: u64,
    /// How long a stream waits for a higher voucher.
    pub need_voucher_wait_ms_max: u64,
    /// How long a `close` waits for running requests of its channel to end.
    pub close_wait_ms_max: u64,
    /// How often credentials of one address, and of one channel, may fail; `None` is no limit.
    pub failures: Option<FailureRate>,
    /// How often one address may ask for anything that is not free, and one channel may pay; `None` is no limit.
    pub requests: Option<RequestRate>,
    /// Transactions of clients that may be on their way to the chain at once.
    pub transactions_in_flight_max: usize,
}

impl DoorConfig {
    /// A door with the usual bounds: challenges of 24 hours, 60 seconds for a voucher, 10 for a close.
    pub fn new(realm: Realm, keys: ChallengeKeys, payee: Address, token: Address) -> Self {
        Self {
            realm,
            keys,
            escrows: Vec::new(),
            payee,
            token,
            methods: Vec::new(),
            evm: None,
            voucher_delta_min: Amount::ZERO,
            fee_payer: false,
            challenge_lifetime_ms: 24 * 3_600_000,
            need_voucher_wait_ms_max: 60_000,
            close_wait_ms_max: 10_000,
            failures: None,
            requests: None,
            transactions_in_flight_max: 1_024,
        }
    }

    /// Offers one more escrow, after the ones before.
    pub fn escrow(mut self, escrow: Escrow) -> Self {
        self.escrows.push(escrow);
        self
    }

    /// What `route` asks of who pays through `escrow` in the door's own token.
    pub(super) fn request(&self, route: &Route, escrow: &Escrow) -> Request {
        Request {
            amount: route.price,
            currency: self.token,
            recipient: self.payee,
            unit_type: Some(route.unit.clone()),
            suggested_deposit: route.suggested_deposit,
            details: MethodDetails {
                chain_id: escrow.chain_id,
                escrow: escrow.address,
                protocol: escrow.protocol,
                operator: escrow.operator,
                voucher_delta_min: self.voucher_delta_min,
                fee_payer: self.fee_payer && route.is_sponsored,
            },
        }
    }

    /// What a channel of `escrow` and `token` must say to count.
    pub(super) fn advertised(&self, escrow: &Escrow, token: Address) -> Advertised {
        Advertised {
            chain_id: escrow.chain_id,
            escrow: escrow.address,
            payee: self.payee,
            token,
            operator: escrow.operator,
        }
    }
}
