//! An embedded, durable batch-job engine.

mod error;
mod kernel;
pub mod limits;
mod store;

pub use error::OpenError;
pub use kernel::{BatchId, IllegalTransition, RetryPolicy, State};
