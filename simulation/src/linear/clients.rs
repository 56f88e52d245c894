//! What the clients of a history call. Few channels, few amounts, few names: everybody is in everybody's way.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use farebox_core::channel::{ChainPosition, RequestKey, Spend};
use farebox_core::units::{Amount, UnixSeconds};
use farebox_engine::{Engine, EngineError, Step};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::{Answer, Caller, Line};
use crate::account::Op;
use crate::cast::{Hand, MemberIndex, member, sign};
use crate::said::{Balance, Said};

/// The deposit of every channel. Small enough to be exceeded.
const DEPOSIT: u128 = 100;
/// Names that all clients of a history share.
const KEYS: u8 = 5;

/// The list that all callers write.
pub(super) type List = Arc<Mutex<Vec<Line>>>;

/// Draws a call.
pub(super) fn draw(dice: &mut Xoshiro256PlusPlus) -> (Op, Hand) {
    let amount = |dice: &mut Xoshiro256PlusPlus, most: u128| dice.random_range(0..=most) * 5;
    let position = ChainPosition { block: dice.random_range(2..6), log_index: 0 };
    let op = match dice.random_range(0..100) {
        0..38 => {
            let hand = if dice.random_ratio(1, 12) { Hand::Stranger } else { Hand::Signer };
            let (amount, then) = (amount(dice, 22), spend(dice));
            return (Op::Submit { amount, genuine: hand == Hand::Signer, then }, hand);
        }
        38..50 => Op::Step(Step::Spend(spend(dice))),
        50..66 => {
            let (amount, finish) = (Amount::new(amount(dice, 3)), dice.random());
            Op::Step(Step::Capture { key: key(dice), amount, units: dice.random_range(0..2), finish })
        }
        66..70 => Op::Step(Step::Release { key: key(dice) }),
        70..74 => Op::Close { amount: amount(dice, 22), genuine: true },
        74..76 => Op::Step(Step::BeginCloseForced),
        76..80 => Op::Step(Step::AbortClose),
        80..82 => Op::Step(Step::PlanSettle),
        82..84 => {
            let (deposit, cancels_close) = (Amount::new(amount(dice, 30)), dice.random());
            Op::Step(Step::ToppedUp { deposit, position, cancels_close })
        }
        84..86 => Op::Step(Step::CloseRequested { at: UnixSeconds(7), position }),
        86..90 => Op::Step(Step::CloseRequestCancelled { position }),
        90..92 => Op::Step(Step::Settled { settled: Amount::new(amount(dice, 6)), position }),
        92 => {
            let (captured, refunded) = (Amount::new(amount(dice, 6)), Amount::new(amount(dice, 6)));
            Op::Step(Step::Closed { captured, refunded, position })
        }
        93..95 => open(),
        _ => Op::Read,
    };
    (op, Hand::Signer)
}

/// How every channel enters the books.
pub(super) const fn open() -> Op {
    Op::Open { deposit: DEPOSIT, settled: 0, position: (1, 0) }
}

fn spend(dice: &mut Xoshiro256PlusPlus) -> Spend {
    let amount = Amount::new(dice.random_range(0..=4) * 5);
    match dice.random_range(0..10) {
        0..2 => Spend::Nothing,
        2..6 => Spend::Charge { key: dice.random_bool(0.8).then(|| key(dice)), amount, units: 1 },
        _ => Spend::Reserve { key: key(dice), amount },
    }
}

fn key(dice: &mut Xoshiro256PlusPlus) -> RequestKey {
    RequestKey([dice.random_range(0..KEYS); 16])
}

/// Calls, and writes down when. False when the engine is gone.
pub(super) fn call(
    engine: &Engine,
    list: &List,
    caller: Caller,
    index: MemberIndex,
    op: Op,
    hand: Hand,
) -> bool {
    note(list, Line::Began(caller, index, op.clone()));
    let said = match block_on(ask(engine, index, op, hand)) {
        Ok(said) => said,
        Err(EngineError::Busy { .. }) => Said::Busy,
        Err(_) => return false,
    };
    note(list, Line::Ended(caller, Answer::Said(said)));
    true
}

pub(super) fn note(list: &List, line: Line) {
    list.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(line);
}

async fn ask(engine: &Engine, index: MemberIndex, op: Op, hand: Hand) -> Result<Said, EngineError> {
    let channel = member(index).channel;
    let verdict = match op {
        Op::Open { deposit, settled, position } => {
            let position = ChainPosition { block: position.0, log_index: position.1 };
            let (deposit, settled) = (Amount::new(deposit), Amount::new(settled));
            engine.open(member(index).identity.clone(), deposit, settled, position).await?
        }
        Op::Submit { amount, then, .. } => {
            engine.submit(channel, sign(index, Amount::new(amount), hand), then).await?
        }
        Op::Close { amount, .. } => {
            engine.begin_close(channel, sign(index, Amount::new(amount), hand)).await?
        }
        Op::Step(step) => engine.apply(channel, step).await?,
        Op::Read | Op::Restart => {
            let found = engine.read(channel).await?;
            return Ok(Said::Read(found.map(|found| Balance::from(&found.snapshot))));
        }
    };
    Ok(Said::from(&verdict))
}

/// Waits for a future in this thread.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
