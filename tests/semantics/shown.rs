//! What batches, reports and events look like to people.

use crate::harness::{Call, Tested, fresh, queue_on};
use batchwright::testing::{Assertions, ManualClock};
use batchwright::{Blocked, Failure, QueueEvent, RetryPolicy, State};
use std::time::Duration;

/// Takes a second for each item, and sees to a few of them.
fn call(clock: &ManualClock) -> Call {
    let clock = clock.clone();
    let call = Call::new(move |n, _| {
        clock.advance(Duration::from_secs(1));
        match n {
            0 => Err(Failure::permanent("no_such_customer", "there is none")),
            1 => Err(Failure::retryable("busy", "not now")),
            n => Ok(n),
        }
    });
    call.retry(RetryPolicy::exponential(2, Duration::from_secs(60)))
}

#[test]
fn a_report_is_the_status_the_time_it_took_and_the_failures() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(call(&clock))
        .open_to_drain(&disk)?;
    let batch = queue.submit::<Call>(0..4)?;
    let id = batch.id();
    let fresh = batch.status()?;
    assert_eq!(
        fresh.to_string(),
        format!("batch {id} (call): queued, 0 of 4 items")
    );
    assert_eq!((fresh.progress(), fresh.unfinished()), (0.0, 4));
    assert_eq!(batch.report()?.items_per_second(), 0.0);

    queue.drain()?;
    let waiting = batch.status()?;
    assert_eq!((waiting.progress(), waiting.unfinished()), (0.75, 1));
    let shown = waiting.to_string();
    let so_far = format!(
        "batch {id} (call): running, 3 of 4 items, 1 failed, 1 waiting for another attempt"
    );
    assert!(shown.starts_with(&so_far), "{shown}");

    clock.advance(Duration::from_secs(120));
    queue.drain()?;
    batch.assert_state(State::Completed);
    let report = batch.report()?;
    let seconds = report.duration.as_secs_f64();
    let expected = format!(
        "batch {id} (call): completed, 4 of 4 items, 2 failed, {seconds:.3} s\n  1 x busy\n  1 x no_such_customer"
    );
    assert_eq!(report.to_string(), expected);
    assert!(seconds >= 125.0, "{seconds}");
    assert_eq!(report.items_per_second(), 4.0 / seconds);
    Ok(())
}

#[test]
fn events_are_sentences() {
    let ended = |in_doubt| QueueEvent::BatchEnded {
        id: 7.into(),
        operation: "call".to_owned(),
        state: State::Stopped,
        succeeded: 5,
        failed: 2,
        in_doubt,
    };
    let blocked = |blocked| QueueEvent::OperationBlocked {
        operation: "call".to_owned(),
        blocked,
    };
    let reason = || "the bank is closed".to_owned();
    let shown = [
        (ended(0), "batch 7 (call) is stopped: 5 succeeded, 2 failed"),
        (
            ended(3),
            "batch 7 (call) is stopped: 5 succeeded, 2 failed, 3 in doubt",
        ),
        (
            blocked(Blocked::Paused { reason: reason() }),
            "operation \"call\" is paused: the bank is closed",
        ),
        (
            blocked(Blocked::Unregistered),
            "operation \"call\" is blocked: its operation is not registered",
        ),
        (
            QueueEvent::OperationUnblocked {
                operation: "call".to_owned(),
            },
            "operation \"call\" goes on",
        ),
        (
            QueueEvent::QueueFailed { reason: reason() },
            "the queue has failed: the bank is closed",
        ),
    ];
    for (event, sentence) in shown {
        assert_eq!(event.to_string(), sentence);
    }
}
