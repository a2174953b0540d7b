//! The process that the recorder is loaded into: a short life of a queue. It says what it was told, right after it
//! was told, and goes on after errors, because nothing may be acknowledged then.

use crate::books::fingerprints;
use crate::work::{self, Grant, Notify, SUMS, is_large};
use batchwright::{Batch, BatchFilter, BatchId, Queue, SubmitOptions};
use std::collections::VecDeque;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const DIR: &str = "BATCHWRIGHT_FAULTS_DIR";
pub(crate) const SAID: &str = "DISK_FAULTS_SAID";
pub(crate) const SEED: &str = "BATCHWRIGHT_FAULTS_SEED";
/// Sessions, one after the other.
pub(crate) const SESSIONS: &str = "BATCHWRIGHT_FAULTS_SESSIONS";
/// Ends the fault after the first session.
pub(crate) const MENDED: &str = "BATCHWRIGHT_FAULTS_MENDED";
/// Says that a batch is acknowledged before it is submitted, which is a lie.
pub(crate) const HASTY: &str = "BATCHWRIGHT_FAULTS_HASTY";

/// Batches that come and go when they are large. With those before and after fewer than a recording has seeds for.
const CHURN: u64 = 4;

/// How long a session waits for a batch, and for its end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long for its end when the queue has failed.
const FAILED: Duration = Duration::from_secs(1);

type Lived<T = ()> = Result<T, Box<dyn Error>>;

/// Is the script, if this process was started as it.
pub(crate) fn live() -> Lived {
    let (Some(dir), Ok(seed)) = (std::env::var_os(DIR), std::env::var(SEED)) else {
        return Ok(());
    };
    let said = std::env::var_os(SAID).ok_or("where to say things?")?;
    let mut script = Script {
        dir: PathBuf::from(dir),
        said: OpenOptions::new().create(true).append(true).open(said)?,
        hasty: std::env::var_os(HASTY).is_some(),
        seed: seed.parse()?,
        failed: false,
    };
    let sessions: u64 = std::env::var(SESSIONS)?.parse()?;
    for session in 0..sessions {
        if session > 0 && std::env::var_os(MENDED).is_some() {
            script.say("mended")?;
        }
        script.session()?;
    }
    Ok(())
}

struct Script {
    dir: PathBuf,
    said: File,
    hasty: bool,
    /// Of the next batch.
    seed: u64,
    /// Since the queue was opened.
    failed: bool,
}

impl Script {
    fn session(&mut self) -> Lived {
        self.failed = false;
        self.say("opening")?;
        let opened = work::queue(&self.dir).open();
        let Some(queue) = self.tell("open", opened)? else {
            return Ok(());
        };
        self.say("opened")?;
        self.play(&queue)?;
        // The storage engine waits for ever when one of its threads has died.
        let limit = if self.failed { FAILED } else { PATIENCE };
        let closed = queue.shutdown(limit);
        if self.tell("shutdown", closed)?.is_some() {
            self.say("closed")?;
        }
        Ok(())
    }

    fn play(&mut self, queue: &Queue) -> Lived {
        let mut found = Vec::new();
        for status in queue.batches(BatchFilter::all()) {
            if let Some(status) = self.tell("list", status)? {
                found.push(status.id);
            }
        }
        for id in found {
            self.report(queue, id)?;
        }
        // Two at once, then one after the other.
        let first = self.submit(queue)?;
        let second = self.submit(queue)?;
        for id in [second, first].into_iter().flatten() {
            self.wait(queue, id)?;
        }
        self.read_sum(queue)?;
        if let Some(stopped) = self.submit(queue)? {
            self.stop(queue, stopped)?;
            if let Some(id) = self.submit(queue)? {
                self.wait(queue, id)?;
            }
            self.resume(queue, stopped)?;
            self.wait(queue, stopped)?;
        }
        if let Some(first) = first {
            self.delete(queue, first)?;
        }
        self.read_sum(queue)?;
        if is_large(self.seed) {
            self.churn(queue)?;
        }
        // One that may be under way when the queue is closed.
        self.submit(queue)?;
        Ok(())
    }

    /// Large batches, of which the last two are kept.
    fn churn(&mut self, queue: &Queue) -> Lived {
        let mut kept = VecDeque::new();
        for _ in 0..CHURN {
            if let Some(id) = self.submit(queue)? {
                self.wait(queue, id)?;
                kept.push_back(id);
            }
            if kept.len() > 2
                && let Some(oldest) = kept.pop_front()
            {
                self.delete(queue, oldest)?;
            }
        }
        Ok(())
    }

