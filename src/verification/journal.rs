//! A batch's journal, added up by the kernel's own fold.

use crate::kernel::{BadEvent, BatchId, BatchState, Timestamp};
use crate::runtime::failures::FailureCounts;
use crate::store::journal::{End, Entry, ItemEntry, Segment};
use crate::store::readable::ReadableRows;
use crate::store::record::Header;
use crate::store::{Store, StoreError, keys};
use std::collections::BTreeSet;

use super::rows::is_sound;

/// What a journal adds up to, as far as it can be read.
pub(crate) struct Added {
    pub(crate) state: BatchState,
    pub(crate) failures: FailureCounts,
    /// Items that failed for good.
    pub(crate) failed: BTreeSet<u16>,
    /// What is wrong with it, and with which item.
    pub(crate) wrong: Vec<(Option<u16>, String)>,
    /// Whether entries may be missing: what it adds up to is then not all that happened.
    pub(crate) has_gaps: bool,
}

/// Reads the journal of a batch. Goes on behind what cannot be read, and leaves out what does not fit.
pub(crate) fn add_up(store: &dyn Store, batch: BatchId, header: &Header) -> Added {
    let mut added = Added {
        state: BatchState::queued(header.total),
        failures: FailureCounts::default(),
        failed: BTreeSet::new(),
        wrong: Vec::new(),
        has_gaps: false,
    };
    let mut next = None;
    let segments = keys::segments(batch);
    for row in ReadableRows::between(store, segments.start, segments.end) {
        let Ok((key, value)) = row else {
            // That rows cannot be read is told where all rows are read.
            added.has_gaps = true;
            continue;
        };
        let Some(number) = keys::segment_number(&key) else {
            continue;
        };
        // A journal that was rewritten begins later; none has a gap.
        if let Some(missing) = next.filter(|next| *next != number) {
            added.gap(format!("segment {missing} of its journal is missing"));
        }
        next = Some(number.saturating_add(1));
        match Segment::open(batch, &key, &value) {
            Ok(segment) => added.read(segment),
            Err(StoreError(what)) => added.gap(what),
        }
    }
    added
}

impl Added {
    fn gap(&mut self, what: String) {
        self.has_gaps = true;
        self.wrong.push((None, what));
    }

    fn read(&mut self, segment: Segment<'_>) {
        let mut clock = Timestamp::default();
        for entry in segment {
            let entry = match entry {
                Ok(entry) => entry,
                Err(StoreError(what)) => return self.gap(what),
            };
            if let Entry::Clock { at } = entry {
                clock = at;
            }
            let Some(event) = entry.to_event(clock) else {
                continue;
            };
            match self.state.apply(&event) {
                Ok(()) => self.note(&entry),
                Err(error) => {
                    let item = match &error {
                        BadEvent::Item { index, .. } | BadEvent::NoDoubt { index } => Some(*index),
                        BadEvent::Transition(_) => None,
                    };
                    self.wrong.push((item, error.to_string()));
                }
            }
        }
    }

    fn note(&mut self, entry: &Entry<'_>) {
        let (Entry::Item(item) | Entry::Resolved(item)) = entry else {
            return;
        };
        let ItemEntry { index, end, .. } = item;
        if let End::Failed(failure) = end {
            self.failures.add(&failure.code);
            self.failed.insert(*index);
        }
        if !is_sound(item) {
            let what = "its output or its failure's details are not JSON";
            self.wrong.push((Some(*index), what.to_owned()));
        }
    }
}
