//! The reserve against a model of it in Rust: the same random calls give the same states, events and reverts.
//!
//! `FAREBOX_SEQUENCES` says how many sequences, `FAREBOX_SEED` where they begin.

use alloy_primitives::{Address, B256, Bytes, U256, aliases::U96};
use alloy_sol_types::{SolCall, SolError, SolEvent};
use farebox_contracts::v2::{ITIP20ChannelReserve::*, RESERVE};
use farebox_devnet::Account;
use serde_json::{Value, json};

use crate::client::{Chain, Receipt, quantity};
use crate::v2::{DEPOSIT, open, voucher};

/// How many sequences when nothing is said; a thousand are for `make test-long`.
const SEQUENCES_DEFAULT: u64 = 40;
/// Calls of a sequence.
const CALLS: u64 = 10;
/// The grace period of a close request.
const GRACE_S: u64 = 900;
/// Around its end a block more or less decides: no call is made there.
const GRACE_BLUR_S: u64 = 30;
/// Sequences on one chain: later ones have a chain whose clock is not far ahead.
const SEQUENCES_A_CHAIN: u64 = 50;

/// Numbers that look random, all from one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    /// An amount around what matters: nothing, a little, the deposit, more than it.
    fn amount(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => DEPOSIT,
            2 => DEPOSIT + 1 + self.below(1_000),
            _ => self.below(DEPOSIT),
        }
    }
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Payer,
    Payee,
    Stranger,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
enum Action {
    Settle { amount: u64, is_signed: bool },
    Close { amount: u64, capture: u64, is_signed: bool },
    TopUp { amount: u64 },
    RequestClose,
    Withdraw,
}

/// One channel, as the rules say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Model {
    deposit: u64,
    settled: u64,
    close_requested_at: u64,
}

/// What a call does: the topics of the events that it emits; or the selector that it reverts with.
type Outcome = Result<Vec<B256>, [u8; 4]>;

impl Model {
    /// The rules of the reserve, once more. `now` is the time of the block.
    fn apply(&mut self, caller: Caller, action: Action, now: u64) -> Outcome {
        if self.deposit == 0 {
            return Err(ChannelNotFound::SELECTOR);
        }
        match action {
            Action::Settle { .. } | Action::Close { .. } if caller != Caller::Payee => {
                return Err(NotPayeeOrOperator::SELECTOR);
            }
            Action::TopUp { .. } | Action::RequestClose | Action::Withdraw if caller != Caller::Payer => {
                return Err(NotPayer::SELECTOR);
            }
            _ => {}
        }
        match action {
            Action::Settle { amount, is_signed } => {
                if amount > self.deposit {
                    return Err(AmountExceedsDeposit::SELECTOR);
                }
                if amount <= self.settled {
                    return Err(AmountNotIncreasing::SELECTOR);
                }
                if !is_signed {
                    return Err(InvalidSignature::SELECTOR);
                }
                self.settled = amount;
                Ok(vec![Settled::SIGNATURE_HASH])
            }
            Action::Close { amount, capture, is_signed } => {
                if capture < self.settled || capture > amount {
                    return Err(CaptureAmountInvalid::SELECTOR);
                }
                if capture > self.deposit {
                    return Err(AmountExceedsDeposit::SELECTOR);
                }
                if capture > self.settled && !is_signed {
                    return Err(InvalidSignature::SELECTOR);
                }
                *self = Self::default();
                Ok(vec![ChannelClosed::SIGNATURE_HASH])
            }
            Action::TopUp { amount } => {
                let cancels = self.close_requested_at != 0;
                if amount == 0 && !cancels {
                    return Ok(Vec::new());
                }
                self.deposit += amount;
                self.close_requested_at = 0;
                let cancelled = cancels.then_some(CloseRequestCancelled::SIGNATURE_HASH);
                Ok(cancelled.into_iter().chain([TopUp::SIGNATURE_HASH]).collect())
            }
            Action::RequestClose if self.close_requested_at != 0 => Ok(Vec::new()),
            Action::RequestClose => {
                self.close_requested_at = now;
                Ok(vec![CloseRequested::SIGNATURE_HASH])
            }
            Action::Withdraw => {
                if self.close_requested_at == 0 || now < self.close_requested_at + GRACE_S {
                    return Err(CloseNotReady::SELECTOR);
                }
                *self = Self::default();
                Ok(vec![ChannelClosed::SIGNATURE_HASH])
            }
        }
    }
}

