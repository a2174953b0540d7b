//! Running failed items again as a new batch: which items, under which keys, and never twice.

use crate::harness::{
    Bystander, Call, Door, Ends, Log, Post, SUMS, Tested, add, fresh, outcomes, outputs, queue_on,
    sum,
};
use batchwright::limits::Limits;
use batchwright::testing::CommitFault;
use batchwright::{
    AtLeastOnce, BatchError, BatchId, Context, Failure, Operation, Queue, State, SubmitOptions,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// What a handler met: batch, index, idempotency key.
type Met = (BatchId, usize, String);

/// Even numbers fail until they are mended.
fn failing(log: &Log<(u64, Met)>, mended: &Arc<AtomicBool>) -> Call {
    let (log, mended) = (log.clone(), Arc::clone(mended));
    Call::new(move |n, cx| {
        let met = (cx.batch_id(), cx.index(), cx.idempotency_key().to_string());
        log.push((n, met));
        if n % 2 == 0 && !mended.load(Ordering::SeqCst) {
            return Err(Failure::permanent("even", "an even number"));
        }
        Ok(n)
    })
}

fn key_of(log: &Log<(u64, Met)>, batch: BatchId, item: u64) -> Option<String> {
    let entries = log.entries();
    let found = entries.iter().find(|(n, met)| *n == item && met.0 == batch);
    found.map(|(_, met)| met.2.clone())
}

#[test]
fn failed_items_run_again_in_a_new_batch_under_their_old_idempotency_keys() -> Tested {
    let (disk, clock) = fresh();
    let (log, mended) = (Log::new(), Arc::default());
    let open = || -> Result<Queue, batchwright::OpenError> {
        queue_on(&clock)
            .register(failing(&log, &mended))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let options = SubmitOptions::new()
        .owner("ada")
        .label("nightly")
        .priority(3);
    let first = queue.submit_with::<Call>([10, 11, 12, 13, 14], options)?;
    first.ends()?;
    let before = (first.status()?, outcomes(&first)?);

    let second = first.retry_failed()?;
    let status = second.ends()?.status;
    assert_eq!(status.retry_of, Some(first.id()));
    assert_eq!((status.total, status.failed), (3, 3));
    assert_eq!(
        (status.owner.as_deref(), status.label.as_deref()),
        (Some("ada"), Some("nightly"))
    );
    assert_eq!(status.priority, 3);
    mended.store(true, Ordering::SeqCst);

    // A retry of a retry, after a restart.
    disk.cut_power();
    let queue = open()?;
    let second = queue.batch(second.id())?.typed::<Call>()?;
    assert_eq!(second.status()?.retry_of, Some(first.id()));
    let third = second.retry_failed()?;
    third.ends()?;
    assert_eq!(outputs(&third)?, [10, 12, 14]);
    assert_eq!(third.status()?.retry_of, Some(second.id()));

    for item in [10, 12, 14] {
        let key = key_of(&log, first.id(), item);
        assert!(key.is_some());
        assert_eq!(key_of(&log, second.id(), item), key);
        assert_eq!(key_of(&log, third.id(), item), key);
    }
    let keys: std::collections::BTreeSet<_> =
        log.entries().into_iter().map(|(_, met)| met.2).collect();
    assert_eq!(
        keys.len(),
        5,
        "every item has one key, and a key of its own"
    );
    // The handler of the third batch saw its own places.
    let third_id = third.id();
    let mut places: Vec<_> = log
        .entries()
        .into_iter()
        .filter(|(_, met)| met.0 == third_id)
        .map(|(n, met)| (met.1, n))
        .collect();
    places.sort_unstable();
    assert_eq!(places, [(0, 10), (1, 12), (2, 14)]);
    let first = queue.batch(first.id())?.typed::<Call>()?;
    assert_eq!((first.status()?, outcomes(&first)?), before);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_are_run_again_by_one_batch_only() -> Tested {
    let (disk, clock) = fresh();
    let fails = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&fails);
    let open = || {
        let still = Arc::clone(&still);
        queue_on(&clock)
            .register(Post::new(move |n, cx| {
                if still.load(Ordering::SeqCst) {
                    return Err(Failure::permanent("closed", "not today"));
                }
                add(cx, "all", n)
            }))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>(1..=100)?;
    batch.ends()?;
    fails.store(false, Ordering::SeqCst);
    // All at once: one of them gets the items.
    let answers: Vec<_> = thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| batch.retry_failed().map(|b| b.id())))
            .collect();
        asking
            .into_iter()
            .map(|asking| asking.join())
            .collect::<Result<_, _>>()
    })
    .map_err(|_| "a caller panicked")?;
    let made: Vec<BatchId> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok().copied())
        .collect();
    assert_eq!(made.len(), 1, "{answers:?}");
    let (id, by) = (batch.id(), made[0]);
    for answer in answers.iter().filter(|answer| answer.is_err()) {
        assert_eq!(*answer, Err(BatchError::AlreadyRetried { id, by }));
    }
    queue.batch(by)?.ends()?;
    assert_eq!(sum(&queue, "all")?, 5_050);
    drop(queue);

    let queue = open()?;
    let again = queue.batch(id)?.retry_failed().map(|b| b.id());
    assert_eq!(again, Err(BatchError::AlreadyRetried { id, by }));
    // Also when the batch that ran them is gone.
    queue.batch(by)?.delete()?;
    let again = queue.batch(id)?.retry_failed().map(|b| b.id());
    assert_eq!(again, Err(BatchError::AlreadyRetried { id, by }));
    assert_eq!(sum(&queue, "all")?, 5_050);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_that_fail_later_are_run_again_by_another_batch() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at_door = door.clone();
    let queue = queue_on(&clock)
        .workers(1)
        .register(Call::new(move |n, cx| {
            if cx.batch_id() == BatchId::from(3) {
                at_door.pass();
            }
            Err(Failure::permanent("bad", n.to_string()))
        }))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([0, 1, 2])?;
    assert_eq!(batch.id(), BatchId::from(3));
    let id = batch.id();
    assert_eq!(
        batch.retry_failed().map(|b| b.id()),
        Err(BatchError::NothingFailed { id })
    );
    door.wait_for(1);
    batch.stop()?;
    door.open();
    assert_eq!(batch.ends()?.status.failed, 1);
    let early = batch.retry_failed()?;
    batch.resume()?;
    batch.ends()?;
    let late = batch.retry_failed()?;
    for (retry, items) in [(&early, vec!["0"]), (&late, vec!["1", "2"])] {
        retry.ends()?;
        let failures: Vec<_> = outcomes(retry)?
            .iter()
            .filter_map(|item| {
                item.outcome
                    .failure()
                    .map(|failure| failure.message.clone())
            })
            .collect();
        assert_eq!(failures, items);
    }
    let by = late.id();
    assert_eq!(
        batch.retry_failed().map(|b| b.id()),
        Err(BatchError::AlreadyRetried { id, by })
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_batch_in_which_nothing_failed_is_refused() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([1, 2])?;
    batch.ends()?;
    let id = batch.id();
    let commits = disk.commits();
    assert_eq!(
        batch.retry_failed().map(|b| b.id()),
        Err(BatchError::NothingFailed { id })
    );
    assert_eq!(disk.commits(), commits, "something was stored");
    Ok(())
}

