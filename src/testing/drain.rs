//! A queue whose handlers run on the thread that drains it.

use super::disk::MemoryDisk;
use crate::builder::Builder;
use crate::error::{BatchError, OpenError, forked};
use crate::process::{self, Forked};
use crate::queue::Queue;
use crate::runtime::{Drainer, NotDrained};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A queue without worker threads: nothing of it runs but inside [`drain`](Self::drain), on the thread
/// that calls it. From [`Builder::open_to_drain`].
///
/// It is a [`Queue`] in all else: `submit`, `batch`, `read` and `shutdown` are that one's, `clone` gives
/// a `Queue` for the code under test, and every step of it goes the way it goes in production: durable
/// first, exactly-once writes under the lease, a panic as its item's failure. Two things differ:
///
/// - Waiting for a batch that has not ended answers [`WaitError::WouldDeadlock`](crate::WaitError::WouldDeadlock)
///   at once, on every thread: nobody would end it. So does [`import`](Queue::import) answer
///   [`SubmitError::Full`](crate::SubmitError::Full) where it would wait for room.
/// - What runs when is fixed. Of those with the highest priority, batches take turns, up to 16 items at a
///   time, in the order in which they were submitted; within its turn a batch runs its items in their order.
///   How long a handler takes changes nothing. As long as one thread at a time submits, and a
///   [`ManualClock`](super::ManualClock) is the clock, the same calls give the same attempts in the same order.
pub struct DrainedQueue {
    queue: Queue,
    drainer: Drainer,
}

impl Builder {
    /// Opens the queue on a disk in memory, to be drained by the test; directory, number of workers and
    /// [`without_workers`](Self::without_workers) are not used. Feature `testing`. Nothing runs before the first [`drain`](DrainedQueue::drain), also of
    /// what the disk has from before.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_drain(mut self, disk: &MemoryDisk) -> Result<DrainedQueue, OpenError> {
        self.check()?;
        // The test is the worker.
        self.without_workers = false;
        let store = disk.open()?;
        let sealed_sequence = store.sealed_sequence();
        let marks = store.marks();
        let setup = self.setup(Arc::new(store), marks, sealed_sequence, true);
        let (engine, drainer) = Drainer::start(setup)?;
        Ok(DrainedQueue {
            queue: Queue::new(engine),
            drainer,
        })
    }
}

impl DrainedQueue {
    /// Runs everything that can run, also what handlers submit meanwhile, and returns how many attempts
    /// that were. Their outcomes are durable when this returns, and what follows from them has happened.
    ///
    /// What cannot run stays as it is: items that wait for another attempt, and batches that are not to start
    /// yet, until the clock is moved; stopped batches; batches of operations that are paused, not registered,
    /// or blocked by an item that cannot be decoded. Two threads that drain one queue
    /// take turns. While handlers always submit more, this does not return; see
    /// [`drain_at_most`](Self::drain_at_most).
    ///
    /// # Errors
    /// [`DrainError`]; what had run by then is not told.
    pub fn drain(&self) -> Result<u64, DrainError> {
        self.drain_at_most(u64::MAX)
    }

    /// As [`drain`](Self::drain), but runs at most so many attempts: to look at a batch, stop it or crash
    /// in the middle of it. Where it ends changes what is run after it: a batch whose turn was cut short
    /// goes behind the others.
    ///
    /// # Errors
    /// As [`drain`](Self::drain).
    pub fn drain_at_most(&self, attempts: u64) -> Result<u64, DrainError> {
        process::check()?;
        self.drainer.drain(attempts).map_err(|why| match why {
            NotDrained::WouldDeadlock => DrainError::WouldDeadlock,
            NotDrained::Gone => match self.drainer.shared.gone() {
                BatchError::Failed { reason } => DrainError::Failed { reason },
                _ => DrainError::Closed,
            },
        })
    }
}

impl Deref for DrainedQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        &self.queue
    }
}

impl fmt::Debug for DrainedQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainedQueue").finish_non_exhaustive()
    }
}

/// Why a queue could not be drained, or not to the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError {
    /// The queue has failed: a commit did, or the disk's power was cut.
    #[error("the queue has failed: {reason}; open it again")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// This process was forked from the one that opened the queue.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// Called in a handler or a read of this queue: the drain that runs the handler goes on by itself, and
    /// while a read is open nothing can be stored.
    #[error("a handler or a read cannot drain its own queue")]
    WouldDeadlock,
}

impl From<Forked> for DrainError {
    fn from(Forked { pid }: Forked) -> Self {
        Self::Forked { pid }
    }
}
