//! What can be read through the public API, against what is known.

use super::known::{Fate, Known};
use super::{Checker, Held, Rule, hold};
use crate::failure::Failure;
use crate::kernel::State;
use crate::status::{Blocked, Status};
use crate::testing::simulation::item::{Act, Item, Script};
use crate::testing::simulation::kind::Kind;
use crate::testing::simulation::operations::paid_key;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How an item ended, as shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::testing::simulation) struct Seen {
    pub(in crate::testing::simulation) attempts: u32,
    pub(in crate::testing::simulation) ended_at: SystemTime,
    pub(in crate::testing::simulation) end: Final,
}

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::testing::simulation) enum Final {
    /// With this output.
    Succeeded(u64),
    /// With a failure of this code.
    Failed(String),
    InDoubt,
}

/// A look at a batch.
#[derive(Debug)]
pub(in crate::testing::simulation) struct Look {
    pub(in crate::testing::simulation) status: Status,
    pub(in crate::testing::simulation) now_ms: u64,
    /// By item, in the order in which they were read.
    pub(in crate::testing::simulation) outcomes: Vec<(u16, Seen)>,
}

/// What the tables hold.
#[derive(Debug)]
pub(in crate::testing::simulation) struct Payments {
    /// How often an item was paid and how much, by [`paid_key`].
    pub(in crate::testing::simulation) paid: BTreeMap<u64, (u64, u64)>,
    /// By account.
    pub(in crate::testing::simulation) sums: BTreeMap<u64, u64>,
}

impl Checker {
    /// Whether the batch is known.
    pub(in crate::testing::simulation) fn knows(&self, batch: u64) -> bool {
        self.batches.contains_key(&batch)
    }

    /// A batch was found that nobody knew: its submitter has not heard of it yet, or could not.
    pub(in crate::testing::simulation) fn found(
        &mut self,
        status: &Status,
        items: &[Option<Item>],
    ) -> Held {
        let batch = u64::from(status.id);
        let retry_of = status.retry_of.map(u64::from);
        let is_it = |content: &super::Content| {
            let same = content
                .items
                .iter()
                .map(|item| Some(*item))
                .eq(items.iter().copied());
            same && content.retry_of == retry_of
        };
        let mut places = (0..)
            .zip(&self.submissions)
            .filter(|(_, s)| is_it(&s.content));
        let open = places.clone().find(|(_, s)| s.fate == Fate::Open);
        let Some((number, _)) = open.or_else(|| places.next()) else {
            return hold(Rule::SubmissionIsOneBatch, false, || {
                format!("nobody submitted batch {batch}: {items:?}")
            });
        };
        self.bind(batch, number, "shown")
    }

    /// The batches that are listed; with `first`, right after the process began.
    pub(in crate::testing::simulation) fn listed(&mut self, listed: &[u64], first: bool) -> Held {
        for (id, known) in &mut self.batches {
            let is_there = listed.contains(id);
            hold(Rule::DeletedIsGone, !(is_there && known.gone), || {
                format!("batch {id} was deleted and is there")
            })?;
            let may_be_gone = known.gone || known.may_be_gone;
            let certain = known.certain;
            hold(Rule::BatchIsKept, is_there || may_be_gone, || {
                format!("batch {id} was {certain} and is not there")
            })?;
            known.gone = !is_there;
            if first {
                known.may_be_gone = false;
                known.may_stay_gone = false;
            }
        }
        if first {
            for submission in &mut self.submissions {
                // What is not there now will not come.
                if submission.fate == Fate::Open {
                    submission.fate = Fate::Refused;
                }
            }
        }
        Ok(())
    }

    /// Somebody looked at a batch; with `first`, right after the process began.
    pub(in crate::testing::simulation) fn looked(&mut self, look: &Look, first: bool) -> Held {
        let batch = u64::from(look.status.id);
        let Some(known) = self.batches.get(&batch) else {
            return Ok(());
        };
        self.status_is_legal(known, look, first)?;
        self.outcomes_are_right(known, look, first)?;
        let state = look.status.state;
        let Some(known) = self.batches.get_mut(&batch) else {
            return Ok(());
        };
        for (index, seen) in &look.outcomes {
            known.outcomes.insert(*index, seen.clone());
        }
        known.state = state;
        known.succeeded = look.status.succeeded;
        known.failed = look.status.failed;
        if first {
            known.is_new = false;
            let stop = &mut known.stop;
            stop.holds = state == State::Stopped || look.status.stop_requested;
            stop.may_hold = stop.holds;
            self.nothing_began_in_vain(batch)?;
        }
        Ok(())
    }

