//! The store as the engine uses it: one committer, and readers that never see what is not durable.
//!
//! The storage engine shows writes before they are synced. So no [`View`] lives from a commit's first
//! write until its sync is through.
//!
//! [`Committer`] owns the meta record, which every commit rewrites: sequence, next batch id, and the
//! row counts and sums by which a lost row is found.

use super::backup::Changes;
use super::record::{FORMAT, Meta};
use super::row_sums::tally;
use super::{Scan, Store, StoreError, Value, Writes, codec, keys};
use crate::kernel::BatchId;
use crate::process;
use crate::waiting;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Where readers find the store while it is open and sound.
///
/// A lock of its own, and not an `RwLock`: when a commit never ends, readers must be told.
pub(crate) struct Vault {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    store: Option<Arc<dyn Store>>,
    views: usize,
    /// Those who hold the store and read no rows of it: no commit waits for them.
    glances: usize,
    committing: bool,
    /// Backups under way, which have to know what changes behind them.
    backups: Vec<Weak<Changes>>,
}

impl Vault {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            state: Mutex::new(State {
                store: Some(store),
                views: 0,
                glances: 0,
                committing: false,
                backups: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// A consistent view of what is durable, or `None` when the store was closed or has failed. While
    /// it lives, commits wait.
    pub(crate) fn view(&self) -> Option<View<'_>> {
        let mut state = self
            .changed
            .wait_while(self.state(), |state| {
                state.committing && state.store.is_some()
            })
            .unwrap_or_else(PoisonError::into_inner);
        let store = state.store.clone()?;
        state.views += 1;
        Some(View {
            store,
            _counted: OneOfViews(self),
        })
    }

    /// The store, for one who runs handlers, unless it was closed or has failed.
    #[cfg(feature = "testing")]
    pub(crate) fn store(&self) -> Option<Arc<dyn Store>> {
        self.state().store.clone()
    }

    /// Bytes that the store takes on disk, or `None` when it was closed or has failed. Waits for no commit.
    pub(crate) fn size_on_disk(&self) -> Option<Result<u64, StoreError>> {
        let store = {
            let mut state = self.state();
            let store = state.store.clone()?;
            state.glances += 1;
            store
        };
        let size = store.size_on_disk();
        // Before it is said to be over: who waits for that means to open the store again.
        drop(store);
        self.state().glances -= 1;
        self.changed.notify_all();
        Some(size)
    }

    /// Has commits note what they change, from the next one on.
    pub(crate) fn note_changes(&self, changes: &Arc<Changes>) {
        self.state().backups.push(Arc::downgrade(changes));
    }

    /// Tells backups what is about to change. No view is held by then.
    fn changing(&self, writes: &Writes) {
        self.state().backups.retain(|changes| {
            let changes = changes.upgrade();
            if let Some(changes) = &changes {
                changes.note(writes);
            }
            changes.is_some()
        });
    }

    /// Lets go of the store, and turns everybody away. It closes when the last handler that uses it
    /// has ended.
    pub(crate) fn close(&self) {
        let store = self.state().store.take();
        self.changed.notify_all();
        drop(store);
    }

    /// Waits until nobody has a view of the store or measures it; false when `deadline` came first.
    pub(crate) fn wait_for_views(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        while state.views + state.glances > 0 {
            let Some(woken) = waiting::wait(&self.changed, state, deadline) else {
                return false;
            };
            state = woken;
        }
        true
    }

    /// Keeps views out while `commit` runs, and after its failure until the vault is closed: who is
    /// turned away is to find the reason.
    fn exclusively<T>(
        &self,
        commit: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state();
        state.committing = true;
        let state = self
            .changed
            .wait_while(state, |state| state.views > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if state.store.is_none() {
            return Err(StoreError("the queue has failed".to_owned()));
        }
        drop(state);
        let committed = commit()?;
        self.state().committing = false;
        self.changed.notify_all();
        Ok(committed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consistent, durable view. Commits wait while it lives.
pub(crate) struct View<'a> {
    store: Arc<dyn Store>,
    /// Last: who waits for the last view means to open the store again.
    _counted: OneOfViews<'a>,
}

struct OneOfViews<'a>(&'a Vault);

impl View<'_> {
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.store.get(key)
    }

    pub(crate) fn scan(&self, range: &Range<Vec<u8>>) -> Scan<'_> {
        self.store.scan(&range.start, &range.end)
    }
}

