//! What the threads of a queue and its handles share.

use super::beat::Posts;
use super::command::{Command, Steered, Submission, Submitted};
use super::engine::Engine;
use super::gate::Gate;
use super::handler::Handler;
use super::hub::Hub;
use super::live::{Live, Registry};
use crate::clock::Timeline;
use crate::error::BatchError;
use crate::events::QueueEvent;
use crate::histogram::Histogram;
use crate::kernel::{BatchId, OperationIndex, Promise};
use crate::limits::Limits;
use crate::observe::{self, OperationMeters};
use crate::process;
use crate::status::Blocked;
use crate::store::vault::Vault;
use crate::waiting;
use arc_swap::ArcSwapOption;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::cell::RefCell;
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

/// An operation that is registered, or that stored batches name.
pub(crate) struct Registered {
    pub(crate) name: Arc<str>,
    /// Names that it had before.
    pub(crate) aliases: &'static [&'static str],
    /// Absent when the application did not register it.
    pub(crate) handler: Option<Arc<dyn Handler>>,
    /// Why it was paused by request, while it is.
    pub(crate) paused: ArcSwapOption<String>,
    /// Closes the gates of its batches while it is paused.
    pub(crate) gate: Arc<AtomicBool>,
    /// Which item could not be decoded and why, while that holds the operation.
    pub(crate) undecodable: ArcSwapOption<String>,
    pub(crate) promise: Promise,
    /// How long its handlers may take.
    pub(crate) timeout: Option<Duration>,
    pub(crate) counters: Counters,
    pub(crate) meters: OperationMeters,
}

impl Registered {
    pub(crate) fn new(
        name: &str,
        aliases: &'static [&'static str],
        handler: Option<Arc<dyn Handler>>,
    ) -> Self {
        Self {
            name: Arc::from(name),
            aliases,
            promise: handler
                .as_ref()
                .map_or(Promise::AtLeastOnce, |handler| handler.promise()),
            timeout: handler.as_ref().and_then(|handler| handler.timeout()),
            handler,
            paused: ArcSwapOption::empty(),
            gate: Arc::new(AtomicBool::new(false)),
            undecodable: ArcSwapOption::empty(),
            counters: Counters::default(),
            meters: OperationMeters::new(name),
        }
    }

    /// Whether it is, or was, called `name`.
    pub(crate) fn answers_to(&self, name: &str) -> bool {
        *self.name == *name || self.aliases.contains(&name)
    }

    /// Lets nothing of it start: at once, and before anybody is told.
    pub(crate) fn close_gate(&self) {
        self.gate.store(true, Ordering::SeqCst);
    }

    pub(crate) fn show_paused(&self, reason: String) {
        self.paused.store(Some(Arc::new(reason)));
    }

    pub(crate) fn unpause(&self) {
        self.paused.store(None);
        self.gate.store(false, Ordering::SeqCst);
    }

    /// Why nothing of it can start, if so.
    pub(crate) fn blocked(&self) -> Option<Blocked> {
        if self.handler.is_none() {
            return Some(Blocked::Unregistered);
        }
        let text = |reason: Arc<String>| (*reason).clone();
        if let Some(reason) = self.undecodable.load_full() {
            let reason = text(reason);
            return Some(Blocked::Undecodable { reason });
        }
        let reason = self.paused.load_full().map(text)?;
        Some(Blocked::Paused { reason })
    }
}

/// Totals since the queue was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) submitted: AtomicU64,
    pub(crate) succeeded: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) panicked: AtomicU64,
    pub(crate) in_doubt: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    /// Durations of attempts.
    pub(crate) attempts: Histogram,
}

/// The writer's totals since the queue was opened.
#[derive(Debug, Default)]
pub(crate) struct WriterCounters {
    /// Items accepted and outcomes.
    pub(crate) items: AtomicU64,
    /// Durations of commits.
    pub(crate) commits: Histogram,
}

/// Why a request has no answer. The queue has failed, or is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The writer has not seen the request: nothing is stored.
    NotBegun,
    /// It may be in force when the queue is opened again.
    Unknown,
}

/// What to add to [`Counters`] and [`WriterCounters`].
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    /// Items of the batches that were submitted.
    pub(crate) accepted: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) panicked: u64,
    pub(crate) in_doubt: u64,
    pub(crate) timed_out: u64,
}

impl Counters {
    pub(crate) fn add(&self, counts: &Counts) {
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        add(&self.submitted, counts.submitted);
        add(&self.succeeded, counts.succeeded);
        add(&self.failed, counts.failed);
        add(&self.retried, counts.retried);
        add(&self.panicked, counts.panicked);
        add(&self.in_doubt, counts.in_doubt);
        add(&self.timed_out, counts.timed_out);
    }
}

