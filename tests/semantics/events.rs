//! What subscribers are told of a queue.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, SOON, Tested, fresh, queue_on,
};
use batchwright::testing::CommitFault;
use batchwright::{
    AtLeastOnce, Batch, BatchError, Blocked, Context, Events, Failure, Operation, Queue,
    QueueEvent, State, TableError,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// As [`ended`], of a batch that cannot be asked any more.
fn succeeded<O>(batch: &Batch<O>, operation: &str, items: u64) -> QueueEvent {
    QueueEvent::BatchEnded {
        id: batch.id(),
        operation: operation.to_owned(),
        state: State::Completed,
        succeeded: items,
        failed: 0,
        in_doubt: 0,
    }
}

fn ended<O>(batch: &Batch<O>, operation: &str, state: State) -> Result<QueueEvent, BatchError> {
    let status = batch.status()?;
    Ok(QueueEvent::BatchEnded {
        id: batch.id(),
        operation: operation.to_owned(),
        state,
        succeeded: status.succeeded,
        failed: status.failed,
        in_doubt: status.in_doubt,
    })
}

fn paused(operation: &str, reason: String) -> QueueEvent {
    QueueEvent::OperationBlocked {
        operation: operation.to_owned(),
        blocked: Blocked::Paused { reason },
    }
}

fn soon(events: &mut Events) -> Result<QueueEvent, &'static str> {
    events.next_timeout(SOON).ok_or("no event came")
}

#[test]
fn the_end_of_a_batch_is_told_when_it_is_durable() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let mut events = queue.subscribe();
    let mut others = queue.subscribe();
    let batch = queue.submit::<Call>([1])?;
    let stopped = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    assert_eq!(events.try_next(), None);
    let held = disk.hold_commits();
    door.admit(2);
    assert!(held.wait_for_commit());
    assert_eq!(events.next_timeout(Duration::ZERO), None);
    assert!(!events.has_ended());
    drop(held);
    let told = soon(&mut events)?;
    door.open();
    stopped.ends()?;
    batch.ends()?;
    let mut all = vec![told, soon(&mut events)?];
    all.sort_by_key(|event| match event {
        QueueEvent::BatchEnded { id, .. } => u64::from(*id),
        _ => 0,
    });
    let expected = [
        ended(&batch, "call", State::Completed)?,
        ended(&stopped, "call", State::Completed)?,
    ];
    assert_eq!(all, expected);
    assert_eq!(events.try_next(), None);

    // A batch that is stopped before anything of it ran.
    queue.pause("mail", "held")?;
    let mail = queue.submit::<Mail>([1])?;
    mail.stop()?;
    let paused = paused("mail", "held".to_owned());
    assert_eq!(soon(&mut events)?, paused);
    assert_eq!(soon(&mut events)?, ended(&mail, "mail", State::Stopped)?);
    assert_eq!(events.try_next(), None);
    // Everybody who subscribed has been told the same.
    assert_eq!(std::iter::from_fn(|| others.try_next()).count(), 4);
    assert_eq!(others.missed(), 0);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// `Call` as a later deploy: its items are texts.
struct CallText;

impl Operation for CallText {
    const NAME: &'static str = "call";
    type Item = String;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, _text: String, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(0)
    }
}

