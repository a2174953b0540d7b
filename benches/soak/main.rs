//! Mixed load for an hour, at ten times the time that batches are kept: memory must stay flat, the disk bounded,
//! and every point that was awarded must be there exactly once.
//!
//! ```text
//! cargo bench --bench soak -- --minutes 60 --csv soak.csv   # exits with 1 when something is wrong or grows
//! cargo bench --bench soak -- --test                        # six seconds; the curve is not judged
//! ```
//!
//! A run has 60 turns. After each the queue is shut down, or dropped, and opened again; before every second one
//! the points are compared with the outcomes, and again after it. The store lies below the target directory,
//! which must be on a disk.

mod books;
mod curve;
mod driver;
mod memory;
mod operations;
mod plan;
mod random;
mod submissions;

use batchwright::limits::Limits;
use batchwright::{BatchFilter, Queue};
use curve::{Peaks, Row, Verdict, Work};
use driver::Driver;
use operations::{Award, SendReceipt, Slow};
use plan::Plan;
use std::error::Error;
use std::fs::File;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) type Measured<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longer than any handler here takes.
const SHUTDOWN: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let plan = Plan::read();
    match run(&plan) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error} (seed {})", plan.seed);
            ExitCode::FAILURE
        }
    }
}

/// False when memory or disk have grown.
fn run(plan: &Plan) -> Measured<bool> {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let dir = scratch.path().join("store");
    let rows = load(plan, &dir)?;
    let mut holds = true;
    for verdict in Verdict::all(&rows) {
        writeln!(stdout(), "{verdict}")?;
        holds &= verdict.holds();
    }
    Ok(holds || !plan.judged)
}

fn load(plan: &Plan, dir: &Path) -> Measured<Vec<Row>> {
    let mut csv = plan.csv.as_ref().map(File::create).transpose()?;
    if let Some(csv) = &mut csv {
        writeln!(csv, "{}", Row::CSV_HEAD)?;
    }
    writeln!(stdout(), "{}", Row::HEAD)?;
    let mut driver = Driver::new(plan);
    let mut rows = Vec::new();
    let mut past = Work::default();
    let started = Instant::now();
    for turn in 1..=plan.turns {
        let opening = Instant::now();
        let queue = open(plan, dir)?;
        let open = opening.elapsed();
        if turn % 2 == 1 && turn > 1 {
            driver.check(&queue)?;
        }
        let mut peaks = Peaks::default();
        driver.work(&queue, started + plan.turn * turn, &mut peaks)?;
        if turn % 2 == 0 {
            driver.pause_and_check(&queue)?;
        }
        let batches = queue.batches(BatchFilter::all()).count() as u64;
        let stats = queue.stats()?;
        peaks.see_disk(stats.size_on_disk);
        let work = Work::of(&stats);
        past.add(work);
        let row = Row {
            at: started.elapsed(),
            items_per_second: work.items as f64 / opening.elapsed().as_secs_f64(),
            batches,
            unfinished: stats.unfinished_batches,
            work: past,
            peaks,
            open,
        };
        writeln!(stdout(), "{row}")?;
        if let Some(csv) = &mut csv {
            writeln!(csv, "{}", row.csv())?;
        }
        rows.push(row);
        // Dropping it is the other way of ending it.
        if turn % 5 > 0 {
            queue.shutdown(SHUTDOWN)?;
        }
    }
    finish(plan, dir, &mut driver)?;
    Ok(rows)
}

fn open(plan: &Plan, dir: &Path) -> Measured<Queue> {
    let mut limits = Limits::default();
    // Else the keys of the whole run would be kept, as they should.
    limits.idempotency_keys_for = plan.keep;
    let queue = Queue::builder(dir)
        .workers(2)
        .limits(limits)
        .keep_ended(plan.keep)
        .register(Award)
        .register(SendReceipt)
        .register(Slow)
        .open()?;
    Ok(queue)
}

/// Everything ends, is counted, found again by the next open, and deleted.
fn finish(plan: &Plan, dir: &Path, driver: &mut Driver) -> Measured<()> {
    let queue = open(plan, dir)?;
    driver.finish(&queue)?;
    driver.pause_and_check(&queue)?;
    queue.shutdown(SHUTDOWN)?;
    let queue = open(plan, dir)?;
    driver.check(&queue)?;
    queue.prune(Duration::ZERO)?;
    if let Some(status) = queue.batches(BatchFilter::all()).next() {
        return Err(format!("left after everything was deleted: {}", status?).into());
    }
    queue.shutdown(SHUTDOWN)?;
    Ok(())
}
