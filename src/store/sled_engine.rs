//! sled, run so that its ways of going wrong become errors: panics, a file it does not let go of, and
//! clean results on a data file that somebody else is using.
//!
//! What it takes to make sled durable is in `sled_store`, which is the only user.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::directory::{Directory, io_error};
use super::seal::Sealed;
use super::sled_files::{self, SEGMENT_BYTES};
use super::{PANICKED, Scan, StoreError, Value};
use crate::error::OpenError;
use crate::limits;
use crate::platform;
use crate::process;

/// Threads for I/O that sled starts with.
const SLED_THREADS: usize = 7;

/// Closing looks this often whether sled has let go of its files.
const CLOSE_LOOK: Duration = Duration::from_micros(200);

/// sled with our own descriptor on its data file. Dropping it closes sled and waits until it is closed.
#[derive(Debug)]
pub(super) struct Engine {
    /// None only while closing.
    db: Option<sled::Db>,
    pub(super) data: File,
}

impl Engine {
    /// Runs sled on the files in `store`. From here on it may have changed them, even if this fails.
    pub(super) fn start(
        store: &Path,
        data: File,
        cache_bytes: u64,
        directory: &Directory,
    ) -> Result<Self, OpenError> {
        let config = sled::Config::new()
            .path(store)
            .segment_size(SEGMENT_BYTES as usize)
            .mode(sled::Mode::LowSpace)
            // No thread that moves rows between commits: see `sled_store`.
            .flush_every_ms(None)
            .cache_capacity(cache_bytes)
            .use_compression(false);
        try_threads().map_err(|source| OpenError::Thread { source })?;
        let what = match catch_unwind(AssertUnwindSafe(|| config.open())) {
            Ok(Ok(db)) => return Ok(Self { db: Some(db), data }),
            Ok(Err(error)) => {
                let _ = wait_until_closed(&data);
                match error {
                    sled::Error::Io(source) if !is_damage(source.kind()) => {
                        return Err(io_error("running the storage engine on", store)(source));
                    }
                    error => error.to_string(),
                }
            }
            // It may have leaked its descriptor: no waiting.
            Err(panic) => {
                let text = panic_text(&*panic);
                if let Some(source) = system_error_in(text) {
                    return Err(io_error("running the storage engine on", store)(source));
                }
                format!("the storage engine panicked: {text}")
            }
        };
        Err(OpenError::Damaged {
            dir: directory.path().to_owned(),
            what,
            touched: true,
        })
    }

    pub(super) fn db(&self) -> Result<&sled::Db, StoreError> {
        self.db
            .as_ref()
            .ok_or_else(|| StoreError("the store is closed".to_owned()))
    }

    /// What to seal for `sequence` when all of it is durable.
    pub(super) fn sealed(&self, sequence: u64) -> io::Result<Sealed> {
        let data_bytes = self.data.metadata()?.len();
        let tail_lsn = sled_files::tail_lsn(&self.data, data_bytes);
        Ok(Sealed {
            sequence,
            data_bytes,
            tail_lsn,
            doubted: false,
        })
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        let db = self.db()?;
        Ok(guarded("reading", || db.get(key))?.map(Value))
    }

    pub(super) fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        let rows = self
            .db()
            .and_then(|db| guarded("scanning", || Ok(db.range(from..to))));
        match rows {
            Ok(rows) => Box::new(SledScan(Some(rows))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    /// Closes sled. False if that went wrong.
    pub(super) fn close(&mut self) -> bool {
        let Some(db) = self.db.take() else {
            return true;
        };
        if process::is_forked() {
            // Closing writes and waits for threads. Files and threads are the parent's.
            std::mem::forget(db);
            return false;
        }
        // sled panics when its last sync fails.
        let closed = catch_unwind(AssertUnwindSafe(|| drop(db))).is_ok();
        closed && wait_until_closed(&self.data)
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
/// waiting for exactly that. A forked child has all handles too and lets go of them when it ends: so
/// false after [`CLOSE_WAIT`](limits::CLOSE_WAIT), and [`open_data_file`] refuses the files as long as they are held.
fn wait_until_closed(data: &File) -> bool {
    let since = Instant::now();
    loop {
        match data.try_lock() {
            Ok(()) => return data.unlock().is_ok(),
            // Where files cannot be locked, sled has no lock that could outlive it.
            Err(TryLockError::Error(_)) => return true,
            Err(TryLockError::WouldBlock) if since.elapsed() > limits::CLOSE_WAIT => return false,
            Err(TryLockError::WouldBlock) => thread::sleep(CLOSE_LOOK),
        }
    }
}

/// Our descriptor on the data file, while nobody else uses it.
pub(super) fn open_data_file(store: &Path, directory: &Directory) -> Result<File, OpenError> {
    let path = sled_files::data_file(store);
    let data = platform::private_file()
        .create(store == directory.store_new())
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error("opening", &path))?;
    match data.try_lock() {
        Ok(()) => data.unlock().map_err(io_error("unlocking", &path))?,
        // We hold LOCK, so it is a store that was leaked, or a program that goes past us.
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

/// A scan of sled that survives its panics, which end it.
struct SledScan(Option<sled::Iter>);

impl SledScan {
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

impl Iterator for SledScan {
    type Item = Result<(Value, Value), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(sled::Iter::next)
    }
}

impl DoubleEndedIterator for SledScan {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(sled::Iter::next_back)
    }
}

/// Calls sled, and takes its panics for errors: it has several ways to find the same damage.
pub(super) fn guarded<T>(
    doing: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(failure(doing, &error)),
        Err(panic) => Err(failure(
            doing,
            &format!("{PANICKED}{}", panic_text(&*panic)),
        )),
    }
}

pub(super) fn failure(doing: &'static str, error: &dyn std::fmt::Display) -> StoreError {
    StoreError(format!("the store failed while {doing}: {error}"))
}

/// What sled's reads of a damaged file end with; any other error is the file system's.
/// Sees whether the system has the threads to give that sled starts first. Without any of them it would wait for ever,
/// and it does not ask.
fn try_threads() -> io::Result<()> {
    thread::scope(|scope| {
        // All at the same time: none ends before this end of the channel is dropped.
        let (_hold, held) = crossbeam_channel::bounded::<()>(0);
        for _ in 0..SLED_THREADS {
            let held = held.clone();
            thread::Builder::new().spawn_scoped(scope, move || {
                let _ = held.recv();
            })?;
        }
        Ok(())
    })
}

/// The error of the system that sled panicked over, where it did: that is no damage.
fn system_error_in(panic: &str) -> Option<io::Error> {
    let (_, after) = panic.split_once("Os { code: ")?;
    let digits = after.split(',').next()?;
    let error = io::Error::from_raw_os_error(digits.parse().ok()?);
    (!is_damage(error.kind())).then_some(error)
}

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

    /// Nine megabytes fill a segment, which another thread of sled writes; and nothing waits for it.
    #[test]
    fn an_engine_can_be_started_as_soon_as_the_last_one_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::lock(dir.path()).unwrap();
        let store = directory.store_new();
        std::fs::create_dir(&store).unwrap();
        for round in 0..40_u8 {
            let data = open_data_file(&store, &directory).unwrap();
            let engine = Engine::start(&store, data, 16 << 20, &directory).unwrap();
            let mut batch = sled::Batch::default();
            for row in 0..150_u8 {
                batch.insert(&[row], vec![round; 60_000]);
            }
            engine.db().unwrap().apply_batch(batch).unwrap();
        }
    }
}
