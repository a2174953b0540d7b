//! A new store from all that can be read of a damaged one.
//!
//! What cannot be known is never guessed in favour of running something again: points that were awarded may be in
//! a table whose outcome is lost. So nothing is left to run by itself:
//!
//! - A batch of which anything is missing is closed: completed, with every outcome that can be read, and every item
//!   of which none can [in doubt](crate::Outcome::InDoubt). Such an item runs again only when somebody has said that
//!   it failed, and asks for it.
//! - A whole batch that has not ended is stopped. `resume` is somebody's decision, too.
//! - A batch without its header is gone; its idempotency key stays, so that submitting it again says so instead of
//!   running it again.
//!
//! `batch` rebuilds a batch, `report` is what is told of it. The rest is copied row by row. Invariants: the original
//! is not touched, only a copy of it; what comes out verifies clean.

mod batch;
mod report;

pub use report::{LOSSES, Loss, Salvage, SalvageError};

use crate::clock::{Clock, SystemClock, millis};
use crate::error::OpenError;
use crate::kernel::{BatchId, Timestamp};
use crate::limits;
use crate::process;
use crate::store::backup::Target;
use crate::store::key_kind::KeyKind;
use crate::store::new_store::NewStore;
use crate::store::readable::ReadableRows;
use crate::store::record::{FORMAT, Header, Meta, PausedOperation, UsedKey};
use crate::store::row_sums::Counted;
use crate::store::{Copied, Scratch, Store, StoreError, Untouched, Value, Writes, codec, keys};
use crate::verification;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Ids that are left out behind the last one that can be read: batches that were lost may have had them, and an id
/// is never used twice.
const IDS_LEFT_OUT: u64 = 1_000_000;

/// Rows that go to the target at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Copies all that can be read of the store in `dir`, which nobody may have open, into a new store in `to`, which is
/// created when it is missing and must be empty. The new store opens, and [`verify`](crate::verify) finds it clean.
///
/// When the store in `dir` is sound, everything is copied as it is. Otherwise everything that can be read is, and
/// nothing of it runs by itself:
///
/// - A batch of which items, outcomes, ordering keys or origins are missing is closed. It is completed, with every
///   outcome that can be read; an item without one is [in doubt](crate::Outcome::InDoubt), whatever the operation
///   promises, because it may have run: find out, and [`resolve`](crate::Batch::resolve) it. An item whose content is
///   lost is `null`.
/// - A batch that had not ended, and of which nothing is missing, is stopped.
///   [`Batch::resume`](crate::Batch::resume) runs the items without an outcome; some of them may have run, when what
///   was stored last is lost.
/// - A batch without its header is left out. Under its idempotency key it counts as deleted.
/// - Rows of tables are kept one by one; those that are lost are told with their keys. Those that are kept may be of
///   different commits: check what belongs together, as the ledger's `audit` does, before anything is resumed.
///
/// The new store keeps the store's id, and so the idempotency keys of items, unless the meta record is lost. Ids of
/// new batches begin a million behind the last one that can be read.
///
/// The original stays as it is, to the byte; room and copies are those of [`verify`](crate::verify). Durable when it
/// returns.
///
/// # Errors
/// [`SalvageError`]; then nothing is left in `to`, as far as it could be removed.
pub fn salvage(dir: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<Salvage, SalvageError> {
    process::settle().map_err(OpenError::from)?;
    let (dir, to) = (dir.as_ref(), to.as_ref());
    let original = Untouched::lock(dir)?.ok_or_else(|| SalvageError::NoStore {
        dir: dir.to_owned(),
    })?;
    if is_inside(to, original.path()) {
        return Err(SalvageError::Inside { dir: to.to_owned() });
    }
    let scratch = Scratch::beside(original.path())?;
    let copied = Copied::open(&original, &scratch, limits::CACHE_BYTES)?;
    let mut salvage = Salvage::default();
    let sound = copied.wrong.is_empty();
    for (_, what) in copied.wrong {
        salvage.loses(Loss::new(what));
    }
    let Some(store) = copied.store else {
        return Err(SalvageError::Unreadable {
            dir: dir.to_owned(),
            what: salvage.first_losses(),
        });
    };
    verification::refuse_newer(&*store, original.path())?;
    let sealed = copied.sealed_sequence.filter(|sealed| *sealed < u64::MAX);
    let target = NewStore::begin(to, *limits::CACHE_BYTES_RANGE.start())?;
    let mut rescue = Rescue {
        store: &*store,
        new: Piecewise::new(target),
        now: Timestamp(millis(SystemClock.now())),
        salvage,
        last_batch: BatchId(0),
        headless: BTreeSet::new(),
        retries: BTreeMap::new(),
        unlisted: BTreeSet::new(),
    };
    let meta = if sound && verification::check_opened(&*store, sealed.unwrap_or(0)).is_clean() {
        rescue.copy_all()
    } else {
        rescue.copy_readable(sealed.unwrap_or(0))
    };
    let unwritable = |StoreError(reason)| SalvageError::Unwritable {
        dir: to.to_owned(),
        reason,
    };
    let Rescue {
        new, mut salvage, ..
    } = rescue;
    let meta = meta.map_err(unwritable)?;
    let (target, rows) = new.finish(&meta).map_err(unwritable)?;
    target.finish(meta.sequence)?;
    salvage.rows = rows;
    salvage.sequence = meta.sequence;
    Ok(salvage)
}

/// Whether `to`, which need not exist, is in the directory, or is it.
fn is_inside(to: &Path, dir: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let Ok(to) = std::path::absolute(to) else {
        return false;
    };
    let nearest: Option<PathBuf> = to.ancestors().find_map(real);
    nearest
        .zip(real(dir))
        .is_some_and(|(to, dir)| to.starts_with(dir))
}

/// A salvage under way.
struct Rescue<'a> {
    store: &'a dyn Store,
    new: Piecewise,
    now: Timestamp,
    salvage: Salvage,
    last_batch: BatchId,
    /// Batches with rows and without a header.
    headless: BTreeSet<BatchId>,
    /// By batch: those that say that they run items of it again, and how many items.
    retries: BTreeMap<BatchId, Vec<(BatchId, u32)>>,
    /// Batches of which it is lost which items they run again.
    unlisted: BTreeSet<BatchId>,
}

