//! A handle on one batch.

use crate::error::{BatchError, WaitError};
use crate::failure::{self, Failure};
use crate::items::Items;
use crate::kernel::BatchId;
use crate::operation::Operation;
use crate::outcome::{Outcomes, read_error};
use crate::process;
use crate::retry_failed;
use crate::runtime::{
    Command, Deletion, Live, Progress, Resolution, Shared, Steered, would_wait_for_itself,
    write_output,
};
use crate::status::{Blocked, Report, Status};
use crate::store::journal::{Block, End, ItemEntry};
use crate::target;
use crate::watch::Watch;
use crossbeam_channel::Sender;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// In place of an operation: items and outputs are read as [`serde_json::Value`].
#[derive(Debug, Clone, Copy)]
pub enum Json {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Json {}
    impl<O: super::Operation> Sealed for O {}
}

/// What a [`Batch`] may be of: an operation, or [`Json`].
pub trait BatchType: sealed::Sealed {
    /// What items are read as.
    type Item: DeserializeOwned;
    /// What outputs are read as.
    type Output: Serialize + DeserializeOwned;
}

impl BatchType for Json {
    type Item = serde_json::Value;
    type Output = serde_json::Value;
}

impl<O: Operation> BatchType for O {
    type Item = O::Item;
    type Output = O::Output;
}

/// A handle on a batch: from [`Queue::submit`](crate::Queue::submit), or from
/// [`Queue::batch`](crate::Queue::batch) with outputs as [`Json`].
///
/// Cheap to clone. It does not keep the queue open: after shutdown every call answers `Closed`.
pub struct Batch<O = Json> {
    shared: Arc<Shared>,
    live: Arc<Live>,
    operation: PhantomData<fn() -> O>,
}

impl<O> Batch<O> {
    pub(crate) fn new(shared: Arc<Shared>, live: Arc<Live>) -> Self {
        Self {
            shared,
            live,
            operation: PhantomData,
        }
    }

    /// The same batch, with outputs to be read as JSON.
    #[cfg(feature = "testing")]
    pub(crate) fn as_json(&self) -> Batch<Json> {
        Batch::new(Arc::clone(&self.shared), Arc::clone(&self.live))
    }

    /// The batch's number in its store.
    pub fn id(&self) -> BatchId {
        self.live.id
    }

    /// Where the batch stands. Reads memory only and waits for nobody.
    ///
    /// # Errors
    /// When the queue has failed or is closed: what memory says is then not to be trusted; or when the batch
    /// was deleted.
    pub fn status(&self) -> Result<Status, BatchError> {
        self.check()?;
        Ok(self.shown(&self.live.progress()))
    }

    /// Refuses when the queue has failed or is closed, or the batch is deleted.
    fn check(&self) -> Result<(), BatchError> {
        self.shared.check()?;
        let id = self.live.id;
        if self.live.is_deleted() {
            return Err(BatchError::NotFound { id });
        }
        Ok(())
    }

    pub(crate) fn shown(&self, progress: &Progress) -> Status {
        let ended = progress.state.has_ended();
        let blocked = self.shared.blocked(&self.live).filter(|_| !ended);
        Status::new(&self.live, progress, blocked)
    }

    /// Stops the batch: when this returns, the request is durable and no further item of the batch
    /// starts. Items in a handler end as they end and are recorded; until then the batch is running with
    /// `stop_requested`, and [`wait`](Self::wait) waits for them. An item has started when its worker has
    /// passed the batch's gate, an instant before its handler's first line. Stopping a batch that has
    /// ended changes nothing.
    ///
    /// # Errors
    /// [`BatchError::Unknown`] when the queue failed on the way: the request may be in force when it is
    /// opened again.
    pub fn stop(&self) -> Result<Status, BatchError> {
        if self.live.progress().state.has_ended() {
            return self.status();
        }
        self.steer(|reply| Command::Stop(self.live.id, reply))?;
        // In force, whatever becomes of the queue meanwhile.
        Ok(self.shown(&self.live.progress()))
    }

