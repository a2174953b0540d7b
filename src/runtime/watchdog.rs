//! Watches over commits: the storage engine waits for ever when its I/O thread has died.

use super::shared::Shared;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::Duration;

/// Runs until the other end of `writer_lives` is dropped, or a commit took longer than `limit`.
pub(crate) fn watch(shared: &Arc<Shared>, writer_lives: &Receiver<()>, limit: Duration) {
    while writer_lives.recv_timeout(limit / 4) == Err(RecvTimeoutError::Timeout) {
        if let Some(age) = shared.commit_age()
            && age > limit
        {
            let seconds = age.as_secs();
            return shared.fail(format!(
                "a commit has not ended for {seconds} s; the storage engine is stuck, only a new process can open the store"
            ));
        }
    }
}
