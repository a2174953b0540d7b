//! [`Store`] on sled 0.34.7.
//!
//! sled is fast, and alone not durable: it does not sync what it flushes, does not notice lost data,
//! panics on damage and rewrites its files when opening. Each defence is where it acts: what holds
//! before sled runs in `sled_files`, what was acknowledged in `seal`, the rest here.
//!
//! Invariants:
//! - nothing is acknowledged before `sync_data` on a descriptor of our own returned;
//! - after any error of a commit no further commit is taken;
//! - `store/` exists only complete, with its initial rows, and with a seal beside it;
//! - the directory is given back only when sled has closed its files.
//!
//! sled waits for ever when one of its threads has died, in `commit` and when it is dropped. Whoever
//! watches over commits must then leak the store (`std::mem::forget` of an `Arc` of it) instead of
//! dropping it; the directory stays locked until the process ends.

use std::any::Any;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::directory::{Directory, io_error};
use super::seal::{Found, Seal, Sealed};
use super::sled_files::{self, Length, SEGMENT_BYTES};
use super::{Scan, Store, StoreError, Value, Writes};
use crate::error::OpenError;
use crate::platform;

/// sled gives deleted space back only on the thread that this interval drives.
const FLUSH_EVERY_MS: u64 = 500;

/// A store on disk.
#[derive(Debug)]
pub(crate) struct SledStore {
    engine: Engine,
    /// Held through a commit, which makes commits one at a time.
    seal: Mutex<Seal>,
    /// What the first failed commit failed with.
    failed: OnceLock<StoreError>,
    opened_at_sequence: u64,
    /// Last: unlocked when everything else is closed.
    directory: Directory,
}

/// A store that was opened, and what the caller has to know or do first.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: SledStore,
    /// The store was created just now, with the initial rows.
    pub(crate) created: bool,
    /// The data file is shorter than sealed. sled may have given space back just before the process
    /// died, or somebody has cut the file at such a place: recount all rows before trusting it.
    pub(crate) shrunk: bool,
}

impl SledStore {
    /// Opens the store in `directory`, or creates it with the rows of `initial` (commit 1).
    ///
    /// The caller then has to compare the last sequence in its own rows with
    /// [`sealed_sequence`](Self::sealed_sequence): a store that does not reach it has lost data.
    pub(crate) fn open(
        directory: Directory,
        cache_bytes: u64,
        initial: impl FnOnce() -> Writes,
    ) -> Result<Opened, OpenError> {
        let created = !is_complete(&directory)?;
        if created {
            create(&directory, cache_bytes, initial())?;
        }
        let seal = read_seal(&directory)?;
        let length = sled_files::check(&directory, seal.latest())?;
        // Before the first change: is the last user of these files really gone?
        let data = open_data_file(&directory.store(), &directory)?;
        sled_files::remove_leftovers(&directory)?;
        let engine = Engine::start(&directory.store(), data, cache_bytes, &directory)?;
        let store = Self {
            engine,
            opened_at_sequence: seal.latest().sequence,
            seal: Mutex::new(seal),
            failed: OnceLock::new(),
            directory,
        };
        Ok(Opened {
            store,
            created,
            shrunk: length == Length::Shrunk,
        })
    }

    /// The last sequence that was acknowledged before the store was opened, as far as the seal knows:
    /// the store's own rows must be at least as new. 0 for a store that was just created.
    pub(crate) fn sealed_sequence(&self) -> u64 {
        self.opened_at_sequence
    }

    /// The directory that the store is in.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    fn commit_once(
        &self,
        seal: &mut Seal,
        sequence: u64,
        writes: Writes,
    ) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in writes.0 {
            match value {
                Some(Value(value)) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        let db = self.engine.db()?;
        guarded("writing", || db.apply_batch(batch))?;
        guarded("flushing", || db.flush())?;
        self.engine
            .data
            .sync_data()
            .map_err(|error| failure("syncing", &error))?;
        let sealed = self
            .engine
            .sealed(sequence)
            .map_err(|error| failure("measuring", &error))?;
        seal.write(sealed)
            .map_err(|error| failure("sealing", &error))
    }
}

