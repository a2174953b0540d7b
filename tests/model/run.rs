//! A run: the queue, the model beside it, and what must hold between them.

use crate::actions::{Action, End, Kind};
use crate::operations::{Adding, Free, Item, Ordered, SUMS, Witness};
use batchwright::limits::Limits;
use batchwright::testing::{CommitFault, ManualClock, MemoryDisk};
use batchwright::{
    Batch, BatchError, BatchFilter, BatchId, ItemOutcome, Operation, Queue, State, Status,
    SubmitError, SubmitOptions,
};
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeMap;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// Few, so that runs meet it.
const UNFINISHED: usize = 8;

const AMPLE: Duration = Duration::from_secs(30);

/// What does not hold.
pub(crate) struct Wrong(String);

impl Wrong {
    pub(crate) fn at(self, step: usize, action: &Action) -> Self {
        let text = self.0;
        Self(format!("at step {step}, {action:?}: {text}"))
    }
}

impl From<Wrong> for TestCaseError {
    fn from(wrong: Wrong) -> Self {
        Self::fail(wrong.0)
    }
}

impl<E: std::error::Error> From<E> for Wrong {
    fn from(error: E) -> Self {
        Self(format!("an error that nothing explains: {error:?}"))
    }
}

type Held = Result<(), Wrong>;

fn hold(condition: bool, text: impl FnOnce() -> String) -> Held {
    if condition {
        Ok(())
    } else {
        Err(Wrong(text()))
    }
}

/// What was submitted.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    kind: Kind,
    items: Vec<Item>,
    key: Option<u8>,
}

#[derive(Debug)]
struct Known {
    content: Content,
    /// Outcomes that were shown once.
    outcomes: BTreeMap<usize, ItemOutcome<u64>>,
    /// A stop that is in force.
    stopped: Stopped,
    last: Option<Status>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stopped {
    No,
    /// Acknowledged: items in handlers may still end.
    Asked,
    /// It has ended so: nothing gets an outcome.
    Ended,
    /// Its stop or resume met a failing commit.
    Unknown,
}

pub(crate) struct Run {
    disk: MemoryDisk,
    clock: ManualClock,
    queue: Queue,
    witness: Witness,
    /// By number.
    batches: BTreeMap<BatchId, Known>,
    /// Submissions that may be there or not.
    unknown: Vec<Content>,
    /// Exactly-once sums as last seen.
    sums: BTreeMap<u64, u64>,
}

impl Run {
    pub(crate) fn new() -> Result<Self, Wrong> {
        let (disk, clock) = (MemoryDisk::new(), ManualClock::new());
        let (queue, witness) = open(&disk, &clock)?;
        Ok(Self {
            disk,
            clock,
            queue,
            witness,
            batches: BTreeMap::new(),
            unknown: Vec::new(),
            sums: BTreeMap::new(),
        })
    }

    pub(crate) fn step(&mut self, action: &Action) -> Held {
        match action {
            Action::Submit { kind, items, key } => self.submit(Content {
                kind: *kind,
                items: items.clone(),
                key: *key,
            }),
            Action::Repeat { which, changed } => self.repeat(which, *changed),
            Action::Stop { which } => match self.pick(which) {
                Some(id) => {
                    let stopped = self.queue.batch(id)?.stop();
                    self.note_stop(id, stopped)
                }
                None => Ok(()),
            },
            Action::Resume { which } => self.resume(which),
            Action::Advance { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                Ok(())
            }
            Action::Wait { which } => match self.pick(which) {
                Some(id) => {
                    let report = self
                        .queue
                        .batch(id)?
                        .wait_timeout(Duration::from_millis(3))?;
                    let ended = report.is_none_or(|report| report.status.state.has_ended());
                    hold(ended, || format!("the wait for batch {id} ended before it"))
                }
                None => Ok(()),
            },
            Action::Check => self.check(),
            Action::EndAmid {
                end,
                kind,
                items,
                which,
            } => self.end_amid(*end, *kind, items, which),
            Action::End(end) => {
                self.end(*end)?;
                self.reopen()
            }
        }
    }

