//! A store for tests: what was recorded, durable up to the last commit.

use crate::kernel::{BatchId, BatchState, Event, OperationIndex, Recovered, Terms};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) operation: OperationIndex,
    pub(super) position: u64,
    pub(super) total: u32,
    pub(super) terms: Terms,
    pub(super) events: Vec<Event>,
}

impl Stored {
    pub(super) fn state(&self) -> BatchState {
        let mut state = BatchState::queued(self.total);
        for event in &self.events {
            let applied = state.apply(event);
            assert_eq!(applied, Ok(()), "{event:?} in {:?}", self.events);
        }
        state
    }
}

#[derive(Debug, Clone)]
enum Change {
    Admit(BatchId, Stored),
    Append(BatchId, Event),
    Move(BatchId, u64),
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) durable: BTreeMap<BatchId, Stored>,
    group: Vec<Change>,
}

impl Disk {
    pub(super) fn admit(&mut self, batch: BatchId, stored: Stored) {
        self.group.push(Change::Admit(batch, stored));
    }

    pub(super) fn append(&mut self, batch: BatchId, event: Event) {
        self.group.push(Change::Append(batch, event));
    }

    /// A batch that was resumed, or whose time has come, stands elsewhere in the order.
    pub(super) fn move_to(&mut self, batch: BatchId, position: u64) {
        self.group.push(Change::Move(batch, position));
    }

    pub(super) fn commit(&mut self) {
        for change in std::mem::take(&mut self.group) {
            match change {
                Change::Admit(batch, stored) => {
                    self.durable.insert(batch, stored);
                }
                Change::Append(batch, event) => self.stored_mut(batch).events.push(event),
                Change::Move(batch, position) => self.stored_mut(batch).position = position,
            }
        }
    }

    /// Whether everything that was recorded is durable.
    pub(super) fn is_clean(&self) -> bool {
        self.group.is_empty()
    }

    pub(super) fn lose_group(&mut self) {
        self.group.clear();
    }

    pub(super) fn next_batch(&self) -> BatchId {
        BatchId(self.durable.keys().next_back().map_or(1, |last| last.0 + 1))
    }

    pub(super) fn recovered(&self, batch: BatchId) -> Recovered {
        let stored = &self.durable[&batch];
        Recovered {
            batch,
            operation: stored.operation,
            position: stored.position,
            terms: stored.terms.clone(),
            state: stored.state(),
        }
    }

    pub(super) fn unfinished(&self) -> Vec<Recovered> {
        self.durable
            .keys()
            .map(|batch| self.recovered(*batch))
            .filter(|recovered| !recovered.state.phase.state().has_ended())
            .collect()
    }

    fn stored_mut(&mut self, batch: BatchId) -> &mut Stored {
        self.durable
            .get_mut(&batch)
            .expect("only admitted batches are recorded to")
    }
}
