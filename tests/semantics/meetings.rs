//! What is asked for at the same time and meets in one commit: deleting, resuming, retrying, pausing.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Post, Tested, add, fresh, queue_on, sum,
};
use batchwright::limits::{self, Limits};
use batchwright::testing::CommitFault;
use batchwright::{
    Batch, BatchError, BatchFilter, BatchId, Failure, PauseError, Queue, State, SubmitOptions,
};
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

/// A waker that keeps the writer from its next commit until a door is opened.
struct AtDoor(Door);

impl Wake for AtDoor {
    fn wake(self: Arc<Self>) {
        self.0.pass();
    }
}

/// Options of a batch that stays queued.
fn much_later() -> SubmitOptions {
    SubmitOptions::new().not_before(UNIX_EPOCH + Duration::from_secs(1 << 40))
}

/// A failed batch, and one that was stopped before it began.
fn failed_and_stopped(
    queue: &Queue,
) -> Result<(Batch<Call>, Batch<Call>), Box<dyn std::error::Error>> {
    let failed = queue.submit::<Call>([0, 1])?;
    failed.ends()?;
    let stopped = queue.submit_with::<Call>([0], much_later())?;
    stopped.stop()?;
    Ok((failed, stopped))
}

#[test]
fn nobody_is_told_of_a_deletion_that_is_not_durable() -> Tested {
    for round in 0..20 {
        let (disk, clock) = fresh();
        let open = || {
            queue_on(&clock)
                .register(Call::new(|_, _| Err(Failure::permanent("bad", "bad"))))
                .open_in_memory(&disk)
        };
        let queue = open()?;
        let (failed, stopped) = failed_and_stopped(&queue)?;
        let door = Door::new();
        let waker = Waker::from(Arc::new(AtDoor(door.clone())));
        let watched = queue.submit_with::<Call>([9], much_later())?;
        let mut end = Box::pin((&watched).into_future());
        assert!(
            end.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        let (resumed, retried) = thread::scope(|scope| {
            scope.spawn(|| watched.stop());
            door.wait_for(1);
            scope.spawn(|| failed.delete());
            scope.spawn(|| stopped.delete());
            for _ in 0..round * 20 {
                thread::yield_now();
            }
            let resumed = scope.spawn(|| stopped.resume().map(drop));
            let retried = scope.spawn(|| failed.retry_failed().map(drop));
            for _ in 0..200 {
                thread::yield_now();
            }
            disk.fail_next_commit(CommitFault::NotDone);
            door.open();
            (resumed.join(), retried.join())
        });
        drop((end, queue));
        let queue = open()?;
        for (batch, told) in [(&stopped, resumed), (&failed, retried)] {
            let told = told.map_err(|_| "a caller panicked")?;
            let not_there = matches!(told, Err(BatchError::NotFound { .. }));
            assert!(queue.batch(batch.id()).is_ok(), "nothing was durable");
            assert!(!not_there, "told that batch {} is not there", batch.id());
        }
    }
    Ok(())
}

#[test]
fn a_batch_that_cannot_be_read_is_kept_and_the_caller_told_so() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::new(|_, _| Err(Failure::permanent("bad", "bad"))))
        .open_in_memory(&disk)?;
    let (failed, stopped) = failed_and_stopped(&queue)?;
    // Nothing can be read any more; nobody has tried to write.
    disk.cut_power();
    for batch in [&failed, &stopped] {
        let deleted = batch.delete();
        assert!(
            matches!(&deleted, Err(BatchError::Unreadable { reason }) if reason.contains("power")),
            "{deleted:?}"
        );
        assert!(batch.status()?.state.has_ended());
    }
    Ok(())
}

/// Numbers that look random, the same for each seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % sides
    }
}

/// Asks for one thing; returns an answer that does not fit a sound queue.
fn ask(queue: &Queue, dice: &mut Dice) -> Result<(), BatchError> {
    let all = queue.batches(BatchFilter::all().operation("post"));
    let recent = all.take(6).collect::<Result<Vec<_>, _>>()?;
    let Some(status) = recent.get(usize::try_from(dice.roll(6)).unwrap_or_default()) else {
        return Ok(());
    };
    let batch = queue
        .batch(status.id)
        .and_then(|batch| batch.typed::<Post>());
    let answer = batch.and_then(|batch| match dice.roll(12) {
        0..3 => batch.retry_failed().map(drop),
        3..5 => batch.stop().map(drop),
        5..8 => batch.resume().map(drop),
        8 => batch.outcomes()?.try_for_each(|outcome| outcome.map(drop)),
        9 => pause_for_a_moment(queue),
        _ => delete_if_others_have_its_items(&batch),
    });
    match answer {
        Err(
            BatchError::NotFound { .. }
            | BatchError::NothingFailed { .. }
            | BatchError::AlreadyRetried { .. }
            | BatchError::NotStopped { .. }
            | BatchError::NotEnded { .. },
        ) => Ok(()),
        answer => answer,
    }
}

fn pause_for_a_moment(queue: &Queue) -> Result<(), BatchError> {
    let reason = |error: PauseError| BatchError::Unreadable {
        reason: error.to_string(),
    };
    queue.pause("post", "for a moment").map_err(reason)?;
    queue.unpause("post").map_err(reason)
}

