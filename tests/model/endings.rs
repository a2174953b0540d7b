//! How the queue comes to an end, and what is there when it is opened again.

use crate::actions::{Amid, End, Kind};
use crate::operations::Item;
use crate::run::{
    AMPLE, Content, Held, Paused, Run, Stopped, UNFINISHED, Wrong, hold, is_name, name, open,
    submit,
};
use batchwright::testing::CommitFault;
use batchwright::{BatchError, BatchFilter, BatchId, Blocked, PauseError, Queue, State, Status};
use proptest::sample::Index;
use std::collections::BTreeSet;
use std::thread;

/// What is asked of the queue while it ends.
enum Request {
    Stop(BatchId),
    Delete(BatchId),
    Retry(BatchId, Content),
    Pause(Kind),
}

enum Answer {
    Stopped(Result<Status, BatchError>),
    Deleted(Result<(), BatchError>),
    Retried(Result<BatchId, BatchError>),
    Paused(Result<(), PauseError>),
}

impl Request {
    fn ask(&self, queue: &Queue) -> Answer {
        match self {
            Self::Stop(id) => Answer::Stopped(queue.batch(*id).and_then(|batch| batch.stop())),
            Self::Delete(id) => Answer::Deleted(queue.batch(*id).and_then(|batch| batch.delete())),
            Self::Retry(id, _) => {
                let retried = queue.batch(*id).and_then(|batch| batch.retry_failed());
                Answer::Retried(retried.map(|batch| batch.id()))
            }
            Self::Pause(kind) => Answer::Paused(queue.pause(name(*kind), "amid")),
        }
    }
}

impl Run {
    /// A submission and a request are under way when the queue comes to its end.
    pub(crate) fn end_amid(
        &mut self,
        end: End,
        content: Content,
        which: &Index,
        amid: Amid,
    ) -> Held {
        if self.unfinished()? >= UNFINISHED {
            // Nothing would be committed.
            self.end(end)?;
            return self.reopen();
        }
        let request = self.request(which, amid)?;
        let held = self.disk.hold_commits();
        let (submitted, answer) = thread::scope(|scope| -> Result<_, Wrong> {
            let queue = &self.queue;
            let submitting = scope.spawn(|| submit(queue, &content));
            let asking = scope.spawn(|| request.as_ref().map(|request| request.ask(queue)));
            let committing = held.wait_for_commit();
            match end {
                End::PowerCut => self.disk.cut_power(),
                End::Kill => self.disk.kill_process(),
                End::FailedCommit { done } => self.disk.fail_next_commit(fault(done)),
                End::Shutdown => {}
            }
            drop(held);
            let panicked = |_| Wrong("a caller panicked".to_owned());
            let submitted = submitting.join().map_err(panicked)?;
            let answer = asking.join().map_err(panicked)?;
            hold(committing, || "no commit came".to_owned())?;
            Ok((submitted, answer))
        })?;
        self.note_submit(content, submitted)?;
        match (request, answer) {
            (Some(Request::Stop(id)), Some(Answer::Stopped(answer))) => {
                self.note_stop(id, answer)?;
            }
            (Some(Request::Delete(id)), Some(Answer::Deleted(answer))) => {
                self.note_delete(id, true, answer)?;
            }
            (Some(Request::Retry(id, content)), Some(Answer::Retried(answer))) => {
                self.note_retry(id, content, answer)?;
            }
            (Some(Request::Pause(kind)), Some(Answer::Paused(answer))) => {
                self.note_pause(kind, answer)?;
            }
            (request, answer) => {
                let matches = request.is_none() && answer.is_none();
                hold(matches, || "an answer to nothing".to_owned())?;
            }
        }
        self.end(end)?;
        self.reopen()
    }

    /// A request that can be made of the batch as it stands.
    fn request(&mut self, which: &Index, amid: Amid) -> Result<Option<Request>, Wrong> {
        if let Amid::Pause(kind) = amid {
            return Ok(Some(Request::Pause(kind)));
        }
        let Some(id) = self.pick(which) else {
            return Ok(None);
        };
        self.check_batch(id)?;
        let ended = self.know(id)?.has_ended();
        let content = self.retry_of(id)?;
        Ok(Some(match amid {
            Amid::Delete if ended => Request::Delete(id),
            Amid::Retry if ended && !content.items.is_empty() => Request::Retry(id, content),
            _ => Request::Stop(id),
        }))
    }

