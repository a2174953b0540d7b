//! What the parent knows of a store: what its children said.

use crate::child::Part;
use crate::work;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(crate) type Checked<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// One store's life. Batches are known by their numbers.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) dir: PathBuf,
    /// Every seed that a submission was begun with.
    pub(crate) submitted: BTreeMap<u64, Submission>,
    pub(crate) steered: HashMap<u64, Steered>,
    /// Batches whose failed items were to run again, and the batch that runs them if it was acknowledged.
    pub(crate) retried: BTreeMap<u64, Option<u64>>,
    /// Whose failed items a batch runs again.
    pub(crate) parents: HashMap<u64, u64>,
    /// The seeds of acknowledged batches, also of those that run failed items again.
    pub(crate) acknowledged: BTreeMap<u64, u64>,
    /// When an acknowledged batch had certainly not ended yet, in milliseconds since 1970.
    pub(crate) unended_ms: HashMap<u64, u64>,
    /// When a resume was begun that is not acknowledged.
    resuming_ms: HashMap<u64, u64>,
    /// Batches that were to be deleted, and whether that was acknowledged.
    pub(crate) deleted: BTreeMap<u64, bool>,
    /// Batches that a child or a look has not found. They must not come back.
    pub(crate) gone: BTreeSet<u64>,
    /// Submissions that were refused because the batch of their key is gone.
    pub(crate) refused: usize,
    /// What ended by then may have been deleted because it was old.
    pub(crate) kept_from_ms: u64,
    /// Batches that cannot be decoded, and how far failing them came: not begun, begun, acknowledged.
    pub(crate) planted: BTreeMap<u64, Option<bool>>,
    /// What is known of an operation's pause: the reason of one that is in force.
    pauses: BTreeMap<String, Pause>,
    /// The outcomes that anybody has seen.
    pub(crate) seen: HashMap<(u64, usize), u64>,
    pub(crate) store_id: Option<String>,
    /// When batches were submitted, in milliseconds since 1970.
    pub(crate) created_ms: HashMap<u64, u64>,
}

#[derive(Debug)]
pub(crate) struct Submission {
    /// When it was first begun.
    since_ms: u64,
    /// The batch, if it was acknowledged.
    pub(crate) batch: Option<u64>,
}

/// How far the last stop or resume of a batch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steered {
    Begun,
    Stopped,
    Resumed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pause {
    /// With this reason, or without one not at all.
    Is(Option<String>),
    /// From one to the other; which of both is not known.
    Changes(Option<String>, Option<String>),
}

/// Fails with a message unless `condition` holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+).into());
        }
    };
}

/// The next of `words`.
fn next<'a, T>(words: &mut impl Iterator<Item = &'a str>) -> Checked<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    Ok(words.next().ok_or("the line ends early")?.parse()?)
}

