//! The writer: drains its channel, folds all commands into one commit, then answers, publishes and hands
//! out work. While it syncs, the next group gathers in the channel: no timer is needed.

use super::beat::Attempt;
use super::command::{Command, Finished, Job, Steered, Submission, Submitted, Work};
use super::failures::FailureCounts;
use super::gate::Claim;
use super::live::{Live, Progress};
use super::pace::Pace;
use super::recovery;
use super::resolving::Resolved;
use super::round::Round;
use super::shared::Shared;
use super::tables::{Lessor, Tables};
use crate::events::QueueEvent;
use crate::kernel::{
    BatchId, BatchView, Input, Kernel, Mark, OperationIndex, Output, Promise, Refusal, Slice,
    SliceId, Ticket, Timestamp,
};
use crate::limits;
use crate::observe::{self, WriterMeters};
use crate::status::Blocked;
use crate::store::StoreError;
use crate::store::journal::Block;
use crate::store::vault::Committer;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the writer puts work for workers.
pub(crate) struct Outlets {
    pub(crate) work: Sender<Work>,
    pub(crate) leased: Sender<Job>,
    /// Where workers return the lease.
    pub(crate) lease_home: Receiver<Box<Tables>>,
    /// The other end of `leased`, to see whether slices wait for the lease.
    pub(crate) leased_queue: Receiver<Job>,
}

pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    commands: Receiver<Command>,
    pub(super) kernel: Kernel,
    pub(super) committer: Committer,
    pub(super) outlets: Outlets,
    /// The lease, while no worker holds it.
    lease: Option<Box<Tables>>,
    lessor: Lessor,
    /// Starts a worker in the place of one that hangs; false when it cannot.
    replace: Box<dyn Fn() -> bool + Send>,
    /// How often to look for handlers whose time is up, when there may be some.
    look_every: Option<Duration>,
    durable_writes: Arc<AtomicU64>,
    pub(super) active: HashMap<BatchId, Active>,
    claims: HashMap<SliceId, Arc<Claim>>,
    pub(super) callers: BTreeMap<Ticket, Caller>,
    next_ticket: u64,
    pub(super) round: Round,
    /// Submitters for whom the store cannot be read, to be told with the failure of the queue.
    pub(super) unbegun: Vec<Sender<Submitted>>,
    /// Commands that waited for a commit.
    deferred: VecDeque<Command>,
    /// The idempotency key that was looked at last.
    pub(super) swept_key: Option<Vec<u8>>,
    meters: WriterMeters,
    /// Whom to tell of what was published.
    news: Vec<News>,
    closing: bool,
}

/// Something was published of the batch.
enum News {
    /// For those who want to know of every change.
    Changed(Arc<Live>),
    /// For everybody: what ran of it has ended, and nothing more will; or it is deleted.
    Settled(Arc<Live>),
}

/// An unfinished batch.
#[derive(Clone)]
pub(crate) struct Active {
    pub(crate) live: Arc<Live>,
    pub(crate) failures: FailureCounts,
    pub(crate) pace: Pace,
    pub(crate) next_segment: u32,
    pub(crate) journal_bytes: usize,
}

