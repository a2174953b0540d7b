//! What becomes of a batch when a record of it is lost, one kind of record after the other.

use crate::store::{Add, PATIENCE, SUMS, Tested, builder, contents, dir_in};
use batchwright::limits::Limits;
use batchwright::{
    BatchError, BatchFilter, Failure, Outcome, Queue, Salvage, SalvageError, State, SubmitError,
    SubmitOptions, salvage, verify,
};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const ITEMS: u64 = 30;

/// Batch 1: completed, three of its items failed. Batch 2: these, once more. Batch 3: stopped, none of its items has
/// run. Batch 4: to be done.
fn written() -> Tested<TempDir> {
    let parent = tempfile::tempdir()?;
    let queue = builder(&dir_in(&parent)).open()?;
    let key = SubmitOptions::new().idempotency_key("one");
    let batch = queue.submit_with::<Add>(0..ITEMS, key)?;
    batch.wait()?;
    batch.retry_failed()?.wait()?;
    queue.pause("add", "a test")?;
    queue.submit::<Add>(100..100 + ITEMS)?.stop()?;
    queue.submit::<Add>(200..200 + ITEMS)?;
    queue.shutdown(PATIENCE)?;
    Ok(parent)
}

/// The storage engine's rows, past the library.
fn rows(dir: &Path) -> Tested<sled::Db> {
    let files = sled::Config::new().path(dir.join("store"));
    let files = files.segment_size(8 << 20).mode(sled::Mode::LowSpace);
    Ok(files.open()?)
}

fn key_of(letter: u8, batch: u64) -> Vec<u8> {
    let id = if letter == b'I' { !batch } else { batch };
    [&[letter][..], &id.to_be_bytes()].concat()
}

/// Removes all rows of a kind of a batch, or makes the last of them unreadable.
fn lose(dir: &Path, letter: u8, batch: u64, removes: bool) -> Tested {
    let rows = rows(dir)?;
    let prefix = key_of(letter, batch);
    let found: Vec<_> = rows.scan_prefix(&prefix).collect::<Result<_, _>>()?;
    let (key, value) = found.last().ok_or("there is no such row")?;
    if removes {
        for (key, _) in &found {
            rows.remove(key)?;
        }
    } else {
        let mut bytes = value.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        rows.insert(key, bytes)?;
    }
    rows.flush()?;
    Ok(())
}

/// Salvages a store that something was done to; the damaged one stays as it is, the new one is sound.
fn salvaged(
    damage: impl FnOnce(&Path) -> Tested,
    look: impl FnOnce(&Queue, &Salvage) -> Tested,
) -> Tested {
    let parent = written()?;
    let dir = dir_in(&parent);
    damage(&dir)?;
    let before = contents(&dir)?;
    assert!(!verify(&dir)?.is_clean(), "the damage is not found");
    let new = parent.path().join("new");
    let salvage = salvage(&dir, &new)?;
    assert!(contents(&dir)? == before, "the original was changed");
    assert!(!salvage.is_whole && salvage.loss_count > 0, "{salvage}");
    let found = verify(&new)?;
    assert!(found.is_clean(), "{found}\n{salvage}");
    let queue = builder(&new).open()?;
    for status in queue.batches(BatchFilter::all()) {
        assert!(status?.state.has_ended(), "it would run by itself");
    }
    look(&queue, &salvage).map_err(|error| format!("{error}\n{salvage}"))?;
    queue.shutdown(PATIENCE)?;
    let found = verify(&new)?;
    assert!(found.is_clean(), "{found}");
    Ok(())
}

/// How many items of a batch succeeded, failed, and are in doubt because their outcome is lost.
fn counts(queue: &Queue, batch: u64) -> Tested<(u64, u64, u64)> {
    let (mut succeeded, mut failed, mut lost) = (0, 0, 0);
    for outcome in queue.batch(batch)?.outcomes()? {
        match outcome?.outcome {
            Outcome::Succeeded(_) => succeeded += 1,
            Outcome::InDoubt { .. } => lost += 1,
            _ => failed += 1,
        }
    }
    Ok((succeeded, failed, lost))
}

