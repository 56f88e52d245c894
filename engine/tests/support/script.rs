//! Scripts of any steps in any order, on a few channels of both protocols.

use farebox_core::channel::Spend;
use farebox_core::units::{Amount, UnixSeconds};
use farebox_core::voucher::ProtocolVersion;
use farebox_engine::{Engine, EngineError, Refusal, Step, Verdict};
use proptest::prelude::*;

use super::*;

/// Small enough that scripts exceed it.
pub const DEPOSIT_SMALL: Amount = Amount::new(1_000);

/// More than the engines of these tests keep in memory.
pub const PAYERS: u32 = 8;

/// Amounts are multiples of it, so that equal ones meet often.
const STEP: u128 = 50;

/// What is asked of one of a few channels.
#[derive(Clone, Debug)]
pub enum Ask {
    Open,
    Submit { amount: u128, then: Spend },
    Close { amount: u128 },
    Step(Step),
}

pub fn ask() -> impl Strategy<Value = Ask> {
    let multiple = (0..24_u128).prop_map(|steps| steps * STEP);
    let amount = multiple.clone().prop_map(Amount::new);
    let spend = prop_oneof![
        Just(Spend::Nothing),
        (0..12_u64, (0..4_u128).prop_map(|steps| steps * STEP))
            .prop_map(|(number, price)| charge(number, price)),
        (0..12_u64, (0..4_u128).prop_map(|steps| steps * STEP))
            .prop_map(|(number, price)| reserve(number, price)),
    ];
    let place = (0..8_u64).prop_map(position);
    prop_oneof![
        4 => Just(Ask::Open),
        6 => (multiple.clone(), spend.clone()).prop_map(|(amount, then)| Ask::Submit { amount, then }),
        1 => multiple.prop_map(|amount| Ask::Close { amount }),
        3 => spend.prop_map(|spend| Ask::Step(Step::Spend(spend))),
        4 => (0..12_u64, amount.clone(), any::<bool>()).prop_map(|(number, amount, finish)| {
            Ask::Step(Step::Capture { key: key(number), amount, units: 2, finish })
        }),
        2 => (0..12_u64).prop_map(|number| Ask::Step(Step::Release { key: key(number) })),
        1 => (amount.clone(), place.clone(), any::<bool>()).prop_map(|(deposit, position, cancels_close)| {
            Ask::Step(Step::ToppedUp { deposit, position, cancels_close })
        }),
        1 => place.clone().prop_map(|position| Ask::Step(Step::CloseRequested { at: UnixSeconds(3), position })),
        1 => place.clone().prop_map(|position| Ask::Step(Step::CloseRequestCancelled { position })),
        1 => (amount.clone(), place.clone())
            .prop_map(|(settled, position)| Ask::Step(Step::Settled { settled, position })),
        1 => (amount.clone(), amount, place).prop_map(|(captured, refunded, position)| {
            Ask::Step(Step::Closed { captured, refunded, position })
        }),
        1 => Just(Ask::Step(Step::BeginCloseForced)),
        1 => Just(Ask::Step(Step::AbortClose)),
    ]
}

pub fn payer(number: u32) -> Payer {
    Payer::new(number, if number.is_multiple_of(2) { ProtocolVersion::V1 } else { ProtocolVersion::V2 })
}

impl Ask {
    /// Asks the engine.
    pub async fn of(&self, engine: &Engine, payer: &Payer) -> Result<Verdict, EngineError> {
        match self {
            Self::Open => engine.open(payer.identity.clone(), DEPOSIT_SMALL, Amount::ZERO, position(1)).await,
            Self::Submit { amount, then } => engine.submit(payer.channel, payer.sign(*amount), *then).await,
            Self::Close { amount } => engine.begin_close(payer.channel, payer.sign(*amount)).await,
            Self::Step(step) => engine.apply(payer.channel, *step).await,
        }
    }
}

/// Asks one after the other.
pub async fn play(engine: &Engine, asks: &[(u32, Ask)]) {
    for (number, ask) in asks {
        if let Verdict::Rejected(Refusal::Voucher(error)) = ask.of(engine, &payer(*number)).await.unwrap() {
            panic!("honest vouchers are valid: {error}");
        }
    }
}
