//! What can be run: the trait an application implements, and what is promised to it.

use crate::context::{Context, sealed};
use crate::failure::Failure;
use crate::kernel::{RateLimit, RetryPolicy};
use crate::limits;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::num::NonZeroU32;
use std::time::Duration;

/// Something that can be done to the items of a batch.
///
/// The smallest one:
///
/// ```
/// use batchwright::{AtLeastOnce, Context, Failure, Operation};
///
/// struct Greet;
///
/// impl Operation for Greet {
///     const NAME: &'static str = "greet";
///     type Item = String;
///     type Output = String;
///     type Guarantee = AtLeastOnce;
///
///     fn run(&self, name: String, _cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
///         Ok(format!("Hello, {name}"))
///     }
/// }
/// ```
pub trait Operation: Send + Sync + 'static {
    /// The name under which batches of this operation are stored: 1 to
    /// [`NAME_BYTES`](crate::limits::NAME_BYTES) bytes. When it changes, the old one belongs among the
    /// [`ALIASES`](Self::ALIASES): otherwise stored batches are of an operation that nobody knows.
    const NAME: &'static str;

    /// Names that the operation had before, each 1 to [`NAME_BYTES`](crate::limits::NAME_BYTES) bytes.
    /// What is stored under one is this operation's, and shown under its name of now: batches, ended or
    /// not, the order of their keys, and idempotency keys. Only
    /// [`register`](crate::Builder::register) heeds them.
    const ALIASES: &'static [&'static str] = &[];

    /// What an item is. Stored as JSON, at most [`PAYLOAD_BYTES`](crate::limits::PAYLOAD_BYTES).
    type Item: Serialize + DeserializeOwned + 'static;

    /// What a successful item leaves. Stored as JSON, at most
    /// [`PAYLOAD_BYTES`](crate::limits::PAYLOAD_BYTES). It is not read back to be sure: JSON has no floats that
    /// are infinite or not a number, they become null.
    type Output: Serialize + DeserializeOwned;

    /// What is promised: [`ExactlyOnce`], [`AtLeastOnce`] or [`AtMostOnce`].
    type Guarantee: Guarantee;

    /// Runs one item. Called on several threads at once, unless [`concurrency`](Self::concurrency) or
    /// the guarantee says otherwise. A panic is caught and becomes the item's failure; of an [`AtMostOnce`] item it
    /// leaves a doubt.
    fn run(
        &self,
        item: Self::Item,
        cx: &mut Context<Self::Guarantee>,
    ) -> Result<Self::Output, Failure>;

    /// When a retryable failure is followed by another attempt. Default: never.
    fn retry(&self) -> RetryPolicy {
        RetryPolicy::none()
    }

    /// How many items of this operation run at once, at most. Default: as many as there are workers.
    fn concurrency(&self) -> Option<NonZeroU32> {
        None
    }

    /// How many attempts start in a time, at most, retries included. Counted in this process, when items are handed
    /// to a worker; opening the queue again starts with none. Default: as many as there are workers for.
    fn rate_limit(&self) -> Option<RateLimit> {
        None
    }

    /// How long a handler may take. Default: for ever. Time is the [clock's](crate::Clock::elapsed). While a handler does
    /// not return, its time-out is noticed at most an eighth of it late, or a second where that is less, and not while
    /// a commit waits for the disk or for a read; one that returns late is late in any case.
    ///
    /// A handler cannot be made to end. What it does from then on does not count: [`is_cancelled`] says so, table
    /// calls fail, what it returns is dropped. Its item fails as [`TIMED_OUT`](crate::Failure::TIMED_OUT), or runs
    /// again where the [policy](RetryPolicy::after_timeouts) says so; an [`AtMostOnce`] item is in doubt. Until the
    /// handler has returned, it counts against the [`concurrency`](Self::concurrency), and its item's key is held.
    /// Another worker takes its worker's place, for up to [`HUNG_HANDLERS`](limits::HUNG_HANDLERS) handlers at a time;
    /// [`OperationStats::hung`](crate::OperationStats::hung) counts them.
    ///
    /// Items of an operation with a time-out are handed out one by one, unless they run exactly once.
    ///
    /// [`is_cancelled`]: Context::is_cancelled
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// How often the process may end while an item runs, until the item fails as
    /// [`CRASHED`](crate::Failure::CRASHED). Default: [`CRASHES`](limits::CRASHES); `None`: as often as it may.
    ///
    /// After a process has ended without closing the queue, everything its workers were at is suspected: these items
    /// run one at a time, alone in their slice, while all others go on. Only the suspect that runs is charged when the
    /// process ends again; what runs beside it becomes a suspect then. So an item is charged for what another does only
    /// when that ends the process while the item is the suspect that runs: where handlers that take long share a process
    /// with handlers that end it, give the former a higher limit. Items that run [at most once](AtMostOnce) are never run
    /// again anyway. What was running is noted in a file that is not synced, and on Linux with the boot that it was in: a
    /// power cut charges nobody.
    fn crash_limit(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(limits::CRASHES)
    }

    /// The ordering key of an item. Items with equal keys never run together and run in submit order,
    /// across batches; an item that waits for a retry holds its key. Only a hash of the key is stored,
    /// taken at submit. Default: no key, no order.
    fn key(&self, item: &Self::Item) -> Option<String> {
        let _ = item;
        None
    }

    /// Refuses bad items at submit: one bad item refuses the whole batch, with every bad item named.
    /// Default: every item is good.
    ///
    /// # Errors
    /// What is wrong with the item.
    fn validate(&self, item: &Self::Item) -> Result<(), Failure> {
        let _ = item;
        Ok(())
    }

    /// What is reported of an item that was [submitted as JSON](crate::Queue::submit_json) and is not an
    /// [`Item`](Self::Item): for operations with error codes of their own. Called on the submitter's thread with
    /// the item's JSON and with what the engine says: [`NOT_DECODABLE`](crate::InvalidItem::NOT_DECODABLE),
    /// the decoder's message, and as field the path of the wrong place. The item is refused whatever
    /// this returns, and its position stays. Default: `failure`.
    ///
    /// Not called when the decoder panics, nor for items in the store that cannot be decoded any more: see
    /// [`Blocked::Undecodable`](crate::Blocked::Undecodable).
    fn undecodable(&self, json: &str, failure: Failure) -> Failure {
        let _ = json;
        failure
    }
}

