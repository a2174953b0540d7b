//! What others ask of the writer, and what the writer hands to workers.

use super::beat::Attempt;
use super::gate::Claim;
use super::live::{Live, Origin};
use super::tables::{SliceWrites, Tables};
use crate::kernel::{BatchId, OperationIndex, Slice, SliceId, State, Terms, Timestamp, Verdict};
use crate::store::codec::Unsealed;
use crate::store::journal::Block;
use crossbeam_channel::Sender;
use std::sync::Arc;

/// A batch as its submitter encoded it.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) operation: OperationIndex,
    pub(crate) owner: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) total: u32,
    pub(crate) chunks: Vec<Unsealed>,
    pub(crate) chunk_starts: Vec<u16>,
    pub(crate) terms: Terms,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) origin: Option<RetryOrigin>,
}

/// Where the items come from of a batch that runs failed items again.
#[derive(Debug)]
pub(crate) struct RetryOrigin {
    /// The batch whose items failed.
    pub(crate) parent: BatchId,
    /// The items' places in `parent`.
    pub(crate) parent_indexes: Vec<u16>,
    /// Batches that run items of `parent` again, as the submitter saw them.
    pub(crate) siblings: usize,
    pub(crate) origin: Origin,
}

/// An idempotency key as it is compared.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    /// SHA-256 of owner, operation and key.
    pub(crate) scope: [u8; 32],
    /// The same, with the operation's old names.
    pub(crate) former_scopes: Vec<[u8; 32]>,
    /// SHA-256 of the canonical JSON of the items.
    pub(crate) content: [u8; 32],
}

/// What became of an item that was in doubt.
#[derive(Debug)]
pub(crate) struct Resolution {
    pub(crate) index: u16,
    /// Its journal entry.
    pub(crate) block: Block,
    /// The code, when it failed.
    pub(crate) failure_code: Option<String>,
}

/// Batches to be deleted.
#[derive(Debug)]
pub(crate) enum Deletion {
    One(BatchId),
    /// Those of these that ended by then.
    Ended(Vec<BatchId>, Timestamp),
}

#[derive(Debug)]
pub(crate) enum Submitted {
    /// Durable: a new batch.
    New(Arc<Live>),
    /// Durable: the batch that was submitted under the same key before.
    Before(BatchId),
    Full {
        limit: usize,
    },
    /// The key was used with other items.
    Conflict {
        batch: BatchId,
    },
    /// Another batch has come in that runs failed items of the same batch again: look again.
    Overtaken,
    /// The batch whose items were to run again is no longer there.
    NotFound,
    Closing,
    /// The queue had failed before it came to this: nothing is stored.
    Failed,
}

#[derive(Debug)]
pub(crate) enum Steered {
    /// Durable.
    Done,
    NotStopped {
        state: State,
    },
    Ended,
    NotInDoubt,
    NotEnded {
        state: State,
    },
    /// There is no such batch.
    NotFound,
    /// Durable: so many batches are deleted, of so many that were looked at. The others are to be asked for
    /// again.
    Deleted {
        batches: u64,
        looked_at: usize,
    },
    /// The batch's records are missing or damaged. Nothing is stored.
    Unreadable {
        reason: String,
    },
    Full {
        limit: usize,
    },
    Closing,
    /// The queue had failed before it came to this: nothing is stored.
    Failed,
}

/// A slice's results.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) slice: SliceId,
    pub(crate) batch: BatchId,
    pub(crate) operation: OperationIndex,
    pub(crate) verdicts: Vec<Verdict>,
    /// The journal entries of the items with a verdict.
    pub(crate) block: Block,
    pub(crate) writes: Option<SliceWrites>,
    pub(crate) busy_us: u64,
    pub(crate) panicked: u64,
    /// The handler of the first item without an outcome gave up, because its batch is stopped.
    pub(crate) cancelled: bool,
    /// An item could not be decoded, and why.
    pub(crate) undecodable: Option<String>,
}

impl Finished {
    /// Of a slice of which nothing has ended.
    pub(super) fn nothing_of(job: &Job) -> Self {
        let Slice {
            id,
            batch,
            operation,
            ref items,
            ..
        } = job.slice;
        Self {
            slice: id,
            batch,
            operation,
            verdicts: Vec::with_capacity(items.len()),
            block: Block::default(),
            writes: None,
            busy_us: 0,
            panicked: 0,
            cancelled: false,
            undecodable: None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Command {
    /// An attempt whose handler has returned after its time was up.
    Late(Attempt),
    Submit(Box<Submission>, Sender<Submitted>),
    Stop(BatchId, Sender<Steered>),
    Resume(Arc<Live>, Sender<Steered>),
    FailUndecodable(BatchId, Sender<Steered>),
    Resolve(Arc<Live>, Box<Resolution>, Sender<Steered>),
    Delete(Deletion, Sender<Steered>),
    /// With the reason.
    Pause(OperationIndex, String, Sender<Steered>),
    Unpause(OperationIndex, Sender<Steered>),
    Finished(Box<Finished>),
    /// The lease is on its own channel home: this one keeps what nobody takes, and the lease keeps the
    /// store open.
    LeaseReturned,
    /// A worker met a failure of the store.
    Failed(String),
    /// From a queue without worker threads: hand out one slice of so many items at most, if one may
    /// start. Answered when everything before it is durable and the slice is on its way.
    #[cfg_attr(not(feature = "testing"), allow(dead_code))]
    HandOut {
        most: u32,
        reply: Sender<()>,
    },
    Tick,
    Close,
}

impl Command {
    /// Bytes that the command adds to a commit group, roughly.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Submit(submission, _) => submission
                .chunks
                .iter()
                .map(|chunk| chunk.encoded().len())
                .sum(),
            Self::Finished(finished) => finished.block.bytes(),
            _ => 0,
        }
    }
}

/// A slice for a worker.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) slice: Slice,
    pub(crate) live: Arc<Live>,
    pub(crate) claim: Arc<Claim>,
}

#[derive(Debug)]
pub(crate) enum Work {
    Slice(Job),
    /// The lease, for the slices that wait for it.
    Lease(Box<Tables>),
}
