//! What happens in a queue, for those who subscribe to it.

use crate::kernel::{BatchId, State};
use crate::limits;
use crate::process;
use crate::runtime::{Buffer, Hub, Shared, would_wait_for_itself};
use crate::status::Blocked;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Something that happened in a queue. It is told after it is durable, where it is something that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueEvent {
    /// A batch was completed or stopped. Told when its status shows it, before those who wait for it are woken.
    BatchEnded {
        /// The batch.
        id: BatchId,
        /// Its operation's name.
        operation: String,
        /// [`State::Completed`] or [`State::Stopped`].
        state: State,
        /// Items that succeeded.
        succeeded: u64,
        /// Items that failed.
        failed: u64,
        /// Items of which nobody knows whether they ran.
        in_doubt: u64,
    },
    /// Nothing more of an operation starts. A pause is told, and an item that cannot be decoded, also when the
    /// other one holds the operation up already.
    OperationBlocked {
        /// The operation's name.
        operation: String,
        /// [`Blocked::Paused`] or [`Blocked::Undecodable`].
        blocked: Blocked,
    },
    /// An operation goes on: neither a pause nor an item that cannot be decoded holds it up any more.
    OperationUnblocked {
        /// The operation's name.
        operation: String,
    },
    /// The queue has failed. This is its last event.
    QueueFailed {
        /// What failed.
        reason: String,
    },
}

impl fmt::Display for QueueEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BatchEnded {
                id,
                operation,
                state,
                succeeded,
                failed,
                in_doubt,
            } => {
                write!(
                    f,
                    "batch {id} ({operation}) is {state}: {succeeded} succeeded, {failed} failed"
                )?;
                if *in_doubt > 0 {
                    write!(f, ", {in_doubt} in doubt")?;
                }
                Ok(())
            }
            Self::OperationBlocked { operation, blocked } => {
                write!(f, "operation {operation:?} is {blocked}")
            }
            Self::OperationUnblocked { operation } => write!(f, "operation {operation:?} goes on"),
            Self::QueueFailed { reason } => write!(f, "the queue has failed: {reason}"),
        }
    }
}

/// The events of a queue, oldest first: from [`Queue::subscribe`](crate::Queue::subscribe).
///
/// Whoever takes them too slowly loses the oldest ones, which [`missed`](Self::missed) counts; the queue
/// never waits. As an iterator it waits for the next event. It ends when the queue has failed, or has been
/// closed and its last handler has ended, and everything told before that has been taken. It does not keep
/// the queue open.
///
/// Where waiting could be waiting for itself, in a handler or a read of the same queue and in a queue
/// [without workers](crate::Builder::without_workers), `next` and [`next_timeout`](Self::next_timeout) answer as
/// [`try_next`](Self::try_next). In a forked child there are no events.
#[must_use = "events are kept only for as long as they can be taken"]
pub struct Events {
    buffer: Arc<Buffer>,
    hub: Arc<Hub>,
    /// Only to be recognised.
    queue: Weak<Shared>,
    has_workers: bool,
}

impl Events {
    pub(crate) fn subscribe(shared: &Arc<Shared>, capacity: usize) -> Self {
        let capacity = capacity.clamp(1, limits::EVENTS_MAX);
        let buffer = if process::is_forked() {
            Buffer::ended()
        } else {
            shared.hub.subscribe(capacity)
        };
        Self {
            buffer,
            hub: Arc::clone(&shared.hub),
            queue: Arc::downgrade(shared),
            has_workers: shared.has_workers,
        }
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Option<QueueEvent> {
        (!process::is_forked())
            .then(|| self.buffer.try_take())
            .flatten()
    }

    /// The next event; `None` when none came within `limit`, or when there will be none.
    pub fn next_timeout(&mut self, limit: Duration) -> Option<QueueEvent> {
        // A limit past the end of time is no limit.
        self.take(Instant::now().checked_add(limit))
    }

    fn take(&mut self, deadline: Option<Instant>) -> Option<QueueEvent> {
        if would_wait_for_itself(self.queue.as_ptr()) || !self.has_workers || process::is_forked() {
            return self.try_next();
        }
        self.buffer.take(deadline)
    }

    /// Events that were dropped because they were not taken in time.
    pub fn missed(&self) -> u64 {
        if process::is_forked() {
            return 0;
        }
        self.buffer.missed()
    }

    /// Whether there is no event left and none will come.
    pub fn has_ended(&self) -> bool {
        process::is_forked() || self.buffer.has_ended()
    }
}

impl Iterator for Events {
    type Item = QueueEvent;

    fn next(&mut self) -> Option<Self::Item> {
        self.take(None)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // In a forked child a lock may be held by a thread that does not exist.
        if !process::is_forked() {
            self.hub.unsubscribe(&self.buffer);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}
