//! The gate that a worker passes before each item.

use crate::sync::{Arc, AtomicBool, Ordering};

/// Open while items of a batch may start. An item whose worker has passed the gate has started.
#[derive(Debug)]
pub(crate) struct Gate {
    stopped: AtomicBool,
    /// The operation's: set while it is paused by request.
    paused: Arc<AtomicBool>,
    /// The whole queue's: set for good when it closes or fails.
    queue_closed: Arc<AtomicBool>,
}

impl Gate {
    pub(crate) fn new(paused: Arc<AtomicBool>, queue_closed: Arc<AtomicBool>) -> Self {
        Self {
            stopped: AtomicBool::new(false),
            paused,
            queue_closed,
        }
    }

    /// Whether an item may start now.
    pub(crate) fn lets_pass(&self) -> bool {
        !self.is_closed() && !self.paused.load(Ordering::SeqCst)
    }

    /// Whether nothing more of the batch is wanted. A pause lets what runs run on.
    pub(crate) fn is_closed(&self) -> bool {
        self.stopped.load(Ordering::SeqCst) || self.queue_closed.load(Ordering::SeqCst)
    }

    /// Closes the gate: from here on no item starts.
    pub(crate) fn close(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Opens the gate of a batch that goes on. Nothing of it is in flight.
    pub(crate) fn reopen(&self) {
        self.stopped.store(false, Ordering::SeqCst);
    }
}

/// Who has a slice: the worker that begins it, or the writer that recalls it. Whoever is first.
#[derive(Debug, Default)]
pub(crate) struct Claim(AtomicBool);

impl Claim {
    /// True for the one who is first.
    pub(crate) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}
