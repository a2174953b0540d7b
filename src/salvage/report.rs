//! What a salvage could not copy, and why one could not be made.

use crate::error::OpenError;
use crate::kernel::BatchId;
use crate::store::keys;
use crate::store::new_store::NotBegun;
use std::fmt;
use std::path::PathBuf;

/// Losses that a salvage tells, at most; the others it counts.
pub const LOSSES: usize = 100_000;

/// What a salvage has copied and what not: from [`salvage`](super::salvage).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvage {
    /// The store was sound: the new one is the same.
    pub is_whole: bool,
    /// The last commit of the new store.
    pub sequence: u64,
    /// Rows of the new store, of the engine and of tables.
    pub rows: u64,
    /// Batches in the new store.
    pub batches: u64,
    /// What was not readable, and what was done about it; the first [`LOSSES`] only.
    pub losses: Vec<Loss>,
    /// All losses.
    pub loss_count: u64,
}

impl Default for Salvage {
    fn default() -> Self {
        Self {
            is_whole: true,
            sequence: 0,
            rows: 0,
            batches: 0,
            losses: Vec::new(),
            loss_count: 0,
        }
    }
}

/// Something that was not readable, or had to be changed because of that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The batch, when it is about one.
    pub batch: Option<BatchId>,
    /// The record, in words, when it is about one.
    pub record: Option<String>,
    /// The key of the table's row, as it is stored: for a `str` key its text.
    pub row: Option<Vec<u8>>,
    /// What is lost, and what the new store has instead.
    pub what: String,
}

impl Loss {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            batch: None,
            record: None,
            row: None,
            what: what.into(),
        }
    }

    pub(super) fn of_batch(mut self, batch: BatchId) -> Self {
        self.batch = Some(batch);
        self
    }

    pub(super) fn of_record(mut self, key: &[u8]) -> Self {
        self.record = Some(keys::name(key));
        self
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        if let Some(batch) = self.batch {
            write!(f, "batch {batch}")?;
            before = ", ";
        }
        if let Some(record) = &self.record {
            write!(f, "{before}{record}")?;
            before = ", ";
        }
        if let Some(row) = &self.row {
            write!(f, "{before}{:?}", String::from_utf8_lossy(row))?;
            before = ", ";
        }
        if !before.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.what)
    }
}

impl Salvage {
    pub(super) fn loses(&mut self, loss: Loss) {
        self.loss_count += 1;
        if self.losses.len() < LOSSES {
            self.losses.push(loss);
        }
    }

    pub(super) fn first_losses(&self) -> String {
        let texts: Vec<_> = self.losses.iter().take(3).map(Loss::to_string).collect();
        texts.join("; ")
    }
}

impl fmt::Display for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            batches,
            loss_count,
            ..
        } = self;
        write!(f, "{rows} rows, {batches} batches: ")?;
        match loss_count {
            0 => f.write_str("nothing is lost")?,
            1 => f.write_str("1 loss")?,
            n => write!(f, "{n} losses")?,
        }
        for loss in &self.losses {
            write!(f, "\n  {loss}")?;
        }
        Ok(())
    }
}

/// Why nothing was salvaged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SalvageError {
    /// There is no store in the directory.
    #[error("there is no store in {}", dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// The storage engine cannot open the files in any way: nothing can be read.
    #[error("nothing can be read of the store in {}: {what}", dir.display())]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// What was found.
        what: String,
    },
    /// There is something in the new directory.
    #[error("{} is not empty (it holds {found:?}); what is salvaged goes into a new or empty directory", dir.display())]
    NotEmpty {
        /// The new directory.
        dir: PathBuf,
        /// The name of something in it.
        found: String,
    },
    /// The new directory is in the damaged store, where nothing may be changed.
    #[error("{} is in the directory of the store that is to be salvaged; choose another one", dir.display())]
    Inside {
        /// The new directory.
        dir: PathBuf,
    },
    /// A directory cannot be had: it is in use, somebody else's, of a newer format, or cannot be read, copied or
    /// written to.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new store cannot be written to: the disk may be full.
    #[error("the new store in {} could not be written: {reason}", dir.display())]
    Unwritable {
        /// The new directory.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
}

impl From<NotBegun> for SalvageError {
    fn from(error: NotBegun) -> Self {
        match error {
            NotBegun::NotEmpty { dir, found } => Self::NotEmpty { dir, found },
            NotBegun::Open(error) => Self::Open(error),
        }
    }
}