    /// Lets a stopped batch go on: durable when this returns. Every item without an outcome runs;
    /// attempts are counted on.
    ///
    /// # Errors
    /// [`BatchError::NotStopped`] unless the batch is stopped, [`BatchError::Unregistered`],
    /// [`BatchError::Full`], [`BatchError::Unreadable`] when its journal is damaged, [`BatchError::Unknown`]
    /// when the queue failed on the way.
    pub fn resume(&self) -> Result<Status, BatchError> {
        self.check()?;
        if self.is_unregistered() {
            return Err(self.unregistered());
        }
        self.steer(|reply| Command::Resume(Arc::clone(&self.live), reply))?;
        Ok(self.shown(&self.live.progress()))
    }

    /// Makes items of this batch that cannot be decoded fail, with the code
    /// [`UNREADABLE_ITEM`](crate::Failure::UNREADABLE_ITEM), where they would hold up their operation: the
    /// way out when no deploy will read them again. Durable when this returns; if an item of this batch
    /// holds up the operation, the operation goes on.
    ///
    /// # Errors
    /// [`BatchError::Ended`] when the batch has ended (a stopped one is to be resumed first),
    /// [`BatchError::Unknown`] when the queue failed on the way.
    pub fn fail_undecodable(&self) -> Result<Status, BatchError> {
        self.steer(|reply| Command::FailUndecodable(self.live.id, reply))?;
        Ok(self.shown(&self.live.progress()))
    }

    /// Deletes a batch that was completed or stopped, with its items and outcomes: durable when this
    /// returns. Afterwards every call on it answers [`BatchError::NotFound`]. What its items wrote to tables
    /// stays, and so does its idempotency key: submitting under it again answers
    /// [`SubmitError::Deleted`](crate::SubmitError::Deleted) until the key expires.
    ///
    /// # Errors
    /// [`BatchError::NotEnded`], [`BatchError::NotFound`] when it was deleted before,
    /// [`BatchError::Unreadable`] when the store cannot read it, [`BatchError::Unknown`] when the queue failed
    /// on the way.
    pub fn delete(&self) -> Result<(), BatchError> {
        self.steer(|reply| Command::Delete(Deletion::One(self.live.id), reply))
    }

    /// Submits the items of this batch that have failed so far as a new batch, with the same owner, label
    /// and priority: durable when this returns. The new batch's
    /// [`Status::retry_of`](crate::Status::retry_of) is this one, and an item's
    /// [idempotency key](crate::Context::idempotency_key) stays what it was. An item is run again by one
    /// batch only: calling this twice cannot run it twice. Where items failed as
    /// [`UNREADABLE_ITEM`](crate::Failure::UNREADABLE_ITEM), those of the new batch that still cannot be
    /// decoded fail again, as after [`fail_undecodable`](Self::fail_undecodable).
    ///
    /// # Errors
    /// [`BatchError::NothingFailed`], [`BatchError::AlreadyRetried`] with the batch that runs the failed
    /// items again, [`BatchError::Unregistered`], [`BatchError::Full`], [`BatchError::Unreadable`],
    /// [`BatchError::Unknown`] when the queue failed on the way: call it again after opening the queue.
    pub fn retry_failed(&self) -> Result<Self, BatchError> {
        self.check()?;
        match self.live.operation.filter(|_| !self.is_unregistered()) {
            Some(operation) => retry_failed::retry_failed(&self.shared, &self.live, operation),
            None => Err(self.unregistered()),
        }
    }

    /// Says what became of an item that is [in doubt](crate::Outcome::InDoubt): its output, or how it failed. Durable
    /// when this returns, and the item's outcome from then on. It is said once, and changes nothing of where the
    /// batch stands: an item in doubt has ended.
    ///
    /// # Errors
    /// [`BatchError::NotInDoubt`] when the item is not in doubt, also because somebody has said so before;
    /// [`BatchError::InvalidOutput`], [`BatchError::Unregistered`], [`BatchError::Unreadable`] when its journal is
    /// damaged, [`BatchError::Unknown`] when the queue failed on the way.
    pub fn resolve(
        &self,
        index: usize,
        outcome: Result<O::Output, Failure>,
    ) -> Result<Status, BatchError>
    where
        O: BatchType,
    {
        self.check()?;
        if self.is_unregistered() {
            return Err(self.unregistered());
        }
        let id = self.live.id;
        let not_in_doubt = || BatchError::NotInDoubt { id, index };
        let at = u16::try_from(index).map_err(|_| not_in_doubt())?;
        let resolution = resolution(at, outcome)?;
        let live = Arc::clone(&self.live);
        let command = |reply| Command::Resolve(live, Box::new(resolution), reply);
        match self.shared.steer(command)? {
            Steered::NotInDoubt => Err(not_in_doubt()),
            Steered::NotFound => Err(BatchError::NotFound { id }),
            _ => Ok(self.shown(&self.live.progress())),
        }
    }

