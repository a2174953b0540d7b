//! The work that is killed: batches made of a seed, and items whose fates follow from their numbers, so
//! that both sides of the kill know what has to come of them.

use batchwright::{
    AtLeastOnce, Context, ExactlyOnce, Failure, Operation, RetryPolicy, SubmitError, SubmitOptions,
    Table,
};
use batchwright::{Builder, Queue};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Points granted, by item number. A row is the trace of one execution that counted.
pub(crate) const GRANTS: Table<u64, u64> = Table::new("grants");
/// The sum of the grants of each account.
pub(crate) const BALANCES: Table<u64, u64> = Table::new("balances");

/// An item's number is its batch's seed times this, plus its place.
const NUMBERS_PER_SEED: u64 = 1 << 16;

/// The finalizer of SplitMix64: spreads neighbouring numbers.
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The numbers of the items of the batch made of `seed`.
pub(crate) fn numbers(seed: u64) -> std::ops::Range<u64> {
    let first = seed * NUMBERS_PER_SEED;
    let items = match mix(seed) % 20 {
        0 => 300,
        1..4 => 1,
        draw => 2 + 2 * draw,
    };
    first..first + items
}

/// The operation of the batch made of `seed`.
pub(crate) fn operation(seed: u64) -> &'static str {
    if mix(seed ^ 1).is_multiple_of(2) {
        Grant::NAME
    } else {
        Notify::NAME
    }
}

/// Whether the batch made of `seed` is submitted under an idempotency key.
pub(crate) fn has_key(seed: u64) -> bool {
    mix(seed ^ 2).is_multiple_of(2)
}

/// The account that item `number` grants points to.
pub(crate) fn account(number: u64) -> u64 {
    mix(number ^ 3) % 5
}

/// The points that item `number` grants.
pub(crate) fn points(number: u64) -> u64 {
    1 + mix(number ^ 4) % 100
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Succeeds,
    SucceedsAtSecondAttempt,
    IsRefused,
    FailsEveryAttempt,
    Panics,
}

const ATTEMPTS: u32 = 3;

impl Fate {
    pub(crate) fn of(number: u64) -> Self {
        match mix(number ^ 5) % 32 {
            0 => Self::IsRefused,
            1 | 2 => Self::SucceedsAtSecondAttempt,
            3 => Self::FailsEveryAttempt,
            4 => Self::Panics,
            _ => Self::Succeeds,
        }
    }

    /// The code of the failure it ends with.
    pub(crate) fn code(self) -> Option<&'static str> {
        match self {
            Self::Succeeds | Self::SucceedsAtSecondAttempt => None,
            Self::IsRefused => Some("refused"),
            Self::FailsEveryAttempt => Some("hopeless"),
            Self::Panics => Some(Failure::PANICKED),
        }
    }

    pub(crate) fn attempts(self) -> u32 {
        match self {
            Self::Succeeds | Self::IsRefused | Self::Panics => 1,
            Self::SucceedsAtSecondAttempt => 2,
            Self::FailsEveryAttempt => ATTEMPTS,
        }
    }

    fn happen(self, number: u64, attempt: u32) -> Result<(), Failure> {
        match self {
            Self::IsRefused => Err(Failure::permanent("refused", number.to_string())),
            Self::FailsEveryAttempt => Err(Failure::retryable("hopeless", number.to_string())),
            Self::SucceedsAtSecondAttempt if attempt < 2 => {
                Err(Failure::retryable("not_yet", number.to_string()))
            }
            // As a panic, without the hook's message on the console.
            Self::Panics => std::panic::resume_unwind(Box::new(number.to_string())),
            Self::Succeeds | Self::SucceedsAtSecondAttempt => Ok(()),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    number: u64,
    /// Makes some items large enough that a batch has several chunks.
    ballast: String,
}

impl Order {
    fn new(number: u64) -> Self {
        let bytes = match mix(number ^ 6) % 200 {
            0 => 20_000,
            draw => draw,
        };
        let ballast = "x".repeat(usize::try_from(bytes).unwrap_or_default());
        Self { number, ballast }
    }
}

/// What a successful item leaves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) number: u64,
    /// The account's balance after it, of a grant.
    pub(crate) balance: Option<u64>,
    /// The idempotency key, of a notification.
    pub(crate) key: Option<String>,
    ballast: String,
}

pub(crate) struct Grant;

impl Operation for Grant {
    const NAME: &'static str = "grant";
    type Item = Order;
    type Output = Receipt;
    type Guarantee = ExactlyOnce;

    fn run(&self, order: Order, cx: &mut Context<ExactlyOnce>) -> Result<Receipt, Failure> {
        let Order { number, ballast } = order;
        if cx.get(&GRANTS, &number)?.is_some() {
            return Err(Failure::permanent("granted_twice", number.to_string()));
        }
        let (account, points) = (account(number), points(number));
        let balance = cx.get(&BALANCES, &account)?.unwrap_or(0) + points;
        cx.put(&GRANTS, &number, &points)?;
        cx.put(&BALANCES, &account, &balance)?;
        // Last, so that failures and panics have writes to leave behind.
        Fate::of(number).happen(number, cx.attempt())?;
        Ok(Receipt {
            number,
            balance: Some(balance),
            key: None,
            ballast,
        })
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(ATTEMPTS, Duration::from_millis(2))
    }
}

pub(crate) struct Notify;

impl Operation for Notify {
    const NAME: &'static str = "notify";
    type Item = Order;
    type Output = Receipt;
    type Guarantee = AtLeastOnce;

    fn run(&self, order: Order, cx: &mut Context<AtLeastOnce>) -> Result<Receipt, Failure> {
        let Order { number, ballast } = order;
        Fate::of(number).happen(number, cx.attempt())?;
        Ok(Receipt {
            number,
            balance: None,
            key: Some(cx.idempotency_key().to_string()),
            ballast,
        })
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(ATTEMPTS, Duration::from_millis(5))
    }

    fn key(&self, order: &Order) -> Option<String> {
        let draw = mix(order.number ^ 7) % 16;
        (draw < 2).then(|| format!("key {draw}"))
    }
}

/// The queue in `dir`, which works.
pub(crate) fn working(dir: &Path) -> Builder {
    Queue::builder(dir)
        .workers(2)
        .register(Grant)
        .register(Notify)
}

/// The queue in `dir`, in which nothing runs: no operation is registered.
pub(crate) fn frozen(dir: &Path) -> Builder {
    Queue::builder(dir).workers(1)
}

/// Submits the batch made of `seed`; its owner is its seed.
pub(crate) fn submit(queue: &Queue, seed: u64) -> Result<batchwright::BatchId, SubmitError> {
    let mut options = SubmitOptions::new().owner(seed.to_string());
    if has_key(seed) {
        options = options.idempotency_key(seed.to_string());
    }
    let orders = numbers(seed).map(Order::new);
    if operation(seed) == Grant::NAME {
        Ok(queue.submit_with::<Grant>(orders, options)?.id())
    } else {
        Ok(queue.submit_with::<Notify>(orders, options)?.id())
    }
}
