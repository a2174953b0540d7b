//! Assertions on batches: what they give back, and what they say when they fail.

use crate::harness::{Bystander, Call, Mail, Tested, fresh, queue_on};
use batchwright::testing::{Assertions, DrainedQueue};
use batchwright::{Batch, Failure, RetryPolicy, State};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// What an assertion says when it fails.
#[track_caller]
fn said<T>(assertion: impl FnOnce() -> T) -> String {
    let Err(panic) = catch_unwind(AssertUnwindSafe(assertion)) else {
        panic!("the assertion held");
    };
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

/// Item 0 succeeded at the second attempt, 1 failed, 2 waits for another attempt.
fn mixed() -> Result<(DrainedQueue, Batch<Call>, Bystander), Box<dyn std::error::Error>> {
    let (disk, clock) = fresh();
    let call = Call::new(|n, cx| match (n, cx.attempt()) {
        (0, 2) => Ok(40),
        (1, _) => Err(Failure::permanent("no_stock", "none left of 1").field("sku")),
        _ => Err(Failure::retryable("busy", "again")),
    });
    let queue = queue_on(&clock)
        .register(call.retry(RetryPolicy::exponential(9, Duration::from_secs(60))))
        .register(Mail::echo())
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>([0, 1, 2])?;
    queue.drain()?;
    clock.advance(Duration::from_secs(60));
    queue.drain()?;
    Ok((queue, batch, bystander))
}

#[test]
fn what_holds_is_given_back() -> Tested {
    let (queue, batch, bystander) = mixed()?;
    assert_eq!(batch.assert_succeeded(0), 40);
    let failure = batch.assert_failed(1, "no_stock");
    assert_eq!(failure.field.as_deref(), Some("sku"));
    batch.assert_unfinished(2);
    assert_eq!(batch.assert_state(State::Running).waiting, 1);
    let whole = queue.submit::<Mail>([7, 8])?;
    whole.assert_state(State::Queued);
    queue.drain()?;
    assert_eq!(whole.assert_all_succeeded(), [7, 8]);
    whole.assert_state(State::Completed);
    // Of a batch whose operation the test does not know.
    assert_eq!(queue.batch(whole.id())?.assert_succeeded(1), 8);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn what_does_not_hold_is_shown_as_it_was_found() -> Tested {
    let (queue, batch, bystander) = mixed()?;
    let status = batch.status()?.to_string();
    let failed = "item 1 failed with \"no_stock\" at field \"sku\": none left of 1";
    let succeeded = "item 0 succeeded with 40 (attempt 2)";
    let unfinished = "item 2 has no outcome";
    let all = said(|| batch.assert_all_succeeded());
    assert_says(
        &all,
        &["all 3 items", failed, "1 items have no outcome", &status],
    );
    assert!(!all.contains("item 0"), "{all}");
    assert_says(&said(|| batch.assert_succeeded(1)), &[failed, &status]);
    assert_says(&said(|| batch.assert_succeeded(2)), &[unfinished, &status]);
    let other_code = said(|| batch.assert_failed(1, "no_money"));
    assert_says(&other_code, &["no_money", failed, &status]);
    let not_failed = said(|| batch.assert_failed(0, "no_stock"));
    assert_says(&not_failed, &["no_stock", succeeded, &status]);
    let waits = said(|| batch.assert_failed(2, "busy"));
    assert_says(&waits, &[unfinished, &status]);
    assert_says(&said(|| batch.assert_unfinished(0)), &[succeeded, &status]);
    assert_says(&said(|| batch.assert_unfinished(1)), &[failed, &status]);
    let fresh = queue.submit::<Mail>([1, 2])?;
    let queued = said(|| fresh.assert_all_succeeded());
    assert_says(&queued, &["all 2 items", "2 items have no outcome"]);
    let state = said(|| batch.assert_state(State::Completed));
    assert_says(&state, &["to be completed", &status]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_item_that_is_not_there_and_a_queue_that_is_closed_fail_every_assertion() -> Tested {
    let (queue, batch, _) = mixed()?;
    let every: [fn(&Batch<Call>); 3] = [
        |batch| assert_eq!(batch.assert_succeeded(3), 0),
        |batch| drop(batch.assert_failed(3, "busy")),
        |batch| batch.assert_unfinished(3),
    ];
    for assertion in every {
        assert_says(&said(|| assertion(&batch)), &["there is no item 3"]);
    }
    queue.shutdown(Duration::from_secs(30))?;
    for assertion in every {
        assert_says(&said(|| assertion(&batch)), &["the queue is closed"]);
    }
    assert_says(&said(|| batch.assert_all_succeeded()), &["closed"]);
    assert_says(&said(|| batch.assert_state(State::Running)), &["closed"]);
    Ok(())
}

#[test]
fn a_thousand_failures_are_counted_and_not_all_listed() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::new(|_, _| Err(Failure::permanent("no", "never")));
    let queue = queue_on(&clock).register(call).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>(0..1_000)?;
    queue.drain()?;
    let message = said(|| batch.assert_all_succeeded());
    assert_says(&message, &["item 7 failed", "992 more items failed"]);
    assert!(!message.contains("item 8 failed"), "{message}");
    bystander.assert_unchanged(&queue);
    Ok(())
}
