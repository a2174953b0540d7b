//! What a process has said that it was told, and whether a store agrees.

use crate::work::{self, GRANTS, Grant, Notify, Order, SUMS};
use batchwright::{Batch, BatchError, BatchFilter, BatchId, Outcome, Queue, State, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The library did not open it, or failed while it was being looked at.
    Refused,
    LostBatch,
    LostOutcome,
    ChangedOutcome,
    ChangedItem,
    /// A batch or an end state that nobody asked for.
    Invented,
    /// What was deleted is back.
    Undeleted,
    /// Tables and outcomes do not agree.
    WrongTables,
    NeverEnds,
}

#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.reason, self.detail)
    }
}

pub(crate) type Checked<T = ()> = Result<T, Finding>;

pub(crate) fn found<T>(reason: Reason, detail: impl Into<String>) -> Checked<T> {
    Err(Finding {
        reason,
        detail: detail.into(),
    })
}

/// An error of the library while a store is looked at.
fn refused(error: impl fmt::Display) -> Finding {
    Finding {
        reason: Reason::Refused,
        detail: error.to_string(),
    }
}

/// How a batch was steered last, as far as anybody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steered {
    /// Asked for and not acknowledged: either way.
    Begun,
    Stopped,
    Resumed,
}

/// Everything that was said.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    /// With the batch, once acknowledged.
    submitted: BTreeMap<u64, Option<u64>>,
    ended: BTreeSet<u64>,
    /// By batch and index.
    outcomes: BTreeMap<(u64, usize), u64>,
    steered: BTreeMap<u64, Steered>,
    /// Whether it was acknowledged.
    deleted: BTreeMap<u64, bool>,
    sum: u64,
}

/// How long a store may take for what is left to do.
const PATIENCE: Duration = Duration::from_secs(30);

