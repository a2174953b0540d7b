//! What a queue has done and has to do.

use crate::histogram::Histogram;
use crate::status::Blocked;
use std::time::Duration;

/// From [`Queue::stats`](crate::Queue::stats): figures of now, and totals since the queue was opened. Totals
/// only grow; opening the queue again, also in the same process, starts them at zero.
///
/// What is counted as done is durable. Except for totals that one commit changes together, figures are read
/// one after the other while the queue goes on working.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Every operation that is registered, or that unfinished batches name.
    pub operations: Vec<OperationStats>,
    /// Now: batches that are queued or running.
    pub unfinished_batches: u64,
    /// Total: batches that were deleted.
    pub deleted_batches: u64,
    /// What the writer has done.
    pub writer: WriterStats,
    /// Now: bytes that the files of the store take. Deleted space is used again and rarely given back.
    pub size_on_disk: u64,
}

/// One operation's part of [`Stats`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationStats {
    /// The operation's name.
    pub name: String,
    /// Whether the application registered it. Batches of an operation that is not stay queued.
    pub registered: bool,
    /// Now: why nothing of it can start.
    pub blocked: Option<Blocked>,
    /// Now: unfinished batches.
    pub batches: u64,
    /// Now: items that wait for a worker. Those of a batch that is being stopped do not.
    pub queued: u64,
    /// Now: items handed to workers.
    pub in_flight: u64,
    /// Now: items whose batch's time has not come: see
    /// [`SubmitOptions::not_before`](crate::SubmitOptions::not_before).
    pub scheduled: u64,
    /// Now: items that wait for another attempt.
    pub waiting: u64,
    /// Now: the time since the oldest batch with items in [`queued`](Self::queued) was accepted, or its time
    /// had come, by the queue's clock. `None` when no item is queued.
    pub oldest_queued: Option<Duration>,
    /// Total: batches accepted.
    pub submitted: u64,
    /// Total: items that succeeded.
    pub succeeded: u64,
    /// Total: items that failed for good.
    pub failed: u64,
    /// Total: attempts that failed and were followed by another.
    pub retried: u64,
    /// Total: attempts whose handler panicked.
    pub panicked: u64,
    /// Total: items that ended [in doubt](crate::Outcome::InDoubt), resolved since or not.
    pub in_doubt: u64,
    /// Total: attempts whose handler did not return in [time](crate::Operation::timeout).
    pub timed_out: u64,
    /// Now: handlers whose time is up and that have not returned.
    pub hung: u64,
    /// Total: how long attempts took, from decoding the item to encoding its output. Recorded when the
    /// worker hands its results to the writer, a commit before the items are counted as succeeded, failed or
    /// retried.
    pub handler_time: Timing,
}

/// The writer's part of [`Stats`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriterStats {
    /// Total: commits, which are groups of everything that came in while the one before was written. Each is
    /// one sync of the store's data file.
    pub commits: u64,
    /// Total: items in these commits, once when their batch was accepted and once with their outcome.
    pub items: u64,
    /// Total: how long commits took in the storage engine, sync included. The time of reads that a commit
    /// waits for is not counted.
    pub commit_time: Timing,
}

impl WriterStats {
    /// How well work is grouped: [`items`](Self::items) per commit, 0 when there was none.
    pub fn items_per_commit(&self) -> f64 {
        if self.commits == 0 {
            return 0.0;
        }
        // Exact far beyond any number of items.
        self.items as f64 / self.commits as f64
    }
}

/// How long something took, over all of it since the queue was opened. All zero when there was nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// How many were timed.
    pub count: u64,
    /// The mean; with [`count`](Self::count) it gives the time that all took together.
    pub mean: Duration,
    /// What half of them did not exceed: never shown too short, at most a sixteenth too long.
    pub p50: Duration,
    /// What 99 of 100 did not exceed: never shown too short, at most a sixteenth too long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Timing {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        let recorded = histogram.snapshot();
        Self {
            count: recorded.count(),
            mean: recorded.mean(),
            p50: recorded.percentile(50),
            p99: recorded.percentile(99),
            max: recorded.max(),
        }
    }
}
