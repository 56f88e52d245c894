//! The legacy escrow on a chain that is not Tempo, with an ERC-20 and the `Batch` helper: what the books say is claimable is
//! what the chain pays, to the unit.

use alloy::primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy::rpc::types::{Log, TransactionReceipt};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::{SolCall, SolValue};
use farebox_contracts::bytecode::{BATCH_CREATION, PLAIN_TOKEN_CREATION, STREAM_CHANNEL_CREATION};
use farebox_contracts::tip20::ITIP20;
use farebox_contracts::v1::ITempoStreamChannel;
use farebox_core::channel::{Answer, Claim, Identity, RequestKey, Spend, Terms};
use farebox_core::units::{Amount, ChainId, ChannelId};
use farebox_core::voucher::{AnyDomain, AnySignedVoucher, ProtocolVersion, Voucher, v1};
use farebox_devnet::PlainChain;
use farebox_engine::{Engine, MemoryLedger, Step, SystemClock, Verdict};
use farebox_settlement::fact::{Fact, FactKind};
use farebox_settlement::{Client, ClientConfig};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::world::eventually;

const SUPPLY: u128 = 1_000_000_000;
const DEPOSIT: u128 = 50_000;
/// The escrow takes tokens at addresses of TIP-20's form alone.
const TOKEN: Address = address!("0x20c0000000000000000000000000000000000abc");
/// Where the token keeps its balances.
const BALANCES_SLOT: u64 = 0;
/// What each of the channels was charged.
const SPENT: [u128; 3] = [1, 20_000, DEPOSIT];

sol! {
    /// One call of a batch.
    struct BatchCall {
        address target;
        bytes data;
    }
    /// The helper.
    interface Batch {
        function execute(BatchCall[] calls) external;
        function sweep(address token, address to, uint256 amount) external;
    }
}

/// A node of the chain, with accounts that it signs for.
struct Plain {
    chain: PlainChain,
    http: alloy::transports::http::reqwest::Client,
}

impl Plain {
    async fn rpc<T: DeserializeOwned>(&self, method: &str, params: Value) -> T {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = self.http.post(self.chain.rpc_url()).header("content-type", "application/json");
        let answer = request.body(body).send().await.expect("an answer").text().await.expect("text");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        serde_json::from_value(answer["result"].clone()).expect("the expected type")
    }

    /// Sends from an account, and waits for the receipt.
    async fn send(&self, from: Address, to: Option<Address>, input: Vec<u8>) -> TransactionReceipt {
        let mut transaction = json!({ "from": from, "input": Bytes::from(input) });
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        let hash: B256 = self.rpc("eth_sendTransaction", json!([transaction])).await;
        let receipt: TransactionReceipt = eventually("a receipt", async || {
            self.rpc::<Option<TransactionReceipt>>("eth_getTransactionReceipt", json!([hash])).await
        })
        .await;
        assert!(receipt.status(), "{receipt:?}");
        receipt
    }

    /// An ERC-20 at an address as the escrow demands it, all of it the holder's.
    async fn token(&self, holder: Address) -> Address {
        let made = self.deploy(holder, PLAIN_TOKEN_CREATION, U256::from(SUPPLY).abi_encode()).await;
        let code: Bytes = self.rpc("eth_getCode", json!([made, "latest"])).await;
        let _: Value = self.rpc("anvil_setCode", json!([TOKEN, code])).await;
        let slot = keccak256((holder, U256::from(BALANCES_SLOT)).abi_encode());
        let _: Value =
            self.rpc("anvil_setStorageAt", json!([TOKEN, slot, B256::from(U256::from(SUPPLY))])).await;
        TOKEN
    }

    async fn deploy(&self, from: Address, code: &[u8], argument: Vec<u8>) -> Address {
        let receipt = self.send(from, None, [code, &argument].concat()).await;
        receipt.contract_address.expect("a contract")
    }
}

/// The facts of an escrow in a transaction.
fn facts(receipt: &TransactionReceipt, escrow: Address) -> Vec<Fact> {
    let logs: Vec<Log> = receipt.logs().iter().filter(|log| log.address() == escrow).cloned().collect();
    logs.iter().filter_map(|log| Fact::read(ProtocolVersion::V1, log).expect("readable")).collect()
}

fn signed(key: &PrivateKeySigner, identity: &Identity, amount: u128) -> AnySignedVoucher {
    let domain = AnyDomain::new(ProtocolVersion::V1, identity.chain_id, identity.escrow);
    let voucher = Voucher { channel_id: identity.channel_id(), cumulative_amount: Amount::new(amount) };
    let signature = key.sign_hash_sync(&domain.digest(&voucher).expect("in range")).expect("a key signs");
    domain.parse(voucher, &signature.as_bytes()).expect("well formed")
}

/// What the books let go to the chain.
async fn claim(engine: &Engine, channel: ChannelId, step: Step) -> Claim {
    match engine.apply(channel, step).await.expect("running books") {
        Verdict::Accepted(reply) => match reply.answer {
            Answer::Close(claim) | Answer::Settle(claim) => claim,
            other => panic!("{other:?}"),
        },
        Verdict::Rejected(refusal) => panic!("{refusal}"),
    }
}

