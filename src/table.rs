//! Typed tables inside the store, for exactly-once handlers and for readers.

use crate::error::forked;
use crate::failure::Failure;
use crate::limits;
use crate::store::keys;
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// A table: a name, and the types of its keys and values.
///
/// Keys are ordered, at most [`TABLE_KEY_BYTES`](limits::TABLE_KEY_BYTES) long; values are stored as
/// JSON, at most [`TABLE_VALUE_BYTES`](limits::TABLE_VALUE_BYTES), so that a field added later still
/// reads old rows. A table exists as soon as it has a row.
///
/// What is written is not read back at once: a float that is not a number is `null` in JSON, and a row
/// with it is [`TableError::Undecodable`] to who reads it, as is one nested more deeply than 127 levels.
///
/// ```
/// use batchwright::Table;
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Account { points: i64 }
///
/// const ACCOUNTS: Table<str, Account> = Table::new("accounts");
/// ```
pub struct Table<K: ?Sized, V> {
    name: &'static str,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: ?Sized, V> Table<K, V> {
    /// The table called `name`.
    ///
    /// # Panics
    /// When the name is empty or longer than 255 bytes; for a `const` that is a compile error.
    pub const fn new(name: &'static str) -> Self {
        assert!(
            !name.is_empty() && name.len() <= limits::NAME_BYTES,
            "a table's name has 1 to 255 bytes"
        );
        Self {
            name,
            types: PhantomData,
        }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<K: TableKey + ?Sized, V> Table<K, V> {
    /// The store's key of a row.
    pub(crate) fn row_key(&self, key: &K) -> Result<Vec<u8>, TableError> {
        let mut row = keys::table(self.name);
        let key = key.encode();
        if key.len() > limits::TABLE_KEY_BYTES {
            return Err(TableError::KeyTooLong {
                table: self.name,
                bytes: key.len(),
                limit: limits::TABLE_KEY_BYTES,
            });
        }
        row.extend_from_slice(&key);
        Ok(row)
    }

    /// The application's key in the store's key of a row.
    pub(crate) fn key_of(&self, row: &[u8]) -> Result<K::Owned, TableError> {
        row.get(2 + self.name.len()..)
            .and_then(K::decode)
            .ok_or_else(|| TableError::Undecodable {
                table: self.name,
                reason: "the key is not of the table's key type".to_owned(),
            })
    }

    /// The store's keys of the rows in `range`.
    pub(crate) fn row_range(&self, range: KeyRange<K>) -> Range<Vec<u8>> {
        let table = keys::table(self.name);
        let with = |key: &[u8]| [&table, key].concat();
        // The next key after `key` in byte order.
        let after = |key: &[u8]| [&table, key, &[0]].concat();
        let start = match &range.start {
            Bound::Included(key) => with(key),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => table.clone(),
        };
        let end = match &range.end {
            Bound::Included(key) => after(key),
            Bound::Excluded(key) => with(key),
            Bound::Unbounded => keys::successor(&table),
        };
        start..end
    }
}

impl<K: ?Sized, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: ?Sized, V> Copy for Table<K, V> {}

impl<K: ?Sized, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Table").field(&self.name).finish()
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for str {}
    impl Sealed for [u8] {}
    impl Sealed for u64 {}
    impl Sealed for i64 {}
}

/// Types that table keys may have: `str`, `[u8]`, `u64`, `i64`. Rows are in the order of the keys.
pub trait TableKey: sealed::Sealed + 'static {
    /// What a read gives back.
    type Owned;

    /// Bytes that sort as the keys do.
    #[doc(hidden)]
    fn encode(&self) -> Cow<'_, [u8]>;

    /// The key that `encode` made bytes of.
    #[doc(hidden)]
    fn decode(bytes: &[u8]) -> Option<Self::Owned>;
}

impl TableKey for str {
    type Owned = String;
    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_bytes())
    }
    fn decode(bytes: &[u8]) -> Option<String> {
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }
}

impl TableKey for [u8] {
    type Owned = Vec<u8>;
    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
    fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
}

