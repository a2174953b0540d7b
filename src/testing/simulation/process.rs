//! A process that has the queue open: the writer, the workers, and the clients that wait for answers.

use super::checker::{Answer, Beginning, Death, Rule};
use super::operations;
use super::page_cache::PageCache;
use super::sabotage::Sabotage;
use super::trace::Event;
use super::world::{World, id};
use crate::error::OpenError;
use crate::kernel::{SliceId, Verdict};
use crate::limits::Limits;
use crate::queue::Queue;
use crate::runtime::{
    Command, Engine, Finished, Outbox, Setup, Shared, Steered, SteppedWorker, SteppedWriter,
    Stepper, Submitted, WriterStep,
};
use crate::store::journal::Block;
use crate::verification::Verify;
use crossbeam_channel::{Receiver, TryRecvError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Batches that may be unfinished.
const UNFINISHED: usize = 8;

/// How the writer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Closed,
    Failed,
}

/// Somebody who waits for an answer.
pub(super) struct Pending {
    pub(super) request: u64,
    pub(super) reply: Reply,
}

pub(super) enum Reply {
    Submitted(Receiver<Submitted>),
    Steered(Receiver<Steered>),
}

pub(super) struct Process {
    pub(super) queue: Queue,
    engine: Arc<Engine>,
    writer: Option<SteppedWriter>,
    /// The writer has ended.
    pub(super) end: Option<End>,
    workers: Vec<Option<SteppedWorker>>,
    hurried: Vec<Arc<AtomicBool>>,
    outboxes: Vec<Outbox>,
    /// Workers that took the place of those that hang, not yet among the others.
    relief: Receiver<(SteppedWorker, Outbox)>,
    /// Reports that the writer was told of, by worker.
    delivered: Vec<u64>,
    pub(super) pending: Vec<Pending>,
    /// Under sabotage: on its way to the writer.
    held_back: Option<Command>,
}

impl Process {
    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.queue.shared()
    }

    /// What there is to know of an attempt that begins.
    pub(super) fn beginning(&self, worker: usize, batch: u64, now_ms: u64) -> Beginning {
        let live = self.shared().registry.find(id(batch));
        let origin = live.and_then(|live| live.origin.clone());
        let waiting = self.outboxes.get(worker).map_or(0, Outbox::len) as u64;
        let delivered = self.delivered.get(worker).copied().unwrap_or(0);
        Beginning {
            now_ms,
            retry_of: origin.map(|origin| origin.parent.into()),
            report: delivered + waiting,
        }
    }

    /// Those who took the place of others begin.
    fn let_relief_in(&mut self) {
        for (worker, outbox) in self.relief.try_iter() {
            self.hurried.push(worker.hurried());
            self.workers.push(Some(worker));
            self.outboxes.push(outbox);
            self.delivered.push(0);
        }
    }

    /// It ends at once: what is still on the stack is to stop as soon as it can.
    pub(super) fn end(self) {
        self.shared().closed.store(true, Ordering::SeqCst);
    }
}

impl World {
    /// Starts processes until one has the queue open.
    pub(super) fn open(self: &Arc<Self>) {
        while !self.is_over() && self.process().is_none() {
            let opening = self.begin();
            self.checker().opens(self.clock.now_ms());
            match self.try_open(opening) {
                Ok(process) if self.lives(opening) => {
                    self.note(&Event::Opened { opening });
                    self.checker().opened();
                    *self.process() = Some(process);
                }
                // It crashed while it opened.
                Ok(_) => {}
                Err(_) if !self.lives(opening) => {}
                Err(OpenError::Failed { reason, .. }) if self.is_rough() => {
                    self.note(&Event::NotOpened(&reason));
                    self.end_process(Death::Failed);
                }
                Err(error) => self.fail(Rule::StoreIsSound, error.to_string()),
            }
        }
        self.audit(true);
    }

