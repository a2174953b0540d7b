//! What one commit stores: the rows of new batches, of what happened to batches, and of tables.

use super::command::{Command, Idempotency, RetryOrigin, Steered, Submission, Submitted};
use super::live::{Facts, Live, Progress};
use super::resolving::Resolved;
use super::shared::Counts;
use super::writer::Writer;
use crate::kernel::{BatchId, Event, Fate, Loss, OperationIndex, Timestamp};
use crate::limits;
use crate::observe;
use crate::store::compaction;
use crate::store::journal::{self, Block, SegmentBuilder};
use crate::store::record::{
    Header, INDEXES_PER_PART, KEY_HASHES_PER_PART, Origin, PausedOperation, Summary, Unfinished,
    UsedKey,
};
use crate::store::vault::Group;
use crate::store::{StoreError, Value, codec, keys};
use crossbeam_channel::Sender;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// What is being gathered for the next commit.
#[derive(Default)]
pub(super) struct Round {
    pub(super) rows: Group,
    pub(super) journals: BTreeMap<BatchId, SegmentBuilder>,
    /// New batches.
    pub(super) admitted: Vec<Arc<Live>>,
    /// Stopped batches that go on.
    pub(super) rejoined: BTreeSet<BatchId>,
    /// Idempotency keys that the commit makes durable.
    pub(super) used_keys: HashMap<[u8; 32], UsedKey>,
    /// Submitters whose answer is known, once the commit is durable.
    pub(super) joiners: Vec<(Sender<Submitted>, Submitted)>,
    /// Batches that are deleted.
    pub(super) deleted: BTreeSet<BatchId>,
    /// Ended batches of which an item is resolved.
    pub(super) resolved: Vec<Resolved>,
    /// Batches whose failed items new batches run again, and how many such batches there are.
    pub(super) retried: BTreeMap<BatchId, usize>,
    /// Callers who wait for deletions, and what they are told when the commit is durable.
    pub(super) deletions: Vec<(Sender<Steered>, Steered)>,
    /// To be looked at when the commit is durable.
    pub(super) deferred: Vec<Command>,
    /// Who asks for a slice, and of how many items, when the commit is durable.
    pub(super) hand_outs: Vec<(u32, Sender<()>)>,
    /// What to add to the operations' totals when the commit is durable.
    pub(super) counts: BTreeMap<OperationIndex, Counts>,
    /// The last slice whose table writes are in.
    pub(super) writes_version: Option<u64>,
    pub(super) bytes: usize,
}

impl Round {
    /// Whether something waits for a commit that nobody has asked for.
    pub(super) fn has_writes(&self) -> bool {
        !self.rows.is_empty() || !self.journals.is_empty()
    }
}

impl Writer {
    /// What the key was used for, under the operation's name or an old one.
    pub(super) fn key_use(&self, key: &Idempotency) -> Result<Option<UsedKey>, StoreError> {
        for scope in std::iter::once(&key.scope).chain(&key.former_scopes) {
            if let Some(used) = self.used_key(scope)? {
                return Ok(Some(used));
            }
        }
        Ok(None)
    }

    fn used_key(&self, scope: &[u8; 32]) -> Result<Option<UsedKey>, StoreError> {
        if let Some(used) = self.round.used_keys.get(scope) {
            return Ok(Some(used.clone()));
        }
        let key = keys::idempotency(scope);
        let Some(value) = self.committer.value(&key)? else {
            return Ok(None);
        };
        let used: UsedKey = codec::decode(&key, &value)?;
        let expired = used.expires_at <= self.shared.timeline.now();
        Ok((!expired).then_some(used))
    }

