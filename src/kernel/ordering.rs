//! Items with ordering keys: when they enter their lines, when they may start, when they leave.

use super::engine::{InFlight, Kernel};
use super::input::SliceId;
use super::items::Items;
use super::order::Place;
use super::{BatchId, OperationIndex};
use std::collections::{BTreeMap, BTreeSet};

impl Kernel {
    /// Brings a batch with keys, and all that come before it, into the lines of its operation.
    pub(super) fn enter_lines(&mut self, operation: OperationIndex, batch: BatchId) {
        let Some(member) = self.batches.get(&batch) else {
            return;
        };
        if member.keys.is_none() || member.in_lines {
            return;
        }
        let position = member.position;
        for entering in self.lane_mut(operation).order.admit_up_to(position) {
            let Some(member) = self.batches.get_mut(&entering) else {
                continue;
            };
            member.in_lines = true;
            let total = member.state.total;
            for index in (0..total).filter_map(|i| u16::try_from(i).ok()) {
                let member = &self.batches[&entering];
                let settled = member.state.items().is_some_and(|i| i.is_settled(index));
                if settled {
                    continue;
                }
                if let Some(key) = member.key(index) {
                    let order = &mut self.lanes[operation.0].order;
                    order.join(key, (member.position, index));
                }
                self.offer(entering, index);
            }
            self.refresh(entering);
        }
    }

    /// Notes an item of a batch with keys as startable, if it is.
    pub(super) fn offer(&mut self, batch: BatchId, index: u16) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        if !member.in_lines || !member.state.phase.may_start() {
            return;
        }
        let place = (member.position, index);
        if hangs(&self.slices, member.operation, place) {
            // A handler that has not returned in time holds its key.
            return;
        }
        let order = &self.lanes[member.operation.0].order;
        let heads = member
            .key(index)
            .is_none_or(|key| order.head(key) == Some(place));
        if heads && member.state.items_mut().is_pending(index) {
            member.startable.insert(index);
        }
    }

    /// An item leaves its slice.
    pub(super) fn release(&mut self, batch: BatchId, index: u16) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        member.state.items_mut().release(index);
        if member.state.phase.may_start() {
            self.offer(batch, index);
        } else {
            self.leave_line(batch, index);
        }
        self.mark_changed(batch);
    }

    /// An item leaves its key's line; the one that is first then may start.
    pub(super) fn leave_line(&mut self, batch: BatchId, index: u16) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        member.startable.remove(&index);
        let Some(key) = member.key(index).filter(|_| member.in_lines) else {
            return;
        };
        let operation = member.operation;
        let place = (member.position, index);
        if hangs(&self.slices, operation, place) {
            return;
        }
        self.lanes[operation.0].order.leave(key, place);
        self.offer_head(operation, key);
    }

    pub(super) fn offer_head(&mut self, operation: OperationIndex, key: u64) {
        if let Some((next, index)) = self.lane(operation).order.head_item(key) {
            self.offer(next, index);
            self.refresh(next);
        }
    }

    /// A batch that is being stopped gives up its places, but for those of items that still run.
    pub(super) fn leave_order(&mut self, batch: BatchId) {
        let Some(member) = self.batches.get_mut(&batch) else {
            return;
        };
        let operation = member.operation;
        member.startable.clear();
        let order = &mut self.lanes[operation.0].order;
        if !member.in_lines {
            order.withdraw(member.position);
            return;
        }
        let mut left = BTreeSet::new();
        for index in (0..member.state.total).filter_map(|i| u16::try_from(i).ok()) {
            let place = (member.position, index);
            let is_taken = |items: &Items| items.is_taken(index);
            let stays =
                member.state.items().is_some_and(is_taken) || hangs(&self.slices, operation, place);
            if let Some(key) = member.key(index).filter(|_| !stays) {
                order.leave(key, place);
                left.insert(key);
            }
        }
        for key in left {
            self.offer_head(operation, key);
        }
    }
}

/// Whether the handler of the item at this place has not returned in time, and not yet.
fn hangs(slices: &BTreeMap<SliceId, InFlight>, operation: OperationIndex, place: Place) -> bool {
    slices.values().any(|slice| {
        let line = slice.hangs.and_then(|hang| hang.line);
        slice.operation == operation && line.is_some_and(|(_, held)| held == place)
    })
}