impl Rescue<'_> {
    /// The store is sound.
    fn copy_all(&mut self) -> Result<Meta, StoreError> {
        for row in self.store.scan(&[], &keys::successor(&[u8::MAX])) {
            let (key, value) = row?;
            if matches!(KeyKind::of(&key), Some(KeyKind::Header(_))) {
                self.salvage.batches += 1;
            }
            if &*key != keys::META {
                self.new.put(key.to_vec(), value)?;
            }
        }
        let value = self.store.get(keys::META)?;
        let value = value.ok_or_else(|| StoreError("the meta record is missing".to_owned()))?;
        codec::decode(keys::META, &value)
    }

    /// Anything may be missing.
    fn copy_readable(&mut self, sealed: u64) -> Result<Meta, StoreError> {
        self.salvage.is_whole = false;
        let meta = self.meta();
        for key in keys::fences() {
            let value = codec::encode(&key, &())?;
            self.new.put(key, value)?;
        }
        for row in ReadableRows::all(self.store) {
            match row {
                Ok((key, value)) => self.row(&key, value)?,
                Err(gap) => {
                    let finding = verification::unreadable(&gap);
                    self.salvage.loses(Loss::new(finding.what));
                }
            }
        }
        for batch in std::mem::take(&mut self.headless) {
            let what =
                "its header is lost, and with it the batch: what is left of it is not copied";
            self.salvage.loses(Loss::new(what).of_batch(batch));
        }
        let headers = keys::headers(0..u64::MAX);
        for row in ReadableRows::between(self.store, headers.start, headers.end) {
            // What cannot be read was told.
            let Ok((key, value)) = row else { continue };
            let (Some(batch), Ok(header)) =
                (keys::batch_of(&key), codec::decode::<Header>(&key, &value))
            else {
                continue;
            };
            if batch::has_shape(&header) {
                self.salvage.batches += 1;
                batch::rebuild(self, batch, header)?;
            }
        }
        let (sequence, store_id) = match &meta {
            Some(meta) => (meta.sequence, meta.store_id),
            None => (1, new_store_id()?),
        };
        let next = meta.map_or(0, |meta| meta.next_batch);
        let next = next.max(self.last_batch.0.saturating_add(1));
        Ok(Meta {
            format: FORMAT,
            store_id,
            sequence: sequence.max(sealed).saturating_add(1),
            next_batch: next.saturating_add(IDS_LEFT_OUT),
            spaces: Vec::new(),
        })
    }

    fn meta(&mut self) -> Option<Meta> {
        let value = self.store.get(keys::META);
        let what = match value {
            Ok(Some(value)) => match codec::decode(keys::META, &value) {
                Ok(meta) => return Some(meta),
                Err(StoreError(what)) => what,
            },
            Ok(None) => "it is missing".to_owned(),
            Err(StoreError(what)) => what,
        };
        let what =
            format!("{what}; the new store has another id, so items have other idempotency keys");
        self.salvage.loses(Loss::new(what).of_record(keys::META));
        None
    }

    /// Copies a row that is of no batch, and notes to which batches rows belong.
    fn row(&mut self, key: &[u8], value: Value) -> Result<(), StoreError> {
        let Some(kind) = KeyKind::of(key) else {
            self.loses_row(key, "no key of this library; not copied");
            return Ok(());
        };
        let readable = match kind {
            // The fences are made anew.
            KeyKind::Fence | KeyKind::Meta => return Ok(()),
            KeyKind::Row { .. } => codec::open(key, &value).and_then(verification::is_json_bytes),
            KeyKind::Paused(_) => codec::decode::<PausedOperation>(key, &value).map(drop),
            KeyKind::Idempotency => codec::decode::<UsedKey>(key, &value).map(|used| {
                self.last_batch = self.last_batch.max(used.batch);
            }),
            KeyKind::Header(batch) => {
                let header = codec::decode::<Header>(key, &value);
                if let Ok(Header {
                    origin: Some(origin),
                    total,
                    ..
                }) = &header
                {
                    let retries = self.retries.entry(origin.parent).or_default();
                    retries.push((batch, *total));
                }
                header.map(drop)
            }
            _ => codec::open(key, &value).map(drop),
        };
        if let KeyKind::Retried { retry, .. } = kind {
            self.last_batch = self.last_batch.max(retry);
        }
        if let Err(StoreError(what)) = &readable {
            self.loses_row(key, what);
        }
        if let Some(batch) = kind.batch() {
            self.last_batch = self.last_batch.max(batch);
            let header_key = keys::header(batch);
            let header = self.store.get(&header_key).ok().flatten();
            let header = header.and_then(|value| codec::decode(&header_key, &value).ok());
            if !header.is_some_and(|header| batch::has_shape(&header)) {
                self.headless.insert(batch);
            }
        } else if readable.is_ok() {
            self.new.put(key.to_vec(), value)?;
        }
        Ok(())
    }

    fn loses_row(&mut self, key: &[u8], what: &str) {
        let kind = KeyKind::of(key);
        let mut loss = Loss::new(what).of_record(key);
        loss.batch = kind.and_then(KeyKind::batch);
        if let Some(KeyKind::Row { table }) = kind {
            loss.row = key.get(2 + table.len()..).map(<[u8]>::to_vec);
        }
        self.salvage.loses(loss);
    }
}

