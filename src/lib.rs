//! An embedded, durable batch-job engine.
//!
//! A program submits a [`Batch`] of up to 1,000 items for one [`Operation`]; when [`Queue::submit`] returns,
//! the batch is on disk. Worker threads run each item, every item ends with an [`Outcome`], and after a
//! crash or a power cut everything goes on. One directory, one process, no server.
//!
//! submit -> writer (group commit) -> store, durable -> ack -> kernel picks a slice -> workers run the
//! handler -> writer (group commit) -> store, durable -> status, outcomes, waiters
//!
//! # An example
//!
//! ```
//! use batchwright::{Context, ExactlyOnce, Failure, Operation, Outcome, Queue, Table};
//!
//! const POINTS: Table<str, u64> = Table::new("points");
//!
//! struct Award;
//!
//! impl Operation for Award {
//!     const NAME: &'static str = "award";
//!     type Item = (String, u64);
//!     type Output = u64;
//!     type Guarantee = ExactlyOnce;
//!
//!     fn run(&self, (customer, points): Self::Item, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
//!         if points == 0 {
//!             return Err(Failure::permanent("nothing_to_award", "points must be above 0").field("points"));
//!         }
//!         let balance = cx.get(&POINTS, customer.as_str())?.unwrap_or(0) + points;
//!         cx.put(&POINTS, customer.as_str(), &balance)?;
//!         Ok(balance)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let queue = Queue::builder(dir.path()).register(Award).open()?;
//! let batch = queue.submit::<Award>([("ada".to_owned(), 5), ("ada".to_owned(), 0), ("ada".to_owned(), 2)])?;
//! let report = batch.wait()?;
//! assert_eq!((report.status.succeeded, report.status.failed), (2, 1));
//!
//! let outputs: Vec<_> = batch.outcomes()?.collect::<Result<_, _>>()?;
//! assert_eq!(outputs[2].outcome, Outcome::Succeeded(7));
//! assert_eq!(queue.read(|tables| tables.get(&POINTS, "ada"))?, Some(7));
//! # Ok(())
//! # }
//! ```
//!
//! # The guide
//!
//! [`guide`] says all there is to know, a page a subject. Ten minutes: [getting started](guide::getting_started),
//! [guarantees](guide::guarantees), [submitting](guide::submitting), [watching](guide::watching). Before
//! production: [what can go wrong](guide::what_can_go_wrong), [embedding](guide::embedding), [limits](guide::limits).
//!
//! # Where to find what
//!
//! | to | see |
//! |---|---|
//! | say what can be done, and what is promised | [`Operation`], [`Guarantee`]: [`ExactlyOnce`], [`AtLeastOnce`] or [`AtMostOnce`] |
//! | write a handler | [`Context`], [`Failure`], [`RetryPolicy`], [`RateLimit`], [`Table`] |
//! | open a queue, submit, read tables, shut down | [`Queue`], [`Builder`], [`SubmitOptions`] |
//! | submit many, by name, or from JSON | [`Queue::import`], [`Queue::submit_named`], [`Queue::submit_json`] |
//! | watch and steer a batch | [`Batch`], [`Status`], [`Report`], [`Outcomes`], [`Watch`], [`Events`] |
//! | pause, prune, list | [`Queue::pause`], [`Queue::prune`], [`Queue::batches`] with a [`BatchFilter`] |
//! | look from outside | [`Queue::stats`], [`observe`] |
//! | see that nothing is lost or changed; keep a copy; save what can be read | [`verify`], [`Builder::verify`]; [`Queue::backup`]; [`salvage`] |
//! | know what can be refused, and why | [`limits`], [`SubmitError`], [`BatchError`], [`WaitError`], [`OpenError`] |
//! | award, spend and balance loyalty points | the module `loyalty`, with the feature of that name |
//! | test | the module `testing`, with the feature of that name |
//!
//! # Features
//!
//! None changes what a queue does. `loyalty` is on by default.
//!
//! | feature | it adds |
//! |---|---|
//! | `loyalty` | ten operations on a ledger of loyalty points: the module `loyalty` |
//! | `testing` | queues in memory whose crashes are commands, a manual clock, assertions: for tests alone |
//! | `tracing` | spans and events, to the program's subscriber: see [`observe`] |
//! | `metrics` | counters, gauges and histograms, to the program's recorder: see [`observe`] |
//!
//! No signal handler, panic hook, global logger, async runtime, network or unsafe code.

// docs.rs marks what a feature adds.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backup;
mod batch;
mod builder;
mod canonical;
mod clock;
mod context;
mod ended;
mod error;
mod events;
mod failure;
mod function;
pub mod guide;
mod histogram;
mod import;
mod item;
mod items;
mod json_items;
mod kernel;
pub mod limits;
#[cfg(feature = "loyalty")]
pub mod loyalty;
mod named;
pub mod observe;
mod operation;
mod outcome;
mod pause;
mod platform;
mod position;
mod process;
mod queue;
mod read;
mod retry_failed;
mod runtime;
mod salvage;
mod stats;
mod status;
mod store;
mod submission;
mod sync;
mod table;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(doctest)]
mod twins;
mod verification;
mod waiting;
mod watch;

pub use backup::{Backup, BackupError};
pub use batch::{Batch, BatchType, Json};
pub use builder::Builder;
pub use clock::{Clock, SystemClock, Wake};
pub use context::{Context, IdempotencyKey};
pub use ended::Ended;
pub use error::{
    BatchError, ImportError, InvalidItem, OpenError, PauseError, ReadError, ShutdownError,
    SubmitError, WaitError,
};
pub use events::{Events, QueueEvent};
pub use failure::Failure;
pub use import::Import;
pub use items::Items;
pub use kernel::{BatchId, RateLimit, RetryPolicy, State};
pub use operation::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee, Operation};
pub use outcome::{ItemOutcome, Outcome, Outcomes};
pub use position::Position;
pub use queue::{Batches, Queue};
pub use read::Reader;
pub use salvage::{LOSSES, Loss, Salvage, SalvageError, salvage};
pub use stats::{OperationStats, Stats, Timing, WriterStats};
pub use status::{BatchFilter, Blocked, Report, Status};
pub use store::rows::Rows;
pub use submission::SubmitOptions;
pub use table::{KeyRange, Table, TableError, TableKey};
pub use verification::{
    FINDINGS, Finding, FindingKind, Verification, Verify, VerifyError, verify, verify_with,
};
pub use watch::Watch;

/// The README's examples are tests.
#[cfg(all(doctest, feature = "testing", feature = "loyalty"))]
#[doc = include_str!("../README.md")]
struct Readme;
