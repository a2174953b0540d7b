//! Reads batches back from the store: the same events as live, applied by the same function.

use super::failures::FailureCounts;
use super::live::{Facts, Live, Origin, Progress};
use super::pace::Pace;
use super::shared::Shared;
use super::writer::Active;
use crate::kernel::{BatchId, BatchState, OperationIndex, Phase, Recovered, Terms, Timestamp};
use crate::store::journal::{End, Entry, Segment};
use crate::store::record::{Header, PausedOperation, Summary, Unfinished};
use crate::store::vault::{Committer, View};
use crate::store::{Scan, StoreError, Value, codec, keys};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A place to read rows from.
pub(crate) trait Source {
    fn value(&self, key: &[u8]) -> Result<Option<Value>, StoreError>;
    fn rows(&self, range: &Range<Vec<u8>>) -> Result<Scan<'_>, StoreError>;
}

impl Source for Committer {
    fn value(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.value(key)
    }
    fn rows(&self, range: &Range<Vec<u8>>) -> Result<Scan<'_>, StoreError> {
        Ok(self.scan(range))
    }
}

impl Source for View<'_> {
    fn value(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.value(key)
    }
    fn rows(&self, range: &Range<Vec<u8>>) -> Result<Scan<'_>, StoreError> {
        Ok(self.scan(range))
    }
}

/// The store's unfinished batches.
pub(crate) struct Loaded {
    pub(crate) batches: Vec<Recovered>,
    pub(crate) active: Vec<Active>,
}

/// An unfinished batch as it was submitted.
pub(crate) struct Found {
    batch: BatchId,
    position: u64,
    header: Header,
}

impl Found {
    pub(crate) fn operation(&self) -> &str {
        &self.header.operation
    }
}

/// The unfinished batches, without their journals.
pub(crate) fn find_unfinished(source: &impl Source) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for row in source.rows(&keys::all_unfinished())? {
        let (key, value) = row?;
        let Unfinished { position } = codec::decode(&key, &value)?;
        let batch = keys::batch_of(&key)
            .ok_or_else(|| StoreError("a malformed key among the unfinished".to_owned()))?;
        let header = read_header(source, batch)?
            .ok_or_else(|| StoreError(format!("the header of batch {batch} is missing")))?;
        found.push(Found {
            batch,
            position,
            header,
        });
    }
    Ok(found)
}

pub(crate) fn read_header(
    source: &impl Source,
    batch: BatchId,
) -> Result<Option<Header>, StoreError> {
    let key = keys::header(batch);
    let value = source.value(&key)?;
    value.map(|value| codec::decode(&key, &value)).transpose()
}

/// The journals of the unfinished batches; `found` are theirs.
pub(crate) fn load_unfinished(
    source: &impl Source,
    found: Vec<Found>,
    shared: &Shared,
) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded {
        batches: Vec::with_capacity(found.len()),
        active: Vec::with_capacity(found.len()),
    };
    for Found {
        batch,
        position,
        header,
    } in found
    {
        let facts = facts(source, batch, header, shared)?;
        let live = Arc::new(shared.live_of(facts, Progress::queued()));
        let Batch {
            batch,
            failures,
            next_segment,
            journal_bytes,
        } = load_batch(source, &live, position)?;
        if batch.state.phase.state().has_ended() {
            let id = batch.batch;
            return Err(StoreError(format!(
                "batch {id} is both ended and unfinished"
            )));
        }
        if batch.state.fails_undecodable {
            live.fail_undecodable();
        }
        live.publish(Progress {
            state: batch.state.phase.state(),
            stop_requested: batch.state.phase == Phase::Stopping,
            succeeded: batch.state.succeeded,
            failed: batch.state.failed,
            in_doubt: batch.state.in_doubt(),
            in_flight: 0,
            waiting: batch.state.waiting_count(),
            started_at: batch.state.started_at,
            ended_at: None,
            failures: failures.clone(),
            left_ms: None,
        });
        loaded.batches.push(batch);
        loaded.active.push(Active {
            live,
            failures,
            pace: Pace::default(),
            next_segment,
            journal_bytes,
        });
    }
    Ok(loaded)
}

