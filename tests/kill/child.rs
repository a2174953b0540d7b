//! The process that is killed. It says on its standard output what it was told, right after it was told.

use crate::work;
use batchwright::{
    Batch, BatchError, BatchFilter, Blocked, Outcome, Queue, State, Status, SubmitError, WaitError,
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

type Lived<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a child does until it is killed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) role: Role,
    /// The operations go by their new names.
    pub(crate) renamed: bool,
    /// Ended batches are kept for [`work::KEPT`] only.
    pub(crate) forgets: bool,
    /// Operations that are known to be paused.
    pub(crate) paused: Vec<String>,
    /// Batches that cannot be decoded, and that nobody has been told may fail.
    pub(crate) undecodable: Vec<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Submits batches from several threads, made of the seeds from `first_seed` on; before that, those
    /// of `again` a second time, and the failed items of the batches in `retry`.
    Submit {
        first_seed: u64,
        again: Vec<u64>,
        retry: Vec<u64>,
    },
    /// Works what there is.
    Work,
}

const DIR: &str = "BATCHWRIGHT_KILL_DIR";
const PART: &str = "BATCHWRIGHT_KILL_PART";

/// Starts a child on the queue in `dir`.
pub(crate) fn start(dir: &Path, part: &Part) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .env(PART, serde_json::to_string(part)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// Is the child, if this process was started as one.
pub(crate) fn live() {
    let (Ok(dir), Ok(part)) = (std::env::var(DIR), std::env::var(PART)) else {
        return;
    };
    // The harness has begun a line.
    say("");
    let played = serde_json::from_str(&part)
        .map_err(Into::into)
        .and_then(|part| play(&PathBuf::from(dir), part));
    if let Err(error) = played {
        say(&format!("broken {error}"));
    }
}

fn play(dir: &Path, part: Part) -> Lived<()> {
    work::hold(part.paused);
    let mut queue = work::working(dir, part.renamed);
    if part.forgets {
        queue = queue.keep_ended(work::KEPT);
    }
    let queue = queue.open()?;
    let paused = find_pauses(&queue)?;
    say(crate::OPEN);
    match part.role {
        Role::Work => {
            let mut found: Vec<Status> = Vec::new();
            for status in queue.batches(BatchFilter::all()) {
                found.push(status?);
            }
            for status in &found {
                if let Some(batch) = unless_deleted(queue.batch(status.id))? {
                    report(&batch)?;
                }
            }
            let_go_on(&queue, paused, &part.undecodable)?;
            for status in found.into_iter().rev() {
                if is_far(&status)? {
                    continue;
                }
                if let Some(batch) = unless_deleted(queue.batch(status.id))? {
                    unless_deleted(batch.wait())?;
                    report(&batch)?;
                }
            }
            loop {
                thread::park();
            }
        }
        Role::Submit {
            first_seed,
            again,
            retry,
        } => {
            for seed in again {
                submit(&queue, seed)?;
            }
            for id in retry {
                if let Some(batch) = unless_deleted(queue.batch(id))? {
                    retry_failed(&queue, &batch)?;
                }
            }
            let_go_on(&queue, paused, &part.undecodable)?;
            let next_seed = AtomicU64::new(first_seed);
            thread::scope(|scope| {
                let submitter = || submit_for_ever(&queue, &next_seed);
                let other = scope.spawn(submitter);
                let pauser = scope.spawn(|| pause_for_ever(&queue, &next_seed));
                submitter()?;
                other.join().map_err(|_| "a submitter panicked")??;
                pauser.join().map_err(|_| "the pauser panicked")?
            })
        }
    }
}

fn is_far(status: &Status) -> Lived<bool> {
    let seed = status.owner.as_deref().ok_or("a batch without an owner")?;
    // One that runs failed items again is due at once.
    Ok(status.not_before.is_some() && work::is_far(seed.parse()?))
}

/// Says of each operation whether it is paused, and why; gives those that are.
fn find_pauses(queue: &Queue) -> Lived<Vec<String>> {
    let mut paused = Vec::new();
    for operation in queue.stats()?.operations {
        let name = work::first_name(&operation.name);
        if let Some(Blocked::Paused { reason }) = operation.blocked {
            say(&format!("found {name} {reason}"));
            paused.push(name.to_owned());
        } else {
            say(&format!("found {name}"));
        }
    }
    Ok(paused)
}

/// Fails what cannot be decoded, and then unpauses what is paused: in between nothing of it has run.
fn let_go_on(queue: &Queue, paused: Vec<String>, undecodable: &[u64]) -> Lived<()> {
    work::hold(Vec::new());
    for id in undecodable {
        let Some(batch) = unless_deleted(queue.batch(*id))? else {
            continue;
        };
        say(&format!("failing {id}"));
        match batch.fail_undecodable() {
            // It failed for good before.
            Err(BatchError::Ended { .. }) => {}
            failed => drop(unless_deleted(failed)?),
        }
        say(&format!("failed {id}"));
    }
    for operation in paused {
        unpause(queue, &operation)?;
    }
    Ok(())
}

/// Batches of a thread that it has not waited for.
const HELD: usize = 6;

fn submit_for_ever(queue: &Queue, next_seed: &AtomicU64) -> Lived<()> {
    let mut held = VecDeque::new();
    loop {
        let seed = next_seed.fetch_add(1, Ordering::Relaxed);
        let Some(batch) = submit(queue, seed)? else {
            continue;
        };
        if work::is_far(seed) {
            steer_far(&batch, seed)?;
            continue;
        }
        held.push_back(batch);
        match work::mix(seed ^ 8) % 8 {
            0 => stop(&held[held.len() - 1])?,
            1 => stop(&held[held.len() / 2])?,
            2 => report(&held[held.len() / 2])?,
            _ => {}
        }
        if held.len() > HELD
            && let Some(oldest) = held.pop_front()
        {
            held.extend(follow_up(queue, oldest)?);
        }
    }
}

/// Stops some of the batches that would not end.
fn steer_far(batch: &Batch, seed: u64) -> Lived<()> {
    let draw = work::mix(seed ^ 14) % 4;
    if draw > 0 {
        stop(batch)?;
    }
    match draw {
        2 => resume(batch),
        3 => delete(batch),
        _ => Ok(()),
    }
}

/// Waits for a batch, and does something with it; gives what is to be waited for then.
fn follow_up(queue: &Queue, batch: Batch) -> Lived<Option<Batch>> {
    let Some(ended) = unless_deleted(batch.wait())? else {
        return Ok(None);
    };
    report(&batch)?;
    let draw = work::mix(u64::from(batch.id()) ^ 15) % 8;
    if ended.status.state == State::Stopped {
        return match draw {
            // Some stay stopped.
            0 | 1 => Ok(None),
            2 => delete(&batch).map(|()| None),
            _ => resume(&batch).map(|()| Some(batch)),
        };
    }
    let mut next = None;
    if draw < 5 && ended.status.failed > 0 {
        next = retry_failed(queue, &batch)?;
    }
    if matches!(draw, 3..6) {
        delete(&batch)?;
    }
    Ok(next)
}

/// Pauses operations again and again, never for long, and prunes now and then.
fn pause_for_ever(queue: &Queue, next_seed: &AtomicU64) -> Lived<()> {
    loop {
        let seed = next_seed.fetch_add(1, Ordering::Relaxed);
        let operation = work::operation(seed);
        let reason = format!("reason-{seed}");
        say(&format!("pausing {operation} {reason}"));
        queue.pause(operation, reason)?;
        say(&format!("paused {operation}"));
        let batch = submit(queue, seed)?;
        unpause(queue, operation)?;
        if let Some(batch) = batch.filter(|_| !work::is_far(seed)) {
            unless_deleted(batch.wait())?;
        }
        if work::mix(seed ^ 16).is_multiple_of(8) {
            say("pruning");
            queue.prune(work::KEPT)?;
        }
    }
}

fn unpause(queue: &Queue, operation: &str) -> Lived<()> {
    say(&format!("unpausing {operation}"));
    queue.unpause(operation)?;
    say(&format!("unpaused {operation}"));
    Ok(())
}

/// `None` when the batch is no longer there.
fn submit(queue: &Queue, seed: u64) -> Lived<Option<Batch>> {
    say(&format!("submitting {seed} {}", work::now_ms()));
    match work::submit(queue, seed) {
        Ok(id) => {
            say(&format!("submitted {seed} {id}"));
            unless_deleted(queue.batch(id))
        }
        Err(SubmitError::Deleted { batch }) => {
            say(&format!("gone {seed} {batch}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// `None` when one of the batches is no longer there.
fn retry_failed(queue: &Queue, batch: &Batch) -> Lived<Option<Batch>> {
    let id = batch.id();
    let Some(status) = unless_deleted(batch.status())? else {
        return Ok(None);
    };
    let retry_of = status.retry_of.map_or(0, u64::from);
    let seed = status.owner.unwrap_or_default();
    say(&format!(
        "retrying {id} {} {seed} {retry_of}",
        work::now_ms()
    ));
    let retry = match batch.retry_failed() {
        Err(BatchError::AlreadyRetried { by, .. }) => Some(by),
        retried => unless_deleted(retried)?.map(|retry| retry.id()),
    };
    let Some(retry) = retry else {
        return Ok(None);
    };
    say(&format!("retried {id} {retry}"));
    unless_deleted(queue.batch(retry))
}

fn stop(batch: &Batch) -> Lived<()> {
    let id = batch.id();
    say(&format!("stopping {id}"));
    unless_deleted(batch.stop())?;
    say(&format!("stopped {id}"));
    Ok(())
}

fn resume(batch: &Batch) -> Lived<()> {
    let id = batch.id();
    say(&format!("resuming {id} {}", work::now_ms()));
    // One that has just been deleted for its age does not go on.
    if unless_deleted(batch.resume())?.is_some() {
        say(&format!("resumed {id}"));
    }
    Ok(())
}

fn delete(batch: &Batch) -> Lived<()> {
    let id = batch.id();
    say(&format!("deleting {id}"));
    unless_deleted(batch.delete())?;
    say(&format!("deleted {id}"));
    Ok(())
}

/// `None` when what was asked of is deleted: by age, by another thread.
fn unless_deleted<T>(result: Result<T, impl Into<WaitError>>) -> Lived<Option<T>> {
    match result.map_err(Into::into) {
        Ok(found) => Ok(Some(found)),
        Err(WaitError::Batch(BatchError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says which outcomes the batch has.
fn report(batch: &Batch) -> Lived<()> {
    let Some(prints) = unless_deleted(fingerprints(batch))? else {
        return Ok(());
    };
    let mut line = format!("outcomes {}", batch.id());
    for (index, print) in prints {
        line += &format!(" {index}:{print}");
    }
    say(&line);
    Ok(())
}

/// A number for each outcome of the batch that changes when anything of the outcome does.
pub(crate) fn fingerprints(batch: &Batch) -> Result<Vec<(usize, u64)>, BatchError> {
    let mut prints = Vec::new();
    for item in batch.outcomes()? {
        let item = item?;
        let text = match &item.outcome {
            Outcome::Succeeded(output) => output.to_string(),
            outcome => format!("{outcome:?}"),
        };
        let text = format!("{} {:?} {text}", item.attempts, item.ended_at);
        let print = text
            .bytes()
            .fold(0, |print, byte| work::mix(print ^ u64::from(byte)));
        prints.push((item.index, print));
    }
    Ok(prints)
}

/// Says a line. Whoever was to hear it is gone when that fails, and so is the reason to live.
fn say(line: &str) {
    let line = format!("{line}\n");
    let mut stdout = std::io::stdout().lock();
    if stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush())
        .is_err()
    {
        std::process::exit(1);
    }
}
