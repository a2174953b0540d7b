//! Public errors, by what the caller was doing.

use crate::failure::Failure;
use crate::kernel::{BatchId, State};
use crate::position::Position;
use crate::process::Forked;
use crate::table::TableError;
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
    /// In the place of a file of the store there is a symbolic link, or a pipe, socket or device. Nothing was
    /// touched, neither in the directory nor where the link leads. The directory itself may be reached through
    /// links.
    #[error("{} is {}, and must be a file or directory of the store; put what belongs there in its place", path.display(), if *is_link { "a symbolic link" } else { "neither a file nor a directory" })]
    NotAFile {
        /// What is in the place of a file of ours.
        path: PathBuf,
        /// Whether it is a symbolic link.
        is_link: bool,
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
    /// The store was found sound, and what had to be stored at once could not be: the disk may be full.
    #[error("the store in {} could not be written to: {reason}", dir.display())]
    Failed {
        /// The store's directory.
        dir: PathBuf,
        /// What failed.
        reason: String,
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
    /// Two operations were registered under one name, or one has a name that is an alias as well.
    #[error(
        "the name {name:?} is taken twice: each operation needs its own, and aliases that no operation has"
    )]
    DuplicateOperation {
        /// The name.
        name: String,
    },
    /// This process was forked from one that has opened a queue, whichever. The storage engine's threads
    /// belong to the parent: fork before the first queue is opened, or run a new program.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the first queue.
        pid: u32,
    },
    /// The system would not start a thread.
    #[error("cannot start a thread: {source}")]
    Thread {
        /// The system's error.
        source: std::io::Error,
    },
}

pub(crate) fn forked(pid: u32) -> String {
    let here = std::process::id();
    format!(
        "process {here} was forked from process {pid}, whose queues it cannot use; \
         open the first queue after forking, or run a new program"
    )
}

/// [`Forked`] means the same in each.
macro_rules! from_forked {
    ($($error:ty),*) => {
        $(impl From<Forked> for $error {
            fn from(Forked { pid }: Forked) -> Self {
                Self::Forked { pid }
            }
        })*
    };
}
from_forked!(
    OpenError,
    SubmitError,
    BatchError,
    ReadError,
    ShutdownError,
    TableError
);

impl From<Forked> for WaitError {
    fn from(forked: Forked) -> Self {
        Self::Batch(forked.into())
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// An item that was refused at submit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("item {index}{}: {failure}", place(*position))]
#[non_exhaustive]
pub struct InvalidItem {
    /// The item's place in what was submitted, from 0.
    pub index: u64,
    /// What is wrong with it, as [`Operation::validate`](crate::Operation::validate) or
    /// [`Operation::undecodable`](crate::Operation::undecodable) said. The engine's own codes are [`TOO_LARGE`](Self::TOO_LARGE), [`NOT_JSON`](Self::NOT_JSON),
    /// [`NOT_DECODABLE`](Self::NOT_DECODABLE) and [`PANICKED`](Self::PANICKED).
    pub failure: Failure,
    /// Where it is in JSON that was submitted: for an item that cannot be decoded the place that the
    /// decoder had come to, for others where the item begins. `None` for items that were submitted as
    /// values.
    pub position: Option<Position>,
}

impl InvalidItem {
    /// The code of an item over [`PAYLOAD_BYTES`](crate::limits::PAYLOAD_BYTES).
    pub const TOO_LARGE: &'static str = "item_too_large";
    /// The code of an item that cannot be written as JSON.
    pub const NOT_JSON: &'static str = "item_not_json";
    /// The code of an item in JSON that is not of the operation's item type. The failure's field is the
    /// path of the wrong place in the item, such as `address.lines[2]`; none when it is the item itself.
    /// Unless [`Operation::undecodable`](crate::Operation::undecodable) says something else.
    pub const NOT_DECODABLE: &'static str = "item_not_decodable";
    /// The code of an item that its decoder, `validate`, `key` or `undecodable` panicked on.
    pub const PANICKED: &'static str = Failure::PANICKED;
}

fn place(position: Option<Position>) -> String {
    position.map_or_else(String::new, |at| format!(" at {at}"))
}

/// Why a batch was not accepted.
///
/// Except for [`Unknown`](Self::Unknown) nothing is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// There are no items.
    #[error("the batch has no items")]
    Empty,
    /// There are more items than a batch may have.
    #[error(
        "the batch has more than {limit} items; make several batches of them, as `import` does"
    )]
    TooManyItems {
        /// The limit.
        limit: usize,
    },
    /// The items together are too large.
    #[error(
        "the batch has more than {limit} bytes of JSON; make several batches of it, as `import` does"
    )]
    BatchTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Some items are not acceptable; all of these are listed.
    #[error("{} of the items are invalid, first {}", items.len(), first(items))]
    Invalid {
        /// Every invalid item, in order.
        items: Vec<InvalidItem>,
    },
    /// No operation of this type is registered under this name.
    #[error("no operation {name:?} of this type is registered; known are {known:?}")]
    UnknownOperation {
        /// The operation's name.
        name: String,
        /// The registered names.
        known: Vec<String>,
    },
    /// The items are of another type than the operation's.
    #[error("the items of operation {operation:?} are of type {expected}, not {found}")]
    WrongItemType {
        /// The operation's name.
        operation: String,
        /// The type of its items, as the compiler names it.
        expected: &'static str,
        /// The type of the items that were given.
        found: &'static str,
    },
    /// What was submitted as JSON is not: it is malformed, or neither an array nor an object with an
    /// array as its one `body`. No item was looked into.
    #[error("not acceptable as JSON items: {reason}, at {position}")]
    InvalidJson {
        /// Where.
        position: Position,
        /// What is wrong.
        reason: String,
    },
    /// An option is out of its range.
    #[error("the {option} has {bytes} bytes, allowed are 1 to {limit}")]
    InvalidOption {
        /// Which one.
        option: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The idempotency key was used before, with other items.
    #[error("the idempotency key was used for batch {batch}, with other items")]
    KeyConflict {
        /// The batch that has the key.
        batch: BatchId,
    },
    /// The batch that was submitted under this idempotency key, with the same items, was deleted.
    #[error("batch {batch}, which was submitted under this idempotency key, was deleted")]
    Deleted {
        /// The batch that had the key.
        batch: BatchId,
    },
    /// There are as many unfinished batches as the limits allow.
    #[error(
        "there are {limit} unfinished batches, the most that the limits allow; try again when some have ended"
    )]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The queue has failed; nothing is stored.
    #[error("the queue has failed: {reason}; open it again")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The queue failed while the batch was being stored. It may be there when the queue is opened
    /// again: submit it again then, under the same idempotency key.
    #[error(
        "the queue failed while the batch was being stored: {reason}; it may or may not be stored"
    )]
    Unknown {
        /// What failed.
        reason: String,
    },
    /// This process was forked from the one that opened the queue. Nothing was done, and nothing is changed
    /// in the parent.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// Called inside a `read` of the same queue, or by a waker that the queue has called: either keeps the
    /// queue from storing anything.
    #[error("a batch cannot be submitted inside a read or a waker of the same queue")]
    WouldDeadlock,
}

