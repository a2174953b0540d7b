//! Opening a queue.

use crate::clock::{Clock, SystemClock};
use crate::context::Context;
use crate::error::OpenError;
use crate::failure::{self, Failure};
use crate::function::Function;
use crate::limits::{self, Limits};
use crate::operation::{Guarantee, Operation};
use crate::process;
use crate::queue::Queue;
use crate::runtime::{Engine, Registration, Setup, Typed};
use crate::store::marks::{MarkFile, Marks};
use crate::store::vault;
use crate::store::{Directory, SledStore, StoreError, Writes};
use crate::verification::Verify;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt;
use std::iter;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Opens a queue: from [`Queue::builder`].
#[must_use = "a builder does nothing until `open` is called"]
pub struct Builder {
    dir: PathBuf,
    workers: Option<usize>,
    pub(crate) without_workers: bool,
    cache_bytes: u64,
    limits: Limits,
    keep_ended: Option<Duration>,
    verify: Verify,
    clock: Arc<dyn Clock>,
    operations: Vec<Registration>,
}

impl Builder {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            workers: None,
            without_workers: false,
            cache_bytes: limits::CACHE_BYTES,
            limits: Limits::default(),
            keep_ended: None,
            verify: Verify::Quick,
            clock: Arc::new(SystemClock),
            operations: Vec::new(),
        }
    }

    /// Registers an operation, so that batches of it can be submitted and run.
    pub fn register<O: Operation>(mut self, operation: O) -> Self {
        self.operations.push(Registration {
            name: O::NAME.to_owned(),
            aliases: O::ALIASES,
            handler: Arc::new(Typed(operation)),
        });
        self
    }

    /// Registers an operation under another name than its own, 1 to
    /// [`NAME_BYTES`](limits::NAME_BYTES) bytes: one type may be several operations, each with its own
    /// batches, keys and limits. [`Queue::submit_as`] submits to it. Its aliases do not count.
    ///
    /// ```
    /// use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue};
    ///
    /// struct Notify { sender: &'static str }
    ///
    /// impl Operation for Notify {
    ///     const NAME: &'static str = "notify";
    ///     type Item = String;
    ///     type Output = String;
    ///     type Guarantee = AtLeastOnce;
    ///
    ///     fn run(&self, text: String, _cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
    ///         Ok(format!("{}: {text}", self.sender))
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::builder(dir.path())
    ///     .register_as("notify-staff", Notify { sender: "desk" })
    ///     .register_as("notify-guests", Notify { sender: "hotel" })
    ///     .open()?;
    /// let batch = queue.submit_as::<Notify>("notify-guests", ["breakfast".to_owned()])?;
    /// batch.wait()?;
    /// for outcome in batch.outcomes()? {
    ///     assert_eq!(outcome?.outcome.into_output().as_deref(), Some("hotel: breakfast"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_as<O: Operation>(mut self, name: impl Into<String>, operation: O) -> Self {
        self.operations.push(Registration {
            name: name.into(),
            aliases: &[],
            handler: Arc::new(Typed(operation)),
        });
        self
    }

    /// Registers a closure as the operation `name`, 1 to [`NAME_BYTES`](limits::NAME_BYTES) bytes, without
    /// retries, ordering keys or a limit of its own. The type of its context decides what is promised; it
    /// must be written out. [`Queue::submit_named`] submits to it.
    ///
    /// ```
    /// use batchwright::{AtLeastOnce, Context, ExactlyOnce, Queue, Table};
    ///
    /// const VISITS: Table<str, u64> = Table::new("visits");
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::builder(dir.path())
    ///     .register_fn("greet", |name: String, _: &mut Context<AtLeastOnce>| Ok(format!("Hello, {name}")))
    ///     .register_fn("visit", |name: String, cx: &mut Context<ExactlyOnce>| {
    ///         let visits = cx.get(&VISITS, name.as_str())?.unwrap_or(0) + 1;
    ///         cx.put(&VISITS, name.as_str(), &visits)?;
    ///         Ok(visits)
    ///     })
    ///     .open()?;
    /// queue.submit_named("visit", ["ada".to_owned(), "ada".to_owned()])?.wait()?;
    /// assert_eq!(queue.read(|tables| tables.get(&VISITS, "ada"))?, Some(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn register_fn<T, R, G, F>(self, name: impl Into<String>, run: F) -> Self
    where
        F: Fn(T, &mut Context<G>) -> Result<R, Failure> + Send + Sync + 'static,
        T: Serialize + DeserializeOwned + 'static,
        R: Serialize + DeserializeOwned + 'static,
        G: Guarantee,
    {
        self.register_as(name, Function::new(run))
    }

    /// Worker threads, 1 to [`WORKERS_MAX`](limits::WORKERS_MAX). Default: as many as the machine has
    /// cores. Handlers that wait, for a network for example, want more.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Opens a queue that processes nothing, whatever [`workers`](Self::workers) says: it has no worker threads,
    /// no handler runs, and [`keep_ended`](Self::keep_ended) deletes nothing. For programs that look at a store
    /// while the one that works it is not running, for maintenance, and for submitting what a later run works.
    ///
    /// All else is as always, and durable when it returns: submitting, status and lists, items and outcomes,
    /// reads of tables, stop and resume, pause and unpause, `retry_failed`, `delete` and `prune`. Unfinished
    /// batches stay as they are and go on when the queue is opened with workers. Batches of operations that are
    /// not registered can be looked at, stopped and deleted, and are shown under the names they are stored under;
    /// what is submitted, resumed or retried needs its operation registered.
    ///
    /// Waiting for a batch that has not ended answers [`WaitError::WouldDeadlock`](crate::WaitError::WouldDeadlock)
    /// at once, on every thread, also when another thread could stop it: nobody here would complete it. So does
    /// [`import`](Queue::import) answer [`SubmitError::Full`](crate::SubmitError::Full) where it would wait for
    /// room.
    ///
    /// ```
    /// use batchwright::{AtLeastOnce, Context, Queue, State, WaitError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let builder = || {
    ///     let double = |n: u64, _: &mut Context<AtLeastOnce>| Ok(n * 2);
    ///     Queue::builder(dir.path()).register_fn("double", double)
    /// };
    /// let queue = builder().without_workers().open()?;
    /// let batch = queue.submit_named("double", [1_u64, 2, 3])?;
    /// assert_eq!(batch.status()?.state, State::Queued);
    /// assert_eq!(batch.wait(), Err(WaitError::WouldDeadlock));
    /// let id = batch.id();
    /// drop(queue);
    ///
    /// let queue = builder().open()?;
    /// assert_eq!(queue.batch(id)?.wait()?.status.succeeded, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn without_workers(mut self) -> Self {
        self.without_workers = true;
        self
    }

    /// The store's page cache in bytes, 8 MiB to 4 GiB. The storage engine takes it as a hint: see
    /// [`CACHE_BYTES`](limits::CACHE_BYTES), the default.
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Limits other than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Deletes batches that were completed or stopped so long ago, with their items and outcomes. Default:
    /// they are kept until [`Batch::delete`](crate::Batch::delete) or [`Queue::prune`].
    ///
    /// A batch goes at most a sixteenth of the duration late, or a second where that is longer (a day at
    /// most). Rows of tables and idempotency keys stay. Space is used again, not given back to the file
    /// system.
    pub fn keep_ended(mut self, keep: Duration) -> Self {
        self.keep_ended = Some(keep);
        self
    }

    /// How thoroughly the store is checked when it is opened. Default: [`Verify::Quick`].
    ///
    /// ```
    /// use batchwright::{Queue, Verify};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let queue = Queue::builder(dir.path()).verify(Verify::Full).open()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn verify(mut self, verify: Verify) -> Self {
        self.verify = verify;
        self
    }

    /// Where the queue gets its time from. Default: the system's clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the queue: locks the directory, creates or checks the store, reads the unfinished batches and
    /// starts the threads. Batches that are not ended go on at once.
    ///
    /// On Unix a directory that is created here has mode 0700 and its files 0600: for the process's user alone. A
    /// directory that exists keeps its mode, and the storage engine's files in it are below a directory of mode 0700
    /// all the same. Symbolic links in the place of the store's files are refused; the directory may be one.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::Locked`] with the holder's process id when the directory is in use.
    pub fn open(self) -> Result<Queue, OpenError> {
        let engine = Engine::start(self.on_disk()?)?;
        Ok(Queue::new(engine))
    }

    /// Locks the directory and creates or checks the store.
    pub(crate) fn on_disk(self) -> Result<Setup, OpenError> {
        self.check()?;
        process::settle()?;
        let directory = Directory::lock(&self.dir)?;
        let marks = directory.marks();
        let initial = initial_rows()?;
        let opened = SledStore::open(directory, self.cache_bytes, || initial)?;
        let sealed_sequence = opened.store.sealed_sequence();
        let recount = opened.shrunk;
        let marks = Arc::new(MarkFile::open(&marks)?);
        Ok(self.setup(Arc::new(opened.store), marks, sealed_sequence, recount))
    }

    #[cfg(feature = "testing")]
    pub(crate) fn start(
        self,
        store: Arc<dyn crate::store::Store>,
        marks: Arc<dyn Marks>,
        sealed_sequence: u64,
        recount: bool,
    ) -> Result<Queue, OpenError> {
        let engine = Engine::start(self.setup(store, marks, sealed_sequence, recount))?;
        Ok(Queue::new(engine))
    }

    pub(crate) fn setup(
        self,
        store: Arc<dyn crate::store::Store>,
        marks: Arc<dyn Marks>,
        sealed_sequence: u64,
        recount: bool,
    ) -> Setup {
        let works = !self.without_workers;
        Setup {
            store,
            marks,
            sealed_sequence,
            recount,
            workers: if works { self.worker_count() } else { 0 },
            dir: self.dir,
            limits: self.limits,
            keep_ended: self.keep_ended.filter(|_| works),
            verify: self.verify,
            clock: self.clock,
            operations: self.operations,
        }
    }

    fn worker_count(&self) -> usize {
        let cores = || thread::available_parallelism().map_or(2, usize::from);
        self.workers
            .unwrap_or_else(|| cores().min(limits::WORKERS_MAX))
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let Limits {
            items_per_batch,
            batch_bytes,
            unfinished_batches,
            idempotency_keys_for: _,
            commit,
        } = self.limits;
        within("workers", self.worker_count(), 1..=limits::WORKERS_MAX)?;
        within("cache_bytes", self.cache_bytes, limits::CACHE_BYTES_RANGE)?;
        let most = limits::ITEMS_PER_BATCH_MAX;
        within("limits.items_per_batch", items_per_batch, 1..=most)?;
        within("limits.batch_bytes", batch_bytes, 1..=limits::BATCH_BYTES)?;
        let most = limits::UNFINISHED_BATCHES_MAX;
        within("limits.unfinished_batches", unfinished_batches, 1..=most)?;
        if commit < Duration::from_millis(1) {
            return Err(OpenError::InvalidConfig {
                setting: "limits.commit",
                value: format!("{commit:?}"),
                allowed: "1ms or more".to_owned(),
            });
        }
        let mut taken = BTreeSet::new();
        for operation in &self.operations {
            let timeout = operation.handler.timeout();
            if let Some(limit) = timeout.filter(|limit| *limit < Duration::from_millis(1)) {
                return Err(OpenError::InvalidConfig {
                    setting: "an operation's time-out",
                    value: format!("{limit:?} ({:?})", operation.name),
                    allowed: "1ms or more".to_owned(),
                });
            }
            let names = iter::once(operation.name.as_str());
            for name in names.chain(operation.aliases.iter().copied()) {
                let (bytes, most) = (name.len(), limits::NAME_BYTES);
                if !(1..=most).contains(&bytes) {
                    return Err(OpenError::InvalidConfig {
                        setting: "an operation's name",
                        value: format!("{:?} ({bytes} bytes)", failure::cut(name, most)),
                        allowed: format!("1 to {most} bytes"),
                    });
                }
                if !taken.insert(name) {
                    let name = name.to_owned();
                    return Err(OpenError::DuplicateOperation { name });
                }
            }
        }
        Ok(())
    }
}

/// The rows of a store that is created now.
pub(crate) fn initial_rows() -> Result<Writes, OpenError> {
    let invalid = |what: String| OpenError::InvalidConfig {
        setting: "the system's random source",
        value: what,
        allowed: "working".to_owned(),
    };
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| invalid(error.to_string()))?;
    let store_id = u128::from_be_bytes(id);
    vault::initial_rows(store_id).map_err(|StoreError(what)| invalid(what))
}

fn within<T: PartialOrd + fmt::Display>(
    setting: &'static str,
    value: T,
    allowed: RangeInclusive<T>,
) -> Result<(), OpenError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(OpenError::InvalidConfig {
        setting,
        value: value.to_string(),
        allowed: format!("{} to {}", allowed.start(), allowed.end()),
    })
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.operations.iter().map(|op| &op.name).collect();
        f.debug_struct("Builder")
            .field("dir", &self.dir)
            .field("workers", &self.workers)
            .field("without_workers", &self.without_workers)
            .field("limits", &self.limits)
            .field("operations", &names)
            .finish_non_exhaustive()
    }
}
