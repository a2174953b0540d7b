//! Judges what a kernel puts out, from a model of its own: plain lists that are searched from end to
//! end, with none of the kernel's books, folds or orders in it.

use super::book::{Book, Item, Outcome, Stage};
use super::endings::Note;
use crate::kernel::{
    BatchId, Event, Input, Kernel, Mark, OperationSpec, Output, Refusal, Slice, SliceId, SliceItem,
    Terms, Ticket, Verdict,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) slice: Slice,
    pub(super) ended: usize,
    pub(super) recalled: bool,
    /// Its handler has not returned in time, and whether another worker works in its worker's place.
    pub(super) hangs: Option<bool>,
}

impl Out {
    pub(super) fn new(slice: Slice) -> Self {
        Self {
            slice,
            ended: 0,
            recalled: false,
            hangs: None,
        }
    }

    /// The items that have not ended.
    pub(super) fn left(&self) -> &[SliceItem] {
        match self.hangs {
            Some(_) => &[],
            None => &self.slice.items[self.ended..],
        }
    }
}

/// A slice between the record of its start and its start.
#[derive(Debug)]
pub(super) struct Starting {
    pub(super) out: Out,
    pub(super) durable: bool,
}

/// An item of an operation with a rate limit that was handed out, and when, unless that waits for its record.
#[derive(Debug)]
pub(super) struct HandOut {
    pub(super) operation: usize,
    pub(super) item: (BatchId, u16),
    pub(super) at: Option<u64>,
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
    Resolve(BatchId, u16),
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
    /// Of operations whose items run at most once.
    pub(super) starting: Vec<Starting>,
    pub(super) handed_out: Vec<HandOut>,
    /// Items whose verdicts the kernel just got.
    pub(super) given: Vec<(SliceItem, Verdict)>,
    /// Items that run at most once and just came back.
    pub(super) returning: Option<(BatchId, Vec<u16>)>,
    /// What the kernel must record by itself, of each batch in this order.
    pub(super) notes: BTreeMap<BatchId, VecDeque<Note>>,
    /// A start was recorded ahead of what started or was lost.
    pub(super) announced: Option<BatchId>,
    /// The item that is being resolved, and whether it succeeded.
    pub(super) resolving: Option<(BatchId, u16, bool)>,
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
            starting: Vec::new(),
            handed_out: Vec::new(),
            given: Vec::new(),
            returning: None,
            notes: BTreeMap::new(),
            announced: None,
            resolving: None,
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
                cancelled,
                ..
            } => {
                let started = usize::from(*cancelled);
                self.finished(*slice, verdicts, returned.then_some(started));
            }
            Input::TimedOut {
                slice,
                place,
                after_ms,
                replaced,
            } => self.timed_out(*slice, *place, *after_ms, *replaced),
            Input::Replaced { slice } => {
                let out = self.slices.get_mut(slice).expect("it hangs");
                assert_eq!(out.hangs.replace(true), Some(false));
            }
            Input::ResolveRequested {
                batch,
                index,
                succeeded,
                ..
            } if self.is_in_doubt(*batch, *index) => {
                self.resolving = Some((*batch, *index, *succeeded));
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
        for starting in &mut self.starting {
            starting.durable = true;
        }
    }

    fn fire(&mut self, now: u64) {
        for book in self.books.values_mut() {
            book.come |= book.admitted && book.is_due(now);
        }
        for item in self.books.values_mut().flat_map(|book| &mut book.items) {
            item.until = item.until.filter(|until| *until > now);
        }
    }

    fn finished(&mut self, slice: SliceId, verdicts: &[Verdict], returned: Option<usize>) {
        let Some(mut out) = self.slices.remove(&slice) else {
            return;
        };
        if out.hangs.is_some() {
            // It only stops holding what it held.
            return;
        }
        let items = out.left().iter().copied();
        self.given = items.zip(verdicts.iter().copied()).collect();
        out.ended += verdicts.len();
        let (batch, exactly_once) = (out.slice.batch, out.slice.exactly_once);
        if let Some(started) = returned {
            self.came_back(&out, started);
        } else {
            self.slices.insert(slice, out);
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
            .filter(|(item, _)| item.attempt == 1)
            .map(|(item, _)| usize::from(item.index))
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
        assert_eq!(self.returning, None, "came back without a record");
        assert_eq!(self.resolving, None, "not resolved");
        assert_eq!(self.announced, None, "a start of nothing");
        assert!(self.notes.is_empty(), "not recorded: {:?}", self.notes);
        let mut starting = self.starting.iter();
        let kept = starting.find(|starting| committed && starting.durable);
        assert!(kept.is_none(), "neither started nor withdrawn: {kept:?}");
        assert!(
            !committed || self.asked.is_empty(),
            "unanswered: {:?}",
            self.asked
        );
        self.check_holds(committed);
        if committed {
            self.unpausing.clear();
        }
        self.check_views(now, kernel);
        if !self.closing {
            self.check_nobody_idles(now);
        }
    }

    fn judge(&mut self, output: &Output, committed: bool, now: u64, kernel: &Kernel) {
        if let Some(batch) = self.announced {
            assert!(is_of_start(output, batch), "{batch} has not started");
        }
        match output {
            Output::Admitted {
                ticket,
                batch,
                position,
            } => self.admit(*ticket, *batch, *position, now),
            Output::Refused { ticket, refusal } => match self.asked.remove(ticket) {
                Some(Request::FailUndecodable(batch)) => {
                    let book = &self.books[&batch];
                    assert!(book.stage.has_ended(), "{book:?}");
                }
                Some(Request::Resolve(batch, index)) => {
                    assert_eq!(*refusal, Refusal::NotInDoubt);
                    assert!(!self.is_in_doubt(batch, index), "{index} of {batch}");
                }
                Some(Request::Submit { .. } | Request::Resume(_)) => {}
                other => unreachable!("{other:?} was refused"),
            },
            Output::Record { batch, event } => self.record(*batch, event, now, kernel),
            Output::Ack { ticket } => {
                assert!(committed, "an answer without a commit");
                self.acknowledge(*ticket);
            }
            Output::Start(slice) => self.start(slice, committed, now),
            Output::Close { batch } => {
                let book = self.book(*batch);
                assert!(book.stage.may_start());
                book.closed = true;
                book.was_stopped = true;
            }
            Output::Recall { slice } => self.recall(*slice),
            Output::Ended { batch, view } => {
                assert!(committed, "an end without a commit");
                let durable = &self.durable[batch];
                assert!(durable.stage.has_ended());
                let counts = (view.succeeded, view.failed, view.in_doubt);
                assert_eq!(counts, durable.recount());
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
            Some(Request::Resolve(batch, index)) => {
                let outcome = self.durable[&batch].items[usize::from(index)].outcome;
                assert!(matches!(
                    outcome,
                    Some(Outcome::Succeeded | Outcome::Failed)
                ));
            }
            // Another may have come since: what is in force then is looked at when all is out.
            Some(Request::Pause | Request::Unpause) => {}
            None => unreachable!("{ticket:?} was answered before"),
        }
    }

    fn record(&mut self, batch: BatchId, event: &Event, now: u64, kernel: &Kernel) {
        let in_flight = self.items_out(batch).next().is_some();
        let ahead = self.may_start_ahead(batch);
        let book = self.book(batch);
        let all_final = book.items.iter().all(|item| item.outcome.is_some());
        let stage = match (event, book.stage) {
            (Event::Started { .. }, Stage::Queued) if book.started || ahead => Stage::Running,
            (
                Event::ItemsEnded { .. } | Event::ItemsLost { .. } | Event::ItemsReturned { .. },
                Stage::Running | Stage::Stopping,
            ) => book.stage,
            (Event::ItemsStarted { .. }, Stage::Running) => book.stage,
            (Event::Suspected { .. } | Event::Charged { .. }, stage) if !stage.has_ended() => stage,
            (Event::Resolved { .. }, stage) if book.present => stage,
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
                let recorded = std::mem::take(&mut book.started);
                book.was_started = true;
                self.announced = (!recorded).then_some(batch);
            }
            Event::FailUndecodableRequested { .. } => book.fails = true,
            Event::ItemsEnded { items, .. } => self.items_ended(batch, items, now),
            Event::ItemsLost { items, loss, .. } => self.items_lost(batch, items, *loss, now),
            Event::ItemsStarted { indexes, .. } => self.items_started(batch, indexes, now),
            Event::ItemsReturned { indexes, .. } => self.items_returned(batch, indexes),
            Event::Suspected { indexes, .. } => self.suspected(batch, indexes),
            Event::Charged { index, crashes, .. } => self.charged(batch, *index, *crashes),
            Event::Resolved { item, .. } => self.resolved(batch, *item),
            Event::Completed { .. } | Event::Stopped { .. } => {
                assert!(book.items.iter().all(|item| !item.started), "{book:?}");
            }
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

    pub(super) fn book(&mut self, batch: BatchId) -> &mut Book {
        self.books.get_mut(&batch).expect("a known batch")
    }

    /// The process ends: what was not durable is gone, and unfinished batches are read back.
    pub(super) fn crash(&mut self, marks: &[Mark], now: u64) {
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
        self.starting.clear();
        self.handed_out.clear();
        self.asked.clear();
        self.given.clear();
        self.returning = None;
        self.resolving = None;
        self.notes.clear();
        self.expect_losses(marks);
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

/// Whether this records what a batch starts with.
fn is_of_start(output: &Output, of: BatchId) -> bool {
    let Output::Record { batch, event } = output else {
        return false;
    };
    let starts = matches!(event, Event::ItemsStarted { .. } | Event::ItemsLost { .. });
    *batch == of && starts
}
