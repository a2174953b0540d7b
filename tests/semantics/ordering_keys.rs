//! Ordering keys: equal keys never together, and in submit order.

use crate::harness::{
    Bystander, Call, Door, Ends, Log, Tested, eventually, fresh, outcomes, queue_on,
};
use batchwright::{Failure, RetryPolicy, State};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn by_tens(n: u64) -> Option<String> {
    (n < 1_000).then(|| format!("key {}", n % 10))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Begins(u64),
    Ends(u64),
}

#[test]
fn equal_keys_run_alone_and_in_submit_order_across_batches() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, _| {
        ran.push(Step::Begins(n));
        std::thread::yield_now();
        ran.push(Step::Ends(n));
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(4)
        .register(call.key(by_tens))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batches: Vec<_> = (0..10)
        .map(|part| queue.submit::<Call>(part * 100..(part + 1) * 100))
        .collect::<Result<_, _>>()?;
    for batch in &batches {
        assert_eq!(batch.ends()?.status.succeeded, 100);
    }
    let mut of_key: BTreeMap<u64, Vec<Step>> = BTreeMap::new();
    for step in log.entries() {
        let (Step::Begins(n) | Step::Ends(n)) = step;
        of_key.entry(n % 10).or_default().push(step);
    }
    for (key, steps) in of_key {
        let numbers = (0..100).map(|i| i * 10 + key);
        let expected: Vec<_> = numbers
            .flat_map(|n| [Step::Begins(n), Step::Ends(n)])
            .collect();
        assert_eq!(steps, expected, "key {key}");
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn different_keys_and_no_keys_run_together() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(4)
        .register(call.key(by_tens))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let keyed = queue.submit::<Call>([1, 2, 11, 21])?;
    let free = queue.submit::<Call>([1_001, 1_002])?;
    door.wait_for(4);
    door.open();
    keyed.ends()?;
    free.ends()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_item_that_waits_for_a_retry_holds_its_key_and_no_other() -> Tested {
    for crash in [false, true] {
        let (disk, clock) = fresh();
        let log = Log::new();
        let call = |log: &Log<(u64, u32)>| {
            let log = log.clone();
            let call = Call::new(move |n, cx| {
                log.push((n, cx.attempt()));
                if n == 1 && cx.attempt() == 1 {
                    return Err(Failure::retryable("busy", "later"));
                }
                Ok(n)
            });
            call.key(by_tens).retry(RetryPolicy::exponential(2, MINUTE))
        };
        let mut queue = queue_on(&clock)
            .register(call(&log))
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let first = queue.submit::<Call>([1, 2, 11])?.id();
        let second = queue.submit::<Call>([21, 22])?.id();
        let shows = |queue: &batchwright::Queue, id, succeeded, waiting| {
            let status = queue.batch(id).and_then(|batch| batch.status());
            status.is_ok_and(|s| (s.succeeded, s.waiting, s.in_flight) == (succeeded, waiting, 0))
        };
        eventually(|| shows(&queue, first, 1, 1) && shows(&queue, second, 1, 0));
        if crash {
            disk.cut_power();
            queue = queue_on(&clock)
                .register(call(&log))
                .open_in_memory(&disk)?;
            queue.submit::<Call>([3])?.ends()?;
            assert!(shows(&queue, first, 1, 1) && shows(&queue, second, 1, 0));
        }
        clock.advance(MINUTE);
        queue.batch(first)?.ends()?;
        queue.batch(second)?.ends()?;
        let of_one: Vec<_> = log
            .entries()
            .into_iter()
            .filter(|(n, _)| n % 10 == 1)
            .collect();
        assert_eq!(of_one, [(1, 1), (1, 2), (11, 1), (21, 1)]);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_stopped_batch_leaves_the_order_and_resumes_at_its_end() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        ran.push(n);
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(2)
        .register(call.key(by_tens))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit::<Call>([1, 11, 21])?;
    let second = queue.submit::<Call>([31, 41])?;
    door.wait_for(1);
    first.stop()?;
    // The item that runs keeps its key until it ends.
    assert_eq!(second.status()?.in_flight, 0);
    door.admit(1);
    door.wait_for(2);
    assert_eq!(first.ends()?.status.state, State::Stopped);
    assert_eq!(log.entries(), [1]);
    first.resume()?;
    door.open();
    second.ends()?;
    first.ends()?;
    assert_eq!(log.entries(), [1, 31, 41, 11, 21]);
    assert_eq!(outcomes(&first)?.len(), 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn the_order_survives_a_crash() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let held = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(held.key(by_tens))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let stopped = queue.submit::<Call>([1, 11])?;
    door.wait_for(1);
    stopped.stop()?;
    door.admit(1);
    stopped.ends()?;
    let second = queue.submit::<Call>([21, 31])?;
    door.wait_for(2);
    // Behind the second, though its number is smaller.
    stopped.resume()?;
    let third = queue.submit::<Call>([41])?;
    disk.cut_power();
    door.open();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, _| {
        ran.push(n);
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(3)
        .register(call.key(by_tens))
        .open_in_memory(&disk)?;
    for id in [stopped.id(), second.id(), third.id()] {
        queue.batch(id)?.ends()?;
    }
    assert_eq!(log.entries(), [21, 31, 11, 41]);
    bystander.assert_unchanged(&queue);
    Ok(())
}
