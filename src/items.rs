//! A batch's items as they were submitted, read back from the store.

use crate::batch::BatchType;
use crate::error::BatchError;
use crate::outcome::{read_error, with_view};
use crate::runtime::{Live, Shared};
use crate::store::{StoreError, Value, codec, keys};
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// The items of a batch, in order, the first one has index 0: from [`Batch::items`](crate::Batch::items).
///
/// They are read as the iterator goes on, up to 64 KiB at a time. One that is not of the operation's item
/// type any more is a [`BatchError::UndecodableItem`], and the next one follows.
#[must_use = "items are read as the iterator goes on"]
pub struct Items<O> {
    shared: Arc<Shared>,
    live: Arc<Live>,
    /// Where the next item is.
    index: usize,
    next_chunk: usize,
    /// Items of the chunk that was read last, as JSON.
    read: VecDeque<String>,
    operation: PhantomData<fn() -> O>,
}

impl<O: BatchType> Items<O> {
    pub(crate) fn new(shared: &Arc<Shared>, live: &Arc<Live>) -> Self {
        Self {
            shared: Arc::clone(shared),
            live: Arc::clone(live),
            index: 0,
            next_chunk: 0,
            read: VecDeque::new(),
            operation: PhantomData,
        }
    }

    fn advance(&mut self) -> Result<Option<O::Item>, BatchError> {
        while self.read.is_empty() {
            if self.next_chunk >= self.live.chunk_starts.len() {
                return Ok(None);
            }
            let chunk = Chunk::load(&self.shared, &self.live, self.next_chunk)?;
            self.next_chunk += 1;
            self.read = chunk.items()?.into_iter().map(str::to_owned).collect();
        }
        let Some(json) = self.read.pop_front() else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        let item = serde_json::from_str(&json).map_err(|error| BatchError::UndecodableItem {
            index,
            reason: error.to_string(),
        })?;
        Ok(Some(item))
    }
}

impl<O: BatchType> Iterator for Items<O> {
    type Item = Result<O::Item, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        // The next chunk may be read behind an item that is of another type. Any other error would come again:
        // who goes on after it must come to an end.
        if !matches!(next, Ok(_) | Err(BatchError::UndecodableItem { .. })) {
            self.next_chunk = usize::MAX;
        }
        next.transpose()
    }
}

impl<O> fmt::Debug for Items<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items")
            .field("batch", &self.live.id)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Some of a batch's items, as they are stored together.
pub(crate) struct Chunk {
    key: Vec<u8>,
    value: Value,
}

impl Chunk {
    pub(crate) fn load(
        shared: &Arc<Shared>,
        live: &Live,
        number: usize,
    ) -> Result<Self, BatchError> {
        let id = live.id;
        let key = keys::items(id, u32::try_from(number).unwrap_or(u32::MAX));
        match with_view(shared, |view| view.value(&key))? {
            Some(value) => Ok(Self { key, value }),
            None if live.is_deleted() => Err(BatchError::NotFound { id }),
            None => Err(read_error(StoreError(format!(
                "some {} are missing",
                keys::name(&key)
            )))),
        }
    }

    /// The JSON of each item.
    pub(crate) fn items(&self) -> Result<Vec<&str>, BatchError> {
        let mut rest = codec::open(&self.key, &self.value).map_err(read_error)?;
        let mut items = Vec::new();
        while !rest.is_empty() {
            let (item, used) = codec::decode_part(rest).map_err(read_error)?;
            items.push(item);
            rest = &rest[used..];
        }
        Ok(items)
    }
}
