//! Random operations, requests, workers, clocks and crashes against one kernel after the other.

use super::book::{Outcome, Stage};
use super::checker::{Checker, Request};
use super::disk::{Disk, Stored};
use super::plans::{Plan, Step, plan};
use crate::kernel::{
    BatchId, Event, Input, Kernel, Mark, OperationIndex, Output, SliceId, Terms, Ticket, Timestamp,
    Verdict,
};
use proptest::prelude::*;

struct World {
    kernel: Kernel,
    disk: Disk,
    checker: Checker,
    now: Timestamp,
    workers: u32,
    item_us: Vec<u64>,
    tickets: u64,
    /// Slices that timed out and were taken back.
    gone: Vec<SliceId>,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let operations = plan.operations.clone();
        Self {
            kernel: Kernel::new(operations.clone(), plan.workers, 1_000, BatchId(1)),
            disk: Disk::default(),
            checker: Checker::new(operations, plan.workers),
            now: Timestamp(10_000_000),
            workers: plan.workers,
            item_us: plan.item_us.clone(),
            tickets: 0,
            gone: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let submitted = match &input {
            Input::Submitted {
                operation,
                total,
                terms,
                ..
            } => Some((*operation, *total, terms.clone())),
            _ => None,
        };
        let committed = matches!(input, Input::Committed);
        if committed {
            self.disk.commit();
        }
        self.checker.before(&input, self.now.0);
        let out = self.kernel.handle(input, self.now);
        for output in &out {
            if let (
                Output::Admitted {
                    batch, position, ..
                },
                Some((operation, total, terms)),
            ) = (output, &submitted)
            {
                let stored = Stored {
                    operation: *operation,
                    position: *position,
                    total: *total,
                    terms: terms.clone(),
                    events: Vec::new(),
                };
                self.disk.admit(*batch, stored);
            }
        }
        self.write(&out);
        self.checker
            .after(committed, &out, self.now.0, &self.kernel);
    }

    fn write(&mut self, out: &[Output]) {
        for output in out {
            match output {
                Output::Record { batch, event } => {
                    self.disk.append(*batch, event.clone());
                    if let (Event::Resumed { .. }, Some(view)) = (event, self.kernel.view(*batch)) {
                        self.disk.move_to(*batch, view.position);
                    }
                }
                Output::Moved { batch, position } => self.disk.move_to(*batch, *position),
                _ => {}
            }
        }
    }

