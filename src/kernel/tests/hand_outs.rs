//! Judges what is handed out to workers: which items, in what slices, when, and how many.

use super::book::{Outcome, Stage};
use super::checker::{Checker, HandOut, Out, Starting};
use crate::kernel::{BatchId, OperationIndex, Slice, SliceId, SliceItem};
use crate::limits;
use std::collections::BTreeSet;

/// A slice whose start is only recorded has no number that the judge knows.
const UNKNOWN: SliceId = SliceId(u64::MAX);

impl Checker {
    pub(super) fn runs_at_most_once(&self, batch: BatchId) -> bool {
        self.specs[self.books[&batch].operation].is_at_most_once()
    }

    /// The start of a batch is recorded with what comes to pass then; before it only when that is the start
    /// of items that run at most once, or a loss.
    pub(super) fn may_start_ahead(&self, batch: BatchId) -> bool {
        self.runs_at_most_once(batch) || self.notes.contains_key(&batch)
    }

    /// Items of the batch are put out, or recorded as started.
    fn hand_out(&mut self, slice: &Slice, now: u64) {
        let operation = slice.operation.0;
        let spec = self.specs[operation].clone();
        assert!(self.runs(operation) && !self.closing);
        assert_eq!(slice.exactly_once, spec.is_exactly_once());
        let most = match () {
            () if spec.timed && !spec.is_exactly_once() => 1,
            () if spec.is_at_most_once() => limits::AT_MOST_ONCE_SLICE_ITEMS,
            () => limits::SLICE_ITEMS,
        };
        assert!((1..=most as usize).contains(&slice.items.len()));
        let durable = self.durable.get(&slice.batch);
        assert!(
            durable.is_some_and(|book| book.stage.may_start() && book.placed),
            "not durable: {slice:?}"
        );
        assert!(self.books[&slice.batch].come, "too early: {slice:?}");
        self.check_priority(slice.batch, now);
        self.check_suspects(slice);
        let mut keys = BTreeSet::new();
        for item in &slice.items {
            let key = self.check_startable(slice.batch, *item);
            assert!(key == 0 || keys.insert(key), "a key twice in {slice:?}");
        }
        assert_eq!(self.books[&slice.batch].operation, operation);
        assert!(self.leased() + usize::from(slice.exactly_once) <= 2);
        assert!(
            spec.concurrency
                .is_none_or(|limit| self.slices_of(operation) < limit as usize)
        );
        assert!(self.occupied() <= 2 * self.workers);
        assert!(
            slice.items.len() <= self.allowed(operation, now),
            "faster than {:?}: {slice:?}",
            spec.rate
        );
        if spec.rate.is_some() {
            let handed_out = slice.items.iter().map(|item| HandOut {
                operation,
                item: (slice.batch, item.index),
                at: (!spec.is_at_most_once()).then_some(now),
            });
            self.handed_out.extend(handed_out);
        }
    }

    /// A suspect has a slice for itself, and no other suspect runs.
    fn check_suspects(&self, slice: &Slice) {
        let items = &self.books[&slice.batch].items;
        let mut suspects = slice.items.iter().filter_map(|item| {
            let item = &items[usize::from(item.index)];
            item.suspect.then_some(item.crashes + 1)
        });
        assert_eq!(suspects.next(), slice.alone, "{slice:?}");
        if slice.alone.is_some() {
            assert_eq!(slice.items.len(), 1, "{slice:?}");
            assert!(!self.suspect_runs(), "beside another one: {slice:?}");
        }
    }

    /// Returns the item's key.
    fn check_startable(&self, batch: BatchId, item: SliceItem) -> u64 {
        let book = &self.books[&batch];
        let index = usize::from(item.index);
        let books = &book.items[index];
        assert!(
            book.stage.may_start() && !book.closed,
            "{item:?} of {book:?}"
        );
        assert!(
            books.outcome.is_none() && books.until.is_none() && !books.started,
            "{item:?} {books:?}"
        );
        assert_eq!(item.attempt, books.attempts + 1);
        assert!(
            self.items_out(batch).all(|out| out.index != item.index),
            "in two slices"
        );
        let key = book.key(index);
        if key != 0 {
            assert_eq!(self.head(book.operation, key), Some((book.position, index)));
            assert!(
                !self.key_runs(book.operation, key),
                "key {key} runs already"
            );
        }
        key
    }

    pub(super) fn start(&mut self, slice: &Slice, committed: bool, now: u64) {
        let mut out = Out::new(slice.clone());
        if self.runs_at_most_once(slice.batch) {
            assert!(committed, "before the commit: {slice:?}");
            out = self.start_recorded(slice, now);
        } else {
            self.hand_out(slice, now);
            let book = self.book(slice.batch);
            book.started |= book.stage == Stage::Queued;
        }
        assert!(self.slices.insert(slice.id, out).is_none());
    }

