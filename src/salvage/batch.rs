//! One batch, rebuilt from what can be read of it.

use super::{Loss, Rescue};
use crate::kernel::{BatchId, BatchState, Event, Items, Phase, Timestamp};
use crate::limits;
use crate::runtime::failures::FailureCounts;
use crate::store::codec::{self, Unsealed};
use crate::store::journal::{self, End, Entry, ItemEntry, Segment, SegmentBuilder};
use crate::store::readable::ReadableRows;
use crate::store::record::{Header, INDEXES_PER_PART, KEY_HASHES_PER_PART, Summary};
use crate::store::{Store, StoreError, Value, keys};
use crate::verification;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Whether a header can be of a batch.
pub(super) fn has_shape(header: &Header) -> bool {
    let (starts, total) = (&header.chunk_starts, header.total);
    (1..=limits::ITEMS_PER_BATCH_MAX).contains(&(total as usize))
        && starts.first() == Some(&0)
        && starts.is_sorted_by(|a, b| a < b)
        && starts.last().is_some_and(|last| u32::from(*last) < total)
}

/// Copies a batch as it is to be in the new store.
pub(super) fn rebuild(
    rescue: &mut Rescue<'_>,
    batch: BatchId,
    header: Header,
) -> Result<(), StoreError> {
    let mut rebuilt = Rebuilt {
        rescue,
        batch,
        header,
        is_closed: false,
    };
    rebuilt.items()?;
    rebuilt.key_hashes()?;
    rebuilt.origin()?;
    let history = History::read(rebuilt.rescue.store, batch, &rebuilt.header);
    let failed = rebuilt.end(history)?;
    rebuilt.retries(&failed)?;
    let key = keys::header(batch);
    let value = codec::encode(&key, &rebuilt.header)?;
    rebuilt.rescue.new.put(key, value)
}

/// What a null takes in a chunk, and how many there are in one.
const NULL_BYTES: usize = 5;
const NULLS_PER_CHUNK: u32 = (limits::PACKED_BYTES / NULL_BYTES) as u32;

struct Rebuilt<'a, 'b> {
    rescue: &'a mut Rescue<'b>,
    batch: BatchId,
    header: Header,
    /// Something is missing: its items must not run by themselves.
    is_closed: bool,
}

impl Rebuilt<'_, '_> {
    fn closes(&mut self, what: impl Into<String>) {
        self.is_closed = true;
        self.tells(what);
    }

    fn tells(&mut self, what: impl Into<String>) {
        let loss = Loss::new(what).of_batch(self.batch);
        self.rescue.salvage.loses(loss);
    }

    fn items(&mut self) -> Result<(), StoreError> {
        let mut starts = Vec::new();
        for (chunk, range) in (0..).zip(chunks(&self.header)) {
            let key = keys::items(self.batch, chunk);
            let value = self.rescue.store.get(&key).ok().flatten();
            let sound = value.filter(|value| {
                let items = verification::each_item(&key, value, verification::is_json);
                items.is_ok_and(|items| items == range.end - range.start)
            });
            if let Some(value) = sound {
                let content = codec::content(&value);
                let mut same = Unsealed::with_capacity(content.len());
                same.append_encoded(content);
                self.put_items(&mut starts, range.start, same)?;
                continue;
            }
            let last = range.end - 1;
            let what = format!("items {} to {last} are lost; they are null", range.start);
            self.closes(what);
            // They may take more room than the items did.
            for start in range.clone().step_by(NULLS_PER_CHUNK as usize) {
                let count = NULLS_PER_CHUNK.min(range.end - start);
                let mut nulls = Unsealed::with_capacity(NULL_BYTES * count as usize);
                (0..count).for_each(|_| nulls.append_text("null"));
                self.put_items(&mut starts, start, nulls)?;
            }
        }
        self.header.chunk_starts = starts;
        Ok(())
    }

