//! What the driver knows of the batches, and what must therefore stand in the tables.
//!
//! A batch is forgotten when it is deleted, so the books are as large as what is kept. An award that was
//! completed is counted without being read: its points follow from its items. One that was stopped is counted
//! when it was stopped, and counted off again when it is resumed.

use crate::Measured;
use crate::operations::{ALL, Award, CUSTOMERS, POINTS, SendReceipt, Slow, TOTAL, awarded};
use crate::random::Random;
use batchwright::{Batch, BatchError, BatchId, Operation, Outcome, Queue, State, Status};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// What a machine with other things to do may take longer than the engine promises.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Award,
    Send,
    Slow,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Award, Self::Send, Self::Slow];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Award => Award::NAME,
            Self::Send => SendReceipt::NAME,
            Self::Slow => Slow::NAME,
        }
    }
}

/// The numbers of a batch's items.
#[derive(Debug, Clone)]
pub(crate) enum Numbers {
    From { first: u64, count: u64 },
    These(Vec<u64>),
}

impl Numbers {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::From { count, .. } => *count,
            Self::These(numbers) => numbers.len() as u64,
        }
    }

    fn at(&self, index: usize) -> Option<u64> {
        match self {
            Self::From { first, count } => {
                let index = index as u64;
                (index < *count).then_some(first + index)
            }
            Self::These(numbers) => numbers.get(index).copied(),
        }
    }

    /// How many items of an award succeed, and the points that they bring.
    fn awards(&self, batch: BatchId) -> (u64, u64) {
        let numbers = (0..self.len() as usize).filter_map(|index| self.at(index));
        let points = numbers.filter_map(|number| awarded(batch, number));
        points.fold((0, 0), |(count, sum), points| (count + 1, sum + points))
    }
}

#[derive(Debug)]
struct Known {
    kind: Kind,
    numbers: Numbers,
    /// `None` while it is unfinished, as far as anybody looked.
    end: Option<End>,
    /// Items that another batch runs again. Kept for awards.
    retried: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: SystemTime,
    state: State,
    /// Of an award; they are among the settled ones.
    points: u64,
}

/// What the outcomes of an award say.
struct Read {
    points: u64,
    failed: Vec<usize>,
}

pub(crate) struct Books {
    known: BTreeMap<BatchId, Known>,
    unfinished: BTreeSet<BatchId>,
    /// The ends that were seen, in the order of being seen; some of batches that were resumed or deleted.
    ends: VecDeque<(SystemTime, BatchId)>,
    /// The points of all awards that have ended.
    settled: u64,
    /// So many points more may there be, at most: a stopped award was deleted before it could be counted.
    uncounted: u64,
    keep: Duration,
}

impl Books {
    pub(crate) fn new(keep: Duration) -> Self {
        Self {
            known: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            ends: VecDeque::new(),
            settled: 0,
            uncounted: 0,
            keep,
        }
    }

    pub(crate) fn add(&mut self, id: BatchId, kind: Kind, numbers: Numbers) -> Measured<()> {
        let known = Known {
            kind,
            numbers,
            end: None,
            retried: BTreeSet::new(),
        };
        if self.known.insert(id, known).is_some() {
            return Err(format!("batch {id} was accepted twice").into());
        }
        self.unfinished.insert(id);
        Ok(())
    }

    pub(crate) fn kind(&self, id: BatchId) -> Option<Kind> {
        self.known.get(&id).map(|known| known.kind)
    }

    pub(crate) fn any(&self, random: &mut Random) -> Option<BatchId> {
        let (first, _) = self.known.first_key_value()?;
        let (last, _) = self.known.last_key_value()?;
        let (first, last) = (u64::from(*first), u64::from(*last));
        let from = BatchId::from(first + random.below(last - first + 1));
        self.known.range(from..).next().map(|(id, _)| *id)
    }

    pub(crate) fn any_unfinished(&self, random: &mut Random) -> Option<BatchId> {
        let place = random.below(self.unfinished.len().max(1) as u64);
        self.unfinished.iter().nth(place as usize).copied()
    }

    /// One that was stopped, of the newest thousand batches.
    pub(crate) fn any_stopped(&self, random: &mut Random) -> Option<BatchId> {
        let newest = self.known.iter().rev().take(1_000);
        let stopped: Vec<_> = newest
            .filter(|(_, known)| known.end.is_some_and(|end| end.state == State::Stopped))
            .map(|(id, _)| *id)
            .collect();
        let place = random.below(stopped.len().max(1) as u64);
        stopped.get(place as usize).copied()
    }

    /// Looks at every batch that has not ended so far.
    pub(crate) fn look_at_unfinished(&mut self, queue: &Queue) -> Measured<()> {
        for id in self.unfinished.clone() {
            self.look(queue, id)?;
        }
        Ok(())
    }

