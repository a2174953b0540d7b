//! A copy of a store's files, for those who look at a store that may be damaged: the storage engine rewrites
//! what it opens, so it is never let near the original.
//!
//! The copy is opened whatever is wrong with it; what is wrong is told instead. It is taken as far as the
//! storage engine goes along, and read only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{Directory, Untouched, io_error};
use super::seal::{Found, Seal, Sealed};
use super::sled_engine::{Engine, open_data_file};
use super::sled_files;
use super::{Scan, Store, StoreError, Value, Writes};
use crate::error::OpenError;
use crate::platform;

/// What is wrong with the files around the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Seal,
    Files,
    Engine,
}

/// A copy, opened as far as it can be.
pub(crate) struct Copied {
    /// None when the storage engine cannot open it at all.
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) wrong: Vec<(Part, String)>,
    /// The commit that the seal says was acknowledged.
    pub(crate) sealed_sequence: Option<u64>,
    /// The creation of the store was interrupted: nothing was ever acknowledged.
    pub(crate) is_unborn: bool,
}

/// The rows of a copy.
#[derive(Debug)]
struct CopiedRows {
    engine: Engine,
    /// Last: unlocked when everything else is closed.
    directory: Directory,
}

impl Copied {
    /// Copies `original` into `scratch` and opens the copy.
    pub(crate) fn open(
        original: &Untouched,
        scratch: &Scratch,
        cache_bytes: u64,
    ) -> Result<Self, OpenError> {
        let mut copied = Self {
            store: None,
            wrong: Vec::new(),
            sealed_sequence: None,
            is_unborn: false,
        };
        // sled makes its snapshot and its settings anew: a store is not lost with them. Each time from another
        // copy, because an opening that failed has changed its own, and may still hold it.
        let attempts: [(&str, &[Remove]); 3] = [
            ("1", &[]),
            ("2", &[sled_files::remove_snapshots]),
            (
                "3",
                &[sled_files::remove_snapshots, sled_files::remove_settings],
            ),
        ];
        for (name, removals) in attempts {
            let dir = scratch.copy_of(original, name)?;
            let directory = Directory::lock_copy(&dir)?;
            if removals.is_empty() {
                copied.check(&directory)?;
            }
            let store = directory.store();
            if !sled_files::data_file(&store).is_file() {
                break;
            }
            sled_files::remove_leftovers(&directory)?;
            for remove in removals {
                remove(&store).map_err(io_error("removing files of", &store))?;
            }
            match run(&directory, cache_bytes)? {
                Ok(engine) => {
                    copied.store = Some(Arc::new(CopiedRows { engine, directory }));
                    break;
                }
                Err(what) => copied.wrong.push((Part::Engine, what)),
            }
        }
        // The reader knows the original, not the copies.
        let shown = original.path().display().to_string();
        for (_, what) in &mut copied.wrong {
            for (name, _) in attempts {
                let copy = scratch.path().join(name).display().to_string();
                *what = what.replace(&copy, &shown);
            }
        }
        copied.wrong.dedup();
        Ok(copied)
    }

