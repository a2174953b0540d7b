//! Deletes ended batches that are old enough, a few in a commit.
//!
//! There is no index of ends: a look at all ended batches costs the same whether few or many are due. So
//! looks are a sixteenth of the keeping time apart, and cost a batch some sixteen reads in its life.

use super::command::{Command, Deletion, Steered};
use super::shared::Shared;
use crate::error::BatchError;
use crate::kernel::{BatchId, Timestamp};
use crate::limits;
use crate::outcome::with_view;
use crate::store::record::Summary;
use crate::store::{codec, keys};
use std::sync::Arc;
use std::time::Duration;

/// What a look at all ended batches has led to.
pub(crate) struct Swept {
    pub(crate) deleted: u64,
    /// When the oldest of those that are left ended.
    oldest_left: Option<Timestamp>,
}

/// Deletes batches that ended `keep` ago, until the queue closes.
pub(crate) fn keep_for(shared: &Arc<Shared>, keep: Duration) {
    let (shortest, longest) = limits::SWEEP_EVERY.into_inner();
    let pause = (keep / 16).clamp(shortest, longest);
    while !shared.is_closed() {
        let now = shared.timeline.now();
        let oldest = match sweep(shared, now.minus(keep)) {
            Ok(swept) => swept.oldest_left.map_or(now, |oldest| oldest.min(now)),
            // The queue has failed or closed; or a record cannot be read, and may be another time.
            Err(_) => now,
        };
        wait_for(shared, oldest.plus(keep).max(now.plus(pause)));
    }
}

/// Waits until the queue's time is `due`, or the queue closes.
fn wait_for(shared: &Shared, due: Timestamp) {
    loop {
        let seen = shared.jumps_seen();
        let left = due.since(shared.timeline.now());
        if left.is_zero() || shared.is_closed() {
            return;
        }
        shared.wait_for_clock(seen, left.min(limits::CLOCK_LOOK));
    }
}

/// Deletes the batches that ended by `cutoff`.
pub(crate) fn sweep(shared: &Arc<Shared>, cutoff: Timestamp) -> Result<Swept, BatchError> {
    let mut swept = Swept {
        deleted: 0,
        oldest_left: None,
    };
    let mut from = BatchId(0);
    loop {
        let page = ended_from(shared, from)?;
        let Some((last, _)) = page.last() else {
            return Ok(swept);
        };
        from = BatchId(last.0 + 1);
        let mut due = Vec::new();
        for (batch, ended_at) in page {
            if ended_at <= cutoff {
                due.push(batch);
            } else {
                let oldest = swept.oldest_left.get_or_insert(ended_at);
                *oldest = ended_at.min(*oldest);
            }
        }
        let mut left = &due[..];
        while !left.is_empty() {
            let some = &left[..left.len().min(limits::DELETED_AT_ONCE)];
            let deletion = Deletion::Ended(some.to_vec(), cutoff);
            let answer = shared.steer(|reply| Command::Delete(deletion, reply))?;
            let Steered::Deleted { batches, looked_at } = answer else {
                break;
            };
            swept.deleted += batches;
            left = left.get(looked_at.max(1)..).unwrap_or_default();
        }
    }
}

/// The next ended batches by number, from `from` on, and when they ended.
fn ended_from(
    shared: &Arc<Shared>,
    from: BatchId,
) -> Result<Vec<(BatchId, Timestamp)>, BatchError> {
    with_view(shared, |view| {
        let mut page = Vec::new();
        let range = keys::summaries_from(from);
        for row in view.scan(&range).take(limits::SWEEP_PAGE) {
            let (key, value) = row?;
            let Some(batch) = keys::batch_of(&key) else {
                continue;
            };
            // One that cannot be read is found by who reads it; it is not deleted.
            let summary = codec::decode::<Summary>(&key, &value);
            let ended_at = summary.ok().and_then(|summary| summary.ended_at);
            page.push((batch, ended_at.unwrap_or(Timestamp(u64::MAX))));
        }
        Ok(page)
    })
}