    /// Lets everything come to its end, and looks at it.
    pub(crate) fn finish(&mut self) -> Held {
        let since = Instant::now();
        while !self.all_completed()? {
            hold(since.elapsed() < AMPLE, || "it does not end".to_owned())?;
            self.resume_all()?;
            self.clock.advance(Duration::from_secs(60));
            for id in self.batches.keys() {
                self.queue
                    .batch(*id)?
                    .wait_timeout(Duration::from_millis(1))?;
            }
        }
        self.check()?;
        for (id, known) in &self.batches {
            let total = known.content.items.len();
            let state = known.last.as_ref().map(|status| status.state);
            hold(
                state == Some(State::Completed) && known.outcomes.len() == total,
                || format!("batch {id} has not completed: {known:?}"),
            )?;
        }
        let stats = self.queue.stats()?;
        hold(stats.unfinished_batches == 0, || format!("{stats:?}"))?;
        self.end(End::Shutdown)?;
        self.reopen()?;
        self.check()
    }

    fn all_completed(&self) -> Result<bool, Wrong> {
        for id in self.batches.keys() {
            if self.queue.batch(*id)?.status()?.state != State::Completed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As far as there is room for them.
    fn resume_all(&mut self) -> Held {
        for id in self.batches.keys().copied().collect::<Vec<_>>() {
            if self.know(id)?.stopped == Stopped::No {
                continue;
            }
            let batch = self.queue.batch(id)?;
            if batch.wait()?.status.state == State::Stopped {
                match batch.resume() {
                    Err(BatchError::Full { .. }) => continue,
                    resumed => resumed?,
                };
            }
            self.know(id)?.stopped = Stopped::No;
        }
        Ok(())
    }

    fn pick(&self, which: &Index) -> Option<BatchId> {
        let ids: Vec<_> = self.batches.keys().copied().collect();
        (!ids.is_empty()).then(|| *which.get(&ids))
    }

    fn know(&mut self, id: BatchId) -> Result<&mut Known, Wrong> {
        let missing = || Wrong(format!("batch {id} came from nowhere"));
        self.batches.get_mut(&id).ok_or_else(missing)
    }

    fn submit(&mut self, content: Content) -> Held {
        let before = self.unfinished()?;
        let answer = submit(&self.queue, &content);
        if let Err(SubmitError::Full { limit }) = answer {
            return hold(limit == UNFINISHED && before >= UNFINISHED, || {
                format!("full with {before} unfinished batches")
            });
        }
        self.note_submit(content, answer)
    }

    fn repeat(&mut self, which: &Index, changed: bool) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        let mut content = self.know(id)?.content.clone();
        if changed {
            content.items[0].amount += 1;
        }
        self.submit(content)
    }

    /// Batches that have not ended, as shown.
    fn unfinished(&self) -> Result<usize, Wrong> {
        let mut unfinished = 0;
        for id in self.batches.keys() {
            unfinished += usize::from(!self.queue.batch(*id)?.status()?.state.has_ended());
        }
        Ok(unfinished)
    }

    fn note_submit(&mut self, content: Content, answer: Result<BatchId, SubmitError>) -> Held {
        let same_key = |known: &Known| {
            content.key.is_some()
                && (known.content.key, known.content.kind) == (content.key, content.kind)
        };
        let used = self.batches.iter().find(|(_, known)| same_key(known));
        match (answer, used) {
            (Ok(id), Some((before, known))) => hold(
                id == *before && known.content.items == content.items,
                || format!("batch {id} for a key that batch {before} has"),
            ),
            (Err(SubmitError::KeyConflict { batch }), Some((before, known))) => hold(
                batch == *before && known.content.items != content.items,
                || format!("a conflict with batch {batch} for a key that batch {before} has"),
            ),
            (Ok(id), None) => {
                let newest = self.batches.keys().next_back();
                hold(newest.is_none_or(|newest| id > *newest), || {
                    format!("batch {id} after {newest:?}")
                })?;
                self.enter(id, content);
                Ok(())
            }
            (Err(SubmitError::Unknown { .. }), _) => {
                self.unknown.push(content);
                Ok(())
            }
            // Nothing is stored: the listing will show.
            (
                Err(SubmitError::Failed { .. } | SubmitError::Closed | SubmitError::Full { .. }),
                _,
            ) => Ok(()),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn enter(&mut self, id: BatchId, content: Content) {
        let known = Known {
            content,
            outcomes: BTreeMap::new(),
            stopped: Stopped::No,
            last: None,
        };
        self.batches.insert(id, known);
    }

    fn note_stop(&mut self, id: BatchId, answer: Result<Status, BatchError>) -> Held {
        let known = self.know(id)?;
        match answer {
            Ok(status) => {
                let ends = status.stop_requested || status.state.has_ended();
                hold(ends, || format!("stopped, and shown as {status:?}"))?;
                if known.stopped != Stopped::Ended && status.state != State::Completed {
                    known.stopped = Stopped::Asked;
                }
                Ok(())
            }
            Err(BatchError::Unknown { .. }) => {
                known.stopped = match known.stopped {
                    Stopped::No | Stopped::Unknown => Stopped::Unknown,
                    // It was in force before.
                    stopped => stopped,
                };
                Ok(())
            }
            // Nothing is stored.
            Err(BatchError::Failed { .. } | BatchError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn resume(&mut self, which: &Index) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        let full = self.unfinished()? >= UNFINISHED;
        let batch = self.queue.batch(id)?;
        // Items in handlers of a stopping batch end by themselves.
        let stopped = self.know(id)?.stopped != Stopped::No;
        let is_stopped = stopped && batch.wait()?.status.state == State::Stopped;
        if is_stopped {
            self.check_batch(id)?;
        }
        let known = self.know(id)?;
        match batch.resume() {
            Ok(status) => {
                known.stopped = Stopped::No;
                hold(is_stopped, || {
                    format!("resumed, and was not stopped: {status:?}")
                })
            }
            Err(BatchError::NotStopped { state, .. }) => {
                hold(!is_stopped && state != State::Stopped, || {
                    format!("it is {state}, and should be stopped")
                })
            }
            Err(BatchError::Full { .. }) => hold(full && is_stopped, || "not full".to_owned()),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks at every batch, at the listing, and at the sums.
    fn check(&mut self) -> Held {
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

    fn read_sums(&mut self) -> Result<BTreeMap<u64, u64>, Wrong> {
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
    fn shown_sum(&self, place: u64) -> u64 {
        let adding = self
            .batches
            .values()
            .filter(|known| known.content.kind == Kind::Adding);
        adding
            .flat_map(|known| {
                let at_place = |index: &&usize| known.content.items[**index].place == place;
                let indexes = known.outcomes.keys().filter(at_place);
                indexes.filter_map(|index| known.outcomes[index].outcome.clone().output())
            })
            .sum()
    }

    fn check_batch(&mut self, id: BatchId) -> Held {
        let batch = self.queue.batch(id)?;
        let before = batch.status()?;
        let outcomes = self.outcomes(&batch)?;
        let after = batch.status()?;
        let known = self.know(id)?;
        let wrong = |text: &str| format!("batch {id}: {text}: {before:?}, {after:?}, {known:?}");
        let items = &known.content.items;
        hold(before.total == items.len() as u64, || wrong("the total"))?;
        // Each count is of outcomes that were durable then.
        let succeeded = outcomes.values().filter(|o| o.outcome.is_success()).count() as u64;
        let failed = outcomes.len() as u64 - succeeded;
        let between = |least: u64, n: u64, most: u64| least <= n && n <= most;
        hold(
            between(before.succeeded, succeeded, after.succeeded),
            || wrong("successes"),
        )?;
        hold(between(before.failed, failed, after.failed), || {
            wrong("failures")
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
        for (index, outcome) in &outcomes {
            let item = &items[*index];
            let right = item.fits(&outcome.outcome) && outcome.attempts == item.end().0;
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
        known.last = Some(after);
        Ok(())
    }

    fn outcomes(&self, batch: &Batch) -> Result<BTreeMap<usize, ItemOutcome<u64>>, Wrong> {
        match self.batches[&batch.id()].content.kind {
            Kind::Free => outcomes_of(&batch.typed::<Free>()?),
            Kind::Ordered => outcomes_of(&batch.typed::<Ordered>()?),
            Kind::Adding => outcomes_of(&batch.typed::<Adding>()?),
        }
    }

    fn check_stats(&self) -> Held {
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

    /// A submission and a stop are under way when the queue comes to its end.
    fn end_amid(&mut self, end: End, kind: Kind, items: &[Item], which: &Index) -> Held {
        if self.unfinished()? >= UNFINISHED {
            // Nothing would be committed.
            self.end(end)?;
            return self.reopen();
        }
        let content = Content {
            kind,
            items: items.to_vec(),
            key: None,
        };
        let stopped = self.pick(which);
        let held = self.disk.hold_commits();
        let (submitted, stop) = thread::scope(|scope| -> Result<_, Wrong> {
            let queue = &self.queue;
            let submitting = scope.spawn(|| submit(queue, &content));
            let stopping = stopped.map(|id| scope.spawn(move || queue.batch(id)?.stop()));
            let committing = held.wait_for_commit();
            match end {
                End::PowerCut => self.disk.cut_power(),
                End::FailedCommit { done } => self.disk.fail_next_commit(fault(done)),
                End::Shutdown => {}
            }
            drop(held);
            let panicked = |_| Wrong("a caller panicked".to_owned());
            let submitted = submitting.join().map_err(panicked)?;
            let stop = stopping.map(|stopping| stopping.join()).transpose();
            hold(committing, || "no commit came".to_owned())?;
            Ok((submitted, stop.map_err(panicked)?))
        })?;
        self.note_submit(content, submitted)?;
        if let (Some(id), Some(stop)) = (stopped, stop) {
            self.note_stop(id, stop)?;
        }
        self.end(end)?;
        self.reopen()
    }

    fn end(&mut self, end: End) -> Held {
        match end {
            End::Shutdown => self.queue.shutdown(AMPLE)?,
            // Dropped when the next one is there.
            End::PowerCut => self.disk.cut_power(),
            End::FailedCommit { done } => {
                self.disk.fail_next_commit(fault(done));
                // So that there is a commit, if nothing else makes one.
                let items = vec![Item {
                    fate: crate::operations::Fate::Succeeds,
                    place: 0,
                    amount: 1,
                }];
                let content = Content {
                    kind: Kind::Adding,
                    items,
                    key: None,
                };
                let answer = submit(&self.queue, &content);
                self.note_submit(content, answer)?;
                // A fault that is still there must not meet the next opening.
                self.disk.cut_power();
            }
        }
        Ok(())
    }

    /// Opens the disk again and settles what was unknown.
    fn reopen(&mut self) -> Held {
        if self.queue.stats().is_ok() {
            // Only a clone-free drop lets go of the disk.
            self.queue.shutdown(AMPLE)?;
        }
        (self.queue, self.witness) = open(&self.disk, &self.clock)?;
        let mut there: Vec<Status> = Vec::new();
        for status in self.queue.batches(BatchFilter::all()) {
            there.push(status?);
        }
        there.retain(|status| !self.batches.contains_key(&status.id));
        for status in there.iter().rev() {
            let fits = |content: &Content| {
                content.items.len() as u64 == status.total && name(content.kind) == status.operation
            };
            let at = self.unknown.iter().position(fits).ok_or_else(|| {
                Wrong(format!(
                    "a batch that nobody submitted is there: {status:?}"
                ))
            })?;
            let content = self.unknown.swap_remove(at);
            self.enter(status.id, content);
        }
        // What was not there now will not come later.
        self.unknown.clear();
        for id in self.batches.keys().copied().collect::<Vec<_>>() {
            let status = self.queue.batch(id)?.status()?;
            let known = self.know(id)?;
            if known.stopped == Stopped::Unknown {
                known.stopped = match status.state {
                    State::Stopped => Stopped::Ended,
                    _ => Stopped::No,
                };
                known.last = None;
            }
            // Nothing is in flight after an opening: a stop has been carried out.
            let stopping = known.stopped != Stopped::No;
            hold(!stopping || status.state.has_ended(), || {
                format!("the stop was lost: {status:?}")
            })?;
        }
        self.check()
    }
}

fn open(disk: &MemoryDisk, clock: &ManualClock) -> Result<(Queue, Witness), Wrong> {
    let mut limits = Limits::default();
    limits.unfinished_batches = UNFINISHED;
    let witness = Witness::default();
    let queue = Queue::builder("unused")
        .workers(3)
        .limits(limits)
        .clock(clock.clone())
        .register(Free)
        .register(Ordered(witness.clone()))
        .register(Adding(witness.clone()))
        .open_in_memory(disk)?;
    Ok((queue, witness))
}

fn fault(done: bool) -> CommitFault {
    if done {
        CommitFault::Done
    } else {
        CommitFault::NotDone
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Free => Free::NAME,
        Kind::Ordered => Ordered::NAME,
        Kind::Adding => Adding::NAME,
    }
}

fn submit(queue: &Queue, content: &Content) -> Result<BatchId, SubmitError> {
    let mut options = SubmitOptions::new();
    if let Some(key) = content.key {
        options = options.idempotency_key(format!("key {key}"));
    }
    let items = content.items.iter().copied();
    Ok(match content.kind {
        Kind::Free => queue.submit_with::<Free>(items, options)?.id(),
        Kind::Ordered => queue.submit_with::<Ordered>(items, options)?.id(),
        Kind::Adding => queue.submit_with::<Adding>(items, options)?.id(),
    })
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

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
