//! Attempts: what handlers do, and when.

use super::known::{End, Fate, Known};
use super::{Checker, Held, Rule, hold};
use crate::testing::simulation::item::{Act, Item};
use crate::testing::simulation::operations::Call;

/// An attempt of which the queue has not been told that it ended.
#[derive(Debug)]
pub(super) struct Running {
    call: Call,
    key: Option<u8>,
    /// The handler has returned.
    returned: bool,
    /// Which of its worker's reports will tell.
    report: u64,
}

/// When an attempt begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::testing::simulation) struct Beginning {
    pub(in crate::testing::simulation) now_ms: u64,
    /// The batch that this one runs failed items of, as it says.
    pub(in crate::testing::simulation) retry_of: Option<u64>,
    pub(in crate::testing::simulation) report: u64,
}

impl Checker {
    /// A handler begins; whether its batch runs failed items again.
    pub(in crate::testing::simulation) fn began(
        &mut self,
        call: &Call,
        item: &Item,
        beginning: Beginning,
    ) -> Result<bool, super::Violation> {
        self.meet(call, item, beginning.retry_of)?;
        self.may_begin(call, beginning.now_ms)?;
        self.attempt_is_next(call, beginning.now_ms)?;
        self.others_let_it(call, item)?;
        let Some(known) = self.batches.get_mut(&call.batch) else {
            return Ok(false);
        };
        let progress = &mut known.items[usize::from(call.index)];
        progress.attempt = call.attempt;
        progress.began_here = true;
        progress.end = None;
        progress.told = false;
        self.running.push(Running {
            call: *call,
            key: item.key,
            returned: false,
            report: beginning.report,
        });
        Ok(beginning.retry_of.is_some())
    }

    /// Learns of the batch, if this is the first that is seen of it.
    fn meet(&mut self, call: &Call, item: &Item, retry_of: Option<u64>) -> Held {
        if !self.batches.contains_key(&call.batch) {
            let number = self.submissions.iter().position(|submission| {
                let at = usize::from(call.index);
                submission.fate == Fate::Open
                    && submission.content.retry_of == retry_of
                    && submission.content.items.get(at) == Some(item)
            });
            let Some(number) = number else {
                return hold(Rule::SubmissionIsOneBatch, false, || {
                    format!("nobody asked for batch {}, which started", call.batch)
                });
            };
            self.bind(call.batch, number, "started")?;
        }
        let known = &self.batches[&call.batch];
        let stored = self.content(known).items.get(usize::from(call.index));
        hold(Rule::BatchIsAsSubmitted, stored == Some(item), || {
            format!("{call:?} has {item:?}, submitted was {stored:?}")
        })
    }

    fn may_begin(&self, call: &Call, now_ms: u64) -> Held {
        let known = &self.batches[&call.batch];
        hold(Rule::DeletedIsGone, !known.gone, || {
            format!("{call:?} begins, its batch was deleted")
        })?;
        hold(Rule::StopHoldsItems, !known.stop.holds, || {
            format!("{call:?} begins after its batch was stopped")
        })?;
        let pause = self.pauses.get(&call.kind);
        let is_paused = pause.is_some_and(|pause| pause.holds);
        hold(Rule::PauseHoldsItems, !is_paused, || {
            format!("{call:?} begins while its operation is paused")
        })?;
        let not_before_ms = self.content(known).not_before_ms;
        let is_due = not_before_ms.is_none_or(|due| due <= now_ms);
        hold(Rule::NotBefore, is_due, || {
            format!("{call:?} begins at {now_ms}, not before {not_before_ms:?}")
        })
    }

    fn attempt_is_next(&self, call: &Call, now_ms: u64) -> Held {
        let known = &self.batches[&call.batch];
        let outcome = known.outcomes.get(&call.index);
        hold(Rule::OutcomeIsKept, outcome.is_none(), || {
            format!("{call:?} begins and had ended: {outcome:?}")
        })?;
        let item = &known.items[usize::from(call.index)];
        let twice = self
            .running
            .iter()
            .any(|other| (other.call.batch, other.call.index) == (call.batch, call.index));
        let in_range = (1..=call.kind.attempts()).contains(&call.attempt);
        // In another process an attempt may run once more.
        let is_next = call.attempt == item.attempt + 1;
        let is_again = !item.began_here && call.attempt <= item.attempt;
        let may_follow = item.attempt == 0 || item.end.is_some_and(|end| !end.is_final);
        let is_told = !item.began_here || item.told;
        hold(
            Rule::AttemptsAreCounted,
            in_range && !twice && (is_again || (is_next && may_follow && is_told)),
            || format!("{call:?} begins after {item:?}, twice at once: {twice}"),
        )?;
        let end = item.end.filter(|_| is_next);
        let waited = end
            .is_none_or(|end| now_ms - end.at_ms >= call.kind.shortest_wait_ms(call.attempt - 1));
        hold(Rule::RetryWaits, waited, || {
            format!("{call:?} begins at {now_ms}, {end:?}")
        })
    }

