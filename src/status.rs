//! What is shown of a batch.

use crate::kernel::{BatchId, State};
use crate::runtime::{Live, Progress};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Where a batch stands. Counts of ended items and end states are durable; that it runs, and what is in
/// flight, are observations.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The batch.
    pub id: BatchId,
    /// Its operation's name.
    pub operation: String,
    /// Whose it is, as its submitter said.
    pub owner: Option<String>,
    /// A note of its submitter.
    pub label: Option<String>,
    /// Higher ones go first.
    pub priority: i8,
    /// Nothing of it starts earlier.
    pub not_before: Option<SystemTime>,
    /// The batch whose failed items this one [runs again](crate::Batch::retry_failed).
    pub retry_of: Option<BatchId>,
    /// Queued, running, completed or stopped.
    pub state: State,
    /// Somebody asked to stop the batch, and items of it are still running.
    pub stop_requested: bool,
    /// Why nothing of it can start, whatever time passes.
    pub blocked: Option<Blocked>,
    /// Items in the batch.
    pub total: u64,
    /// Items that succeeded.
    pub succeeded: u64,
    /// Items that failed.
    pub failed: u64,
    /// Items of which nobody knows whether they ran: see [`Outcome::InDoubt`](crate::Outcome::InDoubt).
    pub in_doubt: u64,
    /// Items handed to workers.
    pub in_flight: u64,
    /// Items that wait for another attempt.
    pub waiting: u64,
    /// When the batch was accepted.
    pub created_at: SystemTime,
    /// When its first item started; `None` until then.
    pub started_at: Option<SystemTime>,
    /// When it was completed or stopped.
    pub ended_at: Option<SystemTime>,
    /// How long the batch will take until it is completed, as estimated when its last item ended.
    ///
    /// It is the time since the batch started, or went on after a stop or a pause, in this opening of the
    /// queue, divided by the items that ended in that time and multiplied with those left. So it counts in what the
    /// batch waited for other batches, and knows nothing of waits for another attempt that are still to
    /// come. `None` until an item has ended and a millisecond has passed, while the batch is blocked or
    /// being stopped, and when it has ended.
    pub time_left: Option<Duration>,
}

/// Why nothing of a batch can start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocked {
    /// Its operation is not registered. It goes on when the queue is opened with the operation.
    Unregistered,
    /// Its operation was [paused](crate::Queue::pause).
    Paused {
        /// What for, as the caller of `pause` said.
        reason: String,
    },
    /// An item of its operation cannot be decoded, of this batch or of another. It goes on after an open
    /// with code that reads the item, after [`fail_undecodable`](crate::Batch::fail_undecodable) of the
    /// batch that is named, or once that batch is stopped. [`unpause`](crate::Queue::unpause) tries again.
    Undecodable {
        /// Which item, and why.
        reason: String,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unregistered => f.write_str("blocked: its operation is not registered"),
            Self::Paused { reason } => write!(f, "paused: {reason}"),
            Self::Undecodable { reason } => write!(
                f,
                "blocked: {reason}; deploy what reads it, or call `fail_undecodable` on its batch"
            ),
        }
    }
}

impl Status {
    pub(crate) fn new(live: &Live, progress: &Progress, blocked: Option<Blocked>) -> Self {
        let time = |at: Option<crate::kernel::Timestamp>| at.map(|at| at.to_system_time());
        let goes_on = !progress.state.has_ended() && !progress.stop_requested && blocked.is_none();
        Self {
            id: live.id,
            operation: live.operation_name.to_string(),
            owner: live.owner.as_deref().map(str::to_owned),
            label: live.label.as_deref().map(str::to_owned),
            priority: live.priority,
            not_before: time(live.not_before),
            retry_of: live.origin.as_deref().map(|origin| origin.parent),
            state: progress.state,
            stop_requested: progress.stop_requested,
            blocked,
            total: u64::from(live.total),
            succeeded: u64::from(progress.succeeded),
            failed: u64::from(progress.failed),
            in_doubt: u64::from(progress.in_doubt),
            in_flight: u64::from(progress.in_flight),
            waiting: u64::from(progress.waiting),
            created_at: live.created_at.to_system_time(),
            started_at: time(progress.started_at),
            ended_at: time(progress.ended_at),
            time_left: progress
                .left_ms
                .filter(|_| goes_on)
                .map(Duration::from_millis),
        }
    }

