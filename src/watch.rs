//! Watching a batch: its status, whenever it has changed.

use crate::batch::Batch;
use crate::error::{BatchError, WaitError};
use crate::process;
use crate::status::Status;
use std::fmt;
use std::iter::FusedIterator;

/// The statuses of a batch, as they come: from [`Batch::watch`].
///
/// The first is of now, each further one differs from the one before, the last one is
/// [`Completed`](crate::State::Completed) or [`Stopped`](crate::State::Stopped). `next` waits for a change;
/// changes between two calls are one. Where [`Batch::wait`] gives an error the last item is that error:
/// also at once, when the batch has not ended and `next` would wait for itself, as in a handler or a read of
/// the same queue, or in a queue [without workers](crate::Builder::without_workers).
///
/// It does not keep the queue open. A batch that is resumed after it has been seen stopped is to be watched
/// anew.
#[must_use = "a watch looks only when it is asked for the next status"]
pub struct Watch<O> {
    batch: Batch<O>,
    last: Option<Status>,
    over: bool,
}

impl<O> Watch<O> {
    pub(crate) fn new(batch: Batch<O>) -> Self {
        batch.live().waiters.watch_begins();
        Self {
            batch,
            last: None,
            over: false,
        }
    }

    /// The batch that is watched.
    pub fn batch(&self) -> &Batch<O> {
        &self.batch
    }

    /// What there is to tell now, if anything.
    fn look(&mut self) -> Option<Result<Status, WaitError>> {
        let progress = self.batch.live().progress();
        let settled = self.batch.settled(&progress);
        let ended = progress.state.has_ended();
        if !ended && self.batch.would_wait_for_itself() {
            self.over = true;
            return Some(Err(WaitError::WouldDeadlock));
        }
        // What memory says is not to be trusted when the queue has failed.
        if !matches!(settled, Some(Err(WaitError::Batch(_)))) {
            let status = self.batch.shown(&progress);
            if self.last.as_ref() != Some(&status) {
                self.over = ended;
                self.last = Some(status.clone());
                return Some(Ok(status));
            }
        }
        let error = settled?.err()?;
        self.over = true;
        Some(Err(error))
    }
}

impl<O> Iterator for Watch<O> {
    type Item = Result<Status, WaitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(forked) = process::check()
            && !self.over
        {
            self.over = true;
            return Some(Err(BatchError::from(forked).into()));
        }
        while !self.over {
            let moment = self.batch.live().waiters.moment();
            let news = self.look();
            if news.is_some() {
                return news;
            }
            self.batch.live().waiters.wait_past(moment);
        }
        None
    }
}

impl<O> FusedIterator for Watch<O> {}

impl<O> Drop for Watch<O> {
    fn drop(&mut self) {
        self.batch.live().waiters.watch_ends();
    }
}

impl<O> fmt::Debug for Watch<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}
