//! Backups: a consistent copy of a store while the queue works.

use crate::error::{BatchError, OpenError, forked};
use crate::limits;
use crate::process::{self, Forked};
use crate::runtime::{Role, Shared, is_engaged};
use crate::store::StoreError;
use crate::store::backup::{CopyError, copy_rows};
use crate::store::new_store::{NewStore, NotBegun};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a backup has copied: from [`Queue::backup`](crate::Queue::backup).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The commit after which the store was as the backup is.
    pub sequence: u64,
    /// Bytes of rows that were written, some of them more than once because they changed meanwhile.
    pub bytes: u64,
}

/// Why there is no backup. What was begun of it is removed, as far as it can be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is something in the target directory.
    #[error("{} is not empty (it holds {found:?}); a backup goes into a new or empty directory", dir.display())]
    NotEmpty {
        /// The target.
        dir: PathBuf,
        /// The name of something in it.
        found: String,
    },
    /// The target cannot be created, or not be used.
    #[error(transparent)]
    Target(#[from] OpenError),
    /// The target cannot be written to: the disk may be full.
    #[error("the backup in {} could not be written: {reason}", dir.display())]
    Unwritable {
        /// The target.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
    /// Rows of the store cannot be read. [`verify`](crate::verify) says more.
    #[error("the store cannot be read: {reason}")]
    Unreadable {
        /// What failed.
        reason: String,
    },
    /// More changed while the backup waited for its target than is kept in mind.
    #[error("the target of the backup was too slow for what was stored meanwhile; try again")]
    Overtaken,
    /// The queue has failed.
    #[error("the queue has failed: {reason}; open it again")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// This process was forked from the one that opened the queue. Nothing was done.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// Called inside a read of the same queue, or by a waker that the queue has called: either keeps the queue
    /// from storing anything for as long as the backup takes.
    #[error("a backup cannot be made inside a read or a waker of the same queue")]
    WouldDeadlock,
}

impl From<Forked> for BackupError {
    fn from(Forked { pid }: Forked) -> Self {
        Self::Forked { pid }
    }
}

pub(crate) fn backup(shared: &Arc<Shared>, to: &Path) -> Result<Backup, BackupError> {
    process::check()?;
    // The writer, too, in a waker: nothing would be stored meanwhile.
    if is_engaged(shared, Role::Reader) || is_engaged(shared, Role::Writer) {
        return Err(BackupError::WouldDeadlock);
    }
    shared.check().map_err(gone)?;
    let mut target = NewStore::begin(to, *limits::CACHE_BYTES_RANGE.start()).map_err(not_begun)?;
    let meta = copy_rows(&shared.vault, &mut target).map_err(|error| match error {
        CopyError::Gone => gone(shared.gone()),
        CopyError::Source(StoreError(reason)) => BackupError::Unreadable { reason },
        CopyError::Target(StoreError(reason)) => BackupError::Unwritable {
            dir: to.to_owned(),
            reason,
        },
        CopyError::Overtaken => BackupError::Overtaken,
    })?;
    let bytes = target.bytes;
    target.finish(meta.sequence)?;
    Ok(Backup {
        sequence: meta.sequence,
        bytes,
    })
}

fn not_begun(error: NotBegun) -> BackupError {
    match error {
        NotBegun::NotEmpty { dir, found } => BackupError::NotEmpty { dir, found },
        NotBegun::Open(error) => BackupError::Target(error),
    }
}

fn gone(error: BatchError) -> BackupError {
    match error {
        BatchError::Forked { pid } => BackupError::Forked { pid },
        BatchError::Failed { reason } => BackupError::Failed { reason },
        _ => BackupError::Closed,
    }
}
