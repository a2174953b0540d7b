//! A worker: takes a slice, runs its items, hands the results to the writer.

use super::beat::{Attempt, Ended, Post, Posts};
use super::command::{Command, Finished, Job, Work};
use super::handler::Ran;
use super::shared::Shared;
use super::tables::Tables;
use crate::context::Workspace;
use crate::failure::{self, Failure};
use crate::kernel::{BatchId, Promise, SliceItem, Verdict};
use crate::limits;
use crate::observe;
use crate::process;
use crate::store::journal::{End, ItemEntry};
use crate::store::marks::{self, Marks};
use crate::store::{Store, StoreError, Value, codec, keys};
use crossbeam_channel::{Receiver, Sender};
use std::ops::Range;
use std::sync::Arc;
#[cfg(feature = "testing")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The holder of the lease gives it back after this long, when other work waits.
const LEASE_TIME: Duration = Duration::from_millis(20);

/// Results larger than this are handed over before the slice is through.
const BLOCK_BYTES: usize = 512 << 10;

/// Where a worker gets its work, and where the lease goes back to.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) work: Receiver<Work>,
    pub(crate) leased: Receiver<Job>,
    pub(crate) lease_home: Sender<Box<Tables>>,
}

/// When slices end early, and the lease goes back while there is work for it.
#[derive(Debug)]
pub(super) enum Haste {
    /// When they have taken long.
    ByTime,
    /// Never.
    #[cfg(feature = "testing")]
    None,
    /// While it says so.
    #[cfg(feature = "testing")]
    OnRequest(Arc<AtomicBool>),
}

impl Haste {
    fn is_due(&self, time: Duration, limit: Duration) -> bool {
        match self {
            Self::ByTime => time >= limit,
            #[cfg(feature = "testing")]
            Self::None => false,
            #[cfg(feature = "testing")]
            Self::OnRequest(asked) => asked.load(Ordering::Relaxed),
        }
    }
}

/// A handler that was quicker has not forked: asking costs as much as a quick handler takes.
const FORK_TIME: Duration = Duration::from_micros(5);

pub(crate) struct Worker {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    marks: Arc<dyn Marks>,
    post: Post,
    work: Receiver<Work>,
    leased: Receiver<Job>,
    writer: Sender<Command>,
    lease_home: Sender<Box<Tables>>,
    haste: Haste,
    /// Attempts that this worker has run.
    attempts: u64,
    /// The lease, while this worker holds it.
    tables: Option<Tables>,
    /// The chunk that was read last: the next slice of the batch is often in it.
    chunk: Option<Chunk>,
    output: Vec<u8>,
    /// When the items of the slice began, and when the last one ended, since the slice began.
    times: Vec<Duration>,
}

/// The worker ends: the writer is gone, because it failed or the queue is closed; or another worker has taken this
/// one's place while its handler hung.
struct Dismissed;