fn new_store_id() -> Result<u128, StoreError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| StoreError(format!("the system's random source: {error}")))?;
    Ok(u128::from_be_bytes(id))
}

/// Gathers rows for the target, and counts them.
struct Piecewise {
    target: NewStore,
    counted: Counted,
    piece: Writes,
    bytes: usize,
    rows: u64,
}

impl Piecewise {
    fn new(target: NewStore) -> Self {
        Self {
            target,
            counted: Counted::default(),
            piece: Writes::default(),
            bytes: 0,
            rows: 0,
        }
    }

    /// A row whose key is put once.
    fn put(&mut self, key: Vec<u8>, value: Value) -> Result<(), StoreError> {
        self.counted.add(&key, &value);
        self.rows += 1;
        self.bytes += key.len() + value.len();
        self.piece.put(key, value);
        if self.bytes >= PIECE_BYTES {
            self.bytes = 0;
            self.target.put(std::mem::take(&mut self.piece))?;
        }
        Ok(())
    }

    /// Writes the meta record, with what was counted.
    fn finish(mut self, meta: &Meta) -> Result<(NewStore, u64), StoreError> {
        let meta = Meta {
            spaces: self.counted.into_spaces(),
            ..meta.clone()
        };
        let value = codec::encode(keys::META, &meta)?;
        self.piece.put(keys::META.to_vec(), value);
        self.target.put(self.piece)?;
        Ok((self.target, self.rows + 1))
    }
}
