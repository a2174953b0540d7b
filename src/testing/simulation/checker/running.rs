//! Attempts: what handlers do, and when.

use super::known::{End, Fate, Known, SliceOf};
use super::{Checker, Held, Rule, hold};
use crate::testing::simulation::item::{Act, Item};
use crate::testing::simulation::operations::Run;

/// An attempt of which the queue has not been told that it ended.
#[derive(Debug)]
pub(super) struct Running {
    call: Run,
    key: Option<u8>,
    began_ms: u64,
    /// When the handler returned.
    returned_ms: Option<u64>,
    /// Which of its worker's reports will tell.
    slice: SliceOf,
}

impl Running {
    pub(super) fn item(&self) -> (u64, u16) {
        (self.call.batch, self.call.index)
    }

    /// Whether the handler has returned.
    pub(super) fn has_returned(&self) -> bool {
        self.returned_ms.is_some()
    }

    /// Whether its time was up before the handler returned.
    pub(super) fn is_overdue(&self, now_ms: u64) -> bool {
        let limit_ms = self.call.kind.timeout_ms();
        let until_ms = self.returned_ms.unwrap_or(now_ms);
        limit_ms.is_some_and(|limit_ms| until_ms >= self.began_ms + limit_ms)
    }
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
        call: &Run,
        item: &Item,
        beginning: Beginning,
    ) -> Result<bool, super::Violation> {
        self.meet(call, item, beginning.retry_of)?;
        self.may_begin(call, beginning.now_ms)?;
        self.rate_allows(call, beginning.now_ms)?;
        self.attempt_is_next(call, beginning.now_ms)?;
        let slice = SliceOf {
            worker: call.worker,
            report: beginning.report,
        };
        self.others_let_it(call, item, beginning.now_ms)?;
        self.quarantine_lets_it(call, slice, beginning.now_ms)?;
        let Some(known) = self.batches.get_mut(&call.batch) else {
            return Ok(false);
        };
        let progress = &mut known.items[usize::from(call.index)];
        progress.attempt = call.attempt;
        progress.began_here = true;
        progress.end = None;
        progress.told = false;
        progress.began_ms = beginning.now_ms;
        progress.slice = Some(slice);
        progress.timed_out = false;
        self.running.push(Running {
            call: *call,
            key: item.key,
            began_ms: beginning.now_ms,
            returned_ms: None,
            slice,
        });
        Ok(beginning.retry_of.is_some())
    }

    /// Learns of the batch, if this is the first that is seen of it.
    fn meet(&mut self, call: &Run, item: &Item, retry_of: Option<u64>) -> Held {
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

    fn may_begin(&self, call: &Run, now_ms: u64) -> Held {
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

    /// Items are counted when they are handed to workers, who may be late: of that only the sum can be seen here.
    fn rate_allows(&mut self, call: &Run, now_ms: u64) -> Held {
        let Some(rate) = call.kind.rate() else {
            return Ok(());
        };
        let began = self.began.entry(call.kind).or_default();
        *began += 1;
        let periods = (now_ms - self.opened_ms) / rate.period_ms + 1;
        let most = periods * u64::from(rate.items);
        hold(Rule::RateIsLimited, *began <= most, || {
            format!("{call:?} begins as the {began}th in {periods} periods")
        })
    }

    fn attempt_is_next(&self, call: &Run, now_ms: u64) -> Held {
        let known = &self.batches[&call.batch];
        let outcome = known.outcomes.get(&call.index);
        hold(Rule::OutcomeIsKept, outcome.is_none(), || {
            format!("{call:?} begins and had ended: {outcome:?}")
        })?;
        let item = &known.items[usize::from(call.index)];
        let is_first = item.attempt == 0 || !call.kind.is_at_most_once();
        hold(Rule::OnceIsOnce, is_first, || {
            format!("{call:?} begins again: {item:?}")
        })?;
        let overdue = item.overdue_since(call.kind, now_ms);
        let leased = item.slice.filter(|_| call.kind.is_exactly_once());
        let revoked = leased.filter(|slice| self.may_be_revoked(*slice, now_ms));
        let twice = self.running.iter().any(|other| {
            let counts = !other.is_overdue(now_ms) && !self.is_forgotten(other, now_ms);
            other.item() == (call.batch, call.index) && counts
        });
        let in_range = (1..=call.kind.attempts()).contains(&call.attempt);
        // In another process an attempt may run once more.
        let is_next = call.attempt == item.attempt + 1;
        let is_again = match revoked {
            // What it did is forgotten.
            Some(_) => call.attempt == item.attempt,
            None => !item.began_here && call.attempt <= item.attempt,
        };
        let goes_on = item.attempt == 0 || item.end.is_some_and(|end| !end.is_final);
        let may_follow = goes_on || overdue.is_some();
        let is_told = !item.began_here || item.told || overdue.is_some();
        hold(
            Rule::AttemptsAreCounted,
            in_range && !twice && (is_again || (is_next && may_follow && is_told)),
            || format!("{call:?} begins after {item:?}, twice at once: {twice}"),
        )?;
        let ended_ms = overdue.or(item.end.map(|end| end.at_ms));
        let ended_ms = ended_ms.filter(|_| is_next);
        let waited = ended_ms
            .is_none_or(|ended_ms| now_ms - ended_ms >= call.kind.shortest_wait_ms(item.attempt));
        hold(Rule::RetryWaits, waited, || {
            format!("{call:?} begins at {now_ms}, after {item:?}")
        })
    }

    /// Whether a slice of items that run exactly once may have lost the lease, and with it all that it did: a handler
    /// in it did not return in time.
    fn may_be_revoked(&self, slice: SliceOf, now_ms: u64) -> bool {
        let mut running = self.running.iter();
        let hangs = running.any(|other| other.slice == slice && other.is_overdue(now_ms));
        hangs || self.late.contains(&slice)
    }

    /// Whether what an attempt did may come to nothing because its slice has lost the lease.
    fn is_forgotten(&self, running: &Running, now_ms: u64) -> bool {
        let leased = running.call.kind.is_exactly_once();
        leased && self.may_be_revoked(running.slice, now_ms)
    }

    fn others_let_it(&self, call: &Run, item: &Item, now_ms: u64) -> Held {
        let counts =
            |other: &&Running| other.call.kind == call.kind && !self.is_forgotten(other, now_ms);
        let others = self.running.iter().filter(counts);
        let same_key = |other: &&Running| item.key.is_some() && other.key == item.key;
        let beside = others.clone().find(same_key);
        hold(Rule::KeysAreOrdered, beside.is_none(), || {
            format!("{call:?} begins beside {beside:?}")
        })?;
        if let Some(key) = item.key {
            self.is_first_of_key(call, key, now_ms)?;
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
            let beside = others.clone().find(|other| !other.has_returned());
            hold(Rule::ConcurrencyIsLimited, beside.is_none(), || {
                format!("{call:?} begins beside {beside:?}")
            })?;
            self.is_first_of_batch(call, item, now_ms)?;
        }
        Ok(())
    }

    /// What ran when a process ended runs alone in its slice, and beside no other such item.
    fn quarantine_lets_it(&self, call: &Run, slice: SliceOf, now_ms: u64) -> Held {
        let is_suspect = |(batch, index): (u64, u16)| {
            let known = self.batches.get(&batch);
            known.is_some_and(|known| known.items[usize::from(index)].is_suspect())
        };
        let item = (call.batch, call.index);
        let limit = call.kind.crash_limit();
        let crashes = self.batches[&call.batch].items[usize::from(call.index)].crashes;
        let may_run = limit.is_none_or(|limit| crashes.0 <= limit);
        hold(Rule::CrashesAreCounted, may_run, || {
            format!("{call:?} begins and has ended so many processes: {crashes:?}")
        })?;
        let beside = self.running.iter().find(|other| {
            let both = is_suspect(item) && is_suspect(other.item());
            let either = is_suspect(item) || is_suspect(other.item());
            let together = both || (either && other.slice == slice);
            together && other.item() != item && !other.is_overdue(now_ms)
        });
        hold(Rule::SuspectsRunAlone, beside.is_none(), || {
            format!("{call:?} begins in {slice:?} beside {beside:?}")
        })
    }

    /// No item with the key is before it in the order of submission.
    fn is_first_of_key(&self, call: &Run, key: u8, now_ms: u64) -> Held {
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
                    && !known.is_settled(index)
                    && !known.items[usize::from(index)]
                        .may_have_timed_out_for_good(call.kind, now_ms);
                hold(Rule::KeysAreOrdered, !waits, || {
                    format!("{call:?} begins before item {index} of batch {id}, of the same key")
                })?;
            }
        }
        Ok(())
    }

    /// Exactly-once items without a key start in the order of the batch.
    fn is_first_of_batch(&self, call: &Run, item: &Item, now_ms: u64) -> Held {
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
                || progress.end.is_some_and(|end| !end.is_final)
                || progress.overdue_since(call.kind, now_ms).is_some();
            hold(Rule::ItemsAreOrdered, began || !other.is_readable(), || {
                format!("{call:?} begins before item {index}")
            })?;
        }
        Ok(())
    }

    /// A handler returned.
    pub(in crate::testing::simulation) fn returned(
        &mut self,
        call: &Run,
        act: Act,
        at_ms: u64,
    ) -> Held {
        let mut running = self.running.iter_mut().rev();
        let this = running.find(|other| {
            let call = (call.batch, call.index, call.attempt, call.worker);
            let Run {
                batch,
                index,
                attempt,
                worker,
                ..
            } = other.call;
            (batch, index, attempt, worker) == call && !other.has_returned()
        });
        let Some(running) = this else {
            return Ok(());
        };
        running.returned_ms = Some(at_ms);
        let (slice, overdue) = (running.slice, running.is_overdue(at_ms));
        if overdue {
            self.late.insert(slice);
        }
        hold(Rule::TimeoutIsKept, overdue || act != Act::GiveUp, || {
            format!("{call:?} was told at {at_ms} that its time was up")
        })?;
        let Some(known) = self.batches.get_mut(&call.batch) else {
            return Ok(());
        };
        let progress = &mut known.items[usize::from(call.index)];
        if (progress.attempt, progress.slice) == (call.attempt, Some(slice)) {
            progress.timed_out |= overdue;
            let is_last = call.attempt >= call.kind.attempts();
            let is_final = act != Act::TryAgain || is_last;
            progress.end = Some(End {
                is_final,
                at_ms,
                act,
            });
        }
        Ok(())
    }

    /// The writer has looked, no earlier than at this time, for handlers whose time is up.
    pub(in crate::testing::simulation) fn writer_looked(&mut self, since_ms: u64) {
        let hangs = |running: &&Running| !running.has_returned() && running.is_overdue(since_ms);
        for running in self.running.iter().filter(hangs) {
            let Some(known) = self.batches.get_mut(&running.call.batch) else {
                continue;
            };
            let progress = &mut known.items[usize::from(running.call.index)];
            if progress.slice == Some(running.slice) {
                progress.timed_out = true;
            }
        }
    }

    /// The queue was told of the attempts that ended before a worker's report.
    pub(in crate::testing::simulation) fn told(&mut self, worker: usize, report: u64) {
        let batches = &mut self.batches;
        self.running.retain(|running| {
            let slice = running.slice;
            let told = slice.worker == worker && slice.report <= report;
            if told && let Some(known) = batches.get_mut(&running.call.batch) {
                let progress = &mut known.items[usize::from(running.call.index)];
                progress.told |= progress.slice == Some(slice);
            }
            !told
        });
    }
}
