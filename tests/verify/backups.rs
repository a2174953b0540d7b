//! Backups of queues that work.

use crate::store::{Add, Echo, PATIENCE, SUMS, Tested, builder, contents, dir_in, written};
use batchwright::loyalty::{self, CashbackItem, Program};
use batchwright::{
    BackupError, BatchFilter, OpenError, Queue, State, SubmitOptions, verify, verify_with,
};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

#[test]
fn a_backup_is_a_store_with_the_same_batches_tables_and_keys() -> Tested {
    let parent = written()?;
    let queue = builder(&dir_in(&parent)).open()?;
    let to = parent.path().join("backup");
    let backup = queue.backup(&to)?;
    let found = verify(&to)?;
    assert!(found.is_clean(), "{found}");
    assert_eq!(found.sequence, Some(backup.sequence));
    let copy = builder(&to).open()?;
    let statuses = |queue: &Queue| {
        let all = queue.batches(BatchFilter::all());
        all.map(|status| status.map(|status| status.to_string()))
            .collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(statuses(&queue)?, statuses(&copy)?);
    let sums =
        |queue: &Queue| queue.read(|tables| tables.range(&SUMS, ..).collect::<Result<Vec<_>, _>>());
    assert_eq!(sums(&queue)?, sums(&copy)?);
    // The same submission is the same batch in both.
    let key = || SubmitOptions::new().idempotency_key("5");
    let again = copy.submit_with::<Add>(300..360, key())?;
    assert_eq!(u64::from(again.id()), 6);
    copy.shutdown(PATIENCE)?;
    queue.shutdown(PATIENCE)?;
    Ok(())
}

#[test]
fn a_backup_under_load_adds_up_and_has_all_that_was_acknowledged_before_it() -> Tested {
    let parent = tempfile::tempdir()?;
    let dir = dir_in(&parent);
    let queue = loyalty::register_all(builder(&dir), &Program::default())?.open()?;
    let acknowledged = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let failed = Mutex::new(None);
    let time: loyalty::Time = "2025-03-14T10:00:00Z".parse()?;
    thread::scope(|threads| -> Tested {
        for submitter in 0..2_u64 {
            let (queue, acknowledged, done, failed) = (&queue, &acknowledged, &done, &failed);
            threads.spawn(move || {
                for round in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let items = (0..40_u64).map(|n| {
                        let id = format!("{submitter}-{round}-{n}");
                        let customer = format!("c{}", (round * 7 + n) % 60);
                        CashbackItem::new(customer, id, time, loyalty::Money::from(3))
                    });
                    let submitted = queue
                        .submit::<loyalty::Cashback>(items)
                        .map_err(|error| error.to_string())
                        .and_then(|batch| {
                            acknowledged.fetch_max(u64::from(batch.id()), Ordering::Relaxed);
                            queue
                                .submit::<Echo>(0..20)
                                .map(|other| drop(other.delete()))
                                .map_err(|error| error.to_string())?;
                            batch.wait().map_err(|error| error.to_string())
                        });
                    if let Err(error) = submitted {
                        *failed.lock().unwrap() = Some(error);
                        return;
                    }
                }
            });
        }
        let made = (0..6).try_for_each(|number| -> Tested {
            while acknowledged.load(Ordering::Relaxed) < 6 * (number + 1) {
                if let Some(error) = failed.lock().unwrap().take() {
                    return Err(error.into());
                }
                thread::yield_now();
            }
            let before = acknowledged.load(Ordering::Relaxed);
            let to = parent.path().join(format!("backup-{number}"));
            queue.backup(&to)?;
            let (found, audit) = verify_with(&to, |copy| {
                let there = copy.batch(before).map(drop);
                (loyalty::audit(copy), there)
            })?;
            assert!(found.is_clean(), "{found}");
            let (audit, there) = audit.ok_or("it cannot be opened")?;
            let audit = audit?;
            assert!(audit.is_clean(), "{audit}");
            there?;
            Ok(fs::remove_dir_all(&to)?)
        });
        done.store(true, Ordering::Relaxed);
        made
    })?;
    queue.shutdown(PATIENCE)?;
    let found = verify(&dir)?;
    assert!(found.is_clean(), "{found}");
    Ok(())
}

