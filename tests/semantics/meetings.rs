//! What is asked for at the same time and meets in one commit: deleting, resuming, retrying, pausing.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Post, Tested, add, fresh, queue_on, sum,
};
use batchwright::limits::{self, Limits};
use batchwright::testing::CommitFault;
use batchwright::{
    Batch, BatchError, BatchFilter, BatchId, Failure, PauseError, Queue, State, SubmitOptions,
};
use std::error::Error;
use std::future::{Future, IntoFuture};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::thread::{self, Scope};
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
fn failed_and_stopped(queue: &Queue) -> Result<(Batch<Call>, Batch<Call>), Box<dyn Error>> {
    let failed = queue.submit::<Call>([0, 1])?;
    failed.ends()?;
    let stopped = queue.submit_with::<Call>([0], much_later())?;
    stopped.stop()?;
    Ok((failed, stopped))
}

/// Keeps the writer between two commits while `before` runs: what is asked for meanwhile meets in the next.
fn meet<T>(queue: &Queue, before: impl FnOnce() -> T) -> Result<T, Box<dyn Error>> {
    let door = Door::new();
    let waker = Waker::from(Arc::new(AtDoor(door.clone())));
    let watched = queue.submit_with::<Call>([9], much_later())?;
    let mut end = Box::pin((&watched).into_future());
    let polled = end.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let met = thread::scope(|scope| {
        scope.spawn(|| watched.stop());
        door.wait_for(1);
        let met = before();
        door.open();
        met
    });
    Ok(met)
}

/// Time for what was asked for to reach the writer, or not.
fn yield_times(times: u32) {
    for _ in 0..times {
        thread::yield_now();
    }
}

/// Asks from a thread of its own, which the scope waits for.
fn spawn<'s, 'e, T: Send + 'e>(
    scope: &'s Scope<'s, 'e>,
    answers: &'e Mutex<Vec<T>>,
    ask: impl FnOnce() -> T + Send + 'e,
) {
    scope.spawn(move || {
        let answer = ask();
        answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(answer);
    });
}

fn failing() -> Call {
    Call::new(|_, _| Err(Failure::permanent("bad", "bad")))
}

#[test]
fn nobody_is_told_of_a_deletion_that_is_not_durable() -> Tested {
    for round in 0..20 {
        let (disk, clock) = fresh();
        let open = || queue_on(&clock).register(failing()).open_in_memory(&disk);
        let queue = open()?;
        let (failed, stopped) = failed_and_stopped(&queue)?;
        let answers = Mutex::new(Vec::new());
        thread::scope(|scope| {
            meet(&queue, || {
                scope.spawn(|| failed.delete());
                scope.spawn(|| stopped.delete());
                yield_times(round * 20);
                spawn(scope, &answers, || stopped.resume().map(drop));
                spawn(scope, &answers, || failed.retry_failed().map(drop));
                yield_times(200);
                disk.fail_next_commit(CommitFault::NotDone);
            })
        })?;
        drop(queue);
        let queue = open()?;
        for batch in [&stopped, &failed] {
            assert!(queue.batch(batch.id()).is_ok(), "nothing was durable");
        }
        for told in answers.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let not_there = matches!(told, Err(BatchError::NotFound { .. }));
            assert!(!not_there, "told of what is not durable: {told:?}");
        }
    }
    Ok(())
}