/// What is promised to an operation. Sealed: [`ExactlyOnce`], [`AtLeastOnce`] or [`AtMostOnce`].
///
/// | | its handler may | a returned error | a panic | a time-out | the process dies |
/// |---|---|---|---|---|---|
/// | [`ExactlyOnce`] | read and write [tables](crate::Table) of the store, nothing outside | retried or failed; no writes | failed; no writes | failed; no writes | runs again; nothing of the first time is there |
/// | [`AtLeastOnce`] | do anything | retried or failed | failed | failed | runs again, with the same idempotency key |
/// | [`AtMostOnce`] | do what must never happen twice | failed, never retried | in doubt | in doubt | in doubt |
pub trait Guarantee: sealed::Guarantee {}

/// The handler's table writes and the item's outcome are one atomic commit.
///
/// Such handlers run one at a time in a queue, and their items start in item order. They must have no
/// effect outside the store: it could happen twice, or without the commit.
#[derive(Debug, Clone, Copy)]
pub enum ExactlyOnce {}

/// The item is never lost; after a crash an unfinished item runs again, with the same
/// [idempotency key](Context::idempotency_key).
#[derive(Debug, Clone, Copy)]
pub enum AtLeastOnce {}

/// The item's handler is called once or never. That it starts is durable before it does, which costs a commit.
///
/// What cannot be known is the outcome [`InDoubt`](crate::Outcome::InDoubt), until somebody finds out and says so with
/// [`Batch::resolve`](crate::Batch::resolve): after a panic, a time-out, and the end of the process, however it came.
/// After the last, items may be in doubt that had not begun: up to
/// [`AT_MOST_ONCE_SLICE_ITEMS`](limits::AT_MOST_ONCE_SLICE_ITEMS) for each slice that was handed to a worker.
#[derive(Debug, Clone, Copy)]
pub enum AtMostOnce {}

impl Guarantee for AtMostOnce {}
impl Guarantee for ExactlyOnce {}
impl Guarantee for AtLeastOnce {}
