//! A run: the queue, the model beside it, and what must hold between them.

use crate::actions::{Action, End, Kind, Terms};
use crate::operations::{Adding, Free, Item, Once, Ordered, Witness};
use batchwright::limits::Limits;
use batchwright::testing::{ManualClock, MemoryDisk};
use batchwright::{
    BatchError, BatchId, Builder, Failure, ItemOutcome, Operation, Outcome, Queue, State, Status,
    SubmitError, SubmitOptions,
};
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

/// Few, so that runs meet it.
pub(crate) const UNFINISHED: usize = 8;

pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// What does not hold.
pub(crate) struct Wrong(pub(crate) String);

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

pub(crate) type Held = Result<(), Wrong>;

pub(crate) fn hold(condition: bool, text: impl FnOnce() -> String) -> Held {
    if condition {
        Ok(())
    } else {
        Err(Wrong(text()))
    }
}

/// What was submitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) items: Vec<Item>,
    pub(crate) key: Option<u8>,
    pub(crate) json: bool,
    pub(crate) priority: i8,
    pub(crate) not_before: Option<SystemTime>,
    pub(crate) origin: Option<Origin>,
}

/// The failed items that a batch runs again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Origin {
    pub(crate) parent: BatchId,
    pub(crate) indexes: Vec<usize>,
}

impl Content {
    pub(crate) fn plain(kind: Kind, items: Vec<Item>) -> Self {
        Self {
            kind,
            items,
            key: None,
            json: false,
            priority: 0,
            not_before: None,
            origin: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) content: Content,
    /// Outcomes that were shown once.
    pub(crate) outcomes: BTreeMap<usize, ItemOutcome<u64>>,
    /// What somebody said became of items in doubt.
    pub(crate) resolved: BTreeMap<usize, Outcome<u64>>,
    /// A stop that is in force.
    pub(crate) stopped: Stopped,
    /// Failed items that other batches run again.
    pub(crate) retried: BTreeSet<usize>,
    /// Its deletion met a failing commit.
    pub(crate) may_be_gone: bool,
    /// Its operation is paused and nothing of it was running: items that had succeeded or failed then.
    pub(crate) frozen: Option<u64>,
    pub(crate) last: Option<Status>,
}

impl Known {
    /// Failed items that no other batch runs again.
    pub(crate) fn to_retry(&self) -> Vec<usize> {
        let failed = self
            .outcomes
            .iter()
            .filter(|(_, o)| o.outcome.failure().is_some());
        let indexes = failed.map(|(index, _)| *index);
        indexes
            .filter(|index| !self.retried.contains(index))
            .collect()
    }

    pub(crate) fn has_ended(&self) -> bool {
        let last = self.last.as_ref();
        last.is_some_and(|status| status.state.has_ended())
    }
}

/// Whether an operation is paused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Paused {
    Yes,
    /// The request met a failing commit.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Stopped {
    No,
    /// Acknowledged: items in handlers may still end.
    Asked,
    /// It has ended so: nothing gets an outcome.
    Ended,
    /// Its stop or resume met a failing commit.
    Unknown,
}

pub(crate) struct Run {
    pub(crate) disk: MemoryDisk,
    pub(crate) clock: ManualClock,
    pub(crate) queue: Queue,
    pub(crate) witness: Witness,
    /// A process has come to an unclean end.
    pub(crate) crashed: bool,
    /// The operations have their other names.
    pub(crate) renamed: bool,
    /// By number.
    pub(crate) batches: BTreeMap<BatchId, Known>,
    /// Deleted batches that have an idempotency key.
    pub(crate) deleted: Vec<(BatchId, Content)>,
    /// What items of deleted batches have added, by place.
    pub(crate) deleted_sums: BTreeMap<u64, u64>,
    /// The highest number that a batch has had.
    pub(crate) newest: Option<BatchId>,
    /// Submissions that may be there or not.
    pub(crate) unknown: Vec<Content>,
    /// Operations that are not running freely.
    pub(crate) paused: BTreeMap<Kind, Paused>,
    /// Exactly-once sums as last seen.
    pub(crate) sums: BTreeMap<u64, u64>,
}