    fn try_open(self: &Arc<Self>, opening: u64) -> Result<Process, OpenError> {
        let store = self.disk.open(self, opening);
        let limits = Limits {
            unfinished_batches: UNFINISHED,
            ..Limits::default()
        };
        let clock = match self.sabotage() {
            Some(Sabotage::ClockAhead) => self.clock.ahead(700),
            Some(Sabotage::ClockFast) => self.clock.at_pace(3),
            _ => self.clock.clone(),
        };
        let setup = Setup {
            sealed_sequence: store.sequence(),
            store: Arc::new(store),
            marks: Arc::new(PageCache::open(self, opening)),
            dir: PathBuf::from("simulated"),
            recount: true,
            verify: if self.once_in(3) {
                Verify::Full
            } else {
                Verify::Quick
            },
            workers: 1 + usize::try_from(self.roll(4)).unwrap_or(0),
            limits,
            keep_ended: None,
            clock: Arc::new(clock),
            operations: operations::register(self, opening),
        };
        let stepper = Stepper::open(setup)?;
        Ok(Process {
            queue: Queue::new(Arc::clone(&stepper.engine)),
            engine: stepper.engine,
            writer: Some(stepper.writer),
            end: None,
            hurried: stepper.workers.iter().map(SteppedWorker::hurried).collect(),
            delivered: vec![0; stepper.workers.len()],
            workers: stepper.workers.into_iter().map(Some).collect(),
            outboxes: stepper.outboxes,
            relief: stepper.relief,
            pending: Vec::new(),
            held_back: None,
        })
    }

    /// The writer goes on; false when there was nothing to do, or it is at work.
    pub(super) fn step_writer(&self) -> bool {
        let opening = self.opening();
        let writer = self
            .process()
            .as_mut()
            .and_then(|process| process.writer.take());
        let Some(writer) = writer else {
            return false;
        };
        if writer.sees_overdue() {
            self.deliver_what_was_sent();
        }
        let since_ms = self.clock.now_ms();
        let step = writer.step();
        let mut process = self.process();
        let Some(process) = process.as_mut().filter(|_| self.lives(opening)) else {
            // It crashed meanwhile: what is left of the writer goes with it.
            return true;
        };
        match step {
            WriterStep::Idle(writer) => {
                process.writer = Some(writer);
                return false;
            }
            WriterStep::Worked(writer) => {
                if self.is(Sabotage::LatestLeasedFirst) {
                    writer.turn_leased_round();
                }
                process.writer = Some(writer);
                process.let_relief_in();
                self.checker().writer_looked(since_ms);
            }
            WriterStep::Ended => process.end = Some(End::Closed),
            WriterStep::Failed(reason) => {
                self.note(&Event::Failed(&reason));
                process.end = Some(End::Failed);
            }
        }
        self.open_gates(process);
        true
    }

    /// Under sabotage: stops and pauses do not hold.
    fn open_gates(&self, process: &Process) {
        if self.is(Sabotage::OpenGates) {
            for live in process.shared().registry.all() {
                live.gate.reopen();
            }
        }
        if self.is(Sabotage::OpenPauses) {
            for operation in &process.shared().operations {
                operation.gate.store(false, Ordering::SeqCst);
            }
        }
    }

    /// A worker goes on with what is next; false when there is nothing, or it is at work.
    pub(super) fn step_worker(&self, worker: usize) -> bool {
        let opening = self.opening();
        let taken = self.process().as_mut().and_then(|process| {
            let place = process.workers.get_mut(worker)?;
            place.take_if(|worker| worker.has_work())
        });
        let Some(mut stepped) = taken else {
            return false;
        };
        let heed = !self.is(Sabotage::HeedlessWorkers);
        let goes_on = self.at_work(worker, || stepped.run(heed));
        if !goes_on {
            // Another has its place.
            return true;
        }
        let mut process = self.process();
        if let Some(process) = process.as_mut().filter(|_| self.lives(opening)) {
            process.workers[worker] = Some(stepped);
        }
        true
    }

    pub(super) fn workers(&self) -> usize {
        self.process()
            .as_ref()
            .map_or(0, |process| process.workers.len())
    }

    /// Has a worker end its slice early.
    pub(super) fn hurry(&self, worker: usize) {
        if let Some(process) = self.process().as_ref() {
            process.hurried[worker].store(true, Ordering::Relaxed);
        }
    }

    /// The writer receives a worker's oldest report; false when there is none.
    pub(super) fn deliver(&self, worker: usize) -> bool {
        let busy_us = [1, 40, 3_000, 40_000][usize::try_from(self.roll(4)).unwrap_or(0)];
        let mut process = self.process();
        let Some(process) = process.as_mut() else {
            return false;
        };
        if let Some(held_back) = process.held_back.take() {
            process.outboxes[worker].deliver(held_back);
            return true;
        }
        let Some(mut report) = process.outboxes[worker].take() else {
            return false;
        };
        if let Command::Finished(finished) = &mut report {
            // Virtual time: how long the handlers took is for the dice to say.
            finished.busy_us = busy_us * finished.verdicts.len() as u64;
        }
        let what = match &report {
            Command::Finished(_) => "finished",
            Command::LeaseReturned => "lease returned",
            Command::Late(_) => "late",
            _ => "failed",
        };
        self.note(&Event::Delivered { worker, what });
        let report_number = process.delivered[worker];
        process.delivered[worker] += 1;
        if self.is(Sabotage::LostReports) && what == "finished" && self.once_in(8) {
            return true;
        }
        if self.is(Sabotage::WrongVerdicts)
            && let Command::Finished(finished) = &mut report
            && let Some(verdict) = finished.verdicts.first_mut()
        {
            *verdict = Verdict::Failed;
        }
        let (first, second) = self.tear(report);
        process.held_back = second;
        process.outboxes[worker].deliver(first);
        self.checker().told(worker, report_number);
        true
    }

