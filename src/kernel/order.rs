//! Ordering keys of one operation: items with equal keys never run together and run in the order of
//! their batches' positions.
//!
//! Every item of an active batch with a key stands in its key's line until it is settled, or its batch
//! is stopped. Only the head of a line may start; an item that waits for a retry stays at the head.
//! Batches enter the lines in order of position, and only when the first of them is about to start: a
//! queue of a million waiting items costs its key hashes, and some 30 bytes an item more while one key
//! holds up all the rest.

use super::BatchId;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// An item's place: its batch's position, and its number in the batch.
pub(crate) type Place = (u64, u16);

#[derive(Debug)]
enum Line {
    /// Most keys have one item in line at a time.
    One(Place),
    Many(BTreeSet<Place>),
}

#[derive(Debug, Default)]
pub(crate) struct Order {
    lines: BTreeMap<u64, Line>,
    /// Batches that are not in the lines yet, by position.
    outside: BTreeMap<u64, BatchId>,
    /// Batches in the lines, by position.
    inside: BTreeMap<u64, BatchId>,
}

impl Order {
    pub(crate) fn enroll(&mut self, position: u64, batch: BatchId) {
        self.outside.insert(position, batch);
    }

    /// Takes a batch out of the order, once its items have left the lines.
    pub(crate) fn withdraw(&mut self, position: u64) {
        self.outside.remove(&position);
        self.inside.remove(&position);
    }

    /// The batches that must enter the lines before items of the batch at `position` may start, that
    /// batch last.
    pub(crate) fn admit_up_to(&mut self, position: u64) -> Vec<BatchId> {
        let later = self.outside.split_off(&position.saturating_add(1));
        let entering = std::mem::replace(&mut self.outside, later);
        let batches = entering.values().copied().collect();
        self.inside.extend(entering);
        batches
    }

    /// Puts an item in its key's line.
    pub(crate) fn join(&mut self, key: u64, place: Place) {
        match self.lines.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Line::One(place));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Line::One(head) => {
                    let line = BTreeSet::from([*head, place]);
                    entry.insert(Line::Many(line));
                }
                Line::Many(line) => {
                    line.insert(place);
                }
            },
        }
    }

    /// The place of the item of `key` that may start.
    pub(crate) fn head(&self, key: u64) -> Option<Place> {
        match self.lines.get(&key)? {
            Line::One(place) => Some(*place),
            Line::Many(line) => line.first().copied(),
        }
    }

    /// As [`head`](Self::head), with the batch for its position.
    pub(crate) fn head_item(&self, key: u64) -> Option<(BatchId, u16)> {
        let (position, index) = self.head(key)?;
        Some((*self.inside.get(&position)?, index))
    }

    /// Takes an item out of its key's line, wherever it stands.
    pub(crate) fn leave(&mut self, key: u64, place: Place) {
        let Entry::Occupied(mut entry) = self.lines.entry(key) else {
            return;
        };
        let emptied = match entry.get_mut() {
            Line::One(head) => *head == place,
            Line::Many(line) => {
                line.remove(&place);
                line.is_empty()
            }
        };
        if emptied {
            entry.remove();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.outside.is_empty() && self.inside.is_empty()
    }
}