impl Counts {
    /// Items accepted, and items with an outcome.
    fn items(&self) -> u64 {
        self.accepted + self.succeeded + self.failed + self.in_doubt
    }
}

impl WriterCounters {
    /// A commit is durable.
    pub(crate) fn add<'a>(&self, took: Duration, counts: impl Iterator<Item = &'a Counts>) {
        let items = counts.map(Counts::items);
        self.items.fetch_add(items.sum(), Ordering::Relaxed);
        self.commits.record([took]);
    }
}

pub(crate) struct Shared {
    pub(crate) commands: Sender<Command>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) timeline: Arc<Timeline>,
    pub(crate) operations: Vec<Registered>,
    pub(crate) registry: Registry,
    pub(crate) hub: Arc<Hub>,
    pub(crate) limits: Limits,
    pub(crate) store_id: u128,
    /// False when handlers run only while somebody drains the queue, or never.
    pub(crate) has_workers: bool,
    /// Batches from this one on were submitted since the queue was opened.
    pub(crate) first_new_batch: BatchId,
    /// Batches deleted since the queue was opened.
    pub(crate) deleted: AtomicU64,
    pub(crate) writer_counters: WriterCounters,
    /// Nothing may start: the queue closes or has failed.
    pub(crate) closed: Arc<AtomicBool>,
    failed: OnceLock<String>,
    /// What the application's handles hold.
    engine: OnceLock<Weak<Engine>>,
    /// Dropped when the writer answers no more: ends `latch` for everybody who waits for an answer.
    latch_holder: Mutex<Option<Sender<()>>>,
    latch: Receiver<()>,
    threads: Threads,
    pub(crate) posts: Arc<Posts>,
    room: Signal,
    /// Raised too when the queue closes.
    clock_jumped: Signal,
    /// Odd while a commit is under way; grows with each.
    commit_phase: AtomicU64,
}

// A caller's panic leaves nothing half done here: foreign code runs under no lock, and threads of the queue
// that panic fail it.
impl RefUnwindSafe for Shared {}

impl Shared {
    pub(crate) fn new(
        commands: Sender<Command>,
        vault: Arc<Vault>,
        timeline: Arc<Timeline>,
        operations: Vec<Registered>,
        limits: Limits,
        store_id: u128,
        first_new_batch: BatchId,
    ) -> Self {
        let (latch_holder, latch) = bounded(0);
        Self {
            commands,
            vault,
            timeline,
            operations,
            registry: Registry::default(),
            hub: Arc::default(),
            limits,
            store_id,
            has_workers: true,
            first_new_batch,
            deleted: AtomicU64::new(0),
            clock_jumped: Signal::default(),
            writer_counters: WriterCounters::default(),
            closed: Arc::new(AtomicBool::new(false)),
            failed: OnceLock::new(),
            engine: OnceLock::new(),
            latch_holder: Mutex::new(Some(latch_holder)),
            latch,
            threads: Threads::default(),
            posts: Arc::default(),
            room: Signal::default(),
            commit_phase: AtomicU64::new(0),
        }
    }

    pub(crate) fn operation(&self, index: OperationIndex) -> &Registered {
        &self.operations[index.0]
    }

    /// The operation that is, or was, called `name`.
    pub(crate) fn operation_named(&self, name: &str) -> Option<OperationIndex> {
        let at = self.operations.iter().position(|op| op.answers_to(name));
        at.map(OperationIndex)
    }

    /// To be called once, before there are threads.
    pub(crate) fn set_engine(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(Arc::downgrade(engine));
    }

