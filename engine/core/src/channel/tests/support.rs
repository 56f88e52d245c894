//! Channels, vouchers and random command sequences.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use crate::channel::*;
use crate::units::{Address, Amount, B256, ChainId, UnixSeconds};
use crate::voucher::{ProtocolVersion, Signature, Verified, Voucher, v1, v2};

pub const PAYER: Address = Address::repeat_byte(0x11);
pub const PAYEE: Address = Address::repeat_byte(0x22);
pub const TOKEN: Address = Address::repeat_byte(0x33);
pub const SIGNER: Address = Address::repeat_byte(0x44);
pub const ESCROW: Address = Address::repeat_byte(0x55);
pub const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

/// The deposit that random channels begin with. Small, so that random amounts meet its edge.
pub const DEPOSIT: u128 = 100;

/// How many keys random requests share, so that they meet.
const KEYS: u8 = 8;

pub fn amount(base_units: u128) -> Amount {
    Amount::new(base_units)
}

pub fn key(name: u8) -> RequestKey {
    RequestKey([name; 16])
}

pub fn at(block: u64) -> ChainPosition {
    ChainPosition { block, log_index: 0 }
}

pub fn identity(protocol: ProtocolVersion) -> Identity {
    let terms = match protocol {
        ProtocolVersion::V1 => Terms::V1(v1::Terms {
            payer: PAYER,
            payee: PAYEE,
            token: TOKEN,
            salt: B256::repeat_byte(0x66),
            authorized_signer: SIGNER,
        }),
        ProtocolVersion::V2 => Terms::V2(v2::Descriptor {
            payer: PAYER,
            payee: PAYEE,
            operator: Address::ZERO,
            token: TOKEN,
            salt: B256::repeat_byte(0x66),
            authorized_signer: SIGNER,
            expiring_nonce_hash: B256::repeat_byte(0x77),
        }),
    };
    Identity { chain_id: ChainId(42431), escrow: ESCROW, terms }
}

/// A signature that says which amount it is for, so that a test can see whose it is.
pub fn signature(cumulative: Amount) -> Signature {
    let mut bytes = [0x5a; 65];
    bytes[..16].copy_from_slice(&cumulative.get().to_be_bytes());
    Signature::restore(&bytes).unwrap()
}

pub fn voucher(state: &State, cumulative: u128) -> Verified<Voucher> {
    let voucher = Voucher { channel_id: state.channel_id, cumulative_amount: amount(cumulative) };
    Verified::assumed(voucher, signature(voucher.cumulative_amount), state.signer)
}

pub fn charge(name: u8, price: u128) -> Spend {
    Spend::Charge { key: Some(key(name)), amount: amount(price), units: 1 }
}

pub fn reserve(name: u8, price: u128) -> Spend {
    Spend::Reserve { key: key(name), amount: amount(price) }
}

pub fn capture(name: u8, price: u128, finish: bool) -> Command {
    Command::Capture { key: key(name), amount: amount(price), units: 1, finish }
}

/// A channel and everything that ever became true of it.
#[derive(Clone, Debug)]
pub struct Run {
    pub state: State,
    pub history: Vec<Event>,
    pub policy: Policy,
    pub now: UnixSeconds,
}

impl Run {
    pub fn open(protocol: ProtocolVersion, deposit: u128) -> Self {
        Self::adopt(protocol, deposit, 0)
    }

    /// A channel that comes with something settled.
    pub fn adopt(protocol: ProtocolVersion, deposit: u128, settled: u128) -> Self {
        let opened = open(identity(protocol), amount(deposit), amount(settled), at(1), NOW).unwrap();
        assert_eq!(opened.next.check(), Ok(()));
        Self { state: opened.next, history: opened.events, policy: Policy::default(), now: NOW }
    }

    pub fn v1(deposit: u128) -> Self {
        Self::open(ProtocolVersion::V1, deposit)
    }

    pub fn v2(deposit: u128) -> Self {
        Self::open(ProtocolVersion::V2, deposit)
    }

    /// Applies one command and checks what must hold after every step.
    pub fn step(&mut self, command: Command) -> Result<Transition, Rejection> {
        self.now = self.now.saturating_add(1);
        let transition = apply(&self.state, command, &self.policy, self.now)?;
        assert_eq!(transition.next.check(), Ok(()), "after {:?}", transition.events);
        self.state = transition.next.clone();
        self.history.extend(transition.events.iter().cloned());
        Ok(transition)
    }

