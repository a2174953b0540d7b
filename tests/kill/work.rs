//! The work that is killed: batches made of a seed, and items whose fates follow from their numbers, so
//! that both sides of the kill know what has to come of them.

use batchwright::{
    AtLeastOnce, BatchId, Builder, Clock, Context, ExactlyOnce, Failure, Operation, Queue,
    RetryPolicy, SubmitError, SubmitOptions, Table,
};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Points granted, by item number. A row is the trace of one execution that counted.
pub(crate) const GRANTS: Table<u64, u64> = Table::new("grants");
/// The sum of the grants of each account.
pub(crate) const BALANCES: Table<u64, u64> = Table::new("balances");

/// An item's number is its batch's seed times this, plus its place.
pub(crate) const NUMBERS_PER_SEED: u64 = 1 << 16;

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

pub(crate) const GRANT: &str = "grant";
pub(crate) const NOTIFY: &str = "notify";
/// Its items are planted as another type's, and cannot be decoded.
pub(crate) const LEGACY: &str = "legacy";

/// What the operation was called first, which is now called so.
pub(crate) fn first_name(name: &str) -> &str {
    match name {
        "award" => GRANT,
        "tell" => NOTIFY,
        name => name,
    }
}

/// The operation of the batch made of `seed`.
pub(crate) fn operation(seed: u64) -> &'static str {
    if mix(seed ^ 1).is_multiple_of(2) {
        GRANT
    } else {
        NOTIFY
    }
}

/// When batches are due that do not run as long as anybody is killed.
const FAR: Duration = Duration::from_secs(40_000 * 24 * 3600);

/// Whether the batch made of `seed` is due only then.
pub(crate) fn is_far(seed: u64) -> bool {
    mix(seed ^ 10).is_multiple_of(8)
}

/// The priority of the batch made of `seed`.
pub(crate) fn priority(seed: u64) -> i8 {
    [0, 0, 0, -1, 7][usize::try_from(mix(seed ^ 11) % 5).unwrap_or_default()]
}

/// What is ended is deleted no earlier than after this, by `prune` and `keep_ended`.
pub(crate) const KEPT: Duration = Duration::from_millis(300);

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
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

/// What becomes of an item in a batch. A batch that runs it again may have better luck.
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
    pub(crate) fn of(number: u64, batch: u64) -> Self {
        match mix(number ^ mix(batch ^ 5)) % 32 {
            0..3 => Self::IsRefused,
            3 | 4 => Self::SucceedsAtSecondAttempt,
            5 => Self::FailsEveryAttempt,
            6 => Self::Panics,
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

    fn happen(number: u64, batch: BatchId, attempt: u32) -> Result<(), Failure> {
        match Self::of(number, batch.into()) {
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

/// The operations that were paused when the queue was opened, and are.
static HELD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on, items of these operations must not run.
pub(crate) fn hold(operations: Vec<String>) {
    *HELD.lock().unwrap_or_else(PoisonError::into_inner) = operations;
}

/// Must not become an item's outcome.
fn refuse_while_held(operation: &str) -> Result<(), Failure> {
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if held.iter().any(|held| held == operation) {
        return Err(Failure::permanent("ran_while_paused", operation));
    }
    Ok(())
}

/// It is called otherwise at every other opening.
pub(crate) struct Grant<const RENAMED: bool>;

impl<const RENAMED: bool> Operation for Grant<RENAMED> {
    const NAME: &'static str = if RENAMED { "award" } else { GRANT };
    const ALIASES: &'static [&'static str] = if RENAMED { &[GRANT] } else { &["award"] };
    type Item = Order;
    type Output = Receipt;
    type Guarantee = ExactlyOnce;

    fn run(&self, order: Order, cx: &mut Context<ExactlyOnce>) -> Result<Receipt, Failure> {
        refuse_while_held(GRANT)?;
        let Order { number, ballast } = order;
        if cx.get(&GRANTS, &number)?.is_some() {
            return Err(Failure::permanent("granted_twice", number.to_string()));
        }
        let (account, points) = (account(number), points(number));
        let balance = cx.get(&BALANCES, &account)?.unwrap_or(0) + points;
        cx.put(&GRANTS, &number, &points)?;
        cx.put(&BALANCES, &account, &balance)?;
        // Last, so that failures and panics have writes to leave behind.
        Fate::happen(number, cx.batch_id(), cx.attempt())?;
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

/// It is called otherwise at every other opening.
pub(crate) struct Notify<const RENAMED: bool>;

impl<const RENAMED: bool> Operation for Notify<RENAMED> {
    const NAME: &'static str = if RENAMED { "tell" } else { NOTIFY };
    const ALIASES: &'static [&'static str] = if RENAMED { &[NOTIFY] } else { &["tell"] };
    type Item = Order;
    type Output = Receipt;
    type Guarantee = AtLeastOnce;

    fn run(&self, order: Order, cx: &mut Context<AtLeastOnce>) -> Result<Receipt, Failure> {
        refuse_while_held(NOTIFY)?;
        let Order { number, ballast } = order;
        Fate::happen(number, cx.batch_id(), cx.attempt())?;
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

/// What the legacy operation took once.
struct Ancient;

impl Operation for Ancient {
    const NAME: &'static str = "ancient";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, number: u64, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(number)
    }
}

/// A clock by which everything is due.
struct Later;

impl Clock for Later {
    fn now(&self) -> SystemTime {
        SystemTime::now() + FAR
    }
}

/// The queue in `dir`, which works.
pub(crate) fn working(dir: &Path, renamed: bool) -> Builder {
    let queue = Queue::builder(dir)
        .workers(2)
        .register_as(LEGACY, Notify::<false>);
    if renamed {
        queue.register(Grant::<true>).register(Notify::<true>)
    } else {
        queue.register(Grant::<false>).register(Notify::<false>)
    }
}

/// The queue in `dir`, which works and for which everything is due.
pub(crate) fn finishing(dir: &Path) -> Builder {
    working(dir, false).clock(Later)
}

/// The queue in `dir`, in which nothing runs: no operation is registered.
pub(crate) fn frozen(dir: &Path) -> Builder {
    Queue::builder(dir).workers(1)
}

/// Submits a batch that cannot be decoded later on, whose owner is `seed`; its operation is paused.
pub(crate) fn plant(
    dir: &Path,
    seed: u64,
) -> Result<BatchId, Box<dyn std::error::Error + Send + Sync>> {
    let queue = frozen(dir).register_as(LEGACY, Ancient).open()?;
    queue.pause(LEGACY, "planted")?;
    let options = SubmitOptions::new().owner(seed.to_string());
    let batch = queue.submit_as_with::<Ancient>(LEGACY, numbers(seed), options)?;
    let id = batch.id();
    queue.shutdown(crate::PATIENCE)?;
    Ok(id)
}

/// Submits the batch made of `seed`; its owner is its seed.
pub(crate) fn submit(queue: &Queue, seed: u64) -> Result<BatchId, SubmitError> {
    let mut options = SubmitOptions::new()
        .owner(seed.to_string())
        .priority(priority(seed));
    if has_key(seed) {
        options = options.idempotency_key(seed.to_string());
    }
    if is_far(seed) {
        options = options.not_before(UNIX_EPOCH + FAR);
    } else if mix(seed ^ 12).is_multiple_of(4) {
        options =
            options.not_before(SystemTime::now() + Duration::from_millis(mix(seed ^ 13) % 20));
    }
    let orders = numbers(seed).map(Order::new);
    let batch = queue.submit_named_with(operation(seed), orders, options)?;
    Ok(batch.id())
}