/// A batch that was read back, journal and all.
pub(crate) struct Batch {
    pub(crate) batch: Recovered,
    pub(crate) failures: FailureCounts,
    pub(crate) next_segment: u32,
    pub(crate) journal_bytes: usize,
}

pub(crate) fn load_batch(
    source: &impl Source,
    live: &Live,
    position: u64,
) -> Result<Batch, StoreError> {
    let id = live.id;
    let operation = live
        .operation
        .ok_or_else(|| StoreError(format!("batch {id} is of an operation that is not known")))?;
    let mut state = BatchState::queued(live.total);
    let mut failures = FailureCounts::default();
    let mut next_segment = None;
    let mut journal_bytes = 0;
    for row in source.rows(&keys::segments(id))? {
        let (key, value) = row?;
        let number = keys::segment_number(&key)
            .ok_or_else(|| StoreError(format!("a malformed key in the journal of batch {id}")))?;
        // A journal that was rewritten begins later; none has a gap.
        if let Some(missing) = next_segment.filter(|next| *next != number) {
            return Err(StoreError(format!(
                "segment {missing} of the journal of batch {id} is missing"
            )));
        }
        next_segment = Some(number.saturating_add(1));
        journal_bytes += value.len();
        let mut clock = Timestamp::default();
        for entry in Segment::open(id, &key, &value)? {
            let entry = entry?;
            if let Entry::Clock { at } = entry {
                clock = at;
            }
            if let Entry::Item(item) | Entry::Resolved(item) = &entry
                && let End::Failed(failure) = &item.end
            {
                failures.add(&failure.code);
            }
            if let Some(event) = entry.to_event(clock) {
                state
                    .apply(&event)
                    .map_err(|error| StoreError(format!("journal of batch {id}: {error}")))?;
            }
        }
    }
    let header = read_header(source, id)?
        .ok_or_else(|| StoreError(format!("the header of batch {id} is missing")))?;
    let terms = Terms {
        priority: header.priority,
        not_before: header.not_before,
        // That is in its journal.
        fails_undecodable: false,
        keys: load_keys(source, id, &header)?,
    };
    Ok(Batch {
        batch: Recovered {
            batch: id,
            operation,
            position,
            terms,
            state,
        },
        failures,
        next_segment: next_segment.unwrap_or(0),
        journal_bytes,
    })
}

/// The hashes of a batch's ordering keys, if it has any.
pub(crate) fn load_keys(
    source: &impl Source,
    batch: BatchId,
    header: &Header,
) -> Result<Option<Box<[u64]>>, StoreError> {
    let parts = (0..header.key_parts).map(|part| keys::key_hashes(batch, part));
    let hashes = load_parts(source, parts, header)?;
    Ok((header.key_parts > 0).then_some(hashes))
}

fn load_origin(
    source: &impl Source,
    batch: BatchId,
    header: &Header,
) -> Result<Option<Origin>, StoreError> {
    let Some(origin) = &header.origin else {
        return Ok(None);
    };
    let parts = (0..origin.index_parts).map(|part| keys::origin_indexes(batch, part));
    Ok(Some(Origin {
        parent: origin.parent,
        root: origin.root,
        root_created_at: origin.root_created_at,
        indexes: load_parts(source, parts, header)?,
    }))
}

/// The batches that run failed items of `parent` again, and which.
pub(crate) fn find_retries(
    source: &impl Source,
    parent: BatchId,
) -> Result<BTreeMap<BatchId, Vec<u16>>, StoreError> {
    let mut found: BTreeMap<_, Vec<u16>> = BTreeMap::new();
    for row in source.rows(&keys::all_retried(parent))? {
        let (key, value) = row?;
        let retry = keys::retry_of(&key)
            .ok_or_else(|| StoreError("a malformed key of retried items".to_owned()))?;
        let indexes = codec::decode::<Vec<u16>>(&key, &value)?;
        found.entry(retry).or_default().extend(indexes);
    }
    Ok(found)
}

