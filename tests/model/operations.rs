//! Operations whose items say what is to become of them. Each has two names, and is renamed between openings.

use batchwright::{
    AtLeastOnce, AtMostOnce, Context, ExactlyOnce, Failure, Operation, Outcome, RetryPolicy, Table,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Attempts that an item may make.
pub(crate) const ATTEMPTS: u32 = 3;

pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(60);

pub(crate) const SUMS: Table<u64, u64> = Table::new("sums");

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fate {
    Succeeds,
    Fails,
    Panics,
    /// Fails at so many attempts before it succeeds.
    Recovers(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) fate: Fate,
    /// Where an exactly-once item adds; the ordering key of an ordered one.
    pub(crate) place: u64,
    pub(crate) amount: u64,
}

impl Item {
    /// The attempts the item takes and whether it then succeeds.
    pub(crate) fn end(&self) -> (u32, bool) {
        match self.fate {
            Fate::Succeeds => (1, true),
            Fate::Fails | Fate::Panics => (1, false),
            Fate::Recovers(failures) if failures < ATTEMPTS => (failures + 1, true),
            Fate::Recovers(_) => (ATTEMPTS, false),
        }
    }

    fn attempt(&self, attempt: u32) -> Result<u64, Failure> {
        match self.fate {
            Fate::Fails => Err(Failure::permanent("scripted", "it fails")),
            Fate::Panics => std::panic::resume_unwind(Box::new("scripted")),
            Fate::Recovers(failures) if attempt <= failures => {
                Err(Failure::retryable("scripted", "it fails for now"))
            }
            Fate::Succeeds | Fate::Recovers(_) => Ok(self.amount),
        }
    }

    /// As [`fits`](Self::fits), of an item that runs at most once and is not resolved. In doubt it is when its handler
    /// panics, and may be when a process came to its end.
    pub(crate) fn fits_once(&self, outcome: &Outcome<u64>, crashed: bool) -> bool {
        let code = outcome.failure().map(|failure| failure.code.as_str());
        match self.fate {
            _ if outcome.is_in_doubt() => crashed || self.fate == Fate::Panics,
            Fate::Succeeds => *outcome == Outcome::Succeeded(self.amount),
            Fate::Fails | Fate::Recovers(_) => code == Some("scripted"),
            Fate::Panics => false,
        }
    }

    /// Whether `outcome` is what the item says.
    pub(crate) fn fits(&self, outcome: &Outcome<u64>) -> bool {
        let code = outcome.failure().map(|failure| failure.code.as_str());
        match (self.end().1, self.fate) {
            (true, _) => *outcome == Outcome::Succeeded(self.amount),
            (false, Fate::Panics) => code == Some(Failure::PANICKED),
            (false, _) => code == Some("scripted"),
        }
    }
}

/// What the handlers of one opening do, seen from inside.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// Items in a handler, by ordering key.
    running: BTreeMap<u64, u64>,
    /// Exactly-once items in a handler.
    leased: u64,
    complaints: Vec<String>,
    /// Items that run at most once and have, over all openings.
    called: BTreeSet<(u64, usize)>,
}

impl Witness {
    /// For the next opening, whose handlers meet nobody of this one.
    pub(crate) fn successor(&self) -> Self {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Seen {
            called: seen.called.clone(),
            ..Seen::default()
        };
        Self(Arc::new(Mutex::new(seen)))
    }

    fn call(&self, batch: u64, index: usize) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.called.insert((batch, index)) {
            let text = format!("item {index} of batch {batch} runs a second time");
            seen.complaints.push(text);
        }
    }

    fn enter(&self, place: Option<u64>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = match place {
            Some(place) => seen.running.entry(place).or_default(),
            None => &mut seen.leased,
        };
        *running += 1;
        if *running > 1 {
            let text = format!("{running} handlers run together at {place:?}");
            seen.complaints.push(text);
        }
    }

    fn leave(&self, place: Option<u64>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => *seen.running.entry(place).or_default() -= 1,
            None => seen.leased -= 1,
        }
    }

    pub(crate) fn complaint(&self) -> Option<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.complaints.first().cloned()
    }
}

/// Leaves however the handler ends.
struct Visit<'a>(&'a Witness, Option<u64>);

impl<'a> Visit<'a> {
    fn begin(witness: &'a Witness, place: Option<u64>) -> Self {
        witness.enter(place);
        Self(witness, place)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

fn retry() -> RetryPolicy {
    RetryPolicy::exponential(ATTEMPTS, FIRST_WAIT)
}

/// At least once, in any order.
pub(crate) struct Free<const NEW: bool>;

impl<const NEW: bool> Operation for Free<NEW> {
    const NAME: &'static str = if NEW { "free-now" } else { "free" };
    const ALIASES: &'static [&'static str] = if NEW { &["free"] } else { &["free-now"] };
    type Item = Item;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Item, cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        item.attempt(cx.attempt())
    }

    fn retry(&self) -> RetryPolicy {
        retry()
    }
}

/// At least once, items of one place one after the other.
pub(crate) struct Ordered<const NEW: bool>(pub(crate) Witness);

impl<const NEW: bool> Operation for Ordered<NEW> {
    const NAME: &'static str = if NEW { "ordered-now" } else { "ordered" };
    const ALIASES: &'static [&'static str] = if NEW { &["ordered"] } else { &["ordered-now"] };
    type Item = Item;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Item, cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        let _visit = Visit::begin(&self.0, Some(item.place));
        item.attempt(cx.attempt())
    }

    fn retry(&self) -> RetryPolicy {
        retry()
    }

    fn key(&self, item: &Item) -> Option<String> {
        Some(item.place.to_string())
    }
}

/// Exactly once: adds the amount at its place.
pub(crate) struct Adding<const NEW: bool>(pub(crate) Witness);

impl<const NEW: bool> Operation for Adding<NEW> {
    const NAME: &'static str = if NEW { "adding-now" } else { "adding" };
    const ALIASES: &'static [&'static str] = if NEW { &["adding"] } else { &["adding-now"] };
    type Item = Item;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, item: Item, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let _visit = Visit::begin(&self.0, None);
        let sum = cx.get(&SUMS, &item.place)?.unwrap_or(0);
        // Written before it is known how it ends.
        cx.put(&SUMS, &item.place, &(sum + item.amount))?;
        item.attempt(cx.attempt())
    }

    fn retry(&self) -> RetryPolicy {
        retry()
    }
}

/// At most once, and seen to.
pub(crate) struct Once<const NEW: bool>(pub(crate) Witness);

impl<const NEW: bool> Operation for Once<NEW> {
    const NAME: &'static str = if NEW { "once-now" } else { "once" };
    const ALIASES: &'static [&'static str] = if NEW { &["once"] } else { &["once-now"] };
    type Item = Item;
    type Output = u64;
    type Guarantee = AtMostOnce;

    fn run(&self, item: Item, cx: &mut Context<AtMostOnce>) -> Result<u64, Failure> {
        self.0.call(cx.batch_id().into(), cx.index());
        item.attempt(cx.attempt())
    }

    fn retry(&self) -> RetryPolicy {
        // It has no say.
        retry()
    }
}
