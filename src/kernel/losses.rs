//! Attempts that no handler can tell of: the process ended while they ran, or they did not return in time.

use super::engine::{Hang, InFlight, Kernel};
use super::event::{Event, Fate, ItemEvent, Loss};
use super::input::{Mark, OperationSpec, Output, Promise, Refusal, SliceId, SliceItem, Ticket};
use super::{BatchId, Timestamp};

impl OperationSpec {
    /// What follows a retryable failure.
    pub(super) fn fate_of_retryable(
        &self,
        batch: BatchId,
        item: SliceItem,
        now: Timestamp,
    ) -> Fate {
        if self.is_at_most_once() {
            return Fate::Failed;
        }
        let wait_ms = self.retry.wait_ms_after(batch, item.index, item.attempt);
        wait_ms.map_or(Fate::Failed, |wait_ms| Fate::Retry {
            due: now.plus_ms(wait_ms),
        })
    }

    fn fate_of_timeout(&self, batch: BatchId, item: SliceItem, now: Timestamp) -> Fate {
        match self.promise {
            Promise::AtMostOnce => Fate::InDoubt,
            _ if self.retry.is_after_timeouts() => self.fate_of_retryable(batch, item, now),
            _ => Fate::Failed,
        }
    }
}

impl Kernel {
    /// Takes in what the end of the last process means for a batch: items that may have run and run at most once are
    /// in doubt; the others that were with a worker are suspects; one that ran alone is charged with the crash.
    pub(super) fn take_in_losses(&mut self, batch: BatchId, marks: &[Mark], now: Timestamp) {
        let Some(items) = self
            .batches
            .get(&batch)
            .and_then(|member| member.state.items())
        else {
            return self.take_in_marks(batch, marks, now);
        };
        let lost: Vec<_> = items
            .started()
            .map(|index| ItemEvent {
                index,
                attempt: items.next_attempt(index),
                fate: Fate::InDoubt,
            })
            .collect();
        let loss = Loss::Crash { alone: 0 };
        self.lose(batch, lost, loss, now);
        self.take_in_marks(batch, marks, now);
    }

    fn take_in_marks(&mut self, batch: BatchId, marks: &[Mark], now: Timestamp) {
        for mark in marks.iter().filter(|mark| mark.batch == batch) {
            let Some(member) = self.batches.get_mut(&batch) else {
                return;
            };
            let items = member.state.items_mut();
            let mut indexes = mark.indexes.clone();
            indexes.retain(|index| items.is_open(*index));
            let charged = mark
                .alone
                .and_then(|crashes| Some((*indexes.first()?, crashes)));
            indexes.retain(|index| !items.is_suspect(*index));
            if !indexes.is_empty() {
                self.record(batch, Event::Suspected { at: now, indexes });
            }
            if let Some((index, crashes)) = charged {
                self.charge(batch, index, crashes, now);
            }
        }
        self.note_quarantine(batch);
    }

    fn charge(&mut self, batch: BatchId, index: u16, crashes: u32, now: Timestamp) {
        let at = now;
        self.record(batch, Event::Charged { at, index, crashes });
        let Some(member) = self.batches.get(&batch) else {
            return;
        };
        let limit = self.lane(member.operation).spec.crashes;
        if limit.is_none_or(|limit| crashes < limit) {
            return;
        }
        let items = member.state.items();
        let attempt = items.map_or(1, |items| items.next_attempt(index));
        if let Some(due) = items.and_then(|items| items.due(index)) {
            // It waited for a retry.
            self.timers.remove(&(due, batch, index));
        }
        let fate = Fate::Failed;
        let lost = vec![ItemEvent {
            index,
            attempt,
            fate,
        }];
        self.lose(batch, lost, Loss::Crash { alone: crashes }, now);
    }

    /// Records what became of items that nobody can tell of. They are with no worker.
    fn lose(&mut self, batch: BatchId, items: Vec<ItemEvent>, loss: Loss, now: Timestamp) {
        if items.is_empty() {
            return;
        }
        self.set_running(batch, now);
        let at = now;
        let fates: Vec<_> = items.iter().map(|item| (item.index, item.fate)).collect();
        self.record(batch, Event::ItemsLost { at, items, loss });
        for (index, fate) in fates {
            self.follow(batch, index, fate);
        }
    }

