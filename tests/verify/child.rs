//! A process of its own in which damaged stores are judged: one that panics, aborts or hangs is seen as that.

use crate::damage::damage;
use crate::store::{PATIENCE, SUMS, Tested, builder, contents, copy_directory};
use batchwright::{BatchFilter, OpenError, Outcome, Queue, SalvageError, State, salvage, verify};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Everything that a reader sees: the batches, their items and outcomes, and the rows of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    statuses: Vec<String>,
    items: BTreeMap<(u64, usize), String>,
    outcomes: BTreeMap<(u64, usize), Outcome<serde_json::Value>>,
    rows: Vec<(u64, u64)>,
    blocked: Vec<String>,
}

pub(crate) fn see(queue: &Queue) -> Tested<Seen> {
    let mut seen = Seen {
        statuses: Vec::new(),
        items: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        rows: queue.read(|tables| tables.range(&SUMS, ..).collect())?,
        blocked: Vec::new(),
    };
    for status in queue.batches(BatchFilter::all()) {
        let status = status?;
        seen.statuses.push(format!("{status:?}"));
        let batch = queue.batch(status.id)?;
        for (index, item) in batch.items()?.enumerate() {
            seen.items
                .insert((status.id.into(), index), item?.to_string());
        }
        for outcome in batch.outcomes()? {
            let outcome = outcome?;
            let place = (status.id.into(), outcome.index);
            seen.outcomes.insert(place, outcome.outcome);
        }
    }
    for operation in queue.stats()?.operations {
        seen.blocked
            .push(format!("{} {:?}", operation.name, operation.blocked));
    }
    Ok(seen)
}

/// What opening makes of a damaged store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Opened {
    /// A reader sees what was there before.
    Intact,
    Refused,
    /// Something that is read is an error.
    ReadError,
    /// Something is missing or another.
    Differs,
}

fn open_and_see(dir: &Path, expected: &Seen) -> Tested<Opened> {
    let queue = match builder(dir).without_workers().open() {
        Ok(queue) => queue,
        Err(OpenError::Damaged { .. }) => return Ok(Opened::Refused),
        Err(error) => return Err(error.into()),
    };
    let opened = match see(&queue) {
        Err(_) => Opened::ReadError,
        Ok(seen) if seen == *expected => Opened::Intact,
        Ok(_) => Opened::Differs,
    };
    let _ = queue.shutdown(PATIENCE / 4);
    Ok(opened)
}

/// What was salvaged, if anything: it is sound, nothing in it runs by itself, and it has no outcome that there was
/// not before.
fn check_salvage(dir: &Path, to: &Path, expected: &Seen) -> Tested<&'static str> {
    let salvaged = match salvage(dir, to) {
        Ok(salvaged) => salvaged,
        Err(SalvageError::Unreadable { .. }) => return Ok("nothing salvaged"),
        Err(error) => return Err(error.into()),
    };
    if salvaged.is_whole != (salvaged.loss_count == 0) {
        return Err(format!("whole, or not? {salvaged}").into());
    }
    let found = verify(to)?;
    if !found.is_clean() {
        return Err(format!("not sound after the salvage: {found}\n{salvaged}").into());
    }
    let queue = builder(to).without_workers().open()?;
    let seen = see(&queue)?;
    for (place, outcome) in &seen.outcomes {
        let lost = matches!(outcome, Outcome::InDoubt { .. });
        if !lost && expected.outcomes.get(place) != Some(outcome) {
            return Err(format!("an outcome out of nowhere: {place:?} {outcome:?}").into());
        }
    }
    for (place, item) in &seen.items {
        if item != "null" && expected.items.get(place) != Some(item) {
            return Err(format!("an item out of nowhere: {place:?} {item}").into());
        }
    }
    if salvaged.is_whole {
        return if seen == *expected {
            Ok("all salvaged")
        } else {
            Err("whole, and something is missing".into())
        };
    }
    for status in queue.batches(BatchFilter::all()) {
        let status = status?;
        if !matches!(status.state, State::Completed | State::Stopped) {
            return Err(format!("it would run by itself: {status}").into());
        }
    }
    let _ = queue.shutdown(PATIENCE / 4);
    Ok("some salvaged")
}