impl Run {
    pub(crate) fn new() -> Result<Self, Wrong> {
        let (disk, clock) = (MemoryDisk::new(), ManualClock::new());
        let (queue, witness) = open(&disk, &clock, false, &Witness::default())?;
        Ok(Self {
            disk,
            clock,
            queue,
            witness,
            crashed: false,
            renamed: false,
            batches: BTreeMap::new(),
            deleted: Vec::new(),
            deleted_sums: BTreeMap::new(),
            newest: None,
            paused: BTreeMap::new(),
            unknown: Vec::new(),
            sums: BTreeMap::new(),
        })
    }

    pub(crate) fn step(&mut self, action: &Action) -> Held {
        match action {
            Action::Submit { kind, items, terms } => {
                let content = self.content(*kind, items, terms);
                self.submit(content)
            }
            Action::Repeat { which, changed } => self.repeat(which, *changed),
            Action::Stop { which } => match self.pick(which) {
                Some(id) => {
                    let stopped = self.queue.batch(id)?.stop();
                    self.note_stop(id, stopped)
                }
                None => Ok(()),
            },
            Action::Resume { which } => self.resume(which),
            Action::RetryFailed { which } => self.retry_failed(which),
            Action::Delete { which } => self.delete(which),
            Action::Resolve { which, succeeded } => self.resolve(which, *succeeded),
            Action::Prune { seconds } => self.prune(*seconds),
            Action::Pause { kind } => self.pause(*kind),
            Action::Unpause { kind } => self.unpause(*kind),
            Action::Advance { seconds } => {
                self.clock.advance(Duration::from_secs(*seconds));
                Ok(())
            }
            Action::Wait { which } => match self.pick(which) {
                Some(id) => self.wait(id),
                None => Ok(()),
            },
            Action::Check => self.check(),
            Action::EndAmid {
                end,
                kind,
                items,
                which,
                amid,
            } => {
                let content = Content::plain(*kind, items.clone());
                self.end_amid(*end, content, which, *amid)
            }
            Action::End(end) => {
                self.end(*end)?;
                self.reopen()
            }
        }
    }