#[test]
fn whichever_of_a_deletion_and_a_retry_comes_first_nothing_is_left_behind() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(failing()).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let rows = disk.rows();
    let mut found = [0, 0];
    for round in 0..40 {
        let batch = queue.submit::<Call>([0, 1])?;
        batch.ends()?;
        let (deleted, retried) = (Mutex::default(), Mutex::default());
        thread::scope(|scope| {
            meet(&queue, || {
                let delete = || spawn(scope, &deleted, || batch.delete());
                let retry = || spawn(scope, &retried, || batch.retry_failed());
                if round % 2 == 0 {
                    delete();
                    yield_times(100);
                    retry();
                } else {
                    retry();
                    yield_times(2_000);
                    delete();
                }
                yield_times(100);
            })
        })?;
        let answer = |answers: Mutex<Vec<_>>| answers.into_inner().ok()?.pop();
        assert_eq!(deleted.into_inner().ok(), Some(vec![Ok(())]));
        let id = batch.id();
        match answer(retried) {
            Some(Ok(retry)) => {
                found[0] += 1;
                retry.ends()?;
                retry.delete()?;
            }
            Some(Err(BatchError::NotFound { id: gone })) if gone == id => found[1] += 1,
            other => return Err(format!("{other:?}").into()),
        }
        let all = queue.batches(BatchFilter::all().operation("call"));
        for status in all {
            queue.batch(status?.id)?.delete()?;
        }
        assert_eq!(disk.rows(), rows, "rows are left");
    }
    assert!(found.iter().all(|times| *times > 0), "{found:?}");
    bystander.assert_unchanged(&queue);
    drop(queue);
    // Counts all rows.
    queue_on(&clock)
        .register(failing())
        .open_in_memory(&disk)?
        .shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn a_retry_that_was_prepared_when_its_batch_was_deleted_is_refused() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.items_per_batch = 3_000;
    let wordy = Call::new(|_, _| Err(Failure::permanent("bad", "x".repeat(2_000))));
    let queue = queue_on(&clock)
        .limits(limits)
        .register(wordy)
        .open_in_memory(&disk)?;
    let rows = disk.rows();
    // So large that nothing is in one commit with its deletion that is asked for later.
    let batch = queue.submit::<Call>(0..3_000)?;
    batch.ends()?;
    let (deleted, retried) = (Mutex::default(), Mutex::default());
    let commits = disk.commits();
    thread::scope(|scope| {
        meet(&queue, || {
            spawn(scope, &deleted, || batch.delete());
            yield_times(100);
            for n in 0..8 {
                spawn(scope, &retried, || batch.retry_failed().map(|b| b.id()));
                yield_times(n * 1_000);
            }
        })
    })?;
    assert_eq!(deleted.into_inner().ok(), Some(vec![Ok(())]));
    let retried = retried.into_inner().unwrap_or_else(PoisonError::into_inner);
    let gone = Err(BatchError::NotFound { id: batch.id() });
    assert!(retried.iter().all(|answer| *answer == gone), "{retried:?}");
    // A batch to meet at, its stop, and the deletion.
    assert_eq!(disk.commits(), commits + 3);
    let all = queue.batches(BatchFilter::all().operation("call"));
    for status in all {
        queue.batch(status?.id)?.delete()?;
    }
    assert_eq!(disk.rows(), rows, "rows are left");
    Ok(())
}

#[test]
fn a_stop_and_deletions_that_meet_are_told_what_they_did() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(failing()).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    for round in 0..30 {
        let batch = queue.submit_with::<Call>([0], much_later())?;
        if round % 2 == 0 {
            batch.stop()?;
        }
        let (stopped, deleted) = (Mutex::default(), Mutex::default());
        thread::scope(|scope| {
            meet(&queue, || {
                if round % 2 == 1 {
                    spawn(scope, &stopped, || batch.stop().map(drop));
                }
                yield_times(round * 10);
                for _ in 0..3 {
                    spawn(scope, &deleted, || batch.delete());
                }
                yield_times(200);
            })
        })?;
        let stopped = stopped.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert!(stopped.iter().all(Result::is_ok), "{stopped:?}");
        let deleted = deleted.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done = deleted.iter().filter(|answer| answer.is_ok()).count();
        for answer in &deleted {
            let fits = match answer {
                Ok(()) => true,
                // Before the stop.
                Err(BatchError::NotEnded { state, .. }) => !state.has_ended(),
                Err(error) => *error == BatchError::NotFound { id: batch.id() },
            };
            assert!(fits, "{deleted:?}");
        }
        assert!(done <= 1, "deleted more than once: {deleted:?}");
        assert_eq!(queue.batch(batch.id()).is_err(), done == 1);
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn of_prunings_that_meet_each_counts_what_it_deleted() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(failing()).open_in_memory(&disk)?;
    let mut ended = Vec::new();
    for _ in 0..3 {
        let batch = queue.submit::<Call>([0])?;
        batch.ends()?;
        ended.push(batch);
    }
    clock.advance(Duration::from_secs(60));
    let counts = Mutex::new(Vec::new());
    thread::scope(|scope| {
        meet(&queue, || {
            for _ in 0..3 {
                // Just the age of those three.
                spawn(scope, &counts, || queue.prune(Duration::from_secs(60)));
            }
            yield_times(500);
        })
    })?;
    let counts = counts.into_inner().unwrap_or_else(PoisonError::into_inner);
    let counts = counts.into_iter().collect::<Result<Vec<_>, _>>()?;
    assert_eq!(counts.iter().sum::<u64>(), 3, "{counts:?}");
    assert!(ended.iter().all(|batch| queue.batch(batch.id()).is_err()));
    Ok(())
}

#[test]
fn a_batch_that_cannot_be_read_is_kept_and_the_caller_told_so() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(failing()).open_in_memory(&disk)?;
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
