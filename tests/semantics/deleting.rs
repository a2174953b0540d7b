//! Deleting batches: by hand, by age, and what stays.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Post, Tested, add, eventually, fresh, never,
    outcomes, outputs, queue_on, sum,
};
use batchwright::testing::CommitFault;
use batchwright::{
    AtLeastOnce, BatchError, BatchFilter, Context, Failure, Queue, State, SubmitError,
    SubmitOptions, WaitError,
};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Options of a batch that stays queued, whatever a test does to its clock.
fn much_later() -> SubmitOptions {
    SubmitOptions::new().not_before(UNIX_EPOCH + 40_000 * DAY)
}

fn key(key: &str) -> SubmitOptions {
    SubmitOptions::new().idempotency_key(key)
}

#[test]
fn a_deleted_batch_is_gone_for_every_handle_and_after_reopening() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Post::new(|n, cx| add(cx, "all", n)).key(|n| Some(n.to_string())))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let before = queue.submit::<Post>([1, 2])?;
    before.ends()?;
    let batch = queue.submit::<Post>(1..=400)?;
    batch.ends()?;
    let after = queue.submit::<Post>([3])?;
    after.ends()?;
    let reading = batch.outcomes()?;
    let other = queue.batch(batch.id())?;
    other.delete()?;

    let id = batch.id();
    let gone = BatchError::NotFound { id };
    assert_eq!(batch.status(), Err(gone.clone()));
    assert_eq!(batch.report(), Err(gone.clone()));
    assert_eq!(batch.wait(), Err(WaitError::Batch(gone.clone())));
    assert_eq!(batch.stop(), Err(gone.clone()));
    assert_eq!(batch.resume(), Err(gone.clone()));
    assert_eq!(batch.delete(), Err(gone.clone()));
    assert_eq!(batch.fail_undecodable(), Err(gone.clone()));
    assert_eq!(batch.retry_failed().map(|b| b.id()), Err(gone.clone()));
    assert_eq!(batch.outcomes().map(drop), Err(gone.clone()));
    assert_eq!(queue.batch(id).map(|b| b.id()), Err(gone.clone()));
    // What was being read ends with an error: it must not look as if this were all.
    assert_eq!(
        reading.last().map(|last| last.map(drop)),
        Some(Err(gone.clone()))
    );

    let check = |queue: &Queue| -> Tested {
        assert_eq!(queue.batch(id).map(|b| b.id()), Err(gone.clone()));
        let listed: Vec<_> = queue
            .batches(BatchFilter::all())
            .map(|status| status.map(|status| status.id))
            .collect::<Result<_, _>>()?;
        assert!(!listed.contains(&id));
        assert_eq!(listed.len(), 4, "{listed:?}");
        for (batch, expected) in [
            (before.id(), vec![1, 3]),
            (after.id(), vec![3 + 80_200 + 3]),
        ] {
            assert_eq!(outputs(&queue.batch(batch)?.typed::<Post>()?)?, expected);
        }
        assert_eq!(sum(queue, "all")?, 3 + 80_200 + 3);
        bystander.assert_unchanged(queue);
        Ok(())
    };
    check(&queue)?;
    assert_eq!(queue.stats()?.deleted_batches, 1);
    disk.cut_power();
    let queue = open()?;
    check(&queue)?;
    // The number is not used again.
    assert!(queue.submit::<Post>([1])?.id() > after.id());
    Ok(())
}

