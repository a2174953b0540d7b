//! One operation's share of the work: whose turn it is, and how large a slice.
//!
//! Batches of a higher priority go first. Of equal priority they take turns by slice: a batch that got a slice
//! goes behind all others, so that a small batch behind many large ones ends early.

use super::input::{OperationSpec, Promise};
use super::order::Order;
use super::rate::Starts;
use super::{BatchId, Timestamp};
use crate::limits;
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// When it is a batch's turn: before those with a lower priority, then by number.
pub(crate) type Turn = (Reverse<i8>, u64);

/// Exactly-once slices handed out at once: one that runs, and one that its worker goes on with while
/// the writer is busy.
const LEASED_SLICES: u32 = 2;

#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) spec: OperationSpec,
    /// Somebody paused it; nothing starts.
    pub(crate) paused: bool,
    /// An item of this batch could not be decoded; nothing starts.
    pub(crate) undecodable: Option<BatchId>,
    /// Batches with items that may start, by turn.
    ready: BTreeSet<(Turn, BatchId)>,
    pub(crate) slices: u32,
    pub(crate) order: Order,
    /// Of an operation with a rate limit.
    pub(super) starts: Option<Starts>,
    /// Running mean of the time an item takes.
    mean_us: Option<u64>,
}

impl Lane {
    pub(crate) fn new(spec: OperationSpec) -> Self {
        Self {
            paused: spec.paused,
            starts: spec.rate.map(Starts::new),
            spec,
            undecodable: None,
            ready: BTreeSet::new(),
            slices: 0,
            order: Order::default(),
            mean_us: None,
        }
    }

    pub(crate) fn set_ready(&mut self, turn: Turn, batch: BatchId, ready: bool) {
        if ready {
            self.ready.insert((turn, batch));
        } else {
            self.ready.remove(&(turn, batch));
        }
    }

    /// The batch whose turn it is, if the operation may start a slice now. The lease is looked at
    /// elsewhere.
    pub(crate) fn next(&self) -> Option<(Turn, BatchId)> {
        let free = self.is_free() && self.allowed() > 0;
        self.ready.first().copied().filter(|_| free)
    }

    /// Items that the rate limit lets start now.
    pub(crate) fn allowed(&self) -> u32 {
        self.starts.as_ref().map_or(u32::MAX, Starts::allowed)
    }

    /// When the rate limit will let something start that nothing else holds up.
    pub(crate) fn next_allowed(&self) -> Option<Timestamp> {
        let starts = self.starts.as_ref()?;
        let waits = !self.ready.is_empty() && self.is_free();
        waits.then(|| starts.next()).flatten()
    }

    pub(super) fn forget_starts(&mut self, now: Timestamp) {
        if let Some(starts) = &mut self.starts {
            starts.forget(now);
        }
    }

    pub(super) fn note_starts(&mut self, items: u32, now: Timestamp) {
        if let Some(starts) = &mut self.starts {
            starts.note(items, now);
        }
    }

    /// So many are to start once that is recorded.
    pub(super) fn hold_starts(&mut self, items: u32) {
        if let Some(starts) = &mut self.starts {
            starts.hold(items);
        }
    }

    /// That so many start is recorded: they start, or something came between.
    pub(super) fn let_go(&mut self, items: u32) {
        if let Some(starts) = &mut self.starts {
            starts.let_go(items);
        }
    }

    /// So many that were to start have not, of those that were noted at `noted`.
    pub(super) fn give_back(&mut self, items: u32, noted: Timestamp) {
        if let Some(starts) = &mut self.starts {
            starts.give_back(items, noted);
        }
    }

    fn is_free(&self) -> bool {
        self.spec.registered
            && !self.paused
            && self.undecodable.is_none()
            && self
                .spec
                .concurrency
                .is_none_or(|limit| self.slices < limit)
    }

    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.slices == 0 && self.ready.is_empty() && self.order.is_empty()
    }

    /// Leased slices that may be out before one of this operation joins them.
    pub(crate) fn lease_limit(&self) -> u32 {
        if self.is_fast() { LEASED_SLICES } else { 1 }
    }

    /// Whether slices may be handed out ahead of the workers. Items of a slow operation would only
    /// stand in line behind each other.
    pub(crate) fn is_fast(&self) -> bool {
        self.mean_us
            .is_some_and(|mean| u128::from(mean) <= limits::SLICE_TIME.as_micros())
    }

    /// Items to hand out at once: what a worker does in [`limits::SLICE_TIME`].
    pub(crate) fn slice_items(&self) -> u32 {
        self.fitting_items().min(self.slice_limit())
    }

    /// Items in a slice at most, however fast they are.
    pub(crate) fn slice_limit(&self) -> u32 {
        match self.spec.promise {
            // What is handed out before the first of them hangs would hang with it.
            Promise::AtLeastOnce | Promise::AtMostOnce if self.spec.timed => 1,
            // A crash leaves all of them in doubt.
            Promise::AtMostOnce => limits::AT_MOST_ONCE_SLICE_ITEMS,
            _ => limits::SLICE_ITEMS,
        }
    }

    fn fitting_items(&self) -> u32 {
        let Some(mean_us) = self.mean_us else {
            return limits::FIRST_SLICE_ITEMS;
        };
        let fitting = limits::SLICE_TIME.as_micros() / u128::from(mean_us.max(1));
        u32::try_from(fitting)
            .unwrap_or(u32::MAX)
            .clamp(1, limits::SLICE_ITEMS)
    }

    pub(crate) fn learn(&mut self, items: usize, busy_us: u64) {
        let Some(mean) = busy_us.checked_div(items as u64) else {
            return;
        };
        self.mean_us = Some(
            self.mean_us
                .map_or(mean, |old| old.saturating_mul(3).saturating_add(mean) / 4),
        );
    }
}