fn batch_call(target: Address, call: impl SolCall) -> BatchCall {
    BatchCall { target, data: call.abi_encode().into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_escrow_pays_an_erc20_on_a_plain_chain() {
    let chain = PlainChain::start(None).await.unwrap_or_else(|error| panic!("no local chain: {error}"));
    let plain = Plain { chain, http: alloy::transports::http::reqwest::Client::new() };
    let accounts = plain.chain.accounts();
    let (payer, owner) = (accounts[0], accounts[1]);
    let key = PrivateKeySigner::from_bytes(&payer.private_key).expect("a key");
    let token = plain.token(payer.address).await;
    let escrow = plain.deploy(owner.address, STREAM_CHANNEL_CREATION, Vec::new()).await;
    let payee = plain.deploy(owner.address, BATCH_CREATION, owner.address.abi_encode()).await;
    let chain_id = ChainId(plain.chain.chain_id());
    let client = Client::new(chain_id, ClientConfig::new(vec![plain.chain.rpc_url()])).expect("a client");

    let approve = ITIP20::approveCall { spender: escrow, amount: U256::MAX };
    plain.send(payer.address, Some(token), approve.abi_encode()).await;
    let config = farebox_engine::Config { shards: 1, ..farebox_engine::Config::default() };
    let engine = Engine::start(config, MemoryLedger::new(), SystemClock).expect("the books open");
    let mut channels = Vec::new();
    for (number, spent) in (0_u8..).zip(SPENT) {
        let salt = B256::repeat_byte(number);
        let authorized_signer = Address::ZERO;
        let open = ITempoStreamChannel::openCall {
            payee,
            token,
            deposit: DEPOSIT,
            salt,
            authorizedSigner: authorized_signer,
        };
        let receipt = plain.send(payer.address, Some(escrow), open.abi_encode()).await;
        let terms = v1::Terms { payer: payer.address, payee, token, salt, authorized_signer };
        let identity = Identity { chain_id, escrow, terms: Terms::V1(terms) };
        let [fact] = &facts(&receipt, escrow)[..] else { panic!("one fact: {receipt:?}") };
        assert_eq!(fact.channel, identity.channel_id(), "the escrow computes the same id");
        assert!(fact.kind.is_open_of(&identity, Amount::new(DEPOSIT)), "{fact:?}");
        let opened = engine.open(identity.clone(), Amount::new(DEPOSIT), Amount::ZERO, fact.position).await;
        assert!(matches!(opened, Ok(Verdict::Accepted(_))), "{opened:?}");
        let charge = Spend::Charge { key: Some(RequestKey([1; 16])), amount: Amount::new(spent), units: 1 };
        let paid = engine.submit(fact.channel, signed(&key, &identity, spent), charge).await;
        assert!(matches!(paid, Ok(Verdict::Accepted(_))), "{paid:?}");
        channels.push((fact.channel, identity, spent));
    }

    // The first is settled and goes on; then all are closed, in one transaction.
    let (first, ..) = channels[0];
    let settle = claim(&engine, first, Step::PlanSettle).await;
    let call = ITempoStreamChannel::settleCall {
        channelId: first.0,
        cumulativeAmount: settle.cumulative.get(),
        signature: settle.signature.expect("signed").as_bytes().to_vec().into(),
    };
    let calls = Batch::executeCall { calls: vec![batch_call(escrow, call)] };
    let receipt = plain.send(owner.address, Some(payee), calls.abi_encode()).await;
    let mut told = facts(&receipt, escrow);
    assert!(matches!(told[..], [Fact { kind: FactKind::Settled { .. }, .. }]), "{told:?}");
    let mut calls = Vec::new();
    for (channel, ..) in &channels {
        let close = claim(&engine, *channel, Step::BeginCloseForced).await;
        let signature = close.signature.map(|signature| signature.as_bytes().to_vec()).unwrap_or_default();
        let call = ITempoStreamChannel::closeCall {
            channelId: channel.0,
            cumulativeAmount: close.cumulative.get(),
            signature: signature.into(),
        };
        calls.push(batch_call(escrow, call));
    }
    let calls = Batch::executeCall { calls };
    let receipt = plain.send(owner.address, Some(payee), calls.abi_encode()).await;
    told.extend(facts(&receipt, escrow));
    for fact in &told {
        let step = fact.step().expect("something for the books");
        let verdict = engine.apply(fact.channel, step).await;
        assert!(matches!(verdict, Ok(Verdict::Accepted(_))), "{verdict:?}");
    }
    for (channel, _, spent) in &channels {
        let books = engine.read(*channel).await.expect("running books").expect("known").snapshot;
        let farebox_core::channel::Phase::Closed(closure) = books.phase else { panic!("{books:?}") };
        assert_eq!((closure.captured.get(), closure.refunded.get()), (*spent, DEPOSIT - spent));
        assert_eq!(closure.lost, Amount::ZERO);
    }

    // What was earned leaves the helper, and nothing is left anywhere else.
    let earned: u128 = SPENT.iter().sum();
    let sweep = Batch::sweepCall { token, to: owner.address, amount: U256::from(earned) };
    plain.send(owner.address, Some(payee), sweep.abi_encode()).await;
    let expected = [(escrow, 0), (payee, 0), (owner.address, earned), (payer.address, SUPPLY - earned)];
    for (account, amount) in expected {
        assert_eq!(client.balance(token, account).await.expect("a balance"), U256::from(amount), "{account}");
    }
    engine.shutdown().await.expect("the books close");
}
