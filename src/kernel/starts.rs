//! Items that run at most once: that they start is durable before they do.

use super::engine::{Dependent, Kernel};
use super::event::Event;
use super::input::{Output, Slice, SliceId, SliceItem};
use super::{BatchId, Timestamp};

impl Kernel {
    /// Puts out that the items of a slice start. The slice itself is put out when that is durable.
    pub(super) fn record_starts(
        &mut self,
        slice: SliceId,
        batch: BatchId,
        items: &[SliceItem],
        now: Timestamp,
    ) {
        let indexes = items.iter().map(|item| item.index).collect();
        self.record(batch, Event::ItemsStarted { at: now, indexes });
        self.dependents.push(Dependent::Start(slice));
    }

    /// That the items of a slice start is durable: they do, unless something came between.
    pub(super) fn start_recorded(&mut self, id: SliceId, now: Timestamp) {
        let Some(in_flight) = self.slices.get_mut(&id) else {
            return;
        };
        let batch = in_flight.batch;
        let count = u32::try_from(in_flight.items.len()).unwrap_or(u32::MAX);
        in_flight.handed_out = now;
        let lane = &mut self.lanes[in_flight.operation.0];
        lane.let_go(count);
        let held = self.closing || lane.paused || lane.undecodable.is_some();
        let wanted = self.batches.get(&batch);
        if wanted.is_some_and(|member| member.state.phase.may_start()) && !held {
            lane.note_starts(count, now);
            return self.out.push(Output::Start(Slice {
                id,
                batch,
                operation: in_flight.operation,
                exactly_once: false,
                alone: in_flight.alone,
                items: in_flight.items.clone(),
            }));
        }
        if let Some(in_flight) = self.slices.remove(&id) {
            self.take_back(id, &in_flight, now);
            self.refresh(batch);
            self.end_if_done(batch, now);
        }
    }

    /// Puts out that items have not started after all. Until that is durable a crash leaves them in doubt.
    pub(super) fn withdraw_starts(&mut self, batch: BatchId, items: &[SliceItem], now: Timestamp) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        let has_started = |index: &u16| {
            let items = member.state.items();
            items.is_some_and(|items| items.has_started(*index))
        };
        let indexes = items.iter().map(|item| item.index);
        let indexes: Vec<u16> = indexes.filter(has_started).collect();
        if !indexes.is_empty() {
            self.record(batch, Event::ItemsReturned { at: now, indexes });
        }
    }
}
