//! Pausing an operation, and letting it go on.

use crate::error::PauseError;
use crate::limits;
use crate::queue::Queue;
use crate::runtime::Command;

impl Queue {
    /// Pauses an operation: when this returns, that is durable, and no further item of the operation
    /// starts, also not after the queue is opened again. Items in a handler end as they end. Batches can
    /// be submitted, and wait. Pausing what is paused replaces the reason, which is shown by
    /// [`stats`](Self::stats) and [`Status::blocked`](crate::Status::blocked); at most
    /// [`FAILURE_MESSAGE_BYTES`](limits::FAILURE_MESSAGE_BYTES).
    ///
    /// # Errors
    /// [`PauseError`]. After [`BatchError::Unknown`](crate::BatchError::Unknown) it may be in force when the
    /// queue is opened again.
    pub fn pause(&self, operation: &str, reason: impl Into<String>) -> Result<(), PauseError> {
        let reason = reason.into();
        let (bytes, limit) = (reason.len(), limits::FAILURE_MESSAGE_BYTES);
        if bytes > limit {
            return Err(PauseError::ReasonTooLong { bytes, limit });
        }
        self.shared().check()?;
        let operation = self.known(operation)?;
        let command = |reply| Command::Pause(operation, reason, reply);
        self.shared().steer(command)?;
        Ok(())
    }

    /// Lets an operation go on that was [paused](Self::pause), or that an undecodable item holds up; in
    /// the second case it is held up again when the item still cannot be decoded. Durable when this
    /// returns. Does nothing to an operation that goes on anyway.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub fn unpause(&self, operation: &str) -> Result<(), PauseError> {
        self.shared().check()?;
        let operation = self.known(operation)?;
        let command = |reply| Command::Unpause(operation, reply);
        self.shared().steer(command)?;
        Ok(())
    }

    fn known(&self, name: &str) -> Result<crate::kernel::OperationIndex, PauseError> {
        let shared = self.shared();
        let found = shared.operation_named(name);
        found.ok_or_else(|| PauseError::UnknownOperation {
            name: name.to_owned(),
            known: shared
                .operations
                .iter()
                .map(|operation| operation.name.to_string())
                .collect(),
        })
    }
}
