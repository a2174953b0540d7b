//! How items ended, read from a batch's journal in item order.

use crate::batch::BatchType;
use crate::error::BatchError;
use crate::failure::Failure;
use crate::kernel::{BatchId, Timestamp};
use crate::runtime::{Live, Shared};
use crate::store::journal::{End, Entry, FailureEntry, Segment};
use crate::store::vault::View;
use crate::store::{StoreError, Value, codec, keys};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

/// How an item ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// The handler returned this output.
    Succeeded(T),
    /// The handler returned this failure, or panicked.
    Failed(Failure),
    /// Nobody knows whether an item that runs [at most once](crate::AtMostOnce) did what it was to do: its handler
    /// panicked, did not return in time, returned what cannot be stored, or the process ended when it had started or was
    /// about to. Find out, and say
    /// so with [`Batch::resolve`](crate::Batch::resolve).
    InDoubt {
        /// What came between.
        reason: String,
    },
}

impl<T> Outcome<T> {
    /// Whether the item succeeded.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Succeeded(_))
    }

    /// The output, if the item succeeded.
    pub fn output(&self) -> Option<&T> {
        match self {
            Self::Succeeded(output) => Some(output),
            Self::Failed(_) | Self::InDoubt { .. } => None,
        }
    }

    /// The output itself, if the item succeeded.
    pub fn into_output(self) -> Option<T> {
        match self {
            Self::Succeeded(output) => Some(output),
            Self::Failed(_) | Self::InDoubt { .. } => None,
        }
    }

    /// Whether nobody knows if the item ran.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt { .. })
    }

    /// The failure, if the item failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Succeeded(_) | Self::InDoubt { .. } => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}

/// One item's outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemOutcome<T> {
    /// The item's place in its batch, from 0.
    pub index: usize,
    /// Attempts it took, from 1.
    pub attempts: u32,
    /// When it ended.
    pub ended_at: SystemTime,
    /// How it ended.
    pub outcome: Outcome<T>,
}

/// The outcomes of a batch, in item order: from [`Batch::outcomes`](crate::Batch::outcomes).
///
/// Of a batch that runs these are the outcomes that were durable when the iterator was made, and maybe
/// some that came later; items without one are left out. They are read as the iterator goes on, a part of
/// the journal at a time.
#[must_use = "outcomes are read as the iterator goes on"]
pub struct Outcomes<O> {
    reader: JournalReader,
    operation: PhantomData<fn() -> O>,
}

impl<O: BatchType> Outcomes<O> {
    pub(crate) fn open(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<Self, BatchError> {
        Ok(Self {
            reader: JournalReader::open(shared, live)?,
            operation: PhantomData,
        })
    }
}

impl<O: BatchType> Iterator for Outcomes<O> {
    type Item = Result<ItemOutcome<O::Output>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.reader
            .next_with(|index, attempts, at, end| {
                let outcome = match end {
                    End::Failed(failure) => Outcome::Failed(Failure::from_stored(failure)),
                    End::Succeeded(json) => {
                        let output = serde_json::from_str(json).map_err(|error| {
                            BatchError::UndecodableOutput {
                                index: usize::from(index),
                                reason: error.to_string(),
                            }
                        })?;
                        Outcome::Succeeded(output)
                    }
                    End::InDoubt(reason) => Outcome::InDoubt {
                        reason: reason.into_owned(),
                    },
                    End::Retry { .. } => return Ok(None),
                };
                Ok(Some(ItemOutcome {
                    index: usize::from(index),
                    attempts,
                    ended_at: at.to_system_time(),
                    outcome,
                }))
            })
            .transpose()
    }
}

impl<O> fmt::Debug for Outcomes<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes").finish_non_exhaustive()
    }
}

impl Failure {
    fn from_stored(entry: FailureEntry<'_>) -> Self {
        Self {
            code: entry.code.into_owned(),
            message: entry.message.into_owned(),
            field: entry.field.map(Into::into),
            details: entry
                .details
                .and_then(|json| serde_json::from_str(&json).ok()),
            retryable: entry.retryable,
        }
    }
}