/// Who waits for an answer.
pub(super) enum Caller {
    /// The submission, until it is admitted.
    Submitter(Sender<Submitted>, Option<Box<Submission>>),
    Admitted(Sender<Submitted>, BatchId),
    Steerer(Sender<Steered>),
    Resumer(Sender<Steered>, Active),
    /// With the reason.
    Pauser(Sender<Steered>, OperationIndex, String),
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        kernel: Kernel,
        committer: Committer,
        outlets: Outlets,
        lessor: Lessor,
        durable_writes: Arc<AtomicU64>,
    ) -> Self {
        let timeouts = shared.operations.iter().filter_map(|op| op.timeout);
        let look_every = timeouts.min().map(|least| {
            let (soonest, latest) = (Duration::from_millis(1), Duration::from_secs(1));
            (least / 8).clamp(soonest, latest)
        });
        Self {
            look_every,
            shared,
            commands,
            kernel,
            committer,
            outlets,
            lease: Some(Box::new(lessor.grant())),
            lessor,
            replace: Box::new(|| false),
            durable_writes,
            active: HashMap::new(),
            claims: HashMap::new(),
            callers: BTreeMap::new(),
            next_ticket: 0,
            round: Round::default(),
            unbegun: Vec::new(),
            deferred: VecDeque::new(),
            swept_key: None,
            meters: WriterMeters::new(),
            news: Vec::new(),
            closing: false,
        }
    }

    /// Sets what starts a worker in the place of one that hangs.
    pub(crate) fn replace_with(&mut self, replace: impl Fn() -> bool + Send + 'static) {
        self.replace = Box::new(replace);
    }

    /// Takes in the store's unfinished batches and what their workers had in their hands, and makes what follows durable.
    pub(crate) fn recover(
        &mut self,
        loaded: recovery::Loaded,
        marks: &[Mark],
    ) -> Result<(), StoreError> {
        for active in loaded.active {
            self.shared.registry.insert(&active.live);
            self.active.insert(active.live.id, active);
        }
        let now = self.shared.timeline.now();
        let outputs = self.kernel.recover(loaded.batches, marks, now);
        self.act(outputs, &Block::default())?;
        self.commit_round()
    }

    /// Works until the queue is closed and nothing is in flight, or until the store fails.
    pub(crate) fn run(mut self) {
        while let Some(command) = self.receive() {
            if let Err(StoreError(reason)) = self.tick(command) {
                return self.fail(reason);
            }
        }
        self.end();
    }

    /// The queue is closed and nothing is in flight.
    pub(super) fn end(self) {
        self.shared.vault.close();
        self.shared.hub.end(None);
        // The channel keeps what comes in from now on: who waits for an answer must not wait for that.
        self.shared.wake_all();
    }

    /// Whether [`receive`](Self::receive) would wait.
    #[cfg(feature = "testing")]
    pub(super) fn would_wait(&self) -> bool {
        let through = self.closing && self.kernel.slices_in_flight() == 0 && self.lease.is_some();
        let to_close = self.shared.is_closed() && !self.closing;
        let wake = self.kernel.next_wake().filter(|_| !self.closing);
        let is_due = wake.is_some_and(|due| due <= self.shared.timeline.now());
        let waits = self.deferred.is_empty() && !self.round.has_writes();
        waits && !through && !to_close && !is_due && self.commands.is_empty()
    }

    /// Whether [`tick`](Self::tick) would find a handler whose time is up.
    #[cfg(feature = "testing")]
    pub(super) fn sees_overdue(&self) -> bool {
        let now = self.shared.timeline.elapsed();
        self.look_every.is_some() && self.shared.posts.has_overdue(now)
    }

    pub(super) fn receive(&mut self) -> Option<Command> {
        if let Some(command) = self.deferred.pop_front() {
            return Some(command);
        }
        // What followed from the last commit waits for its own.
        if self.round.has_writes() {
            return Some(Command::Tick);
        }
        if self.closing && self.kernel.slices_in_flight() == 0 && self.lease.is_some() {
            return None;
        }
        // Whoever closed the queue may have found the channel full.
        if self.shared.is_closed() && !self.closing {
            return Some(Command::Close);
        }
        let now = self.shared.timeline.now();
        let wake = self.kernel.next_wake().filter(|_| !self.closing);
        let due = wake.map(|due| due.since(now).min(limits::CLOCK_LOOK));
        let look = self
            .look_every
            .filter(|_| self.kernel.slices_in_flight() > 0);
        let Some(wait) = due.into_iter().chain(look).min() else {
            return self.commands.recv().ok();
        };
        match self.commands.recv_timeout(wait) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => Some(Command::Tick),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    pub(super) fn tick(&mut self, first: Command) -> Result<(), StoreError> {
        if let Some(reason) = self.shared.failure() {
            // Another thread has met a failure, and said so to everybody.
            return Err(StoreError(reason.to_owned()));
        }
        self.take(first)?;
        for _ in 0..limits::WRITER_CHANNEL {
            if self.round.bytes >= limits::GROUP_BYTES {
                break;
            }
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            self.take(command)?;
        }
        self.look_for_hung()?;
        self.commit_round()
    }

    /// Ends the attempts of handlers whose time is up, and has others work in the place of those that hang.
    fn look_for_hung(&mut self) -> Result<(), StoreError> {
        if self.look_every.is_none() {
            return Ok(());
        }
        let now = self.shared.timeline.elapsed();
        let mut hung = self.shared.posts.replaced();
        for beat in self.shared.posts.beats() {
            let replace = || hung < limits::HUNG_HANDLERS && (self.replace)();
            // Where there was no room, or no thread, there may be now.
            if let Some(slice) = beat.replace(replace) {
                hung += 1;
                self.handle(Input::Replaced { slice })?;
            } else if let Some((attempt, replaced)) = beat.time_out(now, replace) {
                hung += usize::from(replaced);
                self.time_out(attempt, replaced)?;
            }
        }
        Ok(())
    }

    fn time_out(&mut self, attempt: Attempt, replaced: bool) -> Result<(), StoreError> {
        let registered = self.shared.operation(attempt.operation);
        observe::timed_out(&registered.name, attempt.limit);
        if registered.promise == Promise::ExactlyOnce {
            // The handler can do nothing more with its tables.
            self.lease = Some(Box::new(self.lessor.grant()));
        }
        let after_ms = attempt.limit.as_millis();
        self.handle(Input::TimedOut {
            slice: attempt.slice,
            place: attempt.place,
            after_ms: u64::try_from(after_ms).unwrap_or(u64::MAX),
            replaced,
        })?;
        self.grant_lease();
        Ok(())
    }

    fn take(&mut self, command: Command) -> Result<(), StoreError> {
        self.round.bytes += command.bytes();
        match command {
            Command::Submit(submission, reply) => self.submit(submission, reply),
            Command::Stop(batch, reply) => {
                let ticket = self.ticket(Caller::Steerer(reply));
                self.handle(Input::StopRequested { ticket, batch })
            }
            Command::Resume(live, reply) => self.resume(live, reply),
            Command::Resolve(live, resolution, reply) => self.resolve(live, *resolution, reply),
            Command::FailUndecodable(batch, reply) => {
                let ticket = self.ticket(Caller::Steerer(reply));
                self.handle(Input::FailUndecodableRequested { ticket, batch })
            }
            Command::Delete(deletion, reply) => self.delete(deletion, reply),
            Command::Pause(operation, reason, reply) => self.pause(operation, reason, reply),
            Command::Unpause(operation, reply) => self.unpause(operation, reply),
            Command::Late(attempt) => self.time_out(attempt, false),
            Command::Finished(finished) => self.finish(*finished),
            Command::LeaseReturned => {
                let returned = self.outlets.lease_home.try_recv();
                // A lease that was revoked in the moment of its return is worth nothing.
                if let Some(tables) = returned.ok().filter(|tables| self.lessor.granted(tables)) {
                    self.lease = Some(tables);
                }
                self.grant_lease();
                Ok(())
            }
            Command::Failed(reason) => Err(StoreError(reason)),
            Command::HandOut { most, reply } => {
                self.round.hand_outs.push((most, reply));
                Ok(())
            }
            Command::Tick => self.handle(Input::Tick),
            Command::Close => {
                self.closing = true;
                self.handle(Input::Closing)
            }
        }
    }

    fn finish(&mut self, finished: Finished) -> Result<(), StoreError> {
        self.claims.remove(&finished.slice);
        if let Some(writes) = finished.writes {
            self.round.writes_version = Some(writes.version);
            for (key, value, before) in writes.rows {
                self.round.bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
                self.round.rows.change(key, value, before);
            }
        }
        let counts = self.round.counts.entry(finished.operation).or_default();
        counts.panicked += finished.panicked;
        if let Some(reason) = finished.undecodable {
            let (operation, batch) = (finished.operation, finished.batch);
            let held = self.kernel.holds_undecodable(operation);
            self.handle(Input::Undecodable { operation, batch })?;
            // The reason shown is that of the batch which holds the operation: the first one.
            if !held && self.kernel.holds_undecodable(operation) {
                let registered = self.shared.operation(operation);
                let held = Some(Arc::new(reason.clone()));
                if registered.undecodable.swap(held).is_none() {
                    self.tell_blocked(operation, Blocked::Undecodable { reason });
                }
                self.shared.wake_operation(operation);
            }
        }
        let input = Input::Finished {
            slice: finished.slice,
            verdicts: finished.verdicts,
            returned: true,
            cancelled: finished.cancelled,
            busy_us: finished.busy_us,
        };
        let outputs = self.kernel.handle(input, self.shared.timeline.now());
        self.act(outputs, &finished.block)
    }

    pub(super) fn handle(&mut self, input: Input) -> Result<(), StoreError> {
        let outputs = self.kernel.handle(input, self.shared.timeline.now());
        self.act(outputs, &Block::default())
    }

    pub(super) fn act(&mut self, outputs: Vec<Output>, block: &Block) -> Result<(), StoreError> {
        let mut recalled = Vec::new();
        for output in outputs {
            match output {
                Output::Admitted {
                    ticket,
                    batch,
                    position,
                } => self.admit(ticket, batch, position)?,
                Output::Refused { ticket, refusal } => self.refuse(ticket, refusal),
                Output::Moved { batch, position } => self.move_to(batch, position)?,
                Output::Record { batch, event } => self.record(batch, &event, block)?,
                Output::Ack { ticket } => self.answer(ticket),
                Output::Start(slice) => self.start(slice)?,
                Output::Close { batch } => {
                    if let Some(active) = self.active.get(&batch) {
                        active.live.gate.close();
                    }
                }
                Output::FailUndecodable { batch } => {
                    if let Some(active) = self.active.get(&batch) {
                        active.live.fail_undecodable();
                    }
                }
                Output::Decodable { operation } => {
                    let registered = self.shared.operation(operation);
                    registered.undecodable.store(None);
                    observe::decodable(&registered.name);
                    self.goes_on(operation);
                }
                Output::Unpaused { operation } => {
                    let registered = self.shared.operation(operation);
                    registered.unpause();
                    observe::unpaused(&registered.name);
                    self.goes_on(operation);
                }
                Output::Recall { slice } => recalled.extend(self.recall(slice)),
                Output::Ended { batch, view } => self.end_batch(batch, &view),
                Output::Defect { batch, error } => {
                    return Err(StoreError(format!("batch {batch}: {error}")));
                }
            }
        }
        // Only now: what follows from it comes after all of the above.
        for slice in recalled {
            self.handle(Input::Finished {
                slice,
                verdicts: Vec::new(),
                returned: true,
                cancelled: false,
                busy_us: 0,
            })?;
        }
        Ok(())
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        match self.callers.remove(&ticket) {
            Some(Caller::Submitter(reply, _)) => {
                let answer = match refusal {
                    Refusal::Full { limit } => Submitted::Full { limit },
                    Refusal::NotStopped { .. }
                    | Refusal::Ended
                    | Refusal::NotInDoubt
                    | Refusal::Closing => Submitted::Closing,
                };
                let _ = reply.send(answer);
            }
            Some(
                Caller::Steerer(reply) | Caller::Resumer(reply, _) | Caller::Pauser(reply, ..),
            ) => {
                let answer = match refusal {
                    Refusal::Full { limit } => Steered::Full { limit },
                    Refusal::NotStopped { state } => Steered::NotStopped { state },
                    Refusal::Ended => Steered::Ended,
                    Refusal::NotInDoubt => Steered::NotInDoubt,
                    Refusal::Closing => Steered::Closing,
                };
                let _ = reply.send(answer);
            }
            Some(Caller::Admitted(..)) | None => {}
        }
    }

    fn start(&mut self, slice: Slice) -> Result<(), StoreError> {
        let Some(active) = self.active.get_mut(&slice.batch) else {
            let batch = slice.batch;
            return Err(StoreError(format!("batch {batch} started and is unknown")));
        };
        let processed = active.live.progress().processed();
        active.pace.start(processed, || self.shared.timeline.now());
        let claim = Arc::new(Claim::default());
        self.claims.insert(slice.id, Arc::clone(&claim));
        let leased = slice.exactly_once;
        let job = Job {
            slice,
            live: Arc::clone(&active.live),
            claim,
        };
        // The kernel bounds what is handed out; the channels have no bound of their own, so the
        // writer never waits here. Workers are gone only when the queue ends.
        if leased {
            let _ = self.outlets.leased.send(job);
            self.grant_lease();
        } else {
            let _ = self.outlets.work.send(Work::Slice(job));
        }
        Ok(())
    }

    fn grant_lease(&mut self) {
        if !self.outlets.leased_queue.is_empty()
            && let Some(tables) = self.lease.take()
        {
            let _ = self.outlets.work.send(Work::Lease(tables));
        }
    }

    /// Takes a slice back, unless a worker has begun it.
    fn recall(&mut self, slice: SliceId) -> Option<SliceId> {
        let recalled = self.claims.get(&slice).is_some_and(|claim| claim.take());
        recalled.then(|| {
            self.claims.remove(&slice);
            slice
        })
    }

    fn answer(&mut self, ticket: Ticket) {
        match self.callers.remove(&ticket) {
            Some(Caller::Admitted(reply, batch)) => {
                if let Some(active) = self.active.get(&batch) {
                    let _ = reply.send(Submitted::New(Arc::clone(&active.live)));
                }
            }
            Some(Caller::Steerer(reply)) => {
                let _ = reply.send(Steered::Done);
            }
            Some(Caller::Resumer(reply, active)) => {
                active.live.gate.reopen();
                let _ = reply.send(Steered::Done);
            }
            Some(Caller::Pauser(reply, operation, reason)) => {
                let registered = self.shared.operation(operation);
                registered.show_paused(reason.clone());
                observe::paused(&registered.name);
                self.tell_blocked(operation, Blocked::Paused { reason });
                self.shared.wake_operation(operation);
                let _ = reply.send(Steered::Done);
            }
            Some(Caller::Submitter(..)) | None => {}
        }
    }

    fn end_batch(&mut self, batch: BatchId, view: &BatchView) {
        if let Some(Active { live, failures, .. }) = self.active.remove(&batch) {
            let progress = Progress::new(view, failures, None);
            let state = progress.state;
            self.meters.ended(state);
            live.publish(progress);
            // First, so that who has waited for the end finds it told.
            self.shared.tell(QueueEvent::BatchEnded {
                id: batch,
                operation: live.operation_name.to_string(),
                state,
                succeeded: u64::from(view.succeeded),
                failed: u64::from(view.failed),
                in_doubt: u64::from(view.in_doubt),
            });
            live.wake();
        }
        self.shared.made_room();
    }

    /// Makes the round durable, then publishes, answers and starts what depended on it.
    fn commit_round(&mut self) -> Result<(), StoreError> {
        self.close_journals()?;
        let rows = std::mem::take(&mut self.round.rows);
        if !rows.is_empty() {
            let next_batch = self.kernel.next_batch();
            // Before anybody can see the rows: who finds a batch in the store finds it in the registry
            // too, and who finds an outcome finds it counted.
            let mut took = Duration::ZERO;
            let show = |time| {
                took = time;
                let counts = &self.round.counts;
                for (operation, counts) in counts {
                    self.shared.operation(*operation).counters.add(counts);
                }
                self.shared.writer_counters.add(took, counts.values());
                for live in &self.round.admitted {
                    self.shared.registry.insert(live);
                }
                let deleted = self.round.deleted.len() as u64;
                self.shared.deleted.fetch_add(deleted, Ordering::Relaxed);
                for batch in &self.round.deleted {
                    let removed = self.shared.registry.remove(*batch);
                    self.news.extend(removed.map(News::Settled));
                }
                for Resolved { live, progress, .. } in &self.round.resolved {
                    live.publish(progress.clone());
                    self.news.push(News::Settled(Arc::clone(live)));
                }
                let (kernel, active) = (&mut self.kernel, &mut self.active);
                publish(kernel, active, &self.shared, &mut self.news, true);
            };
            let (sequence, bytes) = (self.committer.next_sequence(), self.round.bytes);
            let _span = observe::committing(sequence, rows.len(), bytes);
            let begins = || self.shared.commit_begins();
            self.committer.commit(rows, next_batch, begins, show)?;
            self.shared.commit_ends();
            if let Some(reason) = self.shared.failure() {
                // The watchdog has given this commit up, and said so to everybody.
                return Err(StoreError(reason.to_owned()));
            }
            self.meters.committed(took);
            for (operation, counts) in &self.round.counts {
                self.shared.operation(*operation).meters.add(counts);
            }
        }
        // Not before: those who wait for an answer must not be let go without one.
        let round = std::mem::take(&mut self.round);
        if let Some(version) = round.writes_version {
            self.durable_writes.store(version, Ordering::Release);
        }
        let now = self.shared.timeline.now();
        let outputs = self.kernel.handle(Input::Committed, now);
        let (kernel, active) = (&mut self.kernel, &mut self.active);
        publish(kernel, active, &self.shared, &mut self.news, false);
        self.spread_news();
        self.act(outputs, &Block::default())?;
        for (reply, answer) in round.joiners {
            let _ = reply.send(answer);
        }
        for (reply, answer) in round.deletions {
            let _ = reply.send(answer);
        }
        for Resolved { reply, .. } in round.resolved {
            let _ = reply.send(Steered::Done);
        }
        self.deferred.extend(round.deferred);
        for (most, reply) in round.hand_outs {
            self.hand_out(most)?;
            if self.round.has_writes() {
                // That items start is recorded before they do.
                self.commit_round()?;
            }
            let _ = reply.send(());
        }
        let size = || self.committer.size_on_disk().ok();
        self.meters.stands(self.active.len(), size);
        Ok(())
    }

    /// Hands out a slice to whoever asked for it; nothing waits for a commit.
    fn hand_out(&mut self, most: u32) -> Result<(), StoreError> {
        let now = self.shared.timeline.now();
        let outputs = self.kernel.handle(Input::HandOut { most }, now);
        let (kernel, active) = (&mut self.kernel, &mut self.active);
        publish(kernel, active, &self.shared, &mut self.news, false);
        self.spread_news();
        self.act(outputs, &Block::default())
    }

    /// Not while views wait for a commit: wakers are code of an executor, and may look at the queue.
    fn spread_news(&mut self) {
        for news in self.news.drain(..) {
            match news {
                News::Changed(live) => live.waiters.stir(),
                News::Settled(live) => live.wake(),
            }
        }
    }

    pub(super) fn ticket(&mut self, caller: Caller) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.callers.insert(ticket, caller);
        ticket
    }

    /// The queue has failed.
    pub(super) fn fail(mut self, reason: String) {
        let _ = self
            .kernel
            .handle(Input::CommitFailed, Timestamp::default());
        self.shared.latch(reason);
        // These were not begun: nothing of theirs is stored.
        for reply in self.unbegun.drain(..) {
            let _ = reply.send(Submitted::Failed);
        }
        for command in self.commands.try_iter() {
            match command {
                Command::Submit(_, reply) => drop(reply.send(Submitted::Failed)),
                Command::Stop(_, reply)
                | Command::Resume(_, reply)
                | Command::FailUndecodable(_, reply)
                | Command::Resolve(_, _, reply)
                | Command::Delete(_, reply)
                | Command::Pause(_, _, reply)
                | Command::Unpause(_, reply) => {
                    drop(reply.send(Steered::Failed));
                }
                _ => {}
            }
        }
        // What was begun is not known: its callers find that there is no answer.
        self.shared.wake_all();
    }
}

/// Shows where the batches stand that changed; everything recorded must be durable, but for `ends`: when those are left
/// out, they are shown when the kernel says that they are durable.
fn publish(
    kernel: &mut Kernel,
    active: &mut HashMap<BatchId, Active>,
    shared: &Shared,
    news: &mut Vec<News>,
    ends: bool,
) {
    for (batch, view) in kernel.take_changed() {
        let Some(active) = active.get_mut(&batch) else {
            continue;
        };
        if !ends && view.phase.state().has_ended() {
            continue;
        }
        let processed = view.succeeded + view.failed + view.in_doubt;
        let now = || shared.timeline.now();
        let left_ms = active.pace.left_ms(processed, view.total, now);
        let live = &active.live;
        live.publish(Progress::new(&view, active.failures.clone(), left_ms));
        if view.in_flight == 0 && shared.blocked(live).is_some() {
            news.push(News::Settled(Arc::clone(live)));
        } else if live.waiters.is_watched() {
            news.push(News::Changed(Arc::clone(live)));
        }
    }
}