    /// The queue, while somebody holds it and it is open.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        let engine = self.engine.get()?.upgrade()?;
        // A handle that goes away here may be the last.
        (!self.is_closed()).then_some(engine)
    }

    /// Why the queue has failed, if it has.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Latches the queue as failed: nothing starts, nothing is answered, everybody who waits is woken.
    pub(crate) fn fail(&self, reason: String) {
        self.latch(reason);
        self.wake_all();
    }

    /// Latches the queue as failed, and leaves it to the caller to [`wake_all`](Self::wake_all).
    pub(crate) fn latch(&self, reason: String) {
        let first = self.failed.set(reason).is_ok();
        self.closed.store(true, Ordering::SeqCst);
        // Before anything that takes a lock: a reader may hold it while it waits for the commit.
        self.vault.close();
        if let Some(reason) = self.failure().filter(|_| first) {
            observe::latched(reason);
            let reason = reason.to_owned();
            self.hub.end(Some(QueueEvent::QueueFailed { reason }));
        }
    }

    /// Tells those who subscribed to the queue's events. What the event speaks of must be durable.
    pub(crate) fn tell(&self, event: QueueEvent) {
        self.hub.tell(event);
    }

    /// Wakes everybody who waits for something that a failed or closed queue does not give.
    pub(crate) fn wake_all(&self) {
        let holder = self.latch_holder.lock();
        *holder.unwrap_or_else(PoisonError::into_inner) = None;
        for live in self.registry.all() {
            live.wake();
        }
        self.room.raise();
        self.clock_jumped.raise();
        // The writer may be idle; when the channel is full it is not.
        let _ = self.commands.try_send(Command::Tick);
    }

    /// Asks the writer for something and waits for the answer.
    pub(crate) fn ask<A>(
        &self,
        command: impl FnOnce(Sender<A>) -> Command,
    ) -> Result<A, Unanswered> {
        let (reply, answer) = bounded(1);
        let command = command(reply);
        select! {
            send(self.commands, command) -> sent => sent.map_err(|_| Unanswered::NotBegun)?,
            recv(self.latch) -> _ => return Err(Unanswered::NotBegun),
        }
        select! {
            recv(answer) -> answer => answer.map_err(|_| Unanswered::Unknown),
            // The queue failed or closed. The answer may have come in at the same time.
            recv(self.latch) -> _ => answer.try_recv().map_err(|_| Unanswered::Unknown),
        }
    }

    /// Has the writer store a submission.
    pub(crate) fn submit(
        self: &Arc<Self>,
        submission: Submission,
    ) -> Result<Submitted, BatchError> {
        // Items may have been drawn since the last look, from an application that forks.
        process::check()?;
        if self.keeps_writer_waiting() {
            return Err(BatchError::WouldDeadlock);
        }
        let submitted = self.ask(|reply| Command::Submit(Box::new(submission), reply));
        submitted.map_err(|unanswered| self.unanswered(unanswered))
    }

    /// What a caller is told whose request has no answer.
    fn unanswered(&self, unanswered: Unanswered) -> BatchError {
        match (unanswered, self.gone()) {
            (Unanswered::Unknown, BatchError::Failed { reason }) => BatchError::Unknown { reason },
            (_, gone) => gone,
        }
    }

    /// Asks the writer to steer a batch or an operation. What it answers is about that one.
    pub(crate) fn steer(
        self: &Arc<Self>,
        command: impl FnOnce(Sender<Steered>) -> Command,
    ) -> Result<Steered, BatchError> {
        self.check()?;
        if self.keeps_writer_waiting() {
            return Err(BatchError::WouldDeadlock);
        }
        match self.ask(command) {
            Ok(Steered::Unreadable { reason }) => Err(BatchError::Unreadable { reason }),
            Ok(Steered::Full { limit }) => Err(BatchError::Full { limit }),
            Ok(Steered::Closing) => Err(BatchError::Closed),
            Ok(Steered::Failed) => Err(self.gone()),
            Ok(answer) => Ok(answer),
            Err(unanswered) => Err(self.unanswered(unanswered)),
        }
    }

    /// Whether the writer answers nobody before this thread goes on.
    fn keeps_writer_waiting(self: &Arc<Self>) -> bool {
        is_engaged(self, Role::Reader) || is_engaged(self, Role::Writer)
    }

    /// Refuses in a forked child, and when the queue has failed or is closed.
    pub(crate) fn check(&self) -> Result<(), BatchError> {
        process::check()?;
        if self.is_closed() {
            return Err(self.gone());
        }
        Ok(())
    }

    /// Why the queue no longer answers.
    pub(crate) fn gone(&self) -> BatchError {
        match self.failure() {
            Some(reason) => BatchError::Failed {
                reason: reason.to_owned(),
            },
            None if self.is_closed() => BatchError::Closed,
            // A thread of ours is on its way down.
            None => BatchError::Failed {
                reason: "a defect of batchwright: its writer has ended".to_owned(),
            },
        }
    }

    /// Why nothing of the batch can start, if so.
    pub(crate) fn blocked(&self, live: &Live) -> Option<Blocked> {
        match live.operation {
            Some(index) => self.operation(index).blocked(),
            None => Some(Blocked::Unregistered),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Makes everybody look again who waits for a batch of the operation.
    pub(crate) fn wake_operation(&self, operation: OperationIndex) {
        let lives = self.registry.all();
        for live in &lives {
            if live.operation == Some(operation) {
                live.wake();
            }
        }
    }

    pub(crate) fn clock_jumped(&self) {
        self.clock_jumped.raise();
    }

    /// For [`wait_for_clock`](Self::wait_for_clock): ask before looking at the clock.
    pub(crate) fn jumps_seen(&self) -> u64 {
        self.clock_jumped.seen()
    }

    /// Waits until the clock jumped after `seen`, the queue closes, or `limit` has passed.
    pub(crate) fn wait_for_clock(&self, seen: u64, limit: Duration) {
        let deadline = Instant::now().checked_add(limit);
        self.clock_jumped.wait_past(seen, deadline);
    }

    pub(crate) fn made_room(&self) {
        self.room.raise();
    }

    /// Waits until a batch ended after `seen`, or the queue closes.
    pub(crate) fn wait_for_room(&self, seen: u64) {
        self.room.wait_past(seen, None);
    }

    /// For [`wait_for_room`](Self::wait_for_room): ask before finding that there is none.
    pub(crate) fn room_seen(&self) -> u64 {
        self.room.seen()
    }

    pub(crate) fn commit_begins(&self) {
        self.commit_phase.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn commit_ends(&self) {
        self.commit_phase.fetch_add(1, Ordering::AcqRel);
    }

    /// Which commit is under way, if one is.
    pub(crate) fn commit_under_way(&self) -> Option<u64> {
        let phase = self.commit_phase.load(Ordering::Acquire);
        (phase % 2 == 1).then_some(phase)
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    pub(crate) fn live_of(
        &self,
        facts: super::live::Facts,
        progress: super::live::Progress,
    ) -> Live {
        let paused = facts.operation.map(|index| &self.operation(index).gate);
        let paused = paused.map(Arc::clone).unwrap_or_default();
        let gate = Gate::new(paused, Arc::clone(&self.closed));
        Live::new(facts, progress, gate)
    }
}

/// A number that only grows, and that can be waited for.
#[derive(Debug, Default)]
struct Signal {
    value: Mutex<u64>,
    raised: Condvar,
}

impl Signal {
    fn value(&self) -> MutexGuard<'_, u64> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> u64 {
        *self.value()
    }

    fn raise(&self) {
        *self.value() += 1;
        self.raised.notify_all();
    }

    /// False when `deadline` came first.
    fn wait_past(&self, seen: u64, deadline: Option<Instant>) -> bool {
        let mut value = self.value();
        while *value <= seen {
            let Some(woken) = waiting::wait(&self.raised, value, deadline) else {
                return false;
            };
            value = woken;
        }
        true
    }
}

/// The queue's threads: how many were started, and how many have ended.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    started: AtomicU64,
    ended: Signal,
}

impl Threads {
    /// To be held by a thread until everything else it holds is dropped.
    pub(crate) fn enter(shared: &Arc<Shared>) -> Presence {
        shared.threads.started.fetch_add(1, Ordering::SeqCst);
        Presence(Arc::clone(shared))
    }

    /// Waits until all have ended; false when `deadline` came first.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        loop {
            let started = self.started.load(Ordering::SeqCst);
            if self.ended.seen() >= started {
                return true;
            }
            if !self.ended.wait_past(started - 1, deadline) {
                return false;
            }
        }
    }
}