/// A list with an entry for each item of a batch, from the values under `parts`; empty without any.
fn load_parts<T: DeserializeOwned>(
    source: &impl Source,
    parts: impl Iterator<Item = Vec<u8>>,
    header: &Header,
) -> Result<Box<[T]>, StoreError> {
    let mut list: Vec<T> = Vec::new();
    let mut name = None;
    for key in parts {
        let value = source
            .value(&key)?
            .ok_or_else(|| StoreError(format!("the {} are missing", keys::name(&key))))?;
        list.extend(codec::decode::<Vec<T>>(&key, &value)?);
        name = Some(keys::name(&key));
    }
    match name {
        Some(name) if list.len() != header.total as usize => {
            let (found, total) = (list.len(), header.total);
            Err(StoreError(format!(
                "{name}: {found} entries for {total} items"
            )))
        }
        _ => Ok(list.into_boxed_slice()),
    }
}

/// The operations that are paused by request, and why.
pub(crate) fn find_paused(source: &impl Source) -> Result<Vec<(String, String)>, StoreError> {
    let mut found = Vec::new();
    for row in source.rows(&keys::all_paused())? {
        let (key, value) = row?;
        let name = keys::paused_name(&key)
            .ok_or_else(|| StoreError("a malformed key of a paused operation".to_owned()))?;
        let PausedOperation { reason, .. } = codec::decode(&key, &value)?;
        found.push((name.to_owned(), reason));
    }
    Ok(found)
}

/// A batch for a handle, as it ended. Unfinished ones are in the registry as soon as anybody knows of them.
pub(crate) fn load_live(
    source: &impl Source,
    batch: BatchId,
    shared: &Shared,
) -> Result<Option<Live>, StoreError> {
    let Some(header) = read_header(source, batch)? else {
        return Ok(None);
    };
    let key = keys::summary(batch);
    let value = source.value(&key)?.ok_or_else(|| {
        StoreError(format!(
            "batch {batch} is neither unfinished nor has it ended"
        ))
    })?;
    let summary: Summary = codec::decode(&key, &value)?;
    let progress = Progress::from(summary);
    let facts = facts(source, batch, header, shared)?;
    Ok(Some(shared.live_of(facts, progress)))
}

impl From<Summary> for Progress {
    fn from(summary: Summary) -> Self {
        Self {
            state: summary.state,
            stop_requested: false,
            succeeded: summary.succeeded,
            failed: summary.failed,
            in_doubt: summary.in_doubt,
            in_flight: 0,
            waiting: 0,
            started_at: summary.started_at,
            ended_at: summary.ended_at,
            failures: summary.failures.into(),
            left_ms: None,
        }
    }
}

fn facts(
    source: &impl Source,
    id: BatchId,
    header: Header,
    shared: &Shared,
) -> Result<Facts, StoreError> {
    let origin = load_origin(source, id, &header)?;
    let operation: Option<OperationIndex> = shared.operation_named(&header.operation);
    let operation_name = match operation {
        Some(index) => Arc::clone(&shared.operation(index).name),
        None => Arc::from(header.operation),
    };
    Ok(Facts {
        id,
        operation,
        operation_name,
        owner: header.owner,
        created_at: header.created_at,
        total: header.total,
        chunk_starts: header.chunk_starts,
        label: header.label,
        priority: header.priority,
        not_before: header.not_before,
        // Submitted since the queue was opened, to the operation as it is: no deploy can be to blame, and
        // no later one would mend it.
        fails_undecodable: id >= shared.first_new_batch && origin.is_none(),
        origin,
    })
}
