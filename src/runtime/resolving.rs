//! What became of items in doubt: how the writer takes in what somebody found out.

use super::command::{Command, Resolution, Steered};
use super::failures::FailureCounts;
use super::live::{Live, Progress};
use super::recovery;
use super::writer::{Caller, Writer};
use crate::kernel::{BatchState, Event, Fate, Input, ItemEvent};
use crate::store::StoreError;
use crate::store::journal::{self, SegmentBuilder};
use crossbeam_channel::Sender;
use std::sync::Arc;

/// An ended batch of which an item is resolved: what is shown of it once that is durable.
pub(super) struct Resolved {
    pub(super) live: Arc<Live>,
    pub(super) progress: Progress,
    pub(super) reply: Sender<Steered>,
}

impl Writer {
    pub(super) fn resolve(
        &mut self,
        live: Arc<Live>,
        resolution: Resolution,
        reply: Sender<Steered>,
    ) -> Result<(), StoreError> {
        let batch = live.id;
        if live.is_deleted() {
            let _ = reply.send(Steered::NotFound);
            return Ok(());
        }
        if self.round.deleted.contains(&batch) || self.is_in_flux(batch) {
            // Once that is durable it can be spoken of.
            let again = Command::Resolve(live, Box::new(resolution), reply);
            self.round.deferred.push(again);
            return Ok(());
        }
        if self.kernel.view(batch).is_some() {
            let ticket = self.ticket(Caller::Steerer(reply));
            let input = Input::ResolveRequested {
                ticket,
                batch,
                index: resolution.index,
                succeeded: resolution.failure_code.is_none(),
            };
            let outputs = self.kernel.handle(input, self.shared.timeline.now());
            return self.act(outputs, &resolution.block);
        }
        let loaded = match recovery::load_batch(&self.committer, &live, 0) {
            Ok(loaded) => loaded,
            Err(StoreError(reason)) => {
                let _ = reply.send(Steered::Unreadable { reason });
                return Ok(());
            }
        };
        let mut state = loaded.batch.state;
        let event = Event::Resolved {
            at: self.shared.timeline.now(),
            item: ItemEvent {
                index: resolution.index,
                attempt: 1,
                fate: match resolution.failure_code {
                    None => Fate::Succeeded,
                    Some(_) => Fate::Failed,
                },
            },
        };
        if state.apply(&event).is_err() {
            let _ = reply.send(Steered::NotInDoubt);
            return Ok(());
        }
        let mut failures = loaded.failures;
        if let Some(code) = &resolution.failure_code {
            failures.add(code);
        }
        let mut builder = SegmentBuilder::new();
        builder.event(&event, &resolution.block)?;
        let segments = journal::number(batch, loaded.next_segment, builder.finish());
        for (key, value) in segments {
            self.round.rows.insert(key, value);
        }
        let progress = ended_progress(&state, failures);
        self.write_summary(batch, &progress)?;
        self.round.resolved.push(Resolved {
            live,
            progress,
            reply,
        });
        Ok(())
    }
}

fn ended_progress(state: &BatchState, failures: FailureCounts) -> Progress {
    Progress {
        state: state.phase.state(),
        succeeded: state.succeeded,
        failed: state.failed,
        in_doubt: state.in_doubt(),
        started_at: state.started_at,
        ended_at: state.ended_at,
        failures,
        ..Progress::queued()
    }
}
