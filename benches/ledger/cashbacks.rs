//! Cashbacks through the engine.

use crate::Measured;
use batchwright::Queue;
use batchwright::loyalty::{self, Cashback, CashbackItem, Money, Program, Time};
use std::path::Path;
use std::time::{Duration, Instant};

const ITEMS_PER_BATCH: u64 = 1_000;

/// What a run of the ledger was.
pub(crate) struct Run {
    pub(crate) items: u64,
    pub(crate) seconds: f64,
    /// Commits of it: groups of rows that were synced together.
    pub(crate) commits: u64,
}

impl Run {
    pub(crate) fn items_per_second(&self) -> f64 {
        self.items as f64 / self.seconds
    }
}

/// Item `number`: a transaction of its own, of a customer who is as good as drawn.
pub(crate) fn item(number: u64, customers: u64) -> Measured<CashbackItem> {
    // Splitmix64: neighbours have nothing in common.
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let time: Time = "2026-01-01T12:00:00Z".parse()?;
    let amount: Money = format!("{}.{:02}", 1 + bits % 500, bits % 100).parse()?;
    Ok(CashbackItem::new(
        format!("customer-{:07}", bits % customers),
        format!("receipt-{number:012}"),
        time,
        amount,
    ))
}

pub(crate) fn open(dir: &Path) -> Measured<Queue> {
    let builder = Queue::builder(dir).workers(2).cache_bytes(64 << 20);
    Ok(loyalty::register_all(builder, &Program::default())?.open()?)
}

/// Submits items `from..from + count` and waits until all have succeeded.
pub(crate) fn work(queue: &Queue, from: u64, count: u64, customers: u64) -> Measured<()> {
    let mut batches = Vec::new();
    let mut next = from;
    while next < from + count {
        let end = (next + ITEMS_PER_BATCH).min(from + count);
        let items: Vec<_> = (next..end)
            .map(|number| item(number, customers))
            .collect::<Measured<_>>()?;
        batches.push(queue.submit::<Cashback>(items)?);
        next = end;
    }
    for batch in batches {
        let report = batch.wait()?;
        if report.status.failed > 0 {
            return Err(format!("items failed: {report}").into());
        }
    }
    Ok(())
}

pub(crate) fn run(dir: &Path, items: u64, customers: u64) -> Measured<Run> {
    let queue = open(dir)?;
    let commits = queue.stats()?.writer.commits;
    let started = Instant::now();
    work(&queue, 0, items, customers)?;
    let run = Run {
        items,
        seconds: started.elapsed().as_secs_f64(),
        commits: queue.stats()?.writer.commits - commits,
    };
    queue.shutdown(Duration::from_secs(30))?;
    Ok(run)
}