    /// That these items start is durable, and nothing came between.
    fn start_recorded(&mut self, slice: &Slice, now: u64) -> Out {
        let operation = slice.operation.0;
        let book = &self.books[&slice.batch];
        assert!(self.runs(operation) && !self.closing && !book.closed);
        let durable = &self.durable[&slice.batch];
        for item in &slice.items {
            let item = &durable.items[usize::from(item.index)];
            assert!(item.started && item.outcome.is_none(), "{item:?}");
        }
        let wanted = Slice {
            id: UNKNOWN,
            ..slice.clone()
        };
        let mut starting = self.starting.iter();
        let found = starting.position(|starting| starting.durable && starting.out.slice == wanted);
        let found = self
            .starting
            .remove(found.expect("its start is durable, and it starts once"));
        let of_slice = |item: (BatchId, u16)| {
            item.0 == slice.batch && slice.items.iter().any(|of| of.index == item.1)
        };
        let all = self.handed_out.iter_mut();
        for handed_out in all.filter(|handed_out| of_slice(handed_out.item)) {
            handed_out.at.get_or_insert(now);
        }
        Out {
            slice: slice.clone(),
            ..found.out
        }
    }

    pub(super) fn items_started(&mut self, batch: BatchId, indexes: &[u16], now: u64) {
        self.announced.take_if(|announced| *announced == batch);
        assert!(self.runs_at_most_once(batch));
        let book = &self.books[&batch];
        let items = indexes.iter().map(|index| SliceItem {
            index: *index,
            attempt: book.items[usize::from(*index)].attempts + 1,
        });
        let first = &book.items[usize::from(indexes[0])];
        let slice = Slice {
            id: UNKNOWN,
            batch,
            operation: OperationIndex(book.operation),
            exactly_once: false,
            alone: first.suspect.then_some(first.crashes + 1),
            items: items.collect(),
        };
        self.hand_out(&slice, now);
        for index in indexes {
            self.book(batch).items[usize::from(*index)].started = true;
        }
        self.starting.push(Starting {
            out: Out::new(slice),
            durable: false,
        });
    }

    /// Items that run at most once have not run after all: a worker gave them back, or something came
    /// between the record of their start and the start.
    pub(super) fn items_returned(&mut self, batch: BatchId, indexes: &[u16]) {
        for index in indexes {
            let item = &mut self.book(batch).items[usize::from(*index)];
            assert!(std::mem::take(&mut item.started), "{index} of {batch}");
            assert_eq!(item.outcome, None::<Outcome>);
        }
        if let Some(returning) = self.returning.take() {
            return assert_eq!(returning, (batch, indexes.to_vec()));
        }
        let book = &self.books[&batch];
        let wanted = self.runs(book.operation) && !self.closing && book.stage.may_start();
        assert!(!wanted, "{indexes:?} of {batch} could start");
        let place = self.starting.iter().position(|starting| {
            let items = starting.out.slice.items.iter().map(|item| item.index);
            starting.durable
                && starting.out.slice.batch == batch
                && items.eq(indexes.iter().copied())
        });
        let withdrawn = self.starting.remove(place.expect("they are recorded"));
        self.credit(&withdrawn.out, 0);
    }

    /// A worker is done with a slice, and has not begun what is left of it, but for so many.
    pub(super) fn came_back(&mut self, out: &Out, started: usize) {
        self.credit(out, started);
        let left: Vec<u16> = out.left().iter().map(|item| item.index).collect();
        if self.runs_at_most_once(out.slice.batch) && !left.is_empty() {
            self.returning = Some((out.slice.batch, left));
        }
    }

    /// What has not run does not count for the rate limit.
    fn credit(&mut self, out: &Out, started: usize) {
        if self.specs[out.slice.operation.0].rate.is_none() {
            return;
        }
        for item in out.left().iter().skip(started) {
            let item = (out.slice.batch, item.index);
            // An attempt before this one has run.
            let mut all = self.handed_out.iter();
            let last = all.rposition(|handed_out| handed_out.item == item);
            self.handed_out.remove(last.expect("it was handed out"));
        }
    }

    /// Items that the operation's rate limit lets start now.
    pub(super) fn allowed(&self, operation: usize, now: u64) -> usize {
        let Some(limit) = self.specs[operation].rate else {
            return usize::MAX;
        };
        let recent = self.recent(operation, now).count();
        assert!(recent <= limit.items() as usize, "{operation}");
        limit.items() as usize - recent
    }

    /// When the first of the last period's items were handed out that are in the way of the next, and the
    /// period is over for them.
    pub(super) fn allowed_again(&self, operation: usize, now: u64) -> Option<u64> {
        let oldest = self.recent(operation, now).flatten().min()?;
        (self.allowed(operation, now) == 0).then_some(oldest + self.period_ms(operation))
    }

    /// When items were handed out that count: in the last period, or not yet.
    fn recent(&self, operation: usize, now: u64) -> impl Iterator<Item = Option<u64>> + '_ {
        let period_ms = self.period_ms(operation);
        let all = self.handed_out.iter();
        all.filter(move |handed_out| handed_out.operation == operation)
            .map(|handed_out| handed_out.at)
            .filter(move |at| at.is_none_or(|at| at + period_ms > now))
    }

    fn period_ms(&self, operation: usize) -> u64 {
        let limit = self.specs[operation].rate;
        limit.map_or(0, |limit| limit.period().as_millis() as u64)
    }

    /// What is not put out yet may be recalled too, to no effect: whether it starts is decided when that is
    /// durable.
    pub(super) fn recall(&mut self, slice: SliceId) {
        if let Some(out) = self.slices.get_mut(&slice) {
            out.recalled = true;
        } else {
            assert!(!self.starting.is_empty(), "{slice:?} is not out");
        }
    }
}