    /// A handler hangs: what its worker had sent before is with the writer, ahead of what others will send.
    fn deliver_what_was_sent(&self) {
        for worker in 0..self.workers() {
            let is_at_work = |process: &Process| process.workers[worker].is_none();
            while self.process().as_ref().is_some_and(is_at_work) && self.deliver(worker) {}
        }
    }

    /// Under sabotage: a report's writes go apart from its outcomes.
    fn tear(&self, mut report: Command) -> (Command, Option<Command>) {
        let writes_first = self.is(Sabotage::EffectsBeforeOutcomes);
        if !writes_first && !self.is(Sabotage::EffectsAfterOutcomes) {
            return (report, None);
        }
        let Command::Finished(finished) = &mut report else {
            return (report, None);
        };
        let Some(writes) = finished.writes.take() else {
            return (report, None);
        };
        let writes = Command::Finished(Box::new(Finished {
            slice: SliceId(u64::MAX),
            batch: finished.batch,
            operation: finished.operation,
            verdicts: Vec::new(),
            block: Block::default(),
            writes: Some(writes),
            busy_us: 0,
            panicked: 0,
            cancelled: false,
            undecodable: None,
        }));
        if writes_first {
            (writes, Some(report))
        } else {
            (report, Some(writes))
        }
    }

    /// Clients receive the answers that are there.
    pub(super) fn poll(&self) -> bool {
        let mut answers = Vec::new();
        if let Some(process) = self.process().as_mut() {
            let gone = process.end.is_some();
            process
                .pending
                .retain(|pending| match pending.reply.answer(gone) {
                    Some(answer) => {
                        answers.push((pending.request, answer));
                        false
                    }
                    None => true,
                });
        }
        for (request, answer) in &mut answers {
            if self.is(Sabotage::WrongRefusals) && matches!(answer, Answer::Batch(_)) {
                *answer = Answer::Refused;
            }
            self.note(&Event::Answered {
                request: *request,
                answer: *answer,
            });
            let held = self.checker().answered(*request, *answer);
            self.judge(held);
        }
        !answers.is_empty()
    }

    /// Ends the process in good order.
    pub(super) fn close(&self) {
        if let Some(process) = self.process().as_ref() {
            self.note(&Event::Closing);
            process.engine.ask_to_close();
        }
    }

    /// Brings the process to its end, after its writer has ended, and clients to what they know.
    pub(super) fn bury(&self) {
        self.poll();
        let end = self
            .process()
            .as_ref()
            .and_then(|process| process.end.clone());
        let queue = self.process().as_ref().map(|process| process.queue.clone());
        if end == Some(End::Closed) {
            self.note(&Event::Closed);
            let closed = queue.map(|queue| queue.shutdown(Duration::ZERO));
            if !matches!(closed, Some(Ok(()))) {
                self.fail(Rule::StoreIsSound, format!("closing: {closed:?}"));
            }
        }
        let closed = end == Some(End::Closed);
        self.end_process(if closed { Death::Closed } else { Death::Failed });
    }
}

impl Reply {
    /// The answer, if there is one; when the writer is `gone`, there will be no other.
    fn answer(&self, gone: bool) -> Option<Answer> {
        let nothing =
            |error| (gone || error == TryRecvError::Disconnected).then_some(Answer::Unknown);
        match self {
            Self::Submitted(reply) => match reply.try_recv() {
                Err(error) => nothing(error),
                Ok(submitted) => Some(match submitted {
                    Submitted::New(live) => Answer::Batch(live.id.into()),
                    Submitted::Before(batch) => Answer::Before(batch.into()),
                    Submitted::Conflict { batch } => Answer::Conflict(batch.into()),
                    _ => Answer::Refused,
                }),
            },
            Self::Steered(reply) => match reply.try_recv() {
                Err(error) => nothing(error),
                Ok(steered) => Some(match steered {
                    Steered::Done => Answer::Done,
                    Steered::Deleted { batches, .. } => Answer::Deleted(batches),
                    Steered::NotFound => Answer::NotFound,
                    _ => Answer::Refused,
                }),
            },
        }
    }
}
