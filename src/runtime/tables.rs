//! The tables as the holder of the lease sees them: stored rows, under the writes of slices that are not
//! durable yet, under those of this slice, under those of this item.
//!
//! Rows that were changed lately are kept beside them, so that the store is asked less often.
//!
//! There is one of these in a queue that counts. It travels with the lease, so its user needs no lock. When a handler
//! does not return in time, the writer revokes the lease and makes a successor: what the old one holds is dropped
//! with it, but for the writes of slices that ended before, which are on their way to the disk.

use crate::limits;
use crate::process;
use crate::store::rows::{self, Pending, Rows};
use crate::store::vault::Before;
use crate::store::{Store, StoreError, Value};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::table::{KeyRange, Table, TableError, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::btree_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::PoisonError;

/// The table writes of one slice, on their way to the disk.
#[derive(Debug)]
pub(crate) struct SliceWrites {
    /// Which slice's they are, counted from 1.
    pub(crate) version: u64,
    /// Keys and new values, with what the rows were before the slice.
    pub(crate) rows: Vec<(Vec<u8>, Option<Value>, Before)>,
}

/// Rows that are remembered of what an item has read, at most.
const READ_ROWS: usize = 16;

pub(crate) struct Tables {
    store: Arc<dyn Store>,
    /// The version up to which slices' writes are durable. The writer moves it.
    durable: Arc<AtomicU64>,
    ended: Arc<Mutex<Ended>>,
    lease: Lease,
    slice: Pending,
    /// What is known of the rows of `slice` as they were before it, in the order in which they were first written:
    /// the committer needs it, and would have to read them once more.
    before: Vec<(Vec<u8>, Before)>,
    slice_bytes: usize,
    item: Pending,
    item_bytes: usize,
    /// Rows that were changed not long ago, as they are now, in the store or on the way there: what is changed once is
    /// mostly changed again, and a read of the store waits while a commit is applied.
    recent: HashMap<Vec<u8>, Option<Value>>,
    recent_bytes: usize,
    /// What this item has read of rows that its slice has not written.
    read: Vec<(Vec<u8>, Before)>,
    /// Tables that this item is the first to write to.
    new_names: BTreeSet<&'static str>,
    failed: Option<StoreError>,
}

/// What is left of slices that ended. The successor of revoked tables goes on with it.
struct Ended {
    /// Writes that may not be durable yet, oldest first.
    writes: VecDeque<(u64, Pending)>,
    next_version: u64,
    /// The store's tables, and those that handlers have written to.
    names: BTreeSet<String>,
}

/// The how manieth lease it is, and which one is in force.
#[derive(Clone)]
struct Lease {
    number: u64,
    in_force: Arc<AtomicU64>,
}

/// Makes the tables of the next lease.
pub(crate) struct Lessor {
    store: Arc<dyn Store>,
    durable: Arc<AtomicU64>,
    ended: Arc<Mutex<Ended>>,
    in_force: Arc<AtomicU64>,
}

impl Lessor {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        durable: Arc<AtomicU64>,
        names: BTreeSet<String>,
    ) -> Self {
        Self {
            store,
            durable,
            ended: Arc::new(Mutex::new(Ended {
                writes: VecDeque::new(),
                next_version: 1,
                names,
            })),
            in_force: Arc::default(),
        }
    }

    /// The tables of a new lease. Whoever holds those of the last one can do nothing more with them.
    pub(crate) fn grant(&self) -> Tables {
        let number = self.in_force.fetch_add(1, Ordering::SeqCst) + 1;
        let lease = Lease {
            number,
            in_force: Arc::clone(&self.in_force),
        };
        let store = Arc::clone(&self.store);
        Tables::new(
            store,
            Arc::clone(&self.durable),
            Arc::clone(&self.ended),
            lease,
        )
    }

    /// Whether these are the tables of the lease that is in force.
    pub(crate) fn granted(&self, tables: &Tables) -> bool {
        !tables.is_revoked()
    }
}

