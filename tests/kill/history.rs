//! What the parent knows of a store from what its children said, and whether the store agrees.

use crate::child::fingerprints;
use crate::work::{self, BALANCES, Fate, GRANTS, Grant, Receipt};
use batchwright::{Batch, BatchFilter, BatchId, Operation, Outcome, Queue, State, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};

pub(crate) type Checked<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// One store's life.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) dir: PathBuf,
    /// Every seed that a submission was begun with, and the batch if it was acknowledged.
    submitted: BTreeMap<u64, Option<u64>>,
    steered: HashMap<u64, Steered>,
    /// The outcomes that anybody has seen.
    seen: HashMap<(u64, usize), u64>,
    store_id: Option<String>,
}

/// How far the last stop or resume of a batch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steered {
    Begun,
    Stopped,
    Resumed,
}

/// Fails with a message unless `condition` holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

impl History {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            submitted: BTreeMap::new(),
            steered: HashMap::new(),
            seen: HashMap::new(),
            store_id: None,
        }
    }

    /// The first seed that nobody has used.
    pub(crate) fn next_seed(&self) -> u64 {
        self.submitted
            .last_key_value()
            .map_or(1, |(seed, _)| seed + 1)
    }

    /// The seeds to submit again: it is unknown what became of them, and they have a key.
    pub(crate) fn unknown(&self) -> Vec<u64> {
        let unknown = self.submitted.iter().filter(|(_, id)| id.is_none());
        unknown
            .map(|(seed, _)| *seed)
            .filter(|seed| work::has_key(*seed))
            .collect()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.submitted.values().flatten().count()
    }

    pub(crate) fn outcomes(&self) -> usize {
        self.seen.len()
    }

    /// Takes in a whole line that a child said.
    pub(crate) fn hear(&mut self, line: &str) -> Checked {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let mut number = || -> Checked<u64> { Ok(words.next().ok_or("no number")?.parse()?) };
        match what {
            "submitting" => {
                self.submitted.entry(number()?).or_insert(None);
            }
            "submitted" => {
                let (seed, id) = (number()?, number()?);
                let taken = self.submitted.values().any(|known| *known == Some(id));
                ensure!(!taken, "batch {id} was acknowledged for two submissions");
                self.submitted.insert(seed, Some(id));
            }
            "stopping" | "resuming" => {
                self.steered.insert(number()?, Steered::Begun);
            }
            "stopped" => {
                self.steered.insert(number()?, Steered::Stopped);
            }
            "resumed" => {
                self.steered.insert(number()?, Steered::Resumed);
            }
            "outcomes" => {
                let id = number()?;
                for word in words {
                    let (index, print) = word.split_once(':').ok_or("not an outcome")?;
                    self.see(id, index.parse()?, print.parse()?)?;
                }
            }
            "broken" => return Err(format!("a child could not go on: {line}").into()),
            // The harness's own lines.
            _ => {}
        }
        Ok(())
    }

    fn see(&mut self, id: u64, index: usize, print: u64) -> Checked {
        let before = self.seen.insert((id, index), print);
        ensure!(
            before.is_none_or(|before| before == print),
            "the outcome of item {index} of batch {id} has changed"
        );
        Ok(())
    }

    /// Compares everything in a queue in which nothing runs with what is known.
    pub(crate) fn check(&mut self, queue: &Queue) -> Checked {
        let mut missing: BTreeMap<u64, u64> = self
            .submitted
            .iter()
            .filter_map(|(seed, id)| Some(((*id)?, *seed)))
            .collect();
        let mut seeds = BTreeSet::new();
        let mut ledger = Ledger::default();
        let seen_before = self.seen.len();
        let mut seen_again = 0;
        for status in queue.batches(BatchFilter::all()) {
            let status = status?;
            let id = u64::from(status.id);
            let batch = queue.batch(status.id)?;
            let seed = status.owner.as_deref().ok_or("a batch without an owner")?;
            let seed: u64 = seed.parse()?;
            ensure!(seeds.insert(seed), "seed {seed} has two batches");
            let known = self.submitted.get(&seed);
            let known = known.ok_or("a batch that nobody submitted")?;
            ensure!(
                known.is_none_or(|known| known == id),
                "seed {seed} is batch {id} and was acknowledged as {known:?}"
            );
            missing.remove(&id);
            self.check_state(&status, seed)?;
            for (index, print) in fingerprints(&batch)? {
                seen_again += usize::from(self.seen.contains_key(&(id, index)));
                self.see(id, index, print)?;
            }
            self.check_outcomes(&batch, &status, seed, &mut ledger)?;
        }
        ensure!(
            missing.is_empty(),
            "acknowledged, and lost: {missing:?} (batch: seed)"
        );
        ensure!(
            seen_again == seen_before,
            "{} outcomes that were seen are lost",
            seen_before - seen_again
        );
        ledger.check(queue)?;
        let blobs = std::fs::read_dir(self.dir.join("store/blobs"))?.count();
        ensure!(blobs == 0, "there are {blobs} files in blobs/");
        Ok(())
    }

    /// That every batch is completed.
    pub(crate) fn check_completed(&self, queue: &Queue) -> Checked {
        for status in queue.batches(BatchFilter::all()) {
            let status = status?;
            ensure!(status.state == State::Completed, "not completed: {status}");
        }
        Ok(())
    }

    fn check_state(&self, status: &Status, seed: u64) -> Checked {
        let total = u64::try_from(work::numbers(seed).count())?;
        ensure!(
            status.total == total && status.operation == work::operation(seed),
            "the batch of seed {seed} is {status}"
        );
        let completed = status.state == State::Completed;
        ensure!(
            completed == (status.processed() == total),
            "completed, or not: {status}"
        );
        let stopped = status.state == State::Stopped;
        let steered = self.steered.get(&status.id.into());
        let agrees = match steered {
            Some(Steered::Begun) => true,
            Some(Steered::Stopped) => stopped || completed,
            Some(Steered::Resumed) | None => !stopped,
        };
        ensure!(agrees, "it was {steered:?}: {status}");
        Ok(())
    }

    fn check_outcomes(
        &mut self,
        batch: &Batch,
        status: &Status,
        seed: u64,
        ledger: &mut Ledger,
    ) -> Checked {
        let (mut succeeded, mut failed) = (0, 0);
        let mut next_index = 0;
        for item in batch.outcomes()? {
            let item = item?;
            let index = item.index;
            ensure!(
                index >= next_index,
                "batch {}: item {index} twice",
                batch.id()
            );
            next_index = index + 1;
            let number = work::numbers(seed).start + u64::try_from(index)?;
            let fate = Fate::of(number);
            let ended_as = match &item.outcome {
                Outcome::Succeeded(output) => {
                    succeeded += 1;
                    let receipt: Receipt = serde_json::from_value(output.clone())?;
                    ensure!(receipt.number == number, "item {number} has {receipt:?}");
                    if status.operation == Grant::NAME {
                        let balance = receipt.balance.ok_or("a grant without a balance")?;
                        ledger.grants.insert(number, balance);
                    } else {
                        let key = receipt.key.ok_or("a notification without a key")?;
                        self.check_key(&key, batch.id(), index)?;
                    }
                    None
                }
                outcome => {
                    failed += 1;
                    let failure = outcome.failure().ok_or("neither success nor failure")?;
                    ensure!(
                        failure.message == number.to_string(),
                        "item {number} failed as {failure}"
                    );
                    Some(failure.code.as_str())
                }
            };
            ensure!(
                ended_as == fate.code() && item.attempts == fate.attempts(),
                "item {number}, of which {fate:?} is true, has {item:?}"
            );
        }
        ensure!(
            (succeeded, failed) == (status.succeeded, status.failed),
            "{succeeded} succeeded and {failed} failed: {status}"
        );
        Ok(())
    }

    /// Keys are made of the store's id, which never changes, the batch and the item.
    fn check_key(&mut self, key: &str, batch: BatchId, index: usize) -> Checked {
        let store_id = key.split('-').next().unwrap_or_default();
        let expected = self.store_id.get_or_insert_with(|| store_id.to_owned());
        let expected = format!("{expected}-{batch}-{index}");
        ensure!(key == expected, "the key {key} should be {expected}");
        Ok(())
    }
}

