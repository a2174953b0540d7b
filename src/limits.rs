//! Every limit and default of the engine, with its reason.
//!
//! A limit that an application may change is a field of [`Limits`]; the rest are properties of the
//! storage format.

use std::time::Duration;

/// Items in one batch, unless [`Limits::items_per_batch`] says otherwise.
///
/// A batch is one acknowledged unit: it is submitted, committed and reported whole. A thousand keeps
/// its commit near one disk sync and its outcomes in a handful of stored values.
pub const ITEMS_PER_BATCH: usize = 1_000;

/// The most that [`Limits::items_per_batch`] may be set to. Item numbers are stored in 16 bits.
pub const ITEMS_PER_BATCH_MAX: usize = 65_000;

/// Largest item or output, in bytes of JSON.
///
/// The store keeps every value below 64 KiB, because larger ones leave its log for side files that
/// are never synced; the rest of the 64 KiB is framing.
pub const PAYLOAD_BYTES: usize = 60 << 10;

/// Largest batch, in bytes of JSON over all items. One batch is one atomic write.
pub const BATCH_BYTES: usize = 16 << 20;

/// Longest failure message kept, in bytes; longer ones are cut and marked. Also the longest reason that
/// [`Queue::pause`](crate::Queue::pause) takes; longer ones are refused.
pub const FAILURE_MESSAGE_BYTES: usize = 2 << 10;

/// Largest `details` of a failure kept, in bytes of JSON; larger ones are dropped and said so.
pub const FAILURE_DETAILS_BYTES: usize = 8 << 10;

/// Longest failure code and field kept, in bytes; longer ones are cut.
pub const FAILURE_NAME_BYTES: usize = 256;

/// Different failure codes of one batch that are counted apart; further ones are counted together, under
/// [`Failure::OTHER_CODES`](crate::Failure::OTHER_CODES).
///
/// Codes are for programs, and few. The counts are in memory and in one stored value for each batch, so a
/// handler that makes up a code for every item must not make them large.
pub const FAILURE_CODES: usize = 64;

/// Events that [`Queue::subscribe`](crate::Queue::subscribe) keeps for a subscriber who does not take
/// them; then the oldest is dropped. Enough for a second of a busy queue, and about 100 KiB.
pub const EVENTS: usize = 1_024;

/// The most that [`Queue::subscribe_with`](crate::Queue::subscribe_with) keeps. Bounds what a subscriber
/// who never takes an event costs.
pub const EVENTS_MAX: usize = 1 << 20;

/// Longest key of a table row, in bytes of its encoding.
pub const TABLE_KEY_BYTES: usize = 512;

/// Largest table row, in bytes of JSON. The same reason as [`PAYLOAD_BYTES`].
pub const TABLE_VALUE_BYTES: usize = 60 << 10;

/// Longest name of an operation or table, and longest owner, label or idempotency key, in bytes.
pub const NAME_BYTES: usize = 255;

/// Queued and running batches that a queue holds at once, unless [`Limits::unfinished_batches`] says
/// otherwise. Bounds the engine's memory: a queued batch costs about a kilobyte.
pub const UNFINISHED_BATCHES: usize = 10_000;

/// The most that [`Limits::unfinished_batches`] may be set to.
pub const UNFINISHED_BATCHES_MAX: usize = 1_000_000;

/// How long an idempotency key is remembered, unless [`Limits::idempotency_keys_for`] says otherwise:
/// a yearly import is still recognised a month late.
pub const IDEMPOTENCY_KEYS_FOR: Duration = Duration::from_secs(400 * 24 * 3600);

/// Attempts of one item, at most: every attempt is kept in the journal until its batch ends.
pub const ATTEMPTS_MAX: u32 = 1_000;

/// What one exactly-once item may write to tables, in bytes of keys and JSON. It is part of one atomic
/// write.
pub const ITEM_WRITES_BYTES: usize = 16 << 20;

/// Tables in a store. Every commit rewrites a line on each of them.
pub const TABLES: usize = 128;

/// Idempotency keys that a submission with one looks at, to remove those that have expired: as many are
/// looked at as come in, several times over.
pub(crate) const KEYS_SWEPT: usize = 4;

/// Ended batches that are looked at in one view, when old ones are to be deleted. Commits wait meanwhile.
pub(crate) const SWEEP_PAGE: usize = 64;

/// Batches that are deleted in one commit, as long as they are small: their rows are read for it, on the writer's
/// time, and [`GROUP_BYTES`] end the group.
pub(crate) const DELETED_AT_ONCE: usize = 16;

/// The shortest and the longest time between two looks at all ended batches.
pub(crate) const SWEEP_EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);

/// Worker threads, at most.
pub const WORKERS_MAX: usize = 1_024;

