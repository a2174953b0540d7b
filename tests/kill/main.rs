//! Kills a process with SIGKILL again and again while it creates, opens, fills, steers, works and empties a
//! queue, and holds what it acknowledged against what is there afterwards: outcomes and table rows, stops and
//! pauses, retries of failed items, deletions and what is kept, idempotency keys. At every other opening the
//! operations have other names.
//!
//! `BATCHWRIGHT_KILLS` sets how often (50 by default), `BATCHWRIGHT_KILL_SEED` with which random numbers.
//! When a kill hits is a race all the same: the seed narrows a failure down and does not repeat it.
#![allow(
    clippy::print_stdout,
    reason = "the summary of a run is read by people"
)]

mod checks;
mod child;
mod history;
mod work;

use batchwright::testing;
use batchwright::{BatchError, BatchFilter, State};
use child::{Part, Role};
use history::{Checked, History};
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The process that is killed; nothing when run as a test.
#[test]
fn child() {
    child::live();
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() -> Checked {
    let kills = variable("BATCHWRIGHT_KILLS").unwrap_or(50);
    let seed = variable("BATCHWRIGHT_KILL_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs()
    });
    println!("BATCHWRIGHT_KILL_SEED={seed}");
    let mut killer = Killer {
        random: Random(seed),
        opening: Duration::from_millis(50),
        tally: Tally::default(),
    };
    while killer.tally.kills < kills {
        let dir = tempfile::tempdir()?.keep();
        let mut history = History::new(&dir);
        killer
            .live_through(&mut history)
            .map_err(|error| format!("BATCHWRIGHT_KILL_SEED={seed}, {}: {error}", dir.display()))?;
        std::fs::remove_dir_all(&dir)?;
    }
    let tally = &killer.tally;
    println!("{tally:#?}");
    let idle = tally.recounts == 0
        || tally.planted == 0
        || tally.retried == 0
        || tally.refused == 0
        || tally.deleted_by_request == 0
        || tally.gone <= tally.deleted_by_request;
    ensure!(kills < 50 || !idle, "something was never done: {tally:?}");
    Ok(())
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Kills that one store lives through.
const KILLS_PER_STORE: u64 = 10;

/// Longer than anything here takes; then it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run has done, so that one which did nothing is noticed.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    before_the_first_open_ended: u64,
    before_another_open_ended: u64,
    stores: u64,
    recounts: u64,
    planted: usize,
    acknowledged: usize,
    retried: usize,
    deleted_by_request: usize,
    /// Deleted by request or because they were old.
    gone: usize,
    /// Submissions under the key of a batch that is gone.
    refused: usize,
    outcomes: usize,
}

impl Tally {
    fn add(&mut self, history: &History) {
        self.stores += 1;
        self.planted += history.planted.len();
        self.acknowledged += history.acknowledged.len();
        self.retried += history.retried.values().flatten().count();
        self.deleted_by_request += history.deleted.len();
        self.gone += history.gone.len();
        self.refused += history.refused;
        self.outcomes += history.seen.len();
    }
}

/// What a child says when its queue is open.
const OPEN: &str = "open";

/// When to kill a child: after a file has appeared, and so many lines were said, the last of which
/// begins so, and a wait.
struct Moment {
    file: &'static str,
    lines: usize,
    then: &'static str,
    wait: Duration,
}

impl Moment {
    fn has_come(&self, heard: &[String]) -> bool {
        let last = heard.last().map_or("", String::as_str);
        let is_now = heard.len() >= self.lines && last.starts_with(self.then);
        // What is waited for may not come any more.
        is_now || heard.len() >= MOST_LINES
    }
}

const MOST_LINES: usize = 3_000;

struct Killer {
    random: Random,
    /// How long a child takes from its start to the end of its open, measured.
    opening: Duration,
    tally: Tally,
}

impl Killer {
    fn live_through(&mut self, history: &mut History) -> Checked {
        let mut was_open = false;
        for round in 0..KILLS_PER_STORE {
            // Once: whoever plants again could decode what was planted before.
            if was_open && history.planted.is_empty() && self.random.below(2) == 0 {
                history.plant()?;
            }
            let role = if round > 0 && self.random.below(4) == 0 {
                Role::Work
            } else {
                Role::Submit {
                    first_seed: history.next_seed(),
                    again: history.submit_again(),
                    retry: history.retry_again(),
                }
            };
            let part = Part {
                role,
                renamed: round % 2 == 1,
                forgets: self.random.below(4) == 0,
                paused: history.paused(),
                undecodable: history.undecodable(),
            };
            let opened = self.kill_one(history, &part, was_open)?;
            was_open |= opened;
            // Now and then the next child finds what the last one left, and nobody has looked before;
            // mostly so while there is no store, because looking creates it.
            let looks = if was_open { 3 } else { 1 };
            if self.random.below(4) < looks {
                self.look(history)?;
                was_open = true;
            }
        }
        work_to_the_end(history)?;
        self.look(history)?;
        self.tally.add(history);
        Ok(())
    }

