//! Random operations, requests, workers, clocks and crashes against one kernel after the other.

use super::checker::{Checker, Request, Stage};
use super::disk::{Disk, Stored};
use crate::kernel::{
    BatchId, Event, Input, Kernel, OperationIndex, OperationSpec, Output, Promise, RetryPolicy,
    SliceId, Terms, Ticket, Timestamp, Verdict,
};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
struct Plan {
    workers: u32,
    operations: Vec<OperationSpec>,
    /// Time an item takes, by operation.
    item_us: Vec<u64>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Submit {
        operation: usize,
        total: u32,
        keys: u64,
        priority: i8,
        /// From half a second before now.
        delay_ms: Option<u64>,
        seed: u64,
    },
    /// A worker ends some items of a slice, and may be done with it.
    Work {
        pick: usize,
        count: usize,
        returned: bool,
        seed: u64,
    },
    Commit,
    Wait {
        ms: u64,
    },
    SetClockBack {
        ms: u64,
    },
    Stop {
        pick: usize,
    },
    Resume {
        pick: usize,
    },
    /// A worker ends some items of a slice, and cannot decode the next.
    Undecodable {
        pick: usize,
        count: usize,
        seed: u64,
    },
    FailUndecodable {
        pick: usize,
    },
    Pause {
        operation: usize,
    },
    Unpause {
        operation: usize,
    },
    Close,
    Crash,
    /// The process ends after a failed commit, which the store may have kept all the same.
    FailCommit {
        kept: bool,
    },
    /// The process ends and the next one registers an operation more or less.
    Redeploy {
        operation: usize,
    },
}

fn operation() -> impl Strategy<Value = OperationSpec> {
    let retry = (1u32..5, prop_oneof![Just(0u64), 1..5_000u64]);
    let concurrency = prop_oneof![3 => Just(None), 1 => (1u32..4).prop_map(Some)];
    (prop::bool::weighted(0.9), any::<bool>(), retry, concurrency).prop_map(
        |(registered, exactly_once, (attempts, wait_ms), concurrency)| OperationSpec {
            registered,
            paused: false,
            promise: if exactly_once {
                Promise::ExactlyOnce
            } else {
                Promise::AtLeastOnce
            },
            retry: RetryPolicy::exponential(attempts, Duration::from_millis(wait_ms))
                .longest_wait(Duration::from_millis(8_000)),
            concurrency,
            ..OperationSpec::unregistered()
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let total = prop_oneof![6 => 1u32..8, 2 => 8u32..60, 1 => 60u32..400];
    let keys = prop_oneof![2 => Just(0u64), 3 => 1u64..5];
    let priority = prop_oneof![2 => Just(0i8), 1 => -2..3i8];
    let delay_ms = prop_oneof![3 => Just(None), 1 => (0..8_000u64).prop_map(Some)];
    prop_oneof![
        8 => (any::<usize>(), total, keys, priority, delay_ms, any::<u64>()).prop_map(
            |(operation, total, keys, priority, delay_ms, seed)| Step::Submit {
                operation, total, keys, priority, delay_ms, seed,
            }
        ),
        24 => (any::<usize>(), 0..40usize, any::<bool>(), any::<u64>())
            .prop_map(|(pick, count, returned, seed)| Step::Work { pick, count, returned, seed }),
        10 => Just(Step::Commit),
        5 => (0..6_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..100_000u64).prop_map(|ms| Step::SetClockBack { ms }),
        4 => any::<usize>().prop_map(|pick| Step::Stop { pick }),
        3 => any::<usize>().prop_map(|pick| Step::Resume { pick }),
        1 => Just(Step::Crash),
        1 => any::<usize>().prop_map(|operation| Step::Pause { operation }),
        2 => any::<usize>().prop_map(|operation| Step::Unpause { operation }),
        1 => (any::<usize>(), 0..4usize, any::<u64>())
            .prop_map(|(pick, count, seed)| Step::Undecodable { pick, count, seed }),
        2 => any::<usize>().prop_map(|pick| Step::FailUndecodable { pick }),
        1 => prop_oneof![
            any::<bool>().prop_map(|kept| Step::FailCommit { kept }),
            Just(Step::Close),
            any::<usize>().prop_map(|operation| Step::Redeploy { operation }),
        ],
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let item_us = prop_oneof![Just(0u64), Just(10), Just(1_000), Just(20_000)];
    let operations = prop::collection::vec((operation(), item_us), 1..5);
    (1u32..5, operations, prop::collection::vec(step(), 1..90)).prop_map(
        |(workers, operations, steps)| {
            let (operations, item_us) = operations.into_iter().unzip();
            Plan {
                workers,
                operations,
                item_us,
                steps,
            }
        },
    )
}

struct World {
    kernel: Kernel,
    disk: Disk,
    checker: Checker,
    now: Timestamp,
    workers: u32,
    item_us: Vec<u64>,
    tickets: u64,
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
                self.feed(Input::Tick);
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
            Step::Crash => self.crash(),
            Step::FailCommit { kept } => self.fail_commit(kept),
            Step::Redeploy { operation } => {
                let spec = &mut self.checker.specs[operation % self.item_us.len()];
                spec.registered = !spec.registered;
                self.crash();
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
        let verdicts = (0..count as u64)
            .map(|index| match draw(seed, index) % 10 {
                0..6 => Verdict::Succeeded,
                6 => Verdict::Failed,
                _ => Verdict::Retryable,
            })
            .collect();
        let busy_us = self.item_us[out.slice.operation.0] * count as u64;
        self.feed(Input::Finished {
            slice,
            verdicts,
            returned,
            busy_us,
        });
    }

    /// A worker that cannot decode an item says so, and returns the slice.
    fn meet_undecodable(&mut self, slice: SliceId, count: usize, seed: u64) {
        let out = &self.checker.slices[&slice];
        let left = out.slice.items.len() - out.ended;
        let (operation, batch) = (out.slice.operation, out.slice.batch);
        let not_begun = out.recalled && out.ended == 0;
        if left == 0 || not_begun {
            return self.work(slice, 0, true, seed);
        }
        self.feed(Input::Undecodable { operation, batch });
        self.work(slice, count.min(left - 1), true, seed);
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

    fn crash(&mut self) {
        self.disk.lose_group();
        self.checker.crash(self.now.0);
        let next = self.disk.next_batch();
        self.kernel = Kernel::new(self.checker.specs.clone(), self.workers, 1_000, next);
        let out = self.kernel.recover(self.disk.unfinished(), &[], self.now);
        self.write(&out);
        self.checker.after(false, &out, self.now.0, &self.kernel);
    }

    fn fail_commit(&mut self, kept: bool) {
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
                busy_us: 0,
            });
        }
        assert!(self.kernel.handle(Input::Committed, self.now).is_empty());
        self.crash();
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
            self.crash();
        }
        self.settle();
        self.check_all_ended();
        for spec in &mut self.checker.specs {
            spec.registered = true;
        }
        self.crash();
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