fn state(queue: &Queue, batch: u64) -> Tested<State> {
    Ok(queue.batch(batch)?.status()?.state)
}

fn tells(salvage: &Salvage, batch: u64, what: &str) -> Tested {
    let told = salvage.losses.iter().any(|loss| {
        loss.batch.is_some_and(|id| u64::from(id) == batch) && loss.what.contains(what)
    });
    if told {
        return Ok(());
    }
    Err(format!("{what:?} of batch {batch} is not told").into())
}

#[test]
fn items_whose_outcomes_are_lost_are_in_doubt_and_run_again_only_when_they_are_said_to_have_failed()
-> Tested {
    for removes in [true, false] {
        salvaged(
            |dir| lose(dir, b'z', 1, removes),
            |queue, salvage| {
                assert_eq!(state(queue, 1)?, State::Completed);
                let (succeeded, failed, lost) = counts(queue, 1)?;
                assert!(
                    lost > 0 && succeeded + failed + lost == ITEMS,
                    "{succeeded} {failed} {lost}"
                );
                tells(salvage, 1, "may have run")?;
                let again = || queue.batch(1).and_then(|batch| batch.retry_failed());
                assert!(again().is_err(), "an item in doubt runs again");
                let doubted = queue.batch(1)?.outcomes()?.collect::<Result<Vec<_>, _>>()?;
                let doubted = doubted.into_iter();
                let first = doubted
                    .filter(|item| matches!(item.outcome, Outcome::InDoubt { .. }))
                    .map(|item| item.index)
                    .find(|index| index % 10 != 0)
                    .ok_or("none is in doubt")?;
                let failure = Failure::permanent("looked", "it has not run");
                queue.batch(1)?.resolve(first, Err(failure))?;
                assert_eq!(again()?.status()?.total, 1);
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn a_batch_that_had_not_ended_is_stopped_and_goes_on_when_it_is_resumed() -> Tested {
    salvaged(
        |dir| Ok(fs::remove_file(dir.join("seal"))?),
        |queue, salvage| {
            tells(salvage, 4, "stopped; 30 items have no outcome")?;
            assert_eq!(
                (state(queue, 3)?, state(queue, 4)?),
                (State::Stopped, State::Stopped)
            );
            assert_eq!(counts(queue, 1)?, (27, 3, 0));
            queue.unpause("add")?;
            let batch = queue.batch(4)?;
            batch.resume()?;
            assert_eq!(batch.wait()?.status.succeeded, 27);
            Ok(())
        },
    )
}

#[test]
fn both_marks_of_an_end_may_be_lost() -> Tested {
    for (letter, batch) in [(b'S', 1), (b'u', 4)] {
        salvaged(
            |dir| lose(dir, letter, batch, true),
            |queue, _| {
                assert_eq!(state(queue, 1)?, State::Completed);
                assert_eq!(counts(queue, 1)?, (27, 3, 0));
                assert_eq!(state(queue, 4)?, State::Stopped);
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn items_that_are_lost_are_null_and_their_batch_is_closed() -> Tested {
    for (batch, lost) in [(1, 0), (4, ITEMS)] {
        salvaged(
            |dir| lose(dir, b'I', batch, false),
            |queue, salvage| {
                tells(salvage, batch, "items 0 to 29 are lost")?;
                assert_eq!(state(queue, batch)?, State::Completed);
                assert_eq!(counts(queue, batch)?.2, lost);
                for item in queue.batch(batch)?.items()? {
                    assert!(item?.is_null());
                }
                Ok(())
            },
        )?;
    }
    Ok(())
}

/// A null is longer than they were: they take more chunks than before.
#[test]
fn very_many_tiny_items_may_be_lost() -> Tested {
    const MANY: u64 = 40_000;
    let parent = tempfile::tempdir()?;
    let dir = dir_in(&parent);
    let mut limits = Limits::default();
    limits.items_per_batch = usize::try_from(MANY)?;
    let queue = builder(&dir).limits(limits).open()?;
    queue.pause("add", "a test")?;
    queue.submit::<Add>((0..MANY).map(|n| n % 10))?;
    queue.shutdown(PATIENCE)?;
    {
        // The first of two chunks.
        let rows = rows(&dir)?;
        let (key, _) = rows
            .scan_prefix(key_of(b'I', 1))
            .next()
            .ok_or("no chunk")??;
        rows.insert(key, &b"lost"[..])?;
        rows.flush()?;
    }
    let new = parent.path().join("new");
    let salvage = salvage(&dir, &new)?;
    tells(&salvage, 1, "are lost; they are null")?;
    assert!(verify(&new)?.is_clean());
    let queue = builder(&new).without_workers().open()?;
    let batch = queue.batch(1)?;
    assert_eq!(batch.status()?.total, MANY);
    let items: Vec<_> = batch.items()?.collect::<Result<_, _>>()?;
    let lost = items.iter().take_while(|item| item.is_null()).count();
    assert!(lost > 30_000 && lost < items.len(), "{lost}");
    for (n, item) in items.iter().enumerate().skip(lost) {
        assert_eq!(*item, n % 10);
    }
    Ok(())
}

#[test]
fn a_batch_without_its_ordering_keys_is_closed() -> Tested {
    salvaged(
        |dir| lose(dir, b'h', 4, true),
        |queue, salvage| {
            tells(salvage, 4, "ordering keys")?;
            assert_eq!(state(queue, 4)?, State::Completed);
            assert_eq!(counts(queue, 4)?, (0, 0, ITEMS));
            Ok(())
        },
    )
}

#[test]
fn a_batch_without_its_header_counts_as_deleted_and_does_not_run_again() -> Tested {
    for removes in [true, false] {
        salvaged(
            |dir| lose(dir, b'b', 1, removes),
            |queue, salvage| {
                tells(salvage, 1, "header is lost")?;
                assert!(matches!(queue.batch(1), Err(BatchError::NotFound { .. })));
                let key = SubmitOptions::new().idempotency_key("one");
                let again = queue.submit_with::<Add>(0..ITEMS, key).map(drop);
                assert!(
                    matches!(again, Err(SubmitError::Deleted { .. })),
                    "{again:?}"
                );
                // The others are as they were.
                assert_eq!(counts(queue, 2)?.1, 3);
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn items_that_were_run_again_are_not_run_a_third_time_whatever_is_lost() -> Tested {
    for (letter, batch) in [(b'r', 1), (b'o', 2), (b'b', 2)] {
        salvaged(
            |dir| lose(dir, letter, batch, true),
            |queue, _| {
                let again = queue.batch(1)?.retry_failed().map(drop);
                assert!(
                    matches!(again, Err(BatchError::AlreadyRetried { .. })),
                    "without {}: {again:?}",
                    char::from(letter)
                );
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn a_row_of_a_table_that_is_lost_is_told_with_its_key_and_the_others_are_there() -> Tested {
    let key = [&b"t\x04sums"[..], &7_u64.to_be_bytes()].concat();
    salvaged(
        |dir| {
            let rows = rows(dir)?;
            rows.insert(&key, b"\x01not what was written".as_slice())?;
            rows.flush()?;
            Ok(())
        },
        |queue, salvage| {
            let told: Vec<_> = salvage
                .losses
                .iter()
                .filter_map(|loss| loss.row.clone())
                .collect();
            assert_eq!(told, [7_u64.to_be_bytes().to_vec()]);
            let there = queue.read(|tables| {
                let rows = tables.range(&SUMS, ..);
                rows.map(|row| row.map(|(row, _)| row))
                    .collect::<Result<BTreeSet<u64>, _>>()
            })?;
            assert!(!there.contains(&7) && there.len() == 26, "{there:?}");
            Ok(())
        },
    )
}

#[test]
fn without_the_meta_record_ids_go_on_far_behind_the_last() -> Tested {
    salvaged(
        |dir| {
            let rows = rows(dir)?;
            rows.remove(b"m")?;
            rows.flush()?;
            Ok(())
        },
        |queue, salvage| {
            assert!(salvage.to_string().contains("another id"));
            let batch = queue.submit::<Add>([1])?;
            assert!(u64::from(batch.id()) > 1_000_000);
            Ok(())
        },
    )
}

#[test]
fn a_sound_store_is_copied_as_it_is_and_runs_on() -> Tested {
    let parent = written()?;
    let (dir, new) = (dir_in(&parent), parent.path().join("new"));
    let salvage = salvage(&dir, &new)?;
    assert!(salvage.is_whole && salvage.loss_count == 0, "{salvage}");
    let queue = builder(&new).open()?;
    queue.unpause("add")?;
    assert_eq!(queue.batch(4)?.wait()?.status.succeeded, 27);
    assert_eq!(u64::from(queue.submit::<Add>([1])?.id()), 5);
    Ok(queue.shutdown(PATIENCE)?)
}

#[test]
fn a_target_that_is_not_empty_or_in_the_store_is_refused() -> Tested {
    let parent = written()?;
    let dir = dir_in(&parent);
    let before = contents(&dir)?;
    for to in [dir.join("new"), dir.join("store/a/b"), dir.clone()] {
        let refused = salvage(&dir, &to);
        assert!(
            matches!(refused, Err(SalvageError::Inside { .. })),
            "{refused:?}"
        );
    }
    let full = parent.path().join("full");
    fs::create_dir(&full)?;
    fs::write(full.join("letter.txt"), "dear")?;
    let refused = salvage(&dir, &full);
    assert!(
        matches!(refused, Err(SalvageError::NotEmpty { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(&full)?.count(), 1);
    let refused = salvage(parent.path().join("nothing"), parent.path().join("new"));
    assert!(
        matches!(refused, Err(SalvageError::NoStore { .. })),
        "{refused:?}"
    );
    assert!(contents(&dir)? == before);
    Ok(())
}

/// An at-most-once item that had started when the copy was made: its journal is whole and says so.
#[test]
fn an_at_most_once_item_that_had_started_is_in_doubt_and_does_not_run_again() -> Tested {
    let parent = tempfile::tempdir()?;
    let (dir, copy, new) = (
        parent.path().join("data"),
        parent.path().join("copy"),
        parent.path().join("new"),
    );
    let (began, begins) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let pay = move |n: u64, _: &mut batchwright::Context<batchwright::AtMostOnce>| {
        if n == 0 {
            let _ = began.send(());
            let released = released
                .lock()
                .map_err(|_| Failure::permanent("test", "poisoned"))?;
            let _ = released.recv_timeout(PATIENCE);
        }
        Ok(n)
    };
    let queue = Queue::builder(&dir)
        .workers(1)
        .register_fn("pay", pay)
        .open()?;
    let id = queue.submit_named("pay", 0..20_u64)?.id();
    begins.recv_timeout(PATIENCE)?;
    queue.backup(&copy)?;
    release.send(())?;
    queue.shutdown(PATIENCE)?;

    fs::remove_file(copy.join("seal"))?;
    salvage(&copy, &new)?;
    let ran = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let seen = std::sync::Arc::clone(&ran);
    let pay = move |n: u64, _: &mut batchwright::Context<batchwright::AtMostOnce>| {
        seen.lock()
            .map_err(|_| Failure::permanent("test", "poisoned"))?
            .insert(n);
        Ok(n)
    };
    let queue = Queue::builder(&new).register_fn("pay", pay).open()?;
    let batch = queue.batch(id)?;
    let status = batch.status()?;
    assert_eq!((status.state, status.in_doubt), (State::Stopped, 16));
    batch.resume()?;
    batch.wait()?;
    let ran = ran.lock().map_err(|_| "poisoned")?;
    assert_eq!(*ran, (16..20).collect());
    Ok(())
}
