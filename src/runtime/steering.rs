//! What the writer is asked of batches and operations: to resume or delete one, to pause or unpause one.

use super::command::{Command, Deletion, Steered};
use super::live::Live;
use super::pace::Pace;
use super::recovery;
use super::writer::{Active, Caller, Writer};
use crate::events::QueueEvent;
use crate::kernel::{BatchId, Input, OperationIndex, Timestamp};
use crate::limits;
use crate::status::Blocked;
use crate::store::record::Summary;
use crate::store::{StoreError, codec, keys};
use crossbeam_channel::Sender;
use std::sync::Arc;

impl Writer {
    pub(super) fn resume(
        &mut self,
        live: Arc<Live>,
        reply: Sender<Steered>,
    ) -> Result<(), StoreError> {
        let batch = live.id;
        if live.is_deleted() {
            let _ = reply.send(Steered::NotFound);
            return Ok(());
        }
        if self.round.deleted.contains(&batch) {
            // Once that is durable it can be spoken of.
            self.round.deferred.push(Command::Resume(live, reply));
            return Ok(());
        }
        if let Some(view) = self.kernel.view(batch) {
            let state = view.phase.state();
            if state.has_ended() {
                // Its end is in this round: once that is durable it can be resumed, or spoken of.
                self.round.deferred.push(Command::Resume(live, reply));
                return Ok(());
            }
            let _ = reply.send(Steered::NotStopped { state });
            return Ok(());
        }
        if self.is_in_flux(batch) {
            self.round.deferred.push(Command::Resume(live, reply));
            return Ok(());
        }
        let loaded = match recovery::load_batch(&self.committer, &live, 0) {
            Ok(loaded) => loaded,
            Err(StoreError(reason)) => {
                // Nothing is being written, and other batches are none the worse.
                let _ = reply.send(Steered::Unreadable { reason });
                return Ok(());
            }
        };
        if loaded.batch.state.fails_undecodable {
            live.fail_undecodable();
        }
        let active = Active {
            live,
            failures: loaded.failures,
            pace: Pace::default(),
            next_segment: loaded.next_segment,
            journal_bytes: loaded.journal_bytes,
        };
        let ticket = self.ticket(Caller::Resumer(reply, active));
        self.handle(Input::ResumeRequested {
            ticket,
            batch: loaded.batch,
        })
    }

    /// A stopped batch goes on: it is active again.
    pub(super) fn rejoin(&mut self, batch: BatchId) {
        let found = self.callers.values().find_map(|caller| match caller {
            Caller::Resumer(_, active) if active.live.id == batch => Some(active.clone()),
            _ => None,
        });
        if let Some(active) = found {
            self.round.rejoined.insert(batch);
            self.active.insert(batch, active);
        }
    }

    pub(super) fn delete(
        &mut self,
        deletion: Deletion,
        reply: Sender<Steered>,
    ) -> Result<(), StoreError> {
        let batches = match &deletion {
            Deletion::One(batch) => std::slice::from_ref(batch),
            Deletion::Ended(batches, _) => batches,
        };
        if batches.iter().any(|batch| self.is_in_flux(*batch)) {
            self.round.deferred.push(Command::Delete(deletion, reply));
            return Ok(());
        }
        let answer = match deletion {
            Deletion::One(batch) => {
                let deleted = self.delete_one(batch, None);
                deleted.unwrap_or_else(|StoreError(reason)| Steered::Unreadable { reason })
            }
            Deletion::Ended(batches, by) => {
                let before = self.round.deleted.len();
                let mut looked_at = 0;
                for batch in batches {
                    if looked_at > 0 && self.round.bytes >= limits::GROUP_BYTES {
                        break;
                    }
                    looked_at += 1;
                    // What cannot be read is kept: nobody asked for this one.
                    let _ = self.delete_one(batch, Some(by));
                }
                let batches = (self.round.deleted.len() - before) as u64;
                Steered::Deleted { batches, looked_at }
            }
        };
        // Told when it is durable.
        self.round.deletions.push((reply, answer));
        Ok(())
    }

    /// Whether this round changes what the store says of an ended batch.
    pub(super) fn is_in_flux(&self, batch: BatchId) -> bool {
        let view = self.kernel.view(batch);
        let ends = view.is_some_and(|view| view.phase.state().has_ended());
        let resolved = self
            .round
            .resolved
            .iter()
            .any(|other| other.live.id == batch);
        ends || resolved || self.round.retried.contains_key(&batch)
    }

    pub(super) fn delete_one(
        &mut self,
        batch: BatchId,
        ended_by: Option<Timestamp>,
    ) -> Result<Steered, StoreError> {
        if let Some(view) = self.kernel.view(batch) {
            let state = view.phase.state();
            return Ok(Steered::NotEnded { state });
        }
        let key = keys::summary(batch);
        let value = self.committer.value(&key)?;
        let Some(value) = value.filter(|_| !self.round.deleted.contains(&batch)) else {
            return Ok(Steered::NotFound);
        };
        if let Some(by) = ended_by {
            let summary = codec::decode::<Summary>(&key, &value);
            let due = |summary: &Summary| summary.ended_at.is_some_and(|at| at <= by);
            if !summary.as_ref().is_ok_and(due) {
                return Ok(Steered::NotFound);
            }
        }
        self.remove_batch(batch)?;
        Ok(Steered::Deleted {
            batches: 1,
            looked_at: 1,
        })
    }

    pub(super) fn pause(
        &mut self,
        operation: OperationIndex,
        reason: String,
        reply: Sender<Steered>,
    ) -> Result<(), StoreError> {
        self.write_pause(operation, &reason)?;
        self.shared.operation(operation).close_gate();
        let ticket = self.ticket(Caller::Pauser(reply, operation, reason));
        self.handle(Input::PauseRequested { ticket, operation })
    }

    pub(super) fn unpause(
        &mut self,
        operation: OperationIndex,
        reply: Sender<Steered>,
    ) -> Result<(), StoreError> {
        self.remove_pause(operation);
        let ticket = self.ticket(Caller::Steerer(reply));
        self.handle(Input::UnpauseRequested { ticket, operation })
    }

    pub(super) fn tell_blocked(&self, operation: OperationIndex, blocked: Blocked) {
        let operation = self.shared.operation(operation).name.to_string();
        let event = QueueEvent::OperationBlocked { operation, blocked };
        self.shared.tell(event);
    }

    /// One of the things that held up the operation is gone.
    pub(super) fn goes_on(&mut self, operation: OperationIndex) {
        for active in self.active.values_mut() {
            if active.live.operation == Some(operation) {
                // What it was held up for says nothing of its pace.
                active.pace = Pace::default();
                active.live.forget_time_left();
            }
        }
        let registered = self.shared.operation(operation);
        if registered.paused.load().is_none() && registered.undecodable.load().is_none() {
            let operation = registered.name.to_string();
            self.shared
                .tell(QueueEvent::OperationUnblocked { operation });
        }
        self.shared.wake_operation(operation);
    }
}
