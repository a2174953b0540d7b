//! Tests of applications: a queue in memory that runs when the test says so, a clock that stands still until
//! it is moved, crashes that are commands, and assertions. Feature `testing`; turn it on for tests alone:
//!
//! ```toml
//! [dev-dependencies]
//! batchwright = { version = "0.1", features = ["testing"] }
//! ```
//!
//! # An operation
//!
//! [`Builder::open_to_drain`](crate::Builder::open_to_drain) opens a queue without worker threads. Batches are
//! submitted as always; [`drain`](DrainedQueue::drain) then runs everything that can run, on this thread, in an
//! order that is always the same, and has made it durable when it returns. [`Assertions`] say what must have
//! come out, and show what did when it has not:
//!
//! ```
//! use batchwright::testing::{Assertions, MemoryDisk};
//! use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue};
//!
//! struct Shout;
//!
//! impl Operation for Shout {
//!     const NAME: &'static str = "shout";
//!     type Item = String;
//!     type Output = String;
//!     type Guarantee = AtLeastOnce;
//!
//!     fn run(&self, text: String, _cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
//!         if text.is_empty() {
//!             return Err(Failure::permanent("silent", "there is nothing to shout"));
//!         }
//!         Ok(text.to_uppercase())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let queue = Queue::builder("unused").register(Shout).open_to_drain(&MemoryDisk::new())?;
//! let batch = queue.submit::<Shout>(["hello".to_owned(), String::new()])?;
//! batch.assert_unfinished(0);
//!
//! assert_eq!(queue.drain()?, 2); // attempts
//! assert_eq!(batch.assert_succeeded(0), "HELLO");
//! let failure = batch.assert_failed(1, "silent");
//! assert!(!failure.retryable);
//! # Ok(())
//! # }
//! ```
//!
//! # A retry, and the clock
//!
//! With a [`ManualClock`] no test waits. What waits for a moment waits until the test moves the clock to it;
//! `drain` leaves it alone until then. A retry comes at most a quarter of its wait early, and never late:
//!
//! ```
//! # use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue};
//! use batchwright::RetryPolicy;
//! use batchwright::testing::{Assertions, ManualClock, MemoryDisk};
//! use std::time::Duration;
//!
//! const MINUTE: Duration = Duration::from_secs(60);
//!
//! struct Fetch;
//!
//! impl Operation for Fetch {
//! #     const NAME: &'static str = "fetch";
//! #     type Item = u64;
//! #     type Output = u64;
//! #     type Guarantee = AtLeastOnce;
//!     // ...
//!     fn run(&self, page: u64, cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
//!         if cx.attempt() == 1 {
//!             return Err(Failure::retryable("busy", "the other side is busy"));
//!         }
//!         Ok(page)
//!     }
//!
//!     fn retry(&self) -> RetryPolicy {
//!         RetryPolicy::exponential(3, MINUTE)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = ManualClock::new();
//! let queue =
//!     Queue::builder("unused").register(Fetch).clock(clock.clone()).open_to_drain(&MemoryDisk::new())?;
//! let batch = queue.submit::<Fetch>([7])?;
//! queue.drain()?;
//! batch.assert_unfinished(0);
//! assert_eq!(batch.status()?.waiting, 1);
//!
//! clock.advance(MINUTE);
//! queue.drain()?;
//! assert_eq!(batch.assert_all_succeeded(), [7]);
//! # Ok(())
//! # }
//! ```
//!
//! # A crash in the middle
//!
//! A [`MemoryDisk`] keeps what is durable and nothing else. [`cut_power`](MemoryDisk::cut_power) ends the
//! process as far as the disk can tell; the next open is the restart.
//! [`drain_at_most`](DrainedQueue::drain_at_most) gets the batch to where it is to crash:
//!
//! ```
//! use batchwright::testing::{Assertions, MemoryDisk};
//! # use batchwright::{Context, ExactlyOnce, Failure, Operation, Queue, Table};
//! #
//! # const TOTAL: Table<str, u64> = Table::new("total");
//! #
//! # struct Count;
//! #
//! # impl Operation for Count {
//! #     const NAME: &'static str = "count";
//! #     type Item = u64;
//! #     type Output = u64;
//! #     type Guarantee = ExactlyOnce;
//! #
//! #     fn run(&self, n: u64, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
//! #         let total = cx.get(&TOTAL, "all")?.unwrap_or(0) + n;
//! #         cx.put(&TOTAL, "all", &total)?;
//! #         Ok(total)
//! #     }
//! # }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = MemoryDisk::new();
//! let open = || Queue::builder("unused").register(Count).open_to_drain(&disk);
//!
//! let queue = open()?;
//! let id = queue.submit::<Count>([1, 2, 3])?.id();
//! queue.drain_at_most(2)?;
//! disk.cut_power();
//! drop(queue);
//!
//! let queue = open()?;
//! let batch = queue.batch(id)?.typed::<Count>()?;
//! batch.assert_succeeded(1);
//! batch.assert_unfinished(2);
//! queue.drain()?;
//! assert_eq!(batch.assert_all_succeeded(), [1, 3, 6]);
//! # Ok(())
//! # }
//! ```
//!
//! To crash while a handler runs, give the operation a clone of the disk, and cut the power in the handler.
//! Its item has no outcome then, and runs again after the restart.
//!
//! # Worker threads
//!
//! Code that waits for its batches, and code whose handlers must run side by side, wants real threads:
//! [`Builder::open_in_memory`](crate::Builder::open_in_memory) opens an ordinary queue on such a disk.
//! [`hold_commits`](MemoryDisk::hold_commits) and [`fail_next_commit`](MemoryDisk::fail_next_commit) show what
//! the application does when the disk is slow or broken.

mod assertions;
mod clock;
mod disk;
mod drain;
mod fuzzing;
mod recount;
#[doc(hidden)]
pub mod simulation;

pub use assertions::Assertions;
pub use clock::ManualClock;
pub use disk::{CommitFault, HeldCommits, MemoryDisk};
pub use drain::{DrainError, DrainedQueue};
pub use fuzzing::decode_any_record;
pub use recount::recount;