impl History {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            submitted: BTreeMap::new(),
            steered: HashMap::new(),
            retried: BTreeMap::new(),
            parents: HashMap::new(),
            acknowledged: BTreeMap::new(),
            unended_ms: HashMap::new(),
            resuming_ms: HashMap::new(),
            deleted: BTreeMap::new(),
            gone: BTreeSet::new(),
            refused: 0,
            kept_from_ms: 0,
            planted: BTreeMap::new(),
            pauses: BTreeMap::new(),
            seen: HashMap::new(),
            store_id: None,
            created_ms: HashMap::new(),
        }
    }

    /// The first seed that nobody has used.
    pub(crate) fn next_seed(&self) -> u64 {
        self.submitted
            .last_key_value()
            .map_or(1, |(seed, _)| seed + 1)
    }

    /// The seeds to submit again, of those with a key: where it is unknown what became of them, and the last
    /// few whose batches are gone.
    pub(crate) fn submit_again(&self) -> Vec<u64> {
        let keyed = |seed: &&u64| work::has_key(**seed);
        let unknown = self.submitted.iter().filter(|(_, s)| s.batch.is_none());
        let unknown = unknown.map(|(seed, _)| seed).filter(keyed);
        let submitted = self.submitted.iter().rev();
        let gone = submitted.filter(|(_, s)| {
            let gone = |id| self.gone.contains(id) && !self.planted.contains_key(id);
            s.batch.as_ref().is_some_and(gone)
        });
        let gone = gone.map(|(seed, _)| seed).filter(keyed).take(5);
        unknown.chain(gone).copied().collect()
    }

    /// The batches whose failed items are to run again, a second time for those where that was acknowledged
    /// last.
    pub(crate) fn retry_again(&self) -> Vec<u64> {
        let unknown = self.retried.iter().filter(|(_, by)| by.is_none());
        let retried = self.retried.iter().rev();
        let known = retried.filter(|(id, by)| by.is_some() && !self.gone.contains(id));
        let batches = unknown.chain(known.take(5));
        batches.map(|(id, _)| *id).collect()
    }

    /// The planted batches of which it was not acknowledged that they may fail.
    pub(crate) fn undecodable(&self) -> Vec<u64> {
        let planted = self.planted.iter();
        let open = planted.filter(|(_, failing)| **failing != Some(true));
        open.map(|(id, _)| *id).collect()
    }

    /// The operations that are certainly paused.
    pub(crate) fn paused(&self) -> Vec<String> {
        let paused = |pause: &Pause| match pause {
            Pause::Is(reason) => reason.is_some(),
            Pause::Changes(from, to) => from.is_some() && to.is_some(),
        };
        let operations = self.pauses.iter().filter(|(_, pause)| paused(pause));
        operations.map(|(operation, _)| operation.clone()).collect()
    }

    /// The batch from which the items of `batch` come, which is acknowledged or found, and those between.
    pub(crate) fn lineage(&self, batch: u64) -> Vec<u64> {
        let parent = |batch: &u64| self.parents.get(batch).copied();
        let mut lineage: Vec<u64> = std::iter::successors(Some(batch), parent).collect();
        lineage.reverse();
        lineage
    }

    /// Plants a batch that cannot be decoded.
    pub(crate) fn plant(&mut self) -> Checked {
        let seed = self.next_seed();
        self.hear(&format!("submitting {seed} {}", work::now_ms()))?;
        self.hear("pausing legacy planted")?;
        let id = work::plant(&self.dir, seed)?.into();
        self.hear(&format!("submitted {seed} {id}"))?;
        self.hear("paused legacy")?;
        self.planted.insert(id, None);
        Ok(())
    }

    /// Takes in all that a child said until it was killed.
    pub(crate) fn hear_all(&mut self, part: &Part, lines: &[String]) -> Checked {
        for line in lines {
            self.hear(line)?;
        }
        if part.forgets || lines.iter().any(|line| line == "pruning") {
            let kept_ms = u64::try_from(work::KEPT.as_millis())?;
            self.kept_from_ms = work::now_ms() - kept_ms;
        }
        Ok(())
    }

    /// Takes in a whole line.
    pub(crate) fn hear(&mut self, line: &str) -> Checked {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let words = &mut words;
        match what {
            "submitting" => {
                let (seed, since_ms) = (next(words)?, next(words)?);
                let begun = Submission {
                    since_ms,
                    batch: None,
                };
                self.submitted.entry(seed).or_insert(begun);
            }
            "submitted" => {
                self.acknowledge(next(words)?, next(words)?)?;
            }
            "gone" => {
                let (seed, id) = (next(words)?, next(words)?);
                self.acknowledge(seed, id)?;
                self.gone.insert(id);
                self.refused += 1;
            }
            "retrying" => {
                let (id, since_ms) = (next(words)?, next(words)?);
                let (seed, parent) = (next(words)?, next::<u64>(words)?);
                self.retried.entry(id).or_insert(None);
                self.acknowledged.insert(id, seed);
                self.unended_ms.entry(id).or_insert(since_ms);
                if parent > 0 {
                    self.parents.insert(id, parent);
                }
            }
            "retried" => {
                let (id, by) = (next(words)?, next(words)?);
                let before = self.retried.insert(id, Some(by)).flatten();
                ensure!(
                    before.is_none_or(|before| before == by),
                    "the failed items of batch {id} run in batch {before:?} and in {by}"
                );
                self.parents.insert(by, id);
                let seed = *self.acknowledged.get(&id).ok_or("an unknown batch")?;
                self.acknowledged.insert(by, seed);
                let since_ms = *self.unended_ms.get(&id).ok_or("an unknown batch")?;
                self.unended_ms.entry(by).or_insert(since_ms);
            }
            "stopping" => {
                self.steered.insert(next(words)?, Steered::Begun);
            }
            "resuming" => {
                let (id, since_ms) = (next(words)?, next(words)?);
                self.steered.insert(id, Steered::Begun);
                self.resuming_ms.insert(id, since_ms);
            }
            "stopped" => {
                self.steered.insert(next(words)?, Steered::Stopped);
            }
            "resumed" => {
                let id = next(words)?;
                self.steered.insert(id, Steered::Resumed);
                if let Some(since_ms) = self.resuming_ms.remove(&id) {
                    self.unended_ms.insert(id, since_ms);
                }
            }
            "deleting" => {
                self.deleted.entry(next(words)?).or_insert(false);
            }
            "deleted" => {
                let id = next(words)?;
                self.deleted.insert(id, true);
                self.gone.insert(id);
            }
            "failing" => {
                let failing = self.planted.get_mut(&next(words)?);
                let failing = failing.ok_or("failing what was not planted")?;
                failing.get_or_insert(false);
            }
            "failed" => {
                self.planted.insert(next(words)?, Some(true));
            }
            "pausing" => {
                let (operation, reason) = (next(words)?, next(words)?);
                self.change_pause(operation, Some(reason));
            }
            "unpausing" => self.change_pause(next(words)?, None),
            "paused" | "unpaused" => self.settle_pause(next(words)?),
            "found" => {
                let operation: String = next(words)?;
                self.find_pause(operation, words.next().map(str::to_owned))?;
            }
            "outcomes" => {
                let id = next(words)?;
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

    fn acknowledge(&mut self, seed: u64, id: u64) -> Checked {
        let other = self.acknowledged.insert(id, seed);
        ensure!(
            other.is_none_or(|other| other == seed),
            "batch {id} was acknowledged for the seeds {other:?} and {seed}"
        );
        let known = self.submitted.get_mut(&seed).ok_or("an unknown seed")?;
        let before = known.batch.replace(id);
        ensure!(
            before.is_none_or(|before| before == id),
            "seed {seed} was acknowledged as batch {before:?} and as {id}"
        );
        self.unended_ms.entry(id).or_insert(known.since_ms);
        Ok(())
    }

    fn change_pause(&mut self, operation: String, to: Option<String>) {
        let pause = self.pauses.remove(&operation).unwrap_or(Pause::Is(None));
        let from = match pause {
            Pause::Is(from) => from,
            // A child finds out before it changes anything. The parent plants without looking.
            Pause::Changes(from, to) => from.and(to),
        };
        self.pauses.insert(operation, Pause::Changes(from, to));
    }

    fn settle_pause(&mut self, operation: String) {
        if let Some(Pause::Changes(_, to)) = self.pauses.remove(&operation) {
            self.pauses.insert(operation, Pause::Is(to));
        }
    }

    fn find_pause(&mut self, operation: String, found: Option<String>) -> Checked {
        let known = self.pauses.remove(&operation).unwrap_or(Pause::Is(None));
        let agrees = match &known {
            Pause::Is(reason) => *reason == found,
            Pause::Changes(from, to) => *from == found || *to == found,
        };
        ensure!(
            agrees,
            "{operation} has the pause {found:?}, and {known:?} was acknowledged"
        );
        self.pauses.insert(operation, Pause::Is(found));
        Ok(())
    }

    pub(crate) fn see(&mut self, id: u64, index: usize, print: u64) -> Checked {
        let before = self.seen.insert((id, index), print);
        ensure!(
            before.is_none_or(|before| before == print),
            "the outcome of item {index} of batch {id} has changed"
        );
        Ok(())
    }
}
