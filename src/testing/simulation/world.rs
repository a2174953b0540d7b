//! All that goes on in a run, on one thread: who goes next is decided here, by the dice.
//!
//! While a handler runs or a commit is under way, others go on: the steps nest. Nobody goes on twice at once: who
//! does something is taken out of its place until it is done.

use super::checker::{Checker, Death, Held, Rule, Violation};
use super::clock::VirtualClock;
use super::dice::Dice;
use super::disk::{Disk, Fate};
use super::item::{Act, Item};
use super::kind::Kind;
use super::operations::Run;
use super::page_cache::PageCache;
use super::process::Process;
use super::sabotage::Sabotage;
use super::trace::{Event, Recorder, Trace};
use crate::kernel::BatchId;
use crate::store::journal::{Entry, Segment};
use crate::store::{Value, Writes, keys};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Steps within steps, at most.
const DEPTH: usize = 4;

/// Operations that are used in a run: with all of them there would be little of each.
const KINDS: usize = 4;

/// How seldom the process ends inside a handler or a commit. A run has some hundreds of chances.
const CRASH_ONCE_IN: u64 = 400;

pub(super) struct World {
    sabotage: Option<Sabotage>,
    /// The operations that clients use.
    pub(super) kinds: Vec<Kind>,
    dice: Mutex<Dice>,
    recorder: Mutex<Recorder>,
    checker: Mutex<Checker>,
    violation: Mutex<Option<Violation>>,
    pub(super) disk: Disk,
    pub(super) page_cache: PageCache,
    pub(super) clock: VirtualClock,
    /// Counts processes; one with another number has ended.
    opening: AtomicU64,
    /// The process that is alive, once it is open.
    process: Mutex<Option<Process>>,
    depth: AtomicUsize,
    committing: AtomicBool,
    /// Disk and processes fail, and clients ask.
    is_rough: AtomicBool,
    /// The workers that run something, the innermost last.
    at_work: Mutex<Vec<usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(mut dice: Dice, sabotage: Option<Sabotage>, with_text: bool) -> Self {
        let mut kinds = Kind::ALL.to_vec();
        while kinds.len() > KINDS {
            let at = dice.below(kinds.len() as u64);
            kinds.remove(usize::try_from(at).unwrap_or(0));
        }
        Self {
            sabotage,
            kinds,
            dice: Mutex::new(dice),
            recorder: Mutex::new(Recorder::new(with_text)),
            checker: Mutex::default(),
            violation: Mutex::default(),
            disk: Disk::default(),
            page_cache: PageCache::default(),
            clock: VirtualClock::new(),
            opening: AtomicU64::new(0),
            process: Mutex::default(),
            depth: AtomicUsize::new(0),
            committing: AtomicBool::new(false),
            is_rough: AtomicBool::new(true),
            at_work: Mutex::default(),
        }
    }

    pub(super) fn sabotage(&self) -> Option<Sabotage> {
        self.sabotage
    }

    pub(super) fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// A number below `n`.
    pub(super) fn roll(&self, n: u64) -> u64 {
        lock(&self.dice).below(n)
    }

    /// True once in `n` times.
    pub(super) fn once_in(&self, n: u64) -> bool {
        self.roll(n) == 0
    }

    pub(super) fn pick<T: Clone>(&self, list: &[T]) -> Option<T> {
        if list.is_empty() {
            return None;
        }
        let at = self.roll(list.len() as u64);
        list.get(usize::try_from(at).unwrap_or(0)).cloned()
    }

    pub(super) fn note(&self, event: &Event<'_>) {
        lock(&self.recorder).note(self.depth(), event);
    }

    pub(super) fn trace(&self) -> Trace {
        lock(&self.recorder).trace()
    }

