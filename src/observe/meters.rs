//! The metrics of a queue. Their handles are made once, when the queue is opened.

use super::handles::{self, Counter, Gauge, Histogram, Kind, Unit};
use crate::kernel::State;
use crate::runtime::Counts;
use std::time::{Duration, Instant};

const SUBMITTED: &str = "batchwright_batches_submitted_total";
const ENDED: &str = "batchwright_batches_ended_total";
const ITEMS: &str = "batchwright_items_total";
const RETRIED: &str = "batchwright_attempts_retried_total";
const PANICKED: &str = "batchwright_attempts_panicked_total";
const TIMED_OUT: &str = "batchwright_attempts_timed_out_total";
const COMMITS: &str = "batchwright_commits_total";
const COMMIT_TIME: &str = "batchwright_commit_seconds";
const HANDLER_TIME: &str = "batchwright_handler_seconds";
const UNFINISHED: &str = "batchwright_unfinished_batches";
const SIZE: &str = "batchwright_size_on_disk_bytes";

/// How often the store's files are looked at, at most.
const SIZE_EVERY: Duration = Duration::from_secs(1);

/// Tells the recorder what the metrics are.
pub(crate) fn describe() {
    use Kind::{Counter, Gauge, Histogram};
    let count = |name, text| handles::describe(Counter, name, Unit::Count, text);
    count(SUBMITTED, "Batches accepted.");
    count(ENDED, "Batches that ended; once more when resumed.");
    count(ITEMS, "Items with an outcome.");
    count(
        RETRIED,
        "Attempts that failed and were followed by another.",
    );
    count(PANICKED, "Attempts whose handler panicked.");
    count(TIMED_OUT, "Attempts whose handler did not return in time.");
    count(COMMITS, "Commits, each one sync.");
    let time = |name, text| handles::describe(Histogram, name, Unit::Seconds, text);
    time(COMMIT_TIME, "Time of a commit in the storage engine.");
    time(HANDLER_TIME, "Time of an attempt.");
    let text = "Batches queued or running.";
    handles::describe(Gauge, UNFINISHED, Unit::Count, text);
    let text = "Bytes that the store's files take.";
    handles::describe(Gauge, SIZE, Unit::Bytes, text);
}

/// The metrics of an operation.
pub(crate) struct OperationMeters {
    submitted: Counter,
    succeeded: Counter,
    failed: Counter,
    retried: Counter,
    panicked: Counter,
    in_doubt: Counter,
    timed_out: Counter,
    handler_time: Histogram,
}

impl OperationMeters {
    pub(crate) fn new(operation: &str) -> Self {
        let of = ("operation", operation);
        let items = |outcome| handles::counter(ITEMS, &[of, ("outcome", outcome)]);
        Self {
            submitted: handles::counter(SUBMITTED, &[of]),
            succeeded: items("succeeded"),
            failed: items("failed"),
            retried: handles::counter(RETRIED, &[of]),
            panicked: handles::counter(PANICKED, &[of]),
            in_doubt: items("in_doubt"),
            timed_out: handles::counter(TIMED_OUT, &[of]),
            handler_time: handles::histogram(HANDLER_TIME, &[of]),
        }
    }

    /// What a commit made durable.
    pub(crate) fn add(&self, counts: &Counts) {
        self.submitted.increment(counts.submitted);
        self.succeeded.increment(counts.succeeded);
        self.failed.increment(counts.failed);
        self.retried.increment(counts.retried);
        self.panicked.increment(counts.panicked);
        self.in_doubt.increment(counts.in_doubt);
        self.timed_out.increment(counts.timed_out);
    }

    pub(crate) fn attempts(&self, durations: impl Iterator<Item = Duration>) {
        for duration in durations {
            self.handler_time.record(duration);
        }
    }
}

/// The metrics of the writer.
pub(crate) struct WriterMeters {
    commits: Counter,
    commit_time: Histogram,
    completed: Counter,
    stopped: Counter,
    unfinished: Level,
    size: Level,
    size_looked_at: Option<Instant>,
}

impl WriterMeters {
    pub(crate) fn new() -> Self {
        let ended = |state| handles::counter(ENDED, &[("state", state)]);
        Self {
            commits: handles::counter(COMMITS, &[]),
            commit_time: handles::histogram(COMMIT_TIME, &[]),
            completed: ended("completed"),
            stopped: ended("stopped"),
            unfinished: Level::new(UNFINISHED),
            size: Level::new(SIZE),
            size_looked_at: None,
        }
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commits.increment(1);
        self.commit_time.record(took);
    }

    pub(crate) fn ended(&self, state: State) {
        match state {
            State::Completed => self.completed.increment(1),
            State::Stopped => self.stopped.increment(1),
            State::Queued | State::Running => {}
        }
    }

    /// Where things stand after a commit; `size` is asked for now and then.
    pub(crate) fn stands(&mut self, unfinished: usize, size: impl FnOnce() -> Option<u64>) {
        if !cfg!(feature = "metrics") {
            return;
        }
        self.unfinished.show(unfinished as u64);
        let now = Instant::now();
        let due = |at: Instant| now.duration_since(at) >= SIZE_EVERY;
        if self.size_looked_at.is_none_or(due) {
            self.size_looked_at = Some(now);
            if let Some(size) = size() {
                self.size.show(size);
            }
        }
    }
}

/// This queue's share of a gauge.
struct Level {
    gauge: Gauge,
    shown: u64,
}

impl Level {
    fn new(name: &'static str) -> Self {
        Self {
            gauge: handles::gauge(name, &[]),
            shown: 0,
        }
    }

    fn show(&mut self, value: u64) {
        // Exact: both numbers are far below 2^52.
        if value >= self.shown {
            self.gauge.increment((value - self.shown) as f64);
        } else {
            self.gauge.decrement((self.shown - value) as f64);
        }
        self.shown = value;
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.show(0);
    }
}
