//! [`Store`] on sled 0.34.7.
//!
//! sled is fast, and alone not durable: it does not sync what it flushes, does not notice lost data,
//! panics on damage and rewrites its files when opening. Each defence is where it acts: what holds
//! before sled runs in `sled_files`, what was acknowledged in `seal`, the rest here.
//!
//! Invariants:
//! - nothing is acknowledged before `sync_data` on a descriptor of our own returned;
//! - after any error of a commit no further commit is taken;
//! - sled writes in commits only. It gives a segment away again when the rows in it have been written elsewhere, which
//!   to sled means `sync_file_range`: that they may be lost in a power cut it does not know. Within a commit it
//!   gives away only what was free before, and after each there is our sync. A thread of its own would move rows in
//!   between, and overwrite the only durable copy of some when it or the next commit writes two segments at once;
//! - `store/` exists only complete, with its initial rows, and with a seal beside it;
//! - the directory is given back only when sled has closed its files.
//!
//! sled waits for ever when one of its threads has died, in `commit` and when it is dropped. Whoever
//! watches over commits must then leak the store (`std::mem::forget` of an `Arc` of it) instead of
//! dropping it; the directory stays locked until the process ends.

use std::fs;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::directory::{Directory, io_error};
use super::seal::{Found, INCOMPLETE, Seal, Sealed};
use super::sled_engine::{Engine, failure, guarded, open_data_file};
use super::sled_files::{self, Length};
use super::{Scan, Store, StoreError, Value, Writes};
use crate::error::OpenError;
use crate::platform;
use crate::process;

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
    #[cfg(test)]
    pub(crate) created: bool,
    /// The data file is shorter than sealed: sled may have given space back just before the process
    /// died, or somebody has cut the file at such a place. Or a commit has failed. Recount all rows before the
    /// first commit. Until then every opening says so again.
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
        let mut seal = read_seal(&directory)?;
        let length = sled_files::check(&directory, seal.latest())?;
        // Before the first change: is the last user of these files really gone?
        let data = open_data_file(&directory.store(), &directory)?;
        let doubted = seal.latest().doubted;
        sled_files::read_first(&directory.store(), &data, doubted)
            .map_err(io_error("reading", &directory.store()))?;
        sled_files::remove_leftovers(&directory)?;
        if length == Length::Shrunk {
            doubt(&mut seal, &directory)?;
        }
        let shrunk = seal.latest().doubted;
        let started = Engine::start(&directory.store(), data, cache_bytes, &directory);
        if let Err(error) = &started
            && !matches!(error, OpenError::Thread { .. })
        {
            // What a sync of sled's was to cover may be in memory only, and the next opening would take it for durable.
            let _ = doubt(&mut seal, &directory);
        }
        let engine = started?;
        let store = Self {
            engine,
            opened_at_sequence: seal.latest().sequence,
            seal: Mutex::new(seal),
            failed: OnceLock::new(),
            directory,
        };
        Ok(Opened {
            store,
            #[cfg(test)]
            created,
            shrunk,
        })
    }

    /// The last sequence that was acknowledged before the store was opened, as far as the seal knows:
    /// the store's own rows must be at least as new. 0 for a store that was just created.
    pub(crate) fn sealed_sequence(&self) -> u64 {
        self.opened_at_sequence
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
        self.engine.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        self.engine.scan(from, to)
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
            // What was written may be in the system's memory and never come to the disk: the next opening has to
            // know. A restart of the system forgets both, so that it does not matter whether this is durable.
            let _ = doubt(&mut seal, &self.directory);
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
        if self.failed.get().is_some() || process::is_forked() {
            return;
        }
        let seal = self.seal.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Closing writes. sled says nothing of a write that fails, and our descriptor is told of a failed sync.
        if !closed || self.engine.data.sync_data().is_err() {
            let _ = doubt(seal, &self.directory);
            return;
        }
        // Closing may have cut the data file. Without this the next open would have to recount.
        let Sealed {
            sequence, doubted, ..
        } = seal.latest();
        if !doubted && let Ok(sealed) = self.engine.sealed(sequence) {
            let _ = seal.write(sealed);
        }
    }
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
        // They are made when a store has been opened.
        Found::Missing if directory.marks().exists() => Err(untouched(
            directory,
            format!("{} and the seal are missing", store.display()),
        )),
        Found::Missing => Ok(false),
        // The creation was interrupted before its last step.
        Found::Valid(seal) if seal.latest().sequence == 0 => Ok(false),
        Found::Valid(seal) if seal.latest().sequence == INCOMPLETE => Err(untouched(
            directory,
            format!(
                "{} is missing: a copy into this directory was interrupted before it was complete",
                store.display()
            ),
        )),
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

