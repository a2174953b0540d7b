//! What must hold, whatever fails. A model of its own: it is told what clients asked for and were answered, what
//! handlers did, and what can be read through the public API, and knows nothing of how the queue does it.
//!
//! A process may end at any time. What was answered or shown before that must be so afterwards; what was asked
//! for and not answered may be, and is settled by the first look after the restart.

mod asking;
mod known;
mod looking;
mod running;

pub(super) use asking::{Answer, Ask, Content};
pub(super) use looking::{Look, Payments, Seen};
pub(super) use running::Beginning;

use super::kind::Kind;
use asking::Request;
use known::{Known, Pause, Submission};
use running::Running;
use std::collections::BTreeMap;

/// The rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A batch that was acknowledged, shown or started is there for good.
    BatchIsKept,
    /// What was refused is not stored.
    RefusedIsNotStored,
    /// A submission is one batch.
    SubmissionIsOneBatch,
    /// The same idempotency key is the same batch.
    KeyIsOneBatch,
    /// A batch is what was submitted.
    BatchIsAsSubmitted,
    /// A deleted batch is gone for good.
    DeletedIsGone,
    /// An outcome that was shown stays, and stays what it is.
    OutcomeIsKept,
    /// An outcome is what the handler made of the item.
    OutcomeIsTheHandlers,
    /// Counts are those of the outcomes.
    CountsAreOutcomes,
    /// A batch goes only where its life cycle allows, and where somebody asked it to.
    StateIsLegal,
    /// An acknowledged stop stays in force.
    StopIsKept,
    /// Nothing starts after an acknowledged stop.
    StopHoldsItems,
    /// An acknowledged pause stays in force.
    PauseIsKept,
    /// Nothing starts while paused.
    PauseHoldsItems,
    /// Nothing starts before its time.
    NotBefore,
    /// Attempts are counted up, one at a time, up to the policy's limit.
    AttemptsAreCounted,
    /// An attempt follows a failed one after its wait.
    RetryWaits,
    /// Items with equal keys run one after the other, as submitted.
    KeysAreOrdered,
    /// Exactly-once items of a batch start in order.
    ItemsAreOrdered,
    /// Items run at once up to the operation's limit; exactly-once ones one at a time.
    ConcurrencyIsLimited,
    /// The tables hold what successful items wrote, once.
    EffectsAreOutcomes,
    /// Every batch ends once nothing fails any more.
    BatchesEnd,
    /// The store can be opened and read.
    StoreIsSound,
    /// Nothing panics but handlers that are told to.
    NothingPanics,
}

/// A rule was broken.
#[derive(Debug, Clone)]
pub(super) struct Violation {
    pub(super) rule: Rule,
    pub(super) what: String,
}

pub(super) type Held = Result<(), Violation>;

/// Holds `what` against a rule.
pub(super) fn hold(rule: Rule, holds: bool, what: impl FnOnce() -> String) -> Held {
    if holds {
        return Ok(());
    }
    Err(Violation { rule, what: what() })
}

#[derive(Debug, Default)]
pub(super) struct Checker {
    submissions: Vec<Submission>,
    batches: BTreeMap<u64, Known>,
    /// Without an answer yet.
    requests: BTreeMap<u64, Request>,
    next_request: u64,
    pauses: BTreeMap<Kind, Pause>,
    running: Vec<Running>,
    /// The batches of idempotency keys.
    keys: BTreeMap<(Kind, u8), u64>,
}

impl Checker {
    /// The process ended; what it was asked and did not answer is not known.
    pub(super) fn crashed(&mut self) {
        self.running.clear();
        for (_, request) in std::mem::take(&mut self.requests) {
            self.unanswered(&request);
        }
        for known in self.batches.values_mut() {
            known.forget_attempts();
        }
    }

    /// The batches that are known and not deleted.
    pub(super) fn batches(&self) -> Vec<u64> {
        let there = self.batches.iter().filter(|(_, known)| !known.gone);
        there.map(|(id, _)| *id).collect()
    }

    pub(super) fn kind_of(&self, batch: u64) -> Option<Kind> {
        let known = self.batches.get(&batch)?;
        Some(self.submissions[known.submission].content.kind)
    }

    fn content(&self, known: &Known) -> &Content {
        &self.submissions[known.submission].content
    }
}
