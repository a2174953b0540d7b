//! How batches come in: submitted, resumed or read back; and when they line up for their turn.

use super::batch::{BatchState, Recovered};
use super::engine::{Dependent, Kernel, Member};
use super::event::Event;
use super::input::{Output, Refusal, Terms, Ticket};
use super::items::Items;
use super::lifecycle::Phase;
use super::{BatchId, OperationIndex, Timestamp};

/// The position of a batch with keys whose time has not come: it has no place in the order yet.
const UNPLACED: u64 = 0;

impl Kernel {
    pub(super) fn submitted(
        &mut self,
        ticket: Ticket,
        operation: OperationIndex,
        total: u32,
        terms: Terms,
        now: Timestamp,
    ) {
        if let Some(refusal) = self.refusal() {
            return self.out.push(Output::Refused { ticket, refusal });
        }
        let batch = BatchId(self.next_batch);
        self.next_batch += 1;
        let state = BatchState::queued(total);
        let position = self.first_position(&terms, &state, now);
        let fails_undecodable = terms.fails_undecodable;
        let member = Member::new(operation, position, terms, state);
        self.batches.insert(batch, member);
        self.changed.push(batch);
        self.out.push(Output::Admitted {
            ticket,
            batch,
            position,
        });
        if fails_undecodable {
            self.record(batch, Event::FailUndecodableRequested { at: now });
        }
        self.dependents.push(Dependent::Admit(batch));
        self.dependents.push(Dependent::Ack(ticket));
    }

    pub(super) fn resume_requested(
        &mut self,
        ticket: Ticket,
        mut batch: Recovered,
        now: Timestamp,
    ) {
        let id = batch.batch;
        let present = self.batches.get(&id).map(|member| member.state.phase);
        let phase = present.unwrap_or(batch.state.phase);
        if present.is_some() || phase != Phase::Stopped {
            let state = phase.state();
            let refusal = Refusal::NotStopped { state };
            return self.out.push(Output::Refused { ticket, refusal });
        }
        if let Some(refusal) = self.refusal() {
            return self.out.push(Output::Refused { ticket, refusal });
        }
        batch.position = self.first_position(&batch.terms, &batch.state, now);
        let longest_wait_ms = self.lane(batch.operation).spec.retry.longest_wait_ms();
        self.enter(batch, now.plus_ms(longest_wait_ms));
        self.record(id, Event::Resumed { at: now });
        // There are none, unless somebody else than a kernel has stopped the batch.
        self.take_in_losses(id, &[], now);
        self.dependents.push(Dependent::Admit(id));
        self.answer(ticket);
    }

    pub(super) fn refusal(&self) -> Option<Refusal> {
        if self.closing {
            return Some(Refusal::Closing);
        }
        let limit = self.unfinished_limit;
        (self.batches.len() >= limit).then_some(Refusal::Full { limit })
    }

    pub(super) fn enter(&mut self, recovered: Recovered, latest: Timestamp) {
        let Recovered {
            batch,
            operation,
            position,
            terms,
            state,
        } = recovered;
        let mut member = Member::new(operation, position, terms, state);
        let waiting: Vec<_> = member
            .state
            .items()
            .map(|items| items.waiting().collect())
            .unwrap_or_default();
        for (index, due) in waiting {
            // The clock may have been set back since: no wait is longer than the policy's longest.
            let due = due.min(latest);
            member.state.items_mut().wait_until(index, due);
            self.timers.insert((due, batch, index));
        }
        if member.state.items().is_some_and(Items::has_suspects) {
            self.quarantine.insert(batch);
        }
        self.batches.insert(batch, member);
        self.changed.push(batch);
    }

    /// The batch's admission is durable: it lines up, now or when its time has come.
    pub(super) fn admit(&mut self, batch: BatchId, now: Timestamp) {
        let Some(member) = self.batches.get(&batch) else {
            return;
        };
        let due = match &member.keys {
            // Its time may have come while nobody looked: it gets its place all the same.
            Some(_) => member.not_before.filter(|_| member.position == UNPLACED),
            None => waits_until(member.not_before, &member.state, now),
        };
        match due.filter(|_| member.state.phase.may_start()) {
            Some(due) => {
                self.delayed.insert((due, batch));
            }
            None => self.line_up(batch),
        }
    }

    /// The place of a batch that comes into the order. Whose time has not come has none, durably: it must
    /// not step before what starts meanwhile, also not when its time comes while no process runs.
    pub(super) fn first_position(
        &mut self,
        terms: &Terms,
        state: &BatchState,
        now: Timestamp,
    ) -> u64 {
        if terms.keys.is_some() && waits_until(terms.not_before, state, now).is_some() {
            return UNPLACED;
        }
        self.take_position()
    }

    /// The batch's time has come. One with keys goes to the end of the order, durably.
    pub(super) fn fall_due(&mut self, batch: BatchId) {
        if self
            .batches
            .get(&batch)
            .is_some_and(|member| member.keys.is_none())
        {
            return self.line_up(batch);
        }
        let position = self.take_position();
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        member.position = position;
        self.out.push(Output::Moved { batch, position });
        self.dependents.push(Dependent::LineUp(batch));
        self.mark_changed(batch);
    }

    /// The batch takes its place in order and turn.
    pub(super) fn line_up(&mut self, batch: BatchId) {
        self.take_turn(batch);
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        member.lined_up = true;
        if member.keys.is_some() && member.state.phase.may_start() {
            let order = &mut self.lanes[member.operation.0].order;
            order.enroll(member.position, batch);
        }
        self.refresh(batch);
    }

    pub(super) fn undelay(&mut self, batch: BatchId) {
        if let Some(due) = self
            .batches
            .get(&batch)
            .and_then(|member| member.not_before)
        {
            self.delayed.remove(&(due, batch));
        }
    }
}

/// When the time of a batch comes, if it has not. What has started has had its time, whatever the clock
/// says now.
fn waits_until(
    not_before: Option<Timestamp>,
    state: &BatchState,
    now: Timestamp,
) -> Option<Timestamp> {
    not_before.filter(|due| *due > now && state.started_at.is_none())
}
