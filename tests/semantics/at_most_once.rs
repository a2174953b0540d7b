//! Items that run at most once, and what is in doubt of them.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Pay, Tested, fresh, outcomes, queue_on,
};
use batchwright::testing::{Assertions, CommitFault, MemoryDisk};
use batchwright::{BatchError, Failure, Outcome, Queue, RetryPolicy, State};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

/// Notes what it is called with.
fn noting(log: &Log<u64>) -> Pay {
    let log = log.clone();
    Pay::new(move |n, _| {
        log.push(n);
        Ok(n * 10)
    })
}

/// Ends the process as item 3 begins.
fn dying(disk: &MemoryDisk, log: &Log<u64>) -> Pay {
    let (disk, log) = (disk.clone(), log.clone());
    Pay::new(move |n, _| {
        log.push(n);
        if n == 3 {
            disk.kill_process();
        }
        Ok(n * 10)
    })
}

#[test]
fn an_item_succeeds_or_fails_and_is_never_retried() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let calls = log.clone();
    let pay = Pay::new(move |n, cx| {
        calls.push((n, cx.idempotency_key().to_string()));
        match n {
            0 => Ok(0),
            1 => Err(Failure::permanent("no", "never")),
            2 => Err(Failure::retryable("busy", "not now")),
            _ => Err(Failure::cancelled()),
        }
    });
    let pay = pay.retry(RetryPolicy::exponential(5, Duration::ZERO));
    let queue = queue_on(&clock).register(pay).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Pay>(0..4)?;
    assert_eq!(queue.drain()?, 4);
    batch.assert_succeeded(0);
    batch.assert_failed(1, "no");
    batch.assert_failed(2, "busy");
    batch.assert_failed(3, Failure::CANCELLED);
    assert_eq!(queue.drain()?, 0);
    batch.assert_state(State::Completed);
    let mut keys: Vec<_> = log.entries().into_iter().map(|(_, key)| key).collect();
    keys.dedup();
    assert_eq!(keys.len(), 4);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// One commit for the submission, and one for the start, which no other guarantee has.
