//! Every batch: that its records are complete and come to what it says of itself.

use super::journal::{self, Added};
use super::rows::each_item;
use super::{Finding, FindingKind, Verification};
use crate::kernel::BatchId;
use crate::limits;
use crate::store::readable::ReadableRows;
use crate::store::record::{Header, Origin, Summary};
use crate::store::{Store, Value, codec, keys};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ops::Range;

/// Recounts every batch whose header can be read; that others cannot be is told where all rows are read.
pub(super) fn check(store: &dyn Store, found: &mut Verification) {
    let headers = keys::headers(0..u64::MAX);
    for row in ReadableRows::between(store, headers.start, headers.end) {
        let Ok((key, value)) = row else { continue };
        let Some(id) = keys::batch_of(&key) else {
            continue;
        };
        let Ok(header) = codec::decode::<Header>(&key, &value) else {
            continue;
        };
        found.batches += 1;
        let total = header.total;
        if !(1..=limits::ITEMS_PER_BATCH_MAX).contains(&(total as usize)) {
            let what = format!("it has {total} items");
            found.find(Finding::new(FindingKind::Batch, what).of_batch(id));
            continue;
        }
        found.items += u64::from(total);
        let mut batch = Batch {
            store,
            id,
            header: &header,
            found,
        };
        batch.check();
    }
}

struct Batch<'a> {
    store: &'a dyn Store,
    id: BatchId,
    header: &'a Header,
    found: &'a mut Verification,
}

