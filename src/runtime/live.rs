//! What is published of a batch: its progress, for readers that never wait for the writer.

use super::failures::FailureCounts;
use super::gate::Gate;
use super::waiters::Waiters;
use crate::kernel::{BatchId, BatchView, OperationIndex, Phase, State, Timestamp};
use crate::sync::{Arc, ArcSwap, AtomicBool, Guard, Mutex, MutexGuard, Ordering, Weak};
use std::collections::HashMap;
use std::sync::PoisonError;

/// Where a batch stands. Counts of ended items and end states are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) state: State,
    pub(crate) stop_requested: bool,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    pub(crate) in_doubt: u32,
    pub(crate) in_flight: u32,
    pub(crate) waiting: u32,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) ended_at: Option<Timestamp>,
    /// Of the items that failed.
    pub(crate) failures: FailureCounts,
    /// An estimate.
    pub(crate) left_ms: Option<u64>,
}

impl Progress {
    pub(crate) fn queued() -> Self {
        Self {
            state: State::Queued,
            stop_requested: false,
            succeeded: 0,
            failed: 0,
            in_doubt: 0,
            in_flight: 0,
            waiting: 0,
            started_at: None,
            ended_at: None,
            failures: FailureCounts::default(),
            left_ms: None,
        }
    }

    pub(crate) fn new(view: &BatchView, failures: FailureCounts, left_ms: Option<u64>) -> Self {
        let state = view.phase.state();
        Self {
            state,
            stop_requested: view.phase == Phase::Stopping,
            succeeded: view.succeeded,
            failed: view.failed,
            in_doubt: view.in_doubt,
            in_flight: view.in_flight,
            // In a stopped batch nothing waits for a time: `resume` is what its items need.
            waiting: if state.has_ended() { 0 } else { view.waiting },
            started_at: view.started_at,
            ended_at: view.ended_at,
            failures,
            left_ms,
        }
    }
}

impl Progress {
    /// Items with an outcome.
    pub(crate) fn processed(&self) -> u32 {
        self.succeeded + self.failed + self.in_doubt
    }
}

/// Where the items of a batch come from that runs failed items again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The batch whose items failed.
    pub(crate) parent: BatchId,
    /// The batch in which the items were first submitted.
    pub(crate) root: BatchId,
    /// When that one was accepted.
    pub(crate) root_created_at: Timestamp,
    /// The items' places in `root`.
    pub(crate) indexes: Box<[u16]>,
}

/// One batch, as everybody sees it.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: BatchId,
    /// Absent when no such operation is registered, and the batch has ended.
    pub(crate) operation: Option<OperationIndex>,
    pub(crate) operation_name: Arc<str>,
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) created_at: Timestamp,
    pub(crate) total: u32,
    /// The number of the first item of each chunk.
    pub(crate) chunk_starts: Box<[u16]>,
    pub(crate) label: Option<Arc<str>>,
    pub(crate) priority: i8,
    pub(crate) not_before: Option<Timestamp>,
    /// Of a batch that runs failed items again.
    pub(crate) origin: Option<Arc<Origin>>,
    /// An item that cannot be decoded fails, and does not hold up its operation.
    fails_undecodable: AtomicBool,
    deleted: AtomicBool,
    pub(crate) gate: Arc<Gate>,
    pub(crate) waiters: Waiters,
    progress: ArcSwap<Progress>,
}

/// What a [`Live`] is made of besides its progress.
pub(crate) struct Facts {
    pub(crate) id: BatchId,
    /// Absent when no such operation is registered, and the batch has ended.
    pub(crate) operation: Option<OperationIndex>,
    pub(crate) operation_name: Arc<str>,
    pub(crate) owner: Option<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) total: u32,
    pub(crate) chunk_starts: Vec<u16>,
    pub(crate) label: Option<String>,
    pub(crate) priority: i8,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) origin: Option<Origin>,
    pub(crate) fails_undecodable: bool,
}

impl Live {
    pub(crate) fn new(facts: Facts, progress: Progress, gate: Gate) -> Self {
        Self {
            id: facts.id,
            operation: facts.operation,
            operation_name: facts.operation_name,
            owner: facts.owner.map(Arc::from),
            created_at: facts.created_at,
            total: facts.total,
            chunk_starts: facts.chunk_starts.into_boxed_slice(),
            label: facts.label.map(Arc::from),
            priority: facts.priority,
            not_before: facts.not_before,
            origin: facts.origin.map(Arc::new),
            fails_undecodable: AtomicBool::new(facts.fails_undecodable),
            deleted: AtomicBool::new(false),
            gate: Arc::new(gate),
            waiters: Waiters::default(),
            progress: ArcSwap::from_pointee(progress),
        }
    }

    pub(crate) fn fails_undecodable(&self) -> bool {
        self.fails_undecodable.load(Ordering::Acquire)
    }

    pub(crate) fn fail_undecodable(&self) {
        self.fails_undecodable.store(true, Ordering::Release);
    }

    /// Whether it was deleted, durably.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    pub(crate) fn progress(&self) -> Guard<Arc<Progress>> {
        self.progress.load()
    }

    pub(crate) fn publish(&self, progress: Progress) {
        self.progress.store(Arc::new(progress));
    }

    /// Takes back the published estimate. Only for the one who publishes.
    pub(crate) fn forget_time_left(&self) {
        let progress = self.progress.load();
        if progress.left_ms.is_some() {
            let left_ms = None;
            self.publish(Progress {
                left_ms,
                ..Progress::clone(&progress)
            });
        }
    }

    /// Makes everybody who waits look again.
    pub(crate) fn wake(&self) {
        self.waiters.wake();
    }
}

/// The batches that somebody holds: unfinished ones, and ended ones with a handle.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    lives: HashMap<BatchId, Weak<Live>>,
    /// Clear out dropped ones when there are this many.
    sweep_at: usize,
}

impl Entries {
    fn insert(&mut self, live: &Arc<Live>) {
        self.lives.insert(live.id, Arc::downgrade(live));
        if self.lives.len() >= self.sweep_at.max(64) {
            self.lives.retain(|_, live| live.strong_count() > 0);
            self.sweep_at = self.lives.len() * 2;
        }
    }
}

impl Registry {
    pub(crate) fn insert(&self, live: &Arc<Live>) {
        self.entries().insert(live);
    }

    /// The batch is deleted: who holds it finds it so, and is to be woken.
    pub(crate) fn remove(&self, id: BatchId) -> Option<Arc<Live>> {
        let live = self.entries().lives.remove(&id)?.upgrade()?;
        live.deleted.store(true, Ordering::Release);
        Some(live)
    }

    /// The batch, if somebody holds it.
    pub(crate) fn find(&self, id: BatchId) -> Option<Arc<Live>> {
        self.entries().lives.get(&id).and_then(Weak::upgrade)
    }

    /// The batch, or what `load` reads of it; two callers get the same. The caller holds a view, so
    /// that what is read is not overtaken by a commit, and `load` waits for nothing.
    pub(crate) fn find_or_load<E>(
        &self,
        id: BatchId,
        load: impl FnOnce() -> Result<Option<Live>, E>,
    ) -> Result<Option<Arc<Live>>, E> {
        let mut entries = self.entries();
        if let Some(live) = entries.lives.get(&id).and_then(Weak::upgrade) {
            return Ok(Some(live));
        }
        let Some(live) = load()?.map(Arc::new) else {
            return Ok(None);
        };
        entries.insert(&live);
        Ok(Some(live))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        let entries = self.entries();
        entries.lives.values().filter_map(Weak::upgrade).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
