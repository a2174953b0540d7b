//! An embedded, durable batch-job engine.

mod batch;
mod builder;
mod clock;
mod context;
mod error;
mod failure;
mod import;
mod kernel;
pub mod limits;
mod operation;
mod outcome;
mod platform;
mod queue;
mod read;
mod runtime;
mod stats;
mod status;
mod store;
mod submission;
mod table;
#[cfg(feature = "testing")]
pub mod testing;

pub use batch::{Batch, BatchType, Json};
pub use builder::Builder;
pub use clock::{Clock, SystemClock, Wake};
pub use context::{Context, IdempotencyKey};
pub use error::{
    BatchError, ImportError, InvalidItem, OpenError, ReadError, ShutdownError, SubmitError,
    WaitError,
};
pub use failure::Failure;
pub use import::Import;
pub use kernel::{BatchId, RetryPolicy, State};
pub use operation::{AtLeastOnce, ExactlyOnce, Guarantee, Operation};
pub use outcome::{ItemOutcome, Outcome, Outcomes};
pub use queue::{Batches, Queue};
pub use read::Reader;
pub use stats::{OperationStats, Stats};
pub use status::{BatchFilter, Blocked, Report, Status};
pub use store::rows::Rows;
pub use submission::SubmitOptions;
pub use table::{KeyRange, Table, TableError, TableKey};
