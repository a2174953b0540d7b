//! Awards one point for every whole unit of money spent, exactly once, whatever happens on the way.
//!
//! ```text
//! cargo run --release --example award_points -- purchases.txt
//! ```
//!
//! Kill it and run it again: it goes on where it was. Run it once more: nobody gets a point twice.

mod arguments;
mod award_points;
mod error;
mod purchase;
mod sample;
mod summary;

use arguments::Arguments;
use award_points::AwardPoints;
use batchwright::{Batch, BatchError, Queue, Report, WaitError};
use clap::Parser;
use error::Error;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use summary::Summary;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match run(&arguments) {
        Ok(summary) if summary.failed > 0 => error::ITEMS_FAILED,
        Ok(_) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "award_points: {error}");
            error.exit_code()
        }
    };
    ExitCode::from(code)
}

fn run(arguments: &Arguments) -> Result<Summary, Error> {
    // Read and check everything first: a bad file stores nothing.
    let content = arguments.read_purchases()?;
    let purchases = purchase::parse_all(&content).map_err(Error::BadLines)?;

    let queue = Queue::builder(&arguments.store)
        .register(AwardPoints)
        .open()?;
    let started = Instant::now();
    let bar = progress_bar(purchases.len() as u64, arguments.json);

    bar.set_message("submitting");
    let import =
        queue.import::<AwardPoints>(&import_key(&content), bar.wrap_iter(purchases.into_iter()))?;

    bar.set_message("awarding");
    let reports = wait_for_all(&import.batches, &bar)?;
    bar.finish_and_clear();

    let summary = Summary::new(&queue, &reports, started.elapsed())?;
    if arguments.json {
        summary.write_json(io::stdout().lock())?;
    } else {
        summary.write_text(io::stdout().lock())?;
    }
    print_failures(&import.batches)?;
    queue.shutdown(Duration::from_secs(10))?;
    Ok(summary)
}

/// An import is recognised by its key: the same file again is the same batches, not new ones.
fn import_key(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Waits until every batch has ended, and shows how far they are meanwhile.
fn wait_for_all(
    batches: &[Batch<AwardPoints>],
    bar: &ProgressBar,
) -> Result<Vec<Report>, WaitError> {
    const REDRAW_EVERY: Duration = Duration::from_millis(100);
    let mut reports = Vec::with_capacity(batches.len());
    while let Some(next) = batches.get(reports.len()) {
        reports.extend(next.wait_timeout(REDRAW_EVERY)?);
        bar.set_position(processed(batches)?);
    }
    Ok(reports)
}

fn processed(batches: &[Batch<AwardPoints>]) -> Result<u64, BatchError> {
    batches
        .iter()
        .map(|batch| Ok(batch.status()?.processed()))
        .sum()
}

/// Says which purchases got no points, and why.
fn print_failures(batches: &[Batch<AwardPoints>]) -> Result<(), Error> {
    for batch in batches {
        if batch.status()?.failed == 0 {
            continue;
        }
        for item in batch.outcomes()? {
            if let Some(failure) = item?.outcome.failure() {
                writeln!(io::stderr(), "award_points: {failure}")?;
            }
        }
    }
    Ok(())
}

/// On standard error; indicatif hides it when that is not a terminal.
fn progress_bar(items: u64, hidden: bool) -> ProgressBar {
    let target = if hidden {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let style =
        ProgressStyle::with_template("{msg:>10} {wide_bar} {human_pos}/{human_len} {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(items), target).with_style(style)
}