    /// Where a batch stands; `None` when it was deleted.
    pub(crate) fn look(&mut self, queue: &Queue, id: BatchId) -> Measured<Option<Status>> {
        match queue.batch(id).and_then(|batch| batch.status()) {
            Ok(status) => {
                self.note(&status)?;
                Ok(Some(status))
            }
            Err(BatchError::NotFound { .. }) => {
                self.gone(id)?;
                Ok(None)
            }
            Err(error) => Err(format!("status of batch {id}: {error}").into()),
        }
    }

    pub(crate) fn note(&mut self, status: &Status) -> Measured<()> {
        let id = status.id;
        let known = self.known.get(&id).ok_or("a status of an unknown batch")?;
        if status.total != known.numbers.len() || status.operation != known.kind.name() {
            return Err(format!("this is not the batch that was submitted: {status}").into());
        }
        match known.end {
            Some(end) if end.state == status.state => return Ok(()),
            Some(_) => return Err(format!("it had ended otherwise: {status}").into()),
            None if !status.state.has_ended() => return Ok(()),
            None => {}
        }
        if status.state == State::Completed && status.unfinished() > 0 {
            return Err(format!("items have no outcome: {status}").into());
        }
        let mut points = 0;
        if known.kind == Kind::Award {
            if status.state == State::Stopped {
                return Err(format!("nobody stopped it: {status}").into());
            }
            let (succeeded, sum) = known.numbers.awards(id);
            if status.succeeded != succeeded {
                return Err(format!("{succeeded} items should have succeeded: {status}").into());
            }
            points = sum;
        }
        self.end(status, points)
    }

    fn end(&mut self, status: &Status, points: u64) -> Measured<()> {
        let id = status.id;
        let at = status.ended_at.ok_or("an end without a time")?;
        if let Some(known) = self.known.get_mut(&id) {
            known.end = Some(End {
                at,
                state: status.state,
                points,
            });
            self.settled += points;
        }
        self.unfinished.remove(&id);
        self.ends.push_back((at, id));
        Ok(())
    }

    /// An award was stopped, or was quicker, and has ended.
    pub(crate) fn stopped_award(&mut self, queue: &Queue, status: &Status) -> Measured<()> {
        if status.state != State::Stopped {
            return self.note(status);
        }
        match self.read_award(queue, status.id)? {
            Some(read) => self.end(status, read.points),
            None => {
                self.lost(status.id);
                Ok(())
            }
        }
    }

    /// An award was stopped, and deleted before anybody could look.
    pub(crate) fn lost(&mut self, id: BatchId) {
        if let Some(known) = self.forget(id) {
            self.uncounted += known.numbers.awards(id).1;
        }
    }

    pub(crate) fn has_ended(&self, id: BatchId) -> bool {
        self.known.get(&id).is_some_and(|known| known.end.is_some())
    }

    pub(crate) fn resumed(&mut self, id: BatchId) {
        if let Some(end) = self.known.get_mut(&id).and_then(|known| known.end.take()) {
            self.settled -= end.points;
            self.unfinished.insert(id);
        }
    }

    /// A batch is not there any more, and the driver did not delete it.
    pub(crate) fn gone(&mut self, id: BatchId) -> Measured<()> {
        let end = self.known.get(&id).and_then(|known| known.end);
        let age = |end: End| end.at.elapsed().unwrap_or_default();
        // The driver prunes what has been there for three quarters of the time.
        if let Some(age) = end.map(age).filter(|age| *age < self.keep * 3 / 4) {
            return Err(format!("batch {id} is gone, {age:?} after its end").into());
        }
        self.deleted(id);
        Ok(())
    }

    /// A batch was deleted. If nobody saw its end, it was completed: what is stopped is seen.
    pub(crate) fn deleted(&mut self, id: BatchId) {
        if let Some(known) = self.forget(id)
            && known.end.is_none()
            && known.kind == Kind::Award
        {
            self.settled += known.numbers.awards(id).1;
        }
    }

    fn forget(&mut self, id: BatchId) -> Option<Known> {
        self.unfinished.remove(&id);
        self.known.remove(&id)
    }

    /// Forgets the batches that must have been deleted by now, after looking whether they have.
    pub(crate) fn forget_old(&mut self, queue: &Queue) -> Measured<()> {
        let kept = self.keep + self.keep / 16 + PATIENCE;
        while let Some((at, id)) = self.ends.front().copied() {
            if at.elapsed().unwrap_or_default() < kept {
                break;
            }
            self.ends.pop_front();
            let end = self.known.get(&id).and_then(|known| known.end);
            if end.is_some_and(|end| end.at == at) && self.look(queue, id)?.is_some() {
                return Err(format!("batch {id} is still there, {kept:?} after its end").into());
            }
        }
        Ok(())
    }

    /// The failed items of an award that has ended and that no batch runs again; `None` when it was deleted.
    pub(crate) fn failed_award_items(
        &mut self,
        queue: &Queue,
        id: BatchId,
    ) -> Measured<Option<Vec<usize>>> {
        let Some(read) = self.read_award(queue, id)? else {
            return Ok(None);
        };
        let known = self.known.get(&id).ok_or("an unknown batch was read")?;
        let left = |index: &usize| !known.retried.contains(index);
        Ok(Some(read.failed.into_iter().filter(left).collect()))
    }