    pub(crate) fn end(&mut self, end: End) -> Held {
        match end {
            End::Shutdown => self.queue.shutdown(AMPLE)?,
            // Dropped when the next one is there.
            End::PowerCut => {
                self.crashed = true;
                self.disk.cut_power();
            }
            End::Kill => {
                self.crashed = true;
                self.disk.kill_process();
            }
            End::FailedCommit { done } => {
                self.crashed = true;
                self.disk.fail_next_commit(fault(done));
                // So that there is a commit, if nothing else makes one.
                let items = vec![Item {
                    fate: crate::operations::Fate::Succeeds,
                    place: 0,
                    amount: 1,
                }];
                let content = Content::plain(Kind::Adding, items);
                let answer = submit(&self.queue, &content);
                self.note_submit(content, answer)?;
                // A fault that is still there must not meet the next opening.
                self.disk.cut_power();
            }
        }
        Ok(())
    }

    /// Opens the disk again and settles what was unknown.
    pub(crate) fn reopen(&mut self) -> Held {
        if self.queue.stats().is_ok() {
            // Only a clone-free drop lets go of the disk.
            self.queue.shutdown(AMPLE)?;
        }
        self.renamed = !self.renamed;
        (self.queue, self.witness) = open(&self.disk, &self.clock, self.renamed, &self.witness)?;
        let mut there: Vec<Status> = Vec::new();
        for status in self.queue.batches(BatchFilter::all()) {
            there.push(status?);
        }
        let ids: BTreeSet<BatchId> = there.iter().map(|status| status.id).collect();
        for id in self.batches.keys().copied().collect::<Vec<_>>() {
            let gone = self.know(id)?.may_be_gone && !ids.contains(&id);
            self.know(id)?.may_be_gone = false;
            if gone {
                self.forget(id);
            }
        }
        self.settle_pauses()?;
        there.retain(|status| !self.batches.contains_key(&status.id));
        for status in there.iter().rev() {
            let fits = |content: &Content| {
                let parent = content.origin.as_ref().map(|origin| origin.parent);
                content.items.len() as u64 == status.total
                    && is_name(content.kind, &status.operation)
                    && (content.priority, content.not_before, parent)
                        == (status.priority, status.not_before, status.retry_of)
            };
            let at = self.unknown.iter().position(fits).ok_or_else(|| {
                Wrong(format!(
                    "a batch that nobody submitted is there: {status:?}"
                ))
            })?;
            let content = self.unknown.swap_remove(at);
            self.enter(status.id, content);
        }
        // What was not there now will not come later.
        self.unknown.clear();
        for id in self.batches.keys().copied().collect::<Vec<_>>() {
            let status = self.queue.batch(id)?.status()?;
            let known = self.know(id)?;
            if known.stopped == Stopped::Unknown {
                known.stopped = match status.state {
                    State::Stopped => Stopped::Ended,
                    _ => Stopped::No,
                };
                known.last = None;
            }
            // Nothing is in flight after an opening: a stop has been carried out.
            let stopping = known.stopped != Stopped::No;
            hold(!stopping || status.state.has_ended(), || {
                format!("the stop was lost: {status:?}")
            })?;
        }
        self.check()
    }

    /// A pause that met a failing commit is in force or not.
    fn settle_pauses(&mut self) -> Held {
        for operation in self.queue.stats()?.operations {
            let shown = matches!(operation.blocked, Some(Blocked::Paused { .. }));
            let Some(kind) = Kind::ALL
                .into_iter()
                .find(|kind| is_name(*kind, &operation.name))
            else {
                continue;
            };
            match self.paused.get(&kind) {
                Some(Paused::Unknown) if shown => drop(self.paused.insert(kind, Paused::Yes)),
                Some(Paused::Unknown) => drop(self.paused.remove(&kind)),
                known => hold(known.is_some() == shown, || {
                    format!("{kind:?} is paused: {shown}, it should be {known:?}")
                })?,
            }
        }
        Ok(())
    }
}

fn fault(done: bool) -> CommitFault {
    if done {
        CommitFault::Done
    } else {
        CommitFault::NotDone
    }
}