    /// Adds the rows of a new batch to the round.
    pub(super) fn write_batch(
        &mut self,
        batch: BatchId,
        position: u64,
        submission: Submission,
        now: Timestamp,
    ) -> Result<Live, StoreError> {
        let origin = submission.origin;
        let origin_record = match &origin {
            Some(origin) => Some(self.write_origin(batch, origin)?),
            None => None,
        };
        let registered = self.shared.operation(submission.operation);
        let counts = self.round.counts.entry(submission.operation).or_default();
        counts.submitted += 1;
        counts.accepted += u64::from(submission.total);
        let operation_name = Arc::clone(&registered.name);
        let rows = &mut self.round.rows;
        let hashes = submission.terms.keys.as_deref().unwrap_or_default();
        let parts = hashes.chunks(KEY_HASHES_PER_PART);
        let header = Header {
            operation: operation_name.to_string(),
            owner: submission.owner,
            label: submission.label,
            created_at: now,
            priority: submission.terms.priority,
            not_before: submission.terms.not_before,
            total: submission.total,
            chunk_starts: submission.chunk_starts,
            key_parts: u32::try_from(parts.len()).unwrap_or(u32::MAX),
            origin: origin_record,
        };
        let key = keys::header(batch);
        let value = codec::encode(&key, &header)?;
        rows.insert(key, value);
        for (number, chunk) in (0..).zip(submission.chunks) {
            let key = keys::items(batch, number);
            let value = chunk.seal(&key);
            rows.insert(key, value);
        }
        for (number, part) in (0..).zip(parts) {
            let key = keys::key_hashes(batch, number);
            let value = codec::encode(&key, &part)?;
            rows.insert(key, value);
        }
        let key = keys::unfinished(batch);
        let value = codec::encode(&key, &Unfinished { position })?;
        rows.insert(key, value);
        if let Some(idempotency) = submission.idempotency {
            let kept_ms = self.shared.limits.idempotency_keys_for.as_millis();
            let used = UsedKey {
                batch,
                content: idempotency.content,
                expires_at: now.plus_ms(u64::try_from(kept_ms).unwrap_or(u64::MAX)),
            };
            let key = keys::idempotency(&idempotency.scope);
            let value = codec::encode(&key, &used)?;
            rows.put(key, value);
            self.round.used_keys.insert(idempotency.scope, used);
            self.remove_expired_keys();
        }
        let facts = Facts {
            id: batch,
            operation: Some(submission.operation),
            operation_name,
            owner: header.owner,
            created_at: now,
            total: header.total,
            chunk_starts: header.chunk_starts,
            label: header.label,
            priority: header.priority,
            not_before: header.not_before,
            fails_undecodable: origin.is_none() || submission.terms.fails_undecodable,
            origin: origin.map(|origin| origin.origin),
        };
        Ok(self.shared.live_of(facts, Progress::queued()))
    }

    /// Adds where the items of `batch` come from, and that they are being run again.
    fn write_origin(&mut self, batch: BatchId, retry: &RetryOrigin) -> Result<Origin, StoreError> {
        let parts = retry.parent_indexes.chunks(INDEXES_PER_PART);
        for (number, part) in (0..).zip(parts) {
            let key = keys::retried(retry.parent, batch, number);
            let value = codec::encode(&key, &part)?;
            self.round.rows.insert(key, value);
        }
        let parts = retry.origin.indexes.chunks(INDEXES_PER_PART);
        let index_parts = u32::try_from(parts.len()).unwrap_or(u32::MAX);
        for (number, part) in (0..).zip(parts) {
            let key = keys::origin_indexes(batch, number);
            let value = codec::encode(&key, &part)?;
            self.round.rows.insert(key, value);
        }
        *self.round.retried.entry(retry.parent).or_default() += 1;
        Ok(Origin {
            parent: retry.parent,
            root: retry.origin.root,
            root_created_at: retry.origin.root_created_at,
            index_parts,
        })
    }

    /// Looks at the next few idempotency keys and removes those that have expired. Every submission with a
    /// key does so, so that keys which nobody uses again do not stay.
    fn remove_expired_keys(&mut self) {
        let now = self.shared.timeline.now();
        let range = keys::idempotency_after(self.swept_key.as_deref());
        self.swept_key = None;
        for row in self.committer.scan(&range).take(limits::KEYS_SWEPT) {
            // A damaged one is somebody else's to find.
            let Ok((key, value)) = row else { return };
            let used = codec::decode::<UsedKey>(&key, &value);
            let expired = used.is_ok_and(|used| used.expires_at <= now);
            if expired && !self.round.rows.changes(&key) {
                self.round.rows.remove(key.to_vec());
            }
            self.swept_key = Some(key.to_vec());
        }
    }