#[test]
fn items_that_run_again_keep_their_ordering_keys() -> Tested {
    let (disk, clock) = fresh();
    let (log, door) = (Log::new(), Door::new());
    let (entries, at_door) = (log.clone(), door.clone());
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let queue = queue_on(&clock)
        .register(
            Call::new(move |n, cx| {
                if !is_mended.load(Ordering::SeqCst) {
                    return Err(Failure::permanent("bad", "bad"));
                }
                if n == 1 {
                    at_door.pass();
                }
                entries.push((cx.batch_id(), n));
                Ok(n)
            })
            .key(|n| Some((n % 2).to_string())),
        )
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([1, 2, 3])?;
    batch.ends()?;
    mended.store(true, Ordering::SeqCst);
    let again = batch.retry_failed()?;
    let behind = queue.submit::<Call>([5])?;
    door.wait_for(1);
    // Of the odd ones the first is at the door: the others wait for it.
    crate::harness::never(|| log.len() > 1);
    door.open();
    again.ends()?;
    behind.ends()?;
    let mut odd = log.entries();
    odd.retain(|(_, n)| n % 2 == 1);
    assert_eq!(odd, [(again.id(), 1), (again.id(), 3), (behind.id(), 5)]);
    Ok(())
}

/// Items of up to 39 KB: the failed ones lie in many chunks.
struct Large;

impl Operation for Large {
    const NAME: &'static str = "large";
    type Item = (u64, String);
    type Output = usize;
    type Guarantee = AtLeastOnce;

    fn run(&self, (n, text): Self::Item, cx: &mut Context<AtLeastOnce>) -> Result<usize, Failure> {
        if n % 3 == 0 && cx.batch_id() == BatchId::from(1) {
            return Err(Failure::permanent("third", "every third"));
        }
        Ok(text.len())
    }
}

