//! Looking at a whole store, on a disk.

use crate::error::OpenError;
use crate::kernel::BatchId;
use crate::queue::Queue;
use crate::runtime;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Counts every row of the store in `dir`, which nobody has open, and compares counts and sums with what the
/// store says of itself. No queue is started and nothing in it changes; where there is no store, an empty one
/// is created, as by [`Builder::open`](crate::Builder::open).
///
/// Gives the batches that rows are stored of: after a deletion, that one must not be among them.
///
/// # Errors
/// As [`Builder::open`](crate::Builder::open); [`OpenError::Damaged`] when a row is missing, too many, or
/// not what was written.
pub fn recount(dir: impl Into<PathBuf>) -> Result<BTreeSet<BatchId>, OpenError> {
    runtime::recount(&Queue::builder(dir).on_disk()?)
}
