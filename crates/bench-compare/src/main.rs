//! Runs engines on the same load, in interleaved rounds, and prints a Markdown table.
//!
//! Interleaved, because a machine's speed drifts: engines that ran minutes apart were not measured on the same
//! machine. Compare numbers of one run only.

mod batchwright_engine;
mod engine;
mod raw_append;
mod sqlite_table;
mod store_directory;
mod table;
mod workload;

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::batchwright_engine::Batchwright;
use crate::engine::{Engine, RoundError};
use crate::raw_append::RawAppend;
use crate::sqlite_table::SqliteTable;
use crate::table::Table;
use crate::workload::Load;

/// Compares batchwright with hand-written alternatives: items per second from the first submission to the last
/// durable outcome.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Rounds; in each, every engine runs once
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rounds: u16,
    /// Threads that run handlers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: u16,
    /// Threads that submit batches
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    submitters: u16,
    /// Batches in a round
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batches: u32,
    /// Items in a batch
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    items: u32,
    /// Only the engines whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where the stores are made and removed again; must be on a disk
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    match compare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done about a standard error that cannot be written to.
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), RoundError> {
    let load = Load {
        batches: arguments.batches as usize,
        items_per_batch: arguments.items as usize,
        workers: usize::from(arguments.workers),
        submitters: usize::from(arguments.submitters),
    };
    // The baseline comes first: the table shows every other engine as a multiple of it.
    let engines: [&dyn Engine; 4] = [
        &SqliteTable::PLAIN,
        &SqliteTable::TUNED,
        &Batchwright,
        &RawAppend,
    ];
    let engines: Vec<&dyn Engine> = engines
        .into_iter()
        .filter(|engine| engine.name().contains(&arguments.only))
        .collect();
    store_directory::prepare(&arguments.dir)?;

    let mut out = stdout().lock();
    writeln!(
        out,
        "{} batches of {} items, {} workers, {} submitters; items/s, submitted to durable outcome\n",
        load.batches, load.items_per_batch, load.workers, load.submitters
    )?;
    let mut table = Table::new(engines.iter().map(|engine| engine.name()).collect());
    writeln!(out, "{}", table.head())?;
    for round in 0..usize::from(arguments.rounds) {
        let mut speeds = vec![0.0; engines.len()];
        // Each engine has its turn at going first, on a quiet disk.
        for turn in 0..engines.len() {
            let number = (round + turn) % engines.len();
            let store = tempfile::tempdir_in(&arguments.dir)?;
            speeds[number] = engines[number]
                .run(store.path(), &load)
                .map_err(|error| format!("{}: {error}", engines[number].name()))?
                .items_per_s();
        }
        writeln!(out, "{}", table.add_round(speeds))?;
    }
    writeln!(out, "{}", table.summary())?;
    Ok(())
}