/// The items that have failed, in order.
pub(crate) fn failed_items(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<Vec<u16>, BatchError> {
    let mut failed = Vec::new();
    let mut reader = JournalReader::open(shared, live)?;
    while reader
        .next_with(|index, _, _, end| {
            if let End::Failed(_) = end {
                failed.push(index);
            }
            Ok(Some(()))
        })?
        .is_some()
    {}
    Ok(failed)
}

/// Where an item's final entry is.
#[derive(Debug, Clone)]
struct Place {
    index: u16,
    at: Timestamp,
    segment: u32,
    /// In the segment's content.
    bytes: Range<usize>,
}

/// Segments held in memory while reading: neighbours in item order are mostly in few of them.
const SEGMENTS_HELD: usize = 8;

struct JournalReader {
    shared: Arc<Shared>,
    live: Arc<Live>,
    places: std::vec::IntoIter<Place>,
    held: Vec<(u32, Value)>,
}

impl JournalReader {
    fn open(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<Self, BatchError> {
        let batch = live.id;
        // Read first: what is shown as ended is in the journal, and stays there.
        let progress = live.progress();
        let ended = progress.processed();
        let places = with_view(shared, |view| find_places(view, batch))?;
        if places.len() < ended as usize {
            if live.is_deleted() {
                return Err(BatchError::NotFound { id: batch });
            }
            let found = places.len();
            return Err(read_error(StoreError(format!(
                "{ended} items of batch {batch} have ended, its journal has {found} outcomes"
            ))));
        }
        Ok(Self {
            shared: Arc::clone(shared),
            live: Arc::clone(live),
            places: places.into_iter(),
            held: Vec::new(),
        })
    }

    fn next_with<T>(
        &mut self,
        read: impl FnOnce(u16, u32, Timestamp, End<'_>) -> Result<Option<T>, BatchError>,
    ) -> Result<Option<T>, BatchError> {
        let Some(mut place) = self.places.next() else {
            return Ok(None);
        };
        while !self.hold(place.segment)? {
            // The batch ended meanwhile and its journal was rewritten; outcomes stay what they are.
            let batch = self.live.id;
            let index = place.index;
            let mut places = with_view(&self.shared, |view| find_places(view, batch))?;
            if self.live.is_deleted() {
                return Err(BatchError::NotFound { id: batch });
            }
            places.retain(|place| place.index >= index);
            self.places = places.into_iter();
            self.held.clear();
            let Some(again) = self.places.next() else {
                return Ok(None);
            };
            place = again;
        }
        let missing = || {
            if self.live.is_deleted() {
                return BatchError::NotFound { id: self.live.id };
            }
            let (index, batch) = (place.index, self.live.id);
            read_error(StoreError(format!(
                "the outcome of item {index} of batch {batch} is missing"
            )))
        };
        let held = self
            .held
            .iter()
            .find(|(number, _)| *number == place.segment);
        let (_, value) = held.ok_or_else(missing)?;
        let encoded = codec::content(value).get(place.bytes.clone());
        let encoded = encoded.ok_or_else(missing)?;
        match codec::decode_part(encoded).map_err(read_error)? {
            (Entry::Item(item) | Entry::Resolved(item), _) => {
                read(item.index, item.attempt, place.at, item.end)
            }
            _ => Err(missing()),
        }
    }

    /// Reads a segment; false when it is no longer there.
    fn hold(&mut self, segment: u32) -> Result<bool, BatchError> {
        if self.held.iter().any(|(number, _)| *number == segment) {
            return Ok(true);
        }
        let key = keys::segment(self.live.id, segment);
        let value = with_view(&self.shared, |view| {
            let value = view.value(&key)?;
            if let Some(value) = &value {
                codec::open(&key, value)?;
            }
            Ok(value)
        })?;
        let Some(value) = value else { return Ok(false) };
        if self.held.len() == SEGMENTS_HELD {
            self.held.remove(0);
        }
        self.held.push((segment, value));
        Ok(true)
    }
}

fn find_places(view: &View<'_>, batch: BatchId) -> Result<Vec<Place>, StoreError> {
    let mut places = Vec::new();
    for row in view.scan(&keys::segments(batch)) {
        let (key, value) = row?;
        let segment = keys::segment_number(&key)
            .ok_or_else(|| StoreError("a malformed key in a journal".to_owned()))?;
        let mut clock = Timestamp::default();
        let mut entries = Segment::open(batch, &key, &value)?;
        let length = entries.remaining().len();
        loop {
            let start = length - entries.remaining().len();
            let Some(entry) = entries.next().transpose()? else {
                break;
            };
            match entry {
                Entry::Clock { at } => clock = at,
                Entry::Item(item) | Entry::Resolved(item)
                    if !matches!(item.end, End::Retry { .. }) =>
                {
                    places.push(Place {
                        index: item.index,
                        at: clock,
                        segment,
                        bytes: start..length - entries.remaining().len(),
                    });
                }
                _ => {}
            }
        }
    }
    places.sort_by_key(|place| place.index);
    // Of an item that was in doubt the last entry counts, which says what became of it.
    places.reverse();
    places.dedup_by_key(|place| place.index);
    places.reverse();
    Ok(places)
}

/// Runs a read of the engine's own records on what is durable.
pub(crate) fn with_view<T>(
    shared: &Arc<Shared>,
    read: impl FnOnce(&View<'_>) -> Result<T, StoreError>,
) -> Result<T, BatchError> {
    crate::process::check()?;
    if crate::runtime::is_engaged(shared, crate::runtime::Role::Reader) {
        return Err(BatchError::WouldDeadlock);
    }
    let view = shared.vault.view().ok_or_else(|| shared.gone())?;
    read(&view).map_err(read_error)
}

pub(crate) fn read_error(StoreError(reason): StoreError) -> BatchError {
    BatchError::Unreadable { reason }
}