#[test]
fn nothing_of_a_deleted_batch_stays_in_the_store() -> Tested {
    let (disk, clock) = fresh();
    let retry = batchwright::RetryPolicy::exponential(2, Duration::ZERO);
    let queue = queue_on(&clock)
        .register(
            Call::new(|n, cx| match (n % 3, cx.attempt()) {
                (0, _) => Err(Failure::permanent("bad", "bad")),
                (1, 1) => Err(Failure::retryable("again", "again")),
                _ => Ok(n),
            })
            .retry(retry)
            .key(|n| Some((n % 7).to_string())),
        )
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let rows = disk.rows();
    for _ in 0..3 {
        let batch = queue.submit::<Call>(0..300)?;
        batch.ends()?;
        let second = batch.retry_failed()?;
        second.ends()?;
        let third = second.retry_failed()?;
        third.ends()?;
        let stopped = queue.submit_with::<Call>(0..50, much_later())?;
        stopped.stop()?;
        for id in [batch.id(), third.id(), second.id(), stopped.id()] {
            queue.batch(id)?.delete()?;
        }
    }
    assert_eq!(disk.rows(), rows, "rows are left");
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn only_batches_that_have_ended_are_deleted() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at_door = door.clone();
    let queue = queue_on(&clock)
        .register(Call::new(move |n, _| {
            at_door.pass();
            Ok(n)
        }))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let running = queue.submit::<Call>([1, 2, 3])?;
    let queued = queue.submit_with::<Call>([1], much_later())?;
    door.wait_for(1);
    for (batch, state) in [(&running, State::Running), (&queued, State::Queued)] {
        let id = batch.id();
        assert_eq!(batch.delete(), Err(BatchError::NotEnded { id, state }));
    }
    running.stop()?;
    // Stopping, and not ended: handlers still run.
    let id = running.id();
    let state = State::Running;
    assert_eq!(running.delete(), Err(BatchError::NotEnded { id, state }));
    door.open();
    running.ends()?;
    running.delete()?;
    assert!(matches!(running.status(), Err(BatchError::NotFound { .. })));
    assert_eq!(queued.status()?.state, State::Queued);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_idempotency_key_outlives_its_batch() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Post::new(|n, cx| add(cx, "all", n)))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let batch = queue.submit_with::<Post>([5], key("k"))?;
    batch.ends()?;
    let imported = queue.import::<Post>("file", 0..1_500)?;
    assert_eq!(imported.batches.len(), 2);
    for batch in &imported.batches {
        batch.ends()?;
    }
    let total = sum(&queue, "all")?;
    batch.delete()?;
    imported.batches[0].delete()?;
    drop(queue);

    let queue = open()?;
    let id = batch.id();
    let again = queue.submit_with::<Post>([5], key("k")).map(|b| b.id());
    assert_eq!(again, Err(SubmitError::Deleted { batch: id }));
    let other = queue.submit_with::<Post>([6], key("k")).map(|b| b.id());
    assert_eq!(other, Err(SubmitError::KeyConflict { batch: id }));
    let again = queue.import::<Post>("file", 0..1_500)?;
    assert_eq!(again.items, 1_500);
    assert_eq!(again.deleted, [imported.batches[0].id()]);
    assert_eq!(again.batches.len(), 1);
    assert_eq!(sum(&queue, "all")?, total);

    clock.advance(401 * DAY);
    let later = queue.submit_with::<Post>([5], key("k"))?;
    assert_ne!(later.id(), id);
    Ok(())
}

#[test]
fn expired_idempotency_keys_do_not_stay_in_the_store() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let submit = |n: u64| -> Result<_, Box<dyn std::error::Error>> {
        let batch = queue.submit_with::<Call>([n], key(&n.to_string()))?;
        batch.ends()?;
        batch.delete()?;
        Ok(())
    };
    for n in 0..40 {
        submit(n)?;
    }
    let with_keys = disk.rows();
    clock.advance(200 * DAY);
    for n in 40..60 {
        submit(n)?;
    }
    assert_eq!(
        disk.rows(),
        with_keys + 20,
        "a key that is remembered was removed"
    );
    clock.advance(250 * DAY);
    for n in 60..80 {
        submit(n)?;
    }
    // The first 40 are gone; those from 200 days later and the new ones are not.
    assert_eq!(disk.rows(), with_keys);
    let still = queue.submit_with::<Call>([50], key("50")).map(|b| b.id());
    assert!(
        matches!(still, Err(SubmitError::Deleted { .. })),
        "{still:?}"
    );
    Ok(())
}

#[test]
fn prune_deletes_what_is_old_enough_and_nothing_else() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let mut old = Vec::new();
    for n in 0..150 {
        let batch = queue.submit::<Call>([n])?;
        batch.ends()?;
        old.push(batch);
    }
    let stopped = queue.submit_with::<Mail>([1], much_later())?;
    stopped.stop()?;
    let unfinished = queue.submit_with::<Mail>([1], much_later())?;
    clock.advance(DAY);
    let young = queue.submit::<Call>([7])?;
    young.ends()?;
    assert_eq!(queue.prune(DAY + Duration::from_secs(3600))?, 0);
    assert_eq!(queue.prune(Duration::from_secs(3600))?, 151);
    assert_eq!(queue.prune(Duration::from_secs(3600))?, 0);
    assert!(
        old.iter()
            .all(|b| matches!(b.status(), Err(BatchError::NotFound { .. })))
    );
    assert!(matches!(stopped.status(), Err(BatchError::NotFound { .. })));
    assert_eq!(outputs(&young)?, [7]);
    assert_eq!(unfinished.status()?.state, State::Queued);
    assert_eq!(queue.batches(BatchFilter::all()).count(), 2);
    let inside = queue.read(|_| Ok(queue.prune(DAY)))?;
    assert_eq!(inside, Err(BatchError::WouldDeadlock));
    Ok(())
}

