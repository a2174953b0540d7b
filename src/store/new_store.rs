//! A store that is filled with rows from elsewhere, in a directory of its own.
//!
//! Until it is complete and on the disk there is a seal that speaks of an acknowledged commit, and no store: what
//! an interruption leaves is refused as damaged, and never taken for a store, nor for a place to create one in.

use std::path::{Path, PathBuf};

use super::backup::Target;
use super::directory::{NewDirectory, io_error};
use super::seal::{INCOMPLETE, Seal, Sealed};
use super::sled_engine::{Engine, guarded, open_data_file};
use super::sled_store::{not_created, publish, sync};
use super::{Directory, StoreError, Value, Writes};
use crate::error::OpenError;
use crate::platform;

/// Bytes that are handed to the storage engine at once.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes after which the storage engine is told to write them out, so that they do not gather in memory.
const FLUSH_BYTES: usize = 16 << 20;

/// A store that is being filled. Dropping it leaves the directory as it was.
pub(crate) struct NewStore {
    /// None only at the end.
    open: Option<(NewDirectory, Engine)>,
    unflushed: usize,
    /// Bytes of keys and values that were put.
    pub(crate) bytes: u64,
}

/// Why a new store could not be begun.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// There is something in the directory.
    NotEmpty {
        dir: PathBuf,
        found: String,
    },
    Open(OpenError),
}

impl From<OpenError> for NotBegun {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl NewStore {
    /// Begins a store in `dir`, which is created when it is missing, and must be empty.
    pub(crate) fn begin(dir: &Path, cache_bytes: u64) -> Result<Self, NotBegun> {
        let new = Directory::lock_empty(dir)?.map_err(|found| NotBegun::NotEmpty {
            dir: dir.to_owned(),
            found,
        })?;
        match start(&new.directory, cache_bytes) {
            Ok(engine) => Ok(Self {
                open: Some((new, engine)),
                unflushed: 0,
                bytes: 0,
            }),
            Err(error) => {
                new.undo();
                Err(error.into())
            }
        }
    }

    /// Makes the store durable, complete up to commit `sequence`.
    pub(crate) fn finish(mut self, sequence: u64) -> Result<(), OpenError> {
        let Some((new, engine)) = self.open.take() else {
            return Ok(());
        };
        let published = engine
            .db()
            .and_then(|db| guarded("flushing", || db.flush()))
            .map_err(|error| not_created(&new.directory, error))
            .and_then(|_| publish(&new.directory, engine, sequence));
        if published.is_err() {
            new.undo();
        }
        published
    }

    fn apply(&mut self, batch: sled::Batch, bytes: usize) -> Result<(), StoreError> {
        let Some((_, engine)) = &self.open else {
            return Ok(());
        };
        let db = engine.db()?;
        guarded("writing", || db.apply_batch(batch))?;
        self.bytes += bytes as u64;
        self.unflushed += bytes;
        if self.unflushed >= FLUSH_BYTES {
            self.unflushed = 0;
            guarded("flushing", || db.flush())?;
        }
        Ok(())
    }
}

impl Target for NewStore {
    fn put(&mut self, rows: Writes) -> Result<(), StoreError> {
        rows.check_sizes()?;
        let (mut batch, mut bytes) = (sled::Batch::default(), 0);
        for (key, value) in rows.0 {
            bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
            match value {
                Some(Value(value)) => batch.insert(key, value),
                None => batch.remove(key),
            }
            if bytes >= BATCH_BYTES {
                self.apply(std::mem::take(&mut batch), std::mem::take(&mut bytes))?;
            }
        }
        self.apply(batch, bytes)
    }
}

impl Drop for NewStore {
    fn drop(&mut self) {
        if let Some((new, mut engine)) = self.open.take() {
            engine.close();
            drop(engine);
            new.undo();
        }
    }
}

fn start(directory: &Directory, cache_bytes: u64) -> Result<Engine, OpenError> {
    let seal = directory.seal();
    let unfinished = Sealed {
        sequence: INCOMPLETE,
        data_bytes: 0,
        tail_lsn: 0,
        doubted: false,
    };
    Seal::create(&seal, unfinished).map_err(io_error("writing", &seal))?;
    sync(directory)?;
    let store = directory.store_new();
    platform::create_private_directory(&store).map_err(io_error("creating", &store))?;
    let data = open_data_file(&store, directory)?;
    Engine::start(&store, data, cache_bytes, directory)
}
