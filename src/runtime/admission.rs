//! How the writer takes in a submission: under its idempotency key, as a retry of failed items, as a new batch.

use super::command::{RetryOrigin, Submission, Submitted};
use super::failures::FailureCounts;
use super::pace::Pace;
use super::recovery;
use super::writer::{Active, Caller, Writer};
use crate::kernel::{BatchId, Input, Ticket};
use crate::store::{StoreError, keys};
use crossbeam_channel::Sender;
use std::sync::Arc;

impl Writer {
    pub(super) fn submit(
        &mut self,
        submission: Box<Submission>,
        reply: Sender<Submitted>,
    ) -> Result<(), StoreError> {
        let used = match &submission.idempotency {
            Some(idempotency) => match self.key_use(idempotency) {
                Ok(used) => used,
                Err(error) => {
                    // Answered when the queue has latched: the answer is why.
                    self.unbegun.push(reply);
                    return Err(error);
                }
            },
            None => None,
        };
        if let (Some(idempotency), Some(used)) = (&submission.idempotency, used) {
            let batch = used.batch;
            let answer = if used.content == idempotency.content {
                Submitted::Before(batch)
            } else {
                Submitted::Conflict { batch }
            };
            self.round.joiners.push((reply, answer));
            return Ok(());
        }
        if let Some(retry) = &submission.origin {
            match self.obstacle(retry) {
                Ok(None) => {}
                Ok(Some(answer)) => {
                    // That the other batch is deleted is not durable yet.
                    self.round.joiners.push((reply, answer));
                    return Ok(());
                }
                Err(error) => {
                    self.unbegun.push(reply);
                    return Err(error);
                }
            }
        }
        let operation = submission.operation;
        let total = submission.total;
        let terms = submission.terms.clone();
        let ticket = self.ticket(Caller::Submitter(reply, Some(submission)));
        self.handle(Input::Submitted {
            ticket,
            operation,
            total,
            terms,
        })
    }

    /// Why failed items cannot be run again as they were prepared, if so.
    pub(super) fn obstacle(&self, retry: &RetryOrigin) -> Result<Option<Submitted>, StoreError> {
        let parent = retry.parent;
        let there = self.committer.value(&keys::header(parent))?.is_some();
        if !there || self.round.deleted.contains(&parent) {
            return Ok(Some(Submitted::NotFound));
        }
        let mut siblings = recovery::find_retries(&self.committer, parent)?.len();
        siblings += self.round.retried.get(&parent).copied().unwrap_or(0);
        Ok((siblings != retry.siblings).then_some(Submitted::Overtaken))
    }

    pub(super) fn admit(
        &mut self,
        ticket: Ticket,
        batch: BatchId,
        position: u64,
    ) -> Result<(), StoreError> {
        let Some(Caller::Submitter(reply, submission)) = self.callers.get_mut(&ticket) else {
            return Err(StoreError("an admission that nobody asked for".to_owned()));
        };
        let Some(submission) = submission.take() else {
            return Err(StoreError("a submission was admitted twice".to_owned()));
        };
        let caller = Caller::Admitted(reply.clone(), batch);
        self.callers.insert(ticket, caller);
        let now = self.shared.timeline.now();
        let live = self.write_batch(batch, position, *submission, now)?;
        let active = Active {
            live: Arc::new(live),
            failures: FailureCounts::default(),
            pace: Pace::default(),
            next_segment: 0,
            journal_bytes: 0,
        };
        self.round.admitted.push(Arc::clone(&active.live));
        self.active.insert(batch, active);
        Ok(())
    }
}
