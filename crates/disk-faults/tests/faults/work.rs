//! The work that is cut off: batches made of a seed, whose items and fates follow from their numbers, so that
//! whoever finds the store knows what has to be in it.

use batchwright::{
    AtLeastOnce, Builder, Context, ExactlyOnce, Failure, Operation, Queue, RetryPolicy, Table,
};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Points granted, by item number: the trace of one execution that counted.
pub(crate) const GRANTS: Table<u64, u64> = Table::new("grants");
/// The sum of all grants, under `"all"`.
pub(crate) const SUMS: Table<str, u64> = Table::new("sums");

/// An item's number is its batch's seed times this, plus its index.
const NUMBERS_PER_SEED: u64 = 1 << 12;

/// The finalizer of SplitMix64: spreads neighbouring numbers.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) number: u64,
    ballast: String,
}

/// Seeds of one recording. In every eighth one batches are large: each fills several of the storage engine's segments,
/// and what was deleted makes room for the next.
pub(crate) const SEEDS: u64 = 40;

/// Whether the batch made of `seed` is.
pub(crate) fn is_large(seed: u64) -> bool {
    seed / SEEDS % 8 == 7
}

/// Items of large batches: from a fraction of a segment to as much as a batch may have.
const LARGE_ITEMS: [u64; 3] = [60, 140, 270];

/// The items of the batch made of `seed`. Some are large, so that a batch has several rows.
pub(crate) fn orders(seed: u64) -> Vec<Order> {
    let items = match mix(seed) % 8 {
        _ if is_large(seed) => LARGE_ITEMS[(mix(seed ^ 5) % 3) as usize],
        0 => 40,
        draw => 1 + 2 * draw,
    };
    let order = |index| {
        let number = seed * NUMBERS_PER_SEED + index;
        let bytes = match mix(number ^ 1) % 24 {
            _ if is_large(seed) => 58_000,
            0 => 30_000,
            draw => draw * 20,
        };
        Order {
            number,
            ballast: "x".repeat(usize::try_from(bytes).unwrap_or_default()),
        }
    };
    (0..items).map(order).collect()
}

pub(crate) fn points(number: u64) -> u64 {
    1 + mix(number ^ 2) % 100
}

/// Whether the batch made of `seed` grants, or else notifies.
pub(crate) fn grants(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

/// The code of the failure that an item ends with.
pub(crate) fn code(number: u64) -> Option<&'static str> {
    mix(number ^ 3).is_multiple_of(8).then_some("refused")
}

fn meet_fate(number: u64, attempt: u32) -> Result<(), Failure> {
    if code(number).is_some() {
        return Err(Failure::permanent("refused", number.to_string()));
    }
    if mix(number ^ 4).is_multiple_of(8) && attempt < 2 {
        return Err(Failure::retryable("not_yet", number.to_string()));
    }
    Ok(())
}

pub(crate) struct Grant;

impl Operation for Grant {
    const NAME: &'static str = "grant";
    type Item = Order;
    /// The item's number, and the sum after it.
    type Output = (u64, u64);
    type Guarantee = ExactlyOnce;

    fn run(&self, order: Order, cx: &mut Context<ExactlyOnce>) -> Result<(u64, u64), Failure> {
        let number = order.number;
        if cx.get(&GRANTS, &number)?.is_some() {
            return Err(Failure::permanent("granted_twice", number.to_string()));
        }
        let sum = cx.get(&SUMS, "all")?.unwrap_or(0) + points(number);
        cx.put(&GRANTS, &number, &points(number))?;
        cx.put(&SUMS, "all", &sum)?;
        // Last, so that failures have writes to leave behind.
        meet_fate(number, cx.attempt())?;
        Ok((number, sum))
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(3, Duration::from_millis(1))
    }
}

pub(crate) struct Notify;

impl Operation for Notify {
    const NAME: &'static str = "notify";
    type Item = Order;
    /// The item's number and its idempotency key.
    type Output = (u64, String);
    type Guarantee = AtLeastOnce;

    fn run(&self, order: Order, cx: &mut Context<AtLeastOnce>) -> Result<(u64, String), Failure> {
        meet_fate(order.number, cx.attempt())?;
        Ok((order.number, cx.idempotency_key().to_string()))
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(3, Duration::from_millis(1))
    }
}

/// After this long a commit is taken for lost. Short, because faults make some wait for ever; long for a machine
/// that has other work.
const COMMIT: Duration = Duration::from_secs(6);

/// The queue in `dir`.
pub(crate) fn queue(dir: &Path) -> Builder {
    let mut limits = batchwright::limits::Limits::default();
    limits.commit = COMMIT;
    Queue::builder(dir)
        .workers(2)
        .cache_bytes(8 << 20)
        .limits(limits)
        .register(Grant)
        .register(Notify)
}