/// The store's page cache in bytes, unless the builder says otherwise. The storage engine takes it as a
/// hint: with values as large as ours it was measured to level off near 200 MiB even when set to 8 MiB.
pub const CACHE_BYTES: u64 = 64 << 20;

/// The range that the cache may be set to, in bytes.
pub const CACHE_BYTES_RANGE: std::ops::RangeInclusive<u64> = (8 << 20)..=(4 << 30);

/// How long dropping the last `Queue` waits for handlers that are still running.
pub const DROP_WAIT: Duration = Duration::from_secs(5);

/// How long closing waits for the storage engine to let go of its files, which takes it milliseconds. What
/// takes longer is a forked child that has them too.
pub(crate) const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A commit that takes longer than this is taken for lost, unless [`Limits::commit`] says otherwise: the
/// queue latches failed and says so. The storage engine waits for ever when its I/O thread has died.
pub const COMMIT: Duration = Duration::from_secs(60);

/// Largest value in the store, in bytes, keys and framing included. See [`PAYLOAD_BYTES`].
pub(crate) const VALUE_BYTES: usize = 64 << 10;

/// Item chunks and journal segments are cut at this many bytes: few, large values are what the store
/// is fast with, and [`VALUE_BYTES`] is the ceiling.
pub(crate) const PACKED_BYTES: usize = VALUE_BYTES - 512;

/// The journal of a batch that ends with this many segments more than it needs is rewritten as few full
/// ones.
pub(crate) const JOURNAL_SEGMENTS: usize = 16;

/// A commit group takes no further command past this many bytes. One submitted batch may exceed it.
pub(crate) const GROUP_BYTES: usize = 4 << 20;

/// Commands that may wait for the writer, and that one commit group takes; further senders wait.
pub(crate) const WRITER_CHANNEL: usize = 256;

/// Changed table rows that are kept in memory for the next exactly-once items, in bytes; past them it begins anew.
pub(crate) const RECENT_ROWS_BYTES: usize = 8 << 20;

/// What such a row takes besides its key and its value.
pub(crate) const RECENT_ROW_OVERHEAD: usize = 100;

/// A worker hands back what it has after this long, so that progress is live and stop is quick.
pub(crate) const SLICE_TIME: Duration = Duration::from_millis(10);

/// While an item waits for a retry the clock is looked at this often: by so much at most does setting it
/// back prolong the wait, or is setting it forward noticed late.
pub(crate) const CLOCK_LOOK: Duration = Duration::from_secs(10);

/// Items in one slice, at most: what a crash makes run again is workers x slice.
pub(crate) const SLICE_ITEMS: u32 = 256;

/// Items in one slice that run at most once: all of them are in doubt after a crash.
pub const AT_MOST_ONCE_SLICE_ITEMS: u32 = 16;

/// Attempts in a [`RateLimit`](crate::RateLimit), at most: when each of them started is remembered.
pub const RATE_ITEMS_MAX: u32 = 1_000_000;

/// The longest stretch of time that a [`RateLimit`](crate::RateLimit) is for.
pub const RATE_PERIOD_MAX: Duration = Duration::from_secs(86_400);

/// Handlers that have run into their time-out and whose workers were replaced, at most: each holds a thread until it
/// returns. When there are more, the queue goes on with fewer workers.
pub const HUNG_HANDLERS: usize = 64;

/// How often the process may end while an item runs alone, until it fails as
/// [`CRASHED`](crate::Failure::CRASHED), unless [`Operation::crash_limit`](crate::Operation::crash_limit) says
/// otherwise.
pub const CRASHES: u32 = 3;

/// Items in the first slice of an operation whose speed is not known yet.
pub(crate) const FIRST_SLICE_ITEMS: u32 = 16;

/// Limits an application may set for its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Items in one batch: 1 to [`ITEMS_PER_BATCH_MAX`]. Default [`ITEMS_PER_BATCH`].
    pub items_per_batch: usize,
    /// Bytes of JSON in one batch, 1 to [`BATCH_BYTES`]. Default [`BATCH_BYTES`].
    pub batch_bytes: usize,
    /// Queued and running batches at once, 1 to [`UNFINISHED_BATCHES_MAX`]. Default [`UNFINISHED_BATCHES`].
    pub unfinished_batches: usize,
    /// How long an idempotency key is remembered. Default [`IDEMPOTENCY_KEYS_FOR`].
    pub idempotency_keys_for: Duration,
    /// How long a commit may take, 1 ms or more; noticed up to a quarter later. The time of reads that it
    /// waits for is not counted. Default [`COMMIT`].
    pub commit: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            items_per_batch: ITEMS_PER_BATCH,
            batch_bytes: BATCH_BYTES,
            unfinished_batches: UNFINISHED_BATCHES,
            idempotency_keys_for: IDEMPOTENCY_KEYS_FOR,
            commit: COMMIT,
        }
    }
}