    fn note_quarantine(&mut self, batch: BatchId) {
        let items = self
            .batches
            .get(&batch)
            .and_then(|member| member.state.items());
        if items.is_some_and(|items| items.has_suspects()) {
            self.quarantine.insert(batch);
        } else {
            self.quarantine.remove(&batch);
        }
        self.refresh(batch);
    }

    /// Whether a suspect runs has changed.
    pub(super) fn refresh_quarantine(&mut self) {
        for batch in self.quarantine.clone() {
            self.note_quarantine(batch);
        }
    }

    pub(super) fn timed_out(
        &mut self,
        slice: SliceId,
        place: usize,
        after_ms: u64,
        replaced: bool,
        now: Timestamp,
    ) {
        let Some(in_flight) = self.slices.get(&slice) else {
            return;
        };
        let (batch, operation) = (in_flight.batch, in_flight.operation);
        let Some(item) = in_flight.items.get(place).copied() else {
            return;
        };
        if in_flight.hangs.is_some() || place < in_flight.ended {
            return;
        }
        let fate = self.lane(operation).spec.fate_of_timeout(batch, item, now);
        let lost = vec![ItemEvent {
            index: item.index,
            attempt: item.attempt,
            fate,
        }];
        if in_flight.exactly_once {
            self.lose(batch, lost, Loss::Timeout { after_ms }, now);
            // What the slice wrote is gone with the lease: what it ran has not run.
            if let Some(in_flight) = self.slices.remove(&slice) {
                self.take_back(slice, &in_flight, now);
            }
        } else {
            self.hang(slice, item.index, replaced);
            self.lose(batch, lost, Loss::Timeout { after_ms }, now);
        }
        self.refresh(batch);
        self.end_if_done(batch, now);
    }

    /// The handler of a slice's only item hangs: the item is no longer in flight, its key stays held.
    fn hang(&mut self, slice: SliceId, index: u16, replaced: bool) {
        let Some(in_flight) = self.slices.get_mut(&slice) else {
            return;
        };
        let batch = in_flight.batch;
        let mut line = None;
        if let Some(member) = self.batches.get_mut(&batch) {
            member.state.items_mut().release(index);
            let key = member.key(index).filter(|_| member.in_lines);
            line = key.map(|key| (key, (member.position, index)));
        }
        debug_assert_eq!(
            in_flight.items.len(),
            1,
            "what is behind it would hang with it"
        );
        in_flight.hangs = Some(Hang { replaced, line });
        if self.alone == Some(slice) {
            self.alone = None;
            self.refresh_quarantine();
        }
        self.mark_changed(batch);
    }

    /// Another worker works in the place of one that hangs. Leased slices are no longer known: the room that they took
    /// was free at once.
    pub(super) fn replaced(&mut self, slice: SliceId) {
        let in_flight = self.slices.get_mut(&slice);
        if let Some(hang) = in_flight.and_then(|in_flight| in_flight.hangs.as_mut()) {
            hang.replaced = true;
        }
    }

    /// A handler that had not returned in time has returned: what it held is free.
    pub(super) fn returned_late(&mut self, in_flight: &InFlight, hang: Hang) {
        self.lane_mut(in_flight.operation).slices -= 1;
        let Some((key, place)) = hang.line else {
            return;
        };
        let (batch, operation) = (in_flight.batch, in_flight.operation);
        let index = place.1;
        let waits = self.batches.get(&batch).is_some_and(|member| {
            let items = member.state.items();
            member.position == place.0
                && member.state.phase.may_start()
                && items.is_some_and(|items| items.is_open(index))
        });
        if waits {
            // For another attempt, with its place in the line.
            self.offer(batch, index);
            self.refresh(batch);
        } else {
            self.lane_mut(operation).order.leave(key, place);
            self.offer_head(operation, key);
        }
    }

    pub(super) fn resolve_requested(
        &mut self,
        ticket: Ticket,
        batch: BatchId,
        index: u16,
        succeeded: bool,
        now: Timestamp,
    ) {
        let items = self
            .batches
            .get(&batch)
            .and_then(|member| member.state.items());
        if !items.is_some_and(|items| items.is_doubted(index)) {
            let refusal = Refusal::NotInDoubt;
            return self.out.push(Output::Refused { ticket, refusal });
        }
        let fate = if succeeded {
            Fate::Succeeded
        } else {
            Fate::Failed
        };
        let item = ItemEvent {
            index,
            // What runs at most once has made one.
            attempt: 1,
            fate,
        };
        self.record(batch, Event::Resolved { at: now, item });
        self.answer(ticket);
    }
}
