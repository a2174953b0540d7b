//! All that goes on in a run, on one thread: who goes next is decided here, by the dice.
//!
//! While a handler runs or a commit is under way, others go on: the steps nest. Nobody goes on twice at once: who
//! does something is taken out of its place until it is done.

use super::checker::{Checker, Held, Rule, Violation};
use super::clock::VirtualClock;
use super::dice::Dice;
use super::disk::{Disk, Fate};
use super::item::{Act, Item};
use super::operations::Call;
use super::process::Process;
use super::sabotage::Sabotage;
use super::trace::{Event, Recorder, Trace};
use crate::kernel::BatchId;
use crate::store::Writes;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Steps within steps, at most.
const DEPTH: usize = 4;

/// How seldom the process ends inside a handler or a commit. A run has some hundreds of chances.
const CRASH_ONCE_IN: u64 = 400;

pub(super) struct World {
    sabotage: Option<Sabotage>,
    dice: Mutex<Dice>,
    recorder: Mutex<Recorder>,
    checker: Mutex<Checker>,
    violation: Mutex<Option<Violation>>,
    pub(super) disk: Disk,
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
    pub(super) fn new(dice: Dice, sabotage: Option<Sabotage>, with_text: bool) -> Self {
        Self {
            sabotage,
            dice: Mutex::new(dice),
            recorder: Mutex::new(Recorder::new(with_text)),
            checker: Mutex::default(),
            violation: Mutex::default(),
            disk: Disk::default(),
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

    /// The process ends. What is left of it on the stack does nothing more.
    pub(super) fn crash(&self) {
        self.note(&Event::Crashed);
        self.end_process();
    }

    pub(super) fn end_process(&self) {
        self.begin();
        self.checker().crashed();
        let process = self.process().take();
        if let Some(process) = process {
            process.end();
        }
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
            self.step();
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
    pub(super) fn began(&self, opening: u64, call: &Call, item: &Item) -> Option<bool> {
        if !self.lives(opening) || self.is_over() {
            return None;
        }
        let Call {
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

    pub(super) fn returned(&self, opening: u64, call: &Call, act: Act) {
        if !self.lives(opening) {
            return;
        }
        self.note(&Event::Returned {
            batch: call.batch,
            index: call.index,
            attempt: call.attempt,
            how: act.name(),
        });
        self.checker().returned(call, act, self.clock.now_ms());
    }
}

pub(super) fn id(batch: u64) -> BatchId {
    BatchId::from(batch)
}