impl Tables {
    fn new(
        store: Arc<dyn Store>,
        durable: Arc<AtomicU64>,
        ended: Arc<Mutex<Ended>>,
        lease: Lease,
    ) -> Self {
        Self {
            store,
            durable,
            ended,
            lease,
            slice: Pending::new(),
            before: Vec::new(),
            slice_bytes: 0,
            item: Pending::new(),
            item_bytes: 0,
            recent: HashMap::new(),
            recent_bytes: 0,
            read: Vec::new(),
            new_names: BTreeSet::new(),
            failed: None,
        }
    }

    fn is_revoked(&self) -> bool {
        self.lease.in_force.load(Ordering::SeqCst) != self.lease.number
    }

    fn check_lease(&self) -> Result<(), TableError> {
        if self.is_revoked() {
            return Err(TableError::TimedOut);
        }
        Ok(())
    }

    fn ended(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the writes that are in the store by now.
    pub(crate) fn begin_slice(&mut self) {
        let durable = self.durable.load(Ordering::Acquire);
        let mut ended = self.ended();
        while ended
            .writes
            .front()
            .is_some_and(|(version, _)| *version <= durable)
        {
            ended.writes.pop_front();
        }
    }

    /// The item succeeded: its writes count.
    pub(crate) fn keep_item(&mut self) {
        // Not `append`, which makes the whole slice anew for each item.
        for (key, value) in std::mem::take(&mut self.item) {
            match self.slice.entry(key) {
                Entry::Occupied(mut entry) => *entry.get_mut() = value,
                Entry::Vacant(entry) => {
                    let read = self.read.iter().position(|(key, _)| key == entry.key());
                    let before = read.map(|at| self.read.swap_remove(at));
                    let unknown = || (entry.key().clone(), Before::Unknown);
                    self.before.push(before.unwrap_or_else(unknown));
                    entry.insert(value);
                }
            }
        }
        self.read.clear();
        if !self.new_names.is_empty() {
            let new_names = std::mem::take(&mut self.new_names);
            let new_names = new_names.into_iter().map(str::to_owned);
            self.ended().names.extend(new_names);
        }
        self.slice_bytes += std::mem::take(&mut self.item_bytes);
    }

    /// Bytes that the slice has written so far.
    pub(crate) fn slice_bytes(&self) -> usize {
        self.slice_bytes
    }

    /// The item did not succeed: its writes never were.
    pub(crate) fn drop_item(&mut self) {
        self.item.clear();
        self.read.clear();
        self.new_names.clear();
        self.item_bytes = 0;
    }

    /// What the slice wrote, if anything.
    pub(crate) fn end_slice(&mut self) -> Option<SliceWrites> {
        self.drop_item();
        self.slice_bytes = 0;
        if self.slice.is_empty() {
            return None;
        }
        let writes = std::mem::take(&mut self.slice);
        let mut before = std::mem::take(&mut self.before);
        before.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        // Each key of the one is in the other, once.
        let mut rows = Vec::with_capacity(before.len());
        for ((key, before), value) in before.into_iter().zip(writes.values()) {
            // What is remembered must stay what it is.
            if matches!(before, Before::Is(_)) || self.recent.contains_key(&key) {
                self.remember(&key, value);
            }
            rows.push((key, value.clone(), before));
        }
        let mut ended = self.ended();
        let version = ended.next_version;
        ended.next_version += 1;
        ended.writes.push_back((version, writes));
        Some(SliceWrites { version, rows })
    }

    fn remember(&mut self, key: &[u8], value: &Option<Value>) {
        let bytes = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.len());
        self.recent_bytes += bytes(value);
        if let Some(recent) = self.recent.get_mut(key) {
            self.recent_bytes -= bytes(recent);
            recent.clone_from(value);
        } else {
            self.recent_bytes += key.len() + limits::RECENT_ROW_OVERHEAD;
            self.recent.insert(key.to_owned(), value.clone());
        }
        if self.recent_bytes > limits::RECENT_ROWS_BYTES {
            self.recent.clear();
            self.recent_bytes = 0;
        }
    }

