//! The user's directory: who may use it, and which names in it are ours.
//!
//! Invariants: a directory that is not ours is left exactly as it was; `LOCK` is taken before any
//! other file is touched and given back last; the directory itself is never renamed or removed,
//! because it may be a mount; no link is followed out of it, though it may be reached through one.
//!
//! What is created here is for its owner alone (modes 0700 and 0600 where there are modes): a store holds
//! whatever the application gives it. A directory that is there already keeps the mode that somebody gave it.

use std::fs::{self, File, FileType, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::seal;
use crate::error::OpenError;
use crate::platform;
use crate::process;

const LOCK: &str = "LOCK";
const SEAL: &str = "seal";
const SEAL_NEW: &str = "seal.new";
const MARKS: &str = "marks";
const STORE: &str = "store";
const STORE_NEW: &str = "store.new";

/// Everything this library writes into the directory.
const OURS: [&str; 6] = [LOCK, SEAL, SEAL_NEW, MARKS, STORE, STORE_NEW];

/// The root of a mounted ext file system is never empty: it holds this.
const MOUNT_LEFTOVER: &str = "lost+found";

/// What `LOCK` begins with; the holder's process id follows. Other engines name a file `LOCK` too.
const LOCK_TAG: &str = "batchwright";

/// An exclusively held directory. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    lock: File,
}

impl Directory {
    /// Takes `dir` for this process, creating it and its parents if missing.
    pub(crate) fn lock(dir: &Path) -> Result<Self, OpenError> {
        // Absolute, so that the application may change its working directory later.
        let path = std::path::absolute(dir).map_err(io_error("resolving the path", dir))?;
        create_with_parents(&path)?;
        refuse_links(&path)?;
        refuse_foreign(&path)?;
        Self::take(path)
    }

    /// Takes a directory with a copy of a store, which may lack what tells a store of ours.
    pub(super) fn lock_copy(dir: &Path) -> Result<Self, OpenError> {
        Self::take(dir.to_owned())
    }

    /// Takes an empty or new directory; says what it found when there is anything in it.
    pub(super) fn lock_empty(dir: &Path) -> Result<Result<NewDirectory, String>, OpenError> {
        let path = std::path::absolute(dir).map_err(io_error("resolving the path", dir))?;
        let existed = path.exists();
        create_with_parents(&path)?;
        if let Some(found) = names(&path)?.into_iter().next() {
            return Ok(Err(found));
        }
        let directory = Self::take(path)?;
        // Somebody else may have filled it, and be gone again.
        let ours = |name: &String| name != LOCK;
        if let Some(found) = names(&directory.path)?.into_iter().find(ours) {
            return Ok(Err(found));
        }
        Ok(Ok(NewDirectory { directory, existed }))
    }