#[tokio::test]
async fn the_reserve_does_what_the_model_says() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().map_or(default, |text| text.parse().expect("a whole number"))
    };
    let first = number("FAREBOX_SEED", 0);
    let end = first + number("FAREBOX_SEQUENCES", SEQUENCES_DEFAULT);
    let mut seed = first;
    while seed < end {
        let chain = Chain::start().await;
        let until = end.min(seed + SEQUENCES_A_CHAIN);
        // Opened first, while the chain's clock is right: their transactions are valid for seconds.
        let mut channels = Vec::new();
        for seed in seed..until {
            let (payer, payee) = (chain.account(0), chain.account(1).address);
            channels.push((seed, open(&chain, payer, payee, seed as u8).await));
        }
        for (seed, (descriptor, id)) in channels {
            sequence(&chain, seed, descriptor, id).await;
        }
        chain.devnet.stop().await;
        seed = until;
    }
}

async fn sequence(chain: &Chain, seed: u64, descriptor: ChannelDescriptor, id: B256) {
    let mut dice = Dice(seed);
    let mut model = Model { deposit: DEPOSIT, settled: 0, close_requested_at: 0 };
    let mut said = String::new();
    for step in 0..CALLS {
        if dice.below(4) == 0 {
            let seconds = 1 + dice.below(GRACE_S);
            chain.rpc.call("evm_increaseTime", json!([seconds])).await;
            chain.rpc.call("evm_mine", json!([])).await;
        }
        let (caller, action) = draw(&mut dice);
        let now = timestamp(chain, json!("latest")).await;
        let due = model.close_requested_at + GRACE_S;
        let is_blurred = model.close_requested_at != 0 && now.abs_diff(due) < GRACE_BLUR_S;
        if matches!(action, Action::Withdraw) && is_blurred {
            continue;
        }
        said.push_str(&format!("\n{step}: {caller:?} {action:?} at {now}, {model:?}"));
        let account = chain.account(match caller {
            Caller::Payer => 0,
            Caller::Payee => 1,
            Caller::Stranger => 2,
        });
        let input = encode(chain, &descriptor, id, action);
        let found = run(chain, account, input).await;
        let (found, now) = match found {
            Ok((receipt, now)) => (Ok(topics(&receipt, id)), now),
            Err(selector) => (Err(selector), now),
        };
        assert_eq!(found, model.apply(caller, action, now), "FAREBOX_SEED={seed}{said}");
        let state = chain.read(RESERVE, getChannelStateCall { channelId: id }).await;
        let state = Model {
            deposit: state.deposit.to(),
            settled: state.settled.to(),
            close_requested_at: state.closeRequestedAt.into(),
        };
        assert_eq!(state, model, "FAREBOX_SEED={seed}{said}");
    }
}

fn draw(dice: &mut Dice) -> (Caller, Action) {
    let is_signed = dice.below(5) > 0;
    let action = match dice.below(10) {
        0..4 => Action::Settle { amount: dice.amount(), is_signed },
        4 => {
            let amount = dice.amount();
            Action::Close { amount, capture: dice.below(amount + 2), is_signed }
        }
        5 => Action::Close { amount: dice.amount(), capture: dice.amount(), is_signed },
        6 => Action::TopUp { amount: dice.below(3) * 500 },
        7 | 8 => Action::RequestClose,
        _ => Action::Withdraw,
    };
    // Mostly the one who may, sometimes somebody else.
    let who = match action {
        Action::Settle { .. } | Action::Close { .. } => Caller::Payee,
        Action::TopUp { .. } | Action::RequestClose | Action::Withdraw => Caller::Payer,
    };
    let caller = match dice.below(8) {
        0 => Caller::Stranger,
        1 => Caller::Payer,
        2 => Caller::Payee,
        _ => who,
    };
    (caller, action)
}