#[test]
fn a_start_is_durable_when_its_handler_is_called() -> Tested {
    let (disk, clock) = fresh();
    let (seen, at) = (Log::new(), disk.clone());
    let noted = seen.clone();
    let pay = Pay::new(move |n, _| {
        noted.push(at.commits());
        Ok(n)
    });
    let (noted, at) = (seen.clone(), disk.clone());
    let call = Call::new(move |n, _| {
        noted.push(at.commits());
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(pay)
        .register(call)
        .open_in_memory(&disk)?;
    for kind in ["pay", "call"] {
        let before = disk.commits();
        queue.submit_named(kind, [1_u64])?.ends()?;
        let commits = seen.entries().last().map(|at| at - before);
        let expected = if kind == "pay" { 2 } else { 1 };
        assert_eq!(commits, Some(expected), "{kind}");
        // The end is durable before it is shown.
        assert_eq!(disk.commits() - before, expected + 1, "{kind}");
    }
    Ok(())
}

/// The crash that a start mark is for: after it is durable and before the end is.
#[test]
fn what_may_have_run_when_the_process_ended_is_in_doubt_and_runs_no_more() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let queue = queue_on(&clock)
        .register(dying(&disk, &log))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Pay>(0..40)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    assert_eq!(log.entries(), (0..16).collect::<Vec<_>>());

    let after = Log::new();
    let queue = queue_on(&clock)
        .register(noting(&after))
        .open_to_drain(&disk)?;
    let batch = queue.batch(id)?.typed::<Pay>()?;
    // Nothing of that slice had come back.
    let status = batch.status()?;
    assert_eq!((status.in_doubt, status.processed()), (16, 16));
    for index in 0..16 {
        let reason = batch.assert_in_doubt(index);
        assert!(reason.contains("the process ended"), "{reason}");
    }
    assert_eq!(queue.drain()?, 24);
    assert_eq!(after.entries(), (16..40).collect::<Vec<_>>());
    let report = batch.report()?;
    assert_eq!(report.status.state, State::Completed);
    assert_eq!((report.status.succeeded, report.status.failed), (24, 0));
    let in_doubt = BTreeMap::from([(Failure::IN_DOUBT.to_owned(), 16)]);
    assert_eq!(report.failures, in_doubt);
    let outcomes = outcomes(&batch)?;
    assert_eq!(outcomes.len(), 40);
    assert!(outcomes[3].outcome.is_in_doubt());
    let stats = queue.stats()?.operations;
    assert_eq!(stats.iter().map(|o| o.in_doubt).sum::<u64>(), 16);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Without the mark in the same commit as nothing else, a start whose commit failed would be a start.
#[test]
fn a_start_whose_commit_fails_calls_no_handler_whatever_is_on_the_disk() -> Tested {
    for fault in [CommitFault::Done, CommitFault::NotDone] {
        let (disk, clock) = fresh();
        let log = Log::new();
        let queue = queue_on(&clock)
            .register(noting(&log))
            .open_to_drain(&disk)?;
        let id = queue.submit::<Pay>(0..3)?.id();
        disk.fail_next_commit(fault);
        assert!(queue.drain().is_err());
        assert_eq!(log.len(), 0);
        drop(queue);
        let queue = queue_on(&clock)
            .register(noting(&log))
            .open_to_drain(&disk)?;
        queue.drain()?;
        let status = queue.batch(id)?.status()?;
        // What is on the disk says that they may have run.
        let in_doubt = if fault == CommitFault::Done { 3 } else { 0 };
        assert_eq!(status.in_doubt, in_doubt, "{fault:?}");
        assert_eq!(log.len() as u64, 3 - in_doubt, "{fault:?}");
    }
    Ok(())
}

#[test]
fn a_panic_leaves_its_item_in_doubt_and_the_others_alone() -> Tested {
    let (disk, clock) = fresh();
    let pay = Pay::new(|n, _| {
        assert_ne!(n, 1, "half way");
        Ok(n)
    });
    let queue = queue_on(&clock).register(pay).open_to_drain(&disk)?;
    let batch = queue.submit::<Pay>(0..3)?;
    queue.drain()?;
    let reason = batch.assert_in_doubt(1);
    assert!(reason.contains("half way"), "{reason}");
    batch.assert_succeeded(0);
    batch.assert_succeeded(2);
    let stats = queue.stats()?;
    let pay = stats.operations.iter().find(|o| o.name == "pay");
    let counts = pay.map(|o| (o.succeeded, o.failed, o.in_doubt, o.panicked));
    assert_eq!(counts, Some((2, 0, 1, 1)));
    Ok(())
}

/// Items that were handed out and not begun are not in doubt after an orderly end.
#[test]
fn a_stop_and_a_shutdown_take_back_what_has_not_begun() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let log = Log::new();
    let pay = || {
        let (door, log) = (door.clone(), log.clone());
        Pay::new(move |n, _| {
            log.push(n);
            door.pass();
            Ok(n)
        })
    };
    let queue = queue_on(&clock)
        .workers(1)
        .register(pay())
        .open_in_memory(&disk)?;
    let stopped = queue.submit::<Pay>(0..20)?;
    door.wait_for(1);
    stopped.stop()?;
    door.admit(1);
    stopped.ends()?;
    let status = stopped.status()?;
    assert_eq!((status.state, status.processed()), (State::Stopped, 1));

    let cut_short = queue.submit::<Pay>(100..120)?;
    door.wait_for(2);
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| queue.shutdown(AMPLE));
        while queue.stats().is_ok() {
            std::thread::yield_now();
        }
        door.open();
        shutdown.join().map_err(|_| "the shutdown panicked")
    })??;
    let (stopped, cut_short) = (stopped.id(), cut_short.id());

    let queue = queue_on(&clock).register(pay()).open_in_memory(&disk)?;
    queue.batch(cut_short)?.ends()?;
    queue.batch(stopped)?.resume()?;
    queue.batch(stopped)?.ends()?;
    for batch in [stopped, cut_short] {
        let status = queue.batch(batch)?.status()?;
        assert_eq!((status.succeeded, status.in_doubt), (20, 0));
    }
    let mut ran = log.entries();
    ran.sort();
    assert_eq!(ran, (0..20).chain(100..120).collect::<Vec<_>>());
    Ok(())
}

/// A completed batch with items 0 to 15 in doubt, of 20.
fn with_doubts(disk: &MemoryDisk) -> Result<(Queue, batchwright::Batch<Pay>), Box<dyn Error>> {
    let clock = batchwright::testing::ManualClock::new();
    let log = Log::new();
    let queue = queue_on(&clock)
        .register(dying(disk, &log))
        .open_to_drain(disk)?;
    let id = queue.submit::<Pay>(0..20)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    let queue = queue_on(&clock)
        .register(noting(&Log::new()))
        .register(Call::echo())
        .open_in_memory(disk)?;
    let batch = queue.batch(id)?.typed::<Pay>()?;
    batch.ends()?;
    Ok((queue, batch))
}