impl From<BatchError> for SubmitError {
    /// What keeps a batch from being reached keeps one from being submitted.
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Closed => Self::Closed,
            BatchError::Forked { pid } => Self::Forked { pid },
            BatchError::WouldDeadlock => Self::WouldDeadlock,
            BatchError::Failed { reason } => Self::Failed { reason },
            BatchError::Unknown { reason } => Self::Unknown { reason },
            BatchError::Full { limit } => Self::Full { limit },
            other => Self::Unknown {
                reason: other.to_string(),
            },
        }
    }
}

fn first(items: &[InvalidItem]) -> String {
    items.first().map(ToString::to_string).unwrap_or_default()
}

/// An import stopped at a chunk that was not accepted. The chunks before it are durable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the import stopped at item {accepted}: {source}")]
#[non_exhaustive]
pub struct ImportError {
    /// Items that are durable in batches, of this import or of an earlier one under the same key; so also
    /// the place of the refused chunk's first item, from 0.
    pub accepted: u64,
    /// Why the chunk was refused. Invalid items are numbered through the whole import.
    pub source: SubmitError,
}

/// Why something could not be done to a batch, or learnt of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// There is no such batch.
    #[error("there is no batch {id}")]
    NotFound {
        /// The id.
        id: BatchId,
    },
    /// Only stopped batches can be resumed.
    #[error("batch {id} is {state}, only a stopped batch can be resumed")]
    NotStopped {
        /// The batch.
        id: BatchId,
        /// Where it stands.
        state: State,
    },
    /// Only what became of an item in doubt can be said, and once.
    #[error("item {index} of batch {id} is not in doubt")]
    NotInDoubt {
        /// The batch.
        id: BatchId,
        /// The item.
        index: usize,
    },
    /// An output that was given is not one that a handler may return.
    #[error("the output for item {index} cannot be stored: {reason}")]
    InvalidOutput {
        /// The item.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Only batches that were completed or stopped can be deleted.
    #[error("batch {id} is {state}, only a batch that has ended can be deleted")]
    NotEnded {
        /// The batch.
        id: BatchId,
        /// Where it stands.
        state: State,
    },
    /// No item of the batch has failed.
    #[error("no item of batch {id} has failed")]
    NothingFailed {
        /// The batch.
        id: BatchId,
    },
    /// Another batch runs the failed items again, or has run them.
    #[error("the failed items of batch {id} were submitted again as batch {by}")]
    AlreadyRetried {
        /// The batch.
        id: BatchId,
        /// The last batch that runs items of it again.
        by: BatchId,
    },
    /// The batch has ended: there is nothing left in it to be decided.
    #[error("batch {id} has ended; a stopped one is to be resumed first")]
    Ended {
        /// The batch.
        id: BatchId,
    },
    /// The batch's operation is not registered.
    #[error("the operation {operation:?} is not registered")]
    Unregistered {
        /// The operation's name.
        operation: String,
    },
    /// The batch is of another operation.
    #[error("batch {id} is of operation {found:?}, not {expected:?}")]
    WrongOperation {
        /// The batch.
        id: BatchId,
        /// Its operation.
        found: String,
        /// The one that was asked for; its type, where the names are equal.
        expected: String,
    },
    /// A stored item is not of the operation's item type: it was submitted by another version of the
    /// program. `queue.batch(id)` reads it as JSON.
    #[error("item {index} cannot be read as the operation's item type: {reason}")]
    UndecodableItem {
        /// The item.
        index: usize,
        /// What serde says.
        reason: String,
    },
    /// An output is not of the operation's output type: it was written by another version of the
    /// program. `queue.batch(id)` reads it as JSON.
    #[error("the output of item {index} cannot be read as the operation's output type: {reason}")]
    UndecodableOutput {
        /// The item.
        index: usize,
        /// What serde says.
        reason: String,
    },
    /// There are as many unfinished batches as the limits allow.
    #[error(
        "there are {limit} unfinished batches, the most that the limits allow; try again when some have ended"
    )]
    Full {
        /// The limit.
        limit: usize,
    },
    /// A record of the batch cannot be read: it is missing or damaged. The queue goes on.
    #[error("the batch cannot be read: {reason}")]
    Unreadable {
        /// Which record, and what is wrong with it.
        reason: String,
    },
    /// The queue has failed.
    #[error("the queue has failed: {reason}; open it again")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// The queue failed while the request was being stored. It may or may not be in force when the queue
    /// is opened again; ask again then.
    #[error(
        "the queue failed while the request was being stored: {reason}; it may or may not be stored"
    )]
    Unknown {
        /// What failed.
        reason: String,
    },
    /// This process was forked from the one that opened the queue. Nothing was done, and nothing is changed
    /// in the parent.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// Called inside a `read` of the same queue, or by a waker that the queue has called: either keeps the
    /// queue from storing anything.
    #[error("this cannot be done inside a read or a waker of the same queue")]
    WouldDeadlock,
}