impl Drop for OneOfViews<'_> {
    fn drop(&mut self) {
        if process::is_forked() {
            // The view is the parent's too, and there is nobody here who waits for it.
            return;
        }
        self.0.state().views -= 1;
        self.0.changed.notify_all();
    }
}

/// The rows of a new store: the meta record, and the fences.
pub(crate) fn initial_rows(store_id: u128) -> Result<Writes, StoreError> {
    let mut meta = Meta {
        format: FORMAT,
        store_id,
        sequence: 1,
        next_batch: 1,
        spaces: Vec::new(),
    };
    let mut writes = Writes::default();
    for key in keys::fences() {
        let value = codec::encode(&key, &())?;
        tally(&mut meta.spaces, &key, &value, true);
        writes.put(key, value);
    }
    writes.put(keys::META.to_vec(), codec::encode(keys::META, &meta)?);
    Ok(writes)
}

/// What one commit changes. A later change to a key replaces an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Group {
    changes: BTreeMap<Vec<u8>, Change>,
}

#[derive(Debug)]
struct Change {
    value: Option<Value>,
    before: Before,
}

/// What is known of a row as it is in the store when the group's commit comes.
#[derive(Debug, Clone)]
pub(crate) enum Before {
    Absent,
    Is(Value),
    Unknown,
}

impl Before {
    /// Whether the row is what is known of it.
    fn is_so(&self, stored: Result<Option<Value>, StoreError>) -> bool {
        match (self, stored) {
            // That is the store's failure, and told where it is used.
            (Self::Unknown, _) | (_, Err(_)) => true,
            (Self::Absent, Ok(stored)) => stored.is_none(),
            (Self::Is(value), Ok(stored)) => stored.as_ref() == Some(value),
        }
    }
}

