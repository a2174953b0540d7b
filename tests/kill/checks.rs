//! Whether a store is what its history says.

use crate::child::fingerprints;
use crate::ensure;
use crate::history::{Checked, History, Steered};
use crate::work::{self, BALANCES, Fate, GRANT, GRANTS, LEGACY, Receipt};
use batchwright::{Batch, BatchFilter, Failure, ItemOutcome, Queue, State, Status};
use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

impl History {
    /// Compares everything in a queue in which nothing runs with what is known. `stored` are the batches
    /// that have rows in the store, if somebody has looked.
    pub(crate) fn check(&mut self, queue: &Queue, stored: Option<&BTreeSet<u64>>) -> Checked {
        let mut ledger = Ledger::default();
        let mut listed = BTreeSet::new();
        let mut roots = BTreeSet::new();
        let seen_before = std::mem::take(&mut self.seen);
        for status in queue.batches(BatchFilter::all()) {
            let status = status?;
            let id = u64::from(status.id);
            listed.insert(id);
            ensure!(
                !self.gone.contains(&id),
                "it was gone, and is back: {status}"
            );
            let seed = self.check_origin(&status)?;
            ensure!(
                status.retry_of.is_some() || roots.insert(seed),
                "seed {seed} has two batches"
            );
            self.check_state(&status, seed)?;
            let batch = queue.batch(status.id)?;
            for (index, print) in fingerprints(&batch)? {
                self.see(id, index, print)?;
            }
            self.check_outcomes(&batch, &status, seed, &mut ledger)?;
        }
        for ((id, index), print) in seen_before {
            let now = self.seen.get(&(id, index));
            ensure!(
                now == Some(&print) || !listed.contains(&id),
                "the outcome of item {index} of batch {id} was {print}, and is {now:?}"
            );
        }
        self.check_missing(&listed)?;
        if let Some(stored) = stored {
            let left: Vec<_> = stored.difference(&listed).collect();
            ensure!(left.is_empty(), "not listed, and still has rows: {left:?}");
        }
        ledger.check(queue, &self.incomplete(&listed))?;
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

    /// Whose batch it is, and which failed items it runs again, if any. Gives the seed.
    fn check_origin(&mut self, status: &Status) -> Checked<u64> {
        let id = u64::from(status.id);
        let seed = status.owner.as_deref().ok_or("a batch without an owner")?;
        let seed: u64 = seed.parse()?;
        let Some(parent) = status.retry_of.map(u64::from) else {
            let known = self.submitted.get(&seed);
            let known = known.ok_or("a batch that nobody submitted")?.batch;
            ensure!(
                known.is_none_or(|known| known == id),
                "seed {seed} is batch {id} and was acknowledged as {known:?}"
            );
            let created = status.created_at.duration_since(UNIX_EPOCH)?;
            self.check_created(id, u64::try_from(created.as_millis())?)?;
            return Ok(seed);
        };
        let known = self.retried.get(&parent);
        let known = known.ok_or_else(|| format!("nobody asked for it: {status}"))?;
        ensure!(
            known.is_none_or(|known| known == id),
            "the failed items of batch {parent} run in batch {known:?} and in {id}"
        );
        // From now on it is this one, acknowledged or not.
        self.hear(&format!("retried {parent} {id}"))?;
        let of = self.acknowledged.get(&parent);
        ensure!(
            of == Some(&seed),
            "the batch of {of:?} is run again: {status}"
        );
        Ok(seed)
    }

    /// The numbers of the items of a batch: those that failed in all those before it.
    fn numbers(&self, id: u64, seed: u64) -> Vec<u64> {
        let mut numbers: Vec<u64> = work::numbers(seed).collect();
        let lineage = self.lineage(id);
        for before in &lineage[..lineage.len() - 1] {
            numbers.retain(|number| Fate::of(*number, *before).code().is_some());
        }
        numbers
    }

    fn check_state(&self, status: &Status, seed: u64) -> Checked {
        let id = u64::from(status.id);
        let planted = self.planted.get(&id);
        let operation = match planted {
            Some(_) => LEGACY,
            None => work::operation(seed),
        };
        let total = u64::try_from(self.numbers(id, seed).len())?;
        ensure!(
            status.total == total && work::first_name(&status.operation) == operation,
            "the batch of seed {seed}, which should have {total} items, is {status}"
        );
        let priority = planted.map_or_else(|| work::priority(seed), |_| 0);
        ensure!(
            status.priority == priority,
            "not of priority {priority}: {status:?}"
        );
        let started_early = status.not_before.is_some_and(|due| {
            let started = status.started_at.is_some_and(|started| started < due);
            started || status.started_at.is_none() && status.processed() > 0
        });
        ensure!(!started_early, "it has started too early: {status:?}");
        let completed = status.state == State::Completed;
        ensure!(
            completed == (status.processed() == total),
            "completed, or not: {status}"
        );
        let stopped = status.state == State::Stopped;
        let steered = self.steered.get(&id);
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
        let id = u64::from(status.id);
        let numbers = self.numbers(id, seed);
        let (mut succeeded, mut failed) = (0, 0);
        let mut next_index = 0;
        for item in batch.outcomes()? {
            let item = item?;
            let index = item.index;
            ensure!(index >= next_index, "batch {id}: item {index} twice");
            next_index = index + 1;
            if item.outcome.failure().is_none() {
                succeeded += 1;
            } else {
                failed += 1;
            }
            if let Some(failing) = self.planted.get(&id) {
                let code = item.outcome.failure().map(|failure| &*failure.code);
                ensure!(
                    failing.is_some() && code == Some(Failure::UNREADABLE_ITEM),
                    "batch {id}, which cannot be decoded, has {item:?}"
                );
                continue;
            }
            let number = numbers[index];
            self.check_outcome(&item, number, status)?;
            if let Some(receipt) = receipt(&item)? {
                ledger.take(number, receipt)?;
            }
        }
        ensure!(
            (succeeded, failed) == (status.succeeded, status.failed),
            "{succeeded} succeeded and {failed} failed: {status}"
        );
        Ok(())
    }

    fn check_outcome(
        &mut self,
        item: &ItemOutcome<serde_json::Value>,
        number: u64,
        status: &Status,
    ) -> Checked {
        let fate = Fate::of(number, status.id.into());
        let failure = item.outcome.failure();
        ensure!(
            failure.is_none_or(|failure| failure.message == number.to_string()),
            "item {number} failed as {failure:?}"
        );
        let ended_as = failure.map(|failure| failure.code.as_str());
        ensure!(
            ended_as == fate.code() && item.attempts == fate.attempts(),
            "item {number}, of which {fate:?} is true, has {item:?}"
        );
        let Some(receipt) = receipt(item)? else {
            return Ok(());
        };
        ensure!(receipt.number == number, "item {number} has {receipt:?}");
        if work::first_name(&status.operation) == GRANT {
            ensure!(receipt.balance.is_some(), "a grant without a balance");
            return Ok(());
        }
        let key = receipt.key.ok_or("a notification without a key")?;
        self.check_key(&key, number, status.id.into())
    }

    /// Keys are made of the store's id, which never changes, and the batch, its time and the place in which
    /// the item was submitted.
    fn check_key(&mut self, key: &str, number: u64, batch: u64) -> Checked {
        let root = self.lineage(batch)[0];
        let seed = number / work::NUMBERS_PER_SEED;
        let index = number - work::numbers(seed).start;
        let parts: Vec<&str> = key.split('-').collect();
        let [store_id, _, created_ms, _] = parts[..] else {
            return Err(format!("the key {key} is not one").into());
        };
        self.check_created(root, created_ms.parse()?)?;
        let expected = self.store_id.get_or_insert_with(|| store_id.to_owned());
        let expected = format!("{expected}-{root}-{created_ms}-{index}");
        ensure!(key == expected, "the key {key} should be {expected}");
        Ok(())
    }

    /// The status of a batch and the keys of its items say the same time, also those of later batches.
    fn check_created(&mut self, batch: u64, created_ms: u64) -> Checked {
        let before = *self.created_ms.entry(batch).or_insert(created_ms);
        ensure!(
            before == created_ms,
            "batch {batch} is of {before} and of {created_ms}"
        );
        Ok(())
    }

    /// That what was acknowledged and is not listed was deleted, by request or because it was old.
    fn check_missing(&mut self, listed: &BTreeSet<u64>) -> Checked {
        for (id, seed) in &self.acknowledged {
            if listed.contains(id) {
                continue;
            }
            if !self.deleted.contains_key(id) {
                let unended_ms = self.unended_ms.get(id).copied();
                let old = unended_ms.is_some_and(|since_ms| since_ms <= self.kept_from_ms);
                ensure!(
                    old && !self.cannot_have_ended(*id, *seed),
                    "batch {id} of seed {seed} is lost; it had not ended at {unended_ms:?}, and what \
                     had not by {} is kept",
                    self.kept_from_ms
                );
            }
            self.gone.insert(*id);
        }
        Ok(())
    }

    /// The seeds of which there may be a batch that is not listed.
    fn incomplete(&self, listed: &BTreeSet<u64>) -> BTreeSet<u64> {
        let unknown = self.submitted.iter().filter(|(_, s)| s.batch.is_none());
        let missing = self.acknowledged.iter().filter(|(id, _)| {
            let retry_unknown = self.retried.get(id).is_some_and(Option::is_none);
            !listed.contains(id) || retry_unknown
        });
        let unknown = unknown.map(|(seed, _)| *seed);
        unknown.chain(missing.map(|(_, seed)| *seed)).collect()
    }

    fn cannot_have_ended(&self, id: u64, seed: u64) -> bool {
        if let Some(failing) = self.planted.get(&id) {
            return failing.is_none();
        }
        let never_stopped = matches!(self.steered.get(&id), None | Some(Steered::Resumed));
        work::is_far(seed) && !self.parents.contains_key(&id) && never_stopped
    }
}

/// What a success left.
fn receipt(item: &ItemOutcome<serde_json::Value>) -> Checked<Option<Receipt>> {
    let output = item.outcome.output().cloned();
    Ok(output.map(serde_json::from_value).transpose()?)
}

/// The successes there are, of items by their numbers.
#[derive(Debug, Default)]
struct Ledger {
    /// With the balance that each grant left.
    grants: BTreeMap<u64, u64>,
    notified: BTreeSet<u64>,
}

impl Ledger {
    fn take(&mut self, number: u64, receipt: Receipt) -> Checked {
        let first = match receipt.balance {
            Some(balance) => self.grants.insert(number, balance).is_none(),
            None => self.notified.insert(number),
        };
        ensure!(first, "item {number} has succeeded in two batches");
        Ok(())
    }

