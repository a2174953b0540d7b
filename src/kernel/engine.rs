//! The kernel itself: takes an input, changes its books, puts out what follows.

use super::batch::{BatchState, Recovered};
use super::event::{Event, Fate, ItemEvent};
use super::input::{
    Input, Mark, OperationSpec, Output, SliceId, SliceItem, Terms, Ticket, Verdict,
};
use super::lifecycle::Phase;
use super::order::Place;
use super::schedule::{Lane, Turn};
use super::{BatchId, OperationIndex, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// What is shown of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchView {
    pub(crate) phase: Phase,
    pub(crate) operation: OperationIndex,
    pub(crate) position: u64,
    pub(crate) total: u32,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) in_doubt: u32,
    pub(crate) in_flight: u32,
    pub(crate) waiting: u32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) state: BatchState,
    pub(super) operation: OperationIndex,
    pub(super) position: u64,
    pub(super) priority: i8,
    pub(super) turn: Turn,
    /// It has its place in order and turn: its admission is durable, and its time has come.
    pub(super) lined_up: bool,
    /// Nothing of it starts earlier.
    pub(super) not_before: Option<Timestamp>,
    pub(super) keys: Option<Box<[u64]>>,
    /// Of a batch with keys: it stands in its operation's lines.
    pub(super) in_lines: bool,
    /// Of a batch with keys: pending items at the head of their line.
    pub(super) startable: BTreeSet<u16>,
    /// The start is recorded with the first outcomes, to save a commit.
    pub(super) unrecorded_start: Option<Timestamp>,
    pub(super) changed: bool,
}

impl Member {
    pub(super) fn new(
        operation: OperationIndex,
        position: u64,
        terms: Terms,
        state: BatchState,
    ) -> Self {
        Self {
            state,
            operation,
            position,
            priority: terms.priority,
            turn: (Reverse(terms.priority), 0),
            lined_up: false,
            not_before: terms.not_before,
            keys: terms.keys,
            in_lines: false,
            startable: BTreeSet::new(),
            unrecorded_start: None,
            changed: true,
        }
    }

    pub(super) fn key(&self, index: u16) -> Option<u64> {
        let key = *self.keys.as_ref()?.get(usize::from(index))?;
        (key != 0).then_some(key)
    }

    /// The item that may start next.
    pub(super) fn next(&mut self) -> Option<u16> {
        if self.keys.is_some() {
            self.startable.first().copied()
        } else {
            self.state.items_mut().first_pending()
        }
    }

    fn is_suspect_next(&mut self) -> bool {
        if !self.state.items().is_some_and(|items| items.has_suspects()) {
            return false;
        }
        let next = self.next();
        next.is_some_and(|index| self.state.items_mut().is_suspect(index))
    }

    fn view(&self) -> BatchView {
        BatchView {
            phase: self.state.phase,
            operation: self.operation,
            position: self.position,
            total: self.state.total,
            succeeded: self.state.succeeded,
            failed: self.state.failed,
            in_doubt: self.state.in_doubt(),
            in_flight: self.state.taken_count(),
            waiting: self.state.waiting_count(),
            started_at: self.state.started_at,
            ended_at: self.state.ended_at,
        }
    }
}

#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) batch: BatchId,
    pub(super) operation: OperationIndex,
    pub(super) exactly_once: bool,
    pub(super) items: Vec<SliceItem>,
    /// Items whose verdict is in.
    pub(super) ended: usize,
    pub(super) handed_out: Timestamp,
    pub(super) alone: Option<u32>,
    /// Its handler has not returned in time, and everything is settled but what the handler keeps from others.
    pub(super) hangs: Option<Hang>,
}

/// What a handler holds that has not returned in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hang {
    /// Another worker works in its worker's place.
    pub(super) replaced: bool,
    /// Its item's key and place in the line.
    pub(super) line: Option<(u64, Place)>,
}

impl InFlight {
    /// The items without a verdict, in item order.
    pub(super) fn left(&self) -> &[SliceItem] {
        &self.items[self.ended..]
    }
}

