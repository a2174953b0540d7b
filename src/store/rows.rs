//! Table rows: how an application's value becomes a stored one and back, and reads that see pending
//! writes over stored rows.

use super::codec::{self, Unsealed};
use super::{Scan, Store, StoreError, Value};
use crate::limits;
use crate::process;
use crate::table::{KeyRange, Table, TableError, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::Range;

/// Writes that are not in the store yet: the new value of each row, or `None` where it was removed.
pub(crate) type Pending = BTreeMap<Vec<u8>, Option<Value>>;

pub(crate) fn encode<K: ?Sized, V: Serialize>(
    table: &Table<K, V>,
    row: &[u8],
    value: &V,
) -> Result<Value, TableError> {
    let table = table.name();
    let json = serde_json::to_vec(value).map_err(|error| TableError::Unencodable {
        table,
        reason: error.to_string(),
    })?;
    let (bytes, limit) = (json.len(), limits::TABLE_VALUE_BYTES);
    if bytes > limit {
        return Err(TableError::ValueTooLarge {
            table,
            bytes,
            limit,
        });
    }
    let mut unsealed = Unsealed::with_capacity(bytes);
    unsealed.append_encoded(&json);
    Ok(unsealed.seal(row))
}

pub(crate) fn decode<K: ?Sized, V: DeserializeOwned>(
    table: &Table<K, V>,
    row: &[u8],
    value: &[u8],
) -> Result<V, TableError> {
    let json = codec::open(row, value).map_err(store_error)?;
    serde_json::from_slice(json).map_err(|error| TableError::Undecodable {
        table: table.name(),
        reason: error.to_string(),
    })
}

pub(crate) fn store_error(StoreError(reason): StoreError) -> TableError {
    TableError::Store { reason }
}

/// The rows of a table in key order, from [`Context::range`](crate::Context::range) or
/// [`Reader::range`](crate::Reader::range).
#[must_use = "rows are read as the iterator goes on"]
pub struct Rows<'a, K: ?Sized, V> {
    table: Table<K, V>,
    merged: Merged<'a>,
    /// The process turned out to be a forked child.
    over: bool,
    /// Where a failure of the store is remembered, whatever the caller makes of it.
    noted: Option<&'a mut Option<StoreError>>,
}

impl<'a, K: TableKey + ?Sized, V> Rows<'a, K, V> {
    /// The rows of `store` in `range`, with `pending` over them.
    pub(crate) fn new(
        store: &'a dyn Store,
        pending: Pending,
        table: Table<K, V>,
        range: &Range<Vec<u8>>,
    ) -> Self {
        let stored: Scan<'a> = if range.start < range.end {
            store.scan(&range.start, &range.end)
        } else {
            Box::new(std::iter::empty())
        };
        Self {
            table,
            merged: Merged {
                stored: stored.peekable(),
                pending: pending.into_iter().peekable(),
            },
            over: false,
            noted: None,
        }
    }

    pub(crate) fn noting(mut self, noted: &'a mut Option<StoreError>) -> Self {
        self.noted = Some(noted);
        self
    }
}

impl<K: TableKey + ?Sized, V: DeserializeOwned> Iterator for Rows<'_, K, V> {
    type Item = Result<(K::Owned, V), TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(forked) = process::check() {
            // Who goes on after the error must come to an end.
            let first = !std::mem::replace(&mut self.over, true);
            return first.then(|| Err(forked.into()));
        }
        let row = self.merged.next()?;
        let row = row.map_err(store_error).and_then(|(key, value)| {
            let row = decode(&self.table, &key, &value)?;
            Ok((self.table.key_of(&key)?, row))
        });
        if let (Err(TableError::Store { reason }), Some(noted)) = (&row, &mut self.noted) {
            noted.get_or_insert_with(|| StoreError(reason.clone()));
        }
        Some(row)
    }
}

impl<K: ?Sized, V> std::fmt::Debug for Rows<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

struct Merged<'a> {
    stored: Peekable<Scan<'a>>,
    pending: Peekable<std::collections::btree_map::IntoIter<Vec<u8>, Option<Value>>>,
}

impl Iterator for Merged<'_> {
    type Item = Result<(Vec<u8>, Value), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let pending_first = match (self.pending.peek(), self.stored.peek()) {
                (None, None) => return None,
                (_, Some(Err(_))) | (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some((pending, _)), Some(Ok((stored, _)))) => {
                    if pending.as_slice() == &**stored {
                        // The pending write replaces the stored row.
                        self.stored.next();
                        true
                    } else {
                        pending.as_slice() < &**stored
                    }
                }
            };
            if pending_first {
                if let Some((key, Some(value))) = self.pending.next() {
                    return Some(Ok((key, value)));
                }
            } else {
                let row = self.stored.next()?;
                return Some(row.map(|(key, value)| (key.to_vec(), value)));
            }
        }
    }
}

/// The writes of `layers` in `range`; a later layer's win.
pub(crate) fn layered<'a>(
    layers: impl IntoIterator<Item = &'a Pending>,
    range: &Range<Vec<u8>>,
) -> Pending {
    let mut merged = Pending::new();
    if range.start < range.end {
        for layer in layers {
            let rows = layer.range::<Vec<u8>, _>(range.clone());
            merged.extend(rows.map(|(key, value)| (key.clone(), value.clone())));
        }
    }
    merged
}

/// Where rows are read from: `get` and `range` over stored rows.
pub(crate) fn get<K: TableKey + ?Sized, V: DeserializeOwned>(
    store: &dyn Store,
    table: &Table<K, V>,
    key: &K,
) -> Result<Option<V>, TableError> {
    let row = table.row_key(key)?;
    let value = store.get(&row).map_err(store_error)?;
    value.map(|value| decode(table, &row, &value)).transpose()
}

pub(crate) fn range<'a, K: TableKey + ?Sized, V>(
    store: &'a dyn Store,
    table: &Table<K, V>,
    range: impl Into<KeyRange<K>>,
) -> Rows<'a, K, V> {
    let range = table.row_range(range.into());
    Rows::new(store, Pending::new(), *table, &range)
}
