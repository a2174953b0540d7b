//! An embedded, durable batch-job engine.

mod error;
pub mod limits;
mod store;

pub use error::OpenError;
