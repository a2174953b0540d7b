//! Reading tables from outside of handlers.

use crate::process;
use crate::store::rows::{self, Rows};
use crate::store::vault::View;
use crate::table::{KeyRange, Table, TableError, TableKey};
use serde::de::DeserializeOwned;
use std::fmt;

/// A consistent, durable view of all tables: from [`Queue::read`](crate::Queue::read).
pub struct Reader<'a>(pub(crate) View<'a>);

impl Reader<'_> {
    /// The row under `key`.
    ///
    /// # Errors
    /// [`TableError`]; a key over the limit, a row of another type, or a store that fails.
    pub fn get<K: TableKey + ?Sized, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, TableError> {
        process::check()?;
        rows::get(self.0.store(), table, key)
    }

    /// The rows in `range`, in key order.
    ///
    /// # Errors
    /// From the iterator, as [`get`](Self::get).
    pub fn range<K: TableKey + ?Sized, V: DeserializeOwned>(
        &self,
        table: &Table<K, V>,
        range: impl Into<KeyRange<K>>,
    ) -> Rows<'_, K, V> {
        rows::range(self.0.store(), table, range)
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}