impl Batch<'_> {
    fn check(&mut self) {
        self.check_chunks();
        let total = self.header.total;
        let hashes = self.parts::<u64>(keys::all_key_hashes(self.id), self.header.key_parts, total);
        drop(hashes);
        match &self.header.origin {
            Some(origin) => self.check_origin(origin),
            None => drop(self.parts::<u16>(keys::all_origin_indexes(self.id), 0, total)),
        }
        let added = journal::add_up(self.store, self.id, self.header);
        let state = &added.state;
        let outcomes = [state.succeeded, state.failed, state.in_doubt()];
        self.found.outcomes += outcomes.map(u64::from).iter().sum::<u64>();
        for (item, what) in &added.wrong {
            match item {
                Some(item) => self.finds_in_item(*item, what.clone()),
                None => self.finds(what.clone()),
            }
        }
        self.check_end(&added);
        self.check_retries(&added);
    }

    fn finds(&mut self, what: impl Into<String>) {
        let finding = Finding::new(FindingKind::Batch, what);
        self.found.find(finding.of_batch(self.id));
    }

    fn finds_in_item(&mut self, item: u16, what: impl Into<String>) {
        let finding = Finding::new(FindingKind::Item, what);
        self.found.find(finding.of_batch(self.id).of_item(item));
    }

    fn finds_in_retry(&mut self, what: impl Into<String>) {
        let finding = Finding::new(FindingKind::Retry, what);
        self.found.find(finding.of_batch(self.id));
    }

    /// A row that can be read; that one cannot be is told where all rows are read.
    fn value(&self, key: &[u8]) -> Option<Value> {
        self.store.get(key).ok().flatten()
    }

    fn check_chunks(&mut self) {
        let (starts, total) = (&self.header.chunk_starts, self.header.total);
        let ascend = starts.is_sorted_by(|a, b| a < b);
        let end = starts.last().is_some_and(|last| u32::from(*last) < total);
        if starts.first() != Some(&0) || !ascend || !end {
            return self.finds("its items are not divided into chunks as they must be");
        }
        let chunks = starts.len();
        let (mut there, mut excess) = (vec![false; chunks], 0);
        let range = keys::all_items(self.id);
        for row in ReadableRows::between(self.store, range.start, range.end) {
            let Ok((key, value)) = row else { continue };
            let number = keys::segment_number(&key).map(|number| number as usize);
            let Some((number, start)) = number.and_then(|n| Some((n, *starts.get(n)?))) else {
                excess += 1;
                continue;
            };
            there[number] = true;
            let end = starts.get(number + 1).map_or(total, |end| u32::from(*end));
            let expected = end - u32::from(start);
            // That it cannot be read is told of its row.
            if let Ok(items) = each_item(&key, &value, |_| Ok(()))
                && items != expected
            {
                self.finds(format!("chunk {number} has {items} items of {expected}"));
            }
        }
        for (number, _) in there.iter().enumerate().filter(|(_, there)| !**there) {
            let start = starts[number];
            self.finds(format!(
                "chunk {number} of its items, which begins with item {start}, is missing"
            ));
        }
        if excess > 0 {
            self.finds(format!("{excess} chunks are too many"));
        }
    }

    /// A list that is stored in `expected` parts and has an entry for each of `total` items.
    fn parts<T: DeserializeOwned>(
        &mut self,
        range: Range<Vec<u8>>,
        expected: u32,
        total: u32,
    ) -> Vec<T> {
        let mut list: Vec<T> = Vec::new();
        let mut next = 0;
        let mut name = None;
        for row in ReadableRows::between(self.store, range.start, range.end) {
            let Ok((key, value)) = row else { continue };
            name = Some(keys::name(&key));
            if keys::segment_number(&key) != Some(next) || next >= expected {
                self.finds(format!(
                    "part {next} of the {} is missing, or others are too many",
                    keys::name(&key)
                ));
                return list;
            }
            next += 1;
            // That it cannot be read is told of its row.
            let Ok(part) = codec::decode::<Vec<T>>(&key, &value) else {
                return list;
            };
            list.extend(part);
        }
        if next != expected {
            self.finds(format!(
                "{next} of {expected} parts of a list of its items are there"
            ));
        } else if expected > 0 && list.len() != total as usize {
            let (entries, name) = (list.len(), name.unwrap_or_default());
            self.finds(format!("{name}: {entries} entries for {total} items"));
        }
        list
    }

    fn check_origin(&mut self, origin: &Origin) {
        let total = self.header.total;
        let range = keys::all_origin_indexes(self.id);
        let places = self.parts::<u16>(range, origin.index_parts, total);
        let Origin { parent, root, .. } = *origin;
        if parent >= self.id || root > parent {
            self.finds_in_retry(format!(
                "it runs items of batch {parent}, first of {root}, again"
            ));
            return;
        }
        if let Some(root_total) = self.total_of(root) {
            for (index, place) in (0..).zip(places) {
                if u32::from(place) >= root_total {
                    let what =
                        format!("it comes from item {place} of {root_total} of batch {root}");
                    self.finds_in_item(index, what);
                }
            }
        }
        if self.total_of(parent).is_none() {
            // Deleted, and with it the list of what others run of it.
            return;
        }
        let mut listed = 0;
        let range = keys::all_retried(parent);
        for row in ReadableRows::between(self.store, range.start, range.end) {
            let Ok((key, value)) = row else { continue };
            if keys::retry_of(&key) == Some(self.id) {
                listed += codec::decode::<Vec<u16>>(&key, &value).map_or(0, |part| part.len());
            }
        }
        if listed != total as usize {
            self.finds_in_retry(format!(
                "it runs {total} items again, batch {parent} has {listed} listed for it"
            ));
        }
    }

    /// The number of items of a batch that is there.
    fn total_of(&self, batch: BatchId) -> Option<u32> {
        let key = keys::header(batch);
        let header: Header = codec::decode(&key, &self.value(&key)?).ok()?;
        Some(header.total)
    }

    /// Whether the batch has ended, and as it says.
    fn check_end(&mut self, added: &Added) {
        let summary_key = keys::summary(self.id);
        let summary = self.value(&summary_key);
        let unfinished = self.value(&keys::unfinished(self.id)).is_some();
        match (&summary, unfinished) {
            (Some(_), true) => self.finds("it has both ended and not"),
            (None, false) => self.finds("it is neither unfinished nor has it ended"),
            _ => {}
        }
        let state = added.state.phase.state();
        if unfinished && state.has_ended() {
            self.finds(format!("it is unfinished, and {state} by its journal"));
        }
        let summary = summary.and_then(|value| codec::decode::<Summary>(&summary_key, &value).ok());
        let Some(summary) = summary else { return };
        let Summary {
            state: stated,
            succeeded,
            failed,
            in_doubt,
            failures,
            started_at,
            ended_at,
        } = summary;
        let by_journal = &added.state;
        if stated != state {
            self.finds(format!("it is {stated}, and {state} by its journal"));
        }
        let counts = (by_journal.succeeded, by_journal.failed);
        if (succeeded, failed) != counts {
            self.finds(format!(
                "{succeeded} items succeeded and {failed} failed; by its journal {} and {}",
                counts.0, counts.1
            ));
        }
        if in_doubt != by_journal.in_doubt() {
            let doubted = by_journal.in_doubt();
            self.finds(format!(
                "{in_doubt} items are in doubt; by its journal {doubted}"
            ));
        }
        if failures != added.failures.to_map() {
            self.finds("its failures by code are not those of its journal");
        }
        if (started_at, ended_at) != (by_journal.started_at, by_journal.ended_at) {
            self.finds("it started or ended at another time than by its journal");
        }
    }

    /// Whether each item that other batches run again failed here, and is run by one of them.
    fn check_retries(&mut self, added: &Added) {
        let mut by: BTreeMap<u16, BatchId> = BTreeMap::new();
        let range = keys::all_retried(self.id);
        for row in ReadableRows::between(self.store, range.start, range.end) {
            let Ok((key, value)) = row else { continue };
            let (Some(retry), Ok(indexes)) = (
                keys::retry_of(&key),
                codec::decode::<Vec<u16>>(&key, &value),
            ) else {
                continue;
            };
            if retry <= self.id {
                self.finds_in_retry(format!("batch {retry} came before it and runs items again"));
            }
            for index in indexes {
                if !added.failed.contains(&index) {
                    let what = format!("batch {retry} runs it again, though it has not failed");
                    self.finds_in_item(index, what);
                }
                if let Some(other) = by.insert(index, retry) {
                    let what = format!("batches {other} and {retry} both run it again");
                    self.finds_in_item(index, what);
                }
            }
        }
    }
}
