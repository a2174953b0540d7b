//! What the checker finds in its books, and what it compares with the kernel after every input.

use super::book::{Book, Stage};
use super::checker::{Checker, Out};
use crate::kernel::{BatchId, Kernel, Phase, SliceItem};
use std::collections::BTreeSet;

impl Checker {
    /// What the kernel has handed out: to workers, and to be recorded as started.
    fn outs(&self) -> impl Iterator<Item = &Out> {
        let starting = self.starting.iter().map(|starting| &starting.out);
        self.slices.values().chain(starting)
    }

    pub(super) fn items_out(&self, batch: BatchId) -> impl Iterator<Item = SliceItem> + '_ {
        self.outs()
            .filter(move |out| out.slice.batch == batch)
            .flat_map(|out| out.left().iter().copied())
    }

    /// Whether an item with this key runs. One whose handler has not returned in time may run still.
    pub(super) fn key_runs(&self, operation: usize, key: u64) -> bool {
        self.outs().any(|out| {
            let book = &self.books[&out.slice.batch];
            let mut running = out.slice.items[out.ended..].iter();
            book.operation == operation
                && running.any(|item| book.key(usize::from(item.index)) == key)
        })
    }

    /// Whether a suspect runs, those apart whose handlers have not returned in time.
    pub(super) fn suspect_runs(&self) -> bool {
        self.outs()
            .any(|out| out.slice.alone.is_some() && out.hangs.is_none())
    }

    /// The item without outcome that comes first among those with a key, by position and index.
    pub(super) fn head(&self, operation: usize, key: u64) -> Option<(u64, usize)> {
        let books = self.books.values();
        books
            .filter(|book| book.present && book.operation == operation && book.stage.may_start())
            .filter(|book| book.placed)
            .filter_map(|book| {
                let first = (0..book.items.len())
                    .find(|index| book.key(*index) == key && book.items[*index].outcome.is_none());
                Some((book.position, first?))
            })
            .min()
    }

    pub(super) fn leased(&self) -> usize {
        self.outs().filter(|out| out.slice.exactly_once).count()
    }

    pub(super) fn slices_of(&self, operation: usize) -> usize {
        self.outs()
            .filter(|out| out.slice.operation.0 == operation)
            .count()
    }

    /// Slices that take a worker: not those whose workers were replaced.
    pub(super) fn occupied(&self) -> usize {
        self.outs().filter(|out| out.hangs != Some(true)).count()
    }

    pub(super) fn check_views(&self, now: u64, kernel: &Kernel) {
        assert_eq!(kernel.slices_in_flight(), self.outs().count());
        let present = self.books.values().filter(|book| book.present).count();
        assert_eq!(kernel.unfinished(), present);
        if present == 0 && kernel.slices_in_flight() == 0 {
            assert!(kernel.remembers_nothing(), "{kernel:?}");
        }
        self.check_wake(now, kernel);
        for (batch, book) in self.books.iter().filter(|(_, book)| book.present) {
            let view = kernel.view(*batch).expect("a present batch is shown");
            let phase = match book.stage {
                Stage::Queued if book.started => Phase::Running,
                Stage::Queued => Phase::Queued,
                Stage::Running => Phase::Running,
                Stage::Stopping => Phase::Stopping,
                Stage::Completed => Phase::Completed,
                Stage::Stopped => Phase::Stopped,
            };
            let waiting = book
                .items
                .iter()
                .filter(|item| item.until.is_some())
                .count();
            assert_eq!((view.phase, view.position), (phase, book.position));
            assert_eq!(view.ended_at.is_some(), book.stage.has_ended());
            let counts = (view.succeeded, view.failed, view.in_doubt);
            assert_eq!(counts, book.recount());
            assert_eq!(view.in_flight as usize, self.items_out(*batch).count());
            assert_eq!(view.waiting as usize, waiting);
        }
    }

    /// The kernel wakes when a wait ends, when a batch's time comes, and when a rate limit lets something
    /// start.
    fn check_wake(&self, now: u64, kernel: &Kernel) {
        let present = || self.books.values().filter(|book| book.present);
        let waits = present()
            .flat_map(|book| &book.items)
            .filter_map(|item| item.until);
        let delays = present().filter_map(Book::waits_until);
        let limited = |wanted: fn(&Self, BatchId, &Book) -> bool| {
            let books = self
                .books
                .iter()
                .filter(move |(batch, book)| wanted(self, **batch, book));
            books.filter_map(|(_, book)| self.allowed_again(book.operation, now))
        };
        let next = waits
            .chain(delays)
            .chain(limited(|checker, batch, book| {
                checker.waits_for_worker(batch, book).is_some()
            }))
            .min();
        let wake = kernel.next_wake().map(|wake| wake.0);
        if wake == next {
            return;
        }
        // One that closes is not woken: its limits stand still.
        let closing = self.closing && self.specs.iter().any(|spec| spec.rate.is_some());
        // A batch with keys enters its lines when it is its turn, and before that nobody knows whether one
        // of its items comes first: the kernel may wake for nothing.
        let mut vain = limited(Self::may_have_work);
        let early = next.is_none_or(|next| wake.is_some_and(|wake| wake < next));
        assert!(
            closing || early && vain.any(|vain| Some(vain) == wake),
            "the next wake-up is {wake:?}, not {next:?}"
        );
    }

    /// No worker is free while there is an item that it could run.
    pub(super) fn check_nobody_idles(&self, now: u64) {
        let busy = self.occupied() - self.leased() + self.leased().min(1);
        if busy >= self.workers {
            return;
        }
        for (batch, book) in &self.books {
            let idle = self.could_start(*batch, book, now);
            assert_eq!(idle, None, "of {batch} could run");
        }
    }

    /// An item of the batch that only waits for a worker. While the lease is out it is not said what
    /// could take it.
    fn could_start(&self, batch: BatchId, book: &Book, now: u64) -> Option<usize> {
        let spec = &self.specs[book.operation];
        let free = (!spec.is_exactly_once() || self.leased() == 0)
            && self.allowed(book.operation, now) > 0;
        free.then(|| self.waits_for_worker(batch, book)).flatten()
    }

    /// An item of the batch that waits for a worker, the lease or the rate limit only.
    fn waits_for_worker(&self, batch: BatchId, book: &Book) -> Option<usize> {
        let free = self.lines_up(batch, book);
        free.then(|| self.startable(batch, book)).flatten()
    }

    fn lines_up(&self, batch: BatchId, book: &Book) -> bool {
        let spec = &self.specs[book.operation];
        let slices = self.slices_of(book.operation);
        let durable = self.durable.get(&batch);
        book.present
            && book.stage.may_start()
            && book.come
            && durable.is_some_and(|book| book.stage.may_start() && book.placed)
            && self.runs(book.operation)
            && spec.concurrency.is_none_or(|limit| slices < limit as usize)
    }

    /// Whether a batch with keys has items that may or may not come first with their keys.
    fn may_have_work(&self, batch: BatchId, book: &Book) -> bool {
        let out = |index| {
            let mut items = self.items_out(batch);
            items.any(|item| usize::from(item.index) == index)
        };
        let mut items = book.items.iter().enumerate();
        book.keys.is_some()
            && self.lines_up(batch, book)
            && items
                .any(|(index, item)| item.outcome.is_none() && item.until.is_none() && !out(index))
    }

    /// While an item of a higher priority could start, none of a lower one does: not even when a worker
    /// has room for the lower one only.
    pub(super) fn check_priority(&self, batch: BatchId, now: u64) {
        let priority = self.books[&batch].priority;
        for (other, book) in &self.books {
            if book.priority > priority {
                let first = self.could_start(*other, book, now);
                assert_eq!(first, None, "of {other} goes before {batch}");
            }
        }
    }

    /// Whose time has come has its place, and nobody holds up an operation without need.
    pub(super) fn check_holds(&self, committed: bool) {
        for (batch, book) in &self.books {
            let lines_up = book.present && book.stage.may_start() && book.come;
            assert!(book.placed || !lines_up, "{batch} has no place: {book:?}");
            let durable = self.durable.get(batch);
            let fails = durable.is_some_and(|book| book.present && book.fails);
            assert!(book.told_fails || !fails || !book.present, "{batch}");
        }
        for (operation, holder) in &self.held {
            let waits = !committed && self.unpausing.contains(operation);
            assert!(
                waits || !self.may_be_freed(*operation, *holder),
                "{operation}"
            );
        }
        if committed {
            assert_eq!(self.paused, self.paused_durable);
        }
    }

    /// Whether what holds up an operation is out of the way.
    pub(super) fn may_be_freed(&self, operation: usize, holder: BatchId) -> bool {
        let fails = self.durable.get(&holder).is_some_and(|book| book.fails);
        self.unpausing.contains(&operation) || fails || !self.books[&holder].present
    }

    fn startable(&self, batch: BatchId, book: &Book) -> Option<usize> {
        let out: BTreeSet<usize> = self
            .items_out(batch)
            .map(|i| usize::from(i.index))
            .collect();
        let mut keys = BTreeSet::new();
        let first = (0..book.items.len()).find(|index| {
            let item = &book.items[*index];
            let key = book.key(*index);
            // Of the items with one key only the batch's first can be the first of all.
            if item.outcome.is_some() || (key != 0 && !keys.insert(key)) {
                return false;
            }
            let first = || self.head(book.operation, key) == Some((book.position, *index));
            let free = key == 0 || (first() && !self.key_runs(book.operation, key));
            item.until.is_none() && !out.contains(index) && free
        })?;
        // Nothing of its batch goes before a suspect that waits for another one.
        let held = book.items[first].suspect && self.suspect_runs();
        (!held).then_some(first)
    }
}
