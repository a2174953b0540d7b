//! Decides; never acts. The kernel knows which items of which batch are pending, in flight, waiting or
//! settled, and says what to start, what to record and whom to answer.
//!
//! It is pure: no clock, thread, channel, file or random source, and no map with a random order. The
//! same inputs give the same outputs, so a failure can be replayed. Payloads stay outside: an item is
//! its number, an outcome is its verdict.
//!
//! Invariants:
//! - [`lifecycle::transition`] is the only place where a batch's phase changes.
//! - Everything that happens to a batch is an [`Event`](event::Event); live processing and recovery
//!   apply the same events with the same function, [`BatchState::apply`](batch::BatchState::apply).
//! - An answer, or a start, that depends on a commit is put out only after
//!   [`Input::Committed`](input::Input::Committed).

mod admission;
mod batch;
mod bits;
mod dispatch;
mod engine;
mod event;
mod holds;
mod input;
mod items;
mod lifecycle;
mod losses;
mod order;
mod ordering;
mod rate;
mod retry;
mod schedule;
mod starts;

#[cfg(test)]
mod tests;

pub(crate) use batch::{BadEvent, BatchState, Recovered};
pub(crate) use engine::{BatchView, Kernel};
pub(crate) use event::{Event, Fate, ItemEvent, Loss};
pub(crate) use input::{
    Input, Mark, OperationSpec, Output, Promise, Refusal, Slice, SliceId, SliceItem, Terms, Ticket,
    Verdict,
};
pub(crate) use items::Items;
pub(crate) use lifecycle::Phase;
pub use lifecycle::State;
pub use rate::RateLimit;
pub use retry::RetryPolicy;

use std::fmt;
use std::time::Duration;

/// The number of a batch: increasing in submit order within a store, never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct BatchId(pub(crate) u64);

impl std::str::FromStr for BatchId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl From<u64> for BatchId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

impl From<BatchId> for u64 {
    fn from(id: BatchId) -> Self {
        id.0
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment of the queue's clock, in milliseconds since the Unix epoch.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub(crate) struct Timestamp(pub(crate) u64);

impl Timestamp {
    pub(crate) fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    pub(crate) fn plus(self, time: Duration) -> Self {
        self.plus_ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn minus(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ms))
    }

    /// The time from `earlier` to this moment; none when that is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// An operation's place in the kernel's table of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OperationIndex(pub(crate) usize);
