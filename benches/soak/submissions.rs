//! Submissions under idempotency keys, which are made again now and then: as long as the key lives, nothing may
//! be added.

use crate::Measured;
use crate::books::{Books, Kind, Numbers};
use crate::driver::submit;
use crate::operations::{Award, Purchase, SendReceipt, Slow};
use crate::random::Random;
use batchwright::limits::ITEMS_PER_BATCH;
use batchwright::{BatchId, ImportError, Operation, Queue, SubmitError, SubmitOptions};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Remembered {
    key: String,
    kind: Kind,
    first: u64,
    count: u64,
    /// Of an import, a batch for each chunk; empty before it was made.
    batches: Vec<BatchId>,
    is_import: bool,
    /// Before it was made for the first time, or again when keys had expired.
    since: Instant,
}

impl Remembered {
    pub(crate) fn batch(
        key: String,
        kind: Kind,
        first: u64,
        count: u64,
        id: BatchId,
        since: Instant,
    ) -> Self {
        Self {
            key,
            kind,
            first,
            count,
            batches: vec![id],
            is_import: false,
            since,
        }
    }

    pub(crate) fn import(key: String, kind: Kind, first: u64, count: u64) -> Self {
        Self {
            key,
            kind,
            first,
            count,
            batches: Vec::new(),
            is_import: true,
            since: Instant::now(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn is_import(&self) -> bool {
        self.is_import
    }

    pub(crate) fn is_of(&self, batch: BatchId) -> bool {
        self.batches.contains(&batch)
    }

    /// Whether none of its keys can have expired. They live for `keep`, to the millisecond.
    pub(crate) fn is_young(&self, keep: Duration) -> bool {
        self.since.elapsed() + Duration::from_millis(10) < keep
    }

    /// Submits another item under the key.
    pub(crate) fn conflict(&self, queue: &Queue, number: u64) -> Result<BatchId, SubmitError> {
        let options = SubmitOptions::new().idempotency_key(&self.key);
        submit(queue, self.kind, number, 1, options)
    }

    fn submit(&self, queue: &Queue) -> Measured<Answer> {
        if self.is_import {
            let items = (self.first..self.first + self.count).map(Purchase::numbered);
            return match self.kind {
                Kind::Award => import::<Award>(queue, &self.key, items),
                Kind::Send => import::<SendReceipt>(queue, &self.key, items),
                Kind::Slow => import::<Slow>(queue, &self.key, items),
            }
            .map_err(Into::into);
        }
        let options = SubmitOptions::new().idempotency_key(&self.key);
        let mut answer = Answer::default();
        match submit(queue, self.kind, self.first, self.count, options) {
            Ok(id) => answer.batches.push(id),
            Err(SubmitError::Deleted { batch }) => answer.deleted.push(batch),
            Err(error) => return Err(error.into()),
        }
        Ok(answer)
    }

    /// The items of the batch at `place`.
    fn numbers(&self, place: usize) -> Numbers {
        let chunk = ITEMS_PER_BATCH as u64;
        let skipped = place as u64 * chunk;
        Numbers::From {
            first: self.first + skipped,
            count: (self.count - skipped).min(chunk),
        }
    }

    fn chunks(&self) -> usize {
        self.count.div_ceil(ITEMS_PER_BATCH as u64) as usize
    }
}

#[derive(Debug, Default)]
struct Answer {
    /// In item order, without those that are deleted.
    batches: Vec<BatchId>,
    deleted: Vec<BatchId>,
}

fn import<O: Operation<Item = Purchase>>(
    queue: &Queue,
    key: &str,
    items: impl Iterator<Item = Purchase>,
) -> Result<Answer, ImportError> {
    let import = queue.import::<O>(key, items)?;
    Ok(Answer {
        batches: import.batches.iter().map(|batch| batch.id()).collect(),
        deleted: import.deleted,
    })
}

/// Those whose keys may still live.
pub(crate) struct Submissions {
    remembered: Vec<Remembered>,
    keep: Duration,
}

impl Submissions {
    pub(crate) fn new(keep: Duration) -> Self {
        Self {
            remembered: Vec::new(),
            keep,
        }
    }

    pub(crate) fn remember(&mut self, remembered: Remembered) {
        self.remembered.push(remembered);
    }

    /// Some are made again when their keys have just expired: these are new batches then.
    pub(crate) fn forget_old(&mut self) {
        let keep = self.keep * 9 / 8;
        self.remembered.retain(|one| one.since.elapsed() < keep);
    }

    pub(crate) fn take_any(&mut self, random: &mut Random) -> Option<Remembered> {
        let place = random.below(self.remembered.len().max(1) as u64) as usize;
        (place < self.remembered.len()).then(|| self.remembered.swap_remove(place))
    }

    /// Makes a submission, for the first time or again.
    pub(crate) fn submit(
        &mut self,
        mut submission: Remembered,
        queue: &Queue,
        books: &mut Books,
    ) -> Measured<()> {
        let before = Instant::now();
        let answer = submission.submit(queue)?;
        let was_young = submission.is_young(self.keep);
        let mut batches = answer.batches.iter();
        let mut renewed = false;
        for place in 0..submission.chunks() {
            let known = submission.batches.get(place).copied();
            if known.is_some_and(|known| answer.deleted.contains(&known)) {
                continue;
            }
            let id = *batches.next().ok_or("a chunk is missing")?;
            if known == Some(id) {
                continue;
            }
            if known.is_some() && was_young {
                return Err(format!("added twice: {submission:?}, {answer:?}").into());
            }
            books.add(id, submission.kind, submission.numbers(place))?;
            match submission.batches.get_mut(place) {
                Some(known) => *known = id,
                None => submission.batches.push(id),
            }
            renewed = true;
        }
        if batches.next().is_some() {
            return Err(format!("a batch too many: {submission:?}, {answer:?}").into());
        }
        // Keys that were not renewed are as old as they were: they have expired, or will be found alive.
        if renewed && submission.batches.len() == 1 {
            submission.since = before;
        }
        self.remember(submission);
        Ok(())
    }
}
