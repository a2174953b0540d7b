//! What must hold between the queue and the model at any time.

use crate::actions::Kind;
use crate::operations::{Adding, Free, Once, Ordered, SUMS};
use crate::run::{Held, Known, Paused, Run, Stopped, Wrong, hold};
use batchwright::{Batch, BatchFilter, BatchId, Blocked, ItemOutcome, Operation, State, Status};
use std::collections::BTreeMap;
use std::time::SystemTime;

impl Run {
    /// Looks at every batch, at the listing, and at the sums.
    pub(crate) fn check(&mut self) -> Held {
        if let Some(complaint) = self.witness.complaint() {
            return Err(Wrong(complaint));
        }
        let mut listed = Vec::new();
        for status in self.queue.batches(BatchFilter::all()) {
            listed.push(status?.id);
        }
        let expected: Vec<_> = self.batches.keys().rev().copied().collect();
        hold(listed == expected, || {
            format!("listed are {listed:?}, not {expected:?}")
        })?;
        let before = self.read_sums()?;
        for id in expected {
            self.check_batch(id)?;
        }
        let after = self.read_sums()?;
        // Sums only grow, and an item's outcome is in the same commit as what it adds.
        for place in 0..3 {
            let shown = self.shown_sum(place);
            let of = |sums: &BTreeMap<u64, u64>| sums.get(&place).copied().unwrap_or(0);
            let (least, most) = (of(&before), of(&after));
            hold(least <= shown && shown <= most, || {
                format!("the outcomes of {place} add up to {shown}, its sum is {least} to {most}")
            })?;
        }
        self.check_stats()
    }

    pub(crate) fn read_sums(&mut self) -> Result<BTreeMap<u64, u64>, Wrong> {
        let rows = self
            .queue
            .read(|tables| tables.range(&SUMS, ..).collect::<Result<Vec<_>, _>>())?;
        let sums: BTreeMap<_, _> = rows.into_iter().collect();
        for (place, before) in &self.sums {
            let now = sums.get(place).copied().unwrap_or(0);
            hold(now >= *before, || {
                format!("the sum of {place} fell from {before} to {now}")
            })?;
        }
        self.sums = sums.clone();
        Ok(sums)
    }

    /// What the successful items that were seen have added.
    pub(crate) fn shown_sum(&self, place: u64) -> u64 {
        let adding = self
            .batches
            .values()
            .filter(|known| known.content.kind == Kind::Adding);
        let deleted = self.deleted_sums.get(&place).copied().unwrap_or(0);
        let shown: u64 = adding
            .flat_map(|known| {
                let at_place = |index: &&usize| known.content.items[**index].place == place;
                let indexes = known.outcomes.keys().filter(at_place);
                indexes.filter_map(|index| known.outcomes[index].outcome.clone().into_output())
            })
            .sum();
        shown + deleted
    }

    pub(crate) fn check_batch(&mut self, id: BatchId) -> Held {
        let batch = self.queue.batch(id)?;
        let before = batch.status()?;
        let outcomes = self.outcomes(&batch)?;
        let after = batch.status()?;
        let now = self.now();
        let kind = self.know(id)?.content.kind;
        let crashed = self.crashed;
        let paused = self.paused.get(&kind).copied();
        let known = self.know(id)?;
        let wrong = |text: &str| format!("batch {id}: {text}: {before:?}, {after:?}, {known:?}");
        let items = &known.content.items;
        hold(before.total == items.len() as u64, || wrong("the total"))?;
        // Each count is of outcomes that were durable then.
        let succeeded = outcomes.values().filter(|o| o.outcome.is_success()).count() as u64;
        let in_doubt = outcomes
            .values()
            .filter(|o| o.outcome.is_in_doubt())
            .count() as u64;
        let failed = outcomes.len() as u64 - succeeded - in_doubt;
        let between = |least: u64, n: u64, most: u64| least <= n && n <= most;
        hold(
            between(before.succeeded, succeeded, after.succeeded),
            || wrong("successes"),
        )?;
        hold(between(before.failed, failed, after.failed), || {
            wrong("failures")
        })?;
        // Nobody resolves one meanwhile.
        hold(between(before.in_doubt, in_doubt, after.in_doubt), || {
            wrong("doubts")
        })?;
        for status in [&before, &after] {
            let known_items = status.processed() + status.in_flight + status.waiting;
            hold(known_items <= status.total, || {
                wrong("more items than there are")
            })?;
            let complete = status.state == State::Completed;
            hold(complete == (status.unfinished() == 0), || {
                wrong("complete or not")
            })?;
            let ended = status.state.has_ended();
            hold(ended == status.ended_at.is_some(), || wrong("its end"))?;
            hold(!ended || known_items == status.processed(), || {
                wrong("at work and ended")
            })?;
        }
        known
            .check_terms(&before, &after, paused, now)
            .map_err(|text| Wrong(wrong(text)))?;
        for (index, outcome) in &outcomes {
            let item = &items[*index];
            let right = match known.resolved.get(index) {
                Some(resolved) => outcome.outcome == *resolved && outcome.attempts == 1,
                None if kind == Kind::Once => {
                    item.fits_once(&outcome.outcome, crashed) && outcome.attempts == 1
                }
                None => item.fits(&outcome.outcome) && outcome.attempts == item.end().0,
            };
            hold(right, || {
                wrong(&format!("not what the item says: {outcome:?}"))
            })?;
        }
        for (index, outcome) in &known.outcomes {
            hold(outcomes.get(index) == Some(outcome), || {
                wrong(&format!("an outcome changed: {outcome:?}"))
            })?;
        }
        match known.stopped {
            Stopped::Ended if known.last.is_some() => {
                hold(outcomes == known.outcomes, || {
                    wrong("an outcome after the stop")
                })?;
                hold(after.state == State::Stopped, || wrong("it went on"))?;
            }
            Stopped::Asked | Stopped::Ended => {
                let holds = after.stop_requested || after.state.has_ended();
                hold(holds, || wrong("the stop is lost"))?;
            }
            Stopped::No => hold(
                !after.stop_requested && after.state != State::Stopped,
                || wrong("nobody stopped it"),
            )?,
            Stopped::Unknown => {}
        }
        known.outcomes = outcomes;
        if before.state == State::Stopped && known.stopped != Stopped::No {
            known.stopped = Stopped::Ended;
        }
        known.freeze(&after, paused);
        let ended_meanwhile = after.state.has_ended() && !before.state.has_ended();
        known.last = Some(after);
        if ended_meanwhile {
            // Its last outcomes may have come after the look at them; what asks whether it has ended
            // relies on having seen all.
            return self.check_batch(id);
        }
        Ok(())
    }

