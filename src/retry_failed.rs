//! Running failed items again, as a new batch.

use crate::batch::Batch;
use crate::error::BatchError;
use crate::failure::Failure;
use crate::items::Chunk;
use crate::kernel::{BatchId, OperationIndex};
use crate::outcome::{failed_items, read_error, with_view};
use crate::runtime::{Live, Origin, RetryOrigin, Shared, Submission, Submitted, recovery};
use crate::store::StoreError;
use crate::store::record::Header;
use crate::store::vault::View;
use crate::submission::{Encoded, Packer, SubmitOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Submits the failed items of a batch that no other batch runs again.
pub(crate) fn retry_failed<O>(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    operation: OperationIndex,
) -> Result<Batch<O>, BatchError> {
    loop {
        let submission = prepare(shared, live, operation)?;
        let answer = shared.submit(submission)?;
        let id = live.id;
        return match answer {
            Submitted::New(retry) => Ok(Batch::new(Arc::clone(shared), retry)),
            // Somebody else was first: with these items, or with some that failed before.
            Submitted::Overtaken => continue,
            Submitted::Full { limit } => Err(BatchError::Full { limit }),
            Submitted::Closing => Err(BatchError::Closed),
            // There is no idempotency key: it is not from before, and there is no conflict.
            Submitted::NotFound | Submitted::Before(_) | Submitted::Conflict { .. } => {
                Err(BatchError::NotFound { id })
            }
            Submitted::Failed => Err(shared.gone()),
        };
    }
}

/// Whether items of the batch failed because they could not be decoded. Somebody decided so: run again,
/// they must not hold up everybody else.
fn fails_undecodable(live: &Live) -> bool {
    live.progress().failures.has(Failure::UNREADABLE_ITEM)
}

/// What is stored of the batch whose items failed.
struct Parent {
    header: Header,
    keys: Option<Box<[u64]>>,
    retries: BTreeMap<BatchId, Vec<u16>>,
}

pub(crate) fn prepare(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    operation: OperationIndex,
) -> Result<Submission, BatchError> {
    let id = live.id;
    let failed = failed_items(shared, live)?;
    let parent = with_view(shared, |view| load_parent(view, id))?;
    let parent = parent.ok_or(BatchError::NotFound { id })?;
    let retried: BTreeSet<u16> = parent.retries.values().flatten().copied().collect();
    let indexes: Vec<u16> = failed
        .into_iter()
        .filter(|index| !retried.contains(index))
        .collect();
    if indexes.is_empty() {
        return Err(match parent.retries.keys().next_back() {
            Some(by) => BatchError::AlreadyRetried { id, by: *by },
            None => BatchError::NothingFailed { id },
        });
    }
    let options = SubmitOptions {
        owner: live.owner.as_deref().map(str::to_owned),
        label: live.label.as_deref().map(str::to_owned),
        priority: live.priority,
        ..SubmitOptions::default()
    };
    let mut packer = Packer::new(&options, shared.operation(operation));
    copy_items(shared, live, &parent, &indexes, &mut packer)?;
    let mut submission = packer.finish(operation, &options);
    submission.terms.fails_undecodable = fails_undecodable(live);
    submission.origin = Some(RetryOrigin {
        parent: id,
        siblings: parent.retries.len(),
        origin: origin(live, &indexes),
        parent_indexes: indexes,
    });
    Ok(submission)
}

fn load_parent(view: &View<'_>, id: BatchId) -> Result<Option<Parent>, StoreError> {
    let Some(header) = recovery::read_header(view, id)? else {
        return Ok(None);
    };
    Ok(Some(Parent {
        keys: recovery::load_keys(view, id, &header)?,
        retries: recovery::find_retries(view, id)?,
        header,
    }))
}

fn origin(live: &Live, indexes: &[u16]) -> Origin {
    let root = live.origin.as_deref();
    let place = |index: &u16| match root {
        Some(origin) => origin.indexes[usize::from(*index)],
        None => *index,
    };
    Origin {
        parent: live.id,
        root: root.map_or(live.id, |origin| origin.root),
        root_created_at: root.map_or(live.created_at, |origin| origin.root_created_at),
        indexes: indexes.iter().map(place).collect(),
    }
}

/// Packs the items of the batch at `indexes`, which are in order, as they are stored.
fn copy_items(
    shared: &Arc<Shared>,
    live: &Live,
    parent: &Parent,
    indexes: &[u16],
    packer: &mut Packer,
) -> Result<(), BatchError> {
    let starts = &parent.header.chunk_starts;
    let mut left = indexes;
    for (number, first) in starts.iter().enumerate() {
        let end = starts
            .get(number + 1)
            .map_or(u32::MAX, |end| u32::from(*end));
        let count = left.partition_point(|index| u32::from(*index) < end);
        let (wanted, rest) = left.split_at(count);
        left = rest;
        if wanted.is_empty() {
            continue;
        }
        let chunk = Chunk::load(shared, live, number)?;
        let items = chunk.items()?;
        for index in wanted {
            let place = usize::from(*index);
            let json = items.get(place - usize::from(*first)).ok_or_else(|| {
                let batch = live.id;
                read_error(StoreError(format!(
                    "item {index} of batch {batch} is missing"
                )))
            })?;
            let hash = parent.keys.as_ref().map_or(0, |keys| keys[place]);
            packer.push(Encoded { json, key: hash });
        }
    }
    Ok(())
}