/// The grants that have succeeded, with the balance each left.
#[derive(Debug, Default)]
struct Ledger {
    grants: BTreeMap<u64, u64>,
}

impl Ledger {
    /// That the tables hold what the outcomes say: each grant once, and nothing of those that failed.
    fn check(self, queue: &Queue) -> Checked {
        let (rows, balances) = queue.read(|tables| {
            let rows: Result<BTreeMap<_, _>, _> = tables.range(&GRANTS, ..).collect();
            let balances: Result<BTreeMap<_, _>, _> = tables.range(&BALANCES, ..).collect();
            Ok((rows?, balances?))
        })?;
        for number in rows.keys() {
            ensure!(
                self.grants.contains_key(number),
                "{number} has a row and no success"
            );
        }
        let mut steps: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
        for (number, balance) in self.grants {
            let row = rows.get(&number);
            ensure!(
                row == Some(&work::points(number)),
                "{number} has the row {row:?}"
            );
            let steps = steps.entry(work::account(number)).or_default();
            let other = steps.insert(balance, number);
            ensure!(
                other.is_none(),
                "{number} and {other:?} left the same balance"
            );
        }
        // Each balance is the one before it and the points of its grant: none was lost or done twice.
        let mut last = BTreeMap::new();
        for (account, steps) in steps {
            let mut sum = 0;
            for (balance, number) in steps {
                sum += work::points(number);
                ensure!(
                    sum == balance,
                    "{number} left {balance}, the grants add up to {sum}"
                );
            }
            last.insert(account, sum);
        }
        ensure!(
            last == balances,
            "the balances are {balances:?}, and should be {last:?}"
        );
        Ok(())
    }
}