impl TableKey for u64 {
    type Owned = u64;
    fn encode(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.to_be_bytes().to_vec())
    }
    fn decode(bytes: &[u8]) -> Option<u64> {
        Some(Self::from_be_bytes(bytes.try_into().ok()?))
    }
}

impl TableKey for i64 {
    type Owned = i64;
    fn encode(&self) -> Cow<'_, [u8]> {
        // With the sign bit flipped, negative numbers sort before positive ones.
        Cow::Owned((self.cast_unsigned() ^ (1 << 63)).to_be_bytes().to_vec())
    }
    fn decode(bytes: &[u8]) -> Option<i64> {
        let bits = u64::from_be_bytes(bytes.try_into().ok()?);
        Some((bits ^ (1 << 63)).cast_signed())
    }
}

/// Which rows of a table to read: made from `..`, `a..b`, `a..`, `..b`, `a..=b`, `..=b` (of `&str` for
/// a table with `str` keys), or by [`prefix`](Self::prefix).
pub struct KeyRange<K: ?Sized> {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    key: PhantomData<fn(&K)>,
}

impl<K: TableKey + ?Sized> KeyRange<K> {
    fn new(start: Bound<&K>, end: Bound<&K>) -> Self {
        Self {
            start: start.map(|key| key.encode().into_owned()),
            end: end.map(|key| key.encode().into_owned()),
            key: PhantomData,
        }
    }
}

impl KeyRange<str> {
    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &str) -> Self {
        prefixed(prefix.as_bytes())
    }
}

impl KeyRange<[u8]> {
    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        prefixed(prefix)
    }
}

fn prefixed<K: ?Sized>(prefix: &[u8]) -> KeyRange<K> {
    let end = if prefix.iter().all(|byte| *byte == u8::MAX) {
        Bound::Unbounded
    } else {
        Bound::Excluded(keys::successor(prefix))
    };
    KeyRange {
        start: Bound::Included(prefix.to_vec()),
        end,
        key: PhantomData,
    }
}

impl<K: ?Sized> fmt::Debug for KeyRange<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRange").finish_non_exhaustive()
    }
}

impl<K: TableKey + ?Sized> From<RangeFull> for KeyRange<K> {
    fn from(_: RangeFull) -> Self {
        Self::new(Bound::Unbounded, Bound::Unbounded)
    }
}

impl<K: TableKey + ?Sized, B: Borrow<K>> From<Range<B>> for KeyRange<K> {
    fn from(range: Range<B>) -> Self {
        let (start, end) = (range.start.borrow(), range.end.borrow());
        Self::new(Bound::Included(start), Bound::Excluded(end))
    }
}

impl<K: TableKey + ?Sized, B: Borrow<K>> From<RangeInclusive<B>> for KeyRange<K> {
    fn from(range: RangeInclusive<B>) -> Self {
        let (start, end) = (range.start().borrow(), range.end().borrow());
        Self::new(Bound::Included(start), Bound::Included(end))
    }
}

impl<K: TableKey + ?Sized, B: Borrow<K>> From<RangeFrom<B>> for KeyRange<K> {
    fn from(range: RangeFrom<B>) -> Self {
        Self::new(Bound::Included(range.start.borrow()), Bound::Unbounded)
    }
}

impl<K: TableKey + ?Sized, B: Borrow<K>> From<RangeTo<B>> for KeyRange<K> {
    fn from(range: RangeTo<B>) -> Self {
        Self::new(Bound::Unbounded, Bound::Excluded(range.end.borrow()))
    }
}

impl<K: TableKey + ?Sized, B: Borrow<K>> From<RangeToInclusive<B>> for KeyRange<K> {
    fn from(range: RangeToInclusive<B>) -> Self {
        Self::new(Bound::Unbounded, Bound::Included(range.end.borrow()))
    }
}

