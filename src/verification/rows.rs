//! Every row by itself: its checksum, that it is what its key says, and the sums of all.

use super::{Finding, FindingKind, Verification};
use crate::kernel::BatchId;
use crate::store::journal::{End, ItemEntry, Segment};
use crate::store::key_kind::KeyKind;
use crate::store::readable::{Gap, ReadableRows};
use crate::store::record::{Header, Meta, PausedOperation, Summary, Unfinished, UsedKey};
use crate::store::row_sums::Counted;
use crate::store::{Store, StoreError, Value, codec, keys};
use serde::de::IgnoredAny;

/// Checks every row and, when the meta record can be read, the sums of all.
pub(super) fn check(store: &dyn Store, meta: Option<&Meta>, found: &mut Verification) {
    let mut rows = Rows {
        store,
        next_batch: meta.map(|meta| BatchId(meta.next_batch)),
        owner: None,
        fences: 0,
        found,
    };
    let mut counted = Counted::default();
    for row in ReadableRows::all(store) {
        match row {
            Ok((key, value)) => {
                rows.found.rows += 1;
                if &*key != keys::META {
                    counted.add(&key, &value);
                }
                rows.check(&key, &value);
            }
            Err(gap) => rows.found.find(unreadable(&gap)),
        }
    }
    let fences = keys::fences().count();
    if rows.fences != fences {
        let what = format!("{} of {fences} fences are there", rows.fences);
        found.find(Finding::new(FindingKind::Rows, what));
    }
    if let Some(meta) = meta {
        for what in counted.differences(&meta.spaces) {
            found.find(Finding::new(FindingKind::Rows, what));
        }
    }
}

pub(crate) fn unreadable(gap: &Gap) -> Finding {
    let StoreError(error) = &gap.error;
    let after = gap.after.as_deref().map_or_else(
        || "from the beginning".to_owned(),
        |key| format!("behind the {}", keys::name(key)),
    );
    let until = gap.until.as_deref().map_or_else(
        || "to the end".to_owned(),
        |key| format!("to the {}", keys::name(key)),
    );
    Finding::new(
        FindingKind::Engine,
        format!("rows {after} {until} cannot be read: {error}"),
    )
}

struct Rows<'a> {
    store: &'a dyn Store,
    next_batch: Option<BatchId>,
    /// The letter and the batch of the last row that was of a batch: so that a header is looked for once.
    owner: Option<(u8, BatchId)>,
    fences: usize,
    found: &'a mut Verification,
}

impl Rows<'_> {
    fn check(&mut self, key: &[u8], value: &Value) {
        let Some(kind) = KeyKind::of(key) else {
            let what = "no key of this library";
            let finding = Finding::new(FindingKind::Key, what).of_record(key);
            return self.found.find(finding);
        };
        if let Err(StoreError(what)) = self.content(kind, key, value) {
            let mut finding = Finding::new(FindingKind::Record, what).of_record(key);
            finding.batch = kind.batch();
            self.found.find(finding);
        }
        if let Some(batch) = kind.batch() {
            self.owner(key, kind, batch);
        }
    }

    /// Whether the row can be read as what it is.
    fn content(&mut self, kind: KeyKind<'_>, key: &[u8], value: &Value) -> Result<(), StoreError> {
        match kind {
            KeyKind::Fence => {
                self.fences += 1;
                codec::decode::<()>(key, value)
            }
            // It was read before.
            KeyKind::Meta => Ok(()),
            KeyKind::Header(_) => codec::decode::<Header>(key, value).map(drop),
            KeyKind::Items { .. } => each_item(key, value, is_json).map(drop),
            KeyKind::KeyHashes { .. } => codec::decode::<Vec<u64>>(key, value).map(drop),
            KeyKind::OriginIndexes { .. } | KeyKind::Retried { .. } => {
                codec::decode::<Vec<u16>>(key, value).map(drop)
            }
            KeyKind::Segment { batch, .. } => {
                Segment::open(batch, key, value)?.try_for_each(|entry| entry.map(drop))
            }
            KeyKind::Summary(_) => codec::decode::<Summary>(key, value).map(drop),
            KeyKind::Unfinished(_) => codec::decode::<Unfinished>(key, value).map(drop),
            KeyKind::Paused(_) => codec::decode::<PausedOperation>(key, value).map(drop),
            KeyKind::Idempotency => {
                let UsedKey { batch, .. } = codec::decode(key, value)?;
                self.id(FindingKind::IdempotencyKey, key, batch);
                Ok(())
            }
            KeyKind::Row { .. } => {
                self.found.table_rows += 1;
                codec::open(key, value).and_then(is_json_bytes)
            }
        }
    }

    /// Whether there is, or may have been, such a batch.
    fn id(&mut self, kind: FindingKind, key: &[u8], batch: BatchId) {
        if let Some(next) = self.next_batch
            && (batch >= next || batch.0 == 0)
        {
            let what = format!("it is of batch {batch}, and the next new one is {next}");
            let finding = Finding::new(kind, what).of_record(key).of_batch(batch);
            self.found.find(finding);
        }
    }

    /// Whether the batch is there that the row is of.
    fn owner(&mut self, key: &[u8], kind: KeyKind<'_>, batch: BatchId) {
        if let KeyKind::Retried { retry, .. } = kind {
            self.id(FindingKind::Retry, key, retry);
        }
        let owner = key.first().map(|letter| (*letter, batch));
        if self.owner == owner {
            return;
        }
        self.owner = owner;
        self.id(FindingKind::Batch, key, batch);
        if matches!(kind, KeyKind::Header(_)) {
            return;
        }
        // What cannot be read is told where all rows are read.
        if matches!(self.store.get(&keys::header(batch)), Ok(None)) {
            let finding = Finding::new(FindingKind::Batch, "its header is missing");
            self.found.find(finding.of_batch(batch).of_record(key));
        }
    }
}

/// Calls `look` with the JSON of each item of a chunk, and counts them.
pub(crate) fn each_item(
    key: &[u8],
    value: &[u8],
    mut look: impl FnMut(&str) -> Result<(), StoreError>,
) -> Result<u32, StoreError> {
    let mut rest = codec::open(key, value)?;
    let mut items = 0;
    while !rest.is_empty() {
        let (json, used) = codec::decode_part::<&str>(rest)?;
        look(json)?;
        rest = &rest[used..];
        items += 1;
    }
    Ok(items)
}

pub(crate) fn is_json_bytes(bytes: &[u8]) -> Result<(), StoreError> {
    let text = std::str::from_utf8(bytes);
    is_json(text.map_err(|error| StoreError(format!("it is no text: {error}")))?)
}

/// Whether outputs and details are JSON.
pub(crate) fn is_sound(item: &ItemEntry<'_>) -> bool {
    let json = match &item.end {
        End::Succeeded(output) => Some(*output),
        End::Failed(failure) | End::Retry { failure, .. } => failure.details.as_deref(),
        End::InDoubt(_) => None,
    };
    json.is_none_or(|json| is_json(json).is_ok())
}

pub(crate) fn is_json(text: &str) -> Result<(), StoreError> {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Ok(()),
        // Not what the parser says: it may quote the content.
        Err(error) => {
            let column = error.column();
            Err(StoreError(format!("it is not JSON, at byte {column}")))
        }
    }
}