    /// Says what became of an item of the batch that was seen in doubt, if there is one, and says it again.
    fn resolve(&mut self, which: &Index, succeeded: bool) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        let known = self.know(id)?;
        let mut in_doubt = known
            .outcomes
            .iter()
            .filter(|(_, o)| o.outcome.is_in_doubt());
        let Some(index) = in_doubt.next().map(|(index, _)| *index) else {
            return Ok(());
        };
        let said = if succeeded {
            Ok(index as u64)
        } else {
            Err(Failure::permanent("resolved", "it did not"))
        };
        let batch = self.queue.batch(id)?;
        let as_json = || said.clone().map(serde_json::Value::from);
        batch.resolve(index, as_json())?;
        let again = batch.resolve(index, as_json());
        hold(matches!(again, Err(BatchError::NotInDoubt { .. })), || {
            format!("item {index} of batch {id} was resolved twice: {again:?}")
        })?;
        let status = batch.status()?;
        let now = self.outcomes(&batch)?.remove(&index);
        let now =
            now.ok_or_else(|| Wrong(format!("item {index} of batch {id} lost its outcome")))?;
        let known = self.know(id)?;
        known.outcomes.insert(index, now);
        known.frozen = None;
        let outcome = said.map_or_else(Outcome::Failed, Outcome::Succeeded);
        known.resolved.insert(index, outcome);
        if let Some(last) = &mut known.last {
            // Its counts have changed since.
            *last = status;
        }
        self.check_batch(id)
    }

    /// Waits a moment for a batch, and looks as one who awaits or watches it would.
    fn wait(&self, id: BatchId) -> Held {
        let batch = self.queue.batch(id)?;
        let waited = batch.wait_timeout(Duration::from_millis(3))?;
        let looked = pin!((&batch).into_future()).poll(&mut Context::from_waker(Waker::noop()));
        let seen = batch.watch().next().transpose()?;
        let ended = |status: &Status| status.state.has_ended();
        let reports = [
            waited.as_ref().map(|report| ended(&report.status)),
            match &looked {
                Poll::Ready(report) => Some(ended(&report.clone()?.status)),
                Poll::Pending => None,
            },
        ];
        // Who looks later sees no less.
        let order = [
            reports[0],
            reports[1],
            seen.as_ref().map(ended).filter(|ended| *ended),
        ];
        let right = !reports.contains(&Some(false)) && order.is_sorted();
        hold(right && seen.is_some(), || {
            format!("of batch {id} was seen {waited:?}, {looked:?}, {seen:?}")
        })
    }

    /// Lets everything come to its end, and looks at it.
    pub(crate) fn finish(&mut self) -> Held {
        for kind in self.paused.keys().copied().collect::<Vec<_>>() {
            self.unpause(kind)?;
        }
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

    pub(crate) fn all_completed(&self) -> Result<bool, Wrong> {
        for id in self.batches.keys() {
            if self.queue.batch(*id)?.status()?.state != State::Completed {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// As far as there is room for them.
    pub(crate) fn resume_all(&mut self) -> Held {
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

    pub(crate) fn pick(&self, which: &Index) -> Option<BatchId> {
        let ids: Vec<_> = self.batches.keys().copied().collect();
        (!ids.is_empty()).then(|| *which.get(&ids))
    }

    pub(crate) fn know(&mut self, id: BatchId) -> Result<&mut Known, Wrong> {
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

    fn content(&self, kind: Kind, items: &[Item], terms: &Terms) -> Content {
        let now = self.now();
        Content {
            key: terms.key,
            json: terms.json,
            priority: terms.priority,
            not_before: terms
                .delay_s
                .map(|delay_s| now + Duration::from_secs(delay_s)),
            ..Content::plain(kind, items.to_vec())
        }
    }

    fn repeat(&mut self, which: &Index, changed: bool) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        let mut content = self.know(id)?.content.clone();
        content.origin = None;
        if changed {
            content.items[0].amount += 1;
        }
        self.submit(content)
    }

    /// Batches that have not ended, as shown.
    pub(crate) fn unfinished(&self) -> Result<usize, Wrong> {
        let mut unfinished = 0;
        for id in self.batches.keys() {
            unfinished += usize::from(!self.queue.batch(*id)?.status()?.state.has_ended());
        }
        Ok(unfinished)
    }

    pub(crate) fn note_submit(
        &mut self,
        content: Content,
        answer: Result<BatchId, SubmitError>,
    ) -> Held {
        let same_key = |known: &Known| {
            content.key.is_some()
                && (known.content.key, known.content.kind) == (content.key, content.kind)
        };
        let used = self.batches.iter().find(|(_, known)| same_key(known));
        if let Some(answer) = self.judge_deleted(&content, &answer) {
            return answer;
        }
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
                let newest = self.newest;
                hold(newest.is_none_or(|newest| id > newest), || {
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

    /// What there is to say of a submission under the key of a deleted batch.
    fn judge_deleted(
        &self,
        content: &Content,
        answer: &Result<BatchId, SubmitError>,
    ) -> Option<Held> {
        let key = (content.key?, content.kind);
        let same_key =
            |(_, before): &&(BatchId, Content)| before.key.map(|k| (k, before.kind)) == Some(key);
        let (id, before) = self.deleted.iter().find(same_key)?;
        let same = before.items == content.items;
        match answer {
            Err(SubmitError::Deleted { batch }) => Some(hold(same && batch == id, || {
                format!("batch {batch} is said to be deleted, it was {id}")
            })),
            Err(SubmitError::KeyConflict { batch }) => Some(hold(!same && batch == id, || {
                format!("a conflict with batch {batch} for a key that batch {id} had")
            })),
            Ok(new) => Some(Err(Wrong(format!(
                "batch {new} under the key of batch {id}, which was deleted"
            )))),
            Err(_) => None,
        }
    }

    pub(crate) fn enter(&mut self, id: BatchId, content: Content) {
        if let Some(origin) = &content.origin
            && let Some(parent) = self.batches.get_mut(&origin.parent)
        {
            parent.retried.extend(&origin.indexes);
        }
        let known = Known {
            content,
            outcomes: BTreeMap::new(),
            resolved: BTreeMap::new(),
            stopped: Stopped::No,
            retried: BTreeSet::new(),
            may_be_gone: false,
            frozen: None,
            last: None,
        };
        self.newest = self.newest.max(Some(id));
        self.batches.insert(id, known);
    }

    /// The batch was deleted.
    pub(crate) fn forget(&mut self, id: BatchId) {
        let Some(known) = self.batches.remove(&id) else {
            return;
        };
        if known.content.kind == Kind::Adding {
            for (index, outcome) in &known.outcomes {
                let place = known.content.items[*index].place;
                let added = outcome.outcome.clone().into_output().unwrap_or(0);
                *self.deleted_sums.entry(place).or_default() += added;
            }
        }
        if known.content.key.is_some() {
            self.deleted.push((id, known.content));
        }
    }
}

pub(crate) fn open(
    disk: &MemoryDisk,
    clock: &ManualClock,
    renamed: bool,
    before: &Witness,
) -> Result<(Queue, Witness), Wrong> {
    let mut limits = Limits::default();
    limits.unfinished_batches = UNFINISHED;
    let witness = before.successor();
    let builder = Queue::builder("unused")
        .workers(3)
        .limits(limits)
        .clock(clock.clone());
    let builder = match renamed {
        true => registered::<true>(builder, &witness),
        false => registered::<false>(builder, &witness),
    };
    Ok((builder.open_in_memory(disk)?, witness))
}

fn registered<const NEW: bool>(builder: Builder, witness: &Witness) -> Builder {
    builder
        .register(Free::<NEW>)
        .register(Ordered::<NEW>(witness.clone()))
        .register(Adding::<NEW>(witness.clone()))
        .register(Once::<NEW>(witness.clone()))
}

/// One of the names of an operation: both are known at any time.
pub(crate) fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Free => Free::<false>::NAME,
        Kind::Ordered => Ordered::<false>::NAME,
        Kind::Adding => Adding::<false>::NAME,
        Kind::Once => Once::<false>::NAME,
    }
}

/// Whether `shown` is a name of the operation.
pub(crate) fn is_name(kind: Kind, shown: &str) -> bool {
    let now = match kind {
        Kind::Free => Free::<true>::NAME,
        Kind::Ordered => Ordered::<true>::NAME,
        Kind::Adding => Adding::<true>::NAME,
        Kind::Once => Once::<true>::NAME,
    };
    shown == name(kind) || shown == now
}

pub(crate) fn submit(queue: &Queue, content: &Content) -> Result<BatchId, SubmitError> {
    let mut options = SubmitOptions::new().priority(content.priority);
    if let Some(time) = content.not_before {
        options = options.not_before(time);
    }
    if let Some(key) = content.key {
        options = options.idempotency_key(format!("key {key}"));
    }
    if content.json {
        let json = serde_json::to_vec(&content.items);
        let json = json.map_err(|error| SubmitError::Unknown {
            reason: error.to_string(),
        })?;
        return Ok(queue
            .submit_json_with(name(content.kind), json, options)?
            .id());
    }
    let items = content.items.iter().copied();
    Ok(queue
        .submit_named_with(name(content.kind), items, options)?
        .id())
}

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