/// Why an operation could not be paused or unpaused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PauseError {
    /// There is no such operation: it is not registered, and no unfinished batch names it.
    #[error("there is no operation {name:?}; known are {known:?}")]
    UnknownOperation {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The reason is too long.
    #[error("the reason has {bytes} bytes, allowed are up to {limit}")]
    ReasonTooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The queue has failed or is closed, or the request was made inside a read of it.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Why waiting for a batch ended without the batch having ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The batch's operation is not registered: it would not end until the application registers it and
    /// opens the queue again.
    #[error("the batch cannot go on: operation {operation:?} is not registered")]
    Unregistered {
        /// The operation's name.
        operation: String,
    },
    /// The batch's operation is held up by an item that cannot be decoded.
    #[error(
        "the batch cannot go on: operation {operation:?} has an item that cannot be decoded: {reason}"
    )]
    Undecodable {
        /// The operation's name.
        operation: String,
        /// Why.
        reason: String,
    },
    /// Called on one of the queue's own workers, or inside a read of the queue: it would wait for itself.
    /// Also the answer for every unfinished batch of a queue without worker threads, which nobody would
    /// complete: one opened [without workers](crate::Builder::without_workers), or one that a test drains.
    #[error(
        "this batch cannot be waited for: a handler or a read would wait for itself, and a queue without worker threads completes nothing by itself"
    )]
    WouldDeadlock,
    /// The queue has failed or is closed, or the batch cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Why a read did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A table could not be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The queue has failed.
    #[error("the queue has failed: {reason}; open it again")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// This process was forked from the one that opened the queue. Nothing was done, and nothing is changed
    /// in the parent.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// The queue is closed.
    #[error("the queue is closed")]
    Closed,
    /// Called inside another read of the same queue.
    #[error("a read cannot be made inside another read of the same queue")]
    WouldDeadlock,
}

/// Why a shutdown is not complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The limit passed and handlers, or reads, are still running. Nothing new starts; the directory
    /// stays locked until they end. Calling `shutdown` again waits again. When the queue has failed over
    /// a commit that does not end, only the end of the process frees the directory.
    #[error("{items} items are still with workers")]
    StillRunning {
        /// Items that workers have and that are not recorded yet.
        items: u64,
    },
    /// The queue has failed. Its threads have ended; what was not acknowledged may or may not be stored.
    #[error("the queue had failed: {reason}")]
    Failed {
        /// What failed.
        reason: String,
    },
    /// This process was forked from the one that opened the queue. Nothing was done, and nothing is changed
    /// in the parent.
    #[error("{}", forked(*pid))]
    Forked {
        /// The process that opened the queue.
        pid: u32,
    },
    /// Called on one of the queue's own threads, by a handler or a waker, or inside a read of the queue: it
    /// would wait for itself. The queue goes on.
    #[error("a handler, a waker or a read cannot shut down its own queue")]
    WouldDeadlock,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_stays_a_full_queue_where_a_batch_error_becomes_a_submit_error() {
        let full = SubmitError::from(BatchError::Full { limit: 7 });
        assert_eq!(full, SubmitError::Full { limit: 7 });
    }
}
