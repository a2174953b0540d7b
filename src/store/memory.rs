//! A store in memory whose crashes and faults are commands, for tests.
//!
//! [`MemoryDisk`] is what survives; a [`MemoryStore`] is one opening of it, as a process would hold it.
//! Power cuts and faults happen at commits, because nothing else changes the disk. A commit is applied
//! at one instant: what the contract allows to be seen early is never seen early here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::marks::{self, Marks};
use super::{Scan, Store, StoreError, Value, Writes};
use crate::error::OpenError;
use crate::kernel::Mark;

/// How long a test waits for a commit to come before it is taken for a bug in the test.
const COMMIT_MUST_COME: Duration = Duration::from_secs(30);

/// What a failing commit leaves on the disk; its caller cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    NotDone,
    Done,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    disk: Mutex<Disk>,
    /// Notified at every change of `Disk::holds`, `Disk::waiting` and `Disk::opening`.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Disk {
    rows: BTreeMap<Vec<u8>, Value>,
    /// The sequence of the last commit on the disk.
    sequence: u64,
    /// Commits done since the disk was made.
    commits: u64,
    /// What workers have in their hands, by slot.
    marks: BTreeMap<usize, Vec<u8>>,
    /// Counts openings and power cuts: a store with an older number is dead.
    opening: u64,
    open: bool,
    fault: Option<CommitFault>,
    /// [`HeldCommits`] in existence.
    holds: usize,
    /// Commits that wait for them to go.
    waiting: usize,
}

impl MemoryDisk {
    /// Ends the process that has the store open, as far as the disk can tell: whatever it still tries
    /// fails and changes nothing, and the disk may be opened again.
    pub(crate) fn cut_power(&self) {
        let mut disk = self.disk();
        // They are never synced.
        disk.marks.clear();
        self.end_process(&mut disk);
    }

    /// As [`cut_power`](Self::cut_power), for the process alone: what it has written and not synced is there.
    pub(crate) fn kill(&self) {
        self.end_process(&mut self.disk());
    }

    fn end_process(&self, disk: &mut Disk) {
        disk.opening += 1;
        disk.open = false;
        disk.fault = None;
        self.0.changed.notify_all();
    }

    /// Makes the next commit fail, and all later ones of the same opening.
    pub(crate) fn fail_next_commit(&self, fault: CommitFault) {
        self.disk().fault = Some(fault);
    }

    /// Commits done since the disk was made, over all openings.
    pub(crate) fn commits(&self) -> u64 {
        self.disk().commits
    }

    /// Rows on the disk.
    #[cfg(feature = "testing")]
    pub(crate) fn rows(&self) -> usize {
        self.disk().rows.len()
    }