#[test]
fn a_backup_goes_on_where_the_store_was() -> Tested {
    let parent = written()?;
    let queue = builder(&dir_in(&parent)).without_workers().open()?;
    let to = parent.path().join("a/new/backup");
    queue.backup(&to)?;
    queue.shutdown(PATIENCE)?;
    let copy = builder(&to).open()?;
    copy.unpause("echo")?;
    let status = copy.batch(27)?.wait()?.status;
    assert_eq!((status.state, status.succeeded), (State::Completed, 60));
    copy.shutdown(PATIENCE)?;
    assert!(verify(&to)?.is_clean());
    Ok(())
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_left_as_it_was() -> Tested {
    let parent = written()?;
    let dir = dir_in(&parent);
    let queue = builder(&dir).open()?;
    let to = parent.path().join("backup");
    fs::create_dir(&to)?;
    fs::write(to.join("letter.txt"), "dear")?;
    let before = contents(&to)?;
    let refused = queue.backup(&to);
    assert!(
        matches!(refused, Err(BackupError::NotEmpty { .. })),
        "{refused:?}"
    );
    assert!(contents(&to)? == before);
    let refused = queue.backup(&dir);
    assert!(
        matches!(refused, Err(BackupError::NotEmpty { .. })),
        "{refused:?}"
    );
    let refused = queue.read(|_| Ok(queue.backup(parent.path().join("other"))))?;
    assert!(
        matches!(refused, Err(BackupError::WouldDeadlock)),
        "{refused:?}"
    );
    queue.shutdown(PATIENCE)?;
    let refused = queue.backup(parent.path().join("other"));
    assert!(matches!(refused, Err(BackupError::Closed)), "{refused:?}");
    assert!(!parent.path().join("other").exists());
    Ok(())
}

/// As the end of the process leaves it at each step.
#[test]
fn an_interrupted_backup_cannot_be_opened_and_is_no_place_for_a_new_store() -> Tested {
    let parent = written()?;
    let queue = builder(&dir_in(&parent)).open()?;
    let whole = parent.path().join("whole");
    queue.backup(&whole)?;
    let unfinished_seal = {
        // A queue that fails to make a backup at its very end shows the seal that it begins with.
        let to = parent.path().join("begun");
        let seal = to.join("seal");
        let mut bytes = None;
        thread::scope(|threads| {
            let made = threads.spawn(|| queue.backup(&to).map(drop));
            while bytes.is_none() && !made.is_finished() {
                bytes = fs::read(&seal).ok().filter(|bytes| bytes.len() > 4096);
            }
        });
        bytes.ok_or("the seal was not seen")?
    };
    for complete in [false, true] {
        let to = parent.path().join(format!("interrupted-{complete}"));
        fs::create_dir(&to)?;
        fs::write(to.join("LOCK"), "batchwright 1\n")?;
        if complete {
            // All that is missing is the last renaming.
            fs::copy(whole.join("seal"), to.join("seal"))?;
        } else {
            fs::write(to.join("seal"), &unfinished_seal)?;
        }
        crate::store::copy_directory(&whole.join("store"), &to.join("store.new"))?;
        let opened = builder(&to).open().map(drop);
        assert!(
            matches!(opened, Err(OpenError::Damaged { touched: false, .. })),
            "{complete}: {opened:?}"
        );
        assert!(!to.join("store").exists());
        assert!(!verify(&to)?.is_clean());
        let again = queue.backup(&to);
        assert!(
            matches!(again, Err(BackupError::NotEmpty { .. })),
            "{again:?}"
        );
    }
    queue.shutdown(PATIENCE)?;
    Ok(())
}