#[test]
fn an_operation_that_is_held_up_and_goes_on_is_told() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "before the deploy")?;
    let id = queue.submit::<Call>([1])?.id();
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock).register(CallText).open_in_memory(&disk)?;
    let mut events = queue.subscribe();
    let operation = || "call".to_owned();
    queue.unpause("call")?;
    let unpaused = QueueEvent::OperationUnblocked {
        operation: operation(),
    };
    assert_eq!(soon(&mut events)?, unpaused);
    let told = soon(&mut events)?;
    let QueueEvent::OperationBlocked {
        blocked: Blocked::Undecodable { reason },
        ..
    } = &told
    else {
        return Err(format!("{told}").into());
    };
    assert!(reason.contains("item 0"), "{reason}");
    // Paused on top of that: with the pause alone gone it would not go on.
    queue.pause("call", "also")?;
    let also = paused(&operation(), "also".to_owned());
    assert_eq!(soon(&mut events)?, also);
    let batch = queue.batch(id)?;
    batch.fail_undecodable()?;
    assert_eq!(events.try_next(), None);
    queue.unpause("call")?;
    assert_eq!(soon(&mut events)?, unpaused);
    batch.ends()?;
    assert_eq!(soon(&mut events)?, ended(&batch, "call", State::Completed)?);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn the_failure_of_a_queue_is_its_last_event() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let mut events = queue.subscribe();
    let batch = queue.submit::<Call>([1])?;
    batch.ends()?;
    disk.fail_next_commit(CommitFault::Done);
    assert!(queue.submit::<Call>([1]).is_err());
    assert_eq!(soon(&mut events)?, succeeded(&batch, "call", 1));
    let last = soon(&mut events)?;
    assert!(matches!(last, QueueEvent::QueueFailed { .. }), "{last}");
    assert!(events.has_ended());
    assert_eq!(events.next(), None);
    assert_eq!(queue.subscribe().next(), None);
    Ok(())
}

#[test]
fn events_end_after_what_was_told_until_the_queue_was_closed() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let mut events = queue.subscribe();
    let batch = queue.submit::<Call>([1])?;
    door.wait_for(1);
    let collecting = thread::spawn(move || {
        let told: Vec<_> = std::iter::from_fn(|| events.next_timeout(SOON)).collect();
        (told, events.has_ended())
    });
    assert!(queue.shutdown(Duration::ZERO).is_err());
    assert!(!collecting.is_finished());
    door.open();
    queue.shutdown(AMPLE)?;
    // What ended while the queue was closing is told.
    let told = collecting.join().map_err(|_| "the collector panicked")?;
    assert_eq!(told, (vec![succeeded(&batch, "call", 1)], true));
    assert_eq!(queue.subscribe().next(), None);

    // Events keep no queue open.
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let mut events = queue.subscribe();
    drop(queue);
    assert_eq!(events.next_timeout(SOON), None);
    assert!(events.has_ended());
    assert_eq!(events.next(), None);
    Ok(())
}

fn full_of(queue: &Queue, batches: u64) -> Result<Vec<QueueEvent>, Box<dyn std::error::Error>> {
    let mut told = Vec::new();
    for n in 0..batches {
        let batch = queue.submit::<Call>([n])?;
        batch.ends()?;
        told.push(ended(&batch, "call", State::Completed)?);
    }
    queue.pause("mail", "last")?;
    told.push(paused("mail", "last".to_owned()));
    Ok(told)
}

#[test]
fn a_subscriber_who_is_slow_misses_the_oldest_and_holds_up_nobody() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    for (capacity, kept) in [(0, 1), (1, 1), (4, 4), (usize::MAX, 11)] {
        let mut events = queue.subscribe_with(capacity);
        let never_read = queue.subscribe_with(1);
        let told = full_of(&queue, 10)?;
        assert_eq!(events.missed(), 11 - kept as u64);
        let taken: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
        assert_eq!(taken, told[11 - kept..]);
        assert_eq!(never_read.missed(), 10);
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_handler_or_a_read_does_not_wait_for_events() -> Tested {
    let (disk, clock) = fresh();
    let slot = Arc::new(Mutex::new(None::<Events>));
    let log = Log::new();
    let (inner, seen) = (slot.clone(), log.clone());
    let call = Call::new(move |n, _| {
        let mut events = inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = &mut *events {
            seen.push(events.next());
            seen.push(events.next_timeout(AMPLE * 1_000));
        }
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let events = queue.subscribe();
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
    queue.submit::<Call>([1])?.ends()?;
    assert_eq!(log.entries(), [None, None]);
    let mut events = queue.subscribe();
    queue.read(|_| {
        assert_eq!(events.next(), None);
        Ok::<_, TableError>(())
    })?;
    bystander.assert_unchanged(&queue);
    Ok(())
}