    /// That the tables hold what the outcomes say: each grant once, and nothing of those that failed. Of
    /// batches that are deleted the grants are still there, and the outcomes are not: they may be among
    /// those of the seeds in `incomplete`.
    fn check(self, queue: &Queue, incomplete: &BTreeSet<u64>) -> Checked {
        let (rows, balances) = queue.read(|tables| {
            let rows: Result<BTreeMap<_, _>, _> = tables.range(&GRANTS, ..).collect();
            let balances: Result<BTreeMap<_, _>, _> = tables.range(&BALANCES, ..).collect();
            Ok((rows?, balances?))
        })?;
        let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
        for (number, points) in &rows {
            ensure!(
                *points == work::points(*number),
                "{number} has granted {points}"
            );
            let seed = number / work::NUMBERS_PER_SEED;
            ensure!(
                self.grants.contains_key(number) || incomplete.contains(&seed),
                "{number} has a row and no success"
            );
            *sums.entry(work::account(*number)).or_default() += points;
        }
        ensure!(
            sums == balances,
            "the balances are {balances:?}, and should be {sums:?}"
        );
        let mut steps: BTreeMap<u64, BTreeMap<u64, u64>> = BTreeMap::new();
        for (number, balance) in self.grants {
            ensure!(rows.contains_key(&number), "{number} has no row");
            let steps = steps.entry(work::account(number)).or_default();
            let other = steps.insert(balance, number);
            ensure!(
                other.is_none(),
                "{number} and {other:?} left the same balance"
            );
        }
        // Each balance has room for the one before it and the points of its grant.
        for (account, steps) in steps {
            let mut before = 0;
            for (balance, number) in steps {
                ensure!(
                    balance >= before + work::points(number) && balance <= sums[&account],
                    "{number} left {balance} after {before}, of {} in the end",
                    sums[&account]
                );
                before = balance;
            }
        }
        Ok(())
    }
}