pub(crate) struct Presence(Arc<Shared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.threads.ended.raise();
    }
}

thread_local! {
    /// What this thread is doing for which queue.
    static ENGAGED: RefCell<Vec<(*const Shared, Role)>> = const { RefCell::new(Vec::new()) };
}

/// What a thread does for a queue that keeps it from waiting for that queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It runs handlers, or is another thread of the queue: a batch or a shutdown may wait for it.
    Worker,
    /// It holds a view: commits wait for it.
    Reader,
    /// It is the writer, in foreign code as a waker: every answer waits for it.
    Writer,
}

/// While it lives, this thread has a role in the queue.
pub(crate) struct Engagement(*const Shared, Role);

impl Engagement {
    pub(crate) fn begin(shared: &Arc<Shared>, role: Role) -> Self {
        let queue = Arc::as_ptr(shared);
        ENGAGED.with_borrow_mut(|engaged| engaged.push((queue, role)));
        Self(queue, role)
    }
}

impl Drop for Engagement {
    fn drop(&mut self) {
        ENGAGED.with_borrow_mut(|engaged| {
            if let Some(at) = engaged.iter().rposition(|e| *e == (self.0, self.1)) {
                engaged.remove(at);
            }
        });
    }
}

/// Whether this thread has the role in the queue.
pub(crate) fn is_engaged(shared: &Arc<Shared>, role: Role) -> bool {
    let queue = Arc::as_ptr(shared);
    engagements(|engaged| engaged.contains(&(queue, role)))
}

/// Whether this thread has any role in the queue: if it waited for a batch or a shutdown, it might wait for
/// itself.
pub(crate) fn would_wait_for_itself(queue: *const Shared) -> bool {
    engagements(|engaged| engaged.iter().any(|(other, _)| *other == queue))
}

fn engagements(ask: impl FnOnce(&[(*const Shared, Role)]) -> bool) -> bool {
    // A thread that ends drops its thread-locals, and a queue may be in one: by then it has no role.
    let asked = ENGAGED.try_with(|engaged| ask(&engaged.borrow()));
    asked.unwrap_or(false)
}
