//! Does to the queue what applications do, by chance, and compares every answer with the books.

use crate::Measured;
use crate::books::{Books, Kind, Numbers, sums};
use crate::curve::Peaks;
use crate::operations::{Award, CUSTOMERS, POINTS, Purchase, SendReceipt, Slow};
use crate::plan::Plan;
use crate::random::Random;
use crate::submissions::{Remembered, Submissions};
use batchwright::{
    Batch, BatchError, BatchFilter, BatchId, Operation, Queue, State, Status, SubmitError,
    SubmitOptions,
};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const ITEMS_PER_BATCH: u64 = 600;
const ITEMS_PER_IMPORT: u64 = 2_500;
const OWNERS: u64 = 7;
/// Ticks between two looks at the size of the store.
const DISK_EVERY: u64 = 10;

pub(crate) struct Driver {
    random: Random,
    tick: Duration,
    ticks: u64,
    /// The longest pause, and the longest time that a batch waits for its start.
    a_while: Duration,
    keep: Duration,
    books: Books,
    submissions: Submissions,
    /// The first number that no item has.
    next_number: u64,
    paused: Vec<(Kind, Instant)>,
    /// Or the start, before the first time.
    pruned: Instant,
}

impl Driver {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            random: Random::new(plan.seed),
            tick: Duration::from_secs_f64(1.0 / plan.batches_per_second),
            ticks: 0,
            a_while: (plan.turn / 4).min(Duration::from_secs(5)),
            keep: plan.keep,
            books: Books::new(plan.keep),
            submissions: Submissions::new(plan.keep),
            next_number: 0,
            paused: Vec::new(),
            pruned: Instant::now(),
        }
    }

    /// Loads the queue until `until`.
    pub(crate) fn work(
        &mut self,
        queue: &Queue,
        until: Instant,
        peaks: &mut Peaks,
    ) -> Measured<()> {
        let mut next = Instant::now();
        while Instant::now() < until {
            self.unpause_due(queue)?;
            self.submit_something(queue)?;
            self.do_something(queue)?;
            self.books.look_at_unfinished(queue)?;
            self.books.forget_old(queue)?;
            self.submissions.forget_old();
            peaks.see_memory();
            if self.ticks.is_multiple_of(DISK_EVERY) {
                peaks.see_disk(queue.stats()?.size_on_disk);
            }
            self.ticks += 1;
            // Time that was lost is not made up for.
            next = (next + self.tick).max(Instant::now());
            thread::sleep(next.min(until).saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// Compares the tables with what was awarded. Awards are paused afterwards.
    pub(crate) fn pause_and_check(&mut self, queue: &Queue) -> Measured<()> {
        self.pause(queue, Kind::Award, Instant::now())?;
        self.check(queue)
    }

    /// As [`pause_and_check`](Self::pause_and_check), when awards are paused.
    pub(crate) fn check(&mut self, queue: &Queue) -> Measured<()> {
        self.books.check(queue)
    }

    /// Lets everything come to its end.
    pub(crate) fn finish(&mut self, queue: &Queue) -> Measured<()> {
        for (kind, _) in std::mem::take(&mut self.paused) {
            queue.unpause(kind.name())?;
        }
        self.books.wait_for_all(queue)
    }

    fn submit_something(&mut self, queue: &Queue) -> Measured<()> {
        match self.random.below(100) {
            0..9 => self.repeat(queue),
            9 => self.conflict(queue),
            10 => self.import(queue),
            _ => self.submit(queue),
        }
    }

    fn do_something(&mut self, queue: &Queue) -> Measured<()> {
        match self.random.below(100) {
            0..12 => self.stop_any(queue),
            12..24 => self.resume(queue),
            24..34 => self.retry_failed(queue),
            34..44 => self.delete(queue),
            44..46 => self.prune_if_due(queue),
            46..49 => self.pause_any(queue),
            49..60 => self.look(queue),
            60..72 => self.read_outcomes(queue),
            72..80 => self.report(queue),
            80..86 => self.list(queue),
            86..90 => queue.stats().map(|_| ()).map_err(Into::into),
            90..94 => self.read_range(queue),
            94 => sums(queue).map(|_| ()),
            _ => Ok(()),
        }
    }

    fn kind(&mut self) -> Kind {
        match self.random.below(10) {
            0..4 => Kind::Award,
            4..8 => Kind::Send,
            _ => Kind::Slow,
        }
    }

    fn numbers(&mut self, count: u64) -> Numbers {
        let first = self.next_number;
        self.next_number += count;
        Numbers::From { first, count }
    }

    fn submit(&mut self, queue: &Queue) -> Measured<()> {
        let kind = self.kind();
        let count = 1 + self.random.below(ITEMS_PER_BATCH);
        let first = self.next_number;
        let numbers = self.numbers(count);
        let mut options = SubmitOptions::new();
        let mut key = None;
        if self.random.percent(30) {
            let text = format!("order-{first}");
            options = options.idempotency_key(&text);
            key = Some(text);
        } else if self.random.percent(50) {
            options = options.owner(format!("owner-{}", self.random.below(OWNERS)));
        }
        if self.random.percent(20) {
            options = options.priority(self.random.below(5) as i8 - 2);
        }
        if self.random.percent(20) {
            options = options.label(format!("label-{}", first % 100));
        }
        if self.random.percent(5) {
            options = options.not_before(SystemTime::now() + self.some_time());
        }
        let since = Instant::now();
        match submit(queue, kind, first, count, options) {
            Ok(id) => {
                self.books.add(id, kind, numbers)?;
                if let Some(key) = key {
                    let remembered = Remembered::batch(key, kind, first, count, id, since);
                    self.submissions.remember(remembered);
                }
                if self.random.percent(5) {
                    self.stop(queue, id)?;
                }
                Ok(())
            }
            Err(SubmitError::Full { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn import(&mut self, queue: &Queue) -> Measured<()> {
        let kind = self.kind();
        let first = self.next_number;
        self.next_number += ITEMS_PER_IMPORT;
        let key = format!("import-{first}");
        let remembered = Remembered::import(key, kind, first, ITEMS_PER_IMPORT);
        self.submissions.submit(remembered, queue, &mut self.books)
    }

    fn repeat(&mut self, queue: &Queue) -> Measured<()> {
        match self.submissions.take_any(&mut self.random) {
            Some(remembered) => self.submissions.submit(remembered, queue, &mut self.books),
            None => Ok(()),
        }
    }

    /// Uses a key with other items.
    fn conflict(&mut self, queue: &Queue) -> Measured<()> {
        let Some(used) = self.submissions.take_any(&mut self.random) else {
            return Ok(());
        };
        if used.is_import() {
            // Its key is another one for each chunk.
            self.submissions.remember(used);
            return Ok(());
        }
        let first = self.next_number;
        let numbers = self.numbers(1);
        match used.conflict(queue, first) {
            Err(SubmitError::KeyConflict { batch }) if used.is_of(batch) => {
                self.submissions.remember(used);
                Ok(())
            }
            Err(SubmitError::Full { .. }) => Ok(()),
            Ok(id) if !used.is_young(self.keep) => self.books.add(id, used.kind(), numbers),
            answer => Err(format!("other items under the key of {used:?}: {answer:?}").into()),
        }
    }

    fn stop_any(&mut self, queue: &Queue) -> Measured<()> {
        let unfinished = self.books.any_unfinished(&mut self.random);
        let target = unfinished.filter(|_| !self.random.percent(10));
        match target.or_else(|| self.books.any(&mut self.random)) {
            Some(id) => self.stop(queue, id),
            None => Ok(()),
        }
    }

    /// Of an award the outcomes are counted at once, before it may be deleted.
    fn stop(&mut self, queue: &Queue, id: BatchId) -> Measured<()> {
        let ended = self.books.has_ended(id);
        let batch = match queue.batch(id) {
            Ok(batch) => batch,
            Err(BatchError::NotFound { .. }) => return self.books.gone(id),
            Err(error) => return Err(error.into()),
        };
        match batch.stop() {
            Ok(_) => {}
            Err(BatchError::NotFound { .. }) => return self.books.gone(id),
            Err(error) => return Err(error.into()),
        }
        if ended || self.books.kind(id) != Some(Kind::Award) {
            return Ok(());
        }
        match batch.wait() {
            Ok(report) => self.books.stopped_award(queue, &report.status),
            Err(batchwright::WaitError::Batch(BatchError::NotFound { .. })) => {
                self.books.lost(id);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn resume(&mut self, queue: &Queue) -> Measured<()> {
        let Some(id) = self.books.any_stopped(&mut self.random) else {
            return Ok(());
        };
        match queue.batch(id).and_then(|batch| batch.resume()) {
            Ok(_) => {
                self.books.resumed(id);
                Ok(())
            }
            Err(BatchError::Full { .. }) => Ok(()),
            Err(BatchError::NotFound { .. }) => self.books.gone(id),
            Err(error) => Err(error.into()),
        }
    }

    fn retry_failed(&mut self, queue: &Queue) -> Measured<()> {
        let Some(id) = self.books.any(&mut self.random) else {
            return Ok(());
        };
        let Some(status) = self.books.look(queue, id)? else {
            return Ok(());
        };
        match self.books.kind(id) {
            Some(Kind::Award) if status.state.has_ended() => self.retry_award(queue, id),
            // What has failed until now could not be told afterwards.
            Some(Kind::Award) | None => Ok(()),
            Some(kind) => {
                let retried = queue.batch(id).and_then(|batch| batch.retry_failed());
                self.note_retry(id, kind, retried)
            }
        }
    }

    fn note_retry(
        &mut self,
        id: BatchId,
        kind: Kind,
        retried: Result<Batch, BatchError>,
    ) -> Measured<()> {
        match retried.and_then(|retry| retry.status()) {
            Ok(retry) => {
                // Which ones they are makes no difference to others than awards.
                let numbers = Numbers::From {
                    first: 0,
                    count: retry.total,
                };
                self.books.add(retry.id, kind, numbers)
            }
            Err(
                BatchError::NothingFailed { .. }
                | BatchError::AlreadyRetried { .. }
                | BatchError::Full { .. },
            ) => Ok(()),
            Err(BatchError::NotFound { .. }) => self.books.gone(id),
            Err(error) => Err(error.into()),
        }
    }

    fn retry_award(&mut self, queue: &Queue, id: BatchId) -> Measured<()> {
        let Some(failed) = self.books.failed_award_items(queue, id)? else {
            return self.books.gone(id);
        };
        match queue.batch(id).and_then(|batch| batch.retry_failed()) {
            Ok(retry) if !failed.is_empty() => self.books.retried_award(id, retry.id(), failed),
            Err(BatchError::NothingFailed { .. } | BatchError::AlreadyRetried { .. })
                if failed.is_empty() =>
            {
                Ok(())
            }
            Err(BatchError::Full { .. }) => Ok(()),
            Err(BatchError::NotFound { .. }) => self.books.gone(id),
            answer => {
                let failed = failed.len();
                Err(format!("{failed} failed items of batch {id}, again: {answer:?}").into())
            }
        }
    }

    fn delete(&mut self, queue: &Queue) -> Measured<()> {
        let Some(id) = self.books.any(&mut self.random) else {
            return Ok(());
        };
        let ended = self.books.has_ended(id);
        match queue.batch(id).and_then(|batch| batch.delete()) {
            Ok(()) => {
                self.books.deleted(id);
                Ok(())
            }
            Err(BatchError::NotEnded { .. }) if !ended => Ok(()),
            Err(BatchError::NotFound { .. }) => self.books.gone(id),
            Err(error) => Err(error.into()),
        }
    }

    /// Seldom, or it would do what retention has to do.
    fn prune_if_due(&mut self, queue: &Queue) -> Measured<()> {
        if self.pruned.elapsed() > self.keep * 2 {
            queue.prune(self.keep * 3 / 4)?;
            self.pruned = Instant::now();
        }
        Ok(())
    }

    fn some_time(&mut self) -> Duration {
        self.a_while * (1 + self.random.below(100) as u32) / 100
    }

    fn pause_any(&mut self, queue: &Queue) -> Measured<()> {
        let kind = Kind::ALL[self.random.below(3) as usize];
        let until = Instant::now() + self.some_time();
        self.pause(queue, kind, until)
    }

    fn pause(&mut self, queue: &Queue, kind: Kind, until: Instant) -> Measured<()> {
        queue.pause(kind.name(), "the soak takes a break")?;
        self.paused.retain(|(paused, _)| *paused != kind);
        self.paused.push((kind, until));
        Ok(())
    }

    fn unpause_due(&mut self, queue: &Queue) -> Measured<()> {
        let now = Instant::now();
        for (kind, _) in self.paused.extract_if(.., |(_, until)| *until <= now) {
            queue.unpause(kind.name())?;
        }
        Ok(())
    }

    fn look(&mut self, queue: &Queue) -> Measured<()> {
        for _ in 0..20 {
            if let Some(id) = self.books.any(&mut self.random) {
                self.books.look(queue, id)?;
            }
        }
        Ok(())
    }

    fn read_outcomes(&mut self, queue: &Queue) -> Measured<()> {
        let Some(id) = self.books.any(&mut self.random) else {
            return Ok(());
        };
        let Some(status) = self.books.look(queue, id)? else {
            return Ok(());
        };
        let read = queue.batch(id).and_then(|batch| {
            let mut count = 0;
            for outcome in batch.outcomes()? {
                outcome?;
                count += 1;
            }
            Ok(count)
        });
        match read {
            Ok(count) if agrees(&status, count) => Ok(()),
            Ok(count) => Err(format!("{count} outcomes: {status}").into()),
            Err(BatchError::NotFound { .. }) => self.books.gone(id),
            Err(error) => Err(error.into()),
        }
    }

    fn report(&mut self, queue: &Queue) -> Measured<()> {
        let Some(id) = self.books.any(&mut self.random) else {
            return Ok(());
        };
        match queue.batch(id).and_then(|batch| batch.report()) {
            Ok(report) => {
                self.books.note(&report.status)?;
                let by_code: u64 = report.failures.values().sum();
                if report.status.state.has_ended() && by_code != report.status.failed {
                    return Err(format!("{by_code} failures by code: {report}").into());
                }
                Ok(())
            }
            Err(BatchError::NotFound { .. }) => self.books.gone(id),
            Err(error) => Err(error.into()),
        }
    }

    fn list(&mut self, queue: &Queue) -> Measured<()> {
        let filter = match self.random.below(4) {
            0 => BatchFilter::all(),
            1 => BatchFilter::all().state(State::Stopped),
            2 => BatchFilter::all().owner(format!("owner-{}", self.random.below(OWNERS))),
            _ => {
                let kind = self.kind();
                let label = format!("label-{}", self.random.below(100));
                BatchFilter::all().operation(kind.name()).label(label)
            }
        };
        let mut last = None;
        for status in queue.batches(filter).take(50) {
            let id = status?.id;
            if last.is_some_and(|last| last <= id) {
                return Err(format!("batch {id} is listed after {last:?}").into());
            }
            last = Some(id);
        }
        Ok(())
    }

    fn read_range(&mut self, queue: &Queue) -> Measured<()> {
        let from = self.random.below(CUSTOMERS);
        let rows = queue.read(|tables| {
            let mut rows = 0;
            for row in tables.range(&POINTS, from..from + 100) {
                row?;
                rows += 1;
            }
            Ok(rows)
        })?;
        if rows > 100 {
            return Err(format!("{rows} customers from {from} on").into());
        }
        Ok(())
    }
}

/// Whether so many outcomes are possible after `status` was seen.
fn agrees(status: &Status, count: u64) -> bool {
    if status.state.has_ended() {
        count == status.processed()
    } else {
        (status.processed()..=status.total).contains(&count)
    }
}

pub(crate) fn submit(
    queue: &Queue,
    kind: Kind,
    first: u64,
    count: u64,
    options: SubmitOptions,
) -> Result<BatchId, SubmitError> {
    fn of<O: Operation<Item = Purchase>>(
        queue: &Queue,
        first: u64,
        count: u64,
        options: SubmitOptions,
    ) -> Result<BatchId, SubmitError> {
        let items = (first..first + count).map(Purchase::numbered);
        queue
            .submit_with::<O>(items, options)
            .map(|batch| batch.id())
    }
    match kind {
        Kind::Award => of::<Award>(queue, first, count, options),
        Kind::Send => of::<SendReceipt>(queue, first, count, options),
        Kind::Slow => of::<Slow>(queue, first, count, options),
    }
}