impl Books {
    /// Takes a line.
    pub(crate) fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let mut number = || -> u64 {
            let word = words.next().unwrap_or_default();
            word.parse().unwrap_or_default()
        };
        match what {
            "submitting" => {
                self.submitted.entry(number()).or_insert(None);
            }
            "submitted" => {
                self.submitted.insert(number(), Some(number()));
            }
            "ended" => {
                self.ended.insert(number());
            }
            "stopping" | "resuming" => {
                self.steered.insert(number(), Steered::Begun);
            }
            "stopped" => {
                self.steered.insert(number(), Steered::Stopped);
            }
            "resumed" => {
                self.steered.insert(number(), Steered::Resumed);
            }
            "deleting" => {
                self.deleted.insert(number(), false);
            }
            "deleted" => {
                self.deleted.insert(number(), true);
            }
            "sum" => self.sum = number(),
            "outcomes" => {
                let id = number();
                for pair in line.split(' ').skip(2) {
                    if let Some((index, print)) = pair.split_once(':') {
                        let (index, print) = (index.parse(), print.parse());
                        self.outcomes
                            .insert((id, index.unwrap_or_default()), print.unwrap_or_default());
                    }
                }
            }
            // What is said for the sake of the order, and errors.
            _ => {}
        }
    }

    /// Whether nobody has ever asked for anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.submitted.is_empty()
    }

    /// The number of acknowledgements.
    pub(crate) fn acknowledged(&self) -> usize {
        let submitted = self.submitted.values().flatten().count();
        let deleted = self.deleted.values().filter(|told| **told).count();
        submitted + deleted + self.outcomes.len() + self.ended.len() + self.steered.len()
    }

    /// Opens the store in `dir`, compares it, works what is left, and compares again.
    pub(crate) fn check(&self, dir: &std::path::Path) -> Checked {
        let queue = work::queue(dir).open().map_err(refused)?;
        let checked = self.check_open(&queue);
        let closed = queue.shutdown(PATIENCE).map_err(refused);
        checked.and(closed)
    }

    fn check_open(&self, queue: &Queue) -> Checked {
        let listed = self.check_batches(queue)?;
        for id in &listed {
            let batch = queue.batch(*id).map_err(refused)?;
            if batch.status().map_err(refused)?.state == State::Stopped {
                batch.resume().map_err(refused)?;
            }
            let ended = batch.wait_timeout(PATIENCE).map_err(refused)?;
            if ended.is_none() {
                return found(Reason::NeverEnds, format!("batch {id}"));
            }
        }
        // Work goes on.
        let mut seed = self.submitted.keys().max().unwrap_or(&0) + 2;
        if work::is_large(seed) {
            // Small batches say as much.
            seed += work::SEEDS;
        }
        for seed in [seed & !1, seed | 1] {
            let owned = batchwright::SubmitOptions::new().owner(seed.to_string());
            let orders = work::orders(seed);
            let ended = if work::grants(seed) {
                let batch = queue.submit_with::<Grant>(orders, owned);
                batch.map_err(refused)?.wait_timeout(PATIENCE)
            } else {
                let batch = queue.submit_with::<Notify>(orders, owned);
                batch.map_err(refused)?.wait_timeout(PATIENCE)
            };
            if ended.map_err(refused)?.is_none() {
                return found(Reason::NeverEnds, format!("the new batch of seed {seed}"));
            }
        }
        self.check_batches(queue)?;
        self.check_tables(queue)
    }

    /// Compares what there is with what was said; gives the batches of what was said.
    fn check_batches(&self, queue: &Queue) -> Checked<Vec<BatchId>> {
        let mut listed = BTreeMap::new();
        let mut seeds = BTreeSet::new();
        for status in queue.batches(BatchFilter::all()) {
            let status = status.map_err(refused)?;
            let seed = self.check_status(&status)?;
            if !seeds.insert(seed) {
                return found(Reason::Invented, format!("seed {seed} has two batches"));
            }
            listed.insert(u64::from(status.id), status.id);
        }
        for (seed, id) in &self.submitted {
            let Some(id) = id else { continue };
            if !seeds.contains(seed) && !self.deleted.contains_key(id) {
                let detail = format!("batch {id} of seed {seed} was acknowledged");
                return found(Reason::LostBatch, detail);
            }
        }
        for (id, batch) in &listed {
            self.check_batch(*id, &queue.batch(*batch).map_err(refused)?)?;
        }
        Ok(listed.into_values().collect())
    }

    /// Gives the seed.
    fn check_status(&self, status: &Status) -> Checked<u64> {
        let id = u64::from(status.id);
        let seed = status.owner.as_deref().and_then(|owner| owner.parse().ok());
        let Some(seed) = seed else {
            return found(Reason::Invented, format!("without an owner: {status}"));
        };
        let newest = self.submitted.keys().max().unwrap_or(&0);
        match self.submitted.get(&seed) {
            // Ours, of a look before.
            None if seed > *newest => {}
            None => return found(Reason::Invented, format!("never submitted: {status}")),
            // A hasty process does not know the batch.
            Some(Some(known)) if *known != id && *known != 0 => {
                let detail = format!("acknowledged as {known}: {status}");
                return found(Reason::Invented, detail);
            }
            Some(_) => {}
        }
        if self.deleted.get(&id) == Some(&true) {
            return found(Reason::Undeleted, format!("{status}"));
        }
        if status.total != work::orders(seed).len() as u64 {
            return found(Reason::ChangedItem, format!("of seed {seed}: {status}"));
        }
        let steered = self.steered.get(&id);
        if status.state == State::Stopped && matches!(steered, None | Some(Steered::Resumed)) {
            return found(Reason::Invented, format!("it was {steered:?}: {status}"));
        }
        Ok(seed)
    }

    fn check_batch(&self, id: u64, batch: &Batch) -> Checked {
        let status = batch.status().map_err(refused)?;
        let seed: u64 = status
            .owner
            .as_deref()
            .and_then(|owner| owner.parse().ok())
            .unwrap_or_default();
        let expected = work::orders(seed);
        let mut stored = Vec::new();
        for item in batch.items().map_err(refused)? {
            let order: Result<Order, _> = serde_json::from_value(item.map_err(refused)?);
            stored.push(order.map_err(refused)?);
        }
        if stored != expected {
            return found(Reason::ChangedItem, format!("the items of {status}"));
        }
        let prints: BTreeMap<usize, u64> =
            fingerprints(batch).map_err(refused)?.into_iter().collect();
        if prints.len() < expected.len() && self.ended.contains(&id) && !self.was_stopped(id) {
            let detail = format!("{} of batch {id}, which had ended", prints.len());
            return found(Reason::LostOutcome, detail);
        }
        for ((_, index), print) in self.outcomes.range((id, 0)..=(id, usize::MAX)) {
            match prints.get(index) {
                Some(now) if now == print => {}
                Some(_) => return found(Reason::ChangedOutcome, format!("{index} of batch {id}")),
                None => return found(Reason::LostOutcome, format!("{index} of batch {id}")),
            }
        }
        check_outcomes(batch, &expected)
    }

    /// A stopped batch has ended too, with items left.
    fn was_stopped(&self, id: u64) -> bool {
        self.steered.contains_key(&id)
    }

    /// Each grant once, and nothing of those that failed. Grants of deleted batches stay.
    fn check_tables(&self, queue: &Queue) -> Checked {
        let (rows, sum) = queue
            .read(|tables| {
                let rows: Result<BTreeMap<u64, u64>, _> = tables.range(&GRANTS, ..).collect();
                Ok((rows?, tables.get(&SUMS, "all")?.unwrap_or(0)))
            })
            .map_err(refused)?;
        let counted: u64 = rows.values().sum();
        if counted != sum || sum < self.sum {
            let detail = format!("the sum is {sum}, rows have {counted}, {} said", self.sum);
            return found(Reason::WrongTables, detail);
        }
        let mut expected = BTreeMap::new();
        let mut uncertain = BTreeSet::new();
        for (seed, id) in &self.submitted {
            if id.is_none_or(|id| self.deleted.contains_key(&id)) {
                uncertain.extend(work::orders(*seed).iter().map(|order| order.number));
            }
        }
        for status in queue.batches(BatchFilter::all().operation("grant")) {
            let batch = queue.batch(status.map_err(refused)?.id).map_err(refused)?;
            let batch = batch.typed::<Grant>().map_err(refused)?;
            for item in batch.outcomes().map_err(refused)? {
                if let Outcome::Succeeded((number, _)) = item.map_err(refused)?.outcome {
                    expected.insert(number, work::points(number));
                }
            }
        }
        let missing = expected
            .iter()
            .find(|(number, points)| rows.get(number) != Some(points));
        let more = rows
            .keys()
            .find(|number| !expected.contains_key(number) && !uncertain.contains(number));
        if missing.is_some() || more.is_some() {
            let detail = format!("granted and without a row: {missing:?}; the reverse: {more:?}");
            return found(Reason::WrongTables, detail);
        }
        Ok(())
    }
}

