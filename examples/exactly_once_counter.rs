//! Adds up numbers in a table of the store, in a process that dies half way; the next one goes on, and the
//! sum is exact.
//!
//! ```text
//! cargo run --example exactly_once_counter
//! ```
//!
//! The program starts itself again as the process that dies.
#![expect(clippy::print_stdout, reason = "an example prints what happened")]

use batchwright::{Context, ExactlyOnce, Failure, Import, OpenError, Operation, Queue, Table};
use std::env;
use std::error::Error;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names the store's directory to the process that dies.
const STORE: &str = "BATCHWRIGHT_EXAMPLE_STORE";
const CRASHED: i32 = 70;
const NUMBERS: u64 = 10_000;

const SUMS: Table<str, u64> = Table::new("sums");

/// Adds a number to a sum.
struct Add {
    added: AtomicU64,
    /// The process ends in the middle of adding the number after so many.
    dies_after: u64,
}

impl Operation for Add {
    const NAME: &'static str = "add";
    type Item = u64;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, number: u64, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let sum = cx.get(&SUMS, "all")?.unwrap_or(0) + number;
        cx.put(&SUMS, "all", &sum)?;
        if self.added.fetch_add(1, Ordering::Relaxed) == self.dies_after {
            process::exit(CRASHED);
        }
        Ok(sum)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if let Some(store) = env::var_os(STORE) {
        return die_half_way(Path::new(&store));
    }
    let dir = tempfile::tempdir()?;
    let status = Command::new(env::current_exe()?)
        .env(STORE, dir.path())
        .status()?;
    println!("the first process ended: {status}");
    assert_eq!(status.code(), Some(CRASHED));

    let queue = open(dir.path(), u64::MAX)?;
    // It goes on where it was by itself. What the first process did not get to submit comes now: the
    // import's key tells what is there already.
    let import = import(&queue)?;
    for batch in &import.batches {
        println!("{}", batch.wait()?);
    }
    let sum = queue.read(|tables| tables.get(&SUMS, "all"))?;
    println!("the sum of 1 to {NUMBERS}: {}", sum.unwrap_or(0));
    assert_eq!(
        sum,
        Some(NUMBERS * (NUMBERS + 1) / 2),
        "each was added once"
    );
    let added: u64 = queue.stats()?.operations.iter().map(|o| o.succeeded).sum();
    println!("durable when the first process died: {}", NUMBERS - added);
    Ok(())
}

fn die_half_way(store: &Path) -> Result<(), Box<dyn Error>> {
    let queue = open(store, NUMBERS / 2)?;
    for batch in import(&queue)?.batches {
        batch.wait()?;
    }
    Err("it should have died".into())
}

fn open(store: &Path, dies_after: u64) -> Result<Queue, OpenError> {
    let added = AtomicU64::new(0);
    let add = Add { added, dies_after };
    Queue::builder(store).register(add).open()
}

fn import(queue: &Queue) -> Result<Import<Add>, Box<dyn Error>> {
    Ok(queue.import::<Add>("one to ten thousand", 1..=NUMBERS)?)
}
