//! In place of the threads: the writer and the workers, for one who lets each go on, a step at a time.
//!
//! It is the code that the threads run. What differs: nobody waits; slices end early when they are told to, not
//! by time; and what a worker reports reaches the writer when it is delivered, as if the worker's thread had
//! been held up until then.

use super::command::{Command, Job, Work};
use super::engine::{Engine, Setup};
use super::shared::Shared;
use super::worker::{Bench, Haste, Worker};
use super::writer::Writer;
use crate::error::OpenError;
use crate::store::StoreError;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A queue without threads.
pub(crate) struct Stepper {
    pub(crate) engine: Arc<Engine>,
    pub(crate) writer: SteppedWriter,
    pub(crate) workers: Vec<SteppedWorker>,
    /// The workers' reports, in the same order.
    pub(crate) outboxes: Vec<Outbox>,
    /// Workers that took the place of those that hang.
    pub(crate) relief: Receiver<(SteppedWorker, Outbox)>,
}

impl Stepper {
    /// With as many workers as the setup asks for.
    pub(crate) fn open(setup: Setup) -> Result<Self, OpenError> {
        let store = Arc::clone(&setup.store);
        let marks = Arc::clone(&setup.marks);
        let count = setup.workers;
        let (engine, mut writer, bench) = Engine::assemble(setup)?;
        let hire = move |shared: &Arc<Shared>| {
            let (store, marks) = (Arc::clone(&store), Arc::clone(&marks));
            hire(
                Worker::new(Arc::clone(shared), store, marks, bench.clone()),
                &bench,
                shared,
            )
        };
        let (workers, outboxes) = (0..count).map(|_| hire(&engine.shared)).unzip();
        let (send, relief) = unbounded();
        let shared = Arc::downgrade(&engine.shared);
        writer.replace_with(move || {
            let relief = shared.upgrade().map(|shared| hire(&shared));
            relief.is_some_and(|relief| send.send(relief).is_ok())
        });
        Ok(Self {
            engine,
            writer: SteppedWriter(writer),
            workers,
            outboxes,
            relief,
        })
    }
}

fn hire(worker: Worker, bench: &Bench, shared: &Shared) -> (SteppedWorker, Outbox) {
    let (report, reports) = unbounded();
    let hurried = Arc::new(AtomicBool::new(false));
    let haste = Haste::OnRequest(Arc::clone(&hurried));
    let worker = SteppedWorker {
        worker: worker.with_haste(haste).reporting_to(report),
        bench: bench.clone(),
        hurried,
    };
    let writer = shared.commands.clone();
    (worker, Outbox { reports, writer })
}

pub(crate) struct SteppedWriter(Writer);

/// What came of a step of the writer.
pub(crate) enum WriterStep {
    /// It would wait.
    Idle(SteppedWriter),
    /// It took commands and committed.
    Worked(SteppedWriter),
    /// The queue is closed.
    Ended,
    /// The queue has failed, and why.
    Failed(String),
}

impl SteppedWriter {
    /// Whether a handler's time is up.
    pub(crate) fn sees_overdue(&self) -> bool {
        self.0.sees_overdue()
    }

    /// Has the slices that wait for the lease run in the wrong order: the defect that one line is there to prevent.
    pub(crate) fn turn_leased_round(&self) {
        let outlets = &self.0.outlets;
        let jobs: Vec<Job> = outlets.leased_queue.try_iter().collect();
        for job in jobs.into_iter().rev() {
            let _ = outlets.leased.send(job);
        }
    }

    /// Goes once around the loop of [`Writer::run`], unless it would wait.
    pub(crate) fn step(self) -> WriterStep {
        let mut writer = self.0;
        let command = match (writer.would_wait(), writer.sees_overdue()) {
            (true, false) => return WriterStep::Idle(Self(writer)),
            // It would not wait for longer than until it looks.
            (true, true) => Some(Command::Tick),
            (false, _) => writer.receive(),
        };
        let Some(command) = command else {
            writer.end();
            return WriterStep::Ended;
        };
        match writer.tick(command) {
            Ok(()) => WriterStep::Worked(Self(writer)),
            Err(StoreError(reason)) => {
                writer.fail(reason.clone());
                WriterStep::Failed(reason)
            }
        }
    }
}

pub(crate) struct SteppedWorker {
    worker: Worker,
    bench: Bench,
    hurried: Arc<AtomicBool>,
}

impl SteppedWorker {
    /// While it is set, slices end after the item that runs, and the lease goes back.
    pub(crate) fn hurried(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.hurried)
    }

    /// Whether it would find something to do.
    pub(crate) fn has_work(&self) -> bool {
        !self.bench.work.is_empty()
    }

    /// Takes what is next and runs it; false when the worker has ended, because another has taken its place. One that
    /// does not `heed` claims begins what the writer has taken back: the defect that claims are there to prevent.
    pub(crate) fn run(&mut self, heed: bool) -> bool {
        let Ok(mut work) = self.bench.work.try_recv() else {
            return true;
        };
        if !heed && let Work::Slice(job) = work {
            let claim = Arc::default();
            work = Work::Slice(Job { claim, ..job });
        }
        // A worker that finds the writer gone ends too. Here that shows with the writer.
        self.worker.run_one(work).is_some()
    }
}

/// What a worker has reported and the writer has not received.
pub(crate) struct Outbox {
    reports: Receiver<Command>,
    writer: Sender<Command>,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.reports.len()
    }

    /// Takes the oldest report.
    pub(crate) fn take(&self) -> Option<Command> {
        self.reports.try_recv().ok()
    }

    /// Hands a report to the writer. One for which there is no room is lost: who asks sees to that.
    pub(crate) fn deliver(&self, report: Command) -> bool {
        self.writer.try_send(report).is_ok()
    }
}
