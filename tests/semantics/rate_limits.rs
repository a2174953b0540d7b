//! How many attempts start in a time.

use crate::harness::{Bystander, Call, Ends, Log, Mail, Pay, Post, Tested, fresh, never, queue_on};
use batchwright::testing::Assertions;
use batchwright::{Clock, Failure, RetryPolicy};
use std::time::{Duration, SystemTime};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn no_more_start_in_a_period_and_the_rest_follow() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::echo().rate(10, SECOND);
    let queue = queue_on(&clock)
        .register(call)
        .register(Mail::echo())
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>(0..35)?;
    let beside = queue.submit::<Mail>(0..35)?;
    // The other operation is not held up.
    assert_eq!(queue.drain()?, 45);
    beside.assert_all_succeeded();
    assert_eq!(queue.drain()?, 0);
    clock.advance(SECOND - Duration::from_millis(1));
    assert_eq!(queue.drain()?, 0);
    for (left, ran) in [(25, 10), (15, 10), (5, 5)] {
        assert_eq!(batch.status()?.unfinished(), left);
        clock.advance(Duration::from_millis(1));
        assert_eq!(queue.drain()?, ran);
        clock.advance(SECOND - Duration::from_millis(1));
    }
    batch.assert_all_succeeded();
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn retries_count_too_and_every_guarantee_is_held_to_its_limit() -> Tested {
    let (disk, clock) = fresh();
    let busy = |n, attempt| {
        if attempt == 1 {
            return Err(Failure::retryable("busy", "not now"));
        }
        Ok(n)
    };
    let at_once = RetryPolicy::exponential(2, Duration::ZERO);
    let queue = queue_on(&clock)
        .register(
            Call::new(move |n, cx| busy(n, cx.attempt()))
                .rate(4, SECOND)
                .retry(at_once.clone()),
        )
        .register(
            Post::new(move |n, cx| busy(n, cx.attempt()))
                .rate(5, SECOND)
                .retry(at_once),
        )
        .register(Pay::echo().rate(3, SECOND))
        .open_to_drain(&disk)?;
    let call = queue.submit::<Call>(0..4)?;
    let post = queue.submit::<Post>(0..5)?;
    let pay = queue.submit::<Pay>(0..6)?;
    assert_eq!(queue.drain()?, 4 + 5 + 3);
    clock.advance(SECOND);
    assert_eq!(queue.drain()?, 4 + 5 + 3);
    call.assert_all_succeeded();
    post.assert_all_succeeded();
    pay.assert_all_succeeded();
    Ok(())
}

/// With threads and a clock that flows: whoever waits for the limit wakes up by itself.
#[test]
fn a_queue_wakes_up_when_the_limit_lets_it() -> Tested {
    let (disk, _) = fresh();
    let starts = Log::new();
    let noted = starts.clone();
    let call = Call::new(move |n, _| {
        noted.push(SystemTime::now());
        Ok(n)
    });
    let clock = batchwright::SystemClock;
    let queue = batchwright::Queue::builder("unused")
        .workers(2)
        .clock(clock)
        .register(call.rate(3, Duration::from_millis(40)))
        .open_in_memory(&disk)?;
    let since = clock.now();
    queue.submit::<Call>(0..12)?.ends()?;
    let starts = starts.entries();
    assert_eq!(starts.len(), 12);
    // The handlers' own clock readings come a little after they were handed out.
    assert!(since.elapsed()? >= Duration::from_millis(119), "{starts:?}");
    Ok(())
}

/// A handler that gives up has been called: what it was limited for, such as a request, it may have done.
#[test]
fn items_that_gave_up_because_their_batch_is_stopped_count() -> Tested {
    let (disk, clock) = fresh();
    let door = crate::harness::Door::new();
    let held = door.clone();
    let call = Call::new(move |n, cx| {
        held.pass();
        if cx.is_cancelled() {
            return Err(Failure::cancelled());
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(4)
        .register(call.rate(4, SECOND))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>(0..4)?;
    door.wait_for(4);
    batch.stop()?;
    door.open();
    batch.ends()?;
    assert_eq!(batch.status()?.processed(), 0);
    let other = queue.submit::<Call>(0..1)?;
    never(|| other.status().is_ok_and(|status| status.processed() > 0));
    clock.advance(SECOND);
    other.ends()?;
    Ok(())
}

/// What was handed out and has not begun does not use up the limit.
#[test]
fn items_of_a_stopped_batch_are_given_back() -> Tested {
    let (disk, clock) = fresh();
    let door = crate::harness::Door::new();
    let held = door.clone();
    let call = Call::new(move |n, _| {
        held.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call.rate(16, SECOND))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>(0..16)?;
    door.wait_for(1);
    batch.stop()?;
    door.open();
    batch.ends()?;
    assert_eq!(batch.status()?.processed(), 1);
    // 15 of the 16 did not start.
    let other = queue.submit::<Call>(0..15)?;
    other.ends()?;
    Ok(())
}