    /// Notes what is wrong around the rows, before the storage engine runs.
    fn check(&mut self, directory: &Directory) -> Result<(), OpenError> {
        let sealed = self.read_seal(directory)?;
        let acknowledged = sealed.is_some_and(|sealed| sealed.sequence > 0);
        let store = directory.store();
        self.is_unborn = !acknowledged && !store.exists();
        // Without a seal every length will do.
        let sealed = sealed.unwrap_or(Sealed {
            sequence: 0,
            data_bytes: 0,
            tail_lsn: 0,
            doubted: false,
        });
        match sled_files::check(directory, sealed) {
            Ok(_) => {}
            Err(OpenError::Damaged { what, .. }) => self.wrong.push((Part::Files, what)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn read_seal(&mut self, directory: &Directory) -> Result<Option<Sealed>, OpenError> {
        let path = directory.seal();
        let what = match Seal::open(&path).map_err(io_error("reading", &path))? {
            Found::Valid(seal) => {
                self.sealed_sequence = Some(seal.latest().sequence);
                return Ok(Some(seal.latest()));
            }
            Found::Missing => format!("{} is missing", path.display()),
            Found::Unreadable => format!("both slots of {} are unreadable", path.display()),
        };
        self.wrong.push((Part::Seal, what));
        Ok(None)
    }
}

type Remove = fn(&Path) -> io::Result<()>;

/// The storage engine on the copy, or why it cannot open it.
fn run(directory: &Directory, cache_bytes: u64) -> Result<Result<Engine, String>, OpenError> {
    let store = directory.store();
    let data = open_data_file(&store, directory)?;
    match Engine::start(&store, data, cache_bytes, directory) {
        Ok(engine) => Ok(Ok(engine)),
        Err(OpenError::Damaged { what, .. }) => Ok(Err(what)),
        Err(error) => Err(error),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), OpenError> {
    let kind = match fs::symlink_metadata(from) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(io_error("looking at", from)(source)),
    };
    if kind.is_dir() {
        platform::create_private_directory(to).map_err(io_error("creating", to))?;
        for entry in fs::read_dir(from).map_err(io_error("reading", from))? {
            let entry = entry.map_err(io_error("reading", from))?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if kind.is_file() {
        fs::copy(from, to).map_err(io_error("copying", from))?;
        // The engine has to write to it, also when nobody may write to the original.
        platform::make_private(to).map_err(io_error("setting the mode of", to))?;
    }
    Ok(())
}

impl Store for CopiedRows {
    fn get(&self, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.engine.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8]) -> Scan<'_> {
        self.engine.scan(from, to)
    }

    fn commit(&self, _: u64, _: Writes) -> Result<(), StoreError> {
        Err(StoreError("a copy is only read".to_owned()))
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        let size = self.directory.size_on_disk();
        size.map_err(|error| StoreError(format!("the copy cannot be measured: {error}")))
    }
}

/// A directory for a copy, which is removed when this is dropped: beside the original, where blocks can be
/// shared and there is room for as much again; else where the system keeps temporary files.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn beside(original: &Path) -> Result<Self, OpenError> {
        // Where it really is, not where a link to it is.
        let real = fs::canonicalize(original).map_err(io_error("looking at", original))?;
        let parents = real.parent().map(Path::to_owned);
        let mut last = None;
        for parent in parents.into_iter().chain([std::env::temp_dir()]) {
            for _ in 0..16 {
                let mut id = [0; 8];
                // Without a random source the time would do; a name that is taken is tried no further.
                let _ = getrandom::fill(&mut id);
                let name = format!("batchwright-copy-{:016x}", u64::from_be_bytes(id));
                let path = parent.join(name);
                match platform::create_private_directory(&path) {
                    Ok(()) => return Ok(Self(path)),
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(source) => {
                        last = Some(io_error("creating", &path)(source));
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            io_error("creating a directory beside", original)(io::ErrorKind::AlreadyExists.into())
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Copies the files of `original` into a new directory in this one. Where the file system can, the copy
    /// shares the original's blocks. Earlier copies go: nobody needs two.
    pub(crate) fn copy_of(&self, original: &Untouched, name: &str) -> Result<PathBuf, OpenError> {
        for entry in fs::read_dir(&self.0).map_err(io_error("reading", &self.0))? {
            let path = entry.map_err(io_error("reading", &self.0))?.path();
            fs::remove_dir_all(&path).map_err(io_error("removing", &path))?;
        }
        let to = self.0.join(name);
        platform::create_private_directory(&to).map_err(io_error("creating", &to))?;
        for part in original.parts() {
            if let Some(name) = part.file_name() {
                copy(&part, &to.join(name))?;
            }
        }
        Ok(to)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a copy that nobody needs: its name says so.
        let _ = fs::remove_dir_all(&self.0);
    }
}