fn encode(chain: &Chain, descriptor: &ChannelDescriptor, id: B256, action: Action) -> Bytes {
    let descriptor = descriptor.clone();
    let signature = |amount: u64, is_signed: bool| {
        let signer: Account = chain.account(if is_signed { 0 } else { 2 });
        voucher(chain, signer, id, amount)
    };
    let amount = U96::from;
    match action {
        Action::Settle { amount: cumulative, is_signed } => settleCall {
            descriptor,
            cumulativeAmount: amount(cumulative),
            signature: signature(cumulative, is_signed),
        }
        .abi_encode(),
        Action::Close { amount: cumulative, capture, is_signed } => closeCall {
            descriptor,
            cumulativeAmount: amount(cumulative),
            captureAmount: amount(capture),
            signature: signature(cumulative, is_signed),
        }
        .abi_encode(),
        Action::TopUp { amount: more } => {
            topUpCall { descriptor, additionalDeposit: amount(more) }.abi_encode()
        }
        Action::RequestClose => requestCloseCall { descriptor }.abi_encode(),
        Action::Withdraw => withdrawCall { descriptor }.abi_encode(),
    }
    .into()
}

/// Asks what a call would do, and does it when it would succeed. The receipt and its block's time, or the selector of the
/// revert.
async fn run(chain: &Chain, account: Account, input: Bytes) -> Result<(Receipt, u64), [u8; 4]> {
    let request = json!({ "from": account.address, "to": RESERVE, "input": input, "gas": "0x1e8480" });
    let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "eth_call", "params": [request, "latest"] });
    let asked = chain.rpc.post(body.to_string()).await.expect("the chain answers");
    if let Some(error) = asked.get("error") {
        let data: Bytes = error["data"].as_str().unwrap_or_else(|| panic!("{asked}")).parse().expect("hex");
        return Err(data[..4].try_into().expect("a selector"));
    }
    let hash = chain.rpc.call("eth_sendTransaction", json!([request])).await;
    loop {
        let receipt = chain.rpc.call("eth_getTransactionReceipt", json!([hash])).await;
        if !receipt.is_null() {
            assert_eq!(receipt["status"], "0x1", "what was simulated succeeds: {receipt}");
            let now = timestamp(chain, receipt["blockNumber"].clone()).await;
            return Ok((Receipt(receipt), now));
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// The reserve's events of a channel, in order.
fn topics(receipt: &Receipt, id: B256) -> Vec<B256> {
    let logs = receipt.0["logs"].as_array().expect("logs");
    let ours = logs.iter().filter(|log| {
        let from: Address = log["address"].as_str().expect("an address").parse().expect("hex");
        from == RESERVE && log["topics"][1].as_str() == Some(&format!("{id:#x}"))
    });
    ours.map(|log| log["topics"][0].as_str().expect("a topic").parse().expect("hex")).collect()
}

async fn timestamp(chain: &Chain, block: Value) -> u64 {
    let block = chain.rpc.call("eth_getBlockByNumber", json!([block, false])).await;
    quantity(&block["timestamp"])
}

/// The model must be able to fail: money never comes out of nothing in it.
#[test]
fn the_model_itself_keeps_what_is_deposited() {
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let mut model = Model { deposit: DEPOSIT, settled: 0, close_requested_at: 0 };
        for now in 0..CALLS {
            let (caller, action) = draw(&mut dice);
            let before = model;
            let outcome = model.apply(caller, action, 1 + now * 400);
            assert!(model.settled <= model.deposit);
            if outcome.is_err() {
                assert_eq!(model, before, "a revert changes nothing");
            }
            let deposits = matches!(action, Action::TopUp { .. });
            assert!(deposits || U256::from(model.deposit) <= U256::from(before.deposit));
        }
    }
}