/// What became of a slice.
enum Slice {
    Through(Finished),
    TimedOut {
        replaced: bool,
    },
    /// The writer does not know.
    Late(Attempt),
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        marks: Arc<dyn Marks>,
        bench: Bench,
    ) -> Self {
        let post = Posts::take(&shared.posts);
        let writer = shared.commands.clone();
        let Bench {
            work,
            leased,
            lease_home,
        } = bench;
        Self {
            shared,
            store,
            marks,
            post,
            work,
            leased,
            writer,
            lease_home,
            haste: Haste::ByTime,
            attempts: 0,
            tables: None,
            chunk: None,
            output: Vec::new(),
            times: Vec::new(),
        }
    }

    /// No other worker of the queue has it.
    pub(crate) fn number(&self) -> usize {
        self.post.number
    }

    /// Works until the writer hands out no more.
    pub(crate) fn run(mut self) {
        while let Ok(work) = self.work.recv() {
            if self.tick(work).is_err() {
                return;
            }
        }
    }

    /// A worker whose slices do not depend on how long handlers take.
    #[cfg(feature = "testing")]
    pub(super) fn with_haste(self, haste: Haste) -> Self {
        Self { haste, ..self }
    }

    /// A worker that hands its results to somebody other than the writer.
    #[cfg(feature = "testing")]
    pub(super) fn reporting_to(self, writer: Sender<Command>) -> Self {
        Self { writer, ..self }
    }

    /// Runs what was handed out; how many attempts that was, `None` when the writer is gone.
    #[cfg(feature = "testing")]
    pub(super) fn run_one(&mut self, work: Work) -> Option<u64> {
        let before = self.attempts;
        self.tick(work).ok()?;
        Some(self.attempts - before)
    }

    fn tick(&mut self, work: Work) -> Result<(), Dismissed> {
        match work {
            Work::Slice(job) => self.begin(&job).map(drop),
            Work::Lease(tables) => self.hold_lease(*tables),
        }
    }

    /// Runs leased slices while there are any. The lease goes back to the writer, which knows whether
    /// more came in meanwhile.
    fn hold_lease(&mut self, tables: Tables) -> Result<(), Dismissed> {
        self.tables = Some(tables);
        let since = Instant::now();
        while let Ok(job) = self.leased.try_recv() {
            // After a slice that came back unfinished the next one may hold later items of the same
            // batch: the kernel sees to it before it grants the lease again.
            let whole = self.begin(&job)?;
            let is_due = self.haste.is_due(since.elapsed(), LEASE_TIME);
            if !whole || (is_due && !self.work.is_empty()) {
                break;
            }
        }
        match self.tables.take() {
            Some(tables) => {
                let sent = self.lease_home.send(Box::new(tables));
                sent.map_err(|_| Dismissed)?;
                self.send(Command::LeaseReturned)
            }
            None => Ok(()),
        }
    }

    /// Runs a slice; false when items of it were left.
    fn begin(&mut self, job: &Job) -> Result<bool, Dismissed> {
        if !job.claim.take() {
            // Recalled: the kernel has handed its items on.
            return Ok(true);
        }
        let (slot, items) = (self.post.number, &job.slice.items);
        let mark = marks::encode(job.slice.batch, job.slice.alone, items);
        self.marks.set(slot, &mark);
        let ran = self.run_slice(job);
        self.marks.clear(slot);
        match ran {
            Ok(Slice::Through(finished)) => {
                let whole = finished.verdicts.len() == job.slice.items.len();
                self.attempts += finished.verdicts.len() as u64;
                self.send(Command::Finished(Box::new(finished)))?;
                Ok(whole)
            }
            Ok(Slice::TimedOut { replaced }) => {
                self.give_up(job)?;
                if replaced {
                    return Err(Dismissed);
                }
                Ok(false)
            }
            Ok(Slice::Late(attempt)) => {
                self.send(Command::Late(attempt))?;
                self.give_up(job)?;
                Ok(false)
            }
            Err(StoreError(reason)) => {
                self.send(Command::Failed(reason))?;
                Err(Dismissed)
            }
        }
    }

    /// The time of the slice's last attempt was up: nothing of it counts.
    fn give_up(&mut self, job: &Job) -> Result<(), Dismissed> {
        self.attempts += 1;
        // The lease is another's by now, or soon.
        self.tables = None;
        self.send(Command::Finished(Box::new(Finished::nothing_of(job))))
    }

    fn run_slice(&mut self, job: &Job) -> Result<Slice, StoreError> {
        let slice = &job.slice;
        let _span = observe::running(&job.live.operation_name, slice.batch, slice.items.len());
        let since = Instant::now();
        let mut finished = Finished::nothing_of(job);
        if let Some(tables) = &mut self.tables {
            tables.begin_slice();
        }
        let mut workspace = Box::new(Workspace {
            shared: Arc::clone(&self.shared),
            batch: job.slice.batch,
            created_at: job.live.created_at,
            origin: job.live.origin.clone(),
            gate: Arc::clone(&job.live.gate),
            beat: Arc::clone(&self.post.beat),
            tables: self.tables.take(),
        });
        self.times.clear();
        for (place, item) in job.slice.items.iter().enumerate() {
            let now = since.elapsed();
            self.mark(now);
            let has_run = !finished.verdicts.is_empty();
            let written = workspace.tables.as_ref().map_or(0, Tables::slice_bytes);
            let is_due = self.haste.is_due(now, limits::SLICE_TIME)
                || finished.block.bytes() + written >= BLOCK_BYTES;
            if !job.live.gate.lets_pass() || (has_run && is_due) {
                break;
            }
            self.begin_attempt(job, place);
            let ran;
            (ran, workspace) = self.run_item(job, *item, workspace)?;
            match self.end_attempt(job) {
                Ended::InTime => {}
                Ended::TimedOut { replaced } => return Ok(Slice::TimedOut { replaced }),
                Ended::Late(attempt) => return Ok(Slice::Late(attempt)),
            }
            if !self.note(job, *item, ran, &mut workspace, &mut finished)? {
                break;
            }
        }
        self.tables = workspace.tables;
        finished.writes = self.tables.as_mut().and_then(Tables::end_slice);
        let busy = since.elapsed();
        self.mark(busy);
        finished.busy_us = u64::try_from(busy.as_micros()).unwrap_or(u64::MAX);
        self.time_attempts(job, finished.verdicts.len());
        Ok(Slice::Through(finished))
    }

    fn begin_attempt(&self, job: &Job, place: usize) {
        let operation = job.slice.operation;
        if let Some(limit) = self.shared.operation(operation).timeout {
            self.post.beat.begin(Attempt {
                slice: job.slice.id,
                place,
                operation,
                since: self.shared.timeline.elapsed(),
                limit,
            });
        }
    }

    fn end_attempt(&self, job: &Job) -> Ended {
        match self.shared.operation(job.slice.operation).timeout {
            Some(_) => self.post.beat.end(self.shared.timeline.elapsed()),
            None => Ended::InTime,
        }
    }

    /// Notes that an item begins or the last one has ended, `now` after the slice began.
    fn mark(&mut self, now: Duration) {
        let last = self.times.last().copied().unwrap_or(now);
        if now - last >= FORK_TIME && process::is_forked() {
            // The handler forked and returned twice. Here is nobody to tell the outcome to, and the items
            // that follow are the parent's to run.
            std::process::abort();
        }
        self.times.push(now);
    }

    /// Records how long the first `count` items of the slice took, the ones with a verdict.
    fn time_attempts(&self, job: &Job, count: usize) {
        let registered = self.shared.operation(job.slice.operation);
        let durations = self.times.windows(2).map(|mark| mark[1] - mark[0]);
        let durations = durations.take(count);
        registered.counters.attempts.record(durations.clone());
        registered.meters.attempts(durations);
    }

    /// Runs one item; its output is in `self.output`.
    fn run_item(
        &mut self,
        job: &Job,
        item: SliceItem,
        workspace: Box<Workspace>,
    ) -> Result<(Ran, Box<Workspace>), StoreError> {
        let registered = self.shared.operation(job.slice.operation);
        let Some(handler) = &registered.handler else {
            let text = "an unregistered operation was started";
            return Err(StoreError(text.to_owned()));
        };
        let chunk = Chunk::with_item(&mut self.chunk, &*self.store, job, item.index)?;
        let json = chunk.item(item.index)?;
        self.output.clear();
        Ok(handler.run(json, item, workspace, &mut self.output))
    }

    /// Notes how an item was left; false when the rest of the slice must not run.
    fn note(
        &self,
        job: &Job,
        item: SliceItem,
        ran: Ran,
        workspace: &mut Workspace,
        finished: &mut Finished,
    ) -> Result<bool, StoreError> {
        let SliceItem { index, attempt } = item;
        let promise = self.shared.operation(job.slice.operation).promise;
        let at_most_once = promise == Promise::AtMostOnce;
        if let Some(tables) = &mut workspace.tables {
            if let Some(error) = tables.failure() {
                return Err(error.clone());
            }
            match ran {
                Ran::Succeeded => tables.keep_item(),
                _ => tables.drop_item(),
            }
        }
        let (verdict, failure) = match ran {
            Ran::Succeeded => (Verdict::Succeeded, None),
            Ran::Failed(failure)
                if failure.is_cancelled() && job.live.gate.is_closed() && !at_most_once =>
            {
                // As if it had not started: it runs when the batch goes on.
                finished.cancelled = true;
                return Ok(false);
            }
            Ran::Failed(failure) if failure.retryable => (Verdict::Retryable, Some(failure)),
            Ran::Failed(failure) => (Verdict::Failed, Some(failure)),
            Ran::Panicked(failure) => {
                finished.panicked += 1;
                observe::panicked(&job.live.operation_name, job.slice.batch, item);
                if at_most_once {
                    let reason = format!("the handler panicked: {}", failure.message);
                    return doubt(item, &reason, finished);
                }
                (Verdict::Failed, Some(failure))
            }
            Ran::Unwritable(failure) if at_most_once => {
                // What it was to do is done.
                return doubt(item, &failure.message, finished);
            }
            Ran::Unwritable(failure) => (Verdict::Failed, Some(failure)),
            Ran::Undecodable(reason) if job.live.fails_undecodable() => {
                let failure = Failure::permanent(Failure::UNREADABLE_ITEM, reason);
                (Verdict::Failed, Some(failure))
            }
            Ran::Undecodable(reason) => {
                observe::undecodable(&job.live.operation_name, job.slice.batch, index);
                finished.undecodable = Some(format!(
                    "item {index} of batch {}: {reason}",
                    job.slice.batch
                ));
                return Ok(false);
            }
        };
        let details = failure.as_ref().and_then(|failure| {
            let details = failure.details.as_ref()?;
            Some(failure::stored_details(details))
        });
        let end = match &failure {
            None => End::Succeeded(std::str::from_utf8(&self.output).map_err(|error| {
                StoreError(format!("an output that is JSON is not text: {error}"))
            })?),
            Some(failure) => End::Failed(failure.to_entry(details.as_deref())),
        };
        finished.verdicts.push(verdict);
        finished.block.push(ItemEntry {
            index,
            attempt,
            end,
        })?;
        Ok(true)
    }

    fn send(&self, command: Command) -> Result<(), Dismissed> {
        self.writer.send(command).map_err(|_| Dismissed)
    }
}

