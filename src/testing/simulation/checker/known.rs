//! What the checker remembers of a submission, a batch, an item, an operation.

use super::asking::Content;
use super::looking::{Final, Seen};
use crate::failure::Failure;
use crate::kernel::State;
use crate::testing::simulation::item::Act;
use crate::testing::simulation::kind::Kind;
use std::collections::BTreeMap;

/// Something that was submitted.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) content: Content,
    pub(super) fate: Fate,
    /// Processes that had ended before without being closed.
    pub(super) crashes_before: u64,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may be a batch, or become one.
    Open,
    /// It is none and will be none.
    Refused,
    Batch(u64),
}

#[derive(Debug)]
pub(super) struct Known {
    pub(super) submission: usize,
    /// Its submitter was told of it, or it was shown, or something of it ran.
    pub(super) certain: &'static str,
    pub(super) gone: bool,
    /// Somebody asked for its deletion, and may have got it.
    pub(super) may_be_gone: bool,
    /// Somebody was told that it is not known whether they did.
    pub(super) may_stay_gone: bool,
    pub(super) stop: Stop,
    /// Somebody asked for its items to fail that cannot be decoded; or they are those that did.
    pub(super) may_fail_undecodable: bool,
    /// It lives in the process that it was submitted to, which fails such items unasked.
    pub(super) is_new: bool,
    pub(super) outcomes: BTreeMap<u16, Seen>,
    /// What somebody said became of items in doubt.
    pub(super) resolutions: BTreeMap<u16, Resolutions>,
    pub(super) state: State,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) items: Vec<Progress>,
}

/// What is known of stops and resumes of a batch.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// In force, for certain.
    pub(super) holds: bool,
    /// Asked for since it was last settled, and not refused.
    pub(super) may_hold: bool,
    /// Somebody asked for one at some time: the batch's place in the order is not that of its submission.
    pub(super) ever: bool,
    /// How often a resume was asked for.
    pub(super) resumes: u64,
    /// As often, a stop.
    pub(super) stops: u64,
    /// Resumes without an answer yet.
    pub(super) resumes_open: u32,
    pub(super) stops_open: u32,
}

/// As [`Stop`], for the pauses of an operation.
#[derive(Debug, Default)]
pub(super) struct Pause {
    pub(super) holds: bool,
    pub(super) may_hold: bool,
    pub(super) unpauses_open: u32,
    pub(super) pauses_open: u32,
}

/// An item's attempts.
#[derive(Debug, Default, Clone)]
pub(super) struct Progress {
    /// The last one that began.
    pub(super) attempt: u32,
    /// It began in this process.
    pub(super) began_here: bool,
    /// How that one ended, if its handler returned.
    pub(super) end: Option<End>,
    /// In this process, it has run and its worker has said so: it is settled unless it is to be tried again.
    pub(super) told: bool,
    /// When that one began.
    pub(super) began_ms: u64,
    /// In which slice.
    pub(super) slice: Option<SliceOf>,
    /// Its time was up before its handler returned.
    pub(super) timed_out: bool,
    /// How often the process ended while it ran, at least and at most; power cuts do not count.
    pub(super) crashes: (u32, u32),
}

/// A slice: that of which a worker makes this report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SliceOf {
    pub(super) worker: usize,
    pub(super) report: u64,
}

/// What somebody said became of an item in doubt.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    /// And was not refused.
    pub(super) asked: Vec<Final>,
    /// And was answered that it is so.
    pub(super) done: Option<Final>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) is_final: bool,
    pub(super) at_ms: u64,
    pub(super) act: Act,
}

impl Progress {
    /// When the last attempt's time was up, if it was before its handler returned.
    pub(super) fn overdue_since(&self, kind: Kind, now_ms: u64) -> Option<u64> {
        let due_ms = self.began_ms + kind.timeout_ms()?;
        let until_ms = self.end.map_or(now_ms, |end| end.at_ms);
        (self.attempt > 0 && until_ms >= due_ms).then_some(due_ms)
    }

    /// Whether the last attempt may have been ended as its time was up, with no other to follow.
    pub(super) fn may_have_timed_out_for_good(&self, kind: Kind, now_ms: u64) -> bool {
        self.attempt >= kind.attempts() && self.overdue_since(kind, now_ms).is_some()
    }

    /// The process has ended while it ran: when it runs again, it does so alone.
    pub(super) fn is_suspect(&self) -> bool {
        self.crashes.0 > 0
    }
}

impl Known {
    pub(super) fn new(submission: usize, certain: &'static str, items: usize) -> Self {
        Self {
            submission,
            certain,
            gone: false,
            may_be_gone: false,
            may_stay_gone: false,
            stop: Stop::default(),
            may_fail_undecodable: false,
            is_new: true,
            outcomes: BTreeMap::new(),
            resolutions: BTreeMap::new(),
            state: State::Queued,
            succeeded: 0,
            failed: 0,
            items: vec![Progress::default(); items],
        }
    }

    pub(super) fn has_failed_undecodable(&self) -> bool {
        let code = Failure::UNREADABLE_ITEM;
        let mut ends = self.outcomes.values().map(|seen| &seen.end);
        self.may_fail_undecodable
            || self.is_new
            || ends.any(|end| end == &Final::Failed(code.to_owned()))
    }

    /// The process ended.
    pub(super) fn process_ended(&mut self) {
        self.stop.resumes_open = 0;
        self.stop.stops_open = 0;
        for item in &mut self.items {
            item.began_here = false;
            item.told = false;
            item.slice = None;
            item.timed_out = false;
        }
    }

    /// Whether the item has its outcome, as far as the queue has been told in this process or has shown.
    pub(super) fn is_settled(&self, index: u16) -> bool {
        let item = &self.items[usize::from(index)];
        let told = item.told && item.end.is_some_and(|end| end.is_final);
        told || self.outcomes.contains_key(&index)
    }
}
