//! The spans and events of a queue.
//!
//! What may be in them is in the module above. Nothing here takes a failure, an item or a key.

use crate::kernel::{BatchId, SliceItem};
use crate::store;
use std::path::Path;
use std::time::Duration;

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($field:ident = $value:expr,)* $text:literal) => {
        tracing::event!(target: "batchwright", tracing::Level::$level, $($field = $value,)* $text)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($level:ident, $($field:ident = $value:expr,)* $text:literal) => {{ $(let _ = $value;)* }};
}

#[cfg(feature = "tracing")]
macro_rules! span {
    ($name:literal, $($field:ident = $value:expr),*) => {
        Span(tracing::debug_span!(target: "batchwright", $name, $($field = $value),*).entered())
    };
    ($name:literal, $($field:ident = $value:expr),*; later $later:ident) => {
        Span(tracing::debug_span!(
            target: "batchwright", $name, $($field = $value,)* $later = tracing::field::Empty
        ).entered())
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($name:literal, $($field:ident = $value:expr),* $(; later $later:ident)?) => {{
        $(let _ = $value;)*
        Span
    }};
}

/// A span that this thread is in while this lives.
#[cfg(feature = "tracing")]
#[must_use]
pub(crate) struct Span(tracing::span::EnteredSpan);

/// A span that this thread is in while this lives.
#[cfg(not(feature = "tracing"))]
#[must_use]
pub(crate) struct Span;

impl Span {
    /// The batch that the span is about is known.
    pub(crate) fn batch(&self, batch: BatchId) {
        #[cfg(feature = "tracing")]
        self.0.record("batch", batch.0);
        let _ = batch;
    }
}

pub(crate) fn submitting(operation: &str, items: u32) -> Span {
    span!("batchwright.submit", operation = operation, items = items; later batch)
}

pub(crate) fn running(operation: &str, batch: BatchId, items: usize) -> Span {
    span!(
        "batchwright.slice",
        operation = operation,
        batch = batch.0,
        items = items
    )
}

pub(crate) fn committing(sequence: u64, rows: usize, bytes: usize) -> Span {
    span!(
        "batchwright.commit",
        sequence = sequence,
        rows = rows,
        bytes = bytes
    )
}

pub(crate) fn opened(dir: &Path, workers: usize, operations: usize) {
    event!(
        INFO,
        dir = dir.to_string_lossy().as_ref(),
        workers = workers,
        operations = operations,
        "the queue is open"
    );
}

pub(crate) fn recovered(batches: usize) {
    if batches > 0 {
        event!(INFO, batches = batches, "unfinished batches go on");
    }
}

pub(crate) fn retried(operation: &str, batch: BatchId, index: u16, attempt: u32) {
    event!(
        DEBUG,
        operation = operation,
        batch = batch.0,
        item = index,
        attempt = attempt,
        "an attempt failed and is followed by another"
    );
}

pub(crate) fn panicked(operation: &str, batch: BatchId, item: SliceItem) {
    event!(
        WARN,
        operation = operation,
        batch = batch.0,
        item = item.index,
        attempt = item.attempt,
        "a handler panicked"
    );
}

pub(crate) fn timed_out(operation: &str, limit: Duration) {
    event!(
        WARN,
        operation = operation,
        limit_ms = limit.as_millis() as u64,
        "a handler has not returned in time"
    );
}

pub(crate) fn undecodable(operation: &str, batch: BatchId, index: u16) {
    event!(
        WARN,
        operation = operation,
        batch = batch.0,
        item = index,
        "an item cannot be decoded, its operation is held up"
    );
}

pub(crate) fn decodable(operation: &str) {
    event!(
        INFO,
        operation = operation,
        "no item holds the operation up any more"
    );
}

pub(crate) fn paused(operation: &str) {
    event!(INFO, operation = operation, "an operation is paused");
}

pub(crate) fn unpaused(operation: &str) {
    event!(INFO, operation = operation, "an operation is unpaused");
}

pub(crate) fn slow_commit(looks: u32) {
    event!(WARN, looks = looks, "a commit does not end");
}

pub(crate) fn latched(reason: &str) {
    event!(ERROR, reason = without_rows(reason), "the queue has failed");
}

/// Without what the storage engine panicked with, which may quote rows.
fn without_rows(reason: &str) -> &str {
    match reason.find(store::PANICKED) {
        Some(at) => &reason[..at + store::PANICKED.trim_end_matches([':', ' ']).len()],
        None => reason,
    }
}

pub(crate) fn closing() {
    event!(INFO, "the queue is closing");
}

pub(crate) fn shut_down(in_time: bool) {
    if in_time {
        return event!(INFO, "the queue is shut down");
    }
    event!(WARN, "handlers or reads outlast the shutdown");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_storage_engine_panics_with_is_left_out() {
        let said = format!(
            "the store failed while reading: {}[116, 5]",
            store::PANICKED
        );
        assert_eq!(
            without_rows(&said),
            "the store failed while reading: it panicked"
        );
        assert_eq!(without_rows("the disk is full"), "the disk is full");
    }
}