    pub fn accept(&mut self, cumulative: u128, then: Spend) -> Result<Transition, Rejection> {
        let voucher = voucher(&self.state, cumulative);
        self.step(Command::Accept { voucher, then })
    }

    pub fn spend(&mut self, spend: Spend) -> Result<Transition, Rejection> {
        self.step(Command::Spend(spend))
    }

    pub fn settled(&mut self, total: u128) -> Transition {
        self.step(Command::Settled { settled: amount(total), position: at(2) }).unwrap()
    }

    pub fn close_with(&mut self, cumulative: u128) -> Result<Claim, Rejection> {
        let voucher = voucher(&self.state, cumulative);
        self.step(Command::BeginClose(CloseReason::Cooperative(voucher))).map(claim_of)
    }

    pub fn close_forced(&mut self) -> Result<Claim, Rejection> {
        self.step(Command::BeginClose(CloseReason::Forced)).map(claim_of)
    }

    pub fn close_requested(&mut self, block: u64) {
        self.step(Command::CloseRequested { at: NOW, position: at(block) }).unwrap();
    }

    pub fn closed(&mut self, captured: u128, refunded: u128) -> Transition {
        let (captured, refunded) = (amount(captured), amount(refunded));
        self.step(Command::Closed { captured, refunded, position: at(9) }).unwrap()
    }
}

pub fn claim_of(transition: Transition) -> Claim {
    match transition.answer {
        Answer::Close(claim) | Answer::Settle(claim) => claim,
        other => panic!("a close answers a claim, not {other:?}"),
    }
}

/// An amount near one that matters now.
#[derive(Clone, Copy, Debug)]
pub enum Near {
    Accepted(i8),
    Spent(i8),
    Settled(i8),
    Deposit(i8),
    Top,
}

impl Near {
    pub fn in_state(self, state: &State) -> Amount {
        let (base, offset) = match self {
            Self::Accepted(offset) => (state.accepted, offset),
            Self::Spent(offset) => (state.spent, offset),
            Self::Settled(offset) => (state.settled, offset),
            Self::Deposit(offset) => (state.deposit, offset),
            Self::Top => return Amount::MAX,
        };
        Amount::new(base.get().saturating_add_signed(offset.into()))
    }
}

/// A command that finds its amounts in the state that it meets.
#[derive(Clone, Debug)]
pub enum Intent {
    Accept(Near, Spend),
    Spend(Spend),
    Capture { which: u8, amount: Amount, units: u64, finish: bool },
    Release(u8),
    ReleaseAll,
    ToppedUp { deposit: Near, block: u8, cancels_close: bool },
    CloseRequested(u8),
    Cancelled(u8),
    Settled(Near),
    Closed { captured: Near, refunded: u8 },
    CloseWith(Near),
    CloseForced,
    AbortClose,
    PlanSettle,
    Read,
}

impl Intent {
    pub fn in_state(self, state: &State) -> Command {
        match self {
            Self::Accept(near, then) => {
                Command::Accept { voucher: voucher(state, near.in_state(state).get()), then }
            }
            Self::Spend(spend) => Command::Spend(spend),
            Self::Capture { which, amount, units, finish } => {
                Command::Capture { key: key(which), amount, units, finish }
            }
            Self::Release(which) => Command::Release { key: key(which) },
            Self::ReleaseAll => Command::ReleaseAll,
            Self::ToppedUp { deposit, block, cancels_close } => Command::ToppedUp {
                deposit: deposit.in_state(state),
                position: at(block.into()),
                cancels_close,
            },
            Self::CloseRequested(block) => {
                Command::CloseRequested { at: UnixSeconds(block.into()), position: at(block.into()) }
            }
            Self::Cancelled(block) => Command::CloseRequestCancelled { position: at(block.into()) },
            Self::Settled(near) => Command::Settled { settled: near.in_state(state), position: at(0) },
            Self::Closed { captured, refunded } => Command::Closed {
                captured: captured.in_state(state),
                refunded: amount(refunded.into()),
                position: at(0),
            },
            Self::CloseWith(near) => {
                let voucher = voucher(state, near.in_state(state).get());
                Command::BeginClose(CloseReason::Cooperative(voucher))
            }
            Self::CloseForced => Command::BeginClose(CloseReason::Forced),
            Self::AbortClose => Command::AbortClose,
            Self::PlanSettle => Command::PlanSettle,
            Self::Read => Command::Read,
        }
    }
}