    fn take(path: PathBuf) -> Result<Self, OpenError> {
        let lock_path = path.join(LOCK);
        let lock = platform::private_file()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(io_error("opening", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = holder(&lock);
                return Err(OpenError::Locked { dir: path, pid });
            }
            Err(TryLockError::Error(source)) => {
                return Err(io_error("locking", &lock_path)(source));
            }
        }
        // From here on a failure unlocks by dropping.
        let directory = Self { path, lock };
        directory
            .write_lock_text(&format!("{LOCK_TAG} {}\n", std::process::id()))
            .map_err(io_error("writing our process id to", &lock_path))?;
        platform::sync_directory(&directory.path).map_err(io_error("syncing", &directory.path))?;
        Ok(directory)
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The checksummed record of what was acknowledged.
    pub(super) fn seal(&self) -> PathBuf {
        self.path.join(SEAL)
    }

    /// A seal that is being created.
    pub(super) fn seal_new(&self) -> PathBuf {
        self.path.join(SEAL_NEW)
    }

    /// What workers have in their hands.
    pub(crate) fn marks(&self) -> PathBuf {
        self.path.join(MARKS)
    }

    /// The storage engine's files.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// The storage engine's files while they are being created.
    pub(super) fn store_new(&self) -> PathBuf {
        self.path.join(STORE_NEW)
    }

    /// Makes the directory's name durable, and those of all above it: a process that made them may have ended before it
    /// could, and nobody knows any more which ones it made.
    pub(super) fn sync_ancestors(&self) -> Result<(), OpenError> {
        for ancestor in self.path.ancestors().skip(1) {
            match platform::sync_directory(ancestor) {
                Ok(()) => {}
                // What we may not open we have not made; and not every file system syncs its directories.
                Err(error) if is_not_ours_to_sync(&error) => {}
                Err(source) => return Err(io_error("syncing", ancestor)(source)),
            }
        }
        Ok(())
    }

    /// Bytes in all files of ours.
    pub(crate) fn size_on_disk(&self) -> io::Result<u64> {
        OURS.iter()
            .try_fold(0, |sum, name| Ok(sum + size_of(&self.path.join(name))?))
    }

    fn write_lock_text(&self, text: &str) -> io::Result<()> {
        self.lock.set_len(0)?;
        platform::write_at(&self.lock, text.as_bytes(), 0)
    }
}

/// An exclusively held directory that was empty.
#[derive(Debug)]
pub(super) struct NewDirectory {
    pub(super) directory: Directory,
    /// Whether it was there before.
    existed: bool,
}

impl NewDirectory {
    /// Leaves it as it was found, as far as that goes.
    pub(super) fn undo(self) {
        let path = self.directory.path.clone();
        // What makes it no store to be opened goes last.
        for name in [STORE_NEW, STORE, SEAL_NEW, SEAL] {
            let path = path.join(name);
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
        let _ = fs::remove_file(path.join(LOCK));
        drop(self.directory);
        if !self.existed {
            // Not when somebody has put something in it meanwhile.
            let _ = fs::remove_dir(&path);
        }
    }
}

/// A directory that nobody else uses, and in which nothing is written, by us neither.
#[derive(Debug)]
pub(crate) struct Untouched {
    path: PathBuf,
    lock: File,
}

impl Untouched {
    /// Takes the store in `dir`; `None` when there is none.
    pub(crate) fn lock(dir: &Path) -> Result<Option<Self>, OpenError> {
        let path = std::path::absolute(dir).map_err(io_error("resolving the path", dir))?;
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("looking at", &path)(source)),
            Ok(_) => {}
        }
        refuse_links(&path)?;
        refuse_foreign(&path)?;
        // A store that was restored without its LOCK is locked by what every opening locks as well.
        let files = [
            path.join(LOCK),
            path.join(STORE).join("db"),
            path.join(SEAL),
        ];
        let Some(lock_path) = files.into_iter().find(|file| file.is_file()) else {
            return Ok(None);
        };
        let lock = File::open(&lock_path).map_err(io_error("opening", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, lock })),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked {
                dir: path,
                pid: holder(&lock),
            }),
            Err(TryLockError::Error(source)) => Err(io_error("locking", &lock_path)(source)),
        }
    }

    /// The directory, absolute.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What a store consists of, besides the lock: files and directories, which may be missing.
    pub(super) fn parts(&self) -> [PathBuf; 3] {
        [SEAL, MARKS, STORE].map(|name| self.path.join(name))
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        if !process::is_forked() {
            let _ = self.lock.unlock();
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if process::is_forked() {
            // The parent holds it. Unlocking would unlock it there too; closing does not.
            return;
        }
        // A stale process id would be named to the next one that is refused. Failing is harmless.
        let _ = self.write_lock_text(&format!("{LOCK_TAG}\n"));
        // Not left to closing: a child between fork and exec may still hold a copy of the descriptor,
        // and the lock with it.
        let _ = self.lock.unlock();
    }
}

/// An [`OpenError::Io`] that says what was being done to which file.
pub(super) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io {
        doing,
        path,
        source,
    }
}

fn is_not_ours_to_sync(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
    )
}

