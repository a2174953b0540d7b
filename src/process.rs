//! Which process the library lives in. A child made by `fork` has the memory of its parent and none of its
//! threads: nothing there would ever be answered, and a lock may be held by a thread that does not exist.
//!
//! So every call looks here before it takes a lock or waits. One process and not one for each queue: the
//! storage engine's I/O threads are the process's own, and a queue that is opened in the child would wait
//! for them.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that opened the first queue, 0 before that.
static HOME: AtomicU32 = AtomicU32::new(0);

/// This process is a child of the one that opened the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forked {
    /// The process that opened the queue.
    pub(crate) pid: u32,
}

/// Makes this process the library's home, unless another one was before.
pub(crate) fn settle() -> Result<(), Forked> {
    // The first wins; `check` compares.
    let _ = HOME.compare_exchange(0, process::id(), Ordering::AcqRel, Ordering::Acquire);
    check()
}

/// Refuses in a forked child. Costs one system call, about 50 ns.
pub(crate) fn check() -> Result<(), Forked> {
    let home = HOME.load(Ordering::Acquire);
    if home == process::id() || home == 0 {
        return Ok(());
    }
    Err(Forked { pid: home })
}

/// Whether this is a forked child.
pub(crate) fn is_forked() -> bool {
    check().is_err()
}
