//! A disk in memory whose crashes and faults are commands.

use crate::builder::{Builder, initial_rows};
use crate::error::OpenError;
use crate::process;
use crate::queue::Queue;
use crate::store::memory::{self, MemoryStore};
use std::sync::Arc;

/// What a commit that fails leaves behind; the queue cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing of the commit is on the disk.
    NotDone,
    /// All of it is.
    Done,
}

/// A disk in memory, for [`Builder::open_in_memory`]. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(memory::MemoryDisk);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the process that has the store open, as far as the disk can tell: whatever its queue still
    /// tries to store fails and changes nothing, and the disk can be opened again. What was acknowledged
    /// before is there.
    pub fn cut_power(&self) {
        self.0.cut_power();
    }

    /// Ends the process as [`cut_power`](Self::cut_power) does, and leaves what it had written without a sync: the
    /// notes of what was [running](crate::Operation::crash_limit).
    pub fn kill_process(&self) {
        self.0.kill();
    }

    /// Makes the next commit fail. The queue latches failed.
    pub fn fail_next_commit(&self, fault: CommitFault) {
        self.0.fail_next_commit(match fault {
            CommitFault::NotDone => memory::CommitFault::NotDone,
            CommitFault::Done => memory::CommitFault::Done,
        });
    }

    /// Commits done since the disk was made.
    pub fn commits(&self) -> u64 {
        self.0.commits()
    }

    /// Rows that the store has on the disk, of the engine and of tables: to see that nothing is left behind.
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// Makes commits wait until the returned value is dropped or the power is cut.
    pub fn hold_commits(&self) -> HeldCommits {
        HeldCommits(self.0.hold_commits())
    }

    pub(crate) fn open(&self) -> Result<MemoryStore, OpenError> {
        process::settle()?;
        let initial = initial_rows()?;
        MemoryStore::open(&self.0, || initial)
    }
}

/// Commits wait while this lives: from [`MemoryDisk::hold_commits`].
#[derive(Debug)]
pub struct HeldCommits(memory::HeldCommits);

impl HeldCommits {
    /// Waits until a commit is waiting; false when none came in half a minute.
    #[must_use]
    pub fn wait_for_commit(&self) -> bool {
        self.0.wait_for_commit()
    }
}

impl Builder {
    /// Opens the queue on a disk in memory, for tests; the directory is not used. All rows are counted first,
    /// and compared with the store's books. Feature `testing`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in_memory(self, disk: &MemoryDisk) -> Result<Queue, OpenError> {
        self.check()?;
        let store = disk.open()?;
        let sealed_sequence = store.sealed_sequence();
        let marks = store.marks();
        self.start(Arc::new(store), marks, sealed_sequence, true)
    }
}