fn delete_if_others_have_its_items(batch: &Batch<Post>) -> Result<(), BatchError> {
    if batch.status()?.state != State::Completed {
        return Ok(());
    }
    match batch.retry_failed().map(drop) {
        Err(BatchError::NothingFailed { .. } | BatchError::AlreadyRetried { .. }) => batch.delete(),
        answer => answer,
    }
}

/// Lets everything go on until every item has succeeded.
fn finish(queue: &Queue) -> Tested {
    loop {
        let mut went_on = false;
        let all = queue.batches(BatchFilter::all().operation("post"));
        for status in all.collect::<Result<Vec<_>, _>>()? {
            let batch = queue.batch(status.id)?;
            batch.ends()?;
            let resumed = batch.resume().is_ok();
            batch.ends()?;
            went_on |= resumed || batch.retry_failed().is_ok();
        }
        if !went_on {
            return Ok(());
        }
    }
}

#[test]
fn whatever_meets_every_item_is_done_once_and_the_books_balance() -> Tested {
    let (disk, clock) = fresh();
    let (mended, runs) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let open = || {
        let (mended, runs) = (Arc::clone(&mended), Arc::clone(&runs));
        let post = Post::new(move |n, cx| {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            if run % 3 > 0 && !mended.load(Ordering::SeqCst) {
                return Err(Failure::permanent("bad", "bad"));
            }
            add(cx, "all", n)
        });
        // Counts all rows first.
        queue_on(&clock).register(post).open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    add_once(&queue)?;
    let rows = disk.rows();
    let mut expected = sum(&queue, "all")?;
    for round in 0..8 {
        for items in [1, 3, 200] {
            queue.submit::<Post>(1..=items)?;
            expected += items * (items + 1) / 2;
        }
        thread::scope(|scope| {
            let asking: Vec<_> = (0..4)
                .map(|seed| {
                    let queue = &queue;
                    scope.spawn(move || {
                        let mut dice = Dice(round * 4 + seed);
                        (0..40).try_for_each(|_| ask(queue, &mut dice))
                    })
                })
                .collect();
            let answers = asking.into_iter().map(|asking| asking.join());
            answers.collect::<Result<Result<Vec<()>, _>, _>>()
        })
        .map_err(|_| "a caller panicked")??;
    }
    disk.cut_power();
    drop(queue);

    mended.store(true, Ordering::SeqCst);
    let queue = open()?;
    finish(&queue)?;
    assert_eq!(sum(&queue, "all")?, expected);
    bystander.assert_unchanged(&queue);
    disk.cut_power();
    drop(queue);

    let queue = open()?;
    for status in queue.batches(BatchFilter::all().operation("post")) {
        queue.batch(status?.id)?.delete()?;
    }
    assert_eq!(disk.rows(), rows, "rows are left");
    assert_eq!(sum(&queue, "all")?, expected);
    bystander.assert_unchanged(&queue);
    disk.cut_power();
    drop(queue);
    open()?.shutdown(AMPLE)?;
    Ok(())
}

/// A batch that comes and goes, and leaves a sum.
fn add_once(queue: &Queue) -> Tested {
    let batch = queue.submit::<Post>([1, 1, 1])?;
    batch.ends()?;
    batch.delete()?;
    Ok(())
}

/// The idempotency key of each item, as its handler sees it.
fn keyed(seen: &Log<(BatchId, u64, String)>) -> Call {
    let seen = seen.clone();
    Call::new(move |n, cx| {
        seen.push((cx.batch_id(), n, cx.idempotency_key().to_string()));
        Err(Failure::permanent("bad", "bad"))
    })
}

#[test]
fn the_largest_batch_runs_again_and_is_deleted() -> Tested {
    let (disk, clock) = fresh();
    let total = limits::ITEMS_PER_BATCH_MAX as u64;
    let seen = Log::new();
    let open = || {
        let mut limits = Limits::default();
        limits.items_per_batch = limits::ITEMS_PER_BATCH_MAX;
        let call = keyed(&seen).key(|n| Some((n % 1_000).to_string()));
        queue_on(&clock)
            .limits(limits)
            .register(call)
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let rows = disk.rows();
    let first = queue.submit::<Call>(0..total)?;
    first.ends()?;
    let second = first.retry_failed()?;
    second.ends()?;
    let again = first.retry_failed().map(|batch| batch.id());
    let (id, by) = (first.id(), second.id());
    assert_eq!(again, Err(BatchError::AlreadyRetried { id, by }));
    drop(queue);

    let queue = open()?;
    let third = queue.batch(by)?.typed::<Call>()?.retry_failed()?;
    third.ends()?;
    let mut keys: Vec<_> = seen
        .entries()
        .into_iter()
        .map(|(_, n, key)| (n, key))
        .collect();
    assert_eq!(keys.len() as u64, 3 * total);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len() as u64, total, "an item has two idempotency keys");
    for id in [id, by, third.id()] {
        queue.batch(id)?.delete()?;
    }
    assert_eq!(disk.rows(), rows, "rows are left");
    bystander.assert_unchanged(&queue);
    drop(queue);
    open()?.shutdown(AMPLE)?;
    Ok(())
}
