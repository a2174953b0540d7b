//! Working a store until some batches have ended, or a signal comes.

use crate::error::Error;
use crate::interrupt::{Interrupt, SHUTDOWN};
use crate::progress::Progress;
use batchwright::{Batch, Blocked, Queue, Report};
use std::time::Duration;

/// Works `queue` as long as `work` takes, and shuts it down; `None` when a signal came first.
pub(crate) fn work<T>(
    queue: &Queue,
    interrupt: &Interrupt,
    work: impl FnOnce(&Queue) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    interrupt.guard(queue);
    let worked = work(queue);
    interrupt.release();
    let shut_down = queue.shutdown(SHUTDOWN);
    match worked {
        Err(error) if error.is_closed_queue() && interrupt.is_requested() => {
            shut_down?;
            Ok(None)
        }
        worked => {
            let worked = worked?;
            shut_down?;
            Ok(Some(worked))
        }
    }
}

/// Waits until every batch has ended, and shows how far they are meanwhile.
pub(crate) fn wait_for_all<O>(
    batches: &[Batch<O>],
    progress: &Progress,
) -> Result<Vec<Report>, Error> {
    const REDRAW_EVERY: Duration = Duration::from_millis(100);
    let mut reports: Vec<Report> = Vec::with_capacity(batches.len());
    let (mut done, mut failed) = (0, 0);
    let mut is_said = false;
    while let Some(next) = batches.get(reports.len()) {
        if let Some(report) = next.wait_timeout(REDRAW_EVERY)? {
            done += report.status.processed();
            failed += report.status.failed;
            reports.push(report);
            // Later batches may be as far: the bar is set with all of them, and never goes back.
            continue;
        }
        let (mut done, mut failed) = (done, failed);
        for batch in &batches[reports.len()..] {
            let status = batch.status()?;
            done += status.processed();
            failed += status.failed;
            if let Some(blocked @ Blocked::Paused { .. }) = &status.blocked
                && !is_said
            {
                is_said = true;
                progress.say(&format!("batch {} is {blocked}", status.id));
            }
        }
        progress.set(done, failed);
    }
    Ok(reports)
}
