//! The whole engine in virtual time, on one thread, seed after seed: nothing lost, nothing twice, whatever fails.
//!
//! Each seed runs twice, and the two runs must be the same to the byte. `BATCHWRIGHT_SEEDS` sets how many seeds
//! there are, `BATCHWRIGHT_FIRST_SEED` where they begin; `BATCHWRIGHT_SEED` runs one and prints what happens.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "a canary that is not noticed, and the trace of a run that is asked for"
)]

mod canaries;

use batchwright::testing::simulation::{simulate, simulate_and_record};
use std::env;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

type Tested = Result<(), Box<dyn Error>>;

/// So many that they take a minute at most without optimisations, on two processors.
const SEEDS: u64 = 2_000;

const THREADS: u64 = 2;

fn asked(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_or_done_twice_whatever_fails() -> Tested {
    if let Some(seed) = asked("BATCHWRIGHT_SEED") {
        return run_one(seed);
    }
    let first = asked("BATCHWRIGHT_FIRST_SEED").unwrap_or(0);
    let end = first + asked("BATCHWRIGHT_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let run = || -> Result<(), String> {
        while !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            let ran = run_twice(seed);
            failed.fetch_or(ran.is_err(), Ordering::Relaxed);
            ran?;
        }
        Ok(())
    };
    let ran: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(run)).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.collect()
    });
    for thread in ran {
        thread.map_err(|_| "the test itself panicked")??;
    }
    Ok(())
}

/// The checker took the refusal of a second deletion for the failure of the first, whose outcome nobody knew.
#[test]
fn a_deletion_that_may_be_done_is_not_undone_by_a_refused_one() -> Tested {
    Ok(run_twice(500_069)?)
}

/// Runs a seed twice: the same must happen.
fn run_twice(seed: u64) -> Result<(), String> {
    let again = format!("BATCHWRIGHT_SEED={seed} runs it again and prints what happens");
    let once = simulate(seed).map_err(|failure| format!("{failure}\n{again}"))?;
    let twice = simulate(seed).map_err(|failure| format!("{failure}\n{again}"))?;
    if once == twice {
        return Ok(());
    }
    Err(format!(
        "seed {seed} ran two ways: {once:?}, {twice:?}\n{again}"
    ))
}

fn run_one(seed: u64) -> Tested {
    match simulate_and_record(seed) {
        Ok(trace) => {
            println!("{trace}");
            Ok(())
        }
        Err(failure) => {
            if let Some(trace) = &failure.trace {
                println!("{trace}");
            }
            Err(failure.into())
        }
    }
}