#[test]
fn ended_batches_are_kept_as_long_as_the_queue_was_told_and_not_much_longer() -> Tested {
    let (disk, clock) = fresh();
    let keep = Duration::from_secs(3600);
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .keep_ended(keep)
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let first = queue.submit::<Call>([1])?;
    first.ends()?;
    clock.advance(keep / 2);
    let second = queue.submit::<Call>([2])?;
    second.ends()?;
    clock.advance(keep / 2 - Duration::from_millis(1));
    never(|| first.status().is_err());
    let unfinished = queue.submit_with::<Call>([3], much_later())?;
    let third = queue.submit::<Call>([3])?;
    third.ends()?;
    clock.advance(keep / 16 + Duration::from_millis(1));
    eventually(|| matches!(first.status(), Err(BatchError::NotFound { .. })));
    assert_eq!(outputs(&second)?, [2]);
    // The next look is when the older of the two is due.
    clock.advance(keep / 2 - keep / 16);
    eventually(|| matches!(second.status(), Err(BatchError::NotFound { .. })));
    assert_eq!(outputs(&third)?, [3]);
    queue.shutdown(AMPLE)?;

    clock.advance(keep);
    let queue = open()?;
    let id = third.id();
    eventually(|| queue.batch(id).is_err());
    assert_eq!(queue.batch(unfinished.id())?.status()?.state, State::Queued);
    queue.shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn a_deletion_whose_commit_fails_is_unknown_and_whole_or_not_at_all() -> Tested {
    for (fault, there) in [(CommitFault::NotDone, true), (CommitFault::Done, false)] {
        let (disk, clock) = fresh();
        let open = || {
            queue_on(&clock)
                .register(Call::echo())
                .open_in_memory(&disk)
        };
        let queue = open()?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit::<Call>(0..100)?;
        batch.ends()?;
        disk.fail_next_commit(fault);
        assert!(matches!(batch.delete(), Err(BatchError::Unknown { .. })));
        assert!(matches!(batch.status(), Err(BatchError::Failed { .. })));
        drop(queue);
        let queue = open()?;
        let found = queue.batch(batch.id());
        assert_eq!(found.is_ok(), there);
        if let Ok(found) = found {
            assert_eq!(outcomes(&found)?.len(), 100);
        }
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn deleting_and_resuming_at_once_is_one_of_the_two() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    for n in 0..40 {
        let batch = queue.submit_with::<Call>([n, n], much_later())?;
        batch.stop()?;
        let held = disk.hold_commits();
        let (deleted, resumed) = thread::scope(|scope| {
            // Both wait behind this one's commit, and meet in one group.
            let first = scope.spawn(|| queue.submit::<Call>([n]));
            assert!(held.wait_for_commit());
            let deleting = scope.spawn(|| batch.delete());
            let resuming = scope.spawn(|| batch.resume().map(drop));
            drop(held);
            let _ = first.join();
            (deleting.join(), resuming.join())
        });
        let (Ok(deleted), Ok(resumed)) = (deleted, resumed) else {
            return Err("a caller panicked".into());
        };
        match (deleted, resumed) {
            (Ok(()), Err(BatchError::NotFound { .. })) => {
                assert!(queue.batch(batch.id()).is_err());
            }
            (Err(BatchError::NotEnded { .. }), Ok(())) => {
                assert_eq!(batch.status()?.state, State::Queued);
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}

#[test]
fn large_batches_are_pruned_a_few_in_a_commit_and_all_of_them() -> Tested {
    let (disk, clock) = fresh();
    let length = |text: String, _: &mut Context<AtLeastOnce>| Ok(text.len());
    let queue = Queue::builder("unused")
        .clock(clock.clone())
        .register_fn("length", length)
        .open_in_memory(&disk)?;
    let rows = disk.rows();
    for _ in 0..9 {
        // 3 MB: two of them are more than one commit takes.
        let texts = (0..60).map(|_| "x".repeat(50_000));
        queue.submit_named("length", texts)?.ends()?;
    }
    clock.advance(DAY);
    let young = queue.submit_named("length", ["young".to_owned()])?;
    young.ends()?;
    let before = disk.commits();
    assert_eq!(queue.prune(DAY)?, 9);
    let commits = disk.commits() - before;
    assert!(commits >= 5, "all in {commits} commits");
    assert_eq!(young.status()?.state, State::Completed);
    young.delete()?;
    assert_eq!(disk.rows(), rows);
    Ok(())
}