    /// Writes the chunk that begins with item `start`, behind those that begin with `starts`.
    fn put_items(
        &mut self,
        starts: &mut Vec<u16>,
        start: u32,
        chunk: Unsealed,
    ) -> Result<(), StoreError> {
        let number = u32::try_from(starts.len()).unwrap_or(u32::MAX);
        let key = keys::items(self.batch, number);
        // Batches have at most 65,000 items.
        starts.push(u16::try_from(start).unwrap_or(u16::MAX));
        let value = chunk.seal(&key);
        self.rescue.new.put(key, value)
    }

    fn key_hashes(&mut self) -> Result<(), StoreError> {
        let range = keys::all_key_hashes(self.batch);
        let Some(hashes) = self.list::<u64>(range, self.header.key_parts) else {
            self.header.key_parts = 0;
            self.closes("its ordering keys are lost; it has none");
            return Ok(());
        };
        let key = |part| keys::key_hashes(self.batch, part);
        self.header.key_parts = put_parts(self.rescue, &hashes, KEY_HASHES_PER_PART, key)?;
        Ok(())
    }

    fn origin(&mut self) -> Result<(), StoreError> {
        let Some(origin) = self.header.origin.clone() else {
            return Ok(());
        };
        let (parent, root) = (origin.parent, origin.root);
        let range = keys::all_origin_indexes(self.batch);
        let places = self.list::<u16>(range, origin.index_parts);
        let root_total = total_of(self.rescue.store, root);
        let fits = |place: &u16| root_total.is_none_or(|total| u32::from(*place) < total);
        let unlisted = self.rescue.unlisted.contains(&self.batch);
        let sound = !unlisted && parent < self.batch && root <= parent;
        let places = places.filter(|places| sound && places.iter().all(fits));
        let Some(places) = places else {
            self.header.origin = None;
            self.closes(format!(
                "which items of batch {parent} it runs again is lost; it stands by itself"
            ));
            return Ok(());
        };
        let key = |part| keys::origin_indexes(self.batch, part);
        let parts = put_parts(self.rescue, &places, INDEXES_PER_PART, key)?;
        if let Some(origin) = &mut self.header.origin {
            origin.index_parts = parts;
        }
        Ok(())
    }

    /// A list with an entry for each item, when there is all of it.
    fn list<T: DeserializeOwned>(&self, range: Range<Vec<u8>>, parts: u32) -> Option<Vec<T>> {
        let mut list = Vec::new();
        let mut next = 0;
        for row in ReadableRows::between(self.rescue.store, range.start, range.end) {
            let (key, value) = row.ok()?;
            let part = codec::decode::<Vec<T>>(&key, &value).ok()?;
            (keys::segment_number(&key) == Some(next)).then_some(())?;
            list.extend(part);
            next += 1;
        }
        let entries = if parts == 0 { 0 } else { self.header.total };
        (next == parts && list.len() == entries as usize).then_some(list)
    }

    /// Writes the journal and how the batch ended; gives the items that failed.
    fn end(&mut self, history: History) -> Result<BTreeSet<u16>, StoreError> {
        let summary_key = keys::summary(self.batch);
        let summary = self.rescue.store.get(&summary_key).ok().flatten();
        let summary = summary.and_then(|value| codec::decode::<Summary>(&summary_key, &value).ok());
        for what in &history.wrong {
            self.closes(what.clone());
        }
        if let Some(summary) = &summary {
            let Summary {
                state,
                succeeded,
                failed,
                in_doubt,
                ..
            } = summary;
            let by_journal = &history.state;
            let there = (
                by_journal.succeeded,
                by_journal.failed,
                by_journal.in_doubt(),
            );
            if there != (*succeeded, *failed, *in_doubt) || history.state.phase.state() != *state {
                self.closes(format!(
                    "it was {state} with {succeeded} succeeded and {failed} failed items; {} and {} of these outcomes \
                     can be read",
                    there.0, there.1
                ));
            }
        }
        let ended = if self.is_closed {
            self.close(history)?
        } else {
            self.stop(history)?
        };
        let Ended {
            state,
            failures,
            failed,
            journal,
            ..
        } = ended;
        for (key, value) in journal::number(self.batch, 0, journal.finish()) {
            self.rescue.new.put(key, value)?;
        }
        let summary = Summary {
            state: state.phase.state(),
            succeeded: state.succeeded,
            failed: state.failed,
            in_doubt: state.in_doubt(),
            failures: failures.to_map(),
            started_at: state.started_at,
            ended_at: state.ended_at,
        };
        let value = codec::encode(&summary_key, &summary)?;
        self.rescue.new.put(summary_key, value)?;
        Ok(failed)
    }

