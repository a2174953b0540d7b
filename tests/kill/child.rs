//! The process that is killed. It says on its standard output what it was told, right after it was told.

use crate::work;
use batchwright::{Batch, BatchFilter, BatchId, Outcome, Queue, State};
use std::collections::VecDeque;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

type Lived<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What a child does until it is killed.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Submits batches from two threads, made of the seeds from `first_seed` on; before that, those of
    /// `again` a second time.
    Submit { first_seed: u64, again: Vec<u64> },
    /// Works what there is.
    Work,
}

const DIR: &str = "BATCHWRIGHT_KILL_DIR";
const ROLE: &str = "BATCHWRIGHT_KILL_ROLE";

/// Starts a child on the queue in `dir`.
pub(crate) fn start(dir: &Path, role: &Role) -> std::io::Result<Child> {
    let role = match role {
        Role::Work => "work".to_owned(),
        Role::Submit { first_seed, again } => {
            let seeds = std::iter::once(first_seed).chain(again);
            seeds.map(u64::to_string).collect::<Vec<_>>().join(" ")
        }
    };
    Command::new(std::env::current_exe()?)
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}

/// Is the child, if this process was started as one.
pub(crate) fn live() {
    let (Ok(dir), Ok(role)) = (std::env::var(DIR), std::env::var(ROLE)) else {
        return;
    };
    let role = match role.as_str() {
        "work" => Role::Work,
        seeds => {
            let mut seeds = seeds.split(' ').filter_map(|seed| seed.parse().ok());
            Role::Submit {
                first_seed: seeds.next().unwrap_or_default(),
                again: seeds.collect(),
            }
        }
    };
    // The harness has begun a line.
    say("");
    if let Err(error) = play(&PathBuf::from(dir), role) {
        say(&format!("broken {error}"));
    }
}

fn play(dir: &Path, role: Role) -> Lived<()> {
    let queue = work::working(dir).open()?;
    say(crate::OPEN);
    match role {
        Role::Work => {
            let mut ids: Vec<BatchId> = Vec::new();
            for status in queue.batches(BatchFilter::all()) {
                ids.push(status?.id);
            }
            for id in ids.into_iter().rev() {
                let batch = queue.batch(id)?;
                report(&batch)?;
                batch.wait()?;
                report(&batch)?;
            }
            loop {
                thread::park();
            }
        }
        Role::Submit { first_seed, again } => {
            for seed in again {
                submit(&queue, seed)?;
            }
            let next_seed = AtomicU64::new(first_seed);
            thread::scope(|scope| {
                let submitter = || submit_for_ever(&queue, &next_seed);
                let other = scope.spawn(submitter);
                submitter()?;
                other.join().map_err(|_| "a submitter panicked")?
            })
        }
    }
}

/// Batches of a thread that it has not waited for.
const HELD: usize = 6;

fn submit_for_ever(queue: &Queue, next_seed: &AtomicU64) -> Lived<()> {
    let mut held = VecDeque::new();
    loop {
        let seed = next_seed.fetch_add(1, Ordering::Relaxed);
        let batch = submit(queue, seed)?;
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
            let ended = oldest.wait()?;
            report(&oldest)?;
            // Some stay stopped.
            if ended.status.state == State::Stopped && !seed.is_multiple_of(4) {
                let id = oldest.id();
                say(&format!("resuming {id}"));
                oldest.resume()?;
                say(&format!("resumed {id}"));
                held.push_back(oldest);
            }
        }
    }
}

fn submit(queue: &Queue, seed: u64) -> Lived<Batch> {
    say(&format!("submitting {seed}"));
    let id = work::submit(queue, seed)?;
    say(&format!("submitted {seed} {id}"));
    Ok(queue.batch(id)?)
}

fn stop(batch: &Batch) -> Lived<()> {
    let id = batch.id();
    say(&format!("stopping {id}"));
    batch.stop()?;
    say(&format!("stopped {id}"));
    Ok(())
}

/// Says which outcomes the batch has.
fn report(batch: &Batch) -> Lived<()> {
    let mut line = format!("outcomes {}", batch.id());
    for (index, print) in fingerprints(batch)? {
        line += &format!(" {index}:{print}");
    }
    say(&line);
    Ok(())
}

/// A number for each outcome of the batch that changes when anything of the outcome does.
pub(crate) fn fingerprints(batch: &Batch) -> Lived<Vec<(usize, u64)>> {
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
