//! Hands out items: fires retry timers, chooses whose turn it is, cuts slices.

use super::engine::{InFlight, Kernel};
use super::event::Event;
use super::input::{Output, Slice, SliceId, SliceItem};
use super::lifecycle::Phase;
use super::schedule::{Lane, Turn};
use super::{BatchId, OperationIndex, Timestamp};
use crate::limits;
use std::collections::BTreeMap;

impl Kernel {
    /// Does what time alone has made due.
    pub(super) fn fire_timers(&mut self, now: Timestamp) {
        while let Some((due, batch, index)) = self.timers.first().copied() {
            if due > now {
                break;
            }
            self.timers.remove(&(due, batch, index));
            let Some(member) = self.batches.get_mut(&batch) else {
                continue;
            };
            member.state.items_mut().wake(index);
            self.offer(batch, index);
            self.refresh(batch);
            self.mark_changed(batch);
        }
        while let Some((due, batch)) = self.delayed.first().copied() {
            if due > now {
                break;
            }
            self.delayed.remove(&(due, batch));
            self.fall_due(batch);
        }
    }

    pub(super) fn schedule(&mut self, now: Timestamp) {
        if self.closing {
            return;
        }
        for lane in &mut self.lanes {
            lane.forget_starts(now);
        }
        while let Some(operation) = self.choose() {
            let Some((turn, batch)) = self.lane(operation).next() else {
                break;
            };
            self.enter_lines(operation, batch);
            let (items, alone) = self.take_items(operation, batch);
            self.lane_mut(operation).set_ready(turn, batch, false);
            self.take_turn(batch);
            self.refresh(batch);
            if !items.is_empty() {
                self.start(operation, batch, items, alone, now);
            }
        }
    }

    /// The operation that starts the next slice: the one whose batch has waited longest. While there is
    /// no room for that one nobody else starts: the quick would fill every gap before the slow.
    fn choose(&self) -> Option<OperationIndex> {
        let free = self.longest_waiting(false);
        let leased = self
            .longest_waiting(true)
            .filter(|(_, index)| self.leased < self.lanes[*index].lease_limit());
        let (_, index) = free.into_iter().chain(leased).min()?;
        self.has_room(&self.lanes[index])
            .then_some(OperationIndex(index))
    }

    fn longest_waiting(&self, exactly_once: bool) -> Option<((Turn, BatchId), usize)> {
        self.lanes
            .iter()
            .enumerate()
            .filter(|(_, lane)| lane.spec.is_exactly_once() == exactly_once)
            .filter_map(|(index, lane)| Some((lane.next()?, index)))
            .min()
    }

    fn has_room(&self, lane: &Lane) -> bool {
        if self.workers == 0 {
            return self.asked > 0;
        }
        let others = self.occupied() - self.leased;
        // However many leased slices are out, one worker runs them.
        let busy = others + self.leased.min(1);
        let room = if lane.is_fast() {
            busy < self.workers * 2
        } else {
            busy < self.workers
        };
        // The second leased slice goes to the worker that has the first.
        room || (lane.spec.is_exactly_once() && self.leased == 1 && lane.is_fast())
    }

    /// Slices that a worker is to run or runs. One that hangs and was replaced is neither.
    fn occupied(&self) -> u32 {
        let hangs = |slice: &&InFlight| slice.hangs.is_some_and(|hang| hang.replaced);
        let replaced = self.slices.values().filter(hangs).count();
        u32::try_from(self.slices.len() - replaced).unwrap_or(u32::MAX)
    }

    /// Items for a slice; and when it is a suspect, which runs alone, the crash that it would be charged with.
    fn take_items(
        &mut self,
        operation: OperationIndex,
        batch: BatchId,
    ) -> (Vec<SliceItem>, Option<u32>) {
        let idle = self.workers.saturating_sub(self.occupied()).max(1);
        let lane = self.lane(operation);
        let mut most = if self.workers == 0 {
            // How long handlers take is not to change what runs when.
            let most = limits::FIRST_SLICE_ITEMS.min(lane.slice_limit());
            self.asked.min(most)
        } else {
            lane.slice_items()
        };
        most = most.min(lane.allowed());
        let spread = !lane.is_fast() && !lane.spec.is_exactly_once();
        let Some(member) = self.batches.get_mut(&batch) else {
            return (Vec::new(), None);
        };
        if spread {
            // Slow or unknown: a few items must not line up behind one worker while others idle.
            most = most.min(member.state.pending_count().div_ceil(idle)).max(1);
        }
        let mut taken = Vec::new();
        let mut bound = None;
        while taken.len() < most as usize {
            let Some(index) = member.next() else { break };
            let items = member.state.items_mut();
            if items.is_suspect(index) {
                if taken.is_empty() && self.alone.is_none() {
                    let crash = items.crashes(index) + 1;
                    let item = items.hand_out(index);
                    member.startable.remove(&index);
                    return (vec![item], Some(crash));
                }
                break;
            }
            if bound.is_some_and(|bound| bound < index) {
                break;
            }
            if taken.is_empty() {
                bound = first_leased_after(&self.slices, batch, index);
            }
            member.startable.remove(&index);
            taken.push(member.state.items_mut().hand_out(index));
        }
        (taken, None)
    }

    fn start(
        &mut self,
        operation: OperationIndex,
        batch: BatchId,
        items: Vec<SliceItem>,
        alone: Option<u32>,
        now: Timestamp,
    ) {
        self.asked = 0;
        let id = SliceId(self.next_slice);
        self.next_slice += 1;
        self.set_running(batch, now);
        let lane = self.lane_mut(operation);
        lane.slices += 1;
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let exactly_once = lane.spec.is_exactly_once();
        let at_most_once = lane.spec.is_at_most_once();
        if at_most_once {
            lane.hold_starts(count);
        } else {
            lane.note_starts(count, now);
        }
        self.leased += u32::from(exactly_once);
        self.slices.insert(
            id,
            InFlight {
                batch,
                operation,
                exactly_once,
                items: items.clone(),
                ended: 0,
                handed_out: now,
                alone,
                hangs: None,
            },
        );
        if alone.is_some() {
            self.alone = Some(id);
            self.refresh_quarantine();
        }
        self.mark_changed(batch);
        if at_most_once {
            return self.record_starts(id, batch, &items, now);
        }
        self.out.push(Output::Start(Slice {
            id,
            batch,
            operation,
            exactly_once,
            alone,
            items,
        }));
    }

    /// Items of the batch start, or have. It is recorded with what becomes of them.
    pub(super) fn set_running(&mut self, batch: BatchId, now: Timestamp) {
        if let Some(member) = self.batches.get_mut(&batch)
            && member.state.phase == Phase::Queued
        {
            match member.state.apply(&Event::Started { at: now }) {
                Ok(()) => member.unrecorded_start = Some(now),
                Err(error) => self.out.push(Output::Defect { batch, error }),
            }
        }
    }
}

/// The first item of a batch after `index` that is in a leased slice. What comes before it and what
/// comes after it are not handed out together, or the latter could overtake it.
fn first_leased_after(
    slices: &BTreeMap<SliceId, InFlight>,
    batch: BatchId,
    index: u16,
) -> Option<u16> {
    slices
        .values()
        .filter(|slice| slice.exactly_once && slice.batch == batch)
        .flat_map(|slice| slice.left())
        .map(|item| item.index)
        .filter(|leased| *leased > index)
        .min()
}