/// What follows when the group being gathered is durable.
#[derive(Debug)]
pub(super) enum Dependent {
    Ack(Ticket),
    Admit(BatchId),
    LineUp(BatchId),
    FailUndecodable(BatchId),
    Unpause(OperationIndex),
    /// Of items that run at most once.
    Start(SliceId),
    End(BatchId),
}

#[derive(Debug)]
pub(crate) struct Kernel {
    /// Threads that run slices. With none, a slice is put out when somebody asks for it.
    pub(super) workers: u32,
    /// Items in the slice that is being asked for, at most; 0 when none is.
    pub(super) asked: u32,
    pub(super) unfinished_limit: usize,
    pub(super) lanes: Vec<Lane>,
    pub(super) batches: BTreeMap<BatchId, Member>,
    pub(super) slices: BTreeMap<SliceId, InFlight>,
    /// Ends of retry waits.
    pub(super) timers: BTreeSet<(Timestamp, BatchId, u16)>,
    /// Batches whose time has not come.
    pub(super) delayed: BTreeSet<(Timestamp, BatchId)>,
    pub(super) dependents: Vec<Dependent>,
    pub(super) changed: Vec<BatchId>,
    pub(super) leased: u32,
    /// The slice of a suspect: one runs at a time.
    pub(super) alone: Option<SliceId>,
    /// Batches with suspects.
    pub(super) quarantine: BTreeSet<BatchId>,
    pub(super) next_batch: u64,
    last_position: u64,
    pub(super) next_slice: u64,
    next_turn: u64,
    pub(super) closing: bool,
    failed: bool,
    pub(super) out: Vec<Output>,
}

impl Kernel {
    pub(crate) fn new(
        operations: Vec<OperationSpec>,
        workers: u32,
        unfinished_limit: usize,
        next_batch: BatchId,
    ) -> Self {
        Self {
            workers,
            asked: 0,
            unfinished_limit,
            lanes: operations.into_iter().map(Lane::new).collect(),
            batches: BTreeMap::new(),
            slices: BTreeMap::new(),
            timers: BTreeSet::new(),
            delayed: BTreeSet::new(),
            dependents: Vec::new(),
            changed: Vec::new(),
            leased: 0,
            alone: None,
            quarantine: BTreeSet::new(),
            next_batch: next_batch.0,
            last_position: 0,
            next_slice: 0,
            next_turn: 0,
            closing: false,
            failed: false,
            out: Vec::new(),
        }
    }

    /// Takes in the unfinished batches of a store, in any order, before the first input, and what the workers had in
    /// their hands when the process ended. A stopping batch has nothing in flight any more: its stop is put out for
    /// recording.
    pub(crate) fn recover(
        &mut self,
        mut batches: Vec<Recovered>,
        marks: &[Mark],
        now: Timestamp,
    ) -> Vec<Output> {
        batches.sort_by_key(|batch| (batch.position, batch.batch));
        for recovered in batches {
            let batch = recovered.batch;
            self.last_position = self.last_position.max(recovered.position);
            let longest_wait_ms = self.lane(recovered.operation).spec.retry.longest_wait_ms();
            let latest = now.plus_ms(longest_wait_ms);
            self.enter(recovered, latest);
            self.admit(batch, now);
            self.take_in_losses(batch, marks, now);
            self.end_if_done(batch, now);
        }
        self.fire_timers(now);
        self.schedule(now);
        std::mem::take(&mut self.out)
    }

