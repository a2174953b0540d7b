//! Memory and speed while a history grows: batches are deleted as they end, entries stay.

use crate::Measured;
use crate::cashbacks::{open, work};
use crate::memory::Memory;
use batchwright::loyalty;
use std::io::{Write, stdout};
use std::time::{Duration, Instant};

const CUSTOMERS: u64 = 10_000;
/// Looks at the memory on the way.
const STEPS: u64 = 20;
/// By how much the last quarter may be above the second one.
const GROWTH: f64 = 1.15;

/// False when memory grew with the history.
pub(crate) fn measure(entries: u64) -> Measured<bool> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let queue = open(dir.path())?;
    let step = entries.div_ceil(STEPS);
    let mut resident = Vec::new();
    writeln!(
        stdout(),
        "| entries | items/s | resident, MiB | disk, MiB |\n|---|---|---|---|"
    )?;
    for n in 0..STEPS {
        let started = Instant::now();
        work(&queue, n * step, step, CUSTOMERS)?;
        let speed = step as f64 / started.elapsed().as_secs_f64();
        queue.prune(Duration::ZERO)?;
        let memory = Memory::now().map_or(0, |memory| memory.resident_bytes);
        let disk = queue.stats()?.size_on_disk;
        resident.push(memory as f64);
        writeln!(
            stdout(),
            "| {} | {speed:.0} | {} | {} |",
            (n + 1) * step,
            memory >> 20,
            disk >> 20
        )?;
    }
    let started = Instant::now();
    let audit = loyalty::audit(&queue)?;
    let seconds = started.elapsed().as_secs_f64();
    writeln!(stdout(), "audit, {seconds:.1} s: {audit}")?;
    let memory = Memory::now().map_or(0, |memory| memory.resident_bytes);
    writeln!(stdout(), "resident after it: {} MiB", memory >> 20)?;
    queue.shutdown(Duration::from_secs(30))?;

    let quarter = resident.len() / 4;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let growth = mean(&resident[3 * quarter..]) / mean(&resident[quarter..2 * quarter]);
    writeln!(
        stdout(),
        "last quarter / second quarter: {growth:.3} (promised at most {GROWTH})"
    )?;
    Ok(audit.is_clean() && growth <= GROWTH)
}
