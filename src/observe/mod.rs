//! What a queue tells the outside of itself: figures, traces and metrics.
//!
//! - [`Queue::stats`](crate::Queue::stats) gives figures at any time, without any feature: see
//!   [`Stats`](crate::Stats).
//! - Feature `tracing`: spans and events, to whatever subscriber the program has.
//! - Feature `metrics`: counters, gauges and histograms, to whatever recorder the program has.
//!
//! Neither feature changes what a queue does. Subscribers and recorders are called on the queue's threads:
//! they must not call the queue, nor wait; a panic in one fails the queue.
//!
//! # What is never told
//!
//! Items, outputs, failures (their codes, messages and details), panic texts, table rows and their keys,
//! ordering keys, idempotency keys, owners, labels and reasons of pauses. Operations are named and batches and
//! items numbered; with these, `Batch` has the rest for those who may see it.
//!
//! # Traces: feature `tracing`
//!
//! All have the target `batchwright`. They say what happens when it happens, which may be before it is durable.
//!
//! | span | level | around | fields |
//! |---|---|---|---|
//! | `batchwright.submit` | debug | an encoded batch on its way to the disk, on the submitter's thread | `operation`, `items`, `batch` when it is accepted |
//! | `batchwright.slice` | debug | the handlers of some items of a batch, on a worker's thread; what they log is inside it | `operation`, `batch`, `items` |
//! | `batchwright.commit` | debug | a commit, on the writer's thread | `sequence`, `rows`, `bytes` (roughly) |
//!
//! | event | level | fields |
//! |---|---|---|
//! | the queue is open | info | `dir`, `workers`, `operations` |
//! | unfinished batches go on | info | `batches` |
//! | an attempt failed and is followed by another | debug | `operation`, `batch`, `item`, `attempt` |
//! | a handler panicked | warn | `operation`, `batch`, `item`, `attempt` |
//! | a handler has not returned in time | warn | `operation`, `limit_ms` |
//! | an item cannot be decoded, its operation is held up | warn | `operation`, `batch`, `item` |
//! | no item holds the operation up any more | info | `operation` |
//! | an operation is paused | info | `operation` |
//! | an operation is unpaused | info | `operation` |
//! | a commit does not end | warn | `looks`: how often it was looked at, of the 4 after which the queue fails |
//! | the queue has failed | error | `reason` |
//! | the queue is closing | info | |
//! | the queue is shut down | info | |
//! | handlers or reads outlast the shutdown | warn | |
//!
//! # Metrics: feature `metrics`
//!
//! | name | kind | labels | what |
//! |---|---|---|---|
//! | `batchwright_batches_submitted_total` | counter | `operation` | batches accepted |
//! | `batchwright_batches_ended_total` | counter | `state`: `completed` or `stopped` | batches that ended; once more when resumed |
//! | `batchwright_items_total` | counter | `operation`, `outcome`: `succeeded` or `failed` | items with an outcome |
//! | `batchwright_attempts_retried_total` | counter | `operation` | attempts that failed and were followed by another |
//! | `batchwright_attempts_panicked_total` | counter | `operation` | attempts whose handler panicked |
//! | `batchwright_attempts_timed_out_total` | counter | `operation` | attempts whose handler did not return in time |
//! | `batchwright_commits_total` | counter | | commits, each one sync |
//! | `batchwright_commit_seconds` | histogram | | time of a commit in the storage engine, in seconds |
//! | `batchwright_handler_seconds` | histogram | `operation` | time of an attempt, in seconds |
//! | `batchwright_unfinished_batches` | gauge | | batches queued or running |
//! | `batchwright_size_on_disk_bytes` | gauge | | bytes that the store's files take, looked at after a commit, at most once a second |
//!
//! They are what [`Stats`](crate::Stats) says of the same things, and counted when durable. Several queues in one
//! program add up; a queue that closes takes its share of the gauges with it.
//!
//! **Install the recorder before opening the queue.** A queue registers its metrics when it is opened, on the
//! thread that opens it, and never again, so that counting costs no look-up; a recorder that comes later gets
//! nothing from it.

mod handles;
mod meters;
mod traces;

pub(crate) use meters::{OperationMeters, WriterMeters, describe};
pub(crate) use traces::{
    closing, committing, decodable, latched, opened, panicked, paused, recovered, retried, running,
    shut_down, slow_commit, submitting, timed_out, undecodable, unpaused,
};
