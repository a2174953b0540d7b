//! Attempts after failures, and the waits between them.

use crate::harness::{
    Bystander, Call, Ends, Log, Post, Tested, add, fresh, outcomes, queue_on, sum,
};
use batchwright::limits::FAILURE_MESSAGE_BYTES;
use batchwright::testing::Assertions;
use batchwright::{Clock, Failure, Outcome, RetryPolicy, State};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// Fails at its first attempt if it is odd.
fn odd_ones_retry(log: &Log<(u64, u32)>) -> Call {
    let log = log.clone();
    let call = Call::new(move |n, cx| {
        log.push((n, cx.attempt()));
        if n % 2 == 1 && cx.attempt() == 1 {
            return Err(Failure::retryable("odd", "not yet"));
        }
        Ok(n)
    });
    call.retry(RetryPolicy::exponential(2, MINUTE))
}

#[test]
fn a_retry_waits_while_other_items_and_batches_go_on() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let queue = queue_on(&clock)
        .register(odd_ones_retry(&log))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>(0..10)?;
    let shown = || {
        batch
            .status()
            .map(|s| (s.succeeded, s.waiting, s.in_flight))
    };
    assert_eq!(queue.drain()?, 10);
    assert_eq!(shown(), Ok((5, 5, 0)));
    let beside = queue.submit::<Call>([2, 4])?;
    assert_eq!(queue.drain()?, 2);
    assert_eq!(beside.assert_all_succeeded(), [2, 4]);
    // Jitter takes at most a quarter of a wait.
    clock.advance(MINUTE * 3 / 4 - Duration::from_millis(1));
    let beside = queue.submit::<Call>([6])?;
    assert_eq!(queue.drain()?, 1);
    assert_eq!(beside.assert_all_succeeded(), [6]);
    assert_eq!(shown(), Ok((5, 5, 0)));
    clock.advance(MINUTE / 4 + Duration::from_millis(1));
    assert_eq!(queue.drain()?, 5);
    batch.assert_state(State::Completed);
    for outcome in outcomes(&batch)? {
        let attempts = 1 + outcome.index as u32 % 2;
        assert_eq!(outcome.attempts, attempts, "item {}", outcome.index);
    }
    let stats = queue.stats()?;
    let call = stats.operations.iter().find(|o| o.name == "call");
    assert_eq!(
        call.map(|o| (o.retried, o.succeeded, o.failed)),
        Some((5, 13, 0))
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn retry_waits_survive_a_crash_and_neither_begin_anew_nor_end_early() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let queue = queue_on(&clock)
        .register(odd_ones_retry(&log))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Call>(0..10)?.id();
    assert_eq!(queue.drain()?, 10);
    assert_eq!(queue.batch(id)?.status()?.waiting, 5);
    clock.advance(MINUTE / 2);
    disk.cut_power();
    drop(queue);

    let queue = queue_on(&clock)
        .register(odd_ones_retry(&log))
        .open_to_drain(&disk)?;
    let batch = queue.batch(id)?.typed::<Call>()?;
    let status = batch.status()?;
    assert_eq!((status.succeeded, status.waiting), (5, 5));
    queue.submit::<Call>([2, 4])?;
    assert_eq!(queue.drain()?, 2);
    assert_eq!(batch.status()?.waiting, 5);
    clock.advance(MINUTE / 2);
    assert_eq!(queue.drain()?, 5);
    batch.assert_all_succeeded();
    assert!(
        outcomes(&batch)?
            .iter()
            .all(|o| o.attempts == 1 + o.index as u32 % 2)
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_clock_that_is_set_back_does_not_prolong_waits() -> Tested {
    for reopen in [false, true] {
        let (disk, clock) = fresh();
        let log = Log::new();
        let mut queue = queue_on(&clock)
            .register(odd_ones_retry(&log))
            .open_to_drain(&disk)?;
        let bystander = Bystander::enter_drained(&queue)?;
        let id = queue.submit::<Call>([1])?.id();
        assert_eq!(queue.drain()?, 1);
        assert_eq!(queue.batch(id)?.status()?.waiting, 1);
        if reopen {
            queue.shutdown(MINUTE)?;
        }
        clock.set(clock.now() - 1_000 * MINUTE);
        if reopen {
            queue = queue_on(&clock)
                .register(
                    odd_ones_retry(&log)
                        .retry(RetryPolicy::exponential(2, MINUTE).longest_wait(MINUTE)),
                )
                .open_to_drain(&disk)?;
        }
        // The queue has looked at the clock: while items wait it does so every few seconds.
        queue.submit::<Call>([2])?;
        assert_eq!(queue.drain()?, 1);
        clock.advance(MINUTE);
        assert_eq!(queue.drain()?, 1);
        queue.batch(id)?.assert_all_succeeded();
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn the_last_attempt_is_the_policys_and_its_failure_is_final() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, cx| -> Result<u64, Failure> {
        ran.push(n);
        Err(Failure::retryable(
            "busy",
            format!("attempt {}", cx.attempt()),
        ))
    });
    let queue = queue_on(&clock)
        .register(call.retry(RetryPolicy::exponential(4, Duration::ZERO)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([7])?;
    assert_eq!(batch.ends()?.failures.get("busy"), Some(&1));
    let outcomes = outcomes(&batch)?;
    assert_eq!(outcomes[0].attempts, 4);
    let failure = outcomes[0].outcome.failure();
    assert_eq!(failure.map(|f| f.message.as_str()), Some("attempt 4"));
    assert_eq!(log.len(), 4);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_permanent_failure_and_a_panic_are_not_retried() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::new(|n, _| match n {
        0 => Err(Failure::permanent("no", "never")),
        _ => panic!("item {n} is too hot"),
    });
    let queue = queue_on(&clock)
        .register(call.retry(RetryPolicy::exponential(9, Duration::ZERO)))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>([0, 1])?;
    assert_eq!(queue.drain()?, 2);
    let outcomes = outcomes(&batch)?;
    assert!(outcomes.iter().all(|o| o.attempts == 1));
    let panicked = Failure::permanent(Failure::PANICKED, "item 1 is too hot");
    assert_eq!(
        outcomes[0].outcome,
        Outcome::Failed(Failure::permanent("no", "never"))
    );
    assert_eq!(outcomes[1].outcome, Outcome::Failed(panicked));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_failure_is_stored_as_it_was_returned_but_for_a_message_over_the_limit() -> Tested {
    let (disk, clock) = fresh();
    let full = Failure::retryable("bad_amount", "é".repeat(2_000))
        .field("amount")
        .details(serde_json::json!({"limit": [1, 2.5, null], "é": "ü"}));
    let returned = full.clone();
    let call = Call::new(move |_, _| Err(returned.clone()));
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let id = queue.submit::<Call>([0])?.id();
    queue.batch(id)?.ends()?;
    disk.cut_power();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let stored = outcomes(&queue.batch(id)?)?;
    let stored = stored[0].outcome.failure().ok_or("it did not fail")?;
    assert_eq!(stored.code, full.code);
    assert_eq!(stored.field, full.field);
    assert_eq!(stored.details, full.details);
    assert!(stored.retryable);
    assert!(stored.message.len() <= FAILURE_MESSAGE_BYTES && stored.message.ends_with("[cut]"));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_retried_exactly_once_item_adds_once() -> Tested {
    let (disk, clock) = fresh();
    let post = Post::new(|n, cx| {
        let sum = add(cx, "all", n)?;
        if cx.attempt() < 3 {
            return Err(Failure::retryable("busy", "again"));
        }
        Ok(sum)
    });
    let queue = queue_on(&clock)
        .register(post.retry(RetryPolicy::exponential(3, Duration::ZERO)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Post>([1, 10, 100])?;
    assert_eq!(batch.ends()?.status.succeeded, 3);
    assert_eq!(sum(&queue, "all")?, 111);
    bystander.assert_unchanged(&queue);
    Ok(())
}