/// Notes that the rows have to be recounted. The engine is about to run and may lengthen the file, so
/// its length would not say it a second time.
fn doubt(seal: &mut Seal, directory: &Directory) -> Result<(), OpenError> {
    let doubted = Sealed {
        doubted: true,
        ..seal.latest()
    };
    seal.write(doubted)
        .and_then(|()| seal.sync())
        .map_err(io_error("writing", &directory.seal()))
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
    platform::create_private_directory(&new).map_err(io_error("creating", &new))?;

    let data = open_data_file(&new, directory)?;
    let engine = Engine::start(&new, data, cache_bytes, directory)?;
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
    // Nobody has been told anything yet: with sequence 0 the seal may be found without a store.
    publish(directory, engine, 0)
}

/// Turns what was written to `store.new` into the directory's store, durable. A crash before the end leaves the
/// seal that was there, or the new one, and no store.
pub(super) fn publish(
    directory: &Directory,
    mut engine: Engine,
    sequence: u64,
) -> Result<(), OpenError> {
    let new = directory.store_new();
    if !engine.close() {
        return Err(not_created(
            directory,
            StoreError("sled could not close it".to_owned()),
        ));
    }
    // Before there is a store: whoever finds one need not ask whether its name is durable.
    directory.sync_ancestors()?;
    // sled creates with the process's mask; what it creates later is below this directory.
    platform::make_private(&new).map_err(io_error("setting the modes in", &new))?;
    sled_files::sync_new_store(&new).map_err(io_error("syncing", &new))?;

    let sealed = engine
        .sealed(sequence)
        .map_err(io_error("measuring", &new))?;
    let seal_new = directory.seal_new();
    Seal::create(&seal_new, sealed).map_err(io_error("writing", &seal_new))?;
    fs::rename(&seal_new, directory.seal()).map_err(io_error("renaming", &seal_new))?;
    sync(directory)?;

    // Windows renames no directory in which a file is open.
    drop(engine);
    fs::rename(&new, directory.store()).map_err(io_error("renaming", &new))?;
    sync(directory)
}

pub(super) fn sync(directory: &Directory) -> Result<(), OpenError> {
    platform::sync_directory(directory.path()).map_err(io_error("syncing", directory.path()))
}

