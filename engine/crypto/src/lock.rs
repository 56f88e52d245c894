//! The lock of lookups. It is held for microseconds, and never while signatures are verified.
//!
//! Without an operating system all that a thread can do is ask again. With one (feature `std`) it lets others run: the
//! one that holds the lock may have lost its processor.

/// What a thread does while it waits.
#[cfg(not(feature = "std"))]
type Relax = spin::relax::Spin;
#[cfg(feature = "std")]
type Relax = spin::relax::Yield;

/// A mutual exclusion.
pub(crate) type Mutex<T> = spin::mutex::Mutex<T, Relax>;