    /// Every item has an outcome in the end: its own, or that it is lost.
    fn close(&mut self, history: History) -> Result<Ended, StoreError> {
        let total = self.header.total;
        let at = history.last_at.unwrap_or(self.rescue.now);
        let mut ended = Ended::new(total);
        let started = history.state.started_at.unwrap_or(self.header.created_at);
        ended.event(&Entry::Started { at: started })?;
        let mut lost = 0;
        for index in 0..u16::try_from(total).unwrap_or(u16::MAX) {
            let attempt = history.attempts.get(&index).copied().unwrap_or(1);
            let of_item = history.outcomes.get(&index);
            let (outcome, resolution) = of_item.map_or((&None, &None), |(a, b)| (a, b));
            match outcome {
                Some((at, encoded)) => ended.any(*at, encoded)?,
                None => ended.any(at, &lost_outcome(index, attempt)?)?,
            }
            let doubted = ended.is_in_doubt(index);
            if let Some((at, encoded)) = resolution.as_ref().filter(|_| doubted) {
                ended.any(*at, encoded)?;
            } else if outcome.is_none() {
                lost += 1;
            }
        }
        ended.event(&Entry::Completed { at })?;
        self.tells(format!(
            "it is completed, with {lost} of {total} items in doubt: these may have run"
        ));
        Ok(ended)
    }

    /// As it is; stopped, when it had not ended.
    fn stop(&mut self, history: History) -> Result<Ended, StoreError> {
        let mut ended = Ended::new(self.header.total);
        for (at, encoded) in &history.entries {
            ended.any(*at, encoded)?;
        }
        if !ended.state.phase.state().has_ended() {
            let at = self.rescue.now;
            // What runs at most once and has started may have run, and must not run again.
            let items = ended.state.items();
            let started: Vec<_> = items.map_or(Vec::new(), |items| {
                let attempt = |index| (index, items.next_attempt(index));
                items.started().map(attempt).collect()
            });
            for (index, attempt) in started {
                ended.any(at, &lost_outcome(index, attempt)?)?;
            }
            let all_settled = ended.state.items().is_some_and(Items::all_settled);
            if all_settled {
                ended.event(&Entry::Completed { at })?;
            } else if ended.state.phase != Phase::Stopping {
                ended.event(&Entry::StopRequested { at })?;
            }
            if ended.state.phase == Phase::Stopping {
                ended.event(&Entry::Stopped { at })?;
            }
            let settled = ended.state.succeeded + ended.state.failed + ended.state.in_doubt();
            let without = self.header.total - settled;
            self.tells(format!(
                "it had not ended, and is stopped; {without} items have no outcome: some may have run, if what was \
                 stored last is lost"
            ));
        }
        Ok(ended)
    }

    /// Which items of this batch others run again. What is lost of it is made up for with all that have failed: no
    /// item must run a third time.
    fn retries(&mut self, failed: &BTreeSet<u16>) -> Result<(), StoreError> {
        let mut listed: BTreeMap<BatchId, BTreeSet<u16>> = BTreeMap::new();
        let mut taken = BTreeSet::new();
        let range = keys::all_retried(self.batch);
        for row in ReadableRows::between(self.rescue.store, range.start, range.end) {
            let Ok((key, value)) = row else { continue };
            let Some(retry) = keys::retry_of(&key).filter(|retry| *retry > self.batch) else {
                continue;
            };
            let indexes = codec::decode::<Vec<u16>>(&key, &value).unwrap_or_default();
            let list = listed.entry(retry).or_default();
            list.extend(
                indexes
                    .into_iter()
                    .filter(|index| failed.contains(index) && taken.insert(*index)),
            );
        }
        for (retry, total) in self.rescue.retries.remove(&self.batch).unwrap_or_default() {
            let list = listed.entry(retry).or_default();
            if list.len() != total as usize && retry > self.batch {
                self.rescue.unlisted.insert(retry);
                list.extend(failed.iter().filter(|index| taken.insert(**index)));
                self.tells(format!(
                    "which of its items batch {retry} runs again is lost; no item that failed here can be run again \
                     from here"
                ));
            }
        }
        for (retry, indexes) in listed {
            let indexes: Vec<u16> = indexes.into_iter().collect();
            let key = |part| keys::retried(self.batch, retry, part);
            put_parts(self.rescue, &indexes, INDEXES_PER_PART, key)?;
        }
        Ok(())
    }
}

