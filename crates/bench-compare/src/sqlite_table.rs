//! The competitor: the job table that one would write by hand on SQLite, given an afternoon and a profiler.
//!
//! One writer thread owns the connection, drains a channel and commits whatever has gathered, so that one sync serves
//! every submission and outcome that arrived during the sync before it; there are no timers. Statements are prepared
//! once. Workers get slices of a batch from a channel, never by asking the database. One integer is the key (batch
//! number above, item index below), the rowid itself: a `WITHOUT ROWID` table with a two-column key was a quarter
//! slower.
//!
//! There are two of it, because how outcomes are stored decides a quarter of the speed:
//!
//! - [`SqliteTable::PLAIN`], one jobs table: an outcome is an `UPDATE` of its job's row, which makes the row longer and
//!   moves it within its page. Everything about a job is one row, as most job tables have it.
//! - [`SqliteTable::TUNED`], a table of outcomes beside it that is only ever appended to, and pages of 16 KiB instead
//!   of 4 KiB, which gain up to a tenth. A longer write-ahead log, rows inserted many to a statement, an exclusive lock
//!   and a larger cache made no difference.
//!
//! What a job queue needs beyond that (stop, retries, status, recovery) is left out, which can only make it faster.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rusqlite::{Connection, params};

use crate::engine::{Engine, Measurement, RoundError};
use crate::workload::{Load, Purchase};

/// Items per message between the writer and the workers. Anything from 100 to 1,000 measured the same; one item per
/// message halves the throughput.
const SLICE_ITEMS: usize = 250;

/// Items and outcomes in one commit at most, so that a submission never waits behind an endless group.
const GROUP_ITEMS: usize = 16_000;

/// Commands that wait for the writer; senders block beyond it.
const COMMANDS: usize = 64;

/// The batch number starts above the bits of the item index.
const INDEX_BITS: u32 = 16;

const FILE: &str = "jobs.sqlite";

/// One way of keeping jobs in SQLite.
pub(crate) struct SqliteTable {
    name: &'static str,
    page_bytes: u32,
    schema: &'static str,
    /// Takes the row id and the payload.
    insert_job: &'static str,
    /// Takes the row id and the output.
    finish_job: &'static str,
    /// Counts the jobs that have a payload and an output.
    count_finished: &'static str,
}

impl SqliteTable {
    pub(crate) const PLAIN: Self = Self {
        name: "SQLite, one table",
        page_bytes: 4 << 10,
        schema: "CREATE TABLE jobs
            (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, payload TEXT NOT NULL, output TEXT);",
        insert_job: "INSERT INTO jobs (id, state, payload) VALUES (?1, 0, ?2)",
        finish_job: "UPDATE jobs SET state = 1, output = ?2 WHERE id = ?1",
        count_finished: "SELECT count(*) FROM jobs
            WHERE state = 1 AND length(payload) > 0 AND length(output) > 0",
    };

    pub(crate) const TUNED: Self = Self {
        name: "SQLite, tuned",
        page_bytes: 16 << 10,
        schema: "CREATE TABLE jobs (id INTEGER PRIMARY KEY, payload TEXT NOT NULL);
            CREATE TABLE outcomes
            (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, output TEXT NOT NULL);",
        insert_job: "INSERT INTO jobs (id, payload) VALUES (?1, ?2)",
        finish_job: "INSERT INTO outcomes (id, state, output) VALUES (?1, 1, ?2)",
        count_finished: "SELECT count(*) FROM jobs JOIN outcomes USING (id)
            WHERE state = 1 AND length(payload) > 0 AND length(output) > 0",
    };
}

/// What reaches the writer.
enum Command {
    Submit {
        batch: u32,
        payloads: Vec<String>,
        durable: Sender<()>,
    },
    Finished {
        batch: u32,
        first_index: usize,
        outputs: Vec<String>,
    },
}

/// What reaches a worker: some items of a batch that is durable.
struct Slice {
    batch: u32,
    payloads: Arc<[String]>,
    range: Range<usize>,
}

impl Engine for SqliteTable {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&self, dir: &Path, load: &Load) -> Result<Measurement, RoundError> {
        let path = dir.join(FILE);
        let connection = self.open(&path)?;
        let batches = load.batches_by_submitter();
        let (commands, inbox) = bounded(COMMANDS);
        let (slices, work) = unbounded();
        let writer = Writer {
            table: self,
            connection,
            inbox,
            slices,
            unfinished: load.items(),
        };

        let elapsed = thread::scope(|scope| {
            let writer = scope.spawn(move || writer.run());
            let mut others = Vec::new();
            for _ in 0..load.workers {
                let (work, commands) = (work.clone(), commands.clone());
                others.push(scope.spawn(move || run_slices(&work, &commands)));
            }
            // Only workers hold the receiving end now: the writer notices when they are gone.
            drop(work);
            let start = Instant::now();
            for (submitter, batches) in batches.into_iter().enumerate() {
                let commands = commands.clone();
                let (first, step) = (submitter as u32, load.submitters as u32);
                others.push(scope.spawn(move || submit_all(batches, first, step, &commands)));
            }
            drop(commands);
            let finished_at = writer.join().map_err(|_| "the writer panicked")??;
            for thread in others {
                thread
                    .join()
                    .map_err(|_| "a worker or submitter panicked")??;
            }
            Ok::<_, RoundError>(finished_at - start)
        })?;

        self.check(&path, load)?;
        Ok(Measurement {
            items: load.items(),
            elapsed,
        })
    }
}

