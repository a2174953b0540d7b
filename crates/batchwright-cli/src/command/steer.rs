//! `stop`, `resume`, `retry` and `resolve`.

use crate::arguments::ResolveArguments;
use crate::batch_document::BatchDocument;
use crate::ending::Ending;
use crate::error::Error;
use crate::interrupt::{Interrupt, SHUTDOWN};
use crate::progress::{Progress, say};
use crate::store::Store;
use crate::summary::Summary;
use crate::work::{wait_for_all, work};
use batchwright::{BatchError, BatchId, Failure, Queue, State};
use std::io::Write;
use std::slice;
use std::time::{Instant, SystemTime};

pub(crate) fn stop(
    store: &Store,
    id: u64,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let queue = store.look()?;
    let batch = queue.batch(id)?;
    let had_ended = batch.status()?.state.has_ended();
    let status = batch.stop()?;
    if json {
        writeln!(
            out,
            "{}",
            serde_json::to_string(&BatchDocument::of(&status))?
        )?;
    } else if had_ended {
        writeln!(out, "nothing to stop: {status}")?;
    } else {
        writeln!(out, "{status}")?;
    }
    Ok(Ending::Clean)
}

pub(crate) fn resolve(
    store: &Store,
    arguments: ResolveArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let outcome = match (arguments.succeeded, arguments.failed) {
        (Some(output), _) => Ok(serde_json::from_str(&output)?),
        (None, code) => Err(Failure::permanent(
            code.unwrap_or_default(),
            arguments.message,
        )),
    };
    let queue = store.look()?;
    let status = queue
        .batch(arguments.id)?
        .resolve(arguments.item, outcome)?;
    if json {
        let document = BatchDocument::of(&status);
        writeln!(out, "{}", serde_json::to_string(&document)?)?;
    } else {
        writeln!(out, "{status}")?;
    }
    Ok(Ending::Clean)
}

pub(crate) fn resume(
    store: &Store,
    id: u64,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    steer_then_work(store, json, out, |queue| {
        match queue.batch(id)?.resume() {
            // It was resumed, and interrupted.
            Err(BatchError::NotStopped {
                state: State::Queued | State::Running,
                ..
            }) => say(&format!("batch {id} is not stopped; it goes on")),
            resumed => drop(resumed?),
        }
        Ok(id.into())
    })
}

pub(crate) fn retry(
    store: &Store,
    id: u64,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    steer_then_work(store, json, out, |queue| {
        match queue.batch(id)?.retry_failed() {
            Ok(batch) => {
                let by = batch.id();
                say(&format!("the failed items of batch {id} are batch {by}"));
                Ok(by)
            }
            Err(BatchError::AlreadyRetried { by, .. }) => {
                say(&format!(
                    "the failed items of batch {id} were submitted again before, as batch {by}"
                ));
                Ok(by)
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// Works the store until the batch that `steer` names has ended.
///
/// `steer` sees the store before anything in it goes on: a batch that is to be resumed could otherwise end first, and
/// the command would be refused after it was interrupted and given again.
fn steer_then_work(
    store: &Store,
    json: bool,
    out: &mut dyn Write,
    steer: impl FnOnce(&Queue) -> Result<BatchId, Error>,
) -> Result<Ending, Error> {
    let interrupt = Interrupt::listen()?;
    let (began, clock) = (SystemTime::now(), Instant::now());
    let queue = store.look()?;
    let id = steer(&queue)?;
    queue.shutdown(SHUTDOWN)?;

    let queue = store.work()?;
    let worked = work(&queue, &interrupt, |queue| {
        let batch = queue.batch(id)?;
        let status = batch.status()?;
        let progress = Progress::of(status.total, "working");
        let batches = slice::from_ref(&batch);
        let reports = wait_for_all(batches, &progress)?;
        progress.finish();
        let summary = Summary::new(&status.operation, status.total, batches, &reports, began)?;
        Ok(summary.took(clock.elapsed()))
    })?;
    let Some(summary) = worked else {
        say("interrupted; the same command goes on");
        return Ok(Ending::Interrupted);
    };
    summary.say_where_failures_are();
    summary.write(json, out)?;
    Ok(summary.ending())
}
