//! In place of the worker threads: runs handlers on the thread that asks for it.
//!
//! A slice at a time, each asked for when everything before it is durable. So nothing is handed out while
//! nobody drains, and what runs when depends on what was submitted, not on how long anything takes.

use super::command::Command;
use super::engine::{Engine, Setup};
use super::shared::{Engagement, Role, Shared, Threads, would_wait_for_itself};
use super::worker::{Bench, Worker};
use crate::error::OpenError;
use crate::store::marks::Marks;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct Drainer {
    pub(crate) shared: Arc<Shared>,
    marks: Arc<dyn Marks>,
    /// Absent once the queue is gone: what was handed out last may hold its store.
    bench: Mutex<Option<Bench>>,
}

/// Why there was no draining, or no more.
#[derive(Debug)]
pub(crate) enum NotDrained {
    /// This thread runs a handler or a read of the queue.
    WouldDeadlock,
    /// The queue has failed or is closed.
    Gone,
}

impl Drainer {
    /// Starts a queue that has no worker threads.
    pub(crate) fn start(setup: Setup) -> Result<(Arc<Engine>, Self), OpenError> {
        let setup = Setup {
            workers: 0,
            ..setup
        };
        let marks = Arc::clone(&setup.marks);
        let (engine, bench) = Engine::start_at_bench(setup)?;
        let drainer = Self {
            shared: Arc::clone(&engine.shared),
            marks,
            bench: Mutex::new(Some(bench)),
        };
        Ok((engine, drainer))
    }

    /// Runs what can run, at most so many attempts; how many it were. What follows from them is durable.
    pub(crate) fn drain(&self, most: u64) -> Result<u64, NotDrained> {
        let shared = &self.shared;
        if would_wait_for_itself(Arc::as_ptr(shared)) {
            return Err(NotDrained::WouldDeadlock);
        }
        // A shutdown waits for this thread as for a worker. Dropped when everything else here is.
        let _presence = Threads::enter(shared);
        let mut bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            run(shared, &self.marks, bench.as_ref()?, most)
        }));
        let ran = ran.unwrap_or_else(|_| {
            shared.fail("a defect of batchwright: a drain panicked".to_owned());
            None
        });
        if ran.is_none() {
            *bench = None;
        }
        ran.ok_or(NotDrained::Gone)
    }
}

/// `None` when the queue is gone.
fn run(shared: &Arc<Shared>, marks: &Arc<dyn Marks>, bench: &Bench, most: u64) -> Option<u64> {
    let store = shared.vault.store()?;
    let worker = Worker::new(Arc::clone(shared), store, Arc::clone(marks), bench.clone());
    let mut worker = worker.untimed();
    let mut ran = 0;
    loop {
        let most = u32::try_from(most - ran).unwrap_or(u32::MAX);
        let asked = shared.ask(|reply| Command::HandOut { most, reply });
        asked.ok()?;
        // Before anything else: the writer waits for what it has handed out.
        let Ok(work) = bench.work.try_recv() else {
            return shared.check().is_ok().then_some(ran);
        };
        let _engaged = Engagement::begin(shared, Role::Worker);
        ran += worker.run_one(work)?;
    }
}