    fn status_is_legal(&self, known: &Known, look: &Look, first: bool) -> Held {
        let Look { status, .. } = look;
        let content = self.content(known);
        let wrong = |what: &str| format!("{what}: {status:?}, {known:?}");
        let not_before = content.not_before_ms.map(time);
        let is_it = status.operation == content.kind.name()
            && status.total == content.items.len() as u64
            && status.priority == content.priority
            && status.not_before == not_before
            && status.retry_of.map(u64::from) == content.retry_of;
        hold(Rule::BatchIsAsSubmitted, is_it, || {
            wrong("not as submitted")
        })?;
        hold(
            Rule::OutcomeIsKept,
            status.succeeded >= known.succeeded && status.failed >= known.failed,
            || wrong("shown outcomes are missing"),
        )?;
        let went = (known.state, status.state);
        let stop = &known.stop;
        let may_resume = stop.resumes > 0;
        let is_legal = match went {
            (State::Completed, to) => to == State::Completed,
            (State::Stopped, to) => to == State::Stopped || may_resume,
            // A batch that was shown running may be queued again after a crash, or resumed.
            (State::Running, State::Queued) => first || may_resume,
            _ => true,
        };
        hold(Rule::StateIsLegal, is_legal, || wrong("it went astray"))?;
        let is_stopped = status.state == State::Stopped || status.stop_requested;
        let may_be_stopped = stop.holds || stop.may_hold;
        hold(Rule::StateIsLegal, !is_stopped || may_be_stopped, || {
            wrong("nobody stopped it")
        })?;
        let is_complete = status.state == State::Completed;
        hold(
            Rule::StopIsKept,
            !stop.holds || is_stopped || is_complete,
            || wrong("its stop is lost"),
        )?;
        hold(
            Rule::StateIsLegal,
            is_complete == (status.unfinished() == 0),
            || wrong("complete or not"),
        )?;
        let blocked = matches!(status.blocked, Some(Blocked::Paused { .. }));
        let pause = self.pauses.get(&content.kind);
        let may_be_paused = pause.is_some_and(|pause| pause.holds || pause.may_hold);
        hold(Rule::PauseIsKept, !blocked || may_be_paused, || {
            wrong("nobody paused it")
        })?;
        let must_be_paused = pause.is_some_and(|pause| pause.holds);
        let says_so = status.blocked.is_some() || status.state.has_ended();
        hold(Rule::PauseIsKept, !must_be_paused || says_so, || {
            wrong("its pause is lost")
        })
    }

    fn outcomes_are_right(&self, known: &Known, look: &Look, first: bool) -> Held {
        let Look {
            status, outcomes, ..
        } = look;
        let id = status.id;
        let wrong = |what: &str| format!("batch {id}: {what}: {outcomes:?}, {status:?}, {known:?}");
        let mut counts = (0, 0, 0);
        for (_, seen) in outcomes {
            *match seen.end {
                Final::Succeeded(_) => &mut counts.0,
                Final::Failed(_) => &mut counts.1,
                Final::InDoubt => &mut counts.2,
            } += 1;
        }
        let counted = (status.succeeded, status.failed, status.in_doubt);
        hold(Rule::CountsAreOutcomes, counted == counts, || {
            wrong("the counts are not those of the outcomes")
        })?;
        let in_order = outcomes.is_sorted_by(|(one, _), (next, _)| one < next);
        hold(Rule::OutcomeIsKept, in_order, || {
            wrong("an item ended twice")
        })?;
        for (index, before) in &known.outcomes {
            let at = outcomes.binary_search_by_key(index, |(index, _)| *index);
            let now = at.ok().map(|at| &outcomes[at].1);
            let resolutions = known.resolutions.get(index);
            let is_resolved = before.end == Final::InDoubt
                && now.is_some_and(|now| {
                    resolutions.is_some_and(|resolutions| resolutions.asked.contains(&now.end))
                });
            hold(
                Rule::OutcomeIsKept,
                now == Some(before) || is_resolved,
                || wrong("an outcome changed"),
            )?;
            let done = resolutions.and_then(|resolutions| resolutions.done.as_ref());
            let is_kept = done.is_none() || now.map(|now| &now.end) == done;
            hold(Rule::ResolutionIsKept, is_kept, || {
                wrong(&format!("item {index} was resolved as {done:?}"))
            })?;
        }
        for (index, seen) in outcomes {
            if !known.outcomes.contains_key(index) {
                let held = self.ended_rightly(known, *index, seen, look.now_ms, first);
                held.map_err(|broken| super::Violation {
                    what: wrong(&format!("item {index}: {}", broken.what)),
                    ..broken
                })?;
            }
        }
        Ok(())
    }