    fn submit(&mut self, queue: &Queue) -> Lived<Option<BatchId>> {
        let seed = self.seed;
        self.seed += 1;
        self.say(&format!("submitting {seed}"))?;
        if self.hasty {
            self.say(&format!("submitted {seed} 0"))?;
        }
        let options = SubmitOptions::new()
            .owner(seed.to_string())
            .idempotency_key(seed.to_string());
        let orders = work::orders(seed);
        let id = if work::grants(seed) {
            let submitted = queue.submit_with::<Grant>(orders, options);
            self.tell("submit", submitted)?.map(|batch| batch.id())
        } else {
            let submitted = queue.submit_with::<Notify>(orders, options);
            self.tell("submit", submitted)?.map(|batch| batch.id())
        };
        if let Some(id) = id {
            self.say(&format!("submitted {seed} {id}"))?;
        }
        Ok(id)
    }

    fn wait(&mut self, queue: &Queue, id: BatchId) -> Lived {
        let Some(batch) = self.batch(queue, id)? else {
            return Ok(());
        };
        self.say(&format!("waiting {id}"))?;
        let waited = batch.wait_timeout(PATIENCE);
        match self.tell("wait", waited)? {
            Some(Some(_)) => {
                self.say(&format!("ended {id}"))?;
                self.report(queue, id)
            }
            Some(None) => Err(format!("batch {id} does not end").into()),
            None => Ok(()),
        }
    }

    /// Says which outcomes the batch has.
    fn report(&mut self, queue: &Queue, id: BatchId) -> Lived {
        let Some(batch) = self.batch(queue, id)? else {
            return Ok(());
        };
        let Some(prints) = self.tell("outcomes", fingerprints(&batch))? else {
            return Ok(());
        };
        let mut line = format!("outcomes {id}");
        for (index, print) in prints {
            line += &format!(" {index}:{print}");
        }
        self.say(&line)
    }

    fn stop(&mut self, queue: &Queue, id: BatchId) -> Lived {
        let Some(batch) = self.batch(queue, id)? else {
            return Ok(());
        };
        self.say(&format!("stopping {id}"))?;
        if self.tell("stop", batch.stop())?.is_some() {
            self.say(&format!("stopped {id}"))?;
        }
        Ok(())
    }

    fn resume(&mut self, queue: &Queue, id: BatchId) -> Lived {
        let Some(batch) = self.batch(queue, id)? else {
            return Ok(());
        };
        self.say(&format!("resuming {id}"))?;
        // One of few items may have completed before it was stopped.
        if self.tell("resume", batch.resume())?.is_some() {
            self.say(&format!("resumed {id}"))?;
        }
        Ok(())
    }

    fn delete(&mut self, queue: &Queue, id: BatchId) -> Lived {
        let Some(batch) = self.batch(queue, id)? else {
            return Ok(());
        };
        self.say(&format!("deleting {id}"))?;
        if self.tell("delete", batch.delete())?.is_some() {
            self.say(&format!("deleted {id}"))?;
        }
        Ok(())
    }

    fn read_sum(&mut self, queue: &Queue) -> Lived {
        let sum = queue.read(|tables| Ok(tables.get(&SUMS, "all")?.unwrap_or(0)));
        if let Some(sum) = self.tell("read", sum)? {
            self.say(&format!("sum {sum}"))?;
        }
        Ok(())
    }

    fn batch(&mut self, queue: &Queue, id: BatchId) -> Lived<Option<Batch>> {
        self.tell("find", queue.batch(id))
    }

    /// Says what went wrong, if anything.
    fn tell<T, E: Debug + Display>(
        &mut self,
        call: &str,
        result: Result<T, E>,
    ) -> Lived<Option<T>> {
        match result {
            Ok(done) => Ok(Some(done)),
            Err(error) => {
                let kind = format!("{error:?}");
                let kind = kind.replace("Batch(", "");
                let kind = kind.split([' ', '{', '(']).next().unwrap_or_default();
                let text = error.to_string().replace('\n', " ");
                self.failed = true;
                self.say(&format!("error {call} {kind} {text}"))?;
                Ok(None)
            }
        }
    }

    fn say(&mut self, line: &str) -> Lived {
        Ok(self.said.write_all(format!("{line}\n").as_bytes())?)
    }
}

/// The directory of the store below a watched one, so that its parents are made by the library.
pub(crate) fn store_dir(watched: &Path) -> PathBuf {
    watched.join("made/store-dir")
}