    fn is_unregistered(&self) -> bool {
        self.shared.blocked(&self.live) == Some(Blocked::Unregistered)
    }

    fn unregistered(&self) -> BatchError {
        let operation = self.live.operation_name.to_string();
        BatchError::Unregistered { operation }
    }

    fn steer(&self, command: impl FnOnce(Sender<Steered>) -> Command) -> Result<(), BatchError> {
        self.check()?;
        let id = self.live.id;
        match self.shared.steer(command)? {
            Steered::NotStopped { state } => Err(BatchError::NotStopped { id, state }),
            Steered::NotEnded { state } => Err(BatchError::NotEnded { id, state }),
            Steered::NotFound => Err(BatchError::NotFound { id }),
            Steered::Ended => Err(BatchError::Ended { id }),
            _ => Ok(()),
        }
    }

    /// Waits until the batch has ended, also through a [pause](crate::Queue::pause) of its operation.
    ///
    /// # Errors
    /// When the batch cannot end ([`WaitError::Unregistered`], [`WaitError::Undecodable`]; after what runs of
    /// it has ended), when the queue fails or closes, or at once when called from a handler of the same
    /// queue, or on a queue [without workers](crate::Builder::without_workers).
    pub fn wait(&self) -> Result<Report, WaitError> {
        self.wait_until(None).map(|report| match report {
            Some(report) => report,
            None => unreachable!("without a deadline the wait ends with an answer"),
        })
    }

    /// Waits until the batch has ended, at most `limit`; `None` when the limit passed first.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, limit: Duration) -> Result<Option<Report>, WaitError> {
        // A limit past the end of time is no limit.
        self.wait_until(Instant::now().checked_add(limit))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<Option<Report>, WaitError> {
        process::check()?;
        if self.would_wait_for_itself() && !self.live.progress().state.has_ended() {
            return Err(WaitError::WouldDeadlock);
        }
        let ready = || self.settled(&self.live.progress());
        match self.live.waiters.wait_until(deadline, ready) {
            None => Ok(None),
            Some(settled) => {
                settled?;
                Ok(Some(self.report()?))
            }
        }
    }

    /// Whether this thread is one that the batch may be waiting for. So is every one where there are no
    /// workers, until the queue is closed and nothing is waited for any more.
    pub(crate) fn would_wait_for_itself(&self) -> bool {
        (!self.shared.has_workers && !self.shared.is_closed())
            || would_wait_for_itself(Arc::as_ptr(&self.shared))
    }

    /// Whether there is nothing to wait for: the batch has ended, or it cannot.
    pub(crate) fn settled(&self, progress: &Progress) -> Option<Result<(), WaitError>> {
        if let Err(error) = self.check() {
            return Some(Err(error.into()));
        }
        if progress.state.has_ended() {
            return Some(Ok(()));
        }
        if progress.in_flight > 0 || progress.stop_requested {
            // What runs may yet end the batch.
            return None;
        }
        let operation = || self.live.operation_name.to_string();
        match self.shared.blocked(&self.live)? {
            Blocked::Unregistered => Some(Err(WaitError::Unregistered {
                operation: operation(),
            })),
            Blocked::Undecodable { reason } => Some(Err(WaitError::Undecodable {
                operation: operation(),
                reason,
            })),
            // It ends when somebody says so.
            Blocked::Paused { .. } => None,
        }
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// Watches the batch: its status now, and then whenever something in it has changed.
    ///
    /// Who looks seldom sees the latest and not what was between. Nothing waits for a watcher, and a batch
    /// that nobody watches costs nothing more.
    ///
    /// ```
    /// # use batchwright::{Batch, WaitError};
    /// # fn example(batch: &Batch) -> Result<(), WaitError> {
    /// for status in batch.watch() {
    ///     println!("{}", status?); // the last one is completed or stopped
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self) -> Watch<O> {
        Watch::new(self.clone())
    }

