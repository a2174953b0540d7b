//! For tests of applications, and of this library: a queue in memory whose crashes are commands, and a
//! clock that stands still until it is moved. Feature `testing`.
//!
//! ```
//! use batchwright::testing::{ManualClock, MemoryDisk};
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
//!         Ok(text.to_uppercase())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = MemoryDisk::new();
//! let open = || Queue::builder("unused").register(Shout).clock(ManualClock::new()).open_in_memory(&disk);
//!
//! let queue = open()?;
//! let id = queue.submit::<Shout>(["hello".to_owned()])?.id();
//! disk.cut_power(); // as if the process died here: what was acknowledged is on the disk
//! let queue = open()?;
//! let report = queue.batch(id)?.wait()?;
//! assert_eq!(report.status.succeeded, 1);
//! # Ok(())
//! # }
//! ```

use crate::builder::{Builder, initial_rows};
use crate::clock::{Clock, Wake};
use crate::error::OpenError;
use crate::queue::Queue;
use crate::store::memory::{self, MemoryStore};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// Opens the queue on a disk in memory, for tests; the directory is not used. Feature `testing`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in_memory(self, disk: &MemoryDisk) -> Result<Queue, OpenError> {
        self.check()?;
        let initial = initial_rows()?;
        let store = MemoryStore::open(&disk.0, || initial)?;
        let sealed_sequence = store.sealed_sequence();
        self.start(Arc::new(store), sealed_sequence, false)
    }
}

/// A clock that stands still until it is moved. Clones are the same clock.
///
/// Queues that use it notice at once when it moves.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Hands>>);

struct Hands {
    now: SystemTime,
    watchers: Vec<Wake>,
}

impl ManualClock {
    /// A clock that shows 2025-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::at(UNIX_EPOCH + Duration::from_secs(1_735_689_600))
    }

    /// A clock that shows `now`.
    pub fn at(now: SystemTime) -> Self {
        let watchers = Vec::new();
        Self(Arc::new(Mutex::new(Hands { now, watchers })))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let to = self.hands().now + by;
        self.set(to);
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: SystemTime) {
        let watchers = {
            let mut hands = self.hands();
            hands.now = now;
            hands.watchers.clone()
        };
        for watcher in watchers {
            watcher.wake();
        }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.hands().now
    }

    fn on_jump(&self, wake: Wake) {
        self.hands().watchers.push(wake);
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ManualClock")
            .field(&self.hands().now)
            .finish()
    }
}

/// Decodes `bytes` as every kind of stored record, as a fuzz target: whatever they are, this neither
/// panics nor allocates much more than they take.
pub fn decode_any_record(bytes: &[u8]) {
    crate::store::decode_any(bytes);
}
