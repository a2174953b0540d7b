//! What can be run: the trait an application implements, and what is promised to it.

use crate::context::{Context, sealed};
use crate::failure::Failure;
use crate::kernel::RetryPolicy;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::num::NonZeroU32;

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

    /// What is promised: [`ExactlyOnce`] or [`AtLeastOnce`].
    type Guarantee: Guarantee;

    /// Runs one item. Called on several threads at once, unless [`concurrency`](Self::concurrency) or
    /// the guarantee says otherwise. A panic is caught and becomes the item's failure.
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

/// What is promised to an operation. Sealed: [`ExactlyOnce`] or [`AtLeastOnce`].
///
/// | | its handler may | a returned error | a panic | the process dies |
/// |---|---|---|---|---|
/// | [`ExactlyOnce`] | read and write [tables](crate::Table) of the store, nothing outside | retried or failed; no writes | failed; no writes | runs again; nothing of the first time is there |
/// | [`AtLeastOnce`] | do anything | retried or failed | failed | runs again, with the same idempotency key |
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

impl Guarantee for ExactlyOnce {}
impl Guarantee for AtLeastOnce {}
