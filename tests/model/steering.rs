//! Stops, resumes, retries, deletions and pauses: what is asked, and what may be answered.

use crate::actions::Kind;
use crate::run::{Content, Held, Origin, Paused, Run, Stopped, UNFINISHED, Wrong, hold, name};
use batchwright::{BatchError, BatchId, PauseError, State, Status};
use proptest::sample::Index;
use std::time::Duration;

impl Run {
    pub(crate) fn note_stop(&mut self, id: BatchId, answer: Result<Status, BatchError>) -> Held {
        let known = self.know(id)?;
        match answer {
            Ok(status) => {
                let ends = status.stop_requested || status.state.has_ended();
                hold(ends, || format!("stopped, and shown as {status:?}"))?;
                if known.stopped != Stopped::Ended && status.state != State::Completed {
                    known.stopped = Stopped::Asked;
                }
                Ok(())
            }
            Err(BatchError::Unknown { .. }) => {
                known.stopped = match known.stopped {
                    Stopped::No | Stopped::Unknown => Stopped::Unknown,
                    // It was in force before.
                    stopped => stopped,
                };
                Ok(())
            }
            // Nothing is stored.
            Err(BatchError::Failed { .. } | BatchError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn resume(&mut self, which: &Index) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        let full = self.unfinished()? >= UNFINISHED;
        let batch = self.queue.batch(id)?;
        // Items in handlers of a stopping batch end by themselves.
        let stopped = self.know(id)?.stopped != Stopped::No;
        let is_stopped = stopped && batch.wait()?.status.state == State::Stopped;
        if is_stopped {
            self.check_batch(id)?;
        }
        let known = self.know(id)?;
        match batch.resume() {
            Ok(status) => {
                known.stopped = Stopped::No;
                hold(is_stopped, || {
                    format!("resumed, and was not stopped: {status:?}")
                })
            }
            Err(BatchError::NotStopped { state, .. }) => {
                hold(!is_stopped && state != State::Stopped, || {
                    format!("it is {state}, and should be stopped")
                })
            }
            Err(BatchError::Full { .. }) => hold(full && is_stopped, || "not full".to_owned()),
            Err(error) => Err(error.into()),
        }
    }

    /// Of a batch that has ended, so that it is known what has failed.
    pub(crate) fn retry_failed(&mut self, which: &Index) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        self.check_batch(id)?;
        if !self.know(id)?.has_ended() {
            return Ok(());
        }
        let full = self.unfinished()? >= UNFINISHED;
        let content = self.retry_of(id)?;
        let answer = self.queue.batch(id)?.retry_failed().map(|batch| batch.id());
        if let Err(BatchError::Full { .. }) = answer {
            return hold(full && !content.items.is_empty(), || "not full".to_owned());
        }
        self.note_retry(id, content, answer)
    }

    /// What a retry of the batch's failed items would submit.
    pub(crate) fn retry_of(&mut self, id: BatchId) -> Result<Content, Wrong> {
        let known = self.know(id)?;
        let indexes = known.to_retry();
        let items = indexes
            .iter()
            .map(|index| known.content.items[*index])
            .collect();
        Ok(Content {
            priority: known.content.priority,
            origin: Some(Origin {
                parent: id,
                indexes,
            }),
            ..Content::plain(known.content.kind, items)
        })
    }

    pub(crate) fn note_retry(
        &mut self,
        id: BatchId,
        content: Content,
        answer: Result<BatchId, BatchError>,
    ) -> Held {
        let known = self.know(id)?;
        let wrong = |text: &str| format!("{text}: {answer:?}, {known:?}");
        match &answer {
            Ok(new) => {
                hold(!content.items.is_empty(), || wrong("nothing to run again"))?;
                self.enter(*new, content);
                Ok(())
            }
            Err(BatchError::NothingFailed { .. }) => {
                let failed = known
                    .outcomes
                    .values()
                    .any(|o| o.outcome.failure().is_some());
                hold(!failed, || wrong("something failed"))
            }
            Err(BatchError::AlreadyRetried { .. }) => {
                let all = content.items.is_empty() && !known.retried.is_empty();
                hold(all, || wrong("not all of them"))
            }
            Err(BatchError::Unknown { .. }) => {
                self.unknown.push(content);
                Ok(())
            }
            // The last place went to somebody else; or nothing is stored.
            Err(BatchError::Full { .. } | BatchError::Failed { .. } | BatchError::Closed) => Ok(()),
            Err(error) => Err(error.clone().into()),
        }
    }

    pub(crate) fn delete(&mut self, which: &Index) -> Held {
        let Some(id) = self.pick(which) else {
            return Ok(());
        };
        self.check_batch(id)?;
        let ended = self.know(id)?.has_ended();
        if !ended && self.know(id)?.content.kind == Kind::Adding {
            // It may end now, and what it has added would not be known.
            return Ok(());
        }
        let batch = self.queue.batch(id)?;
        let answer = batch.delete();
        let is_gone = answer.is_ok();
        self.note_delete(id, ended, answer)?;
        if is_gone {
            let gone =
                |found: Option<BatchError>| matches!(found, Some(BatchError::NotFound { .. }));
            hold(gone(batch.status().err()), || {
                format!("batch {id} shows its status")
            })?;
            hold(gone(self.queue.batch(id).err()), || {
                format!("batch {id} is found")
            })?;
        }
        Ok(())
    }

    pub(crate) fn note_delete(
        &mut self,
        id: BatchId,
        ended: bool,
        answer: Result<(), BatchError>,
    ) -> Held {
        match answer {
            Ok(()) => {
                self.forget(id);
                Ok(())
            }
            Err(BatchError::NotEnded { .. }) => hold(!ended, || {
                format!("batch {id} has ended and is not deleted")
            }),
            Err(BatchError::Unknown { .. }) => {
                self.know(id)?.may_be_gone = true;
                Ok(())
            }
            Err(BatchError::Failed { .. } | BatchError::Closed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What ends while this goes on ends now, and is too young.
    pub(crate) fn prune(&mut self, seconds: u64) -> Held {
        self.settle()?;
        self.check()?;
        let older_than = Duration::from_secs(seconds.max(1));
        let cutoff = self.now() - older_than;
        let is_due = |status: &Status| status.ended_at.is_some_and(|at| at <= cutoff);
        let due: Vec<BatchId> = self
            .batches
            .iter()
            .filter(|(_, known)| known.last.as_ref().is_some_and(is_due))
            .map(|(id, _)| *id)
            .collect();
        let pruned = self.queue.prune(older_than)?;
        hold(pruned == due.len() as u64, || {
            format!("{pruned} batches were pruned, due are {due:?}")
        })?;
        for id in due {
            self.forget(id);
        }
        self.check()
    }

    /// Has the queue answer something that changes nothing. What ended before the clock was moved, and was
    /// still on its way to the disk, is then shown.
    fn settle(&mut self) -> Held {
        if self.paused.contains_key(&Kind::Free) {
            self.pause(Kind::Free)
        } else {
            self.unpause(Kind::Free)
        }
    }

    pub(crate) fn pause(&mut self, kind: Kind) -> Held {
        let answer = self.queue.pause(name(kind), "the model says so");
        self.note_pause(kind, answer)
    }

    pub(crate) fn note_pause(&mut self, kind: Kind, answer: Result<(), PauseError>) -> Held {
        match answer {
            Ok(()) => {
                self.paused.insert(kind, Paused::Yes);
                Ok(())
            }
            Err(PauseError::Batch(BatchError::Unknown { .. })) => {
                // When it was paused before it still is.
                self.paused.entry(kind).or_insert(Paused::Unknown);
                Ok(())
            }
            Err(PauseError::Batch(BatchError::Failed { .. } | BatchError::Closed)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn unpause(&mut self, kind: Kind) -> Held {
        self.queue.unpause(name(kind))?;
        self.paused.remove(&kind);
        for known in self.batches.values_mut() {
            if known.content.kind == kind {
                known.frozen = None;
            }
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> std::time::SystemTime {
        batchwright::Clock::now(&self.clock)
    }
}
