//! What a handler is given besides its item. Its guarantee decides what that is.

use crate::kernel::{BatchId, Promise, SliceItem, Timestamp};
use crate::operation::{AtLeastOnce, AtMostOnce, ExactlyOnce, Guarantee};
use crate::queue::Queue;
use crate::runtime::{Beat, Gate, Origin, Shared, Tables};
use crate::store::rows::Rows;
use crate::table::{KeyRange, Table, TableError, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// What a worker lends to the handlers of one slice. It moves into their context and back, so that an
/// item costs neither an allocation nor a reference count.
pub(crate) struct Workspace {
    pub(crate) shared: Arc<Shared>,
    pub(crate) batch: BatchId,
    pub(crate) created_at: Timestamp,
    pub(crate) origin: Option<Arc<Origin>>,
    pub(crate) gate: Arc<Gate>,
    /// Says when the handler's time is up.
    pub(crate) beat: Arc<Beat>,
    /// There while the worker holds the lease.
    pub(crate) tables: Option<Tables>,
}

pub(crate) mod sealed {
    pub trait Guarantee: Sized + 'static {
        const EXACTLY_ONCE: bool = false;
        const AT_MOST_ONCE: bool = false;
    }

    impl Guarantee for super::ExactlyOnce {
        const EXACTLY_ONCE: bool = true;
    }

    impl Guarantee for super::AtLeastOnce {}

    impl Guarantee for super::AtMostOnce {
        const AT_MOST_ONCE: bool = true;
    }
}

/// The guarantee, for the kernel.
pub(crate) fn promise<G: Guarantee>() -> Promise {
    match (G::EXACTLY_ONCE, G::AT_MOST_ONCE) {
        (true, _) => Promise::ExactlyOnce,
        (_, true) => Promise::AtMostOnce,
        _ => Promise::AtLeastOnce,
    }
}

/// What a handler knows of the attempt it is making, and what its guarantee lets it do.
///
/// Tables exist only for [`ExactlyOnce`] handlers, the idempotency key only for the others: the compiler keeps a handler to what its guarantee can keep.
pub struct Context<G: Guarantee> {
    item: SliceItem,
    workspace: Box<Workspace>,
    /// Read when it is first asked for: most handlers do not ask.
    now: OnceLock<Timestamp>,
    guarantee: PhantomData<G>,
}

impl<G: Guarantee> Context<G> {
    pub(crate) fn new(item: SliceItem, workspace: Box<Workspace>) -> Self {
        Self {
            item,
            workspace,
            now: OnceLock::new(),
            guarantee: PhantomData,
        }
    }

    pub(crate) fn into_workspace(self) -> Box<Workspace> {
        self.workspace
    }

    /// The batch that the item belongs to.
    pub fn batch_id(&self) -> BatchId {
        self.workspace.batch
    }

    /// The item's place in its batch, from 0.
    pub fn index(&self) -> usize {
        usize::from(self.item.index)
    }

    /// The number of this attempt, from 1. An attempt that a crash cut short is not counted.
    pub fn attempt(&self) -> u32 {
        self.item.attempt
    }

    /// The queue's time when this attempt first asked for it. It is the same however often it is asked.
    pub fn now(&self) -> SystemTime {
        let now = self
            .now
            .get_or_init(|| self.workspace.shared.timeline.now());
        now.to_system_time()
    }

    /// Whether the batch is being stopped or the queue shut down: a long handler may give up early by
    /// returning [`Failure::cancelled`](crate::Failure::cancelled), and the item runs again later. What else
    /// it returns is recorded as always. Also when the handler's [time](crate::Operation::timeout) is up: then
    /// nothing that it returns counts.
    pub fn is_cancelled(&self) -> bool {
        let workspace = &self.workspace;
        let now = || workspace.shared.timeline.elapsed();
        workspace.gate.is_closed() || workspace.beat.is_timed_out(now)
    }

    fn key_of_item(&self) -> IdempotencyKey {
        let workspace = &self.workspace;
        let (batch, created_at, index) = match workspace.origin.as_deref() {
            Some(origin) => {
                let index = origin.indexes[self.index()];
                (origin.root, origin.root_created_at, index)
            }
            None => (workspace.batch, workspace.created_at, self.item.index),
        };
        IdempotencyKey {
            store_id: workspace.shared.store_id,
            batch,
            created_at,
            index,
        }
    }
}

impl Context<AtMostOnce> {
    /// A key that no other item of any store has: hand it to the outside system, so that somebody can find out what
    /// became of an item in doubt. An item that failed and is [run again](crate::Batch::retry_failed) in another
    /// batch keeps it.
    pub fn idempotency_key(&self) -> IdempotencyKey {
        self.key_of_item()
    }

    /// As of an [`AtLeastOnce`](Context#method.queue) handler.
    pub fn queue(&self) -> Option<Queue> {
        self.workspace.shared.engine().map(Queue::new)
    }
}

