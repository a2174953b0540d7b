//! The queue: wires the parts together, decides nothing.

use crate::backup::{self, Backup, BackupError};
use crate::batch::{Batch, Json};
use crate::builder::Builder;
use crate::error::{BatchError, ImportError, ReadError, ShutdownError, SubmitError};
use crate::events::Events;
use crate::import::{self, Import};
use crate::kernel::{BatchId, OperationIndex};
use crate::limits;
use crate::observe;
use crate::operation::Operation;
use crate::outcome::{read_error, with_view};
use crate::process;
use crate::read::Reader;
use crate::runtime::{
    Engagement, Engine, Role, Shared, Submission, Submitted, WriterCounters, is_engaged, recovery,
    retention, would_wait_for_itself,
};
use crate::stats::{OperationStats, Stats, Timing, WriterStats};
use crate::status::{BatchFilter, Status};
use crate::store::keys;
use crate::submission::SubmitOptions;
use crate::table::TableError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A durable queue of batches in one directory, and the threads that work it.
///
/// Cheap to clone; the clones are one queue. Dropping the last one shuts the queue down, waiting up to
/// [`DROP_WAIT`](limits::DROP_WAIT) for running handlers. One process at a time may have a directory
/// open.
///
/// A clone that an operation of the queue itself holds keeps the queue alive: then only
/// [`shutdown`](Self::shutdown) ends it. Handlers ask for theirs with
/// [`Context::queue`](crate::Context::queue) instead.
#[derive(Clone)]
pub struct Queue {
    engine: Arc<Engine>,
}