    /// The store's failure that a handler met, whatever the handler made of it.
    pub(crate) fn failure(&self) -> Option<&StoreError> {
        self.failed.as_ref()
    }

    pub(crate) fn get<K: TableKey + ?Sized, V: DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, TableError> {
        self.check_lease()?;
        let row = table.row_key(key)?;
        let own = [&self.item, &self.slice]
            .into_iter()
            .find_map(|layer| layer.get(&row));
        let value = match own {
            Some(value) => value.clone(),
            None => self.read_before(&row)?,
        };
        let Some(value) = value else { return Ok(None) };
        match rows::decode(table, &row, &value) {
            Err(TableError::Store { reason }) => Err(self.fail(StoreError(reason))),
            decoded => decoded.map(Some),
        }
    }

    /// The row as it was before this slice, which is what it will be in the store when the slice's commit comes: the
    /// slices before it are in commits before that, or in the same one.
    fn read_before(&mut self, row: &[u8]) -> Result<Option<Value>, TableError> {
        let ended = || {
            let ended = self.ended();
            let mut newest_first = ended.writes.iter().rev();
            newest_first.find_map(|(_, writes)| writes.get(row).cloned())
        };
        let value = match self.recent.get(row).cloned().or_else(ended) {
            Some(value) => value,
            None => {
                // Not above: what is pending is memory, and many reads find it there.
                process::check()?;
                match self.store.get(row) {
                    Ok(value) => value,
                    Err(error) => return Err(self.fail(error)),
                }
            }
        };
        if self.read.len() < READ_ROWS {
            let before = value.clone().map_or(Before::Absent, Before::Is);
            self.read.push((row.to_owned(), before));
        }
        Ok(value)
    }

    pub(crate) fn put<K: TableKey + ?Sized, V: Serialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), TableError> {
        let row = table.row_key(key)?;
        let value = rows::encode(table, &row, value)?;
        self.write(table.name(), row, Some(value))
    }

    pub(crate) fn remove<K: TableKey + ?Sized, V>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<(), TableError> {
        self.write(table.name(), table.row_key(key)?, None)
    }

    fn write(
        &mut self,
        table: &'static str,
        row: Vec<u8>,
        value: Option<Value>,
    ) -> Result<(), TableError> {
        self.check_lease()?;
        let limit = limits::TABLES;
        if value.is_some() && !self.new_names.contains(table) {
            let known = {
                let ended = self.ended();
                let is_known = ended.names.contains(table);
                (!is_known).then_some(ended.names.len())
            };
            if let Some(tables) = known {
                if tables + self.new_names.len() >= limit {
                    return Err(TableError::TooManyTables { table, limit });
                }
                self.new_names.insert(table);
            }
        }
        let bytes = self.item_bytes + row.len() + value.as_ref().map_or(0, |value| value.len());
        let limit = limits::ITEM_WRITES_BYTES;
        if bytes > limit {
            return Err(TableError::TooManyWrites { table, limit });
        }
        self.item_bytes = bytes;
        self.item.insert(row, value);
        Ok(())
    }

    pub(crate) fn range<K: TableKey + ?Sized, V>(
        &mut self,
        table: &Table<K, V>,
        range: KeyRange<K>,
    ) -> Result<Rows<'_, K, V>, TableError> {
        self.check_lease()?;
        let range = table.row_range(range);
        let pending = {
            let ended = self.ended();
            let layers = ended.writes.iter().map(|(_, writes)| writes);
            rows::layered(layers.chain([&self.slice, &self.item]), &range)
        };
        Ok(Rows::new(&*self.store, pending, *table, &range).noting(&mut self.failed))
    }

    fn fail(&mut self, error: StoreError) -> TableError {
        self.failed.get_or_insert_with(|| error.clone());
        rows::store_error(error)
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables")
            .field("lease", &self.lease.number)
            .finish_non_exhaustive()
    }
}