    /// Counts, duration and failures by code, now. Reads memory only and waits for nobody.
    ///
    /// # Errors
    /// When the queue has failed or is closed, or the batch was deleted.
    pub fn report(&self) -> Result<Report, BatchError> {
        self.check()?;
        let progress = self.live.progress();
        let status = self.shown(&progress);
        let until = status
            .ended_at
            .unwrap_or_else(|| self.shared.timeline.now().to_system_time());
        let duration = status
            .started_at
            .and_then(|since: SystemTime| until.duration_since(since).ok())
            .unwrap_or_default();
        Ok(Report {
            status,
            duration,
            failures: failures(&progress),
        })
    }

    /// This batch, as one of operation `P`: of the type that is registered under the name of the batch's
    /// operation, whatever that name is. Where none is registered, by the names of `P`.
    ///
    /// # Errors
    /// [`BatchError::WrongOperation`] when it is of another.
    pub fn typed<P: Operation>(&self) -> Result<Batch<P>, BatchError> {
        let found = &*self.live.operation_name;
        let registered = self.live.operation.map(|at| self.shared.operation(at));
        let is_one = match registered.and_then(|registered| registered.handler.as_deref()) {
            Some(handler) => target::is_of_type::<P>(handler),
            None => found == P::NAME || P::ALIASES.contains(&found),
        };
        if !is_one {
            let expected = if found == P::NAME {
                std::any::type_name::<P>()
            } else {
                P::NAME
            };
            return Err(BatchError::WrongOperation {
                id: self.live.id,
                found: found.to_owned(),
                expected: expected.to_owned(),
            });
        }
        Ok(Batch::new(Arc::clone(&self.shared), Arc::clone(&self.live)))
    }
}

impl<O: BatchType> Batch<O> {
    /// The items as they were submitted, in order.
    ///
    /// # Errors
    /// When the queue has failed or is closed, or the batch was deleted; also from the iterator, and there
    /// [`BatchError::UndecodableItem`] and [`BatchError::Unreadable`].
    pub fn items(&self) -> Result<Items<O>, BatchError> {
        self.check()?;
        Ok(Items::new(&self.shared, &self.live))
    }

    /// The outcomes there are, in item order.
    ///
    /// # Errors
    /// [`BatchError::Unreadable`], or when the queue has failed or is closed; also from the iterator.
    pub fn outcomes(&self) -> Result<Outcomes<O>, BatchError> {
        self.check()?;
        Outcomes::open(&self.shared, &self.live)
    }
}

/// What is stored of an item's resolution.
pub(crate) fn resolution<T: Serialize>(
    index: u16,
    outcome: Result<T, Failure>,
) -> Result<Resolution, BatchError> {
    let mut json = Vec::new();
    let (output, failure) = match outcome {
        Ok(output) => {
            write_output(&output, &mut json).map_err(|failure| BatchError::InvalidOutput {
                index: usize::from(index),
                reason: failure.message,
            })?;
            (String::from_utf8_lossy(&json), None)
        }
        Err(failure) => (Cow::default(), Some(failure)),
    };
    let details = failure
        .as_ref()
        .and_then(|failure| failure.details.as_ref());
    let details = details.map(failure::stored_details);
    let entry = failure
        .as_ref()
        .map(|failure| failure.to_entry(details.as_deref()));
    let failure_code = entry.as_ref().map(|entry| entry.code.to_string());
    let item = ItemEntry {
        index,
        // What runs at most once has made one.
        attempt: 1,
        end: entry.map_or(End::Succeeded(&output), End::Failed),
    };
    let block = Block::resolution(item).map_err(read_error)?;
    Ok(Resolution {
        index,
        block,
        failure_code,
    })
}

fn failures(progress: &Progress) -> BTreeMap<String, u64> {
    let mut failures = progress.failures.to_map();
    if progress.in_doubt > 0 {
        *failures.entry(Failure::IN_DOUBT.to_owned()).or_default() += u64::from(progress.in_doubt);
    }
    failures
}

impl<O> Clone for Batch<O> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared), Arc::clone(&self.live))
    }
}

impl<O> fmt::Debug for Batch<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("id", &self.live.id)
            .field("operation", &self.live.operation_name)
            .finish_non_exhaustive()
    }
}
