//! The items of one unfinished batch: which are settled, taken, waiting, pending. A few bits an item.

use super::Timestamp;
use super::bits::Bits;
use super::input::SliceItem;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Items {
    total: u32,
    /// Items with a final outcome.
    settled: Bits,
    settled_count: u32,
    /// Items in a slice: an observation, not in the journal.
    taken: Bits,
    taken_count: u32,
    /// Items that run again at a time, and when.
    waiting: BTreeMap<u16, Timestamp>,
    /// Attempts made by items that are not settled and have made one.
    attempts: BTreeMap<u16, u32>,
    /// Items below this one are pending only if they are in `again`.
    next: u32,
    /// Items that were handed out or waited, and are pending again.
    again: BTreeSet<u16>,
    /// Items that may have run, of those that run at most once. The journal says so before they run.
    started: BTreeSet<u16>,
    /// Settled items of which nobody knows whether they ran.
    doubted: BTreeSet<u16>,
    /// Items that run alone, because the process ended while they were with a worker.
    suspects: BTreeSet<u16>,
    /// How often the process ended while a suspect ran alone.
    crashes: BTreeMap<u16, u32>,
}

impl Items {
    pub(crate) fn new(total: u32) -> Self {
        Self {
            total,
            settled: Bits::new(total),
            settled_count: 0,
            taken: Bits::new(total),
            taken_count: 0,
            waiting: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next: 0,
            again: BTreeSet::new(),
            started: BTreeSet::new(),
            doubted: BTreeSet::new(),
            suspects: BTreeSet::new(),
            crashes: BTreeMap::new(),
        }
    }

    pub(crate) fn is_settled(&self, index: u16) -> bool {
        self.settled.contains(index)
    }

    pub(crate) fn is_taken(&self, index: u16) -> bool {
        self.taken.contains(index)
    }

    pub(crate) fn is_pending(&self, index: u16) -> bool {
        u32::from(index) < self.total
            && !self.settled.contains(index)
            && !self.taken.contains(index)
            && !self.waiting.contains_key(&index)
    }

    pub(crate) fn all_settled(&self) -> bool {
        self.settled_count == self.total
    }

    pub(crate) fn taken_count(&self) -> u32 {
        self.taken_count
    }

    pub(crate) fn pending_count(&self) -> u32 {
        self.total - self.settled_count - self.taken_count - self.waiting_count()
    }

    pub(crate) fn waiting_count(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = (u16, Timestamp)> + '_ {
        self.waiting.iter().map(|(index, due)| (*index, *due))
    }

    /// When a waiting item runs again.
    pub(crate) fn due(&self, index: u16) -> Option<Timestamp> {
        self.waiting.get(&index).copied()
    }

    /// The number of the attempt that `index` would make next.
    pub(crate) fn next_attempt(&self, index: u16) -> u32 {
        self.attempts
            .get(&index)
            .map_or(1, |made| made.saturating_add(1))
    }

    /// The pending item with the lowest number.
    pub(crate) fn first_pending(&mut self) -> Option<u16> {
        if let Some(index) = self.again.first() {
            return Some(*index);
        }
        while self.next < self.total {
            let index = u16::try_from(self.next).ok()?;
            if self.is_pending(index) {
                return Some(index);
            }
            self.next += 1;
        }
        None
    }

    /// Puts a pending item in a slice.
    pub(super) fn hand_out(&mut self, index: u16) -> SliceItem {
        self.take(index);
        let attempt = self.next_attempt(index);
        SliceItem { index, attempt }
    }

    /// Marks a pending item as being in a slice.
    pub(crate) fn take(&mut self, index: u16) {
        self.again.remove(&index);
        if self.taken.insert(index) {
            self.taken_count += 1;
        }
    }

    /// An item left its slice, whether it ran or not.
    pub(crate) fn release(&mut self, index: u16) {
        if self.taken.remove(index) {
            self.taken_count -= 1;
            self.note_pending(index);
        }
    }

    /// Gives an item its final outcome; false when it has one already or there is no such item.
    pub(crate) fn settle(&mut self, index: u16) -> bool {
        if u32::from(index) >= self.total || !self.settled.insert(index) {
            return false;
        }
        self.settled_count += 1;
        self.again.remove(&index);
        self.waiting.remove(&index);
        self.attempts.remove(&index);
        self.started.remove(&index);
        self.suspects.remove(&index);
        self.crashes.remove(&index);
        true
    }

    /// As [`settle`](Self::settle): nobody knows whether the item ran.
    pub(crate) fn doubt(&mut self, index: u16) -> bool {
        self.settle(index) && self.doubted.insert(index)
    }

    /// Ends the doubt about an item; false when there is none.
    pub(crate) fn resolve(&mut self, index: u16) -> bool {
        self.doubted.remove(&index)
    }

    pub(crate) fn is_doubted(&self, index: u16) -> bool {
        self.doubted.contains(&index)
    }

    pub(crate) fn doubted_count(&self) -> u32 {
        u32::try_from(self.doubted.len()).unwrap_or(u32::MAX)
    }

    /// From here on the item may have run; false when it is settled or there is no such item.
    pub(crate) fn note_started(&mut self, index: u16) -> bool {
        self.is_open(index) && {
            self.started.insert(index);
            true
        }
    }

    /// The item has not run after all.
    pub(crate) fn note_returned(&mut self, index: u16) {
        self.started.remove(&index);
    }

    pub(crate) fn has_started(&self, index: u16) -> bool {
        self.started.contains(&index)
    }

    /// Items that may have run and have not ended.
    pub(crate) fn started(&self) -> impl Iterator<Item = u16> + '_ {
        self.started.iter().copied()
    }

    /// From here on the item runs alone; false when it is settled or there is no such item.
    pub(crate) fn suspect(&mut self, index: u16) -> bool {
        self.is_open(index) && {
            self.suspects.insert(index);
            true
        }
    }

    pub(crate) fn is_suspect(&self, index: u16) -> bool {
        self.suspects.contains(&index)
    }

    pub(crate) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    pub(crate) fn charge(&mut self, index: u16, crashes: u32) {
        if self.is_open(index) {
            self.crashes.insert(index, crashes);
        }
    }

    /// How often the process ended while the item ran alone.
    pub(crate) fn crashes(&self, index: u16) -> u32 {
        self.crashes.get(&index).copied().unwrap_or(0)
    }

    /// Whether there is such an item, without a final outcome.
    pub(crate) fn is_open(&self, index: u16) -> bool {
        u32::from(index) < self.total && !self.is_settled(index)
    }

    /// Lets an item run again at `due`; false when it is settled or there is no such item.
    pub(crate) fn wait(&mut self, index: u16, attempt: u32, due: Timestamp) -> bool {
        if !self.is_open(index) {
            return false;
        }
        self.again.remove(&index);
        self.attempts.insert(index, attempt);
        self.waiting.insert(index, due);
        true
    }

    /// Ends an item's wait.
    pub(crate) fn wake(&mut self, index: u16) {
        if self.waiting.remove(&index).is_some() {
            self.note_pending(index);
        }
    }

    fn note_pending(&mut self, index: u16) {
        if u32::from(index) < self.next && self.is_pending(index) {
            self.again.insert(index);
        }
    }

    /// Moves the end of a wait, without ending it.
    pub(crate) fn wait_until(&mut self, index: u16, due: Timestamp) {
        if let Some(until) = self.waiting.get_mut(&index) {
            *until = due;
        }
    }
}