    /// An outcome that was not there before is one that this item may have.
    fn ended_rightly(
        &self,
        known: &Known,
        index: u16,
        seen: &Seen,
        now_ms: u64,
        first: bool,
    ) -> Held {
        let content = self.content(known);
        let kind = content.kind;
        let item = &content.items[usize::from(index)];
        let progress = &known.items[usize::from(index)];
        let is_overdue = progress.overdue_since(kind, now_ms).is_some();
        match &seen.end {
            Final::InDoubt => {
                let panicked = progress.end.is_some_and(|end| end.act == Act::Panic);
                let here = progress.began_here && (panicked || is_overdue);
                let crashes_before = self.submissions[known.submission].crashes_before;
                let crashed = self.crashes > crashes_before;
                let before = first && (crashed || panicked || is_overdue);
                let may_be = kind.is_at_most_once() && seen.attempts == 1;
                hold(Rule::OnceIsOnce, may_be && (here || before), || {
                    "it is in doubt, and why?".to_owned()
                })
            }
            Final::Failed(code) if code == Failure::CRASHED => {
                let limit = kind.crash_limit();
                let enough = limit.is_some_and(|limit| progress.crashes.1 >= limit);
                hold(Rule::CrashesAreCounted, enough, || {
                    "it has not ended so many processes".to_owned()
                })
            }
            Final::Failed(code) if code == Failure::TIMED_OUT => {
                let is_last = seen.attempts == kind.attempts() && !kind.is_at_most_once();
                let is_it = progress.attempt == seen.attempts && is_overdue;
                hold(Rule::TimeoutIsKept, is_last && is_it, || {
                    "its time was not up".to_owned()
                })
            }
            end => {
                let expected = expected(kind, item, content.retry_of.is_some());
                let may_be_later = kind.timeout_ms().is_some() && seen.attempts > expected.0;
                let is_right = (seen.attempts == expected.0 || may_be_later)
                    && seen.attempts <= kind.attempts()
                    && *end == expected.1;
                hold(Rule::OutcomeIsTheHandlers, is_right, || {
                    format!("it should have ended {expected:?}")
                })?;
                let ran = match item.script {
                    Script::Unreadable => known.may_fail_undecodable || known.is_new,
                    _ => {
                        progress.attempt >= seen.attempts
                            && progress.end.is_some_and(|end| end.is_final)
                    }
                };
                hold(Rule::OutcomeIsTheHandlers, ran, || {
                    "it ended and its handler did not".to_owned()
                })?;
                let is_late = progress.timed_out && progress.attempt == seen.attempts;
                hold(Rule::TimeoutIsKept, !is_late, || {
                    "its time was up before its handler returned".to_owned()
                })
            }
        }
    }

    /// Right after a process began: what runs at most once and began has its outcome.
    fn nothing_began_in_vain(&self, batch: u64) -> Held {
        let known = &self.batches[&batch];
        if !self.content(known).kind.is_at_most_once() {
            return Ok(());
        }
        for (index, item) in (0..).zip(&known.items) {
            let ended = known.outcomes.contains_key(&index);
            hold(Rule::OnceIsOnce, ended || item.attempt == 0, || {
                format!("item {index} of batch {batch} began and is neither ended nor in doubt")
            })?;
        }
        Ok(())
    }