impl Store for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let db = self.engine.db()?;
        Ok(guarded("reading", || db.get(key))?.map(Value))
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let rows = self
            .engine
            .db()
            .and_then(|db| guarded("scanning", || Ok(db.range(from..to))));
        match rows {
            Ok(rows) => Box::new(Rows(Some(rows))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn commit(&self, sequence: u64, writes: Writes) -> Result<(), StoreError> {
        writes.check_sizes()?;
        let mut seal = self.seal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = self.failed.get() {
            return Err(StoreError(format!("the store has failed before: {first}")));
        }
        let result = self.commit_once(&mut seal, sequence, writes);
        if let Err(error) = &result {
            // The lock is held and it was empty: it cannot be set.
            let _ = self.failed.set(error.clone());
        }
        result
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.directory
            .size_on_disk()
            .map_err(|error| failure("measuring", &error))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let closed = self.engine.close();
        if self.failed.get().is_some() || !closed {
            return;
        }
        // Closing may have cut the data file. Without this the next open would have to recount.
        let seal = self.seal.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Ok(sealed) = self.engine.sealed(seal.latest().sequence) {
            let _ = seal.write(sealed);
        }
    }
}

/// sled with our own descriptor on its data file. Dropping it closes sled and waits until it is closed.
#[derive(Debug)]
struct Engine {
    /// None only while closing.
    db: Option<sled::Db>,
    data: File,
}

impl Engine {
    /// Runs sled on the files in `store`. From here on it may have changed them, even if this fails.
    fn start(
        store: &Path,
        data: File,
        cache_bytes: u64,
        directory: &Directory,
    ) -> Result<Self, OpenError> {
        let config = sled::Config::new()
            .path(store)
            .segment_size(SEGMENT_BYTES as usize)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .cache_capacity(cache_bytes)
            .use_compression(false);
        let what = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(Self { db: Some(db), data }),
            Ok(Err(error)) => {
                wait_until_closed(&data);
                match error {
                    sled::Error::Io(source) if !is_damage(source.kind()) => {
                        return Err(io_error("running the storage engine on", store)(source));
                    }
                    error => error.to_string(),
                }
            }
            // It may have leaked its descriptor: no waiting.
            Err(panic) => format!("the storage engine panicked: {}", panic_text(&*panic)),
        };
        Err(OpenError::Damaged {
            dir: directory.path().to_owned(),
            what,
            touched: true,
        })
    }

    fn db(&self) -> Result<&sled::Db, StoreError> {
        self.db
            .as_ref()
            .ok_or_else(|| StoreError("the store is closed".to_owned()))
    }

    /// What to seal for `sequence` when all of it is durable.
    fn sealed(&self, sequence: u64) -> io::Result<Sealed> {
        let data_bytes = self.data.metadata()?.len();
        let tail_lsn = sled_files::tail_lsn(&self.data, data_bytes);
        Ok(Sealed {
            sequence,
            data_bytes,
            tail_lsn,
        })
    }

    /// Closes sled. False if that went wrong.
    fn close(&mut self) -> bool {
        let Some(db) = self.db.take() else {
            return true;
        };
        // sled panics when its last sync fails.
        let closed = catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok();
        if closed {
            wait_until_closed(&self.data);
        }
        closed
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits until sled has given up its data file.
///
/// sled's I/O threads belong to the process, not to a database. A thread that has just written a
/// buffer wakes whoever waits for it first and lets go of the file afterwards, and files are cut there
/// too: so the file outlives the database by a moment, and with it the lock that sled takes on it,
/// which makes the next open fail. The lock goes with the last of sled's handles, so waiting for it is
/// waiting for exactly that.
fn wait_until_closed(data: &File) {
    if data.lock().is_ok() {
        let _ = data.unlock();
    }
}

/// Our descriptor on the data file, while nobody else uses it.
fn open_data_file(store: &Path, directory: &Directory) -> Result<File, OpenError> {
    let path = sled_files::data_file(store);
    let data = OpenOptions::new()
        .create(store == directory.store_new())
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error("opening", &path))?;
    match data.try_lock() {
        Ok(()) => data.unlock().map_err(io_error("unlocking", &path))?,
        // We hold LOCK, so it is a store that was leaked by this process, or a copy of the tools.
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked {
                dir: directory.path().to_owned(),
                pid: None,
            });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("locking", &path)(source)),
    }
    Ok(data)
}

/// Whether a complete store is here; false if there is none and none was ever acknowledged anything.
fn is_complete(directory: &Directory) -> Result<bool, OpenError> {
    let store = directory.store();
    if store
        .try_exists()
        .map_err(io_error("looking for", &store))?
    {
        return Ok(true);
    }
    let seal = directory.seal();
    match Seal::open(&seal).map_err(io_error("reading", &seal))? {
        Found::Missing => Ok(false),
        // The creation was interrupted before its last step.
        Found::Valid(seal) if seal.latest().sequence == 0 => Ok(false),
        Found::Valid(seal) => Err(untouched(
            directory,
            format!(
                "{} is missing, though commit {} was acknowledged",
                store.display(),
                seal.latest().sequence
            ),
        )),
        Found::Unreadable => Err(untouched(
            directory,
            format!("{} is missing and the seal unreadable", store.display()),
        )),
    }
}

