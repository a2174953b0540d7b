//! Ctrl-C and SIGTERM: the first ends the work cleanly, the second ends the process.
//!
//! Ending cleanly is a shutdown, not a stop: what is unfinished stays queued, for the next command that works the
//! store.

use crate::error::{self, Error};
use batchwright::Queue;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long items that run get to end. Those of the ledger take microseconds; a commit may take a disk's time.
pub(crate) const SHUTDOWN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    requested: AtomicBool,
    /// What a signal shuts down.
    queue: Mutex<Option<Queue>>,
}

impl Interrupt {
    /// Takes the signals over. Once in a process.
    pub(crate) fn listen() -> Result<Self, Error> {
        let interrupt = Self::default();
        let signalled = interrupt.clone();
        ctrlc::set_handler(move || {
            if signalled.shared.requested.swap(true, Ordering::SeqCst) {
                process::exit(error::INTERRUPTED.into());
            }
            signalled.shut_down();
        })?;
        Ok(interrupt)
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.shared.requested.load(Ordering::SeqCst)
    }

    /// From now on a signal shuts this queue down, so that whatever waits for it is told that it is closed.
    pub(crate) fn guard(&self, queue: &Queue) {
        *self.queue() = Some(queue.clone());
        if self.is_requested() {
            // It came before there was a queue.
            self.shut_down();
        }
    }

    /// The queue is no longer to be shut down, nor kept open.
    pub(crate) fn release(&self) {
        *self.queue() = None;
    }

    /// On a thread of its own: the next signal must be heard meanwhile.
    fn shut_down(&self) {
        if let Some(queue) = self.queue().take() {
            thread::spawn(move || {
                // Who worked the queue shuts it down as well, and says what became of that.
                let _ = queue.shutdown(SHUTDOWN);
            });
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, Option<Queue>> {
        self.shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