    pub(super) fn checker(&self) -> MutexGuard<'_, Checker> {
        lock(&self.checker)
    }

    /// Ends the run, if this is a violation.
    pub(super) fn judge(&self, held: Held) {
        if let Err(violation) = held {
            lock(&self.violation).get_or_insert(violation);
        }
    }

    pub(super) fn fail(&self, rule: Rule, what: String) {
        self.judge(Err(Violation { rule, what }));
    }

    pub(super) fn violation(&self) -> Option<Violation> {
        lock(&self.violation).clone()
    }

    pub(super) fn is_over(&self) -> bool {
        lock(&self.violation).is_some()
    }

    pub(super) fn process(&self) -> MutexGuard<'_, Option<Process>> {
        lock(&self.process)
    }

    /// The number of the process that is alive.
    pub(super) fn opening(&self) -> u64 {
        self.opening.load(Ordering::Relaxed)
    }

    pub(super) fn lives(&self, opening: u64) -> bool {
        self.opening() == opening
    }

    /// A process begins; its number.
    pub(super) fn begin(&self) -> u64 {
        self.opening.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The process ends, or the power does. What is left of it on the stack does nothing more.
    pub(super) fn crash(&self) {
        if self.once_in(2) {
            return self.kill();
        }
        self.note(&Event::PowerCut);
        self.page_cache.lose();
        self.end_process(Death::PowerCut);
    }

    /// The process ends.
    pub(super) fn kill(&self) {
        self.note(&Event::Killed);
        self.end_process(Death::Killed);
    }

    pub(super) fn end_process(&self, death: Death) {
        self.begin();
        self.checker().process_ended(death, self.clock.now_ms());
        let process = self.process().take();
        if let Some(process) = process {
            process.end();
        }
    }

    pub(super) fn pass_ms(&self, ms: u64) {
        self.clock.advance(ms);
        let now_ms = self.clock.now_ms();
        self.note(&Event::Clock { now_ms });
    }

    pub(super) fn is_rough(&self) -> bool {
        self.is_rough.load(Ordering::Relaxed)
    }

    pub(super) fn calm_down(&self) {
        self.is_rough.store(false, Ordering::Relaxed);
    }

    /// Whether a commit is under way: no view can be had.
    pub(super) fn is_committing(&self) -> bool {
        self.committing.load(Ordering::Relaxed)
    }

    pub(super) fn committing<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.committing.store(true, Ordering::Relaxed);
        let done = commit();
        self.committing.store(false, Ordering::Relaxed);
        done
    }

    /// What the disk does with the next commit.
    pub(super) fn draw_fate(&self) -> Fate {
        if !self.is_rough() {
            return Fate::Done;
        }
        match self.roll(150) {
            0 => Fate::FailedNotDone,
            1 => Fate::FailedDone,
            2 | 3 => Fate::CrashNotDone,
            4 | 5 => Fate::CrashDone,
            _ => Fate::Done,
        }
    }

    /// Under sabotage: whether a commit is durable only with the next.
    pub(super) fn is_late(&self, writes: &Writes) -> bool {
        let Some(sabotage) = self.sabotage else {
            return false;
        };
        let kind = |(key, value): &(Vec<u8>, _)| (key.first().copied(), Option::is_some(value));
        let sets = |prefix| writes.0.iter().any(|row| kind(row) == (Some(prefix), true));
        let removes = |prefix| {
            writes
                .0
                .iter()
                .any(|row| kind(row) == (Some(prefix), false))
        };
        match sabotage {
            Sabotage::AnswersBeforeCommit => sets(b'b'),
            Sabotage::OutcomesBeforeCommit => sets(b'z') && !sets(b'b'),
            Sabotage::DeletionsBeforeCommit => removes(b'b'),
            Sabotage::PausesBeforeCommit => (sets(b'p') || removes(b'p')) && !sets(b'b'),
            Sabotage::LostCommits => self.once_in(4),
            Sabotage::StartsBeforeCommit => {
                let is_start = |entry: &Entry<'_>| matches!(entry, Entry::ItemsStarted { .. });
                writes.0.iter().any(|row| has_entry(row, is_start))
            }
            Sabotage::ResolutionsBeforeCommit => {
                let is_resolution = |entry: &Entry<'_>| matches!(entry, Entry::Resolved(_));
                writes.0.iter().any(|row| has_entry(row, is_resolution))
            }
            _ => false,
        }
    }

    fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Others go on while something of this process is under way.
    pub(super) fn meanwhile(&self, opening: u64) {
        if self.depth() >= DEPTH || !self.lives(opening) {
            return;
        }
        if self.is_rough() && self.once_in(CRASH_ONCE_IN) {
            return self.crash();
        }
        let steps = self.roll(6).saturating_sub(3);
        self.depth.fetch_add(1, Ordering::Relaxed);
        for _ in 0..steps {
            if !self.lives(opening) || self.is_over() {
                break;
            }
            // A handler that this is in would catch it and take it for its own.
            if catch_unwind(AssertUnwindSafe(|| self.step())).is_err() {
                self.fail(Rule::NothingPanics, "the engine panicked".to_owned());
            }
        }
        self.depth.fetch_sub(1, Ordering::Relaxed);
    }

    /// A worker does something.
    pub(super) fn at_work<T>(&self, worker: usize, work: impl FnOnce() -> T) -> T {
        lock(&self.at_work).push(worker);
        let done = work();
        lock(&self.at_work).pop();
        done
    }

    /// The worker on whose thread this is.
    pub(super) fn worker_at_work(&self) -> usize {
        lock(&self.at_work).last().copied().unwrap_or(usize::MAX)
    }

    /// A handler begins; whether its batch runs failed items again, or `None` when it must not go on.
    pub(super) fn began(&self, opening: u64, call: &Run, item: &Item) -> Option<bool> {
        if !self.lives(opening) || self.is_over() {
            return None;
        }
        let Run {
            worker,
            batch,
            index,
            attempt,
            ..
        } = *call;
        self.note(&Event::Began {
            worker,
            batch,
            index,
            attempt,
        });
        let beginning = self
            .process()
            .as_ref()?
            .beginning(worker, batch, self.clock.now_ms());
        match self.checker().began(call, item, beginning) {
            Ok(again) => Some(again),
            Err(violation) => {
                self.judge(Err(violation));
                None
            }
        }
    }

    pub(super) fn returned(&self, opening: u64, call: &Run, act: Act) {
        if !self.lives(opening) {
            return;
        }
        self.note(&Event::Returned {
            batch: call.batch,
            index: call.index,
            attempt: call.attempt,
            how: act.name(),
        });
        let held = self.checker().returned(call, act, self.clock.now_ms());
        self.judge(held);
    }
}

/// Whether a row is a part of a journal with such an entry.
fn has_entry(row: &(Vec<u8>, Option<Value>), is_it: impl Fn(&Entry<'_>) -> bool) -> bool {
    let (key, Some(value)) = row else {
        return false;
    };
    let Some(batch) = keys::batch_of(key).filter(|_| key.first() == Some(&b'z')) else {
        return false;
    };
    let Ok(mut entries) = Segment::open(batch, key, value) else {
        return false;
    };
    entries.any(|entry| entry.is_ok_and(|entry| is_it(&entry)))
}

pub(super) fn id(batch: u64) -> BatchId {
    BatchId::from(batch)
}
