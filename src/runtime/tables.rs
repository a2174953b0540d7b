//! The tables as the holder of the lease sees them: stored rows, under the writes of slices that are not
//! durable yet, under those of this slice, under those of this item.
//!
//! There is one of these in a queue. It travels with the lease, so it needs no lock.

use crate::limits;
use crate::process;
use crate::store::rows::{self, Pending, Rows};
use crate::store::{Store, StoreError, Value};
use crate::table::{KeyRange, Table, TableError, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The table writes of one slice, on their way to the disk.
#[derive(Debug)]
pub(crate) struct SliceWrites {
    /// Which slice's they are, counted from 1.
    pub(crate) version: u64,
    pub(crate) rows: Vec<(Vec<u8>, Option<Value>)>,
}

pub(crate) struct Tables {
    store: Arc<dyn Store>,
    /// The version up to which slices' writes are durable. The writer moves it.
    durable: Arc<AtomicU64>,
    /// Writes of slices that ended and may not be durable yet, oldest first.
    ended: VecDeque<(u64, Pending)>,
    next_version: u64,
    slice: Pending,
    slice_bytes: usize,
    item: Pending,
    item_bytes: usize,
    /// The store's tables, and those that handlers have written to.
    names: BTreeSet<String>,
    /// Tables that this item is the first to write to.
    new_names: BTreeSet<&'static str>,
    failed: Option<StoreError>,
}

impl Tables {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        durable: Arc<AtomicU64>,
        names: BTreeSet<String>,
    ) -> Self {
        Self {
            store,
            durable,
            ended: VecDeque::new(),
            next_version: 1,
            slice: Pending::new(),
            slice_bytes: 0,
            item: Pending::new(),
            item_bytes: 0,
            names,
            new_names: BTreeSet::new(),
            failed: None,
        }
    }

    /// Forgets the writes that are in the store by now.
    pub(crate) fn begin_slice(&mut self) {
        let durable = self.durable.load(Ordering::Acquire);
        while self
            .ended
            .front()
            .is_some_and(|(version, _)| *version <= durable)
        {
            self.ended.pop_front();
        }
    }

    /// The item succeeded: its writes count.
    pub(crate) fn keep_item(&mut self) {
        self.slice.append(&mut self.item);
        let new_names = std::mem::take(&mut self.new_names);
        self.names.extend(new_names.into_iter().map(str::to_owned));
        self.slice_bytes += std::mem::take(&mut self.item_bytes);
    }

    /// Bytes that the slice has written so far.
    pub(crate) fn slice_bytes(&self) -> usize {
        self.slice_bytes
    }

    /// The item did not succeed: its writes never were.
    pub(crate) fn drop_item(&mut self) {
        self.item.clear();
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
        let version = self.next_version;
        self.next_version += 1;
        let writes = std::mem::take(&mut self.slice);
        let rows = writes
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.ended.push_back((version, writes));
        Some(SliceWrites { version, rows })
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
        let row = table.row_key(key)?;
        let pending = [&self.item, &self.slice]
            .into_iter()
            .chain(self.ended.iter().rev().map(|(_, writes)| writes))
            .find_map(|layer| layer.get(&row));
        let value = match pending {
            Some(value) => value.clone(),
            None => {
                // Not above: what is pending is memory, and most reads find it there.
                process::check()?;
                match self.store.get(&row) {
                    Ok(value) => value,
                    Err(error) => return Err(self.fail(error)),
                }
            }
        };
        let Some(value) = value else { return Ok(None) };
        match rows::decode(table, &row, &value) {
            Err(TableError::Store { reason }) => Err(self.fail(StoreError(reason))),
            decoded => decoded.map(Some),
        }
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
        let is_new_table = value.is_some() && !self.names.contains(table);
        let limit = limits::TABLES;
        if is_new_table && !self.new_names.contains(table) {
            if self.names.len() + self.new_names.len() >= limit {
                return Err(TableError::TooManyTables { table, limit });
            }
            self.new_names.insert(table);
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
    ) -> Rows<'_, K, V> {
        let range = table.row_range(range);
        let layers = self
            .ended
            .iter()
            .map(|(_, writes)| writes)
            .chain([&self.slice, &self.item]);
        let pending = rows::layered(layers, &range);
        Rows::new(&*self.store, pending, *table, &range).noting(&mut self.failed)
    }

    fn fail(&mut self, error: StoreError) -> TableError {
        self.failed.get_or_insert_with(|| error.clone());
        rows::store_error(error)
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables")
            .field("version", &self.next_version)
            .finish_non_exhaustive()
    }
}
