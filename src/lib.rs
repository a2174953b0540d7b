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
//! # Guarantees
//!
//! An operation's [`Guarantee`] is a type, and decides what its handler's [`Context`] offers:
//!
//! - [`ExactlyOnce`]: typed [`Table`]s of the same store. The writes and the outcome are one commit; a failing or
//!   panicking item leaves no write. Such handlers run one at a time.
//! - [`AtLeastOnce`]: anything, with [`Context::idempotency_key`] for outside systems. After a crash an unfinished
//!   item runs again, with the same key.
//!
//! # The life of a batch
//!
//! | from \ event | an item starts | every item has its outcome | stop | the last handler ends | resume |
//! |---|---|---|---|---|---|
//! | queued | running | | stopped | | |
//! | running | | completed | running, `stop_requested` | | |
//! | running, `stop_requested` | | completed | | stopped | |
//! | stopped | | | | | queued |
//!
//! # What can go wrong, and what you then see
//!
//! | what | you see |
//! |---|---|
//! | an item is not acceptable | [`SubmitError::Invalid`] with every such item; nothing is stored |
//! | a handler returns an error or panics | the item's [`Failure`]; the others go on |
//! | an item no longer decodes after a deploy | its operation is held up, [`Blocked::Undecodable`]; nothing fails |
//! | an item never decoded, a NaN for example | it fails with [`Failure::UNREADABLE_ITEM`], unless a restart came between |
//! | an operation is not registered | its batches stay queued, [`Blocked::Unregistered`] |
//! | the store cannot write | the queue latches: `Failed` for new calls, `Unknown` for what was under way. Open it again; submit again under the same idempotency key |
//! | the process dies | at the next open unfinished items run again |
//! | stored data is damaged | [`OpenError::Damaged`]; [`BatchError::Unreadable`] when a batch is read; a latched queue when a handler needs it |
//! | another process has the directory | [`OpenError::Locked`] with its process id |
//!
//! # Living inside an application
//!
//! No signal handler, panic hook, global logger, async runtime, network or unsafe code. Calls block on the
//! disk: from async code use the runtime's blocking pool. With `panic = "abort"` a handler's panic ends the
//! process and counts as a crash. An operation that owns a clone of its own queue keeps the queue open for
//! ever: give it a `Weak` of what holds the queue, or shut down explicitly.
//!
//! A child made by `fork` has no threads of the queue: there every call answers `Forked`, dropping handles does
//! nothing, and the parent goes on unharmed. Fork before the first queue is opened, or start programs with
//! [`Command`](std::process::Command). A handler that forks must end its child: one that returns there aborts it.
//!
//! All limits are in [`limits`].

mod batch;
mod builder;
mod canonical;
mod clock;
mod context;
mod error;
mod failure;
mod function;
mod histogram;
mod import;
mod item;
mod json_items;
mod kernel;
pub mod limits;
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
mod stats;
mod status;
mod store;
mod submission;
mod table;
mod target;
#[cfg(feature = "testing")]
pub mod testing;
mod waiting;

pub use batch::{Batch, BatchType, Json};
pub use builder::Builder;
pub use clock::{Clock, SystemClock, Wake};
pub use context::{Context, IdempotencyKey};
pub use error::{
    BatchError, ImportError, InvalidItem, OpenError, PauseError, ReadError, ShutdownError,
    SubmitError, WaitError,
};
pub use failure::Failure;
pub use import::Import;
pub use kernel::{BatchId, RetryPolicy, State};
pub use operation::{AtLeastOnce, ExactlyOnce, Guarantee, Operation};
pub use outcome::{ItemOutcome, Outcome, Outcomes};
pub use position::Position;
pub use queue::{Batches, Queue};
pub use read::Reader;
pub use stats::{OperationStats, Stats, Timing, WriterStats};
pub use status::{BatchFilter, Blocked, Report, Status};
pub use store::rows::Rows;
pub use submission::SubmitOptions;
pub use table::{KeyRange, Table, TableError, TableKey};

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