pub(super) fn not_created(directory: &Directory, error: StoreError) -> OpenError {
    io_error("creating the store in", directory.path())(io::Error::other(error))
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::limits::VALUE_BYTES;

    pub(in crate::store) fn open(path: &Path) -> Result<Opened, OpenError> {
        SledStore::open(Directory::lock(path)?, 16 << 20, || put(b"initial", b"row"))
    }

    pub(in crate::store) fn put(key: &[u8], value: &[u8]) -> Writes {
        let mut writes = Writes::default();
        writes.put(key.to_vec(), value);
        writes
    }

    /// A store with some commits, closed. The last commit's sequence is 9.
    pub(in crate::store) fn written() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap().store;
        for sequence in 2..10 {
            store
                .commit(sequence, put(&[sequence as u8], &[sequence as u8; 20_000]))
                .unwrap();
        }
        dir
    }

    pub(in crate::store) fn assert_whole(store: &SledStore) {
        assert_eq!(&*store.get(b"initial").unwrap().unwrap(), b"row");
        for sequence in 2..10 {
            let value = store.get(&[sequence]).unwrap().unwrap();
            assert_eq!(&*value, [sequence; 20_000]);
        }
    }

    #[test]
    fn opening_right_after_closing_always_works() {
        let dir = tempfile::tempdir().unwrap();
        for sequence in 2..52 {
            let opened = open(dir.path()).unwrap();
            assert_eq!(opened.created, sequence == 2);
            opened
                .store
                .commit(sequence, put(b"a", &[7; 60_000]))
                .unwrap();
        }
    }

    #[test]
    fn a_closed_store_opens_whole_and_at_its_last_sequence() {
        let dir = written();
        for _ in 0..2 {
            let opened = open(dir.path()).unwrap();
            assert!(!opened.created && !opened.shrunk);
            assert_eq!(opened.store.sealed_sequence(), 9);
            assert_whole(&opened.store);
        }
    }

    #[test]
    fn a_second_open_is_locked_and_names_the_holder() {
        let dir = written();
        let store = open(dir.path()).unwrap().store;
        match open(dir.path()) {
            Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("not locked: {other:?}"),
        }
        store.commit(10, put(b"a", b"1")).unwrap();
    }

    #[test]
    fn a_store_that_was_created_and_never_written_opens() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).unwrap().created);
        let opened = open(dir.path()).unwrap();
        assert!(!opened.created);
        assert_eq!(&*opened.store.get(b"initial").unwrap().unwrap(), b"row");
    }

    /// As after a power cut, which leaves an older seal, when sled has given space back since.
    #[test]
    fn space_that_sled_gave_back_is_not_taken_for_damage_but_reported() {
        let dir = tempfile::tempdir().unwrap();
        let (data, seal) = (dir.path().join("store/db"), dir.path().join("seal"));
        let store = open(dir.path()).unwrap().store;
        let mut longest = (0, Vec::new());
        // SledScan are written and removed until the file has become shorter.
        let mut sequence = 1;
        let shrunk = (0..10_000_u32).any(|round| {
            let mut writes = Writes::default();
            for row in 0..40_u8 {
                let key = [&round.to_be_bytes()[..], &[row]].concat();
                writes.put(key, vec![row; 30_000]);
                if let Some(old) = round.checked_sub(40) {
                    writes.remove([&old.to_be_bytes()[..], &[row]].concat());
                }
            }
            sequence += 1;
            store.commit(sequence, writes).unwrap();
            let length = fs::metadata(&data).unwrap().len();
            if length >= longest.0 {
                longest = (length, fs::read(&seal).unwrap());
            }
            length < longest.0
        });
        assert!(shrunk, "sled has given no space back");
        drop(store);
        fs::write(&seal, &longest.1).unwrap();

        // It goes on being reported until somebody trusts the rows enough to commit.
        for _ in 0..3 {
            assert!(open(dir.path()).unwrap().shrunk);
        }
        let opened = open(dir.path()).unwrap();
        opened.store.commit(sequence + 1, put(b"a", b"1")).unwrap();
        drop(opened);
        assert!(!open(dir.path()).unwrap().shrunk);
    }

    #[test]
    fn after_a_failed_commit_no_other_is_taken() {
        let dir = written();
        let store = open(dir.path()).unwrap().store;
        // A read-only seal stands for any step that fails.
        let path = dir.path().join("seal");
        let Ok(Found::Valid(mut seal)) = Seal::open(&path) else {
            panic!("it is valid")
        };
        seal.make_read_only(&path);
        *store.seal.lock().unwrap() = seal;
        assert!(store.commit(10, put(b"a", b"1")).is_err());
        let Ok(Found::Valid(seal)) = Seal::open(&path) else {
            panic!("it is valid")
        };
        *store.seal.lock().unwrap() = seal;
        let error = store.commit(11, put(b"b", b"1")).unwrap_err();
        assert!(error.0.contains("failed before"), "{error}");
        assert_eq!(store.get(b"b").unwrap(), None);
        drop(store);
        let store = open(dir.path()).unwrap().store;
        assert_eq!(store.sealed_sequence(), 9);
        assert_whole(&store);
        store.commit(12, put(b"b", b"1")).unwrap();
    }

    /// A device that cannot be synced stands for a disk that fails to.
    #[cfg(target_os = "linux")]
    #[test]
    fn after_a_failed_sync_the_next_opening_is_in_doubt_of_what_it_finds() {
        let dir = written();
        let mut store = open(dir.path()).unwrap().store;
        let no_disk = fs::File::open("/dev/null").unwrap();
        let data = std::mem::replace(&mut store.engine.data, no_disk);
        assert!(store.commit(10, put(b"a", b"1")).is_err());
        store.engine.data = data;
        drop(store);
        let opened = open(dir.path()).unwrap();
        assert!(opened.shrunk);
        assert_whole(&opened.store);
        opened.store.commit(11, put(b"b", b"1")).unwrap();
        drop(opened);
        assert!(!open(dir.path()).unwrap().shrunk);
    }

    #[test]
    fn largest_values_and_overwrites_make_no_side_files() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path()).unwrap().store;
        for sequence in 2..60 {
            let mut writes = Writes::default();
            for row in 0..20_u8 {
                let row = row.wrapping_mul(sequence as u8) % 90;
                writes.put(
                    vec![b'k', row],
                    vec![row; VALUE_BYTES - usize::from(row % 3)],
                );
            }
            store.commit(sequence, writes).unwrap();
            let side_files = fs::read_dir(dir.path().join("store/blobs"))
                .unwrap()
                .count();
            assert_eq!(side_files, 0, "after commit {sequence}");
        }
    }

    /// The other process of [`acknowledged_commits_survive_the_death_of_the_process`].
    #[test]
    fn child_that_commits_and_dies() {
        let Ok(dir) = std::env::var("BATCHWRIGHT_TEST_DIR") else {
            return;
        };
        let store = open(Path::new(&dir)).unwrap().store;
        for sequence in 2..10 {
            store
                .commit(sequence, put(&[sequence as u8], &[sequence as u8; 20_000]))
                .unwrap();
        }
        std::process::abort();
    }

    #[test]
    fn acknowledged_commits_survive_the_death_of_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::sled_store::tests::child_that_commits_and_dies",
            ])
            .env("BATCHWRIGHT_TEST_DIR", dir.path())
            .output()
            .unwrap()
            .status;
        assert!(!status.success());
        let opened = open(dir.path()).unwrap();
        assert!(!opened.created && !opened.shrunk);
        assert_eq!(opened.store.sealed_sequence(), 9);
        assert_whole(&opened.store);
    }
}
