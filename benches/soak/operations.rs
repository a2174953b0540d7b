//! What the soak gives the engine to do. How an item ends follows from its number and its batch, so that what
//! must have become of a batch can be told without having watched it.

use crate::random::mixed;
use batchwright::{
    AtLeastOnce, BatchId, Context, ExactlyOnce, Failure, Operation, RetryPolicy, Table,
};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;

pub(crate) const CUSTOMERS: u64 = 10_000;
/// Points by customer.
pub(crate) const POINTS: Table<u64, u64> = Table::new("points");
/// One row: the points of all customers, under [`ALL`].
pub(crate) const TOTAL: Table<str, u64> = Table::new("total");
pub(crate) const ALL: &str = "all";

/// An item: some 100 bytes of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Purchase {
    number: u64,
    customer: u64,
    receipt: String,
    shop: String,
}

impl Purchase {
    pub(crate) fn numbered(number: u64) -> Self {
        Self {
            number,
            customer: mixed(number) % CUSTOMERS,
            receipt: format!("R{number:030}"),
            shop: format!("S{:06}", number % 500),
        }
    }
}

/// The points that the purchase brings in this batch; `None` when it fails.
pub(crate) fn awarded(batch: BatchId, number: u64) -> Option<u64> {
    let fails = mixed(mixed(u64::from(batch)) ^ number).is_multiple_of(33);
    (!fails).then_some(1 + number % 100)
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Awarded {
    pub(crate) points: u64,
    pub(crate) balance: u64,
}

/// Exactly once: two table rows an item, and one of them is the same for all.
pub(crate) struct Award;

impl Operation for Award {
    const NAME: &'static str = "award";
    type Item = Purchase;
    type Output = Awarded;
    type Guarantee = ExactlyOnce;

    fn run(&self, item: Purchase, cx: &mut Context<ExactlyOnce>) -> Result<Awarded, Failure> {
        let points = awarded(cx.batch_id(), item.number)
            .ok_or_else(|| Failure::permanent("not_eligible", "this purchase brings no points"))?;
        let balance = cx.get(&POINTS, &item.customer)?.unwrap_or(0) + points;
        cx.put(&POINTS, &item.customer, &balance)?;
        let total = cx.get(&TOTAL, ALL)?.unwrap_or(0) + points;
        cx.put(&TOTAL, ALL, &total)?;
        Ok(Awarded { points, balance })
    }
}

/// At least once: one in a hundred items fails however often it is tried, two at once, three until the third
/// attempt; and a fifth of them keep an order.
pub(crate) struct SendReceipt;

impl Operation for SendReceipt {
    const NAME: &'static str = "send";
    type Item = Purchase;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Purchase, cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        match mixed(item.number) >> 32 & 127 {
            0 | 1 => Err(Failure::permanent("bounced", "there is no such address")),
            2 => Err(Failure::retryable("unreachable", "nobody answers")),
            3..6 if cx.attempt() < 3 => Err(Failure::retryable("busy", "try again later")),
            _ => Ok(cx.idempotency_key().to_string()),
        }
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(4, Duration::from_millis(20))
            .longest_wait(Duration::from_millis(200))
    }

    fn key(&self, item: &Purchase) -> Option<String> {
        let ordered = item.number.is_multiple_of(5);
        ordered.then(|| format!("mailbox-{}", item.customer % 64))
    }
}

/// One at a time, each of which takes a while.
pub(crate) struct Slow;

impl Operation for Slow {
    const NAME: &'static str = "slow";
    type Item = Purchase;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Purchase, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        thread::sleep(Duration::from_micros(200));
        Ok(item.number)
    }

    fn concurrency(&self) -> Option<NonZeroU32> {
        Some(NonZeroU32::MIN)
    }
}