    /// Makes commits wait until the returned value is dropped or the power is cut.
    pub(crate) fn hold_commits(&self) -> HeldCommits {
        self.disk().holds += 1;
        HeldCommits { disk: self.clone() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // A test that failed while holding it has left it whole: every change is one step.
        self.0.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits wait while this exists.
#[derive(Debug)]
pub(crate) struct HeldCommits {
    disk: MemoryDisk,
}

impl HeldCommits {
    /// Waits until a commit is waiting. False if none came in half a minute.
    #[must_use]
    pub(crate) fn wait_for_commit(&self) -> bool {
        let shared = &self.disk.0;
        let (_disk, result) = shared
            .changed
            .wait_timeout_while(self.disk.disk(), COMMIT_MUST_COME, |disk| disk.waiting == 0)
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

impl Drop for HeldCommits {
    fn drop(&mut self) {
        self.disk.disk().holds -= 1;
        self.disk.0.changed.notify_all();
    }
}

/// One opening of a [`MemoryDisk`].
#[derive(Debug)]
pub(crate) struct MemoryStore {
    disk: MemoryDisk,
    opening: u64,
    #[cfg(test)]
    created: bool,
    opened_at_sequence: u64,
    failed: Mutex<bool>,
}

impl MemoryStore {
    /// Opens the disk, or fills an empty one with the rows of `initial` (commit 1).
    pub(crate) fn open(
        disk: &MemoryDisk,
        initial: impl FnOnce() -> Writes,
    ) -> Result<Self, OpenError> {
        let mut state = disk.disk();
        if state.open {
            let pid = Some(std::process::id());
            return Err(OpenError::Locked {
                dir: PathBuf::from("memory"),
                pid,
            });
        }
        let created = state.sequence == 0;
        let opened_at_sequence = state.sequence;
        if created {
            state.apply(1, initial());
        }
        state.open = true;
        state.opening += 1;
        let opening = state.opening;
        drop(state);
        Ok(Self {
            disk: disk.clone(),
            opening,
            #[cfg(test)]
            created,
            opened_at_sequence,
            failed: Mutex::new(false),
        })
    }

    /// Whether this opening filled the disk with its initial rows.
    #[cfg(test)]
    pub(crate) fn created(&self) -> bool {
        self.created
    }

    /// The last sequence that was acknowledged before this opening; 0 if it created the store.
    pub(crate) fn sealed_sequence(&self) -> u64 {
        self.opened_at_sequence
    }

    /// The marks of this opening.
    pub(crate) fn marks(&self) -> Arc<dyn Marks> {
        Arc::new(MemoryMarks {
            disk: self.disk.clone(),
            opening: self.opening,
        })
    }

    /// The disk, unless the power was cut since.
    fn live(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let disk = self.disk.disk();
        self.check_power(&disk)?;
        Ok(disk)
    }

    fn check_power(&self, disk: &Disk) -> Result<(), StoreError> {
        if disk.opening == self.opening {
            Ok(())
        } else {
            Err(StoreError("the power was cut".to_owned()))
        }
    }

    fn commit_once(&self, sequence: u64, writes: Writes) -> Result<(), StoreError> {
        let mut disk = self.live()?;
        disk.waiting += 1;
        self.disk.0.changed.notify_all();
        while disk.holds > 0 && self.check_power(&disk).is_ok() {
            disk = self
                .disk
                .0
                .changed
                .wait(disk)
                .unwrap_or_else(PoisonError::into_inner);
        }
        disk.waiting -= 1;
        self.check_power(&disk)?;
        let fault = disk.fault.take();
        if fault != Some(CommitFault::NotDone) {
            disk.apply(sequence, writes);
        }
        match fault {
            None => Ok(()),
            Some(_) => Err(StoreError("the disk was told to fail".to_owned())),
        }
    }
}

impl Disk {
    fn apply(&mut self, sequence: u64, writes: Writes) {
        for (key, value) in writes.0 {
            match value {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
        self.sequence = sequence;
        self.commits += 1;
    }
}

/// The marks of one opening of a disk; a dead process's workers change nothing.
struct MemoryMarks {
    disk: MemoryDisk,
    opening: u64,
}

impl MemoryMarks {
    fn with<T: Default>(&self, act: impl FnOnce(&mut BTreeMap<usize, Vec<u8>>) -> T) -> T {
        let mut disk = self.disk.disk();
        if disk.opening == self.opening {
            act(&mut disk.marks)
        } else {
            T::default()
        }
    }
}

impl Marks for MemoryMarks {
    fn set(&self, slot: usize, bytes: &[u8]) {
        self.with(|marks| {
            marks.insert(slot, bytes.to_vec());
        });
    }

    fn clear(&self, slot: usize) {
        self.with(|marks| {
            marks.remove(&slot);
        });
    }

    fn noted(&self) -> Vec<Mark> {
        self.with(|slots| {
            slots
                .values()
                .filter_map(|slot| marks::decode(slot))
                .collect()
        })
    }

    fn clear_all(&self) {
        self.with(BTreeMap::clear);
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        Ok(self.live()?.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        if from >= to {
            return Box::new(std::iter::empty());
        }
        match self.live() {
            Ok(disk) => {
                let rows: Vec<_> = disk
                    .rows
                    .range(from.to_vec()..to.to_vec())
                    .map(|(key, value)| Ok((Value::from(key.as_slice()), value.clone())))
                    .collect();
                Box::new(rows.into_iter())
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn commit(&self, sequence: u64, writes: Writes) -> Result<(), StoreError> {
        writes.check_sizes()?;
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if *failed {
            return Err(StoreError("the store has failed before".to_owned()));
        }
        let result = self.commit_once(sequence, writes);
        *failed = result.is_err();
        result
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let bytes = |(key, value): (&Vec<u8>, &Value)| (key.len() + value.len()) as u64;
        Ok(self.live()?.rows.iter().map(bytes).sum())
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        let mut disk = self.disk.disk();
        // After a power cut the disk may be another one's already.
        if disk.opening == self.opening {
            disk.open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(disk: &MemoryDisk) -> Result<MemoryStore, OpenError> {
        MemoryStore::open(disk, || put(b"initial"))
    }

    fn put(key: &[u8]) -> Writes {
        let mut writes = Writes::default();
        writes.put(key.to_vec(), b"1".as_slice());
        writes
    }

    fn has(store: &MemoryStore, key: &[u8]) -> bool {
        store.get(key).unwrap().is_some()
    }

    #[test]
    fn only_the_first_opening_creates() {
        let disk = MemoryDisk::default();
        let store = open(&disk).unwrap();
        assert!(store.created() && store.sealed_sequence() == 0 && has(&store, b"initial"));
        store.commit(2, Writes::default()).unwrap();
        drop(store);
        let store = open(&disk).unwrap();
        assert!(!store.created() && store.sealed_sequence() == 2 && has(&store, b"initial"));
        assert_eq!(disk.commits(), 2);
    }

    #[test]
    fn a_second_open_is_locked_until_the_first_is_dropped() {
        let disk = MemoryDisk::default();
        let store = open(&disk).unwrap();
        assert!(matches!(open(&disk), Err(OpenError::Locked { .. })));
        drop(store);
        assert!(open(&disk).is_ok());
    }

    #[test]
    fn a_power_cut_ends_a_store_and_leaves_what_was_committed() {
        let disk = MemoryDisk::default();
        let dead = open(&disk).unwrap();
        dead.commit(2, put(b"before")).unwrap();
        disk.cut_power();
        assert!(dead.commit(3, put(b"after")).is_err());
        assert!(dead.get(b"before").is_err());
        let store = open(&disk).unwrap();
        assert!(dead.commit(4, put(b"after")).is_err());
        // The dead one does not take the lock of the living with it.
        drop(dead);
        assert!(matches!(open(&disk), Err(OpenError::Locked { .. })));
        assert!(has(&store, b"before") && !has(&store, b"after"));
    }

    #[test]
    fn a_held_commit_is_not_visible_and_is_done_when_released() {
        let disk = MemoryDisk::default();
        let store = open(&disk).unwrap();
        let held = disk.hold_commits();
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| store.commit(2, put(b"a")));
            assert!(held.wait_for_commit());
            assert!(!has(&store, b"a"));
            drop(held);
            commit.join().unwrap().unwrap();
        });
        assert!(has(&store, b"a"));
    }

    #[test]
    fn a_power_cut_ends_a_held_commit_undone() {
        let disk = MemoryDisk::default();
        let store = open(&disk).unwrap();
        let held = disk.hold_commits();
        std::thread::scope(|scope| {
            let commit = scope.spawn(|| store.commit(2, put(b"a")));
            assert!(held.wait_for_commit());
            disk.cut_power();
            assert!(commit.join().unwrap().is_err());
        });
        drop(held);
        assert!(!has(&open(&disk).unwrap(), b"a"));
    }
}
