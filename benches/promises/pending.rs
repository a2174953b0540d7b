//! A million items that wait: the memory they take, and the time of opening a store with them.
//!
//! The promise is about the engine's memory, and the process that only opens the store is the one to look at:
//! it knows of all items and has hardly used the storage engine's cache. The process that submitted them has a
//! full one, and sled's cache exceeds its limit: bare sled with the same values takes as much.
//!
//! Each measurement is a process of its own, so that the memory is the engine's and not what an earlier
//! measurement left behind.

use crate::Measured;
use crate::figure::Figure;
use crate::load::{Held, purchases, scratch};
use batchwright::Queue;
use batchwright::limits::CACHE_BYTES_RANGE;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The argument that makes this program one of the measuring processes. Two follow: the directory, and how many
/// batches to add.
pub(crate) const CHILD: &str = "--pending-child";

const ITEMS_PER_BATCH: u64 = 1_000;
/// The smallest: the less of the memory is the cache's, the better the engine's is seen.
const CACHE_BYTES: u64 = *CACHE_BYTES_RANGE.start();

#[derive(Serialize, Deserialize)]
struct Observed {
    open_s: f64,
    /// Where the system tells.
    memory_bytes: Option<u64>,
    queued: u64,
}

pub(crate) fn measure(small: bool) -> Measured<Vec<Figure>> {
    let batches = if small { 10 } else { 1_000 };
    let dir = scratch()?;
    let submitted = observe(dir.path(), batches)?;
    let reopened = observe(dir.path(), 0)?;
    let items = batches * ITEMS_PER_BATCH;
    // Those that the workers had begun are no longer queued.
    if reopened.queued < items - 1_000 {
        return Err(format!("of {items} items only {} are pending", reopened.queued).into());
    }
    let mut figures = vec![Figure::promised(
        format!("opening with {items} items pending"),
        reopened.open_s,
        2.0,
        "s",
    )];
    if let Some((reopened, submitted)) = reopened.memory_bytes.zip(submitted.memory_bytes) {
        let mib = |bytes| bytes as f64 / f64::from(1 << 20);
        figures.push(Figure::promised(
            "memory then, with what little is cached",
            mib(reopened),
            64.0,
            "MiB",
        ));
        figures.push(Figure::of_interest(
            format!("memory after submitting {items} items, with a full cache"),
            mib(submitted),
            "MiB",
        ));
    }
    Ok(figures)
}

fn observe(dir: &Path, batches: u64) -> Measured<Observed> {
    let child = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .arg(dir)
        .arg(batches.to_string())
        .stderr(Stdio::inherit())
        .output()?;
    if !child.status.success() {
        return Err(format!("a measuring process ended with {}", child.status).into());
    }
    Ok(serde_json::from_slice(&child.stdout)?)
}

pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> Measured<()> {
    let usage = "the directory and the number of batches are missing";
    let dir = arguments.next().ok_or(usage)?;
    let batches: u64 = arguments.next().ok_or(usage)?.parse()?;
    let items = purchases(ITEMS_PER_BATCH);
    let memory_before = resident_bytes();
    let started = Instant::now();
    let queue = Queue::builder(dir)
        .workers(2)
        .cache_bytes(CACHE_BYTES)
        .register(Held)
        .open()?;
    let open_s = started.elapsed().as_secs_f64();
    for _ in 0..batches {
        queue.submit::<Held>(items.clone())?;
    }
    let memory_bytes = resident_bytes()
        .zip(memory_before)
        .map(|(after, before)| after.saturating_sub(before));
    let observed = Observed {
        open_s,
        memory_bytes,
        queued: queue
            .stats()?
            .operations
            .iter()
            .map(|held| held.queued)
            .sum(),
    };
    writeln!(stdout(), "{}", serde_json::to_string(&observed)?)?;
    queue.shutdown(Duration::from_secs(10))?;
    Ok(())
}

/// The memory of this process. Linux only.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
