//! What a queue has done and has to do.

use crate::status::Blocked;

/// From [`Queue::stats`](crate::Queue::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Every operation that is registered, or that unfinished batches name.
    pub operations: Vec<OperationStats>,
    /// Batches that are queued or running.
    pub unfinished_batches: u64,
    /// Commits since the queue was opened. Each is one sync of the store's data file.
    pub commits: u64,
    /// Batches that were deleted since the queue was opened.
    pub deleted_batches: u64,
    /// Bytes that the store takes on disk.
    pub size_on_disk: u64,
}

/// One operation's part of [`Stats`]. The first figures are of now, the others totals since the queue was
/// opened; all count items, except `batches` and `submitted`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationStats {
    /// The operation's name.
    pub name: String,
    /// Whether the application registered it. Batches of an operation that is not stay queued.
    pub registered: bool,
    /// Why nothing of it can start.
    pub blocked: Option<Blocked>,
    /// Unfinished batches.
    pub batches: u64,
    /// Waiting for a worker.
    pub queued: u64,
    /// Handed to workers.
    pub in_flight: u64,
    /// Waiting for another attempt.
    pub waiting: u64,
    /// Batches accepted.
    pub submitted: u64,
    /// Succeeded.
    pub succeeded: u64,
    /// Failed for good.
    pub failed: u64,
    /// Attempts that failed and were followed by another.
    pub retried: u64,
    /// Attempts whose handler panicked.
    pub panicked: u64,
}