    pub(crate) fn outcomes(
        &self,
        batch: &Batch,
    ) -> Result<BTreeMap<usize, ItemOutcome<u64>>, Wrong> {
        let kind = self.batches[&batch.id()].content.kind;
        match self.renamed {
            true => typed_outcomes::<true>(kind, batch),
            false => typed_outcomes::<false>(kind, batch),
        }
    }

    pub(crate) fn check_stats(&self) -> Held {
        let stats = self.queue.stats()?;
        let most = self.batches.len() as u64;
        hold(stats.unfinished_batches <= most, || format!("{stats:?}"))?;
        let sum: u64 = stats
            .operations
            .iter()
            .map(|operation| operation.batches)
            .sum();
        hold(sum == stats.unfinished_batches, || format!("{stats:?}"))
    }
}

impl Known {
    /// Whether two looks at the batch fit what its submission and its operation's pause allow.
    fn check_terms(
        &self,
        before: &Status,
        after: &Status,
        paused: Option<Paused>,
        now: SystemTime,
    ) -> Result<(), &'static str> {
        let content = &self.content;
        let parent = content.origin.as_ref().map(|origin| origin.parent);
        if (before.priority, before.not_before, before.retry_of)
            != (content.priority, content.not_before, parent)
        {
            return Err("not as it was submitted");
        }
        let is_early = content.not_before.is_some_and(|time| time > now);
        if is_early && (after.processed() > 0 || after.in_flight > 0 || after.started_at.is_some())
        {
            return Err("it started before its time");
        }
        let shown = matches!(after.blocked, Some(Blocked::Paused { .. }));
        if paused != Some(Paused::Unknown) && !after.state.has_ended() && shown != paused.is_some()
        {
            return Err("its operation's pause");
        }
        // A crash may leave in doubt what was about to start when the pause came, and has not.
        let ended = after.succeeded + after.failed;
        let went_on = |frozen: u64| ended != frozen || after.in_flight > 0;
        if self.frozen.is_some_and(went_on) {
            return Err("it went on while its operation was paused");
        }
        Ok(())
    }

    /// Notes that nothing more may happen to it.
    fn freeze(&mut self, now: &Status, paused: Option<Paused>) {
        if paused == Some(Paused::Yes) && now.in_flight == 0 {
            self.frozen = Some(now.succeeded + now.failed);
        }
    }
}

fn typed_outcomes<const NEW: bool>(
    kind: Kind,
    batch: &Batch,
) -> Result<BTreeMap<usize, ItemOutcome<u64>>, Wrong> {
    match kind {
        Kind::Free => outcomes_of(&batch.typed::<Free<NEW>>()?),
        Kind::Ordered => outcomes_of(&batch.typed::<Ordered<NEW>>()?),
        Kind::Adding => outcomes_of(&batch.typed::<Adding<NEW>>()?),
        Kind::Once => outcomes_of(&batch.typed::<Once<NEW>>()?),
    }
}

fn outcomes_of<O: Operation<Output = u64>>(
    batch: &Batch<O>,
) -> Result<BTreeMap<usize, ItemOutcome<u64>>, Wrong> {
    let mut outcomes = BTreeMap::new();
    for outcome in batch.outcomes()? {
        let outcome = outcome?;
        let index = outcome.index;
        let last: Option<usize> = outcomes.keys().next_back().copied();
        hold(last.is_none_or(|last| index > last), || {
            format!("the outcome of item {index} comes after that of {last:?}")
        })?;
        outcomes.insert(index, outcome);
    }
    Ok(outcomes)
}