impl Context<AtLeastOnce> {
    /// A key that is the same in every attempt of this item, also when it is
    /// [run again](crate::Batch::retry_failed) in another batch, and in no other item of any store. Hand it
    /// to the outside system so that it can recognise a repetition.
    ///
    /// A backup that is restored keeps the keys of the items in it. Items that are submitted to it from then
    /// on get new ones, although their batches have the numbers of those that were lost.
    pub fn idempotency_key(&self) -> IdempotencyKey {
        self.key_of_item()
    }

    /// The queue that runs this handler, to submit further batches to. `None` when the application has
    /// dropped its last handle, or the queue closes.
    ///
    /// It is a handle like any other: as long as it is kept the queue stays open, so keep it no longer
    /// than the handler runs. When it turns out to be the last one, dropping it here closes the queue
    /// without waiting.
    ///
    /// A handler that runs again after a crash submits again: give what it submits an
    /// [idempotency key](crate::SubmitOptions::idempotency_key), made of
    /// [its own](Self::idempotency_key).
    ///
    /// ```
    /// use batchwright::{AtLeastOnce, Context, Failure, Queue, SubmitOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let order = |item: String, cx: &mut Context<AtLeastOnce>| {
    ///     let queue = cx.queue().ok_or_else(|| Failure::retryable("closing", "the queue closes"))?;
    ///     let options = SubmitOptions::new().idempotency_key(cx.idempotency_key().to_string());
    ///     let receipts = queue.submit_named_with("send-receipt", [item], options);
    ///     receipts.map(|batch| u64::from(batch.id())).map_err(|error| Failure::retryable("refused", error.to_string()))
    /// };
    /// let receipt = |item: String, _: &mut Context<AtLeastOnce>| Ok(format!("a receipt for {item}"));
    /// let queue = Queue::builder(dir.path())
    ///     .register_fn("order", order)
    ///     .register_fn("send-receipt", receipt)
    ///     .open()?;
    /// let orders = queue.submit_named("order", ["tea".to_owned()])?;
    /// assert_eq!(orders.wait()?.status.succeeded, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn queue(&self) -> Option<Queue> {
        self.workspace.shared.engine().map(Queue::new)
    }
}

impl Context<ExactlyOnce> {
    /// The row under `key`, as the handlers before this one and this handler itself left it.
    ///
    /// # Errors
    /// [`TableError`]; a key over the limit, a row of another type, or a store that fails.
    pub fn get<K: TableKey + ?Sized, V: DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>, TableError> {
        self.tables()?.get(table, key)
    }

    /// Sets the row under `key`. It becomes durable and visible with the item's outcome, or not at all.
    ///
    /// # Errors
    /// [`TableError`]; a key or value over the limit, a value that is not JSON, more writes than
    /// [`ITEM_WRITES_BYTES`](crate::limits::ITEM_WRITES_BYTES), or a table more than
    /// [`TABLES`](crate::limits::TABLES).
    pub fn put<K: TableKey + ?Sized, V: Serialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), TableError> {
        self.tables()?.put(table, key, value)
    }

    /// Removes the row under `key`, if there is one.
    ///
    /// # Errors
    /// [`TableError`]; a key over the limit.
    pub fn remove<K: TableKey + ?Sized, V>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<(), TableError> {
        self.tables()?.remove(table, key)
    }

    /// The rows in `range`, in key order, as [`get`](Self::get) sees them.
    ///
    /// # Errors
    /// [`TableError`], here or from the iterator.
    pub fn range<K: TableKey + ?Sized, V: DeserializeOwned>(
        &mut self,
        table: &Table<K, V>,
        range: impl Into<KeyRange<K>>,
    ) -> Result<Rows<'_, K, V>, TableError> {
        self.tables()?.range(table, range.into())
    }

    fn tables(&mut self) -> Result<&mut Tables, TableError> {
        self.workspace
            .tables
            .as_mut()
            .ok_or_else(|| TableError::Store {
                reason: "this handler no longer holds the lease".to_owned(),
            })
    }
}

impl<G: Guarantee> fmt::Debug for Context<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("item", &self.item)
            .finish_non_exhaustive()
    }
}

/// A key that stays the same in every attempt of an item: see [`Context::idempotency_key`].
///
/// As text: 32 hexadecimal digits of the store's random id, the batch, the time at which it was accepted in
/// milliseconds since the Unix epoch, and the item, joined by `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    store_id: u128,
    batch: BatchId,
    /// A store that was restored from a backup counts its batches on from there: numbers come twice.
    created_at: Timestamp,
    index: u16,
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            store_id,
            batch,
            created_at: Timestamp(created_ms),
            index,
        } = self;
        write!(f, "{store_id:032x}-{batch}-{created_ms}-{index}")
    }
}