impl Group {
    /// Adds a row whose key is not in the store.
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: Value) {
        self.change(key, Some(value), Before::Absent);
    }

    /// Sets or replaces a row.
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Value) {
        self.change(key, Some(value), Before::Unknown);
    }

    /// Removes a row if it is there.
    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.change(key, None, Before::Unknown);
    }

    /// Removes a row that was read from the store.
    pub(crate) fn remove_read(&mut self, key: Vec<u8>, value: Value) {
        self.change(key, None, Before::Is(value));
    }

    /// Sets a row, or removes it when `value` is none. Only what is known for certain may be said of `before`: the
    /// sums of all rows depend on it.
    pub(crate) fn change(&mut self, key: Vec<u8>, value: Option<Value>, before: Before) {
        match self.changes.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Change { value, before });
            }
            // Whether the key is in the store is what the first change knew.
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                entry.get_mut().value = value
            }
        }
    }

    /// Whether the row under `key` is set or removed.
    pub(crate) fn changes(&self, key: &[u8]) -> bool {
        self.changes.contains_key(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// The one who writes.
pub(crate) struct Committer {
    vault: Arc<Vault>,
    store: Arc<dyn Store>,
    meta: Meta,
}

impl Committer {
    /// `meta` is what the store holds.
    pub(crate) fn new(vault: Arc<Vault>, store: Arc<dyn Store>, meta: Meta) -> Self {
        Self { vault, store, meta }
    }

    /// The sequence that the next commit will have.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.meta.sequence + 1
    }

    pub(crate) fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.store.size_on_disk()
    }

    /// Reads without waiting for views; only the committer knows that no commit is under way.
    pub(crate) fn value(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.store.get(key)
    }

    pub(crate) fn scan(&self, range: &Range<Vec<u8>>) -> Scan<'_> {
        self.store.scan(&range.start, &range.end)
    }

    /// Makes the group durable, whole or not at all. Calls `begins` when the storage engine's work
    /// begins, which may be after a wait for views, and `then`, with the time that the work took, before
    /// anybody can see the result. After an error its outcome is unknown; the vault is to be closed, views
    /// wait until it is.
    pub(crate) fn commit(
        &mut self,
        group: Group,
        next_batch: BatchId,
        begins: impl FnOnce(),
        then: impl FnOnce(Duration),
    ) -> Result<(), StoreError> {
        let writes = self.prepare(group, next_batch);
        let (vault, store, sequence) = (&self.vault, &self.store, self.meta.sequence);
        vault.exclusively(|| {
            begins();
            let writes = writes?;
            vault.changing(&writes);
            let since = Instant::now();
            store.commit(sequence, writes)?;
            then(since.elapsed());
            Ok(())
        })
    }

    fn prepare(&mut self, group: Group, next_batch: BatchId) -> Result<Writes, StoreError> {
        let mut writes = Writes(Vec::with_capacity(group.changes.len() + 1));
        for (key, change) in group.changes {
            debug_assert!(
                change.before.is_so(self.store.get(&key)),
                "{}",
                keys::name(&key)
            );
            let old = match change.before {
                Before::Absent => None,
                Before::Is(value) => Some(value),
                Before::Unknown => self.store.get(&key)?,
            };
            if old.is_none() && change.value.is_none() {
                continue;
            }
            if let Some(old) = old {
                tally(&mut self.meta.spaces, &key, &old, false);
            }
            if let Some(value) = &change.value {
                tally(&mut self.meta.spaces, &key, value, true);
            }
            writes.0.push((key, change.value));
        }
        self.meta.sequence += 1;
        self.meta.next_batch = next_batch.0;
        writes.put(keys::META.to_vec(), codec::encode(keys::META, &self.meta)?);
        Ok(writes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{MemoryDisk, MemoryStore};
    use super::super::row_sums::recount;
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    type Tested = Result<(), StoreError>;

    fn vault(disk: &MemoryDisk) -> (Arc<Vault>, Committer, Arc<dyn Store>) {
        let opened = MemoryStore::open(disk, || initial_rows(7).unwrap());
        let store: Arc<dyn Store> = Arc::new(opened.unwrap());
        let vault = Arc::new(Vault::new(Arc::clone(&store)));
        let committer = Committer::new(Arc::clone(&vault), Arc::clone(&store), meta(&*store));
        (vault, committer, store)
    }

    fn meta(store: &dyn Store) -> Meta {
        let value = store.get(keys::META).unwrap().unwrap();
        codec::decode(keys::META, &value).unwrap()
    }

    fn row(key: &[u8], content: u32) -> Value {
        codec::encode(key, &content).unwrap()
    }

    fn table_row(n: u8) -> Vec<u8> {
        [keys::table("t"), vec![n]].concat()
    }

    #[test]
    fn a_lost_row_and_a_changed_row_are_found_by_a_recount() -> Tested {
        let disk = MemoryDisk::default();
        let (_, mut committer, store) = vault(&disk);
        let mut group = Group::default();
        for n in 0..10 {
            group.insert(table_row(n), row(&table_row(n), 1));
        }
        committer.commit(group, BatchId(1), || {}, |_| {})?;
        recount(&*store, &meta(&*store))?;
        // Behind the committer's back.
        let mut lost = Writes::default();
        lost.remove(table_row(3));
        store.commit(90, lost)?;
        assert!(recount(&*store, &meta(&*store)).is_err());
        let mut changed = Writes::default();
        changed.put(table_row(3), row(&table_row(3), 2));
        store.commit(91, changed)?;
        assert!(recount(&*store, &meta(&*store)).is_err());
        let mut mended = Writes::default();
        mended.put(table_row(3), row(&table_row(3), 1));
        store.commit(92, mended)?;
        recount(&*store, &meta(&*store))
    }

    /// A store whose size is said only when the other end says so.
    struct Slow(Arc<dyn Store>, Mutex<std::sync::mpsc::Receiver<()>>);

    impl Store for Slow {
        fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
            self.0.get(key)
        }

        fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
            self.0.scan(from, to)
        }

        fn commit(&self, sequence: u64, writes: Writes) -> Result<(), StoreError> {
            self.0.commit(sequence, writes)
        }

        fn size_on_disk(&self) -> Result<u64, StoreError> {
            let _ = self.1.lock().unwrap().recv();
            self.0.size_on_disk()
        }
    }

    #[test]
    fn who_measures_the_store_holds_it_open_and_no_commit_up() -> Tested {
        let disk = MemoryDisk::default();
        let (_, mut committer, store) = vault(&disk);
        let (say, told) = std::sync::mpsc::channel();
        let slow: Arc<dyn Store> = Arc::new(Slow(store, Mutex::new(told)));
        let vault = Arc::new(Vault::new(Arc::clone(&slow)));
        committer.vault = Arc::clone(&vault);
        thread::scope(|scope| {
            let measured = scope.spawn(|| vault.size_on_disk());
            while vault.state().glances == 0 {
                thread::yield_now();
            }
            let mut group = Group::default();
            group.insert(table_row(1), row(&table_row(1), 1));
            committer.commit(group, BatchId(1), || {}, |_| {})?;
            vault.close();
            let nobody_left = vault.wait_for_views(Some(Instant::now()));
            let _ = say.send(());
            assert!(!nobody_left);
            assert!(matches!(measured.join().unwrap(), Some(Ok(size)) if size > 0));
            assert!(vault.wait_for_views(None));
            assert!(vault.size_on_disk().is_none());
            Ok(())
        })?;
        assert_eq!(Arc::strong_count(&slow), 1);
        Ok(())
    }

    #[test]
    fn a_view_waits_for_the_commit_that_is_under_way() {
        let disk = MemoryDisk::default();
        let (vault, mut committer, _) = vault(&disk);
        let held = disk.hold_commits();
        thread::scope(|scope| {
            let commit = scope.spawn(move || {
                let mut group = Group::default();
                group.insert(table_row(1), row(&table_row(1), 1));
                committer.commit(group, BatchId(1), || {}, |_| {})
            });
            assert!(held.wait_for_commit());
            let reader = scope.spawn(|| {
                let view = vault.view()?;
                Some(view.value(&table_row(1)))
            });
            assert!(!reader.is_finished());
            drop(held);
            commit.join().unwrap().unwrap();
            assert!(reader.join().unwrap().unwrap().unwrap().is_some());
        });
    }

    #[test]
    fn readers_that_wait_for_a_commit_that_never_ends_are_told() {
        let disk = MemoryDisk::default();
        let (vault, mut committer, _) = vault(&disk);
        let held = disk.hold_commits();
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut group = Group::default();
                group.insert(table_row(1), row(&table_row(1), 1));
                committer.commit(group, BatchId(1), || {}, |_| {})
            });
            assert!(held.wait_for_commit());
            let reader = scope.spawn(|| vault.view().is_none());
            vault.close();
            assert!(reader.join().unwrap());
            drop(held);
        });
    }

    #[test]
    fn after_a_failed_commit_nothing_can_be_read_and_readers_wait_until_it_is_known_why() {
        let disk = MemoryDisk::default();
        let (vault, mut committer, _) = vault(&disk);
        disk.fail_next_commit(super::super::memory::CommitFault::Done);
        let mut group = Group::default();
        group.insert(table_row(1), row(&table_row(1), 1));
        assert!(committer.commit(group, BatchId(1), || {}, |_| {}).is_err());
        thread::scope(|scope| {
            let reader = scope.spawn(|| vault.view().is_none());
            assert!(!reader.is_finished());
            vault.close();
            assert!(reader.join().unwrap());
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn row_sums_equal_a_recount(groups in prop::collection::vec(
            prop::collection::vec((0..6u8, prop::option::of(0..4u32)), 0..8),
            0..12,
        )) {
            let disk = MemoryDisk::default();
            let (_, mut committer, store) = vault(&disk);
            for changes in groups {
                let mut group = Group::default();
                for (n, content) in changes {
                    let key = table_row(n);
                    match content {
                        Some(content) => group.put(key.clone(), row(&key, content)),
                        None => group.remove(key),
                    }
                }
                committer.commit(group, BatchId(1), || {}, |_| {}).unwrap();
                prop_assert!(recount(&*store, &meta(&*store)).is_ok());
            }
        }
    }
}