/// One damaged store, judged. What must not be is an error.
fn judge(number: u64, seed: u64, store: &Path, old_data: &Path, expected: &Seen) -> Tested<String> {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("data");
    copy_directory(store, &dir)?;
    let (kind, how) = damage(&dir, old_data, number, seed)?;
    // Salvages take as long as all else together.
    let new = number
        .is_multiple_of(SALVAGED_EVERY)
        .then(|| parent.path().join("new"));
    let judged = judge_damaged(&dir, new.as_deref(), expected);
    match judged {
        Ok((opened, found, salvaged)) => {
            Ok(format!("{kind:?} {opened:?} {found} {salvaged}").replace(' ', "\t"))
        }
        Err(error) => Err(format!("damage {number}, {kind:?} {how}: {error}").into()),
    }
}

fn judge_damaged(
    dir: &Path,
    new: Option<&Path>,
    expected: &Seen,
) -> Tested<(Opened, &'static str, String)> {
    let before = new.map(|_| contents(dir)).transpose()?;
    let found = verify(dir)?;
    let mut salvaged = "";
    if let Some(new) = new {
        salvaged = check_salvage(dir, new, expected)?;
        if before != Some(contents(dir)?) {
            return Err("looking at it has changed it".into());
        }
    }
    let opened = open_and_see(dir, expected)?;
    if matches!(opened, Opened::Differs | Opened::ReadError) && found.is_clean() {
        return Err(format!("a reader meets {opened:?}, and verify finds nothing").into());
    }
    let found = if found.is_clean() { "clean" } else { "found" };
    Ok((opened, found, salvaged.replace(' ', "-")))
}

/// Of so many damaged stores one is salvaged too. It has no divisor in common with the number of kinds.
const SALVAGED_EVERY: u64 = 7;

pub(crate) const STORE: &str = "BATCHWRIGHT_DAMAGE_STORE";
pub(crate) const RANGE: &str = "BATCHWRIGHT_DAMAGE_RANGE";
pub(crate) const SEED: &str = "BATCHWRIGHT_DAMAGE_SEED";

/// The process that judges; nothing when run as a test.
#[test]
fn child_that_judges() -> Tested {
    let (Some(store), Ok(range)) = (std::env::var_os(STORE), std::env::var(RANGE)) else {
        return Ok(());
    };
    let (from, to) = range.split_once(' ').ok_or("no range")?;
    let seed = std::env::var(SEED)?.parse()?;
    let store = Path::new(&store);
    let expected = {
        let parent = tempfile::tempdir()?;
        let copy = parent.path().join("data");
        copy_directory(&store.join("data"), &copy)?;
        let queue = builder(&copy).without_workers().open()?;
        let seen = see(&queue)?;
        queue.shutdown(PATIENCE)?;
        seen
    };
    for number in from.parse::<u64>()?..to.parse()? {
        println!("\nbegin\t{number}");
        let data = store.join("data");
        let judged = judge(number, seed, &data, &store.join("old"), &expected)?;
        println!("judged\t{judged}");
    }
    Ok(())
}

/// That the checks above can fail: what they would let pass is not nothing.
#[test]
fn a_reader_sees_the_loss_of_any_one_thing() -> Tested {
    let parent = crate::store::written()?;
    let dir = crate::store::dir_in(&parent);
    let seen = |dir: &Path| -> Tested<Seen> {
        let queue = builder(dir).without_workers().open()?;
        let seen = see(&queue)?;
        queue.shutdown(PATIENCE)?;
        Ok(seen)
    };
    let before = seen(&dir)?;
    assert!(before == seen(&dir)?);
    assert!(before.outcomes.len() > 1_000 && before.items.len() > 1_000);
    let queue = builder(&dir).without_workers().open()?;
    queue.batch(5)?.delete()?;
    queue.shutdown(PATIENCE)?;
    let after = seen(&dir)?;
    assert!(after != before);
    assert_eq!(open_and_see(&dir, &before)?, Opened::Differs);
    fs::remove_file(dir.join("seal"))?;
    assert_eq!(open_and_see(&dir, &before)?, Opened::Refused);
    Ok(())
}
