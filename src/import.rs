//! Submitting more items than fit a batch.

use crate::batch::Batch;
use crate::error::{ImportError, InvalidItem, SubmitError};
use crate::kernel::BatchId;
use crate::operation::Operation;
use crate::queue::Queue;
use crate::submission::{self, Encoded, Packer, SubmitOptions};
use crate::target::Target;
use std::fmt;

/// What became of an import.
#[non_exhaustive]
pub struct Import<O> {
    /// The batches, in the order of the items. Some may have been there from an earlier import under
    /// the same key.
    pub batches: Vec<Batch<O>>,
    /// Batches of an earlier import under the same key that were deleted since.
    pub deleted: Vec<BatchId>,
    /// Items in all of them.
    pub items: u64,
}

impl<O> fmt::Debug for Import<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("batches", &self.batches)
            .field("deleted", &self.deleted)
            .field("items", &self.items)
            .finish()
    }
}

pub(crate) fn import<O: Operation>(
    queue: &Queue,
    items: impl IntoIterator<Item = O::Item>,
    options: &SubmitOptions,
) -> Result<Import<O>, ImportError> {
    let mut chunk = Chunk::default();
    let mut import = Import {
        batches: Vec::new(),
        deleted: Vec::new(),
        items: 0,
    };
    let refused = |accepted, source| ImportError { accepted, source };
    let target = target::<O>(queue).map_err(|error| refused(0, error))?;
    // Before any item is drawn, and also when there is none.
    options.check().map_err(|error| refused(0, error))?;
    let limits = queue.limits();
    let mut json = Vec::new();
    for (index, item) in (0..).zip(items) {
        match submission::encode(target.handler, &item, &mut json) {
            Ok(Encoded { json, key: order }) => {
                // Where chunks end depends on the items alone: the same import has the same chunks.
                if chunk.bytes + json.len() > limits.batch_bytes && chunk.len() > 0 {
                    chunk.submit(queue, options, &mut import)?;
                }
                chunk.bytes += json.len();
                chunk.items.push((json.to_owned(), order));
            }
            Err(failure) => chunk.invalid.push(InvalidItem {
                index,
                failure,
                position: None,
            }),
        }
        if chunk.len() == limits.items_per_batch {
            chunk.submit(queue, options, &mut import)?;
        }
    }
    if chunk.len() > 0 {
        chunk.submit(queue, options, &mut import)?;
    }
    Ok(import)
}

fn target<O: Operation>(queue: &Queue) -> Result<Target<'_>, SubmitError> {
    Target::of_type::<O>(queue.shared(), O::NAME)
}

#[derive(Default)]
struct Chunk {
    /// JSON and the hash of the ordering key.
    items: Vec<(String, u64)>,
    invalid: Vec<InvalidItem>,
    bytes: usize,
}

impl Chunk {
    fn len(&self) -> usize {
        self.items.len() + self.invalid.len()
    }

    fn submit<O: Operation>(
        &mut self,
        queue: &Queue,
        options: &SubmitOptions,
        import: &mut Import<O>,
    ) -> Result<(), ImportError> {
        let chunk = std::mem::take(self);
        let number = import.batches.len() + import.deleted.len();
        match chunk.batch(queue, options, number as u64) {
            Ok(batch) => import.batches.push(batch),
            // It was worked, and deleted since.
            Err(SubmitError::Deleted { batch }) => import.deleted.push(batch),
            Err(source) => {
                return Err(ImportError {
                    accepted: import.items,
                    source,
                });
            }
        }
        import.items += chunk.items.len() as u64;
        Ok(())
    }

    fn batch<O: Operation>(
        &self,
        queue: &Queue,
        options: &SubmitOptions,
        number: u64,
    ) -> Result<Batch<O>, SubmitError> {
        if !self.invalid.is_empty() {
            let items = self.invalid.clone();
            return Err(SubmitError::Invalid { items });
        }
        let mut options = options.clone();
        options.chunk = Some(number);
        loop {
            let seen = queue.room_seen();
            let target = target::<O>(queue)?;
            let mut packer = Packer::new(&options, target.registered);
            for (json, key) in &self.items {
                packer.push(Encoded { json, key: *key });
            }
            // Only a chunk of one item can be over: others end before.
            packer.check(queue.limits())?;
            match queue.send(packer.finish(target.index, &options)) {
                Err(SubmitError::Full { .. }) if queue.may_wait() => queue.wait_for_room(seen),
                sent => return sent,
            }
        }
    }
}
