//! Looking at all of a store: that nothing is lost, changed, or counted wrong.
//!
//! `rows` goes over every row, `batches` recounts every batch from its journal with the kernel's own fold. What
//! must hold is written down here once, and used by [`verify`] on a copy and by
//! [`Builder::verify`](crate::Builder::verify) at open.
//!
//! Invariants: nothing is written; whatever the rows hold, the check ends, without a panic; memory does not grow
//! with the store, only with its largest batch.

mod batches;
mod journal;
mod report;
mod rows;

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;

pub(crate) use rows::{each_item, is_json, is_json_bytes, is_sound, unreadable};

pub use report::{FINDINGS, Finding, FindingKind, Verification};

use crate::builder::Builder;
use crate::error::OpenError;
use crate::limits;
use crate::process;
use crate::queue::Queue;
use crate::store::record::{FORMAT, Meta};
use crate::store::{Copied, Part, Scratch, Store, StoreError, Untouched, codec, keys};
use std::path::{Path, PathBuf};

/// How thoroughly a store is checked when it is opened: for [`Builder::verify`](crate::Builder::verify).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verify {
    /// The files against the seal, the last commit, and all that unfinished batches need. Rows of tables, items
    /// and ended batches are checked when they are read. Takes no longer for a large store.
    #[default]
    Quick,
    /// All that [`verify`] checks, before any thread starts; what is wrong is an
    /// [`OpenError::Damaged`] that names the first findings. Reads the whole store once.
    Full,
}

/// Why a store could not be verified. What is wrong with its content is a [`Finding`] instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// There is no store in the directory.
    #[error("there is no store in {}", dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be had: it is in use, somebody else's, of a newer format, or cannot be read or
    /// copied.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Checks all of the store in `dir`, which nobody may have open: the seal; the data file against it; every
/// record's checksum and content; the rows of the engine and of each table against the counts and sums of the
/// last commit; every batch, recounted from its journal: its items and their chunks, that no item ended twice,
/// that counts and failures are those it ended with; ordering keys, idempotency keys, and which items other
/// batches run again.
///
/// It works on a copy, which shares blocks with the original where the file system can, and takes as much room
/// as the store where it cannot: beside the store's directory, or where the system keeps temporary files when
/// that may not be written to. The copy is removed; one that a killed process leaves is named
/// `batchwright-copy-` and a number. Nothing in `dir` changes, not even a time: only its lock is taken.
///
/// Reads the store twice from the disk, once to copy it. Memory does not grow with it.
///
/// # Errors
/// [`VerifyError`], when it cannot be looked at. Damage is no error: it is in the [`Verification`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let parent = tempfile::tempdir()?;
/// # let dir = parent.path().join("data");
/// # batchwright::Queue::builder(&dir).open()?.shutdown(std::time::Duration::from_secs(5))?;
/// let verification = batchwright::verify(&dir)?;
/// assert!(verification.is_clean(), "{verification}");
/// # Ok(())
/// # }
/// ```
pub fn verify(dir: impl AsRef<Path>) -> Result<Verification, VerifyError> {
    verify_with(dir, |_| ()).map(|(verification, _)| verification)
}

/// As [`verify`], and then gives a queue on the copy to `look`, without workers, to check what the application
/// keeps in its tables. Nothing that is done to that queue reaches the original. `None` when the copy is too
/// damaged to be opened as a queue, which is among the findings.
///
/// # Errors
/// As [`verify`].
pub fn verify_with<T>(
    dir: impl AsRef<Path>,
    look: impl FnOnce(&Queue) -> T,
) -> Result<(Verification, Option<T>), VerifyError> {
    process::settle().map_err(OpenError::from)?;
    let dir = dir.as_ref();
    let no_store = || VerifyError::NoStore {
        dir: dir.to_owned(),
    };
    let original = Untouched::lock(dir)?.ok_or_else(no_store)?;
    let scratch = Scratch::beside(original.path())?;
    let copied = Copied::open(&original, &scratch, limits::CACHE_BYTES)?;
    if copied.store.is_none() && copied.is_unborn {
        return Err(no_store());
    }
    let mut verification = Verification::default();
    for (part, what) in copied.wrong {
        let kind = match part {
            Part::Seal => FindingKind::Seal,
            Part::Files => FindingKind::File,
            Part::Engine => FindingKind::Engine,
        };
        verification.find(Finding::new(kind, what));
    }
    if let Some(store) = &copied.store {
        refuse_newer(&**store, original.path())?;
        check(&**store, copied.sealed_sequence, &mut verification);
    }
    drop(copied.store);
    let copy = scratch.copy_of(&original, "queue")?;
    let opened = Builder::new(copy).without_workers().open();
    let looked = match opened {
        Ok(queue) => Some(look(&queue)),
        Err(error) => {
            if verification.is_clean() {
                let what = format!("it cannot be opened: {error}");
                verification.find(Finding::new(FindingKind::Engine, what));
            }
            None
        }
    };
    Ok((verification, looked))
}

/// What is wrong with the store, for a queue that is being opened. The storage engine has it open already.
pub(crate) fn check_opened(store: &dyn Store, sealed_sequence: u64) -> Verification {
    let mut verification = Verification::default();
    check(store, Some(sealed_sequence), &mut verification);
    verification
}

fn check(store: &dyn Store, sealed_sequence: Option<u64>, found: &mut Verification) {
    let meta = match read_meta(store) {
        Ok(meta) => Some(meta),
        Err(StoreError(what)) => {
            found.find(Finding::new(FindingKind::Meta, what));
            None
        }
    };
    found.sequence = meta.as_ref().map(|meta| meta.sequence);
    if let (Some(meta), Some(sealed)) = (&meta, sealed_sequence)
        && meta.sequence < sealed
    {
        let reached = meta.sequence;
        let what =
            format!("commit {sealed} was acknowledged, the store only reaches commit {reached}");
        found.find(Finding::new(FindingKind::Seal, what));
    }
    rows::check(store, meta.as_ref(), found);
    batches::check(store, found);
}

fn read_meta(store: &dyn Store) -> Result<Meta, StoreError> {
    let value = store
        .get(keys::META)?
        .ok_or_else(|| StoreError("the meta record is missing".to_owned()))?;
    codec::decode(keys::META, &value)
}

/// A store that this library cannot read is not for it to judge.
pub(crate) fn refuse_newer(store: &dyn Store, dir: &Path) -> Result<(), OpenError> {
    let Ok(Some(value)) = store.get(keys::META) else {
        return Ok(());
    };
    let format = codec::open(keys::META, &value).and_then(codec::decode_part::<u16>);
    match format {
        Ok((found, _)) if found > FORMAT => Err(OpenError::NewerFormat {
            dir: dir.to_owned(),
            found,
            supported: FORMAT,
        }),
        _ => Ok(()),
    }
}