    /// Which operations are paused, right after the process began.
    pub(in crate::testing::simulation) fn found_paused(
        &mut self,
        kind: Kind,
        is_paused: bool,
    ) -> Held {
        let pause = self.pauses.entry(kind).or_default();
        hold(Rule::PauseIsKept, is_paused || !pause.holds, || {
            format!("the pause of {kind:?} is lost")
        })?;
        hold(
            Rule::PauseIsKept,
            !is_paused || pause.holds || pause.may_hold,
            || format!("nobody paused {kind:?}"),
        )?;
        pause.holds = is_paused;
        pause.may_hold = is_paused;
        Ok(())
    }

    /// The tables, at the same moment as all batches were looked at.
    pub(in crate::testing::simulation) fn payments_are_outcomes(
        &self,
        payments: &Payments,
    ) -> Held {
        let mut ended: BTreeMap<u64, Item> = BTreeMap::new();
        let mut unclear = Vec::new();
        for known in self.batches.values() {
            let content = self.content(known);
            if content.kind != Kind::Pay {
                continue;
            }
            for (index, item) in (0..).zip(&content.items) {
                let key = paid_key(item.submission, item.index);
                match known.outcomes.get(&index) {
                    Some(seen) if matches!(seen.end, Final::Succeeded(_)) => {
                        ended.insert(key, *item);
                    }
                    // It may have ended before it was deleted.
                    None if known.gone => unclear.push(key),
                    _ => {}
                }
            }
        }
        for key in ended.keys() {
            hold(
                Rule::EffectsAreOutcomes,
                payments.paid.contains_key(key),
                || format!("item {key:#x} succeeded and was not paid"),
            )?;
        }
        let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
        for (key, (times, amount)) in &payments.paid {
            hold(Rule::EffectsAreOutcomes, *times == 1, || {
                format!("item {key:#x} was paid {times} times")
            })?;
            let may_be = ended.contains_key(key) || unclear.contains(key);
            hold(Rule::EffectsAreOutcomes, may_be, || {
                format!("item {key:#x} was paid and has not succeeded")
            })?;
            let item = self.item_of(*key);
            hold(
                Rule::EffectsAreOutcomes,
                item.is_some_and(|item| item.amount == *amount),
                || format!("{item:?} was paid {amount}"),
            )?;
            if let Some(item) = item {
                *sums.entry(u64::from(item.account)).or_default() += amount;
            }
        }
        hold(Rule::EffectsAreOutcomes, sums == payments.sums, || {
            format!(
                "the payments add up to {sums:?}, the sums are {:?}",
                payments.sums
            )
        })
    }

    fn item_of(&self, key: u64) -> Option<&Item> {
        let submission = self.submissions.get(usize::try_from(key >> 16).ok()?)?;
        let index = usize::try_from(key & 0xFFFF).ok()?;
        submission.content.items.get(index)
    }

    /// Nothing fails any more, and nobody is stopped who did not ask for it.
    pub(in crate::testing::simulation) fn all_have_ended(&self) -> Held {
        for (id, known) in self.batches.iter().filter(|(_, known)| !known.gone) {
            hold(Rule::BatchesEnd, known.state.has_ended(), || {
                format!("batch {id} does not end: {known:?}")
            })?;
        }
        Ok(())
    }
}

/// How an item must end: after so many attempts, like this, if nothing comes between.
fn expected(kind: Kind, item: &Item, again: bool) -> (u32, Final) {
    let failed = |code: &str| Final::Failed(code.to_owned());
    if item.script == Script::Unreadable {
        return (1, failed(Failure::UNREADABLE_ITEM));
    }
    let last = item.at.clamp(1, kind.attempts());
    let end = match item.act(last, again) {
        Act::Succeed => Final::Succeeded(item.amount),
        Act::TryAgain => failed("busy"),
        Act::Fail => failed("refused"),
        Act::Panic if kind.is_at_most_once() => Final::InDoubt,
        Act::Panic => failed(Failure::PANICKED),
        Act::Crash if kind.is_at_most_once() => Final::InDoubt,
        Act::Crash => failed(Failure::CRASHED),
        Act::GiveUp => failed(Failure::TIMED_OUT),
    };
    (last, end)
}

fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}
