//! What goes into the kernel and what comes out of it.

use super::batch::{BadEvent, Recovered};
use super::engine::BatchView;
use super::event::Event;
use super::lifecycle::State;
use super::rate::RateLimit;
use super::retry::RetryPolicy;
use super::{BatchId, OperationIndex, Timestamp};

/// Whom to answer: the number of a caller's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// One hand-out of items to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SliceId(pub(crate) u64);

/// What an operation is promised of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "the guarantees' own names")]
pub(crate) enum Promise {
    AtLeastOnce,
    /// That they start is recorded before they start.
    AtMostOnce,
    /// They take the lease: one slice of such items runs at a time.
    ExactlyOnce,
}

/// What the kernel knows of an operation.
#[derive(Debug, Clone)]
pub(crate) struct OperationSpec {
    /// A batch of an operation that is not registered stays queued.
    pub(crate) registered: bool,
    /// Somebody paused it before.
    pub(crate) paused: bool,
    pub(crate) promise: Promise,
    pub(crate) retry: RetryPolicy,
    /// Items that run at once, at most.
    pub(crate) concurrency: Option<u32>,
    /// Attempts that start in a time, at most.
    pub(crate) rate: Option<RateLimit>,
    /// Its handlers are to return in time.
    pub(crate) timed: bool,
    /// How often the process may end while an item runs alone, until the item fails.
    pub(crate) crashes: Option<u32>,
}

impl OperationSpec {
    /// Of an operation whose name is all that is known.
    pub(crate) fn unregistered() -> Self {
        Self {
            registered: false,
            paused: false,
            promise: Promise::AtLeastOnce,
            retry: RetryPolicy::none(),
            concurrency: None,
            rate: None,
            timed: false,
            crashes: None,
        }
    }

    pub(crate) fn is_exactly_once(&self) -> bool {
        self.promise == Promise::ExactlyOnce
    }

    pub(crate) fn is_at_most_once(&self) -> bool {
        self.promise == Promise::AtMostOnce
    }
}

/// What a worker had in its hands when the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) batch: BatchId,
    pub(crate) indexes: Vec<u16>,
    /// Of a suspect that ran alone: the how manieth crash of it this is.
    pub(crate) alone: Option<u32>,
}

/// How a handler left an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Succeeded,
    Failed,
    /// Failed in a way that another attempt may mend.
    Retryable,
    /// Whether it did what it was to do is not known.
    InDoubt,
}

/// What a submission says of when its items may start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Batches of a higher priority go first.
    pub(crate) priority: i8,
    /// Nothing of it starts earlier.
    pub(crate) not_before: Option<Timestamp>,
    /// Items that cannot be decoded are to fail, from the start.
    pub(crate) fails_undecodable: bool,
    /// The hash of each item's ordering key, 0 for none; absent when no item has one.
    pub(crate) keys: Option<Box<[u64]>>,
}

#[derive(Debug)]
pub(crate) enum Input {
    Submitted {
        ticket: Ticket,
        operation: OperationIndex,
        total: u32,
        terms: Terms,
    },
    StopRequested {
        ticket: Ticket,
        batch: BatchId,
    },
    /// A stopped batch, read back from the store, is to go on.
    ResumeRequested {
        ticket: Ticket,
        batch: Recovered,
    },
    /// A worker ended the next items of a slice, in the slice's order.
    Finished {
        slice: SliceId,
        verdicts: Vec<Verdict>,
        /// The worker is done with the slice; items without a verdict did not start, but for one that was cancelled.
        returned: bool,
        /// The first item without a verdict was started, and gave up because its batch is stopped.
        cancelled: bool,
        /// Time the handlers took, for the size of the next slice.
        busy_us: u64,
    },
    /// The handler of an item has not returned in time. What the slice comes to from here on does not count.
    TimedOut {
        slice: SliceId,
        /// Which item of the slice it is.
        place: usize,
        after_ms: u64,
        /// Another worker has taken the place of the one that hangs.
        replaced: bool,
    },
    /// Another worker has taken the place of one that hangs, which none could before.
    Replaced {
        slice: SliceId,
    },
    /// Somebody knows what became of an item in doubt.
    ResolveRequested {
        ticket: Ticket,
        batch: BatchId,
        index: u16,
        succeeded: bool,
    },
    /// An item of this batch cannot be decoded: nothing of its operation starts until that is settled.
    Undecodable {
        operation: OperationIndex,
        batch: BatchId,
    },
    /// Items of this batch that cannot be decoded are to fail.
    FailUndecodableRequested {
        ticket: Ticket,
        batch: BatchId,
    },
    /// Nothing of this operation is to start, until it is unpaused. The caller records that.
    PauseRequested {
        ticket: Ticket,
        operation: OperationIndex,
    },
    /// The operation goes on, whatever held it. The caller records that.
    UnpauseRequested {
        ticket: Ticket,
        operation: OperationIndex,
    },
    /// Everything put out for recording so far is durable.
    Committed,
    /// What was put out for recording may or may not be durable. The kernel goes silent.
    CommitFailed,
    /// To a kernel without workers: put out one slice of so many items at most, if one may start.
    HandOut {
        most: u32,
    },
    /// Time has passed.
    Tick,
    /// Start nothing more.
    Closing,
}

/// Items for one worker, in the order in which they start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) id: SliceId,
    pub(crate) batch: BatchId,
    pub(crate) operation: OperationIndex,
    pub(crate) exactly_once: bool,
    /// Of a suspect, which runs alone: the crash it would be charged with.
    pub(crate) alone: Option<u32>,
    pub(crate) items: Vec<SliceItem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SliceItem {
    pub(crate) index: u16,
    pub(crate) attempt: u32,
}

/// Why a request was refused. Nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are as many unfinished batches as the limits allow.
    Full { limit: usize },
    /// Only stopped batches go on.
    NotStopped { state: State },
    /// The batch has ended.
    Ended,
    /// The item is not in doubt.
    NotInDoubt,
    /// The queue is closing.
    Closing,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// A submission became this batch; record it.
    Admitted {
        ticket: Ticket,
        batch: BatchId,
        position: u64,
    },
    Refused {
        ticket: Ticket,
        refusal: Refusal,
    },
    /// The batch has a place in the order; record it, in the group that is being gathered. May come out
    /// with [`Input::Committed`] too: then there is a group to commit again.
    Moved {
        batch: BatchId,
        position: u64,
    },
    /// Append to the batch's journal, in the group that is being gathered.
    Record {
        batch: BatchId,
        event: Event,
    },
    /// What the request asked for is durable.
    Ack {
        ticket: Ticket,
    },
    /// Hand to a worker.
    Start(Slice),
    /// From now on no item of the batch may start.
    Close {
        batch: BatchId,
    },
    /// From now on items of the batch that cannot be decoded fail.
    FailUndecodable {
        batch: BatchId,
    },
    /// No undecodable item holds the operation any more.
    Decodable {
        operation: OperationIndex,
    },
    /// The operation is no longer paused by request.
    Unpaused {
        operation: OperationIndex,
    },
    /// Take the slice back if no worker has begun it. The [`Input::Finished`] that says so goes in
    /// after everything that came out with this has taken effect.
    Recall {
        slice: SliceId,
    },
    /// The batch's end is durable; the kernel has forgotten the batch.
    Ended {
        batch: BatchId,
        view: BatchView,
    },
    /// The kernel contradicted itself: the queue must fail before anything more is recorded.
    Defect {
        batch: BatchId,
        error: BadEvent,
    },
}