    /// Items with an outcome.
    pub fn processed(&self) -> u64 {
        self.succeeded + self.failed + self.in_doubt
    }

    /// Items without an outcome; of a stopped batch, those that `resume` would run.
    pub fn unfinished(&self) -> u64 {
        self.total - self.processed()
    }

    /// The share of items with an outcome, 0 to 1.
    pub fn progress(&self) -> f64 {
        // Exact: a batch has far fewer than 2^52 items.
        self.processed() as f64 / self.total as f64
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            operation,
            state,
            total,
            failed,
            ..
        } = self;
        let processed = self.processed();
        write!(
            f,
            "batch {id} ({operation}): {state}, {processed} of {total} items"
        )?;
        if *failed > 0 {
            write!(f, ", {failed} failed")?;
        }
        if self.in_doubt > 0 {
            write!(f, ", {} in doubt", self.in_doubt)?;
        }
        if self.waiting > 0 {
            write!(f, ", {} waiting for another attempt", self.waiting)?;
        }
        if let Some(left) = self.time_left {
            write!(f, ", about {} left", Rounded(left))?;
        }
        if self.stop_requested {
            f.write_str(", stop requested")?;
        }
        match &self.blocked {
            None => Ok(()),
            Some(blocked) => write!(f, ", {blocked}"),
        }
    }
}

/// A time in its two largest units.
struct Rounded(Duration);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        match (hours, minutes, seconds) {
            (0, 0, 0) => write!(f, "{} ms", self.0.as_millis()),
            (0, 0, _) => write!(f, "{seconds} s"),
            (0, _, _) => write!(f, "{minutes} min {} s", seconds % 60),
            _ => write!(f, "{hours} h {} min", minutes % 60),
        }
    }
}

/// How a batch ended, or how far it is: from [`Batch::report`](crate::Batch::report).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Where the batch stands.
    pub status: Status,
    /// From its first start to its end, or to now.
    pub duration: Duration,
    /// How many items failed, by the failure's code, and under [`Failure::IN_DOUBT`](crate::Failure::IN_DOUBT) how
    /// many are in doubt. Together they are [`Status::failed`] and [`Status::in_doubt`]; of a batch with more than [`FAILURE_CODES`](crate::limits::FAILURE_CODES)
    /// different codes the alphabetically first are told apart, the others are counted under
    /// [`Failure::OTHER_CODES`](crate::Failure::OTHER_CODES).
    pub failures: BTreeMap<String, u64>,
}

impl Report {
    /// Items with an outcome, per second of [`duration`](Self::duration).
    pub fn items_per_second(&self) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 {
            self.status.processed() as f64 / seconds
        } else {
            0.0
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.3} s", self.status, self.duration.as_secs_f64())?;
        for (code, items) in &self.failures {
            write!(f, "\n  {items} x {code}")?;
        }
        Ok(())
    }
}

/// Which batches to list: see [`Queue::batches`](crate::Queue::batches). There is no index but the number: the
/// others cost a look at every batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFilter {
    pub(crate) state: Option<State>,
    pub(crate) operation: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) below: Option<BatchId>,
}

impl BatchFilter {
    /// All batches.
    pub fn all() -> Self {
        Self::default()
    }

    /// Only batches in this state.
    #[must_use]
    pub fn state(mut self, state: State) -> Self {
        self.state = Some(state);
        self
    }

    /// Only batches of this operation.
    #[must_use]
    pub fn operation(mut self, name: impl Into<String>) -> Self {
        self.operation = Some(name.into());
        self
    }

    /// Only batches of this owner.
    #[must_use]
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Only batches with this label.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Only batches with a lower number: those before the last one of a page, for the next page.
    #[must_use]
    pub fn below(mut self, id: impl Into<BatchId>) -> Self {
        self.below = Some(id.into());
        self
    }

    pub(crate) fn matches(&self, status: &Status) -> bool {
        self.state.is_none_or(|state| state == status.state)
            && self
                .operation
                .as_ref()
                .is_none_or(|name| *name == status.operation)
            && (self.owner.is_none() || self.owner == status.owner)
            && (self.label.is_none() || self.label == status.label)
    }
}