#[test]
fn a_doubt_is_resolved_once_and_for_good() -> Tested {
    let disk = MemoryDisk::new();
    let (queue, batch) = with_doubts(&disk)?;
    let status = batch.resolve(3, Ok(30))?;
    assert_eq!(
        (status.in_doubt, status.succeeded, status.failed),
        (15, 5, 0)
    );
    let status = batch.resolve(4, Err(Failure::permanent("bounced", "it never arrived")))?;
    assert_eq!(
        (status.in_doubt, status.succeeded, status.failed),
        (14, 5, 1)
    );
    assert_eq!(status.state, State::Completed);
    let (id, index) = (batch.id(), 3);
    let again = Err(BatchError::NotInDoubt { id, index });
    assert_eq!(batch.resolve(3, Ok(31)), again);
    for index in [19, 20, usize::MAX] {
        let refused = Err(BatchError::NotInDoubt { id, index });
        assert_eq!(batch.resolve(index, Ok(0)), refused);
    }
    let shown = |batch: &batchwright::Batch<Pay>| -> Tested {
        assert_eq!(batch.assert_succeeded(3), 30);
        batch.assert_failed(4, "bounced");
        batch.assert_in_doubt(5);
        let failures = batch.report()?.failures;
        let expected = [("bounced", 1), ("in_doubt", 14)];
        assert_eq!(
            failures,
            expected.map(|(code, n)| (code.to_owned(), n)).into()
        );
        assert_eq!(outcomes(batch)?.len(), 20);
        Ok(())
    };
    shown(&batch)?;
    // What failed can be run again as what it is: a decision.
    let retried = batch.retry_failed()?;
    assert_eq!(retried.ends()?.status.total, 1);
    queue.shutdown(AMPLE)?;

    let clock = batchwright::testing::ManualClock::new();
    let queue = queue_on(&clock)
        .register(noting(&Log::new()))
        .open_in_memory(&disk)?;
    let batch = queue.batch(id)?.typed::<Pay>()?;
    shown(&batch)?;
    assert_eq!(batch.resolve(3, Ok(31)), again);
    Ok(())
}

#[test]
fn many_say_at_once_what_became_of_items_and_each_item_is_resolved_once() -> Tested {
    let disk = MemoryDisk::new();
    let (_queue, batch) = with_doubts(&disk)?;
    let said: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let batch = &batch;
        let say = move |who: u64| {
            let resolve = |index| batch.resolve(index, Ok(who)).is_ok();
            (0..16).map(resolve).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|who| scope.spawn(move || say(who))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|said| said.unwrap_or_default()).collect()
    });
    for index in 0..16 {
        let won = |who: &usize| said.get(*who).is_some_and(|said| said[index]);
        let winners: Vec<_> = (0..4).filter(won).collect();
        let [winner] = winners[..] else {
            return Err(format!("item {index} was resolved by {winners:?}").into());
        };
        assert_eq!(batch.assert_succeeded(index), winner as u64);
    }
    let status = batch.status()?;
    assert_eq!((status.succeeded, status.in_doubt), (20, 0));
    Ok(())
}

/// A batch that still has work: the kernel has it.
#[test]
fn a_doubt_in_a_batch_that_has_not_ended_is_resolved_and_the_batch_goes_on() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let queue = queue_on(&clock)
        .register(dying(&disk, &log))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Pay>(0..40)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    let queue = queue_on(&clock)
        .register(noting(&Log::new()))
        .open_to_drain(&disk)?;
    let batch = queue.batch(id)?.typed::<Pay>()?;
    let status = batch.resolve(0, Ok(7))?;
    assert_eq!((status.succeeded, status.in_doubt), (1, 15));
    let index = 0;
    let again = Err(BatchError::NotInDoubt { id, index });
    assert_eq!(batch.resolve(0, Ok(8)), again);
    queue.drain()?;
    batch.assert_state(State::Completed);
    // Its journal was many segments and is few.
    assert_eq!(batch.assert_succeeded(0), 7);
    assert!(matches!(
        outcomes(&batch)?[1].outcome,
        Outcome::InDoubt { .. }
    ));
    let status = batch.status()?;
    assert_eq!((status.succeeded, status.in_doubt), (25, 15));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_resolution_whose_commit_fails_is_unknown() -> Tested {
    for fault in [CommitFault::Done, CommitFault::NotDone] {
        let disk = MemoryDisk::new();
        let (queue, batch) = with_doubts(&disk)?;
        disk.fail_next_commit(fault);
        let answer = batch.resolve(3, Ok(1));
        assert!(
            matches!(answer, Err(BatchError::Unknown { .. })),
            "{answer:?}"
        );
        let id = batch.id();
        drop(queue);
        let clock = batchwright::testing::ManualClock::new();
        let queue = queue_on(&clock)
            .register(noting(&Log::new()))
            .open_in_memory(&disk)?;
        let status = queue.batch(id)?.status()?;
        let in_doubt = if fault == CommitFault::Done { 15 } else { 16 };
        assert_eq!(status.in_doubt, in_doubt, "{fault:?}");
    }
    Ok(())
}

#[test]
fn an_output_that_cannot_be_stored_leaves_its_item_in_doubt() -> Tested {
    let (disk, clock) = fresh();
    let print = |_: u64, _: &mut batchwright::Context<batchwright::AtMostOnce>| {
        Ok("x".repeat(batchwright::limits::PAYLOAD_BYTES))
    };
    let queue = queue_on(&clock)
        .register_fn("print", print)
        .open_to_drain(&disk)?;
    let batch = queue.submit_named("print", [1_u64])?;
    queue.drain()?;
    let reason = batch.assert_in_doubt(0);
    assert!(reason.contains("the limit is"), "{reason}");
    Ok(())
}
