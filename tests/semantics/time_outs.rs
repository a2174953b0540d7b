//! Handlers that do not return in time.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Pay, Post, SOON, SUMS, Tested, add, eventually,
    fresh, never, outcomes, queue_on, sum,
};
use batchwright::testing::Assertions;
use batchwright::{
    Failure, OperationStats, Queue, RetryPolicy, ShutdownError, State, TableError, limits,
};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn stats(queue: &Queue, name: &str) -> Result<OperationStats, Box<dyn Error>> {
    let operations = queue.stats()?.operations;
    let found = operations.into_iter().find(|stats| stats.name == name);
    Ok(found.ok_or("no such operation")?)
}

#[test]
fn a_hung_handler_fails_its_item_and_the_pool_keeps_its_size() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let held = door.clone();
    let call = Call::new(move |n, cx| {
        if n < 2 {
            held.pass();
            // It is told, and what it returns does not count.
            assert!(cx.is_cancelled());
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.timeout(LIMIT))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..4)?;
    // Both workers hang.
    door.wait_for(2);
    clock.advance(LIMIT - Duration::from_millis(1));
    let waits = queue.submit::<Mail>([1])?;
    assert_eq!(waits.status()?.state, State::Queued);
    clock.advance(Duration::from_millis(1));
    waits.ends()?;
    batch.ends()?;
    for index in 0..2 {
        let failure = batch.assert_failed(index, Failure::TIMED_OUT);
        assert!(failure.message.contains("60000 ms"), "{failure}");
    }
    assert_eq!(batch.assert_succeeded(3), 3);
    let now = stats(&queue, "call")?;
    assert_eq!((now.hung, now.timed_out, now.failed), (2, 2, 2));
    let still = queue.shutdown(Duration::ZERO);
    assert_eq!(still, Err(ShutdownError::StillRunning { items: 2 }));
    door.open();
    queue.shutdown(AMPLE)?;
    let id = batch.id();
    drop(queue);

    let queue = queue_on(&clock).open_in_memory(&disk)?;
    queue.batch(id)?.assert_failed(0, Failure::TIMED_OUT);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// As many hang as may be replaced, and one more: the queue is without a worker until one of them returns.
#[test]
fn a_worker_that_could_not_be_replaced_is_as_soon_as_there_is_room() -> Tested {
    let (disk, clock) = fresh();
    let (first, others) = (Door::new(), Door::new());
    let doors = (first.clone(), others.clone());
    let most = u64::try_from(limits::HUNG_HANDLERS)?;
    let call = Call::new(move |n, _| {
        match n {
            0 => doors.0.pass(),
            n if n <= most => doors.1.pass(),
            _ => {}
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call.timeout(LIMIT))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>(0..most + 2)?;
    first.wait_for(1);
    for hung in 1..=limits::HUNG_HANDLERS {
        clock.advance(LIMIT);
        others.wait_for(hung as u64);
    }
    clock.advance(LIMIT);
    eventually(|| batch.status().is_ok_and(|status| status.failed == most + 1));
    assert_eq!(batch.status()?.processed(), most + 1, "the last one waits");
    first.open();
    batch.ends()?;
    assert_eq!(batch.assert_succeeded(limits::HUNG_HANDLERS + 1), most + 1);
    others.open();
    queue.shutdown(AMPLE)?;
    Ok(())
}

/// The writer waits for a read and sees nothing: the handler and its worker know the time by themselves.
#[test]
fn a_handler_is_late_although_nobody_looks() -> Tested {
    let (disk, clock) = fresh();
    let (handler, reader) = (Door::new(), Door::new());
    let (held, told) = (handler.clone(), Arc::new(AtomicBool::new(false)));
    let tell = Arc::clone(&told);
    let call = Call::new(move |n, cx| {
        held.pass();
        tell.store(cx.is_cancelled(), Ordering::Relaxed);
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.timeout(LIMIT))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([7])?;
    handler.wait_for(1);
    std::thread::scope(|threads| -> Tested {
        let reads = threads.spawn(|| {
            queue.read(|_| {
                reader.pass();
                Ok(())
            })
        });
        reader.wait_for(1);
        let commits = threads.spawn(|| queue.submit::<Mail>([1]).map(drop));
        never(|| commits.is_finished());
        clock.advance(LIMIT);
        handler.open();
        eventually(|| told.load(Ordering::Relaxed));
        reader.open();
        reads.join().map_err(|_| "the reader panicked")??;
        commits.join().map_err(|_| "the submitter panicked")??;
        Ok(())
    })?;
    batch.ends()?;
    batch.assert_failed(0, Failure::TIMED_OUT);
    assert_eq!(stats(&queue, "call")?.timed_out, 1);
    eventually(|| stats(&queue, "call").is_ok_and(|stats| stats.hung == 0));
    // The worker is there again.
    queue.submit::<Mail>(0..4)?.ends()?;
    Ok(())
}

#[test]
fn what_a_late_handler_returns_is_dropped() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let held = door.clone();
    let call = Call::new(move |n, _| {
        held.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.timeout(LIMIT))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([7])?;
    door.wait_for(1);
    clock.advance(LIMIT);
    batch.ends()?;
    assert_eq!(stats(&queue, "call")?.hung, 1);
    door.open();
    eventually(|| stats(&queue, "call").is_ok_and(|stats| stats.hung == 0));
    batch.assert_failed(0, Failure::TIMED_OUT);
    // The worker that hung is one too many and goes; the others work.
    let next = queue.submit::<Call>(0..20)?;
    next.ends()?;
    next.assert_all_succeeded();
    queue.shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn only_a_policy_that_says_so_runs_an_item_again() -> Tested {
    for again in [false, true] {
        let (disk, clock) = fresh();
        let door = Door::new();
        let held = door.clone();
        let call = Call::new(move |n, cx| {
            if cx.attempt() == 1 {
                held.pass();
            }
            Ok(n)
        });
        let policy = RetryPolicy::exponential(2, Duration::ZERO);
        let policy = if again {
            policy.after_timeouts()
        } else {
            policy
        };
        let queue = queue_on(&clock)
            .register(call.timeout(LIMIT).retry(policy))
            .open_in_memory(&disk)?;
        let batch = queue.submit::<Call>([7])?;
        door.wait_for(1);
        clock.advance(LIMIT);
        batch.ends()?;
        let [outcome] = &outcomes(&batch)?[..] else {
            return Err("not one outcome".into());
        };
        assert_eq!(outcome.outcome.is_success(), again);
        assert_eq!(outcome.attempts, 1 + u32::from(again));
        // The late return of the first attempt changes nothing.
        door.open();
        eventually(|| stats(&queue, "call").is_ok_and(|stats| stats.hung == 0));
        assert_eq!(outcomes(&batch)?[..], *std::slice::from_ref(outcome));
    }
    Ok(())
}

#[test]
fn the_key_and_the_slot_of_a_hung_handler_stay_held_until_it_returns() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let (held, log) = (door.clone(), Log::new());
    let noted = log.clone();
    let call = Call::new(move |n, _| {
        noted.push(n);
        if n == 0 {
            held.pass();
        }
        Ok(n)
    });
    let call = call.timeout(LIMIT).concurrency(2);
    let queue = queue_on(&clock)
        .workers(4)
        .register(call.key(|n| Some(format!("{}", n % 2))))
        .open_in_memory(&disk)?;
    // 0, 2 and 4 have one key; so has 6 of another batch.
    let batch = queue.submit::<Call>([0, 1, 2, 3, 4])?;
    let other = queue.submit::<Call>([6])?;
    door.wait_for(1);
    clock.advance(LIMIT);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 3));
    crate::harness::never(|| log.entries().iter().any(|n| [2, 4, 6].contains(n)));
    let now = stats(&queue, "call")?;
    assert_eq!((now.hung, now.in_flight), (1, 0));
    door.open();
    batch.ends()?;
    other.ends()?;
    let ran: Vec<_> = log.entries().into_iter().filter(|n| n % 2 == 0).collect();
    assert_eq!(ran, [0, 2, 4, 6]);
    Ok(())
}

#[test]
fn a_retried_item_with_a_key_waits_for_its_own_handler() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let (held, log) = (door.clone(), Log::new());
    let noted = log.clone();
    let call = Call::new(move |n, cx| {
        noted.push((n, cx.attempt()));
        if (n, cx.attempt()) == (0, 1) {
            held.pass();
        }
        Ok(n)
    });
    let policy = RetryPolicy::exponential(2, Duration::ZERO).after_timeouts();
    let call = call.timeout(LIMIT).retry(policy);
    let queue = queue_on(&clock)
        .register(call.key(|_| Some("one".to_owned())))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([0, 1])?;
    door.wait_for(1);
    clock.advance(LIMIT);
    eventually(|| stats(&queue, "call").is_ok_and(|stats| stats.hung == 1));
    crate::harness::never(|| log.len() > 1);
    door.open();
    batch.ends()?;
    assert_eq!(log.entries(), [(0, 1), (0, 2), (1, 1)]);
    batch.assert_all_succeeded();
    Ok(())
}

#[test]
fn a_hung_at_most_once_item_is_in_doubt() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let held = door.clone();
    let pay = Pay::new(move |n, _| {
        if n == 0 {
            held.pass();
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(pay.timeout(LIMIT))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Pay>(0..3)?;
    door.wait_for(1);
    clock.advance(LIMIT);
    batch.ends()?;
    let reason = batch.assert_in_doubt(0);
    assert!(reason.contains("60000 ms"), "{reason}");
    let now = stats(&queue, "pay")?;
    assert_eq!((now.in_doubt, now.timed_out, now.succeeded), (1, 1, 2));
    batch.resolve(0, Ok(5))?;
    door.open();
    eventually(|| stats(&queue, "pay").is_ok_and(|stats| stats.hung == 0));
    assert_eq!(batch.assert_succeeded(0), 5);
    Ok(())
}

/// The lease goes to another worker; what the hung handler wrote, and what its slice had written before, never was.
#[test]
fn a_hung_exactly_once_handler_loses_its_tables() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let (held, late) = (door.clone(), Log::new());
    let told = late.clone();
    let post = Post::new(move |n, cx| {
        let added = add(cx, "all", n)?;
        if n == 100 && !cx.is_cancelled() {
            held.pass();
            let answers = [
                cx.get(&SUMS, "all").err(),
                cx.put(&SUMS, "all", &1).err(),
                cx.remove(&SUMS, "all").err(),
                cx.range(&SUMS, ..).err(),
            ];
            told.push(answers.map(|answer| answer == Some(TableError::TimedOut)));
        }
        Ok(added)
    });
    let queue = queue_on(&clock)
        .register(post.timeout(LIMIT))
        .open_in_memory(&disk)?;
    let before = queue.submit::<Post>([5])?;
    before.ends()?;
    // In one slice: the first of them have run when the third hangs.
    let batch = queue.submit::<Post>([1, 2, 100, 3])?;
    door.wait_for(1);
    let behind = queue.submit::<Post>([1_000])?;
    clock.advance(LIMIT);
    batch.ends()?;
    behind.ends()?;
    batch.assert_failed(2, Failure::TIMED_OUT);
    for index in [0, 1, 3] {
        batch.assert_succeeded(index);
    }
    assert_eq!(sum(&queue, "all")?, 5 + 1 + 2 + 3 + 1_000);
    assert_eq!(stats(&queue, "post")?.hung, 1);
    door.open();
    eventually(|| late.len() == 1);
    assert_eq!(late.entries(), [[true; 4]]);
    eventually(|| stats(&queue, "post").is_ok_and(|stats| stats.hung == 0));
    let after = queue.submit::<Post>([10_000])?;
    after.ends()?;
    assert_eq!(sum(&queue, "all")?, 11_011);
    queue.shutdown(SOON)?;
    Ok(())
}

#[test]
fn a_batch_is_stopped_although_a_handler_of_it_hangs() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let held = door.clone();
    let call = Call::new(move |n, _| {
        held.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call.timeout(LIMIT))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>(0..3)?;
    door.wait_for(1);
    assert_eq!(batch.stop()?.state, State::Running);
    clock.advance(LIMIT);
    let status = batch.ends()?.status;
    assert_eq!((status.state, status.failed), (State::Stopped, 1));
    door.open();
    batch.resume()?;
    let status = batch.ends()?.status;
    assert_eq!((status.succeeded, status.failed), (2, 1));
    Ok(())
}

#[test]
fn a_time_out_of_nothing_is_refused() {
    let (disk, clock) = fresh();
    let refused = queue_on(&clock)
        .register(Call::echo().timeout(Duration::from_micros(999)))
        .open_in_memory(&disk);
    let text = refused.map(drop).map_err(|error| error.to_string());
    assert!(text.is_err_and(|text| text.contains("time-out") && text.contains("1ms")));
}

/// Where a test drains there is nobody to take a worker's place, and a slice has one item all the same.
#[test]
fn a_drained_queue_goes_on_when_a_handler_has_taken_too_long() -> Tested {
    let (disk, clock) = fresh();
    let hands = clock.clone();
    let call = Call::new(move |n, cx| {
        if n == 0 {
            hands.advance(LIMIT);
            eventually(|| cx.is_cancelled());
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.timeout(LIMIT))
        .open_to_drain(&disk)?;
    let batch = queue.submit::<Call>(0..3)?;
    queue.drain()?;
    batch.assert_failed(0, Failure::TIMED_OUT);
    assert_eq!(batch.assert_succeeded(1), 1);
    assert_eq!(batch.assert_state(State::Completed).failed, 1);
    Ok(())
}