    /// Takes in one input. What comes out must take effect in the order in which it comes out. The
    /// caller records what is to be recorded, and says [`Input::Committed`] when that is durable; it
    /// says so too when there was nothing to record, because answers may be waiting.
    pub(crate) fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        if self.failed {
            return Vec::new();
        }
        match input {
            Input::Submitted {
                ticket,
                operation,
                total,
                terms,
            } => self.submitted(ticket, operation, total, terms, now),
            Input::StopRequested { ticket, batch } => self.stop_requested(ticket, batch, now),
            Input::ResumeRequested { ticket, batch } => self.resume_requested(ticket, batch, now),
            Input::Finished {
                slice,
                verdicts,
                returned,
                cancelled,
                busy_us,
            } => {
                let started = usize::from(cancelled);
                self.finished(slice, &verdicts, returned.then_some(started), busy_us, now);
            }
            Input::TimedOut {
                slice,
                place,
                after_ms,
                replaced,
            } => self.timed_out(slice, place, after_ms, replaced, now),
            Input::Replaced { slice } => self.replaced(slice),
            Input::ResolveRequested {
                ticket,
                batch,
                index,
                succeeded,
            } => self.resolve_requested(ticket, batch, index, succeeded, now),
            Input::Undecodable { operation, batch } => self.undecodable(operation, batch),
            Input::FailUndecodableRequested { ticket, batch } => {
                self.fail_undecodable_requested(ticket, batch, now);
            }
            Input::PauseRequested { ticket, operation } => self.pause_requested(ticket, operation),
            Input::UnpauseRequested { ticket, operation } => {
                self.dependents.push(Dependent::Unpause(operation));
                self.answer(ticket);
            }
            Input::Committed => self.committed(now),
            Input::CommitFailed => {
                self.failed = true;
                self.dependents.clear();
            }
            Input::HandOut { most } => self.asked = most,
            Input::Tick => {}
            Input::Closing => self.close(),
        }
        if !self.failed {
            self.fire_timers(now);
            self.schedule(now);
            self.asked = 0;
        }
        std::mem::take(&mut self.out)
    }

    /// When time alone will next change something.
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        let retry = self.timers.first().map(|(due, _, _)| *due);
        let delayed = self.delayed.first().map(|(due, _)| *due);
        let allowed = self.lanes.iter().filter_map(Lane::next_allowed).min();
        [retry, delayed, allowed].into_iter().flatten().min()
    }

    pub(crate) fn view(&self, batch: BatchId) -> Option<BatchView> {
        self.batches.get(&batch).map(Member::view)
    }

    /// Batches whose view changed since the last call. Their views are of durable facts only when
    /// nothing waits for a commit.
    pub(crate) fn take_changed(&mut self) -> Vec<(BatchId, BatchView)> {
        let changed = std::mem::take(&mut self.changed);
        let mut views = Vec::with_capacity(changed.len());
        for batch in changed {
            if let Some(member) = self.batches.get_mut(&batch) {
                member.changed = false;
                views.push((batch, member.view()));
            }
        }
        views
    }

    #[cfg(test)]
    pub(crate) fn unfinished(&self) -> usize {
        self.batches.len()
    }

    /// Whether nothing is left of batches that have ended.
    #[cfg(test)]
    pub(crate) fn remembers_nothing(&self) -> bool {
        self.batches.is_empty()
            && self.slices.is_empty()
            && self.timers.is_empty()
            && self.delayed.is_empty()
            && self.leased == 0
            && self.alone.is_none()
            && self.quarantine.is_empty()
            && self.lanes.iter().all(Lane::is_idle)
    }

    /// Whether an item that could not be decoded holds up the operation.
    pub(crate) fn holds_undecodable(&self, operation: OperationIndex) -> bool {
        self.lane(operation).undecodable.is_some()
    }

    pub(crate) fn slices_in_flight(&self) -> usize {
        self.slices.len()
    }

    pub(crate) fn next_batch(&self) -> BatchId {
        BatchId(self.next_batch)
    }

    fn stop_requested(&mut self, ticket: Ticket, batch: BatchId, now: Timestamp) {
        let may_start = self
            .batches
            .get(&batch)
            .is_some_and(|member| member.state.phase.may_start());
        if may_start {
            self.out.push(Output::Close { batch });
            self.undelay(batch);
            self.leave_order(batch);
            self.record(batch, Event::StopRequested { at: now });
            self.refresh(batch);
            self.recall(|in_flight| in_flight.batch == batch);
            self.end_if_done(batch, now);
        }
        // A stop that was asked for before may still be on its way to the disk: wait with it.
        self.answer(ticket);
    }

    /// `returned` is how many of the items without a verdict were started, when the slice is over.
    fn finished(
        &mut self,
        slice: SliceId,
        verdicts: &[Verdict],
        returned: Option<usize>,
        busy_us: u64,
        now: Timestamp,
    ) {
        let Some(mut in_flight) = self.slices.remove(&slice) else {
            return;
        };
        if let Some(hang) = in_flight.hangs {
            return self.returned_late(&in_flight, hang);
        }
        let batch = in_flight.batch;
        self.lane_mut(in_flight.operation)
            .learn(verdicts.len(), busy_us);
        let first = in_flight.ended;
        in_flight.ended = (first + verdicts.len()).min(in_flight.items.len());
        let ended = &in_flight.items[first..in_flight.ended];
        self.end_items(batch, in_flight.operation, ended, verdicts, now);
        if let Some(started) = returned {
            self.give_back_starts(&in_flight, started);
            self.take_back(slice, &in_flight, now);
        } else {
            self.slices.insert(slice, in_flight);
        }
        self.refresh(batch);
        self.end_if_done(batch, now);
    }

    /// What is left of a slice has not started, but for so many items of it.
    fn give_back_starts(&mut self, in_flight: &InFlight, started: usize) {
        let left = in_flight.left().len().saturating_sub(started);
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let lane = self.lane_mut(in_flight.operation);
        lane.give_back(left, in_flight.handed_out);
    }

    /// A slice is over: what is left of it is pending again.
    pub(super) fn take_back(&mut self, slice: SliceId, in_flight: &InFlight, now: Timestamp) {
        let batch = in_flight.batch;
        self.recall_overtaking(in_flight);
        self.withdraw_starts(batch, in_flight.left(), now);
        for item in in_flight.left() {
            self.release(batch, item.index);
        }
        self.lane_mut(in_flight.operation).slices -= 1;
        self.leased -= u32::from(in_flight.exactly_once);
        if self.alone == Some(slice) {
            self.alone = None;
            self.refresh_quarantine();
        }
    }

    fn end_items(
        &mut self,
        batch: BatchId,
        operation: OperationIndex,
        ended: &[SliceItem],
        verdicts: &[Verdict],
        now: Timestamp,
    ) {
        if ended.is_empty() {
            return;
        }
        let spec = &self.lane(operation).spec;
        let items: Vec<ItemEvent> = ended
            .iter()
            .zip(verdicts)
            .map(|(item, verdict)| ItemEvent {
                index: item.index,
                attempt: item.attempt,
                fate: match verdict {
                    Verdict::Succeeded => Fate::Succeeded,
                    Verdict::Failed => Fate::Failed,
                    Verdict::InDoubt => Fate::InDoubt,
                    Verdict::Retryable => spec.fate_of_retryable(batch, *item, now),
                },
            })
            .collect();
        let fates: Vec<(u16, Fate)> = items.iter().map(|item| (item.index, item.fate)).collect();
        self.record(batch, Event::ItemsEnded { at: now, items });
        for (index, fate) in fates {
            self.release(batch, index);
            self.follow(batch, index, fate);
        }
    }

    /// What an item's fate means for its timer and its line.
    pub(super) fn follow(&mut self, batch: BatchId, index: u16, fate: Fate) {
        match fate {
            Fate::Retry { due } => {
                self.timers.insert((due, batch, index));
            }
            Fate::Succeeded | Fate::Failed | Fate::InDoubt => self.leave_line(batch, index),
        }
    }

    /// Ends a batch that has nothing more to do, in the group that is being gathered.
    pub(super) fn end_if_done(&mut self, batch: BatchId, now: Timestamp) {
        let Some(member) = self.batches.get(&batch) else {
            return;
        };
        let all_settled = member
            .state
            .items()
            .is_some_and(|items| items.all_settled());
        match member.state.phase {
            Phase::Running | Phase::Stopping if all_settled => {
                self.record(batch, Event::Completed { at: now });
                self.dependents.push(Dependent::End(batch));
            }
            Phase::Stopping if member.state.taken_count() == 0 => {
                self.record(batch, Event::Stopped { at: now });
                self.dependents.push(Dependent::End(batch));
            }
            // A queued batch is stopped by the request itself.
            Phase::Stopped => self.dependents.push(Dependent::End(batch)),
            _ => {}
        }
    }

    fn committed(&mut self, now: Timestamp) {
        for dependent in std::mem::take(&mut self.dependents) {
            match dependent {
                Dependent::Ack(ticket) => self.out.push(Output::Ack { ticket }),
                Dependent::Admit(batch) => self.admit(batch, now),
                Dependent::LineUp(batch) => self.line_up(batch),
                Dependent::FailUndecodable(batch) => self.fail_undecodable(batch),
                Dependent::Unpause(operation) => self.unpause(operation),
                Dependent::Start(slice) => self.start_recorded(slice, now),
                Dependent::End(batch) => {
                    if let Some(member) = self.batches.remove(&batch) {
                        self.forget(batch, &member);
                        let view = member.view();
                        self.out.push(Output::Ended { batch, view });
                        self.free_undecodable(batch, member.operation);
                    }
                }
            }
        }
    }

    fn forget(&mut self, batch: BatchId, member: &Member) {
        self.quarantine.remove(&batch);
        let lane = &mut self.lanes[member.operation.0];
        lane.set_ready(member.turn, batch, false);
        lane.order.withdraw(member.position);
        if let Some(items) = member.state.items() {
            for (index, due) in items.waiting() {
                self.timers.remove(&(due, batch, index));
            }
        }
    }

    fn close(&mut self) {
        self.closing = true;
        self.recall(|_| true);
    }

    /// Exactly-once items start in item order: a slice behind the one that comes back unfinished must
    /// not go before the items that came back.
    pub(super) fn recall_overtaking(&mut self, returned: &InFlight) {
        if let Some(first) = returned.left().first().filter(|_| returned.exactly_once) {
            self.recall(|behind| {
                let last = behind.left().last();
                behind.batch == returned.batch && last.is_some_and(|last| last.index > first.index)
            });
        }
    }

    pub(super) fn recall(&mut self, wanted: impl Fn(&InFlight) -> bool) {
        for (slice, in_flight) in &self.slices {
            if wanted(in_flight) {
                self.out.push(Output::Recall { slice: *slice });
            }
        }
    }

    /// Answers when everything recorded so far is durable.
    pub(super) fn answer(&mut self, ticket: Ticket) {
        self.dependents.push(Dependent::Ack(ticket));
    }

    /// Applies an event and puts it out for recording.
    pub(super) fn record(&mut self, batch: BatchId, event: Event) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        if let Some(at) = member.unrecorded_start.take() {
            let event = Event::Started { at };
            self.out.push(Output::Record { batch, event });
        }
        match member.state.apply(&event) {
            Ok(()) => self.out.push(Output::Record { batch, event }),
            Err(error) => self.out.push(Output::Defect { batch, error }),
        }
        self.mark_changed(batch);
    }

    /// Puts a batch on its operation's list of ready batches, or takes it off.
    pub(super) fn refresh(&mut self, batch: BatchId) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        let has_work = if member.keys.is_some() && member.in_lines {
            !member.startable.is_empty()
        } else {
            member.state.pending_count() > 0
        };
        // Suspects run one at a time.
        let held = has_work && self.alone.is_some() && member.is_suspect_next();
        let ready = member.lined_up && member.state.phase.may_start() && has_work && !held;
        self.lanes[member.operation.0].set_ready(member.turn, batch, ready);
    }

    pub(super) fn mark_changed(&mut self, batch: BatchId) {
        if let Some(member) = self.batches.get_mut(&batch)
            && !member.changed
        {
            member.changed = true;
            self.changed.push(batch);
        }
    }

    pub(super) fn lane(&self, operation: OperationIndex) -> &Lane {
        &self.lanes[operation.0]
    }

    pub(super) fn lane_mut(&mut self, operation: OperationIndex) -> &mut Lane {
        &mut self.lanes[operation.0]
    }

    pub(super) fn take_position(&mut self) -> u64 {
        self.last_position += 1;
        self.last_position
    }

    /// Puts a batch behind all others of its priority.
    pub(super) fn take_turn(&mut self, batch: BatchId) {
        self.next_turn += 1;
        if let Some(member) = self.batches.get_mut(&batch) {
            member.turn = (Reverse(member.priority), self.next_turn);
        }
    }
}
