//! What holds up an operation: a pause by request, and an item that cannot be decoded.

use super::engine::{Dependent, Kernel, Member};
use super::event::Event;
use super::input::{Output, Refusal, Ticket};
use super::{BatchId, OperationIndex, Timestamp};

impl Kernel {
    pub(super) fn undecodable(&mut self, operation: OperationIndex, batch: BatchId) {
        let fails = |member: &Member| member.state.fails_undecodable;
        if self.batches.get(&batch).is_some_and(fails) {
            // Its worker did not know yet: the item fails when it runs again.
            return;
        }
        self.lane_mut(operation).undecodable.get_or_insert(batch);
        self.recall(|in_flight| in_flight.operation == operation);
    }

    pub(super) fn fail_undecodable_requested(
        &mut self,
        ticket: Ticket,
        batch: BatchId,
        now: Timestamp,
    ) {
        let unfinished = self.batches.get(&batch).map(|member| &member.state);
        let Some(state) = unfinished.filter(|state| !state.phase.state().has_ended()) else {
            let refusal = Refusal::Ended;
            return self.out.push(Output::Refused { ticket, refusal });
        };
        if !state.fails_undecodable {
            self.record(batch, Event::FailUndecodableRequested { at: now });
            self.dependents.push(Dependent::FailUndecodable(batch));
        }
        self.answer(ticket);
    }

    pub(super) fn fail_undecodable(&mut self, batch: BatchId) {
        let Some(operation) = self.batches.get(&batch).map(|member| member.operation) else {
            return;
        };
        self.out.push(Output::FailUndecodable { batch });
        self.free_undecodable(batch, operation);
    }

    /// No item of this batch holds up the operation any more.
    pub(super) fn free_undecodable(&mut self, batch: BatchId, operation: OperationIndex) {
        let lane = self.lane_mut(operation);
        if lane.undecodable == Some(batch) {
            lane.undecodable = None;
            self.out.push(Output::Decodable { operation });
        }
    }

    pub(super) fn pause_requested(&mut self, ticket: Ticket, operation: OperationIndex) {
        self.lane_mut(operation).paused = true;
        // The last request counts.
        self.dependents
            .retain(|dependent| !matches!(dependent, Dependent::Unpause(op) if *op == operation));
        self.recall(|in_flight| in_flight.operation == operation);
        self.answer(ticket);
    }

    pub(super) fn unpause(&mut self, operation: OperationIndex) {
        let lane = self.lane_mut(operation);
        let was_paused = std::mem::take(&mut lane.paused);
        let was_undecodable = lane.undecodable.take().is_some();
        if was_undecodable {
            self.out.push(Output::Decodable { operation });
        }
        if was_paused {
            self.out.push(Output::Unpaused { operation });
        }
    }
}