/// A table could not be read or written.
///
/// In a handler all but [`Store`](Self::Store) may be returned as the item's failure, with `?`: a permanent
/// one with the code [`TABLE_ERROR`](Failure::TABLE_ERROR). A store
/// that fails is no item's fault: whatever the handler returns, its slice is abandoned and the queue
/// latches failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The handler did not return in [time](crate::Operation::timeout): its writes are dropped, and others work on the
    /// tables.
    #[error("the handler's time is up, it no longer holds the tables")]
    TimedOut,
    /// The key is too long.
    #[error("a key of table {table:?} has {bytes} bytes, the limit is {limit}")]
    KeyTooLong {
        /// The table.
        table: &'static str,
        /// The key's length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The value is too large.
    #[error("a value of table {table:?} has {bytes} bytes of JSON, the limit is {limit}")]
    ValueTooLarge {
        /// The table.
        table: &'static str,
        /// The value's length as JSON.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The value cannot be written as JSON.
    #[error("a value of table {table:?} cannot be written as JSON: {reason}")]
    Unencodable {
        /// The table.
        table: &'static str,
        /// What serde says.
        reason: String,
    },
    /// A row is not of the table's types: it was written by another version of the program.
    #[error("a row of table {table:?} cannot be read as the table's type: {reason}")]
    Undecodable {
        /// The table.
        table: &'static str,
        /// What serde says.
        reason: String,
    },
    /// The item has written too much.
    #[error("an item may write {limit} bytes to tables; a write to table {table:?} is past that")]
    TooManyWrites {
        /// The table that was being written.
        table: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// The store has as many tables as it may have.
    #[error("a store may have {limit} tables; {table:?} would be one more")]
    TooManyTables {
        /// The table that was being written.
        table: &'static str,
        /// The limit.
        limit: usize,
    },
    /// This process was forked from the one that opened the queue.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// The store failed, or the queue is closed.
    #[error("the store cannot be read: {reason}")]
    Store {
        /// What the store says.
        reason: String,
    },
}

impl From<TableError> for Failure {
    fn from(error: TableError) -> Self {
        Failure::permanent(Failure::TABLE_ERROR, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Table<i64, ()> = Table::new("numbers");
    const NAMES: Table<str, ()> = Table::new("names");

    #[test]
    fn signed_keys_sort_as_numbers() {
        let mut keys: Vec<_> = [3, -1, i64::MAX, 0, i64::MIN]
            .map(|n: i64| n.encode().into_owned())
            .to_vec();
        keys.sort();
        let sorted: Vec<_> = keys.iter().filter_map(|k| i64::decode(k)).collect();
        assert_eq!(sorted, [i64::MIN, -1, 0, 3, i64::MAX]);
    }

    #[test]
    fn ranges_contain_what_they_say() -> Result<(), TableError> {
        let contains = |range: KeyRange<str>, key: &str| -> Result<bool, TableError> {
            Ok(NAMES.row_range(range).contains(&NAMES.row_key(key)?))
        };
        assert!(contains((..).into(), "")?);
        assert!(contains(("a".."b").into(), "a")? && !contains(("a".."b").into(), "b")?);
        assert!(contains(("a"..="b").into(), "b")? && !contains(("a"..="b").into(), "b0")?);
        assert!(contains(("b"..).into(), "z")? && !contains(("b"..).into(), "a")?);
        assert!(contains(KeyRange::<str>::prefix("ab"), "abc")?);
        assert!(!contains(KeyRange::<str>::prefix("ab"), "ac")?);
        assert!(
            NUMBERS
                .row_range((..).into())
                .contains(&NUMBERS.row_key(&-5)?)
        );
        assert!(
            !NUMBERS
                .row_range((0..).into())
                .contains(&NUMBERS.row_key(&-5)?)
        );
        Ok(())
    }

    #[test]
    fn a_key_past_the_limit_is_refused() {
        let long = "x".repeat(limits::TABLE_KEY_BYTES + 1);
        assert!(matches!(
            NAMES.row_key(&long),
            Err(TableError::KeyTooLong {
                bytes: 513,
                limit: 512,
                ..
            })
        ));
        assert!(NAMES.row_key(&long[1..]).is_ok());
    }
}