/// That each outcome is the one that follows from its item.
fn check_outcomes(batch: &Batch, orders: &[Order]) -> Checked {
    let mut next_index = 0;
    for item in batch.outcomes().map_err(refused)? {
        let item = item.map_err(refused)?;
        if item.index < next_index {
            return found(Reason::ChangedOutcome, format!("{} twice", item.index));
        }
        next_index = item.index + 1;
        let Some(order) = orders.get(item.index) else {
            return found(Reason::Invented, format!("item {}", item.index));
        };
        let ended_as = item.outcome.failure().map(|failure| failure.code.as_str());
        let number = item.outcome.output().map(|output| output[0].as_u64());
        if ended_as != work::code(order.number)
            || number.is_some_and(|number| number != Some(order.number))
        {
            return found(Reason::ChangedOutcome, format!("{order:?}: {item:?}"));
        }
    }
    Ok(())
}

/// A number for each outcome of the batch that changes when anything of the outcome does.
pub(crate) fn fingerprints(batch: &Batch) -> Result<Vec<(usize, u64)>, BatchError> {
    let mut prints = Vec::new();
    for item in batch.outcomes()? {
        let item = item?;
        let text = match &item.outcome {
            Outcome::Succeeded(output) => output.to_string(),
            outcome => format!("{outcome:?}"),
        };
        let text = format!("{} {:?} {text}", item.attempts, item.ended_at);
        let print = text
            .bytes()
            .fold(0, |print, byte| work::mix(print ^ u64::from(byte)));
        prints.push((item.index, print));
    }
    Ok(prints)
}
