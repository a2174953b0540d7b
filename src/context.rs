//! What a handler is given besides its item. Its guarantee decides what that is.

use crate::kernel::{BatchId, Timestamp};
use crate::operation::{AtLeastOnce, ExactlyOnce, Guarantee};
use crate::runtime::{Gate, Tables};
use crate::store::rows::Rows;
use crate::table::{KeyRange, Table, TableError, TableKey};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The attempt that a handler is making.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) batch: BatchId,
    pub(crate) index: u16,
    pub(crate) attempt: u32,
    pub(crate) now: Timestamp,
    pub(crate) gate: Arc<Gate>,
}

/// What a worker lends to the handlers it runs.
#[derive(Debug)]
pub struct Workspace {
    pub(crate) store_id: u128,
    /// There while the worker holds the lease.
    pub(crate) tables: Option<Box<Tables>>,
}

pub(crate) mod sealed {
    use super::{AtLeastOnce, ExactlyOnce, Tables, Workspace};

    pub trait Guarantee: Sized + 'static {
        const EXACTLY_ONCE: bool;
        type Effects: Effects;
    }

    /// What a handler may touch, lent by its worker for one attempt.
    pub trait Effects {
        fn borrow_from(workspace: &mut Workspace) -> Self;
        fn give_back(self, workspace: &mut Workspace);
    }

    impl Guarantee for ExactlyOnce {
        const EXACTLY_ONCE: bool = true;
        type Effects = InStore;
    }

    impl Guarantee for AtLeastOnce {
        const EXACTLY_ONCE: bool = false;
        type Effects = Anywhere;
    }

    #[derive(Debug)]
    pub struct InStore(pub(crate) Option<Box<Tables>>);

    impl Effects for InStore {
        fn borrow_from(workspace: &mut Workspace) -> Self {
            Self(workspace.tables.take())
        }
        fn give_back(self, workspace: &mut Workspace) {
            workspace.tables = self.0;
        }
    }

    #[derive(Debug)]
    pub struct Anywhere {
        pub(crate) store_id: u128,
    }

    impl Effects for Anywhere {
        fn borrow_from(workspace: &mut Workspace) -> Self {
            Self {
                store_id: workspace.store_id,
            }
        }
        fn give_back(self, _: &mut Workspace) {}
    }
}

/// What a handler knows of the attempt it is making, and what its guarantee lets it do.
///
/// Tables exist only for [`ExactlyOnce`] handlers, the idempotency key only for [`AtLeastOnce`] ones:
/// the compiler keeps a handler to what its guarantee can keep.
pub struct Context<G: Guarantee> {
    attempt: Attempt,
    effects: G::Effects,
}

impl<G: Guarantee> Context<G> {
    pub(crate) fn new(attempt: Attempt, effects: G::Effects) -> Self {
        Self { attempt, effects }
    }

    pub(crate) fn into_effects(self) -> G::Effects {
        self.effects
    }

    /// The batch that the item belongs to.
    pub fn batch_id(&self) -> BatchId {
        self.attempt.batch
    }

    /// The item's place in its batch, from 0.
    pub fn index(&self) -> usize {
        usize::from(self.attempt.index)
    }

    /// The number of this attempt, from 1. An attempt that a crash cut short is not counted.
    pub fn attempt(&self) -> u32 {
        self.attempt.attempt
    }

    /// The queue's time at the start of this attempt. It does not change while the handler runs.
    pub fn now(&self) -> SystemTime {
        self.attempt.now.to_system_time()
    }

    /// Whether the batch is being stopped or the queue shut down: a long handler may give up early by
    /// returning a failure. What it returns is recorded as always.
    pub fn is_cancelled(&self) -> bool {
        self.attempt.gate.is_closed()
    }
}

impl Context<AtLeastOnce> {
    /// A key that is the same in every attempt of this item, and in no other item of any store. Hand it
    /// to the outside system so that it can recognise a repetition.
    pub fn idempotency_key(&self) -> IdempotencyKey {
        IdempotencyKey {
            store_id: self.effects.store_id,
            batch: self.attempt.batch,
            index: self.attempt.index,
        }
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
    /// [`TableError`]; a key or value over the limit, or a value that is not JSON.
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
        Ok(self.tables()?.range(table, range.into()))
    }

    fn tables(&mut self) -> Result<&mut Tables, TableError> {
        self.effects
            .0
            .as_deref_mut()
            .ok_or_else(|| TableError::Store {
                reason: "this handler no longer holds the lease".to_owned(),
            })
    }
}

impl<G: Guarantee> fmt::Debug for Context<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// A key that stays the same in every attempt of an item: see [`Context::idempotency_key`].
///
/// As text: 32 hexadecimal digits of the store's random id, the batch and the item, joined by `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    store_id: u128,
    batch: BatchId,
    index: u16,
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}-{}", self.store_id, self.batch, self.index)
    }
}