/// The items of each chunk.
fn chunks(header: &Header) -> Vec<Range<u32>> {
    let starts = header.chunk_starts.iter().map(|start| u32::from(*start));
    let ends = starts.clone().skip(1).chain([header.total]);
    starts.zip(ends).map(|(start, end)| start..end).collect()
}

fn total_of(store: &dyn Store, batch: BatchId) -> Option<u32> {
    let key = keys::header(batch);
    let value = store.get(&key).ok().flatten()?;
    let header: Header = codec::decode(&key, &value).ok()?;
    has_shape(&header).then_some(header.total)
}

/// Writes a list in parts; gives their number.
fn put_parts<T: Serialize>(
    rescue: &mut Rescue<'_>,
    list: &[T],
    per_part: usize,
    key: impl Fn(u32) -> Vec<u8>,
) -> Result<u32, StoreError> {
    let mut parts = 0;
    for part in list.chunks(per_part) {
        let key = key(parts);
        let value = codec::encode(&key, &part)?;
        rescue.new.put(key, value)?;
        parts += 1;
    }
    Ok(parts)
}

fn lost_outcome(index: u16, attempt: u32) -> Result<Vec<u8>, StoreError> {
    let reason = "what became of it was lost when the store was damaged; it may have run";
    let entry = Entry::Item(ItemEntry {
        index,
        attempt,
        end: End::InDoubt(reason.into()),
    });
    let mut bytes = Vec::new();
    codec::append(&mut bytes, &entry)?;
    Ok(bytes)
}

/// An entry of an item, encoded, with the clock of its segment.
type Timed = (Timestamp, Vec<u8>);

/// What can be read of a journal.
struct History {
    state: BatchState,
    /// What fits, in its order, each with the clock of its segment.
    entries: Vec<Timed>,
    /// Final outcomes among them, and what doubts were resolved to, whether they fit or not: behind a gap nothing
    /// does.
    outcomes: BTreeMap<u16, (Option<Timed>, Option<Timed>)>,
    /// The attempts that items have made which have no outcome.
    attempts: BTreeMap<u16, u32>,
    last_at: Option<Timestamp>,
    wrong: Vec<String>,
}

impl History {
    fn read(store: &dyn Store, batch: BatchId, header: &Header) -> Self {
        let mut history = Self {
            state: BatchState::queued(header.total),
            entries: Vec::new(),
            outcomes: BTreeMap::new(),
            attempts: BTreeMap::new(),
            last_at: None,
            wrong: Vec::new(),
        };
        let mut next = None;
        let segments = keys::segments(batch);
        for row in ReadableRows::between(store, segments.start, segments.end) {
            let Ok((key, value)) = row else {
                history
                    .wrong
                    .push("a part of its journal cannot be read".to_owned());
                continue;
            };
            let number = keys::segment_number(&key).unwrap_or(0);
            if next.is_some_and(|next| next != number) {
                history
                    .wrong
                    .push("a segment of its journal is missing".to_owned());
            }
            next = Some(number.saturating_add(1));
            if let Err(StoreError(what)) = history.segment(batch, &key, &value) {
                history.wrong.push(what);
            }
        }
        history
    }

