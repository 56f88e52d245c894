//! Who pays the fees of a client's transaction: when this server does, and how much of that.
//!
//! A challenge may promise to pay the fees of `open` and `topUp`. Whoever keeps such a promise signs, with a funded
//! account, what a stranger wrote; so everything here is about how little that stranger can cost. [`Policy`] judges
//! one transaction, [`Budget`] all of the last hour.
//!
//! Settlement calls it. Nothing here reads a clock, asks a chain, holds a key or signs: decisions are values. What the
//! calls of a transaction do is judged before, where they are decoded: an open or a top-up of the challenge's escrow,
//! and nothing beside it.
//!
//! ```
//! use farebox_engine::core::units::{Address, Amount, UnixSeconds};
//! use farebox_engine::sponsor::{Budget, BudgetLimits, Policy, Wish};
//!
//! let [sponsor, payer, token] = [1, 2, 3].map(Address::repeat_byte);
//! let policy = Policy { sponsor, fee_token: token, ..Policy::default() };
//! let wish = Wish::new(payer, 800_000, 20_000_000_000, UnixSeconds(1_025));
//! let most = policy.check_terms(&wish)?;
//! assert_eq!(most, Amount::new(16_000));
//! policy.check_time(&wish, UnixSeconds(1_000))?;
//!
//! let mut budget = Budget::new(BudgetLimits { payer: Amount::new(20_000), all: Amount::new(50_000) });
//! let held = budget.reserve(payer, most, UnixSeconds(1_000))?;
//! assert!(budget.reserve(payer, most, UnixSeconds(1_000)).is_err(), "the payer's hour is used up");
//! budget.settle(held, Amount::new(6_000), UnixSeconds(1_001)); // what the receipt says
//! assert!(budget.reserve(payer, Amount::new(14_000), UnixSeconds(1_001)).is_ok());
//! # Ok::<(), farebox_engine::sponsor::Refusal>(())
//! ```

mod budget;
mod policy;
mod refusal;

pub use budget::{Budget, BudgetLimits, PAYERS_MAX, Reservation};
pub use policy::{Policy, Wish, fee};
pub use refusal::Refusal;
