//! What the engine stores, record by record.

use crate::kernel::{BatchId, State, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of the whole store. Raised when a store written by this library cannot be read by the
/// one before.
pub(crate) const FORMAT: u16 = 1;

/// One per store, rewritten by every commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// First, so that a library too old for the store can still say so.
    pub(crate) format: u16,
    /// Random, made with the store: two stores never share one.
    pub(crate) store_id: u128,
    /// Grows by one with every commit.
    pub(crate) sequence: u64,
    /// The id of the next batch.
    pub(crate) next_batch: u64,
    /// What there is: the engine's own records under the empty name, and each table.
    pub(crate) spaces: Vec<Space>,
}

/// How many rows a part of the store has, and the sum of their hashes: a lost or changed row shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Space {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) sum: u64,
}

/// A batch as submitted; never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) operation: String,
    pub(crate) owner: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) priority: i8,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) total: u32,
    /// The number of the first item of each chunk.
    pub(crate) chunk_starts: Vec<u16>,
    /// Parts of the list of ordering keys; none when no item has one.
    pub(crate) key_parts: u32,
    /// Of a batch that runs failed items again.
    pub(crate) origin: Option<Origin>,
}

/// Where the items of a batch come from that runs failed items again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The batch whose items failed.
    pub(crate) parent: BatchId,
    /// The batch in which the items were first submitted, which their idempotency keys name.
    pub(crate) root: BatchId,
    /// When that one was accepted, which their idempotency keys say, too.
    pub(crate) root_created_at: Timestamp,
    /// Parts of the list of the items' places in `root`.
    pub(crate) index_parts: u32,
}

/// There while an operation is paused by request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PausedOperation {
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// How an ended batch ended. There while it is ended; what the journal adds up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) state: State,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) in_doubt: u32,
    /// Failed items by their failure's code.
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
}

/// There while a batch is unfinished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    /// Its place in its operation's order; 0 while it has none.
    pub(crate) position: u64,
}

/// An idempotency key that was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UsedKey {
    pub(crate) batch: BatchId,
    /// SHA-256 of the canonical JSON of the items.
    pub(crate) content: [u8; 32],
    pub(crate) expires_at: Timestamp,
}

/// Hashes of ordering keys in one stored value.
pub(crate) const KEY_HASHES_PER_PART: usize = 6_000;

/// Places of items in one stored value.
pub(crate) const INDEXES_PER_PART: usize = 20_000;
