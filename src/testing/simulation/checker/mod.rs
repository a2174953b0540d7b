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
pub(super) use looking::{Final, Look, Payments, Seen};
pub(super) use running::Beginning;

use super::kind::Kind;
use asking::Request;
use known::{Known, Pause, SliceOf, Submission};
use running::Running;
use std::collections::{BTreeMap, BTreeSet};

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
    /// No more items start than the operation's rate limit lets.
    RateIsLimited,
    /// What runs at most once starts once, and is in doubt when nobody can know how it ended, and only then.
    OnceIsOnce,
    /// What somebody said became of an item in doubt is so from then on.
    ResolutionIsKept,
    /// An item times out when its handler has taken too long, and what that does from then on does not count.
    TimeoutIsKept,
    /// An item that ended the process so often while it ran fails, and no other does.
    CrashesAreCounted,
    /// Items that ran when the process ended run one at a time, alone in their slice.
    SuspectsRunAlone,
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
    /// Processes that ended without being closed.
    crashes: u64,
    /// When this process began to open the store.
    opened_ms: u64,
    /// Attempts that began in it.
    began: BTreeMap<Kind, u64>,
    /// Slices in it that had a handler return too late.
    late: BTreeSet<SliceOf>,
    /// What ran when processes ended and no power did, since the last one that opened the store; and whether the
    /// queue must know it.
    killed: BTreeMap<(u64, u16), bool>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Closed,
    /// Its queue had failed, and nothing ran.
    Failed,
    Killed,
    /// With all that was not synced.
    PowerCut,
}

impl Checker {
    /// A process begins to open the store.
    pub(super) fn opens(&mut self, now_ms: u64) {
        self.opened_ms = now_ms;
    }

    /// It has.
    pub(super) fn opened(&mut self) {
        for ((batch, index), is_certain) in std::mem::take(&mut self.killed) {
            if let Some(known) = self.batches.get_mut(&batch) {
                let (least, most) = &mut known.items[usize::from(index)].crashes;
                *least += u32::from(is_certain);
                *most += 1;
            }
        }
    }

    /// The process ended; what it was asked and did not answer is not known.
    pub(super) fn process_ended(&mut self, death: Death, now_ms: u64) {
        match death {
            Death::Killed => {
                for running in self.running.iter().filter(|r| !r.has_returned()) {
                    // One whose time was up has ended or run again.
                    let is_certain = !running.is_overdue(now_ms);
                    *self.killed.entry(running.item()).or_default() |= is_certain;
                }
            }
            // Unless the last one had got so far as to record it.
            Death::PowerCut => self
                .killed
                .values_mut()
                .for_each(|certain| *certain = false),
            Death::Closed | Death::Failed => {}
        }
        self.crashes += u64::from(death != Death::Closed);
        self.running.clear();
        self.began.clear();
        self.late.clear();
        for (_, request) in std::mem::take(&mut self.requests) {
            self.unanswered(&request);
        }
        for known in self.batches.values_mut() {
            known.process_ended();
        }
    }

    /// The batches that are known and not deleted.
    pub(super) fn batches(&self) -> Vec<u64> {
        let there = self.batches.iter().filter(|(_, known)| !known.gone);
        there.map(|(id, _)| *id).collect()
    }

    /// The items that were shown in doubt.
    pub(super) fn doubts(&self) -> Vec<(u64, u16)> {
        let there = self.batches.iter().filter(|(_, known)| !known.gone);
        let doubts = there.flat_map(|(id, known)| {
            let doubts = known.outcomes.iter();
            let doubts = doubts.filter(|(_, seen)| seen.end == Final::InDoubt);
            doubts.map(|(index, _)| (*id, *index))
        });
        doubts.collect()
    }

    pub(super) fn kind_of(&self, batch: u64) -> Option<Kind> {
        let known = self.batches.get(&batch)?;
        Some(self.submissions[known.submission].content.kind)
    }

    fn content(&self, known: &Known) -> &Content {
        &self.submissions[known.submission].content
    }
}
