//! A kernel with a store and workers moved by hand, and batches beside the tested ones.

use super::disk::{Disk, Stored};
use crate::kernel::{
    BatchId, BatchView, Event, Input, Kernel, Mark, OperationIndex, OperationSpec, Output, Promise,
    RetryPolicy, Slice, SliceId, Terms, Ticket, Timestamp, Verdict,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The operation under test, unless a test has several.
pub(super) const OP: OperationIndex = OperationIndex(0);
pub(super) const SECOND_OP: OperationIndex = OperationIndex(1);

pub(super) const ENDLESS: usize = 1_000_000;

/// A test waits shorter than this, or it meets the retry of a bystander's item.
const BYSTANDER_WAIT: Duration = Duration::from_secs(1_000_000);

pub(super) fn at_least_once() -> OperationSpec {
    OperationSpec {
        registered: true,
        ..OperationSpec::unregistered()
    }
}

pub(super) fn at_most_once() -> OperationSpec {
    OperationSpec {
        promise: Promise::AtMostOnce,
        ..at_least_once()
    }
}

pub(super) fn exactly_once() -> OperationSpec {
    OperationSpec {
        promise: Promise::ExactlyOnce,
        ..at_least_once()
    }
}

pub(super) fn retrying(max_attempts: u32, wait_ms: u64) -> OperationSpec {
    OperationSpec {
        retry: RetryPolicy::exponential(max_attempts, Duration::from_millis(wait_ms)),
        ..at_least_once()
    }
}

pub(super) struct Rig {
    pub(super) kernel: Kernel,
    pub(super) disk: Disk,
    pub(super) now: Timestamp,
    /// Time that an item takes, which decides how large slices become.
    pub(super) item_us: u64,
    specs: Vec<OperationSpec>,
    workers: u32,
    unfinished_limit: usize,
    slices: BTreeMap<SliceId, (Slice, usize)>,
    tickets: u64,
    /// One batch that runs, with an item of every kind, and one that stays queued.
    bystanders: Vec<(BatchId, BatchView)>,
}

impl Rig {
    /// One worker is busy with a bystander; `workers` are free.
    pub(super) fn new(operations: &[OperationSpec], workers: u32) -> Self {
        Self::with_limit(operations, workers, ENDLESS)
    }

    pub(super) fn with_limit(
        operations: &[OperationSpec],
        workers: u32,
        unfinished_limit: usize,
    ) -> Self {
        let running = OperationSpec {
            retry: RetryPolicy::exponential(9, BYSTANDER_WAIT).longest_wait(BYSTANDER_WAIT),
            concurrency: Some(1),
            ..at_least_once()
        };
        let queued = OperationSpec {
            registered: false,
            ..at_least_once()
        };
        let mut specs = operations.to_vec();
        specs.extend([running, queued]);
        let workers = workers + 1;
        let mut rig = Self {
            kernel: Kernel::new(specs.clone(), workers, unfinished_limit, BatchId(1)),
            disk: Disk::default(),
            now: Timestamp(1_000_000),
            item_us: 10,
            specs,
            workers,
            unfinished_limit,
            slices: BTreeMap::new(),
            tickets: 0,
            bystanders: Vec::new(),
        };
        let running = rig.submit(OperationIndex(operations.len()), 5);
        let queued = rig.submit(OperationIndex(operations.len() + 1), 5);
        rig.commit();
        let verdicts = [Verdict::Succeeded, Verdict::Failed, Verdict::Retryable];
        let mut left = &verdicts[..];
        while let (Some(slice), false) = (rig.slices_of(running).pop(), left.is_empty()) {
            let (now, later) = left.split_at(left.len().min(slice.items.len()));
            rig.end_slowly(slice.id, now, now.len() == slice.items.len());
            left = later;
        }
        rig.commit();
        rig.slices.clear();
        rig.kernel.take_changed();
        rig.bystanders = [running, queued]
            .map(|batch| (batch, rig.view(batch)))
            .to_vec();
        rig
    }

    /// Feeds the kernel and acts on what comes out, as the runtime does.
    pub(super) fn feed(&mut self, input: Input) -> Vec<Output> {
        let submitted = match &input {
            Input::Submitted {
                operation,
                total,
                terms,
                ..
            } => Some((*operation, *total, terms.clone())),
            _ => None,
        };
        if matches!(input, Input::Committed) {
            self.disk.commit();
        }
        let out = self.kernel.handle(input, self.now);
        for output in &out {
            if let (
                Output::Admitted {
                    batch, position, ..
                },
                Some((operation, total, terms)),
            ) = (output, submitted.clone())
            {
                let stored = Stored {
                    operation,
                    position: *position,
                    total,
                    terms,
                    events: Vec::new(),
                };
                self.disk.admit(*batch, stored);
            }
        }
        self.act(&out);
        self.check_bystanders(&out);
        out
    }

    fn act(&mut self, out: &[Output]) {
        for output in out {
            match output {
                Output::Record { batch, event } => {
                    self.disk.append(*batch, event.clone());
                    if matches!(event, Event::Resumed { .. }) {
                        let position = self.view(*batch).position;
                        self.disk.move_to(*batch, position);
                    }
                }
                Output::Moved { batch, position } => self.disk.move_to(*batch, *position),
                Output::Start(slice) => {
                    self.slices.insert(slice.id, (slice.clone(), 0));
                }
                Output::Defect { .. } => unreachable!("{output:?}"),
                _ => {}
            }
        }
    }

    fn check_bystanders(&self, out: &[Output]) {
        for (bystander, view) in &self.bystanders {
            assert_eq!(self.kernel.view(*bystander).as_ref(), Some(view));
            let touched = out.iter().any(|output| match output {
                Output::Record { batch, .. } | Output::Close { batch } => batch == bystander,
                Output::Start(slice) => slice.batch == *bystander,
                Output::Ended { batch, .. } => batch == bystander,
                _ => false,
            });
            assert!(!touched, "{out:?}");
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    pub(super) fn last_ticket(&self) -> Ticket {
        Ticket(self.tickets)
    }

    pub(super) fn ask_submit(
        &mut self,
        operation: OperationIndex,
        total: u32,
        keys: Option<&[u64]>,
    ) -> Vec<Output> {
        let keys = keys.map(Box::from);
        let terms = Terms {
            keys,
            ..Terms::default()
        };
        self.ask_submit_on(operation, total, terms)
    }

    pub(super) fn ask_submit_on(
        &mut self,
        operation: OperationIndex,
        total: u32,
        terms: Terms,
    ) -> Vec<Output> {
        let ticket = self.ticket();
        self.feed(Input::Submitted {
            ticket,
            operation,
            total,
            terms,
        })
    }

    pub(super) fn submit_on(
        &mut self,
        operation: OperationIndex,
        total: u32,
        terms: Terms,
    ) -> BatchId {
        let out = self.ask_submit_on(operation, total, terms);
        admitted(&out)
    }

    pub(super) fn submit(&mut self, operation: OperationIndex, total: u32) -> BatchId {
        let out = self.ask_submit(operation, total, None);
        admitted(&out)
    }

    pub(super) fn submit_keyed(&mut self, operation: OperationIndex, keys: &[u64]) -> BatchId {
        let total = u32::try_from(keys.len()).expect("tests submit few items");
        let out = self.ask_submit(operation, total, Some(keys));
        admitted(&out)
    }

    pub(super) fn commit(&mut self) -> Vec<Output> {
        self.feed(Input::Committed)
    }

    pub(super) fn stop(&mut self, batch: BatchId) -> Vec<Output> {
        let ticket = self.ticket();
        self.feed(Input::StopRequested { ticket, batch })
    }

    pub(super) fn resume(&mut self, batch: BatchId) -> Vec<Output> {
        let ticket = self.ticket();
        let batch = self.disk.recovered(batch);
        self.feed(Input::ResumeRequested { ticket, batch })
    }

    pub(super) fn pause(&mut self, operation: OperationIndex) -> Vec<Output> {
        let ticket = self.ticket();
        self.feed(Input::PauseRequested { ticket, operation })
    }

    pub(super) fn unpause(&mut self, operation: OperationIndex) -> Vec<Output> {
        let ticket = self.ticket();
        self.feed(Input::UnpauseRequested { ticket, operation })
    }

    /// A worker cannot decode an item of this batch.
    pub(super) fn undecodable(&mut self, operation: OperationIndex, batch: BatchId) -> Vec<Output> {
        self.feed(Input::Undecodable { operation, batch })
    }

    pub(super) fn fail_undecodable(&mut self, batch: BatchId) -> Vec<Output> {
        let ticket = self.ticket();
        self.feed(Input::FailUndecodableRequested { ticket, batch })
    }

    pub(super) fn advance(&mut self, ms: u64) -> Vec<Output> {
        self.now = self.now.plus_ms(ms);
        self.feed(Input::Tick)
    }

    /// The next items of a slice end.
    pub(super) fn end(
        &mut self,
        slice: SliceId,
        verdicts: &[Verdict],
        returned: bool,
    ) -> Vec<Output> {
        let (_, ended) = self.slices.get_mut(&slice).expect("the slice is out");
        *ended += verdicts.len();
        if returned {
            self.slices.remove(&slice);
        }
        self.feed(Input::Finished {
            slice,
            verdicts: verdicts.to_vec(),
            returned,
            cancelled: false,
            busy_us: self.item_us * verdicts.len() as u64,
        })
    }

    fn end_slowly(&mut self, slice: SliceId, verdicts: &[Verdict], returned: bool) {
        let fast = std::mem::replace(&mut self.item_us, 1_000_000);
        self.end(slice, verdicts, returned);
        self.item_us = fast;
    }

    /// All items of a slice that have not ended end so, and the worker is done with it.
    pub(super) fn end_all(&mut self, slice: SliceId, verdict: Verdict) -> Vec<Output> {
        let (out, ended) = &self.slices[&slice];
        let verdicts = vec![verdict; out.items.len() - ended];
        self.end(slice, &verdicts, true)
    }

    pub(super) fn give_back(&mut self, slice: SliceId) -> Vec<Output> {
        self.end(slice, &[], true)
    }

    /// Ends what is out, oldest slice first, and commits, until nothing is out.
    pub(super) fn run_all(&mut self) {
        for _ in 0..100_000 {
            let Some(slice) = self.out().first().map(|slice| slice.id) else {
                return;
            };
            self.end_all(slice, Verdict::Succeeded);
            self.commit();
        }
        unreachable!("it never comes to rest");
    }

    /// As [`run_all`](Self::run_all); tells the batches of the slices, in the order of their ends.
    pub(super) fn run_in_order(&mut self) -> Vec<BatchId> {
        let bystanders = self.specs.len() - 2;
        let mut order = Vec::new();
        while let Some(slice) = self.out().first().cloned() {
            if slice.operation.0 < bystanders {
                order.push(slice.batch);
            }
            self.end_all(slice.id, Verdict::Succeeded);
            self.commit();
        }
        order
    }

    /// The slices that are out, bystanders' not counted, oldest first.
    pub(super) fn out(&self) -> Vec<Slice> {
        self.slices
            .values()
            .map(|(slice, _)| slice.clone())
            .collect()
    }

    pub(super) fn slices_of(&self, batch: BatchId) -> Vec<Slice> {
        let mut slices = self.out();
        slices.retain(|slice| slice.batch == batch);
        slices
    }

    /// The items of a batch that are out, with their attempts.
    pub(super) fn running(&self, batch: BatchId) -> Vec<(u16, u32)> {
        self.slices
            .values()
            .filter(|(slice, _)| slice.batch == batch)
            .flat_map(|(slice, ended)| &slice.items[*ended..])
            .map(|item| (item.index, item.attempt))
            .collect()
    }

    pub(super) fn view(&self, batch: BatchId) -> BatchView {
        self.kernel.view(batch).expect("the batch is unfinished")
    }

    /// When the waiting items of a batch run again.
    pub(super) fn waits(&self, batch: BatchId) -> Vec<Timestamp> {
        let items = self.kernel.batches[&batch].state.items();
        items.map_or(Vec::new(), |items| {
            items.waiting().map(|(_, due)| due).collect()
        })
    }

    /// The next wake-up that is not a bystander's.
    pub(super) fn next_wake(&self) -> Option<Timestamp> {
        let far = self.now.plus_ms(1_000_000_000 / 2);
        self.kernel.next_wake().filter(|due| *due < far)
    }

    /// The process ends and another opens the store. Bystanders are watched no more.
    pub(super) fn crash(&mut self) -> Vec<Output> {
        self.crash_with(&[])
    }

    /// As [`crash`](Self::crash), with notes of what was running.
    pub(super) fn crash_with(&mut self, marks: &[Mark]) -> Vec<Output> {
        self.disk.lose_group();
        self.slices.clear();
        self.bystanders.clear();
        self.kernel = Kernel::new(
            self.specs.clone(),
            self.workers,
            self.unfinished_limit,
            self.disk.next_batch(),
        );
        let out = self.kernel.recover(self.disk.unfinished(), marks, self.now);
        self.act(&out);
        out
    }
}

pub(super) fn admitted(out: &[Output]) -> BatchId {
    out.iter()
        .find_map(|output| match output {
            Output::Admitted { batch, .. } => Some(*batch),
            _ => None,
        })
        .expect("the submission is admitted")
}

pub(super) fn starts(out: &[Output]) -> Vec<Slice> {
    out.iter()
        .filter_map(|output| match output {
            Output::Start(slice) => Some(slice.clone()),
            _ => None,
        })
        .collect()
}

pub(super) fn records(out: &[Output]) -> Vec<(BatchId, Event)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Record { batch, event } => Some((*batch, event.clone())),
            _ => None,
        })
        .collect()
}

pub(super) fn acks(out: &[Output]) -> Vec<Ticket> {
    out.iter()
        .filter_map(|output| match output {
            Output::Ack { ticket } => Some(*ticket),
            _ => None,
        })
        .collect()
}

pub(super) fn recalls(out: &[Output]) -> Vec<SliceId> {
    out.iter()
        .filter_map(|output| match output {
            Output::Recall { slice } => Some(*slice),
            _ => None,
        })
        .collect()
}

pub(super) fn ended(out: &[Output]) -> Vec<BatchId> {
    out.iter()
        .filter_map(|output| match output {
            Output::Ended { batch, .. } => Some(*batch),
            _ => None,
        })
        .collect()
}

/// The batches that have a new place.
pub(super) fn moved(out: &[Output]) -> Vec<BatchId> {
    out.iter()
        .filter_map(|output| match output {
            Output::Moved { batch, .. } => Some(*batch),
            _ => None,
        })
        .collect()
}
