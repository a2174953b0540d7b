//! Stopping a batch and letting it go on.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Post, Tested, add, eventually, fresh, never,
    outcomes, queue_on, sum,
};
use batchwright::limits::Limits;
use batchwright::{BatchError, Failure, RetryPolicy, State, WaitError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

#[test]
fn a_queued_batch_stops_at_once() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(mail)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let busy = queue.submit::<Mail>([1])?;
    door.wait_for(1);
    let batch = queue.submit::<Call>([1, 2])?;
    assert_eq!(batch.status()?.state, State::Queued);
    let status = batch.stop()?;
    assert_eq!((status.state, status.unfinished()), (State::Stopped, 2));
    assert!(status.ended_at.is_some() && status.started_at.is_none());
    assert_eq!(batch.ends()?.status, status);
    door.open();
    busy.ends()?;
    assert_eq!(outcomes(&batch)?, []);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn after_a_stop_only_what_had_started_ends() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..100)?;
    door.wait_for(2);
    let status = batch.stop()?;
    assert_eq!(status.state, State::Running);
    assert!(status.stop_requested && status.in_flight >= 2, "{status:?}");
    assert_eq!(batch.wait_timeout(Duration::ZERO)?, None);
    door.open();
    let status = batch.ends()?.status;
    assert_eq!((status.state, status.succeeded), (State::Stopped, 2));
    assert!(
        !status.stop_requested && status.in_flight == 0,
        "{status:?}"
    );
    assert_eq!(outcomes(&batch)?.len(), 2);
    assert_eq!(door.came(), 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// A worker that has passed the gate has started its item, even if the handler's first line is yet to
/// come: so many may still be counted, and no more.
#[test]
fn however_a_stop_falls_no_worker_takes_another_item() -> Tested {
    const WORKERS: usize = 4;
    for round in 0..60 {
        let (disk, clock) = fresh();
        let started = Arc::new(AtomicU64::new(0));
        let (first, has_begun) = mpsc::channel();
        let count = Arc::clone(&started);
        let call = Call::new(move |n, _| {
            if count.fetch_add(1, Ordering::SeqCst) == round * 7 {
                let _ = first.send(());
            }
            Ok(n)
        });
        let queue = queue_on(&clock)
            .workers(WORKERS)
            .register(call)
            .register(Mail::echo())
            .open_in_memory(&disk)?;
        let batch = queue.submit::<Call>(0..1_000)?;
        let bystander = queue.submit::<Mail>(0..10)?;
        has_begun.recv()?;
        batch.stop()?;
        let at_stop = started.load(Ordering::SeqCst);
        let status = batch.ends()?.status;
        let at_end = started.load(Ordering::SeqCst);
        assert!(
            at_end <= at_stop + WORKERS as u64,
            "{at_stop} had started, {at_end} ran"
        );
        assert_eq!(status.succeeded, at_end);
        assert_eq!(outcomes(&batch)?.len() as u64, at_end);
        assert_eq!(bystander.ends()?.status.succeeded, 10);
        queue.submit::<Mail>(0..100)?.ends()?;
        assert_eq!(started.load(Ordering::SeqCst), at_end);
    }
    Ok(())
}

#[test]
fn a_stop_returns_when_it_is_durable_and_not_before() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..100)?;
    door.wait_for(2);
    let held = disk.hold_commits();
    let (sender, stopped) = mpsc::channel();
    let stopping = batch.clone();
    thread::spawn(move || drop(sender.send(stopping.stop())));
    assert!(held.wait_for_commit());
    never(|| stopped.try_recv().is_ok());
    assert!(!batch.status()?.stop_requested);
    drop(held);
    assert!(stopped.recv()??.stop_requested);
    // The power goes while handlers run: the stop is what is left of them.
    disk.cut_power();
    door.open();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let status = queue.batch(batch.id())?.status()?;
    assert_eq!((status.state, status.succeeded), (State::Stopped, 0));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn stopping_again_or_after_the_end_changes_nothing() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let completed = queue.submit::<Call>([1, 2, 3])?;
    let before = completed.ends()?.status;
    let stopped = queue.batch(bystander.ids()[1])?;
    let commits = disk.commits();
    assert_eq!(completed.stop()?, before);
    assert_eq!(completed.status()?, before);
    for _ in 0..2 {
        assert_eq!(stopped.stop()?.state, State::Stopped);
    }
    assert_eq!(disk.commits(), commits);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_second_stop_of_a_running_batch_waits_with_the_first_and_adds_nothing() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..10)?;
    door.wait_for(2);
    let first = batch.stop()?;
    assert_eq!(batch.stop()?, first);
    door.open();
    let ended = batch.ends()?.status;
    assert_eq!(batch.stop()?, ended);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_stopping_batch_whose_items_all_end_is_completed() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    assert!(batch.stop()?.stop_requested);
    door.open();
    let status = batch.ends()?.status;
    assert_eq!((status.state, status.succeeded), (State::Completed, 2));
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Slices are handed out ahead of the workers; what nobody has begun comes back.
#[test]
fn a_stopped_batch_ends_while_its_staged_items_stand_behind_a_slow_handler() -> Tested {
    for exactly_once in [false, true] {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let mail = Mail::new(move |n, _| {
            at.pass();
            Ok(n)
        });
        let queue = queue_on(&clock)
            .workers(1)
            .register(mail)
            .register(Call::echo())
            .register(Post::new(|n, cx| add(cx, "all", n)))
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        // Now the operations are known to be fast.
        queue.submit::<Call>(0..100)?.ends()?;
        queue.submit::<Post>((0..100).map(|_| 1))?.ends()?;
        let slow = queue.submit::<Mail>([1])?;
        door.wait_for(1);
        let status = if exactly_once {
            let batch = queue.submit::<Post>(0..100)?;
            assert!(batch.status()?.in_flight > 0, "nothing was staged");
            batch.stop()?;
            batch.ends()?.status
        } else {
            let batch = queue.submit::<Call>(0..100)?;
            assert!(batch.status()?.in_flight > 0, "nothing was staged");
            batch.stop()?;
            batch.ends()?.status
        };
        assert_eq!((status.state, status.processed()), (State::Stopped, 0));
        assert_eq!(slow.status()?.in_flight, 1);
        door.open();
        slow.ends()?;
        assert_eq!(sum(&queue, "all")?, 100);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn resume_runs_the_rest_and_counts_attempts_on() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, cx| {
        ran.push((n, cx.attempt()));
        match (n, cx.attempt()) {
            (0, _) => Ok(0),
            (1, 1 | 2) => Err(Failure::retryable("busy", "try again")),
            (1, _) => Ok(1),
            _ => {
                at.pass();
                Ok(n)
            }
        }
    });
    let waits = RetryPolicy::exponential(3, Duration::from_secs(60));
    let queue = queue_on(&clock)
        .workers(1)
        .register(call.retry(waits))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..5)?;
    door.wait_for(1);
    batch.stop()?;
    door.admit(1);
    let status = batch.ends()?.status;
    assert_eq!((status.state, status.succeeded), (State::Stopped, 2));
    let before = outcomes(&batch)?;
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(outcomes(&batch)?, before);

    let resumed = batch.resume()?;
    assert!(!resumed.state.has_ended() && resumed.ended_at.is_none());
    door.open();
    eventually(|| {
        clock.advance(Duration::from_secs(60));
        batch.status().is_ok_and(|status| status.state.has_ended())
    });
    let status = batch.ends()?.status;
    assert_eq!((status.state, status.succeeded), (State::Completed, 5));
    let after = outcomes(&batch)?;
    assert_eq!(
        after.iter().find(|o| o.index == 1).map(|o| o.attempts),
        Some(3)
    );
    for outcome in before {
        assert_eq!(after[outcome.index], outcome, "an outcome changed");
    }
    let of_one: Vec<_> = log.entries().into_iter().filter(|(n, _)| *n == 1).collect();
    assert_eq!(of_one, [(1, 1), (1, 2), (1, 3)]);
    for n in [0, 2, 3, 4] {
        let runs = log.entries().iter().filter(|(ran, _)| *ran == n).count();
        assert_eq!(runs, 1, "item {n}");
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_resume_survives_a_crash() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..10)?;
    door.wait_for(2);
    batch.stop()?;
    door.admit(2);
    batch.ends()?;
    batch.resume()?;
    disk.cut_power();
    door.open();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let batch = queue.batch(batch.id())?;
    assert_eq!(batch.ends()?.status.succeeded, 10);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn only_a_stopped_batch_is_resumed() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let running = queue.submit::<Call>([1])?;
    door.wait_for(1);
    let queued = queue.submit::<Call>([2])?;
    let refused = |id, state| Err(BatchError::NotStopped { id, state });
    assert_eq!(running.resume(), refused(running.id(), State::Running));
    assert_eq!(queued.resume(), refused(queued.id(), State::Queued));
    door.open();
    queued.ends()?;
    running.ends()?;
    assert_eq!(running.resume(), refused(running.id(), State::Completed));
    assert_eq!(running.status()?.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_resume_past_the_limit_of_unfinished_batches_is_refused() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.unfinished_batches = 2;
    let waits = RetryPolicy::exponential(2, Duration::from_secs(60));
    let call = Call::new(|_, _| Err(Failure::retryable("later", "later"))).retry(waits);
    let queue = queue_on(&clock)
        .limits(limits)
        .register(call)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    batch.stop()?;
    let before = batch.ends()?.status;
    let other = queue.submit::<Call>([1])?;
    assert_eq!(batch.resume(), Err(BatchError::Full { limit: 2 }));
    assert_eq!(batch.status()?, before);
    other.stop()?;
    other.ends()?;
    batch.resume()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Whether other batches of the operation are there makes no difference.
#[test]
fn a_batch_of_an_unregistered_operation_is_not_resumed_but_stopped() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::echo().concurrency(1);
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(mail)
        .register(call)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.submit::<Mail>([1])?;
    door.wait_for(1);
    let stopped = queue.submit::<Call>([1])?;
    stopped.stop()?;
    let queued = queue.submit::<Call>([2])?;
    disk.cut_power();
    door.open();
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let unregistered = BatchError::Unregistered {
        operation: "call".to_owned(),
    };
    let stopped = queue.batch(stopped.id())?;
    assert_eq!(stopped.resume(), Err(unregistered));
    assert_eq!(stopped.status()?.state, State::Stopped);
    let queued = queue.batch(queued.id())?;
    assert!(matches!(queued.wait(), Err(WaitError::Unregistered { .. })));
    assert_eq!(queued.stop()?.state, State::Stopped);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// A stop and a resume that meet are one after the other, whichever it is.
#[test]
fn a_resume_is_never_refused_for_the_batch_being_stopped() -> Tested {
    let (disk, clock) = fresh();
    let waits = RetryPolicy::exponential(2, Duration::from_secs(3_600));
    let call = Call::new(|_, _| Err(Failure::retryable("later", "later"))).retry(waits);
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    thread::scope(|scope| -> Tested {
        let stopping = scope.spawn(|| (0..300).try_for_each(|_| batch.stop().map(drop)));
        let resuming: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| (0..300).map(|_| batch.resume()).collect::<Vec<_>>()))
            .collect();
        for resumer in resuming {
            for resumed in resumer.join().map_err(|_| "a resumer panicked")? {
                let contradiction = matches!(
                    resumed,
                    Err(BatchError::NotStopped {
                        state: State::Stopped,
                        ..
                    })
                );
                assert!(!contradiction, "{resumed:?}");
            }
        }
        Ok(stopping.join().map_err(|_| "the stopper panicked")??)
    })?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_item_whose_handler_gives_up_when_asked_to_runs_again_as_if_it_had_not_started() -> Tested {
    let (disk, clock) = fresh();
    let (door, log) = (Door::new(), Log::new());
    let open = || {
        let (at, attempts) = (door.clone(), log.clone());
        queue_on(&clock)
            .workers(1)
            .register(Post::new(move |n, cx| {
                attempts.push((n, cx.attempt()));
                add(cx, "all", n)?;
                at.pass();
                match cx.is_cancelled() {
                    true => Err(Failure::cancelled()),
                    false => Ok(n),
                }
            }))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>([5, 7])?;
    door.wait_for(1);
    batch.stop()?;
    door.admit(1);
    let stopped = batch.ends()?.status;
    let left = (stopped.state, stopped.processed(), stopped.unfinished());
    assert_eq!(left, (State::Stopped, 0, 2));
    assert_eq!(
        sum(&queue, "all")?,
        0,
        "a write of an item without an outcome"
    );

    // By a shutdown, too.
    batch.resume()?;
    door.wait_for(2);
    let closer = queue.clone();
    let closing = thread::spawn(move || closer.shutdown(AMPLE));
    eventually(|| batch.status() == Err(BatchError::Closed));
    door.open();
    closing.join().map_err(|_| "shutdown panicked")??;
    let queue = open()?;
    let batch = queue.batch(batch.id())?;
    assert_eq!(batch.ends()?.status.succeeded, 2);
    assert_eq!(log.entries(), [(5, 1), (5, 1), (5, 1), (7, 1)]);
    assert_eq!(sum(&queue, "all")?, 12);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_handler_that_gives_up_unasked_fails() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::new(|_, _| Err(Failure::cancelled())))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    assert_eq!(batch.ends()?.failures[Failure::CANCELLED], 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}
