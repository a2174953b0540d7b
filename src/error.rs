//! Public errors, by what the caller was doing.

use std::path::PathBuf;

/// Why a queue could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another `Queue` of this one, holds the directory.
    #[error("{} is in use by {}; one process at a time may open a store", dir.display(), holder(*pid))]
    Locked {
        /// The store's directory.
        dir: PathBuf,
        /// The process that holds it, where the system lets us read it.
        pid: Option<u32>,
    },
    /// The directory holds other files than ours.
    #[error("{} is neither empty nor a batchwright store (it holds {found:?}); choose an empty or new directory", dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
        /// The name of a file that is not ours.
        found: String,
    },
    /// The store lost or changed data that it had acknowledged, or cannot be read.
    #[error("the store in {} is damaged: {what} ({})", dir.display(), if *touched { "the storage engine has already rewritten parts of its files; restore a backup" } else { "no file was touched" })]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// What was found.
        what: String,
        /// Whether the storage engine ran before the damage was found: it rewrites files when it opens.
        touched: bool,
    },
    /// The store was written by a newer version of this library.
    #[error("the store in {} has format {found}, this library reads up to {supported}; use a newer version of batchwright", dir.display())]
    NewerFormat {
        /// The store's directory.
        dir: PathBuf,
        /// The format of the store.
        found: u16,
        /// The newest format that this library reads.
        supported: u16,
    },
    /// The file system refused something.
    #[error("cannot open the store: {doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A setting of the builder is out of its range.
    #[error("invalid configuration: {setting} is {value}, allowed is {allowed}")]
    InvalidConfig {
        /// The setting.
        setting: &'static str,
        /// The value it was given.
        value: String,
        /// The values it may have.
        allowed: String,
    },
    /// Two operations were registered under one name.
    #[error("two operations are registered under the name {name:?}")]
    DuplicateOperation {
        /// The name.
        name: String,
    },
    /// The system would not start a thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// The system's error.
        source: std::io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}