/// Creates `path` so that a power cut right after does not take it away again.
fn create_with_parents(path: &Path) -> Result<(), OpenError> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.exists())
        .collect();
    if let Some(parent) = path.parent() {
        // The parents are everybody's: they get the mode that the process gives to directories.
        fs::create_dir_all(parent).map_err(io_error("creating", parent))?;
    }
    match platform::create_private_directory(path) {
        Err(source) if !path.is_dir() => return Err(io_error("creating", path)(source)),
        // It was there, or somebody else was first.
        Ok(()) | Err(_) => {}
    }
    for parent in missing.iter().filter_map(|created| created.parent()) {
        platform::sync_directory(parent).map_err(io_error("syncing", parent))?;
    }
    Ok(())
}

/// Refuses a directory in which something stands in for a file of ours: a link, through which we would write
/// to a file somewhere else, or a pipe or device, which we would wait for. Looks only.
pub(super) fn refuse_links(path: &Path) -> Result<(), OpenError> {
    for name in OURS {
        let path = path.join(name);
        let Some(kind) = refuse_link(&path)? else {
            continue;
        };
        if kind.is_dir() {
            refuse_links_below(&path)?;
        }
    }
    Ok(())
}

fn refuse_links_below(directory: &Path) -> Result<(), OpenError> {
    for entry in fs::read_dir(directory).map_err(io_error("reading", directory))? {
        let path = entry.map_err(io_error("reading", directory))?.path();
        if refuse_link(&path)?.is_some_and(|kind| kind.is_dir()) {
            refuse_links_below(&path)?;
        }
    }
    Ok(())
}

/// What is at `path`, if anything, unless it is a link or something else that is neither file nor directory.
fn refuse_link(path: &Path) -> Result<Option<FileType>, OpenError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io_error("looking at", path)(source)),
    };
    if kind.is_file() || kind.is_dir() {
        return Ok(Some(kind));
    }
    Err(OpenError::NotAFile {
        path: path.to_owned(),
        is_link: kind.is_symlink(),
    })
}