#[test]
fn items_out_of_many_chunks_are_copied_as_they_were() -> Tested {
    let (disk, clock) = fresh();
    let queue = Queue::builder("unused")
        .clock(clock)
        .register(Large)
        .open_in_memory(&disk)?;
    let items: Vec<_> = (0..40)
        .map(|n| (n, "x".repeat(1_000 * n as usize)))
        .collect();
    let batch = queue.submit::<Large>(items)?;
    batch.ends()?;
    let again = batch.retry_failed()?;
    again.ends()?;
    let expected: Vec<usize> = (0..40).filter(|n| n % 3 == 0).map(|n| 1_000 * n).collect();
    assert_eq!(outputs(&again)?, expected);
    Ok(())
}

#[test]
fn items_keep_their_keys_over_generations_that_run_in_later_openings() -> Tested {
    let (disk, clock) = fresh();
    let log: Log<(u64, String)> = Log::new();
    let open = || {
        let log = log.clone();
        let call = Call::new(move |n, cx| {
            log.push((n, cx.idempotency_key().to_string()));
            // Of three generations: all but 0, all but 1, all but 2.
            let generation = log.entries().iter().filter(|(m, _)| *m == n).count() as u64;
            if n + 1 == generation {
                return Ok(n);
            }
            Err(Failure::permanent("bad", "bad"))
        });
        queue_on(&clock).register(call).open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let mut last = queue.submit::<Call>(0..5)?.id();
    queue.batch(last)?.ends()?;
    drop(queue);
    for left in (2..5).rev() {
        let queue = open()?;
        queue.pause("call", "runs in the next opening")?;
        let retry = queue.batch(last)?.retry_failed()?;
        last = retry.id();
        drop(queue);
        let queue = open()?;
        queue.unpause("call")?;
        let retry = queue.batch(last)?;
        assert_eq!(retry.ends()?.status.total, left);
        bystander.assert_unchanged(&queue);
    }
    let mut keys = log.entries();
    assert_eq!(keys.len(), 5 + 4 + 3 + 2);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5, "an item has two idempotency keys: {keys:?}");
    Ok(())
}

#[test]
fn a_retry_needs_room_and_its_operation() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.unfinished_batches = 2;
    let bad = || Call::new(|_, _| Err(Failure::permanent("bad", "bad")));
    let queue = Queue::builder("unused")
        .clock(clock.clone())
        .limits(limits)
        .register(bad())
        .register(Post::echo())
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([1])?;
    batch.ends()?;
    queue.pause("post", "full house")?;
    queue.submit::<Post>([1])?;
    queue.submit::<Post>([1])?;
    assert_eq!(
        batch.retry_failed().map(|b| b.id()),
        Err(BatchError::Full { limit: 2 })
    );
    queue.shutdown(crate::harness::AMPLE)?;

    let queue = Queue::builder("unused")
        .clock(clock)
        .open_in_memory(&disk)?;
    let operation = "call".to_owned();
    let again = queue.batch(batch.id())?.retry_failed().map(|b| b.id());
    assert_eq!(again, Err(BatchError::Unregistered { operation }));
    assert_eq!(queue.batch(batch.id())?.status()?.state, State::Completed);
    Ok(())
}

#[test]
fn a_retry_whose_commit_fails_can_be_asked_for_again_and_runs_once() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        let (disk, clock) = fresh();
        let open = |fails: bool| {
            queue_on(&clock)
                .register(Post::new(move |n, cx| {
                    if fails {
                        return Err(Failure::permanent("closed", "not today"));
                    }
                    add(cx, "all", n)
                }))
                .open_in_memory(&disk)
        };
        let queue = open(true)?;
        let batch = queue.submit::<Post>([1, 2])?;
        batch.ends()?;
        disk.fail_next_commit(fault);
        let answer = batch.retry_failed().map(|b| b.id());
        assert!(
            matches!(answer, Err(BatchError::Unknown { .. })),
            "{answer:?}"
        );
        drop(queue);

        let queue = open(false)?;
        let retry = match queue.batch(batch.id())?.retry_failed() {
            Ok(retry) => retry.id(),
            Err(BatchError::AlreadyRetried { by, .. }) => by,
            Err(other) => return Err(other.into()),
        };
        queue.batch(retry)?.ends()?;
        assert_eq!(queue.read(|tables| tables.get(&SUMS, "all"))?, Some(3));
    }
    Ok(())
}
