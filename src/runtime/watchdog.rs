//! Watches over commits: the storage engine waits for ever when its I/O thread has died.

use super::shared::Shared;
use crate::observe;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::sync::Arc;
use std::time::Duration;

/// Looks at a commit that make up the limit. Looks and not the time between: a process that was frozen
/// wakes up to a commit that is old and in order.
const LOOKS: u32 = 4;

/// Runs until the other end of `writer_lives` is dropped, or a commit took longer than `limit`.
pub(crate) fn watch(shared: &Arc<Shared>, writer_lives: &Receiver<()>, limit: Duration) {
    let mut seen = None;
    let mut looks = 0;
    while writer_lives.recv_timeout(limit / LOOKS) == Err(RecvTimeoutError::Timeout) {
        let now = shared.commit_under_way();
        looks = if now.is_some() && now == seen {
            looks + 1
        } else {
            0
        };
        seen = now;
        if looks > 0 {
            observe::slow_commit(looks);
        }
        if looks == LOOKS {
            return shared.fail(format!(
                "a commit has not ended for {limit:?}; the storage engine is stuck, only a new process can open the store"
            ));
        }
    }
}
