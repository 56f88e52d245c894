//! Named places of a claim where a test kills the process: each line between two of which a crash leaves another trace.
//!
//! Without the feature `failpoints`, which no build for use has, [`reach`] is nothing.

/// A place, in the order in which a claim comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailPoint {
    /// A claim is planned; the books have not fixed it.
    BeforeFix,
    /// The books have fixed it.
    Fixed,
    /// The chain would take it.
    Simulated,
    /// It is signed, and written down nowhere.
    Signed,
    /// The intent is durable; no node has seen the transaction.
    IntentKept,
    /// A node has the transaction.
    Broadcast,
    /// Its fate is known to this process alone.
    FateKnown,
    /// What each of its claims did is known.
    Concluded,
    /// One claim is in the books; there may be more.
    BooksTold,
    /// All are, and the intent still stands.
    BeforeForget,
    /// The intent is gone.
    Forgotten,
}

/// All of them.
pub const ALL: [FailPoint; 11] = {
    use FailPoint::*;
    [
        BeforeFix,
        Fixed,
        Simulated,
        Signed,
        IntentKept,
        Broadcast,
        FateKnown,
        Concluded,
        BooksTold,
        BeforeForget,
        Forgotten,
    ]
};

impl FailPoint {
    /// Its name, for crate `fail`.
    pub fn name(self) -> String {
        format!("farebox::settlement::{self:?}")
    }
}

/// The variable that names the place at which this process kills itself.
#[cfg(feature = "failpoints")]
pub const DIE_AT_VARIABLE: &str = "FAREBOX_DIE_AT";

/// Kills this process (SIGKILL) at the place that the environment names, if it names one.
#[cfg(feature = "failpoints")]
pub fn arm() {
    let Some(wanted) = std::env::var(DIE_AT_VARIABLE).ok() else { return };
    let point = ALL.into_iter().find(|point| format!("{point:?}") == wanted);
    let point =
        point.unwrap_or_else(|| panic!("{DIE_AT_VARIABLE}: found {wanted:?}, expected one of {ALL:?}"));
    let kill = || {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::KILL)
            .expect("a process may kill itself");
        // The signal comes when the system gets to it; nothing more may happen until then.
        loop {
            std::thread::park();
        }
    };
    fail::cfg_callback(point.name(), kill).expect("the name is well-formed");
}

/// The process is at this place.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(point: FailPoint) {
    fail::fail_point!(&point.name());
}

/// The process is at this place.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn reach(_: FailPoint) {}