impl Queue {
    /// Begins opening the queue in directory `dir`, which is created when it is missing.
    pub fn builder(dir: impl Into<PathBuf>) -> Builder {
        Builder::new(dir.into())
    }

    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.engine.shared
    }

    /// Submits a batch: 1 to 1,000 items for one operation. When this returns, the batch is durable
    /// against power loss. Concurrent submitters share commits.
    ///
    /// # Errors
    /// [`SubmitError`]. Except for [`SubmitError::Unknown`] nothing is stored.
    pub fn submit<O: Operation>(
        &self,
        items: impl IntoIterator<Item = O::Item>,
    ) -> Result<Batch<O>, SubmitError> {
        self.submit_with(items, SubmitOptions::new())
    }

    /// Submits a batch with options, such as an idempotency key.
    ///
    /// Under a key that was used before, in the last 400 days unless
    /// [`Limits::idempotency_keys_for`](limits::Limits::idempotency_keys_for) says otherwise, the same items are
    /// the batch from before, whatever has become of it; concurrent submissions under one key make one
    /// batch. Items are the same when their JSON is, whatever the order of members and whether a member is
    /// null or missing.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`SubmitError::KeyConflict`] when the key was used with other items.
    pub fn submit_with<O: Operation>(
        &self,
        items: impl IntoIterator<Item = O::Item>,
        options: SubmitOptions,
    ) -> Result<Batch<O>, SubmitError> {
        self.submit_as_with(O::NAME, items, options)
    }

    /// Submits any number of items as batches of up to 1,000, in order, each durable before the next.
    ///
    /// The chunks are submitted under `key` and their number: the same import again, after an error or a
    /// crash, goes on where it stopped and adds nothing twice. Waits while the queue is full, also when it
    /// is full of batches that cannot run; in a handler of this queue, and in a queue
    /// [without workers](crate::Builder::without_workers), a full queue is an error. An import is not atomic. Where chunks end depends on the items and on [`Limits`](limits::Limits): with
    /// another limit of items or bytes in a batch, an earlier import under `key` is a
    /// [`SubmitError::KeyConflict`].
    ///
    /// # Errors
    /// [`ImportError`] at the first chunk that is not accepted; what was accepted before it is durable.
    pub fn import<O: Operation>(
        &self,
        key: &str,
        items: impl IntoIterator<Item = O::Item>,
    ) -> Result<Import<O>, ImportError> {
        self.import_with(key, items, SubmitOptions::new())
    }

    /// As [`import`](Self::import), with options that every batch of the import gets. `key` stands in for
    /// their idempotency key. With another owner it is another import.
    ///
    /// # Errors
    /// As [`import`](Self::import).
    pub fn import_with<O: Operation>(
        &self,
        key: &str,
        items: impl IntoIterator<Item = O::Item>,
        options: SubmitOptions,
    ) -> Result<Import<O>, ImportError> {
        import::import(self, items, &options.idempotency_key(key))
    }

    pub(crate) fn limits(&self) -> &limits::Limits {
        &self.shared().limits
    }

    /// Has the writer store a submission.
    pub(crate) fn send<O>(&self, submission: Submission) -> Result<Batch<O>, SubmitError> {
        let shared = self.shared();
        let name = &shared.operation(submission.operation).name;
        let span = observe::submitting(name, submission.total);
        match shared.submit(submission)? {
            Submitted::New(live) => {
                span.batch(live.id);
                Ok(Batch::new(Arc::clone(shared), live))
            }
            // It is stored, whatever happens to the queue now.
            Submitted::Before(id) => {
                span.batch(id);
                self.handle(id).map_err(|error| match error {
                    BatchError::NotFound { id } => SubmitError::Deleted { batch: id },
                    other => SubmitError::Unknown {
                        reason: other.to_string(),
                    },
                })
            }
            Submitted::Full { limit } => Err(SubmitError::Full { limit }),
            Submitted::Conflict { batch } => Err(SubmitError::KeyConflict { batch }),
            Submitted::Closing => Err(SubmitError::Closed),
            // The last two are of batches that run failed items again.
            Submitted::Failed | Submitted::Overtaken | Submitted::NotFound => {
                Err(shared.gone().into())
            }
        }
    }

    /// Whether this thread may wait for batches to end: on a worker they may be waiting for it, and so
    /// may those of a queue without workers, for ever.
    pub(crate) fn may_wait(&self) -> bool {
        self.shared().has_workers && !is_engaged(self.shared(), Role::Worker)
    }

    /// Waits until an unfinished batch ends, if none has since `seen`.
    pub(crate) fn wait_for_room(&self, seen: u64) {
        self.shared().wait_for_room(seen);
    }

    pub(crate) fn room_seen(&self) -> u64 {
        self.shared().room_seen()
    }

    /// The batch with this id, unfinished or ended.
    ///
    /// # Errors
    /// [`BatchError::NotFound`], [`BatchError::Unreadable`], [`BatchError::WouldDeadlock`] inside a read of
    /// this queue unless somebody holds the batch, or when the queue has failed or is closed.
    pub fn batch(&self, id: impl Into<BatchId>) -> Result<Batch<Json>, BatchError> {
        self.shared().check()?;
        self.handle(id.into())
    }

    fn handle<O>(&self, id: BatchId) -> Result<Batch<O>, BatchError> {
        let shared = self.shared();
        let live = match shared.registry.find(id) {
            Some(live) => Some(live),
            None => with_view(shared, |view| {
                let load = || recovery::load_live(view, id, shared);
                shared.registry.find_or_load(id, load)
            })?,
        };
        let live = live.ok_or(BatchError::NotFound { id })?;
        Ok(Batch::new(Arc::clone(shared), live))
    }

    /// The batches that `filter` picks, newest first. Reads the store as it goes: what ends or comes in
    /// meanwhile may or may not be seen.
    pub fn batches(&self, mut filter: BatchFilter) -> Batches {
        if let Some(name) = &mut filter.operation
            && let Some(index) = self.shared().operation_named(name)
        {
            // Statuses show the name of now.
            *name = self.shared().operation(index).name.to_string();
        }
        Batches {
            queue: self.clone(),
            below: filter.below.map_or(u64::MAX, u64::from),
            filter,
            page: Vec::new().into_iter(),
        }
    }

    /// Deletes batches that were completed or stopped `older_than` ago or earlier, with their items and
    /// outcomes, a few in a commit; returns how many. Durable when it returns. Rows of tables and
    /// idempotency keys stay. [`Builder::keep_ended`](crate::Builder::keep_ended) does it as time goes by.
    ///
    /// # Errors
    /// As [`Batch::delete`]; what was deleted before the error stays deleted.
    pub fn prune(&self, older_than: Duration) -> Result<u64, BatchError> {
        let shared = self.shared();
        shared.check()?;
        let cutoff = shared.timeline.now().minus(older_than);
        Ok(retention::sweep(shared, cutoff)?.deleted)
    }

    /// Reads tables on one consistent snapshot of what is durable.
    ///
    /// Commits wait while `read` runs: keep it short. Inside it, nothing can be submitted to, stopped in
    /// or waited for from the same queue; such calls answer `WouldDeadlock`.
    ///
    /// ```
    /// # use batchwright::{Queue, Table};
    /// # const POINTS: Table<str, i64> = Table::new("points");
    /// # fn example(queue: &Queue) -> Result<(), batchwright::ReadError> {
    /// let points = queue.read(|tables| tables.get(&POINTS, "customer-1"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What `read` returns, or when the queue has failed or is closed.
    pub fn read<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, TableError>,
    ) -> Result<T, ReadError> {
        process::check()?;
        let shared = self.shared();
        if is_engaged(shared, Role::Reader) {
            return Err(ReadError::WouldDeadlock);
        }
        let view = shared.vault.view().ok_or_else(|| match shared.gone() {
            BatchError::Failed { reason } => ReadError::Failed { reason },
            _ => ReadError::Closed,
        })?;
        let _engaged = Engagement::begin(shared, Role::Reader);
        Ok(read(&Reader(view))?)
    }

    /// Copies the store, as it is after one commit, into the new or empty directory `to`, while the queue goes on. The
    /// copy is a store of its own: it is opened like any other, once, and has the same batches, tables, idempotency
    /// keys and items' keys. When this returns it is durable, and has everything that was acknowledged before the
    /// call. To put a backup in the place of the store, copy its directory there.
    ///
    /// Commits wait for a megabyte of the store at a time to be read, a few milliseconds, and while the target takes up
    /// to 16 MiB: the storage engine has one lock for all stores of a process. So back up to a disk that is as quick and as
    /// sound as the store's own, and copy it elsewhere from there; when a target hangs for longer than
    /// [`Limits::commit`](crate::limits::Limits::commit), the queue fails. Needs as much room as the rows take, and
    /// memory that does not grow with the store but for the storage engine's own (8 MiB of cache). One that is
    /// interrupted by the end of the process cannot be opened: remove its directory. Several may be made at once.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let queue = batchwright::Queue::builder(dir.path().join("data")).open()?;
    /// # let to = dir.path().join("backup");
    /// queue.backup(&to)?;
    /// assert!(batchwright::verify(&to)?.is_clean());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BackupError`]; then nothing is left in `to`, as far as it could be removed.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<Backup, BackupError> {
        backup::backup(self.shared(), to.as_ref())
    }

    /// Tells what happens in the queue from now on, keeping up to [`limits::EVENTS`] events that are not taken
    /// yet. Nothing waits for a subscriber: one who is slow misses the oldest events.
    ///
    /// ```
    /// # use batchwright::{Queue, QueueEvent};
    /// # fn example(queue: &Queue) {
    /// for event in queue.subscribe() {
    ///     match event {
    ///         QueueEvent::BatchEnded { id, state, .. } => println!("batch {id} is {state}"),
    ///         other => eprintln!("{other}"),
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// Events of a queue that is closed or has failed end at once.
    pub fn subscribe(&self) -> Events {
        self.subscribe_with(limits::EVENTS)
    }

    /// As [`subscribe`](Self::subscribe), keeping up to `capacity` events, 1 to [`limits::EVENTS_MAX`]: what is
    /// below or above is taken for the nearest.
    pub fn subscribe_with(&self, capacity: usize) -> Events {
        Events::subscribe(self.shared(), capacity)
    }

    /// The queue's time, which [`Context::now`](crate::Context::now) gives to handlers: that of its
    /// [`clock`](crate::Builder::clock), to the millisecond, kept from going back. For what is computed outside of
    /// handlers and must agree with them, such as a [`not_before`](crate::SubmitOptions::not_before).
    ///
    /// Reads the clock and waits for nobody. It goes on when the queue has failed or is closed; in a forked
    /// child it stands still.
    ///
    /// ```
    /// # use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue, SubmitError, SubmitOptions};
    /// # use std::time::Duration;
    /// # struct Remind;
    /// # impl Operation for Remind {
    /// #     const NAME: &'static str = "remind";
    /// #     type Item = u64;
    /// #     type Output = ();
    /// #     type Guarantee = AtLeastOnce;
    /// #     fn run(&self, _: u64, _: &mut Context<AtLeastOnce>) -> Result<(), Failure> { Ok(()) }
    /// # }
    /// # fn example(queue: &Queue) -> Result<(), SubmitError> {
    /// let tomorrow = queue.now() + Duration::from_secs(24 * 3600);
    /// queue.submit_with::<Remind>([7], SubmitOptions::new().not_before(tomorrow))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn now(&self) -> SystemTime {
        let timeline = &self.shared().timeline;
        let now = if process::is_forked() {
            // A clock may take a lock, which nobody gives back here.
            timeline.latest()
        } else {
            timeline.now()
        };
        now.to_system_time()
    }

    /// What the queue has done and has to do. Costs a pass over the unfinished batches and a look at the
    /// store's files. Waits neither for a commit nor for a read.
    ///
    /// # Errors
    /// When the queue has failed or is closed, or [`BatchError::Unreadable`] when the files cannot be looked
    /// at.
    pub fn stats(&self) -> Result<Stats, BatchError> {
        let shared = self.shared();
        shared.check()?;
        let size = shared.vault.size_on_disk().ok_or_else(|| shared.gone())?;
        let size_on_disk = size.map_err(read_error)?;
        let now = shared.timeline.now();
        let mut operations: Vec<_> = shared.operations.iter().map(operation_stats).collect();
        for (stats, index) in operations.iter_mut().zip(0..) {
            stats.hung = shared.posts.hung(OperationIndex(index));
        }
        let mut unfinished_batches = 0;
        for live in shared.registry.all() {
            let progress = live.progress();
            let Some(operation) = live.operation.filter(|_| !progress.state.has_ended()) else {
                continue;
            };
            let stats = &mut operations[operation.0];
            let pending = live.total - progress.processed() - progress.in_flight - progress.waiting;
            unfinished_batches += 1;
            stats.batches += 1;
            let since = live.created_at.max(live.not_before.unwrap_or_default());
            if since > now {
                stats.scheduled += u64::from(pending);
            } else if pending > 0 && !progress.stop_requested {
                stats.queued += u64::from(pending);
                stats.oldest_queued = stats.oldest_queued.max(Some(now.since(since)));
            }
            stats.in_flight += u64::from(progress.in_flight);
            stats.waiting += u64::from(progress.waiting);
        }
        Ok(Stats {
            operations,
            unfinished_batches,
            deleted_batches: shared.deleted.load(Ordering::Relaxed),
            writer: writer_stats(&shared.writer_counters),
            size_on_disk,
        })
    }

    /// Shuts the queue down: nothing more starts, handlers that run may end within `limit`, the rest stays
    /// queued for the next open. When this returns `Ok` everything is on disk, the threads have ended and
    /// the directory can be opened again; if the process has forked, when that child has ended or runs
    /// another program. Later calls on the queue and its batches answer `Closed`.
    ///
    /// # Errors
    /// [`ShutdownError::StillRunning`] when handlers or reads outlast `limit`; the directory stays locked
    /// until they end. [`ShutdownError::Failed`] when the queue had failed. [`ShutdownError::WouldDeadlock`]
    /// from a handler or a read of this queue.
    pub fn shutdown(&self, limit: Duration) -> Result<(), ShutdownError> {
        process::check()?;
        let shared = self.shared();
        if would_wait_for_itself(Arc::as_ptr(shared)) {
            return Err(ShutdownError::WouldDeadlock);
        }
        if self.engine.shut_down(limit) {
            return match shared.failure() {
                None => Ok(()),
                Some(reason) => Err(ShutdownError::Failed {
                    reason: reason.to_owned(),
                }),
            };
        }
        let lives = shared.registry.all();
        let in_flight = lives.iter().map(|l| u64::from(l.progress().in_flight));
        let operations = 0..shared.operations.len();
        // Their items have ended, they have not.
        let hung = operations.map(|index| shared.posts.hung(OperationIndex(index)));
        let items = in_flight.chain(hung).sum();
        Err(ShutdownError::StillRunning { items })
    }
}

