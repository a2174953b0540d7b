//! Judges what a kernel puts out, from a model of its own: plain lists that are searched from end to
//! end, with none of the kernel's books, folds or orders in it.

use crate::kernel::{
    BatchId, Event, Fate, Input, ItemEvent, Kernel, OperationSpec, Output, Slice, SliceId,
    SliceItem, Terms, Ticket,
};
use crate::limits;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Running,
    Stopping,
    Completed,
    Stopped,
}

impl Stage {
    pub(super) fn may_start(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    pub(super) fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Item {
    pub(super) outcome: Option<bool>,
    attempts: u32,
    /// When it runs again: as recorded, and while it waits for that.
    due: Option<u64>,
    pub(super) until: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Book {
    pub(super) operation: usize,
    pub(super) position: u64,
    keys: Option<Box<[u64]>>,
    pub(super) priority: i8,
    not_before: Option<u64>,
    /// The commit that lets it line up is durable.
    admitted: bool,
    /// Its time has come.
    pub(super) come: bool,
    /// It has a place in the order, if it has keys.
    pub(super) placed: bool,
    was_started: bool,
    /// Items that cannot be decoded fail: as recorded, and as its workers know.
    pub(super) fails: bool,
    pub(super) told_fails: bool,
    pub(super) stage: Stage,
    /// A start came out that is not recorded yet.
    pub(super) started: bool,
    closed: bool,
    was_stopped: bool,
    /// The kernel knows the batch.
    pub(super) present: bool,
    pub(super) items: Vec<Item>,
}

impl Book {
    pub(super) fn key(&self, index: usize) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys[index])
    }

    /// When its time comes, while that is waited for.
    pub(super) fn waits_until(&self) -> Option<u64> {
        let waits = self.admitted && !self.come && self.stage.may_start();
        self.not_before.filter(|_| waits)
    }

    fn is_due(&self, now: u64) -> bool {
        self.was_started || self.not_before.is_none_or(|time| time <= now)
    }

    /// What a batch is that was just submitted or resumed.
    fn line_up_at(&mut self, now: u64) {
        self.admitted = false;
        // The place of one with keys is for good; without keys only the time counts.
        self.placed = self.keys.is_none() || self.is_due(now);
        self.come = self.keys.is_some() && self.placed;
    }

    pub(super) fn recount(&self) -> (u32, u32) {
        let count = |wanted| {
            self.items
                .iter()
                .filter(|i| i.outcome == Some(wanted))
                .count() as u32
        };
        (count(true), count(false))
    }

    /// What recovery and resume make of the recorded waits.
    fn wait_again(&mut self, now: u64, longest_wait_ms: u64) {
        for item in &mut self.items {
            item.until = item
                .due
                .map(|due| due.min(now.saturating_add(longest_wait_ms)));
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) slice: Slice,
    pub(super) ended: usize,
    pub(super) recalled: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Request {
    Submit {
        operation: usize,
        total: u32,
        terms: Terms,
    },
    Stop(BatchId),
    Resume(BatchId),
    FailUndecodable(BatchId),
    Pause,
    Unpause,
}

#[derive(Debug)]
pub(super) struct Checker {
    pub(super) specs: Vec<OperationSpec>,
    pub(super) workers: usize,
    pub(super) books: BTreeMap<BatchId, Book>,
    pub(super) durable: BTreeMap<BatchId, Book>,
    pub(super) acknowledged: BTreeSet<BatchId>,
    pub(super) slices: BTreeMap<SliceId, Out>,
    asked: BTreeMap<Ticket, Request>,
    admissions: BTreeMap<Ticket, BatchId>,
    /// Items whose verdicts the kernel just got.
    given: Vec<SliceItem>,
    /// Operations that start nothing on request, and of these the ones that were unpaused since the last
    /// commit.
    pub(super) paused: BTreeSet<usize>,
    pub(super) unpausing: BTreeSet<usize>,
    /// As recorded, and as durable.
    paused_next: BTreeSet<usize>,
    pub(super) paused_durable: BTreeSet<usize>,
    /// Operations that an undecodable item of a batch holds up.
    pub(super) held: BTreeMap<usize, BatchId>,
    pub(super) closing: bool,
    failed: bool,
}

impl Checker {
    pub(super) fn new(specs: Vec<OperationSpec>, workers: u32) -> Self {
        Self {
            specs,
            workers: workers as usize,
            books: BTreeMap::new(),
            durable: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            slices: BTreeMap::new(),
            asked: BTreeMap::new(),
            admissions: BTreeMap::new(),
            given: Vec::new(),
            paused: BTreeSet::new(),
            unpausing: BTreeSet::new(),
            paused_next: BTreeSet::new(),
            paused_durable: BTreeSet::new(),
            held: BTreeMap::new(),
            closing: false,
            failed: false,
        }
    }

    pub(super) fn ask(&mut self, ticket: Ticket, request: Request) {
        self.asked.insert(ticket, request);
    }

    pub(super) fn runs(&self, operation: usize) -> bool {
        let held = self.paused.contains(&operation) || self.held.contains_key(&operation);
        self.specs[operation].registered && !held
    }

    /// Looks at an input before the kernel gets it.
    pub(super) fn before(&mut self, input: &Input, now: u64) {
        match input {
            Input::Committed => self.make_durable(),
            Input::CommitFailed => self.failed = true,
            Input::Closing => self.closing = true,
            Input::Undecodable { operation, batch } if !self.books[batch].fails => {
                self.held.entry(operation.0).or_insert(*batch);
            }
            Input::PauseRequested { operation, .. } => {
                self.paused.insert(operation.0);
                self.paused_next.insert(operation.0);
                self.unpausing.remove(&operation.0);
            }
            Input::UnpauseRequested { operation, .. } => {
                self.paused_next.remove(&operation.0);
                self.unpausing.insert(operation.0);
            }
            Input::Finished {
                slice,
                verdicts,
                returned,
                ..
            } => {
                self.finished(*slice, verdicts.len(), *returned);
            }
            _ => {}
        }
        self.fire(now);
    }

    pub(super) fn make_durable(&mut self) {
        for book in self.books.values_mut() {
            book.admitted = true;
        }
        self.durable.clone_from(&self.books);
        self.paused_durable.clone_from(&self.paused_next);
    }

    fn fire(&mut self, now: u64) {
        for book in self.books.values_mut() {
            book.come |= book.admitted && book.is_due(now);
        }
        for item in self.books.values_mut().flat_map(|book| &mut book.items) {
            item.until = item.until.filter(|until| *until > now);
        }
    }

    fn finished(&mut self, slice: SliceId, count: usize, returned: bool) {
        let Some(out) = self.slices.get_mut(&slice) else {
            return;
        };
        let last = out.ended + count;
        self.given = out.slice.items[out.ended..last].to_vec();
        out.ended = last;
        let (batch, exactly_once) = (out.slice.batch, out.slice.exactly_once);
        if returned {
            self.slices.remove(&slice);
        }
        let book = &self.books[&batch];
        if exactly_once && book.keys.is_none() {
            self.check_item_order(book);
        }
    }

    /// Exactly-once items without keys run in item order, retries apart.
    fn check_item_order(&self, book: &Book) {
        let fresh: Vec<usize> = self
            .given
            .iter()
            .filter(|item| item.attempt == 1)
            .map(|item| usize::from(item.index))
            .collect();
        let Some(last) = fresh.last() else { return };
        for (index, item) in book.items[..*last].iter().enumerate() {
            let ran = item.attempts > 0 || item.outcome.is_some() || fresh.contains(&index);
            assert!(ran, "item {index} was overtaken by {fresh:?}");
        }
    }

    /// Judges what the kernel put out, for a commit or for another input.
    pub(super) fn after(&mut self, committed: bool, out: &[Output], now: u64, kernel: &Kernel) {
        if self.failed {
            return assert!(out.is_empty(), "after a failed commit: {out:?}");
        }
        for output in out {
            self.judge(output, committed, now, kernel);
        }
        assert_eq!(self.given, [], "verdicts without a record");
        assert!(
            !committed || self.asked.is_empty(),
            "unanswered: {:?}",
            self.asked
        );
        self.check_holds(committed);
        if committed {
            self.unpausing.clear();
        }
        self.check_views(kernel);
        if !self.closing {
            self.check_nobody_idles();
        }
    }

    fn judge(&mut self, output: &Output, committed: bool, now: u64, kernel: &Kernel) {
        match output {
            Output::Admitted {
                ticket,
                batch,
                position,
            } => self.admit(*ticket, *batch, *position, now),
            Output::Refused { ticket, .. } => match self.asked.remove(ticket) {
                Some(Request::FailUndecodable(batch)) => {
                    let book = &self.books[&batch];
                    assert!(book.stage.has_ended(), "{book:?}");
                }
                Some(Request::Submit { .. } | Request::Resume(_)) => {}
                other => unreachable!("{other:?} was refused"),
            },
            Output::Record { batch, event } => self.record(*batch, event, now, kernel),
            Output::Ack { ticket } => {
                assert!(committed, "an answer without a commit");
                self.acknowledge(*ticket);
            }
            Output::Start(slice) => self.start(slice),
            Output::Close { batch } => {
                let book = self.book(*batch);
                assert!(book.stage.may_start());
                book.closed = true;
                book.was_stopped = true;
            }
            Output::Recall { slice } => {
                let out = self.slices.get_mut(slice);
                out.expect("only slices that are out are recalled").recalled = true;
            }
            Output::Ended { batch, view } => {
                assert!(committed, "an end without a commit");
                let durable = &self.durable[batch];
                assert!(durable.stage.has_ended());
                assert_eq!((view.succeeded, view.failed), durable.recount());
                assert!(std::mem::take(&mut self.book(*batch).present));
            }
            Output::Moved { batch, position } => self.moved(*batch, *position),
            Output::FailUndecodable { batch } => {
                assert!(committed && self.durable[batch].fails);
                assert!(!std::mem::replace(&mut self.book(*batch).told_fails, true));
            }
            Output::Decodable { operation } => {
                let holder = self.held.remove(&operation.0);
                let freed = holder.is_some_and(|batch| self.may_be_freed(operation.0, batch));
                assert!(committed && freed, "{operation:?} is held by {holder:?}");
            }
            Output::Unpaused { operation } => {
                assert!(committed && self.unpausing.contains(&operation.0));
                assert!(self.paused.remove(&operation.0), "it was not paused");
            }
            Output::Defect { .. } => unreachable!("{output:?}"),
        }
    }

    /// A batch whose time has come goes behind all others, and those whose time came before stand first.
    fn moved(&mut self, batch: BatchId, position: u64) {
        self.check_position(position);
        let book = self.book(batch);
        assert!(book.present && book.stage.may_start() && book.admitted);
        assert!(book.keys.is_some() && book.come && !book.placed);
        book.position = position;
        book.placed = true;
        let time = book.not_before;
        let mut waiting = self
            .books
            .values()
            .filter(|book| book.present && book.stage.may_start() && book.come && !book.placed);
        assert!(waiting.all(|book| book.not_before >= time));
    }

    fn admit(&mut self, ticket: Ticket, batch: BatchId, position: u64, now: u64) {
        let Some(Request::Submit {
            operation,
            total,
            terms,
        }) = self.asked.get(&ticket).cloned()
        else {
            unreachable!("{ticket:?} is no submission");
        };
        assert!(self.books.keys().all(|before| *before < batch));
        self.admissions.insert(ticket, batch);
        let mut book = Book {
            operation,
            position,
            keys: terms.keys,
            priority: terms.priority,
            not_before: terms.not_before.map(|time| time.0),
            admitted: false,
            come: false,
            placed: false,
            was_started: false,
            fails: false,
            told_fails: false,
            stage: Stage::Queued,
            started: false,
            closed: false,
            was_stopped: false,
            present: true,
            items: vec![Item::default(); total as usize],
        };
        book.line_up_at(now);
        self.check_first_position(&book, position);
        self.books.insert(batch, book);
    }

    fn check_first_position(&self, book: &Book, position: u64) {
        if book.placed {
            self.check_position(position);
        } else {
            assert_eq!(position, 0, "whose time has not come has no place");
        }
    }

    fn check_position(&self, position: u64) {
        let mut present = self.books.values().filter(|book| book.present);
        assert!(present.all(|book| book.position < position));
    }

    fn acknowledge(&mut self, ticket: Ticket) {
        match self.asked.remove(&ticket) {
            Some(Request::Submit { .. }) => {
                let batch = self.admissions[&ticket];
                assert!(self.durable.contains_key(&batch));
                self.acknowledged.insert(batch);
            }
            // It may have been stopped before, and resumed since.
            Some(Request::Stop(batch)) => {
                let book = &self.durable[&batch];
                assert!(book.was_stopped || book.stage == Stage::Completed);
            }
            Some(Request::Resume(batch)) => {
                let book = &self.durable[&batch];
                assert!(book.stage == Stage::Queued || book.closed, "{book:?}");
            }
            Some(Request::FailUndecodable(batch)) => assert!(self.durable[&batch].fails),
            // Another may have come since: what is in force then is looked at when all is out.
            Some(Request::Pause | Request::Unpause) => {}
            None => unreachable!("{ticket:?} was answered before"),
        }
    }

    fn record(&mut self, batch: BatchId, event: &Event, now: u64, kernel: &Kernel) {
        let in_flight = self.items_out(batch).next().is_some();
        let book = self.book(batch);
        let all_final = book.items.iter().all(|item| item.outcome.is_some());
        let stage = match (event, book.stage) {
            (Event::Started { .. }, Stage::Queued) if book.started => Stage::Running,
            (Event::ItemsEnded { .. }, Stage::Running | Stage::Stopping) => book.stage,
            (Event::StopRequested { .. }, Stage::Running) => Stage::Stopping,
            (Event::StopRequested { .. }, Stage::Queued) if !book.started => Stage::Stopped,
            (Event::Completed { .. }, Stage::Running | Stage::Stopping) if all_final => {
                Stage::Completed
            }
            (Event::Stopped { .. }, Stage::Stopping) if !all_final && !in_flight => Stage::Stopped,
            (Event::Resumed { .. }, Stage::Stopped) if !book.present => Stage::Queued,
            (
                Event::FailUndecodableRequested { .. },
                Stage::Queued | Stage::Running | Stage::Stopping,
            ) if !book.started => book.stage,
            _ => unreachable!("{batch} takes {event:?}: {book:?}"),
        };
        book.stage = stage;
        match event {
            Event::Started { .. } => {
                book.started = false;
                book.was_started = true;
            }
            Event::FailUndecodableRequested { .. } => book.fails = true,
            Event::ItemsEnded { items, .. } => self.items_ended(batch, items, now),
            Event::Resumed { .. } => self.resumed(batch, now, kernel),
            _ => {}
        }
    }

    fn resumed(&mut self, batch: BatchId, now: u64, kernel: &Kernel) {
        let position = kernel.view(batch).map_or(0, |view| view.position);
        self.book(batch).line_up_at(now);
        self.check_first_position(&self.books[&batch], position);
        let longest = self.specs[self.books[&batch].operation]
            .retry
            .longest_wait_ms();
        let book = self.book(batch);
        book.position = position;
        book.present = true;
        book.closed = false;
        book.told_fails = book.fails;
        book.wait_again(now, longest);
        self.fire(now);
    }

    fn items_ended(&mut self, batch: BatchId, items: &[ItemEvent], now: u64) {
        let given = std::mem::take(&mut self.given);
        assert_eq!(given.len(), items.len());
        let retry = self.specs[self.books[&batch].operation].retry.clone();
        let book = self.book(batch);
        for (event, given) in items.iter().zip(given) {
            assert_eq!((event.index, event.attempt), (given.index, given.attempt));
            let item = &mut book.items[usize::from(event.index)];
            assert!(item.outcome.is_none(), "a second outcome");
            assert_eq!(event.attempt, item.attempts + 1);
            assert!(event.attempt <= retry.max_attempts());
            item.attempts = event.attempt;
            item.due = None;
            match event.fate {
                Fate::Succeeded => item.outcome = Some(true),
                Fate::Failed => item.outcome = Some(false),
                Fate::InDoubt => unreachable!("no item here is in doubt"),
                Fate::Retry { due } => {
                    assert!(event.attempt < retry.max_attempts());
                    assert!((now..=now + retry.longest_wait_ms()).contains(&due.0));
                    item.due = Some(due.0);
                    // The kernel fires what is due right after.
                    item.until = item.due.filter(|due| *due > now);
                }
            }
        }
    }

    fn start(&mut self, slice: &Slice) {
        let operation = slice.operation.0;
        let spec = self.specs[operation].clone();
        assert!(self.runs(operation) && !self.closing);
        assert_eq!(slice.exactly_once, spec.is_exactly_once());
        assert!((1..=limits::SLICE_ITEMS as usize).contains(&slice.items.len()));
        let durable = self.durable.get(&slice.batch);
        assert!(
            durable.is_some_and(|book| book.stage.may_start() && book.placed),
            "not durable: {slice:?}"
        );
        assert!(self.books[&slice.batch].come, "too early: {slice:?}");
        self.check_priority(slice.batch);
        let mut keys = BTreeSet::new();
        for item in &slice.items {
            let key = self.check_startable(slice.batch, *item);
            assert!(key == 0 || keys.insert(key), "a key twice in {slice:?}");
        }
        let book = self.book(slice.batch);
        assert_eq!(book.operation, operation);
        book.started |= book.stage == Stage::Queued;
        let out = Out {
            slice: slice.clone(),
            ended: 0,
            recalled: false,
        };
        assert!(self.slices.insert(slice.id, out).is_none());
        assert!(self.leased() <= 2);
        assert!(
            spec.concurrency
                .is_none_or(|limit| self.slices_of(operation) <= limit as usize)
        );
        assert!(self.slices.len() <= 2 * self.workers + 1);
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
            books.outcome.is_none() && books.until.is_none(),
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

    fn book(&mut self, batch: BatchId) -> &mut Book {
        self.books.get_mut(&batch).expect("a known batch")
    }

    /// The process ends: what was not durable is gone, and unfinished batches are read back.
    pub(super) fn crash(&mut self, now: u64) {
        for batch in &self.acknowledged {
            assert!(
                self.durable.contains_key(batch),
                "{batch} was acknowledged and is lost"
            );
        }
        self.books.clone_from(&self.durable);
        for book in self.books.values_mut() {
            book.started = false;
            book.closed = !book.stage.may_start();
            book.present = !book.stage.has_ended();
            book.told_fails = book.fails;
            book.come = (book.keys.is_some() && book.placed) || book.is_due(now);
            book.wait_again(now, self.specs[book.operation].retry.longest_wait_ms());
        }
        self.slices.clear();
        self.asked.clear();
        self.given.clear();
        self.paused_next.clone_from(&self.paused_durable);
        self.paused.clone_from(&self.paused_durable);
        for (operation, spec) in self.specs.iter_mut().enumerate() {
            spec.paused = self.paused.contains(&operation);
        }
        self.unpausing.clear();
        self.held.clear();
        self.closing = false;
        self.failed = false;
        self.fire(now);
    }
}