impl SqliteTable {
    fn open(&self, path: &Path) -> Result<Connection, RoundError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "page_size", self.page_bytes)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(self.schema)?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("SQLite uses the journal mode {mode} instead of wal").into());
        }
        Ok(connection)
    }

    /// Counts what a fresh connection finds: every item must be there with its outcome.
    fn check(&self, path: &Path, load: &Load) -> Result<(), RoundError> {
        let finished: i64 =
            Connection::open(path)?.query_row(self.count_finished, [], |row| row.get(0))?;
        if usize::try_from(finished) != Ok(load.items()) {
            let expected = load.items();
            return Err(
                format!("{finished} items are finished in the table, not {expected}").into(),
            );
        }
        Ok(())
    }
}

fn submit_all(
    batches: Vec<Vec<Purchase>>,
    first: u32,
    step: u32,
    commands: &Sender<Command>,
) -> Result<(), RoundError> {
    let mut batch = first;
    for items in batches {
        let payloads = items
            .iter()
            .map(serde_json::to_string)
            .collect::<Result<Vec<_>, _>>()?;
        let (durable, acknowledged) = bounded(1);
        commands
            .send(Command::Submit {
                batch,
                payloads,
                durable,
            })
            .map_err(|_| WRITER_GONE)?;
        acknowledged.recv().map_err(|_| WRITER_GONE)?;
        batch += step;
    }
    Ok(())
}

const WRITER_GONE: &str = "the writer ended early";

fn run_slices(work: &Receiver<Slice>, commands: &Sender<Command>) -> Result<(), RoundError> {
    for Slice {
        batch,
        payloads,
        range,
    } in work
    {
        let first_index = range.start;
        let outputs = payloads[range]
            .iter()
            .map(|payload| {
                serde_json::from_str(payload)
                    .and_then(|item: Purchase| serde_json::to_string(&item.award()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        commands
            .send(Command::Finished {
                batch,
                first_index,
                outputs,
            })
            .map_err(|_| WRITER_GONE)?;
    }
    Ok(())
}

/// Receives, commits, and only then acknowledges and hands out work. Nothing it sends on can block it.
struct Writer<'a> {
    table: &'a SqliteTable,
    connection: Connection,
    inbox: Receiver<Command>,
    slices: Sender<Slice>,
    /// Items of the whole load that have no durable outcome yet; at zero the writer ends.
    unfinished: usize,
}

impl Writer<'_> {
    /// Returns when the last outcome became durable.
    fn run(mut self) -> Result<Instant, RoundError> {
        let mut group = Vec::new();
        while self.unfinished > 0 {
            self.gather(&mut group)?;
            self.commit(&group)?;
            self.publish(&mut group)?;
        }
        Ok(Instant::now())
    }

    fn gather(&self, group: &mut Vec<Command>) -> Result<(), RoundError> {
        let first = self
            .inbox
            .recv()
            .map_err(|_| "workers and submitters ended early")?;
        let mut items = first.items();
        group.push(first);
        while items < GROUP_ITEMS
            && let Ok(command) = self.inbox.try_recv()
        {
            items += command.items();
            group.push(command);
        }
        Ok(())
    }

    fn commit(&mut self, group: &[Command]) -> Result<(), RoundError> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert_job = transaction.prepare_cached(self.table.insert_job)?;
            let mut finish_job = transaction.prepare_cached(self.table.finish_job)?;
            for command in group {
                match command {
                    Command::Submit {
                        batch, payloads, ..
                    } => {
                        for (index, payload) in payloads.iter().enumerate() {
                            insert_job.execute(params![row_id(*batch, index), payload])?;
                        }
                    }
                    Command::Finished {
                        batch,
                        first_index,
                        outputs,
                    } => {
                        for (offset, output) in outputs.iter().enumerate() {
                            finish_job
                                .execute(params![row_id(*batch, first_index + offset), output])?;
                        }
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn publish(&mut self, group: &mut Vec<Command>) -> Result<(), RoundError> {
        for command in group.drain(..) {
            match command {
                Command::Submit {
                    batch,
                    payloads,
                    durable,
                } => {
                    durable.send(()).map_err(|_| "a submitter ended early")?;
                    let payloads: Arc<[String]> = payloads.into();
                    for first in (0..payloads.len()).step_by(SLICE_ITEMS) {
                        let range = first..payloads.len().min(first + SLICE_ITEMS);
                        let slice = Slice {
                            batch,
                            payloads: Arc::clone(&payloads),
                            range,
                        };
                        self.slices
                            .send(slice)
                            .map_err(|_| "the workers ended early")?;
                    }
                }
                Command::Finished { outputs, .. } => self.unfinished -= outputs.len(),
            }
        }
        Ok(())
    }
}

impl Command {
    fn items(&self) -> usize {
        match self {
            Self::Submit { payloads, .. } => payloads.len(),
            Self::Finished { outputs, .. } => outputs.len(),
        }
    }
}

fn row_id(batch: u32, index: usize) -> i64 {
    (i64::from(batch) << INDEX_BITS) | index as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Load = Load {
        batches: 5,
        items_per_batch: SLICE_ITEMS + 1,
        workers: 2,
        submitters: 2,
    };

    #[test]
    fn every_item_ends_with_its_outcome_in_both_tables() -> Result<(), RoundError> {
        for table in [SqliteTable::PLAIN, SqliteTable::TUNED] {
            let dir = tempfile::tempdir()?;
            assert_eq!(table.run(dir.path(), &SMALL)?.items, SMALL.items());
        }
        Ok(())
    }

    #[test]
    fn a_missing_outcome_is_an_error() -> Result<(), RoundError> {
        for table in [SqliteTable::PLAIN, SqliteTable::TUNED] {
            let dir = tempfile::tempdir()?;
            table.run(dir.path(), &SMALL)?;
            let more = Load {
                batches: SMALL.batches + 1,
                ..SMALL
            };
            assert!(table.check(&dir.path().join(FILE), &more).is_err());
        }
        Ok(())
    }
}