    /// Removes everything that is stored of an ended batch; nothing, when some of it cannot be read.
    pub(super) fn remove_batch(&mut self, batch: BatchId) -> Result<(), StoreError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for range in keys::of_batch(batch) {
            for row in self.committer.scan(&range) {
                let (key, value) = row?;
                bytes += value.len();
                found.push((key.to_vec(), value));
            }
        }
        self.round.bytes += bytes;
        for (key, value) in found {
            self.round.rows.remove_read(key, value);
        }
        self.round.deleted.insert(batch);
        Ok(())
    }

    /// Gives an unfinished batch another place in the order.
    pub(super) fn move_to(&mut self, batch: BatchId, position: u64) -> Result<(), StoreError> {
        let key = keys::unfinished(batch);
        let value = codec::encode(&key, &Unfinished { position })?;
        self.round.rows.put(key, value);
        Ok(())
    }

    pub(super) fn write_pause(
        &mut self,
        operation: OperationIndex,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.remove_pause(operation);
        let key = keys::paused(&self.shared.operation(operation).name);
        let record = PausedOperation {
            reason: reason.to_owned(),
            at: self.shared.timeline.now(),
        };
        let value = codec::encode(&key, &record)?;
        self.round.rows.put(key, value);
        Ok(())
    }

    pub(super) fn remove_pause(&mut self, operation: OperationIndex) {
        let registered = self.shared.operation(operation);
        self.round.rows.remove(keys::paused(&registered.name));
        for old_name in registered.aliases {
            self.round.rows.remove(keys::paused(old_name));
        }
    }

    pub(super) fn record(
        &mut self,
        batch: BatchId,
        event: &Event,
        block: &Block,
    ) -> Result<(), StoreError> {
        if matches!(event, Event::Resumed { .. }) {
            self.rejoin(batch);
        }
        let lost;
        let mut timed_out = 0;
        let block = match event {
            Event::ItemsLost { items, loss, .. } => {
                if let Loss::Timeout { .. } = loss {
                    timed_out = items.len() as u64;
                }
                lost = Block::of_lost(items, *loss)?;
                &lost
            }
            _ => block,
        };
        if let Event::Resolved { .. } = event
            && let Some(active) = self.active.get_mut(&batch)
        {
            for (_, code) in block.codes() {
                active.failures.add(code);
            }
        }
        if let Event::ItemsEnded { items, .. } | Event::ItemsLost { items, .. } = event
            && let Some(active) = self.active.get_mut(&batch)
            && let Some(operation) = active.live.operation
        {
            for (n, code) in block.codes() {
                if items.get(n).is_some_and(|item| item.fate == Fate::Failed) {
                    active.failures.add(code);
                }
            }
            let counts = self.round.counts.entry(operation).or_default();
            counts.timed_out += timed_out;
            for item in items {
                match item.fate {
                    Fate::InDoubt => counts.in_doubt += 1,
                    Fate::Succeeded => counts.succeeded += 1,
                    Fate::Failed => counts.failed += 1,
                    Fate::Retry { .. } => {
                        counts.retried += 1;
                        observe::retried(
                            &active.live.operation_name,
                            batch,
                            item.index,
                            item.attempt,
                        );
                    }
                }
            }
        }
        self.round
            .journals
            .entry(batch)
            .or_insert_with(SegmentBuilder::new)
            .event(event, block)
    }

    /// Turns what was recorded into rows, with what follows from where each batch stands now.
    pub(super) fn close_journals(&mut self) -> Result<(), StoreError> {
        for (batch, builder) in std::mem::take(&mut self.round.journals) {
            let (Some(view), Some(active)) = (self.kernel.view(batch), self.active.get_mut(&batch))
            else {
                return Err(StoreError(format!("batch {batch} is recorded and unknown")));
            };
            active.journal_bytes += builder.bytes();
            let active_bytes = active.journal_bytes;
            let full = active_bytes / limits::PACKED_BYTES;
            let segments = builder.finish();
            let first = active.next_segment;
            active.next_segment += u32::try_from(segments.len()).unwrap_or(u32::MAX);
            let next_segment = active.next_segment;
            let rows: Vec<_> = journal::number(batch, first, segments).collect();
            if view.phase.state().has_ended() {
                let progress = Progress::new(&view, active.failures.clone(), None);
                self.write_summary(batch, &progress)?;
                self.round.rows.remove(keys::unfinished(batch));
                let count = first as usize + rows.len();
                let fits = active_bytes <= limits::GROUP_BYTES;
                if fits && count > limits::JOURNAL_SEGMENTS + 2 * full {
                    self.compact_journal(batch, next_segment, rows)?;
                    continue;
                }
            }
            if self.round.rejoined.contains(&batch) && !view.phase.state().has_ended() {
                self.move_to(batch, view.position)?;
                self.round.rows.remove(keys::summary(batch));
            }
            for (key, value) in rows {
                self.round.rows.insert(key, value);
            }
        }
        Ok(())
    }

    /// Writes down how a batch ended.
    pub(super) fn write_summary(
        &mut self,
        batch: BatchId,
        progress: &Progress,
    ) -> Result<(), StoreError> {
        let summary = Summary {
            state: progress.state,
            succeeded: progress.succeeded,
            failed: progress.failed,
            in_doubt: progress.in_doubt,
            failures: progress.failures.to_map(),
            started_at: progress.started_at,
            ended_at: progress.ended_at,
        };
        let key = keys::summary(batch);
        let value = codec::encode(&key, &summary)?;
        self.round.rows.put(key, value);
        Ok(())
    }

    /// Rewrites the journal of many small segments of a batch that ends; `last` would be its last. The
    /// new segments have new numbers: somebody may be reading the old ones.
    fn compact_journal(
        &mut self,
        batch: BatchId,
        next_segment: u32,
        last: Vec<(Vec<u8>, Value)>,
    ) -> Result<(), StoreError> {
        let mut segments = Vec::new();
        for row in self.committer.scan(&keys::segments(batch)) {
            let (key, value) = row?;
            segments.push((key.to_vec(), value));
        }
        segments.extend(last);
        let compacted = compaction::compact(batch, &segments)?;
        for (key, _) in segments {
            self.round.rows.remove(key);
        }
        for (key, value) in journal::number(batch, next_segment, compacted) {
            self.round.rows.insert(key, value);
        }
        Ok(())
    }
}