    fn others_let_it(&self, call: &Call, item: &Item) -> Held {
        let same_kind = |other: &&Running| other.call.kind == call.kind;
        let others = self.running.iter().filter(same_kind);
        let same_key = |other: &&Running| item.key.is_some() && other.key == item.key;
        let beside = others.clone().find(same_key);
        hold(Rule::KeysAreOrdered, beside.is_none(), || {
            format!("{call:?} begins beside {beside:?}")
        })?;
        if let Some(key) = item.key {
            self.is_first_of_key(call, key)?;
        }
        let mut workers: Vec<_> = others.clone().map(|other| other.call.worker).collect();
        workers.push(call.worker);
        workers.sort_unstable();
        workers.dedup();
        let limit = call.kind.concurrency().unwrap_or(u32::MAX) as usize;
        hold(Rule::ConcurrencyIsLimited, workers.len() <= limit, || {
            format!("{call:?} begins while {:?} run", self.running)
        })?;
        if call.kind.is_exactly_once() {
            let beside = others.clone().find(|other| !other.returned);
            hold(Rule::ConcurrencyIsLimited, beside.is_none(), || {
                format!("{call:?} begins beside {beside:?}")
            })?;
            self.is_first_of_batch(call, item)?;
        }
        Ok(())
    }

    /// No item with the key is before it in the order of submission.
    fn is_first_of_key(&self, call: &Call, key: u8) -> Held {
        let own = &self.batches[&call.batch];
        for (id, known) in self.batches.range(..=call.batch) {
            let content = self.content(known);
            let has_place = |known: &Known| {
                let delayed = self.content(known).not_before_ms.is_some();
                !known.stop.ever && !known.gone && !delayed
            };
            let compares = *id == call.batch || (has_place(known) && has_place(own));
            if content.kind != call.kind || !compares {
                continue;
            }
            for (index, other) in (0..).zip(&content.items) {
                let is_before = *id < call.batch || index < call.index;
                let waits = is_before
                    && other.key == Some(key)
                    && other.is_readable()
                    && !known.is_settled(index);
                hold(Rule::KeysAreOrdered, !waits, || {
                    format!("{call:?} begins before item {index} of batch {id}, of the same key")
                })?;
            }
        }
        Ok(())
    }

    /// Exactly-once items without a key start in the order of the batch.
    fn is_first_of_batch(&self, call: &Call, item: &Item) -> Held {
        let known = &self.batches[&call.batch];
        let content = self.content(known);
        if item.key.is_some() || call.attempt > 1 || content.items.iter().any(|i| i.key.is_some()) {
            return Ok(());
        }
        for (index, other) in (0..call.index).zip(&content.items) {
            let progress = &known.items[usize::from(index)];
            let began = progress.began_here
                || known.outcomes.contains_key(&index)
                || progress.attempt > 1
                || progress.end.is_some_and(|end| !end.is_final);
            hold(Rule::ItemsAreOrdered, began || !other.is_readable(), || {
                format!("{call:?} begins before item {index}")
            })?;
        }
        Ok(())
    }

    /// A handler returned.
    pub(in crate::testing::simulation) fn returned(&mut self, call: &Call, act: Act, at_ms: u64) {
        let this = |other: &&mut Running| {
            let at = |call: &Call| (call.batch, call.index, call.attempt);
            at(&other.call) == at(call)
        };
        if let Some(running) = self.running.iter_mut().find(this) {
            running.returned = true;
        }
        if let Some(known) = self.batches.get_mut(&call.batch) {
            let is_last = call.attempt >= call.kind.attempts();
            let is_final = act != Act::TryAgain || is_last;
            let progress = &mut known.items[usize::from(call.index)];
            progress.end = Some(End { is_final, at_ms });
        }
    }

    /// The queue was told of the attempts that ended before a worker's report.
    pub(in crate::testing::simulation) fn told(&mut self, worker: usize, report: u64) {
        let batches = &mut self.batches;
        self.running.retain(|running| {
            let told = running.call.worker == worker && running.report <= report;
            if told && let Some(known) = batches.get_mut(&running.call.batch) {
                known.items[usize::from(running.call.index)].told = true;
            }
            !told
        });
    }
}