    /// Starts a child and kills it. True if its open had ended.
    fn kill_one(&mut self, history: &mut History, part: &Part, was_open: bool) -> Checked<bool> {
        let moment = self.choose_moment(part, was_open)?;
        let born = Instant::now();
        let mut child = child::start(&history.dir, part)?;
        let lines = listen(&mut child)?;
        let store = history.dir.join("store");
        while !history.dir.join(moment.file).exists() && !store.exists() {
            if born.elapsed() > PATIENCE {
                child.kill()?;
                return Err(format!("{} does not appear", moment.file).into());
            }
            thread::yield_now();
        }
        let mut heard = Vec::new();
        while !moment.has_come(&heard) {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    if line == OPEN {
                        self.opening = (self.opening * 3 + born.elapsed()) / 4;
                    }
                    heard.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    child.kill()?;
                    return Err(format!("{part:?} hangs after {heard:?}").into());
                }
            }
        }
        // This is the moment of the fault, not a wait for anything.
        thread::sleep(moment.wait);
        child.kill()?;
        let status = child.wait()?;
        heard.extend(lines);
        history.hear_all(part, &heard)?;
        if status.code().is_some() {
            return Err(format!("{part:?} ended by itself, {status}").into());
        }
        let opened = heard.iter().any(|line| line == OPEN);
        self.tally.kills += 1;
        self.tally.before_the_first_open_ended += u64::from(!opened && !was_open);
        self.tally.before_another_open_ended += u64::from(!opened && was_open);
        Ok(opened)
    }

    fn choose_moment(&mut self, part: &Part, was_open: bool) -> Checked<Moment> {
        let whenever = Moment {
            file: "",
            lines: 0,
            then: "",
            wait: Duration::ZERO,
        };
        // Creating happens once in a store's life: mostly then.
        if !was_open && self.random.below(4) > 0 {
            let files = [
                "",
                "LOCK",
                "store.new",
                "store.new/db",
                "store.new/conf",
                "seal.new",
                "seal",
                "store",
            ];
            let drawn = usize::try_from(self.random.below(8))?;
            return Ok(Moment {
                file: files[drawn],
                wait: Duration::from_micros(self.random.below(2_000)),
                ..whenever
            });
        }
        if self.random.below(4) == 0 {
            // While it starts or recovers.
            let opening_us = u64::try_from(self.opening.as_micros())?;
            return Ok(Moment {
                wait: Duration::from_micros(self.random.below(opening_us * 5 / 4)),
                ..whenever
            });
        }
        if matches!(part.role, Role::Work) {
            // It says nothing more when its work is done.
            return Ok(Moment {
                then: OPEN,
                wait: Duration::from_micros(self.random.below(5_000)),
                ..whenever
            });
        }
        if !part.undecodable.is_empty() && self.random.below(2) == 0 {
            // Once in a life.
            return Ok(Moment {
                then: "failed",
                ..whenever
            });
        }
        // Now and then long enough for the store to clean up old segments.
        let long = self.random.below(20) == 0;
        let lines = 1 + self.random.below(if long { 1_500 } else { 150 });
        let lines = usize::try_from(lines)?;
        // Right after it was told something, which must then be so; or at any time.
        let told = [
            "submitted",
            "stopped",
            "resumed",
            "outcomes",
            "retrying",
            "retried",
            "deleting",
            "deleted",
            "paused",
            "unpaused",
            "pruning",
        ];
        let then = told.get(usize::try_from(self.random.below(16))?);
        let wait_us = then.map_or_else(|| self.random.below(5_000), |_| 0);
        Ok(Moment {
            lines,
            then: then.copied().unwrap_or_default(),
            wait: Duration::from_micros(wait_us),
            ..whenever
        })
    }

    /// Checks what is there, exactly as the kill left it: with no operation registered nothing runs.
    fn look(&mut self, history: &mut History) -> Checked {
        // Now and then all rows, before anybody adds one.
        let stored = if self.random.below(3) == 0 {
            self.tally.recounts += 1;
            let stored = testing::recount(&history.dir)?;
            Some(stored.into_iter().map(u64::from).collect())
        } else {
            None
        };
        let queue = work::frozen(&history.dir).open()?;
        history.check(&queue, stored.as_ref())?;
        Ok(queue.shutdown(PATIENCE)?)
    }
}

/// The whole lines that the child says.
fn listen(child: &mut Child) -> Checked<Receiver<String>> {
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    let (said, lines) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            // What was cut off in the middle was not said.
            let Some(whole) = line.strip_suffix('\n') else {
                break;
            };
            if said.send(whole.to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    Ok(lines)
}

/// Lets everything complete that was ever begun.
fn work_to_the_end(history: &mut History) -> Checked {
    let queue = work::finishing(&history.dir).open()?;
    for operation in [work::GRANT, work::NOTIFY, work::LEGACY] {
        queue.unpause(operation)?;
    }
    for id in history.undecodable() {
        history.hear(&format!("failing {id}"))?;
        match queue.batch(id).and_then(|batch| batch.fail_undecodable()) {
            // It failed, or was deleted, without anybody being told.
            Err(BatchError::Ended { .. } | BatchError::NotFound { .. }) => {}
            failed => drop(failed?),
        }
    }
    for stopped in queue.batches(BatchFilter::all().state(State::Stopped)) {
        queue.batch(stopped?.id)?.resume()?;
    }
    for status in queue.batches(BatchFilter::all()) {
        let ended = queue.batch(status?.id)?.wait_timeout(PATIENCE)?;
        ended.ok_or("a batch does not end")?;
    }
    history.check_completed(&queue)?;
    Ok(queue.shutdown(PATIENCE)?)
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number from 0 to below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        work::mix(self.0) % end.max(1)
    }
}