    /// Items of an award run again, as batch `by`.
    pub(crate) fn retried_award(
        &mut self,
        id: BatchId,
        by: BatchId,
        items: Vec<usize>,
    ) -> Measured<()> {
        let known = self
            .known
            .get_mut(&id)
            .ok_or("an unknown batch was retried")?;
        let numbers = items.iter().filter_map(|index| known.numbers.at(*index));
        let numbers = Numbers::These(numbers.collect());
        known.retried.extend(items);
        self.add(by, Kind::Award, numbers)
    }

    /// Reads the outcomes of an award and compares each with what it must be. `None` when it was deleted.
    fn read_award(&mut self, queue: &Queue, id: BatchId) -> Measured<Option<Read>> {
        let known = self.known.get(&id).ok_or("an unknown batch is read")?;
        let read = || -> Measured<Result<Read, BatchError>> {
            let batch: Batch<Award> = match queue.batch(id).and_then(|batch| batch.typed()) {
                Ok(batch) => batch,
                Err(error) => return Ok(Err(error)),
            };
            let outcomes = match batch.outcomes() {
                Ok(outcomes) => outcomes,
                Err(error) => return Ok(Err(error)),
            };
            let mut read = Read {
                points: 0,
                failed: Vec::new(),
            };
            for outcome in outcomes {
                let item = match outcome {
                    Ok(item) => item,
                    Err(error) => return Ok(Err(error)),
                };
                let number = known.numbers.at(item.index).ok_or("an item too many")?;
                match (item.outcome, awarded(id, number)) {
                    (Outcome::Succeeded(output), Some(points)) if output.points == points => {
                        read.points += points;
                    }
                    (Outcome::Failed(_), None) => read.failed.push(item.index),
                    (outcome, points) => {
                        let index = item.index;
                        let what =
                            format!("item {index} of batch {id}: {outcome:?}, due are {points:?}");
                        return Err(what.into());
                    }
                }
            }
            Ok(Ok(read))
        };
        match read()? {
            Ok(read) => Ok(Some(read)),
            Err(BatchError::NotFound { .. }) => Ok(None),
            Err(error) => Err(format!("outcomes of batch {id}: {error}").into()),
        }
    }

    /// Compares the tables with the outcomes, to the point. Nothing may be awarded meanwhile: the operation is
    /// paused.
    pub(crate) fn check(&mut self, queue: &Queue) -> Measured<()> {
        wait_until_quiet(queue, Kind::Award)?;
        self.look_at_unfinished(queue)?;
        let mut due = self.settled;
        for id in self.unfinished.clone() {
            if self.kind(id) == Some(Kind::Award) {
                let read = self.read_award(queue, id)?;
                due += read.ok_or("an unfinished batch was deleted")?.points;
            }
        }
        let total = sums(queue)?;
        if total < due || total > due + self.uncounted {
            let (more, known) = (self.uncounted, self.known.len());
            return Err(format!(
                "{total} points were awarded, {due} are due (at most {more} more; {known} batches known)"
            )
            .into());
        }
        self.settled += total - due;
        self.uncounted = 0;
        Ok(())
    }

    /// Waits until every batch has ended.
    pub(crate) fn wait_for_all(&mut self, queue: &Queue) -> Measured<()> {
        let deadline = Instant::now() + Duration::from_secs(300);
        for id in self.unfinished.clone() {
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = queue.batch(id).map(|batch| batch.wait_timeout(left));
            if let Ok(Ok(None)) = ended {
                return Err(format!("batch {id} does not end").into());
            }
        }
        self.look_at_unfinished(queue)?;
        match self.unfinished.first() {
            Some(id) => Err(format!("batch {id} is unfinished after its end").into()),
            None => Ok(()),
        }
    }
}

/// The total row, which must be the sum of the customers' rows in the same snapshot.
pub(crate) fn sums(queue: &Queue) -> Measured<u64> {
    let (total, sum, rows) = queue.read(|tables| {
        let total = tables.get(&TOTAL, ALL)?.unwrap_or(0);
        let (mut sum, mut rows) = (0, 0);
        for row in tables.range(&POINTS, ..) {
            sum += row?.1;
            rows += 1;
        }
        Ok((total, sum, rows))
    })?;
    if total != sum || rows > CUSTOMERS {
        return Err(format!("the total is {total}, {rows} customers have {sum}").into());
    }
    Ok(total)
}

/// Waits until no item of a paused operation is with a worker.
fn wait_until_quiet(queue: &Queue, kind: Kind) -> Measured<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let stats = queue.stats()?;
        let found = stats.operations.iter().find(|o| o.name == kind.name());
        let operation = found.ok_or("the operation is not in the statistics")?;
        if operation.blocked.is_none() {
            return Err(format!("{} is not paused", kind.name()).into());
        }
        if operation.in_flight == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("{} stays in flight: {operation:?}", kind.name()).into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