    fn ask(&mut self, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.checker.ask(ticket, request);
        ticket
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Submit {
                operation,
                total,
                keys,
                priority,
                delay_ms,
                seed,
            } => {
                let time = |ms: u64| Timestamp((self.now.0 + ms).saturating_sub(500));
                let terms = Terms {
                    priority,
                    not_before: delay_ms.map(time),
                    keys: (keys > 0).then(|| draw_keys(seed, total, keys)),
                    ..Terms::default()
                };
                self.submit(operation, total, terms);
            }
            Step::Work {
                pick,
                count,
                returned,
                seed,
            } => {
                if let Some(slice) = self.pick_slice(pick) {
                    self.work(slice, count, returned, seed);
                }
            }
            Step::Commit => self.feed(Input::Committed),
            Step::Wait { ms } => {
                self.now = self.now.plus_ms(ms);
                self.feed(Input::Tick);
            }
            Step::SetClockBack { ms } => {
                self.now = Timestamp(self.now.0.saturating_sub(ms));
                // While a queue is open its time does not go back, and rate limits rely on that.
                match self.checker.specs.iter().any(|spec| spec.rate.is_some()) {
                    true => self.crash(&[]),
                    false => self.feed(Input::Tick),
                }
            }
            Step::Stop { pick } => {
                if let Some(batch) = self.pick_batch(pick) {
                    self.stop(batch);
                }
            }
            Step::Resume { pick } => {
                if let Some(batch) = self.pick_batch(pick) {
                    self.resume(batch);
                }
            }
            Step::Undecodable { pick, count, seed } => {
                if let Some(slice) = self.pick_slice(pick) {
                    self.meet_undecodable(slice, count, seed);
                }
            }
            Step::FailUndecodable { pick } => {
                if let Some(batch) = self.pick_batch(pick) {
                    let ticket = self.ask(Request::FailUndecodable(batch));
                    self.feed(Input::FailUndecodableRequested { ticket, batch });
                }
            }
            Step::Pause { operation } => {
                let operation = operation % self.item_us.len();
                let ticket = self.ask(Request::Pause);
                let operation = OperationIndex(operation);
                self.feed(Input::PauseRequested { ticket, operation });
            }
            Step::Unpause { operation } => self.unpause(operation % self.item_us.len()),
            Step::Close => self.feed(Input::Closing),
            Step::Crash { times, seed } => {
                for time in 0..u64::from(times) {
                    self.crash(&self.draw_marks(draw(seed, time)));
                    if draw(seed, time).is_multiple_of(4) {
                        self.feed(Input::Committed);
                    }
                }
            }
            Step::FailCommit { kept, seed } => self.fail_commit(kept, seed),
            Step::Redeploy { operation } => {
                let spec = &mut self.checker.specs[operation % self.item_us.len()];
                spec.registered = !spec.registered;
                self.crash(&[]);
            }
            Step::TimeOut {
                pick,
                ahead,
                replaced,
            } => {
                if let Some(slice) = self.pick_slice(pick) {
                    self.time_out(slice, ahead, replaced);
                }
            }
            Step::ReportLate { pick, seed } => {
                if let Some(slice) = self.gone.get(pick % self.gone.len().max(1)) {
                    self.report_late(*slice, seed);
                }
            }
            Step::Resolve {
                pick,
                index,
                succeeded,
            } => {
                let doubted = self.pick_doubted(pick);
                if let Some(batch) = doubted.or_else(|| self.pick_batch(pick)) {
                    self.resolve(batch, index, succeeded);
                }
            }
        }
    }

    fn submit(&mut self, operation: usize, total: u32, terms: Terms) {
        let operation = operation % self.item_us.len();
        let ticket = self.ask(Request::Submit {
            operation,
            total,
            terms: terms.clone(),
        });
        self.feed(Input::Submitted {
            ticket,
            operation: OperationIndex(operation),
            total,
            terms,
        });
    }

    fn unpause(&mut self, operation: usize) {
        let ticket = self.ask(Request::Unpause);
        let operation = OperationIndex(operation);
        self.feed(Input::UnpauseRequested { ticket, operation });
    }

    /// Leased slices go to one worker, which takes them in order.
    fn pick_slice(&self, pick: usize) -> Option<SliceId> {
        let slices = &self.checker.slices;
        let picked = slices.values().nth(pick % slices.len().max(1))?;
        let mut turn = slices.values().filter(|out| out.slice.exactly_once);
        let next = turn.next().filter(|_| picked.slice.exactly_once);
        Some(next.unwrap_or(picked).slice.id)
    }

    fn work(&mut self, slice: SliceId, count: usize, returned: bool, seed: u64) {
        let out = &self.checker.slices[&slice];
        if out.hangs.is_some() {
            return self.report_late(slice, seed);
        }
        let left = out.slice.items.len() - out.ended;
        // A recall succeeds when the slice is not begun; a closed batch starts no further item, nor does a
        // paused operation.
        let closed = !self.checker.books[&out.slice.batch].stage.may_start()
            || self.checker.paused.contains(&out.slice.operation.0);
        let (count, returned) = match out.recalled {
            true if out.ended == 0 && (out.slice.exactly_once || seed.is_multiple_of(2)) => {
                (0, true)
            }
            _ if closed => (count.min(left).min(1), returned || left == 0),
            _ => (count.min(left), returned),
        };
        let at_most_once = self.checker.specs[out.slice.operation.0].is_at_most_once();
        // A handler that is told to give up can do so when its batch is stopped.
        let stopped = !self.checker.books[&out.slice.batch].stage.may_start();
        let begun = !out.recalled || out.ended > 0 || count > 0;
        let cancelled = returned
            && stopped
            && begun
            && count < left
            && !at_most_once
            && draw(seed, 77).is_multiple_of(2);
        let verdicts = (0..count as u64)
            .map(|index| match draw(seed, index) % 10 {
                0..6 => Verdict::Succeeded,
                6 => Verdict::Failed,
                7 if at_most_once => Verdict::InDoubt,
                _ => Verdict::Retryable,
            })
            .collect();
        let busy_us = self.item_us[out.slice.operation.0] * count as u64;
        self.feed(Input::Finished {
            slice,
            verdicts,
            returned,
            cancelled,
            busy_us,
        });
    }

    /// A worker that cannot decode an item says so, and returns the slice.
    fn meet_undecodable(&mut self, slice: SliceId, count: usize, seed: u64) {
        let out = &self.checker.slices[&slice];
        let left = out.slice.items.len() - out.ended;
        let (operation, batch) = (out.slice.operation, out.slice.batch);
        let not_begun = out.recalled && out.ended == 0;
        if left == 0 || not_begun || out.hangs.is_some() {
            return self.work(slice, 0, true, seed);
        }
        self.feed(Input::Undecodable { operation, batch });
        self.work(slice, count.min(left - 1), true, seed);
    }

    /// The handler of an item does not return in time. At most what is before it in the slice has ended.
    fn time_out(&mut self, slice: SliceId, ahead: usize, replaced: bool) {
        let out = &self.checker.slices[&slice];
        let (batch, operation) = (out.slice.batch, out.slice.operation.0);
        if !self.checker.specs[operation].timed {
            return;
        }
        if replaced && out.hangs == Some(false) {
            return self.feed(Input::Replaced { slice });
        }
        let left = out.slice.items.len() - out.ended;
        let not_begun = out.recalled && out.ended == 0 && out.hangs.is_none();
        if left == 0 || not_begun {
            return self.work(slice, 0, true, 0);
        }
        let closed = !self.checker.books[&batch].stage.may_start() || !self.checker.runs(operation);
        let place = match ahead % 8 {
            // No such item, or one that has ended: this is to do nothing.
            0 => out.ended.checked_sub(1).unwrap_or(out.slice.items.len()),
            _ if closed => out.ended,
            _ => out.ended + ahead % left,
        };
        if out.slice.exactly_once && (out.ended..out.slice.items.len()).contains(&place) {
            self.gone.push(slice);
        }
        self.feed(Input::TimedOut {
            slice,
            place,
            after_ms: 1 + ahead as u64 % 1_000,
            replaced,
        });
    }

    /// A worker whose handler was too late is done. What it says does not count.
    fn report_late(&mut self, slice: SliceId, seed: u64) {
        let verdicts = vec![Verdict::Succeeded; draw(seed, 0) as usize % 3];
        let busy_us = 1_000 * verdicts.len() as u64;
        self.feed(Input::Finished {
            slice,
            verdicts,
            returned: true,
            cancelled: false,
            busy_us,
        });
    }

    /// Of an item in doubt, if the batch has one.
    fn resolve(&mut self, batch: BatchId, index: usize, succeeded: bool) {
        let items = &self.checker.books[&batch].items;
        let from = index % items.len();
        let in_doubt = |at: &usize| items[*at].outcome == Some(Outcome::InDoubt);
        let index = (from..items.len()).find(in_doubt).unwrap_or(from) as u16;
        let ticket = self.ask(Request::Resolve(batch, index));
        self.feed(Input::ResolveRequested {
            ticket,
            batch,
            index,
            succeeded,
        });
    }

    /// A batch that the kernel knows, with items in doubt.
    fn pick_doubted(&self, pick: usize) -> Option<BatchId> {
        let books = || {
            let known = |batch| (batch, &self.checker.books[batch]);
            let acknowledged = self.checker.acknowledged.iter().map(known);
            acknowledged.filter(|(_, book)| book.present && book.recount().2 > 0)
        };
        let at = pick.checked_rem(books().count())?;
        books().nth(at).map(|(batch, _)| *batch)
    }

    fn pick_batch(&self, pick: usize) -> Option<BatchId> {
        let known: Vec<_> = self.checker.acknowledged.iter().collect();
        known.get(pick % known.len().max(1)).map(|batch| **batch)
    }

    fn stop(&mut self, batch: BatchId) {
        let ticket = self.ask(Request::Stop(batch));
        self.feed(Input::StopRequested { ticket, batch });
    }

    fn resume(&mut self, batch: BatchId) {
        let ticket = self.ask(Request::Resume(batch));
        let batch = self.disk.recovered(batch);
        self.feed(Input::ResumeRequested { ticket, batch });
    }

    /// Notes of some of the slices that are out, as their workers leave them when the process ends.
    fn draw_marks(&self, seed: u64) -> Vec<Mark> {
        let slices = self.checker.slices.values().zip(0..);
        slices
            .filter(|(_, nth)| !draw(seed, *nth).is_multiple_of(4))
            .map(|(out, _)| Mark {
                batch: out.slice.batch,
                indexes: out.slice.items.iter().map(|item| item.index).collect(),
                alone: out.slice.alone,
            })
            .collect()
    }

    fn crash(&mut self, marks: &[Mark]) {
        self.gone.clear();
        self.disk.lose_group();
        self.checker.crash(marks, self.now.0);
        let next = self.disk.next_batch();
        self.kernel = Kernel::new(self.checker.specs.clone(), self.workers, 1_000, next);
        let out = self.kernel.recover(self.disk.unfinished(), marks, self.now);
        self.write(&out);
        self.checker.after(false, &out, self.now.0, &self.kernel);
    }

    fn fail_commit(&mut self, kept: bool, seed: u64) {
        let marks = self.draw_marks(seed);
        self.feed(Input::CommitFailed);
        if kept {
            self.disk.commit();
            self.checker.make_durable();
        }
        self.feed(Input::Tick);
        if let Some(slice) = self.pick_slice(0) {
            self.feed(Input::Finished {
                slice,
                verdicts: Vec::new(),
                returned: true,
                cancelled: false,
                busy_us: 0,
            });
        }
        assert!(self.kernel.handle(Input::Committed, self.now).is_empty());
        self.crash(&marks);
    }

    /// Works until nothing happens any more. Time moves only to where the kernel asks to be woken.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "it never comes to rest");
            if let Some(slice) = self.pick_slice(round) {
                self.work(slice, usize::MAX, true, round as u64);
                if round % 3 == 0 {
                    self.feed(Input::Committed);
                }
                continue;
            }
            self.feed(Input::Committed);
            match self.kernel.next_wake() {
                _ if self.kernel.slices_in_flight() > 0 => {}
                Some(wake) => {
                    self.now = self.now.max(wake);
                    self.feed(Input::Tick);
                }
                // A batch whose time came with the commit has a new place to be recorded.
                None if !self.disk.is_clean() => {}
                None => break,
            }
        }
    }

    fn check_all_ended(&self) {
        for (batch, book) in &self.checker.books {
            let ended = book.stage.has_ended() && !book.present;
            assert!(
                ended || !self.checker.runs(book.operation),
                "{batch} is left: {book:?}"
            );
        }
    }

    /// Faults are over: everything ends, with this kernel and with the next one, and stopped batches
    /// can be completed.
    fn finish(&mut self) {
        if self.checker.closing {
            self.crash(&[]);
        }
        self.settle();
        self.check_all_ended();
        for spec in &mut self.checker.specs {
            spec.registered = true;
        }
        self.crash(&[]);
        for operation in 0..self.item_us.len() {
            self.unpause(operation);
        }
        self.settle();
        for batch in self.checker.acknowledged.clone() {
            if self.checker.books[&batch].stage == Stage::Stopped {
                self.resume(batch);
            }
        }
        self.settle();
        self.check_all_ended();
        for batch in &self.checker.acknowledged {
            let book = &self.checker.durable[batch];
            assert_eq!(book.stage, Stage::Completed);
            assert!(book.items.iter().all(|item| item.outcome.is_some()));
        }
    }
}

fn draw_keys(seed: u64, total: u32, distinct: u64) -> Box<[u64]> {
    let draw = |index| draw(seed, index) % (distinct + 1);
    (0..u64::from(total)).map(draw).collect()
}

fn draw(seed: u64, index: u64) -> u64 {
    let x = (seed ^ index.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x ^ (x >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 32
}

proptest! {
    // PROPTEST_CASES sets another number of cases. The plan that failed is printed whole.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_kernel_keeps_its_promises_through_random_work_and_faults(plan in plan()) {
        let mut world = World::new(&plan);
        for step in &plan.steps {
            world.step(step);
        }
        world.finish();
    }
}
