//! What the checker finds in its books, and what it compares with the kernel after every input.

use super::checker::{Book, Checker, Stage};
use crate::kernel::{BatchId, Kernel, Phase, SliceItem};
use std::collections::BTreeSet;

impl Checker {
    pub(super) fn items_out(&self, batch: BatchId) -> impl Iterator<Item = SliceItem> + '_ {
        self.slices
            .values()
            .filter(move |out| out.slice.batch == batch)
            .flat_map(|out| out.slice.items[out.ended..].iter().copied())
    }

    pub(super) fn key_runs(&self, operation: usize, key: u64) -> bool {
        self.slices.values().any(|out| {
            let book = &self.books[&out.slice.batch];
            let mut running = out.slice.items[out.ended..].iter();
            book.operation == operation
                && running.any(|item| book.key(usize::from(item.index)) == key)
        })
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
        self.slices
            .values()
            .filter(|out| out.slice.exactly_once)
            .count()
    }

    pub(super) fn slices_of(&self, operation: usize) -> usize {
        let slices = self.slices.values();
        slices
            .filter(|out| out.slice.operation.0 == operation)
            .count()
    }

    pub(super) fn check_views(&self, kernel: &Kernel) {
        assert_eq!(kernel.slices_in_flight(), self.slices.len());
        let present = self.books.values().filter(|book| book.present).count();
        assert_eq!(kernel.unfinished(), present);
        let present = || self.books.values().filter(|book| book.present);
        let waits = present()
            .flat_map(|book| &book.items)
            .filter_map(|item| item.until);
        let delays = present().filter_map(Book::waits_until);
        let next = waits.chain(delays).min();
        assert_eq!(
            kernel.next_wake().map(|wake| wake.0),
            next,
            "the next wake-up"
        );
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
            assert_eq!((view.succeeded, view.failed), book.recount());
            assert_eq!(view.in_flight as usize, self.items_out(*batch).count());
            assert_eq!(view.waiting as usize, waiting);
        }
    }

    /// No worker is free while there is an item that it could run.
    pub(super) fn check_nobody_idles(&self) {
        let busy = self.slices.len() - self.leased() + self.leased().min(1);
        if busy >= self.workers {
            return;
        }
        for (batch, book) in &self.books {
            let idle = self.could_start(*batch, book);
            assert_eq!(idle, None, "of {batch} could run");
        }
    }

    /// An item of the batch that only waits for a worker. While the lease is out it is not said what
    /// could take it.
    pub(super) fn could_start(&self, batch: BatchId, book: &Book) -> Option<usize> {
        let spec = &self.specs[book.operation];
        let slices = self.slices_of(book.operation);
        let durable = self.durable.get(&batch);
        let free = book.present
            && book.stage.may_start()
            && book.come
            && durable.is_some_and(|book| book.stage.may_start() && book.placed)
            && self.runs(book.operation)
            && spec.concurrency.is_none_or(|limit| slices < limit as usize)
            && (!spec.is_exactly_once() || self.leased() == 0);
        free.then(|| self.startable(batch, book)).flatten()
    }

    /// While an item of a higher priority could start, none of a lower one does: not even when a worker
    /// has room for the lower one only.
    pub(super) fn check_priority(&self, batch: BatchId) {
        let priority = self.books[&batch].priority;
        for (other, book) in &self.books {
            if book.priority > priority {
                let first = self.could_start(*other, book);
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

    pub(super) fn startable(&self, batch: BatchId, book: &Book) -> Option<usize> {
        let out: BTreeSet<usize> = self
            .items_out(batch)
            .map(|i| usize::from(i.index))
            .collect();
        let mut keys = BTreeSet::new();
        (0..book.items.len()).find(|index| {
            let item = &book.items[*index];
            let key = book.key(*index);
            // Of the items with one key only the batch's first can be the first of all.
            if item.outcome.is_some() || (key != 0 && !keys.insert(key)) {
                return false;
            }
            let first = || self.head(book.operation, key) == Some((book.position, *index));
            let free = key == 0 || (first() && !self.key_runs(book.operation, key));
            item.until.is_none() && !out.contains(index) && free
        })
    }
}