pub fn near() -> impl Strategy<Value = Near> {
    prop_oneof![
        6 => (-3..15i8).prop_map(Near::Accepted),
        3 => (-3..5i8).prop_map(Near::Spent),
        2 => (-2..4i8).prop_map(Near::Settled),
        1 => (-3..3i8).prop_map(Near::Deposit),
        1 => Just(Near::Top),
    ]
}

pub fn spending() -> impl Strategy<Value = Spend> {
    let price = || prop_oneof![20 => (0..12u128).prop_map(Amount::new), 1 => Just(Amount::MAX)];
    let units = prop_oneof![20 => 0..4u64, 1 => Just(u64::MAX)];
    prop_oneof![
        1 => Just(Spend::Nothing),
        2 => (0..KEYS, price(), units)
            .prop_map(|(name, amount, units)| Spend::Charge { key: (name > 0).then(|| key(name)), amount, units }),
        2 => (0..KEYS, price()).prop_map(|(name, amount)| Spend::Reserve { key: key(name), amount }),
    ]
}

pub fn intent() -> impl Strategy<Value = Intent> {
    let price = prop_oneof![20 => (0..12u128).prop_map(Amount::new), 1 => Just(Amount::MAX)];
    prop_oneof![
        30 => (near(), spending()).prop_map(|(near, then)| Intent::Accept(near, then)),
        10 => spending().prop_map(Intent::Spend),
        20 => (0..KEYS, price, 0..3u64, any::<bool>())
            .prop_map(|(which, amount, units, finish)| Intent::Capture { which, amount, units, finish }),
        5 => (0..KEYS).prop_map(Intent::Release),
        1 => Just(Intent::ReleaseAll),
        4 => (near(), 0..12u8, any::<bool>())
            .prop_map(|(deposit, block, cancels_close)| Intent::ToppedUp { deposit, block, cancels_close }),
        2 => (0..12u8).prop_map(Intent::CloseRequested),
        3 => (0..12u8).prop_map(Intent::Cancelled),
        6 => near().prop_map(Intent::Settled),
        1 => (near(), 0..20u8).prop_map(|(captured, refunded)| Intent::Closed { captured, refunded }),
        4 => near().prop_map(Intent::CloseWith),
        2 => Just(Intent::CloseForced),
        5 => Just(Intent::AbortClose),
        3 => Just(Intent::PlanSettle),
        1 => Just(Intent::Read),
    ]
}

pub fn protocol() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![Just(ProtocolVersion::V1), Just(ProtocolVersion::V2)]
}

/// A channel of either protocol, new or adopted, with or without a least rise.
pub fn channel() -> impl Strategy<Value = Run> {
    let age = prop_oneof![1 => Just(OUTCOME_AGE_S_MAX_DEFAULT), 1 => 0..30u64];
    (protocol(), prop_oneof![3 => Just(0u128), 1 => 1..30u128], 0..3u128, age).prop_map(
        |(protocol, settled, delta_min, age)| {
            let mut run = Run::adopt(protocol, DEPOSIT, settled);
            run.policy.voucher_delta_min = amount(delta_min);
            run.policy.outcome_age_s_max = age;
            run
        },
    )
}

pub fn intents() -> impl Strategy<Value = Vec<Intent>> {
    prop::collection::vec(intent(), 1..80)
}

/// One step of a random run, as a property sees it.
pub struct Seen<'a> {
    pub before: &'a State,
    pub command: &'a Command,
    pub result: &'a Result<Transition, Rejection>,
    pub after: &'a State,
    pub now: UnixSeconds,
}

impl Seen<'_> {
    pub fn events(&self) -> &[Event] {
        self.result.as_ref().map_or(&[], |transition| &transition.events)
    }
}

/// Runs the intents and shows every step, the refused ones too.
pub fn watch(
    run: &mut Run,
    intents: Vec<Intent>,
    mut property: impl FnMut(Seen<'_>) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    for intent in intents {
        let before = run.state.clone();
        let command = intent.in_state(&before);
        let result = run.step(command.clone());
        let now = run.now;
        property(Seen { before: &before, command: &command, result: &result, after: &run.state, now })?;
    }
    Ok(())
}
