//! The store: makes batches, outcomes and table rows durable.
//!
//! [`Store`] is the whole of what the engine asks of a storage engine, and the only place to join
//! another one. It knows keys and values, nothing of batches; what the values mean is in `record`,
//! how they are framed in `codec`, which keys there are in `keys`. [`vault`] puts the meta record and
//! the rule "nothing is seen before it is durable" on top.

pub(crate) mod backup;
pub(crate) mod codec;
pub(crate) mod compaction;
mod copy;
mod directory;
pub(crate) mod journal;
pub(crate) mod key_kind;
pub(crate) mod keys;
pub(crate) mod marks;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod memory;
pub(crate) mod new_store;
pub(crate) mod readable;
pub(crate) mod record;
pub(crate) mod row_sums;
pub(crate) mod rows;
mod seal;
mod sled_engine;
mod sled_files;
mod sled_store;
pub(crate) mod vault;

#[cfg(test)]
mod conformance;
#[cfg(test)]
#[cfg(unix)]
mod directory_access;
#[cfg(test)]
mod sled_damage;

pub(crate) use copy::{Copied, Part, Scratch};
pub(crate) use directory::{Directory, Untouched};
pub(crate) use sled_store::SledStore;

use std::ops::Deref;

use crate::limits::VALUE_BYTES;

/// Longest key, in bytes.
const KEY_BYTES: usize = 600;

/// A stored value: shared bytes, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Value(sled::IVec);

impl Deref for Value {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self(sled::IVec::from(bytes))
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self(sled::IVec::from(bytes))
    }
}

/// Writes that are applied together or not at all. A later write to a key replaces an earlier one.
#[derive(Debug, Default)]
pub(crate) struct Writes(pub(crate) Vec<(Vec<u8>, Option<Value>)>);

impl Writes {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: impl Into<Value>) {
        self.0.push((key, Some(value.into())));
    }

    #[cfg(test)]
    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.0.push((key, None));
    }

    /// Refuses a key or value over the limits of [`Store`].
    fn check_sizes(&self) -> Result<(), StoreError> {
        for (key, value) in &self.0 {
            let value_bytes = value.as_ref().map_or(0, |value| value.len());
            if key.len() > KEY_BYTES || value_bytes > VALUE_BYTES {
                return Err(StoreError(format!(
                    "a row has {} bytes of key and {value_bytes} of value; \
                     at most {KEY_BYTES} and {VALUE_BYTES} are allowed",
                    key.len()
                )));
            }
        }
        Ok(())
    }
}

/// A storage engine went wrong. Whatever was being written may or may not be there after reopening.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct StoreError(pub(crate) String);

/// Rows of a scan, in key order from the front and in reverse from the back.
pub(crate) type Scan<'a> =
    Box<dyn DoubleEndedIterator<Item = Result<(Value, Value), StoreError>> + 'a>;

/// An ordered, durable map of byte strings.
///
/// The contract, which `conformance` checks on every implementation:
/// - Keys are ordered as byte strings. Keys are at most 600 bytes, values at most
///   [`VALUE_BYTES`](crate::limits::VALUE_BYTES); a larger value is an error and nothing is applied.
/// - `commit` is atomic across crashes: after reopening either all of its writes are there or none.
///   When it returns `Ok` they are durable against power loss. Commits become durable in the order
///   of their calls; there is one committer at a time, the caller sees to that.
/// - After `commit` returned an error the outcome is unknown, and every later `commit` is an error:
///   the store must be reopened.
/// - `get` and `scan` may be called at any time from any thread. While a commit is under way they may
///   show its writes early, and a scan may show some of them without the others: callers that must
///   not see that go through [`Vault::view`](vault::Vault::view).
pub(crate) trait Store: Send + Sync + 'static {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError>;

    /// The rows with `from <= key < to`, in key order.
    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_>;

    /// Applies `writes` atomically and makes them durable. `sequence` grows with every commit.
    fn commit(&self, sequence: u64, writes: Writes) -> Result<(), StoreError>;

    /// Bytes that the store takes on disk.
    fn size_on_disk(&self) -> Result<u64, StoreError>;
}

/// Begins what a storage engine said when it panicked: the rest of the text may quote rows.
pub(crate) const PANICKED: &str = "it panicked: ";

/// Decodes `bytes` as every kind of record, framed and bare. For fuzzing.
#[cfg(feature = "testing")]
pub(crate) fn decode_any(bytes: &[u8]) {
    use codec::{decode, decode_part};
    let batch = crate::kernel::BatchId(1);
    let segment_key = keys::segment(batch, 0);
    let mut framed = codec::Unsealed::with_capacity(bytes.len());
    framed.append_encoded(bytes);
    // The frame's checksum would keep the fuzzer out of everything behind it.
    let framed = framed.seal(&segment_key);
    for value in [&framed, &Value::from(bytes)] {
        let _ = decode::<record::Meta>(&segment_key, value);
        let _ = decode::<record::Header>(&segment_key, value);
        let _ = decode::<record::Summary>(&segment_key, value);
        let _ = decode::<record::Unfinished>(&segment_key, value);
        let _ = decode::<record::UsedKey>(&segment_key, value);
        let _ = decode::<record::PausedOperation>(&segment_key, value);
        let _ = decode::<Vec<u16>>(&segment_key, value);
        let _ = decode::<Vec<u64>>(&segment_key, value);
        if let Ok(segment) = journal::Segment::open(batch, &segment_key, value) {
            segment.for_each(drop);
        }
        let rows = [(segment_key.clone(), value.clone())];
        let _ = compaction::compact(batch, &rows);
    }
    let _ = decode_part::<&str>(bytes);
    let _ = keys::name(bytes);
    let _ = keys::table_of(bytes);
}
