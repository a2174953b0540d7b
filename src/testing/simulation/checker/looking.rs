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
    /// The output, or the failure's code.
    pub(in crate::testing::simulation) end: Result<u64, String>,
}

/// A look at a batch.
#[derive(Debug)]
pub(in crate::testing::simulation) struct Look {
    pub(in crate::testing::simulation) status: Status,
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
        self.outcomes_are_right(known, look)?;
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

    fn outcomes_are_right(&self, known: &Known, look: &Look) -> Held {
        let Look { status, outcomes } = look;
        let id = status.id;
        let wrong = |what: &str| format!("batch {id}: {what}: {outcomes:?}, {status:?}, {known:?}");
        let succeeded = outcomes.iter().filter(|(_, seen)| seen.end.is_ok()).count() as u64;
        let failed = outcomes.len() as u64 - succeeded;
        hold(
            Rule::CountsAreOutcomes,
            (status.succeeded, status.failed) == (succeeded, failed),
            || wrong("the counts are not those of the outcomes"),
        )?;
        let in_order = outcomes.is_sorted_by(|(one, _), (next, _)| one < next);
        hold(Rule::OutcomeIsKept, in_order, || {
            wrong("an item ended twice")
        })?;
        for (index, before) in &known.outcomes {
            let at = outcomes.binary_search_by_key(index, |(index, _)| *index);
            let now = at.ok().map(|at| &outcomes[at].1);
            hold(Rule::OutcomeIsKept, now == Some(before), || {
                wrong("an outcome changed")
            })?;
        }
        let content = self.content(known);
        for (index, seen) in outcomes {
            let item = &content.items[usize::from(*index)];
            let expected = expected(content.kind, item, content.retry_of.is_some());
            let is_right = (seen.attempts, &seen.end) == (expected.0, &expected.1);
            hold(Rule::OutcomeIsTheHandlers, is_right, || {
                wrong(&format!("item {index} should have ended {expected:?}"))
            })?;
            let progress = &known.items[usize::from(*index)];
            if known.outcomes.contains_key(index) {
                continue;
            }
            let ran = match item.script {
                Script::Unreadable => known.may_fail_undecodable || known.is_new,
                _ => {
                    progress.attempt >= seen.attempts
                        && progress.end.is_some_and(|end| end.is_final)
                }
            };
            hold(Rule::OutcomeIsTheHandlers, ran, || {
                wrong(&format!("item {index} ended and its handler did not"))
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
                    Some(seen) if seen.end.is_ok() => {
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

/// How an item must end: after so many attempts, with this output or failure.
fn expected(kind: Kind, item: &Item, again: bool) -> (u32, Result<u64, String>) {
    if item.script == Script::Unreadable {
        return (1, Err(Failure::UNREADABLE_ITEM.to_owned()));
    }
    let last = item.at.clamp(1, kind.attempts());
    let end = match item.act(last, again) {
        Act::Succeed => Ok(item.amount),
        Act::TryAgain => Err("busy".to_owned()),
        Act::Fail => Err("refused".to_owned()),
        Act::Panic => Err(Failure::PANICKED.to_owned()),
    };
    (last, end)
}

fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}