/// Notes an item of which nobody knows what became of it.
fn doubt(item: SliceItem, reason: &str, finished: &mut Finished) -> Result<bool, StoreError> {
    let SliceItem { index, attempt } = item;
    let end = End::InDoubt(failure::cut(reason, limits::FAILURE_MESSAGE_BYTES));
    finished.verdicts.push(Verdict::InDoubt);
    finished.block.push(ItemEntry {
        index,
        attempt,
        end,
    })?;
    Ok(true)
}

/// A chunk of items in memory.
struct Chunk {
    batch: BatchId,
    first: u16,
    value: Value,
    /// Where each item's JSON is in `value`.
    items: Vec<Range<usize>>,
}

impl Chunk {
    /// The chunk that has item `index` of the job's batch, from `held` or from the store.
    fn with_item<'a>(
        held: &'a mut Option<Self>,
        store: &dyn Store,
        job: &Job,
        index: u16,
    ) -> Result<&'a Self, StoreError> {
        let batch = job.slice.batch;
        let held_is_it = held.as_ref().is_some_and(|chunk| {
            let items = usize::from(chunk.first)..usize::from(chunk.first) + chunk.items.len();
            chunk.batch == batch && items.contains(&usize::from(index))
        });
        if !held_is_it {
            *held = Some(Self::load(store, job, index)?);
        }
        held.as_ref()
            .ok_or_else(|| StoreError("no chunk".to_owned()))
    }

    fn load(store: &dyn Store, job: &Job, index: u16) -> Result<Self, StoreError> {
        let batch = job.slice.batch;
        let starts = &job.live.chunk_starts;
        let after = starts.partition_point(|first| *first <= index);
        let missing = || StoreError(format!("item {index} of batch {batch} is missing"));
        let number = after.checked_sub(1).ok_or_else(missing)?;
        let first = *starts.get(number).ok_or_else(missing)?;
        let number = u32::try_from(number).map_err(|_| missing())?;
        let key = keys::items(batch, number);
        let value = store.get(&key)?.ok_or_else(missing)?;
        let content = codec::open(&key, &value)?;
        let start = value.len() - content.len();
        let mut items = Vec::new();
        let mut at = 0;
        while at < content.len() {
            let (json, used) = codec::decode_part::<&[u8]>(&content[at..])?;
            at += used;
            items.push(start + at - json.len()..start + at);
        }
        Ok(Self {
            batch,
            first,
            value,
            items,
        })
    }

    fn item(&self, index: u16) -> Result<&[u8], StoreError> {
        let at = usize::from(index) - usize::from(self.first);
        self.items
            .get(at)
            .and_then(|range| self.value.get(range.clone()))
            .ok_or_else(|| StoreError(format!("item {index} of batch {} is missing", self.batch)))
    }
}