/// Refuses a directory that somebody else keeps files in. Reads only.
fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let names = names(path)?;
    let lock = lock_text(&path.join(LOCK));
    if lock
        .as_deref()
        .is_some_and(|text| text.starts_with(LOCK_TAG))
        || seal::has_magic(&path.join(SEAL))
    {
        return Ok(());
    }
    // Our own LOCK is empty for a moment, and a power cut may leave it so, or with its length and zeroes in
    // place of the text: then nothing but our names may be there. Without a LOCK nothing may be there at
    // all, since we create it first.
    let foreign = match lock.as_deref() {
        Some(text) if text.bytes().all(|byte| byte == 0) => names
            .into_iter()
            .find(|name| !OURS.contains(&name.as_str())),
        Some(_) => Some(LOCK.to_owned()),
        None => names.into_iter().next(),
    };
    match foreign {
        Some(found) => Err(OpenError::NotAStore {
            dir: path.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// The names of what is in a directory, in order.
fn names(path: &Path) -> Result<Vec<String>, OpenError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error("reading", path))? {
        let entry = entry.map_err(io_error("reading", path))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name != MOUNT_LEFTOVER);
    names.sort();
    Ok(names)
}

/// The beginning of a lock file; none if there is none. An unreadable one (Windows: locked) is ours as
/// far as anyone can tell, and locking it will say more.
fn lock_text(path: &Path) -> Option<String> {
    match File::open(path) {
        Ok(file) => Some(beginning(&file).unwrap_or_else(|_| LOCK_TAG.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(LOCK_TAG.to_owned()),
    }
}

fn beginning(mut file: &File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The process id in a lock file that somebody else holds.
fn holder(lock: &File) -> Option<u32> {
    beginning(lock)
        .ok()?
        .strip_prefix(LOCK_TAG)?
        .trim()
        .parse()
        .ok()
}

/// Bytes of the file, or of all files below the directory. The engine removes files of its own at any
/// time: what is gone counts nothing.
fn size_of(path: &Path) -> io::Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += size_of(&entry?.path())?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_foreign(dir: &Path, expected: &str) {
        let names = |dir: &Path| {
            let mut names: Vec<_> = fs::read_dir(dir)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        let before = names(dir);
        match Directory::lock(dir) {
            Err(OpenError::NotAStore { found, .. }) => assert_eq!(found, expected),
            other => panic!("not refused: {other:?}"),
        }
        assert_eq!(names(dir), before);
    }

    #[test]
    fn a_missing_directory_is_created_with_its_parents() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b/c");
        let directory = Directory::lock(&dir).unwrap();
        assert_eq!(directory.path(), dir);
        assert!(dir.join("LOCK").is_file());
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert_foreign(dir.path(), "letter.txt");
        // Names that we use too prove nothing.
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        assert_foreign(dir.path(), "store");
    }

    #[test]
    fn the_lock_file_of_another_engine_does_not_make_a_directory_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("LOCK"), "").unwrap();
        fs::write(dir.path().join("MANIFEST-000004"), "theirs").unwrap();
        assert_foreign(dir.path(), "MANIFEST-000004");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("LOCK"), "held by somebody").unwrap();
        assert_foreign(dir.path(), "LOCK");
        assert_eq!(
            fs::read(dir.path().join("LOCK")).unwrap(),
            b"held by somebody"
        );
    }

    #[test]
    fn a_lock_file_that_a_power_cut_left_empty_or_full_of_zeroes_is_ours() {
        for left in ["", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("LOCK"), left).unwrap();
            fs::create_dir(dir.path().join("store.new")).unwrap();
            drop(Directory::lock(dir.path()).unwrap());
            // With a stranger beside it, it is not.
            fs::write(dir.path().join("LOCK"), left).unwrap();
            fs::write(dir.path().join("MANIFEST-000004"), "theirs").unwrap();
            assert_foreign(dir.path(), "MANIFEST-000004");
        }
    }

    #[test]
    fn a_mount_and_a_store_with_guests_are_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        drop(Directory::lock(dir.path()).unwrap());
        fs::write(dir.path().join("note.txt"), "a guest").unwrap();
        drop(Directory::lock(dir.path()).unwrap());
        assert!(dir.path().join("note.txt").exists());
    }

    #[test]
    fn a_store_restored_without_its_lock_file_is_ours() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = seal::Sealed {
            sequence: 1,
            data_bytes: 1,
            tail_lsn: 0,
            doubted: false,
        };
        seal::Seal::create(&dir.path().join(SEAL), sealed).unwrap();
        fs::create_dir(dir.path().join(STORE)).unwrap();
        drop(Directory::lock(dir.path()).unwrap());
    }

    #[test]
    fn a_directory_is_free_again_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            let _held = Directory::lock(dir.path()).unwrap();
        }
    }

    /// The other process of [`another_process_is_refused_and_told_who_holds_it`].
    #[test]
    fn child_that_is_refused() {
        let Ok(dir) = std::env::var("BATCHWRIGHT_TEST_DIR") else {
            return;
        };
        let holder = std::env::var("BATCHWRIGHT_TEST_HOLDER")
            .unwrap()
            .parse()
            .unwrap();
        match Directory::lock(Path::new(&dir)) {
            Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(holder)),
            other => panic!("not locked: {other:?}"),
        }
    }

    #[test]
    fn another_process_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let _held = Directory::lock(dir.path()).unwrap();
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::directory::tests::child_that_is_refused"])
            .env("BATCHWRIGHT_TEST_DIR", dir.path())
            .env("BATCHWRIGHT_TEST_HOLDER", std::process::id().to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let ran = String::from_utf8_lossy(&output.stdout).contains("1 passed");
        assert!(ran, "{output:?}");
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(Directory::lock(&path), Err(OpenError::Io { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn size_on_disk_counts_our_files_and_not_those_of_guests() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::lock(dir.path()).unwrap();
        let before = directory.size_on_disk().unwrap();
        fs::create_dir_all(directory.store().join("blobs")).unwrap();
        fs::write(directory.store().join("db"), [0; 1_000]).unwrap();
        fs::write(dir.path().join(MARKS), [0; 10]).unwrap();
        fs::write(dir.path().join("guest"), [0; 500]).unwrap();
        assert_eq!(directory.size_on_disk().unwrap() - before, 1_010);
    }
}