fn read_seal(directory: &Directory) -> Result<Seal, OpenError> {
    let path = directory.seal();
    match Seal::open(&path).map_err(io_error("reading", &path))? {
        Found::Valid(seal) => Ok(seal),
        Found::Missing => Err(untouched(
            directory,
            format!("{} is missing", path.display()),
        )),
        Found::Unreadable => Err(untouched(
            directory,
            format!("both slots of {} are unreadable", path.display()),
        )),
    }
}

fn untouched(directory: &Directory, what: String) -> OpenError {
    OpenError::Damaged {
        dir: directory.path().to_owned(),
        what,
        touched: false,
    }
}

/// Creates the store so that a crash at any point leaves either no `store/`, which is a directory to
/// create a store in, or a complete one with its seal.
fn create(directory: &Directory, cache_bytes: u64, initial: Writes) -> Result<(), OpenError> {
    initial
        .check_sizes()
        .map_err(|error| not_created(directory, error))?;
    sled_files::remove_unfinished_creation(directory)?;
    let new = directory.store_new();
    fs::create_dir(&new).map_err(io_error("creating", &new))?;

    let data = open_data_file(&new, directory)?;
    let mut engine = Engine::start(&new, data, cache_bytes, directory)?;
    let mut batch = sled::Batch::default();
    for (key, value) in initial.0 {
        if let Some(Value(value)) = value {
            batch.insert(key, value);
        }
    }
    let db = engine.db().map_err(|error| not_created(directory, error))?;
    guarded("writing", || {
        db.apply_batch(batch).and_then(|()| db.flush())
    })
    .map_err(|error| not_created(directory, error))?;
    if !engine.close() {
        return Err(not_created(
            directory,
            StoreError("sled could not close it".to_owned()),
        ));
    }
    sled_files::sync_new_store(&new).map_err(io_error("syncing", &new))?;

    // Sequence 0: nobody has been told anything yet, so this seal may be found without a store.
    let sealed = engine.sealed(0).map_err(io_error("measuring", &new))?;
    let seal_new = directory.seal_new();
    Seal::create(&seal_new, sealed).map_err(io_error("writing", &seal_new))?;
    fs::rename(&seal_new, directory.seal()).map_err(io_error("renaming", &seal_new))?;
    sync(directory)?;

    // Windows renames no directory in which a file is open.
    drop(engine);
    fs::rename(&new, directory.store()).map_err(io_error("renaming", &new))?;
    sync(directory)
}

fn sync(directory: &Directory) -> Result<(), OpenError> {
    platform::sync_directory(directory.path()).map_err(io_error("syncing", directory.path()))
}

fn not_created(directory: &Directory, error: StoreError) -> OpenError {
    io_error("creating the store in", directory.path())(io::Error::other(error))
}

/// A scan of sled that survives its panics, which end it.
struct Rows(Option<sled::Iter>);

impl Rows {
    fn step(
        &mut self,
        step: impl FnOnce(&mut sled::Iter) -> Option<sled::Result<(sled::IVec, sled::IVec)>>,
    ) -> Option<Result<(Value, Value), StoreError>> {
        let rows = self.0.as_mut()?;
        let row = guarded("scanning", || step(rows).transpose()).transpose()?;
        if row.is_err() {
            self.0 = None;
        }
        Some(row.map(|(key, value)| (Value(key), Value(value))))
    }
}

impl Iterator for Rows {
    type Item = Result<(Value, Value), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(sled::Iter::next)
    }
}

impl DoubleEndedIterator for Rows {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(sled::Iter::next_back)
    }
}

/// Calls sled, and takes its panics for errors: it has several ways to find the same damage.
fn guarded<T>(
    doing: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failure(doing, &error)),
        Err(panic) => Err(failure(
            doing,
            &format!("it panicked: {}", panic_text(&*panic)),
        )),
    }
}

fn failure(doing: &'static str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError(format!("the store failed while {doing}: {error}"))
}

/// What sled's reads of a damaged file end with; any other error is the file system's.
fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
    )
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> Result<Opened, OpenError> {
        SledStore::open(Directory::lock(path)?, 16 << 20, || {
            let mut writes = Writes::default();
            writes.put(b"meta".to_vec(), b"initial".as_slice());
            writes
        })
    }

    #[test]
    fn opening_right_after_closing_always_works() {
        let dir = tempfile::tempdir().unwrap();
        for sequence in 2..52 {
            let opened = open(dir.path()).unwrap();
            assert_eq!(opened.created, sequence == 2);
            let mut writes = Writes::default();
            writes.put(vec![sequence as u8], vec![7; 60_000]);
            opened.store.commit(sequence, writes).unwrap();
        }
    }
}