    fn segment(&mut self, batch: BatchId, key: &[u8], value: &Value) -> Result<(), StoreError> {
        let mut segment = Segment::open(batch, key, value)?;
        let mut clock = Timestamp::default();
        loop {
            let before = segment.remaining();
            let Some(entry) = segment.next().transpose()? else {
                return Ok(());
            };
            let encoded = &before[..before.len() - segment.remaining().len()];
            match &entry {
                Entry::Clock { at } => clock = *at,
                Entry::Item(item) | Entry::Resolved(item) if !verification::is_sound(item) => {
                    self.wrong
                        .push(format!("what item {} came to is no JSON", item.index));
                    continue;
                }
                Entry::Item(item) => self.note(item, false, (clock, encoded)),
                Entry::Resolved(item) => self.note(item, true, (clock, encoded)),
                _ => {}
            }
            let Some(event) = entry.to_event(clock) else {
                continue;
            };
            self.last_at = self.last_at.max(Some(time_of(&event)));
            match self.state.apply(&event) {
                Ok(()) => self.entries.push((clock, encoded.to_vec())),
                Err(error) => self.wrong.push(error.to_string()),
            }
        }
    }

    fn note(&mut self, item: &ItemEntry<'_>, resolves: bool, (clock, encoded): (Timestamp, &[u8])) {
        if u32::from(item.index) >= self.state.total {
            return;
        }
        self.attempts.insert(item.index, item.attempt);
        if matches!(item.end, End::Retry { .. }) {
            return;
        }
        let (outcome, resolution) = self.outcomes.entry(item.index).or_default();
        let place = if resolves { resolution } else { outcome };
        place.get_or_insert_with(|| (clock, encoded.to_vec()));
    }
}

fn time_of(event: &Event) -> Timestamp {
    match event {
        Event::Started { at }
        | Event::ItemsEnded { at, .. }
        | Event::ItemsLost { at, .. }
        | Event::ItemsStarted { at, .. }
        | Event::ItemsReturned { at, .. }
        | Event::Suspected { at, .. }
        | Event::Charged { at, .. }
        | Event::Resolved { at, .. }
        | Event::StopRequested { at }
        | Event::Completed { at }
        | Event::Stopped { at }
        | Event::Resumed { at }
        | Event::FailUndecodableRequested { at } => *at,
    }
}

/// A journal that is being written, and what it adds up to.
struct Ended {
    state: BatchState,
    failures: FailureCounts,
    failed: BTreeSet<u16>,
    /// Items that are in doubt, or were.
    doubted: BTreeSet<u16>,
    journal: SegmentBuilder,
}

impl Ended {
    fn new(total: u32) -> Self {
        Self {
            state: BatchState::queued(total),
            failures: FailureCounts::default(),
            failed: BTreeSet::new(),
            doubted: BTreeSet::new(),
            journal: SegmentBuilder::new(),
        }
    }

    fn is_in_doubt(&self, index: u16) -> bool {
        self.doubted.contains(&index)
    }

    fn event(&mut self, entry: &Entry<'_>) -> Result<(), StoreError> {
        let mut encoded = Vec::new();
        codec::append(&mut encoded, entry)?;
        self.any(Timestamp::default(), &encoded)
    }

    fn any(&mut self, clock: Timestamp, encoded: &[u8]) -> Result<(), StoreError> {
        let (entry, _) = codec::decode_part::<Entry<'_>>(encoded)?;
        if let Some(event) = entry.to_event(clock) {
            self.state
                .apply(&event)
                .map_err(|error| StoreError(error.to_string()))?;
        }
        match &entry {
            Entry::Item(item) | Entry::Resolved(item) => {
                match &item.end {
                    End::InDoubt(_) => {
                        self.doubted.insert(item.index);
                    }
                    End::Failed(failure) => {
                        self.failures.add(&failure.code);
                        self.failed.insert(item.index);
                    }
                    End::Succeeded(_) | End::Retry { .. } => {}
                }
                self.journal.item(clock, encoded)
            }
            // The journal puts in its own.
            Entry::Clock { .. } => Ok(()),
            _ => {
                self.journal.raw(encoded);
                Ok(())
            }
        }
    }
}