fn operation_stats(registered: &crate::runtime::Registered) -> OperationStats {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counters = &registered.counters;
    OperationStats {
        name: registered.name.to_string(),
        registered: registered.handler.is_some(),
        blocked: registered.blocked(),
        submitted: count(&counters.submitted),
        succeeded: count(&counters.succeeded),
        failed: count(&counters.failed),
        retried: count(&counters.retried),
        panicked: count(&counters.panicked),
        in_doubt: count(&counters.in_doubt),
        timed_out: count(&counters.timed_out),
        handler_time: Timing::of(&counters.attempts),
        ..OperationStats::default()
    }
}

fn writer_stats(counters: &WriterCounters) -> WriterStats {
    let commit_time = Timing::of(&counters.commits);
    WriterStats {
        commits: commit_time.count,
        items: counters.items.load(Ordering::Relaxed),
        commit_time,
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Batches read from the store at once.
const PAGE: usize = 128;

/// The statuses of batches, newest first: from [`Queue::batches`].
#[must_use = "batches are read as the iterator goes on"]
pub struct Batches {
    queue: Queue,
    filter: BatchFilter,
    /// Batches from this number on have been seen; 0 after an error.
    below: u64,
    page: std::vec::IntoIter<BatchId>,
}

impl Batches {
    fn turn_page(&mut self) -> Result<bool, BatchError> {
        if self.below == 0 {
            return Ok(false);
        }
        let range = keys::headers(0..self.below);
        let page = with_view(self.queue.shared(), |view| {
            let headers = view.scan(&range).rev().take(PAGE);
            headers
                .map(|row| Ok(keys::batch_of(&row?.0)))
                .collect::<Result<Vec<_>, _>>()
        })?;
        let page: Vec<BatchId> = page.into_iter().flatten().collect();
        let Some(oldest) = page.last() else {
            return Ok(false);
        };
        self.below = oldest.0;
        self.page = page.into_iter();
        Ok(true)
    }

    fn advance(&mut self) -> Result<Option<Status>, BatchError> {
        loop {
            let Some(id) = self.page.next() else {
                if self.turn_page()? {
                    continue;
                }
                return Ok(None);
            };
            let status = match self.queue.batch(id).and_then(|batch| batch.status()) {
                // Deleted since the page was read.
                Err(BatchError::NotFound { .. }) => continue,
                status => status?,
            };
            if self.filter.matches(&status) {
                return Ok(Some(status));
            }
        }
    }
}

impl Iterator for Batches {
    type Item = Result<Status, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            // Who goes on after an error must come to an end.
            self.below = 0;
            self.page = Vec::new().into_iter();
        }
        next.transpose()
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}
