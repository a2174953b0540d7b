//! What the benches give the engine to do.

use batchwright::{AtLeastOnce, Context, Failure, Operation};
use serde::{Deserialize, Serialize};
use std::io;
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// An item: 120 bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Purchase {
    customer: String,
    receipt: String,
    amount_cents: u64,
    day: u32,
    shop: String,
}

impl Purchase {
    pub(crate) fn numbered(number: u64) -> Self {
        Self {
            customer: format!("C{:07}", number % 10_000),
            receipt: format!("R{number:030}"),
            amount_cents: 10_000 + number % 90_000,
            day: 20_260_101,
            shop: format!("S{:06}", number % 500),
        }
    }
}

pub(crate) fn purchases(count: u64) -> Vec<Purchase> {
    (0..count).map(Purchase::numbered).collect()
}

/// An output: 60 bytes of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Award {
    receipt: String,
    points: u64,
}

/// As good as nothing, so that the engine is what is measured.
pub(crate) struct Quick;

impl Operation for Quick {
    const NAME: &'static str = "quick";
    type Item = Purchase;
    type Output = Award;
    type Guarantee = AtLeastOnce;

    fn run(&self, purchase: Purchase, _: &mut Context<AtLeastOnce>) -> Result<Award, Failure> {
        Ok(Award {
            receipt: purchase.receipt,
            points: purchase.amount_cents,
        })
    }
}

/// A millisecond an item, one at a time: a batch that runs for as long as a measurement takes, on one worker.
pub(crate) struct Slow;

impl Operation for Slow {
    const NAME: &'static str = "slow";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, number: u64, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        thread::sleep(Duration::from_millis(1));
        Ok(number)
    }

    fn concurrency(&self) -> Option<NonZeroU32> {
        Some(NonZeroU32::MIN)
    }
}

/// Nothing of it ends before the queue is shut down: what is submitted stays pending.
pub(crate) struct Held;

impl Operation for Held {
    const NAME: &'static str = "held";
    type Item = Purchase;
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _: Purchase, cx: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        while !cx.is_cancelled() {
            thread::sleep(Duration::from_millis(1));
        }
        Err(Failure::permanent("held", "the queue was shut down"))
    }
}

/// A directory for a store, beside the build: that is on a disk, where `/tmp` may be in memory.
pub(crate) fn scratch() -> io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}
