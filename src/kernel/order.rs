//! Ordering keys of one operation: items with equal keys never run together and run in the order of
//! their batches' positions.
//!
//! Every item of an active batch with a key stands in its key's line until it is settled, or its batch
//! is stopped. Only the head of a line may start; an item that waits for a retry stays at the head.
//! Batches enter the lines in order of position, and only when the first of them is about to start, so
//! that a queue of a million waiting items costs its key hashes and nothing more.

use super::BatchId;
use std::collections::{BTreeMap, VecDeque};

/// An item of a batch.
pub(crate) type ItemRef = (BatchId, u16);

#[derive(Debug)]
enum Line {
    /// Most keys have one item in line at a time.
    One(ItemRef),
    Many(VecDeque<ItemRef>),
}

#[derive(Debug, Default)]
pub(crate) struct Order {
    lines: BTreeMap<u64, Line>,
    /// Batches that are not in the lines yet, by position.
    outside: BTreeMap<u64, BatchId>,
}

impl Order {
    pub(crate) fn enroll(&mut self, position: u64, batch: BatchId) {
        self.outside.insert(position, batch);
    }

    /// Takes a batch that is not in the lines yet out of the order; false when it is in the lines.
    pub(crate) fn withdraw(&mut self, position: u64) -> bool {
        self.outside.remove(&position).is_some()
    }

    /// The batches that must enter the lines before items of the batch at `position` may start, that
    /// batch last.
    pub(crate) fn admit_up_to(&mut self, position: u64) -> Vec<BatchId> {
        let later = self.outside.split_off(&position.saturating_add(1));
        std::mem::replace(&mut self.outside, later)
            .into_values()
            .collect()
    }

    /// Puts an item at the end of its key's line.
    pub(crate) fn join(&mut self, key: u64, item: ItemRef) {
        match self.lines.entry(key) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Line::One(item));
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => match entry.get_mut() {
                Line::One(head) => {
                    let line = VecDeque::from([*head, item]);
                    entry.insert(Line::Many(line));
                }
                Line::Many(line) => line.push_back(item),
            },
        }
    }

    /// The item of `key` that may start.
    pub(crate) fn head(&self, key: u64) -> Option<ItemRef> {
        match self.lines.get(&key)? {
            Line::One(item) => Some(*item),
            Line::Many(line) => line.front().copied(),
        }
    }

    /// Takes the items that `leaves` picks out of the line of `key`.
    pub(crate) fn leave(&mut self, key: u64, leaves: impl Fn(ItemRef) -> bool) {
        let Some(line) = self.lines.get_mut(&key) else {
            return;
        };
        let emptied = match line {
            Line::One(item) => leaves(*item),
            Line::Many(items) => {
                // The common case is the head leaving; it must not cost the length of the line.
                if items.front().is_some_and(|head| leaves(*head)) {
                    items.pop_front();
                }
                items.is_empty()
            }
        };
        if emptied {
            self.lines.remove(&key);
        }
    }

    /// As [`leave`](Self::leave), wherever in the line the items stand.
    pub(crate) fn leave_anywhere(&mut self, key: u64, leaves: impl Fn(ItemRef) -> bool) {
        if let Some(Line::Many(items)) = self.lines.get_mut(&key) {
            items.retain(|item| !leaves(*item));
            if items.is_empty() {
                self.lines.remove(&key);
            }
        } else {
            self.leave(key, leaves);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.outside.is_empty()
    }
}
