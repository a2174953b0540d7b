//! The ledger's speed: cashbacks, durable, against what the storage engine alone takes for the rows that they
//! leave; and memory while a history grows.
//!
//! ```text
//! cargo bench --bench ledger                        # about 10 seconds; exits with 1 when a promise is broken
//! cargo bench --bench ledger -- --history 2000000   # so many entries, and the memory on the way: some minutes
//! cargo bench --bench ledger -- --test              # small and quick; figures without a judgement
//! ```
//!
//! The stores lie below the target directory, which must be on a disk. Run it on a quiet machine, and compare the
//! ratio: it was measured in one run.

mod bare_store;
mod cashbacks;
mod history;
#[path = "../soak/memory.rs"]
#[allow(dead_code)]
mod memory;

use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

pub(crate) type Measured<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What is promised.
const ITEMS_PER_SECOND: f64 = 20_000.0;
const SHARE_OF_BARE: f64 = 0.6;

/// Rounds of both sides in turn; the median counts.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False when a promise is broken.
fn run() -> Measured<bool> {
    let arguments: Vec<_> = std::env::args().collect();
    let small = arguments.iter().any(|argument| argument == "--test");
    let history = arguments
        .iter()
        .skip_while(|argument| *argument != "--history")
        .nth(1);
    if let Some(entries) = history {
        return history::measure(entries.parse()?);
    }
    let (items, customers, rounds) = if small {
        (2_000, 200, 1)
    } else {
        (100_000, 10_000, ROUNDS)
    };
    let mut ledger = Vec::new();
    let mut shares = Vec::new();
    writeln!(
        stdout(),
        "| ledger, items/s | commits | bare store, items/s | share |\n|---|---|---|---|"
    )?;
    for _ in 0..rounds {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let run = cashbacks::run(dir.path(), items, customers)?;
        let bare = bare_store::run(dir.path(), &run)?;
        let share = run.items_per_second() / bare;
        writeln!(
            stdout(),
            "| {:.0} | {} | {bare:.0} | {share:.2} |",
            run.items_per_second(),
            run.commits
        )?;
        ledger.push(run.items_per_second());
        shares.push(share);
    }
    let (ledger, share) = (median(ledger), median(shares));
    let kept = ledger >= ITEMS_PER_SECOND && share >= SHARE_OF_BARE;
    writeln!(
        stdout(),
        "medians: {ledger:.0} items/s (promised {ITEMS_PER_SECOND:.0}), share {share:.2} (promised {SHARE_OF_BARE})"
    )?;
    Ok(small || kept)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
