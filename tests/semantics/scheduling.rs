//! What goes first, what waits for its time, and what it is called.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Post, Tested, fresh, never, outputs, queue_on,
};
use batchwright::testing::{ManualClock, MemoryDisk};
use batchwright::{BatchFilter, Clock, Queue, State, SubmitError, SubmitOptions, limits};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HOUR: Duration = Duration::from_secs(3600);

fn priority(priority: i8) -> SubmitOptions {
    SubmitOptions::new().priority(priority)
}

fn not_before(time: SystemTime) -> SubmitOptions {
    SubmitOptions::new().not_before(time)
}

/// A queue with one worker, which waits at the door in an item of [`Mail`]; what [`Call`] runs is logged.
fn held_worker(
    disk: &MemoryDisk,
    clock: &ManualClock,
    door: &Door,
    log: &Log<u64>,
) -> Result<(Queue, Bystander), Box<dyn std::error::Error>> {
    let (at, written, posted) = (door.clone(), log.clone(), log.clone());
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let call = Call::new(move |n, _| {
        written.push(n);
        Ok(n)
    });
    let post = Post::new(move |n, _| {
        posted.push(n);
        Ok(n)
    });
    let queue = queue_on(clock)
        .workers(1)
        .register(mail)
        .register(call.key(|n| (n >= 1_000).then(|| (n % 10).to_string())))
        .register(post)
        .open_in_memory(disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.submit::<Mail>([1])?;
    door.wait_for(1);
    Ok((queue, bystander))
}

#[test]
fn the_queues_time_is_that_of_its_handlers_never_goes_back_and_outlives_it() -> Tested {
    let (disk, clock) = fresh();
    let seen = Log::new();
    let log = seen.clone();
    let call = Call::new(move |n, cx| {
        log.push(cx.now());
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    clock.advance(HOUR + Duration::from_nanos(1));
    let later = queue.now();
    // To the millisecond.
    assert_eq!(later, clock.now() - Duration::from_nanos(1));
    queue.submit::<Call>([1])?.ends()?;
    clock.set(clock.now() - 2 * HOUR);
    assert_eq!(queue.now(), later);
    queue.submit::<Call>([2])?.ends()?;
    assert_eq!(seen.entries(), [later, later]);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    clock.advance(HOUR);
    assert_eq!(queue.now(), later + HOUR);
    Ok(())
}

#[test]
fn a_handler_sees_higher_priorities_first() -> Tested {
    let (disk, clock) = fresh();
    let (door, log) = (Door::new(), Log::new());
    let (queue, bystander) = held_worker(&disk, &clock, &door, &log)?;
    let batches = [
        queue.submit_with::<Call>([50, 51], priority(-3))?.id(),
        queue
            .submit_with::<Post>([30, 31], SubmitOptions::new())?
            .id(),
        queue.submit_with::<Call>([20, 21], priority(7))?.id(),
        queue.submit_with::<Post>([60], priority(i8::MIN))?.id(),
        queue.submit_with::<Post>([10, 11], priority(i8::MAX))?.id(),
    ];
    assert_eq!(queue.batch(batches[2])?.status()?.priority, 7);
    bystander.assert_unchanged(&queue);
    door.open();
    for id in batches {
        queue.batch(id)?.ends()?;
    }
    assert_eq!(log.entries(), [10, 11, 20, 21, 30, 31, 50, 51, 60]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn equal_keys_run_in_submit_order_whatever_their_priority() -> Tested {
    let (disk, clock) = fresh();
    let (door, log) = (Door::new(), Log::new());
    let (queue, bystander) = held_worker(&disk, &clock, &door, &log)?;
    let low = queue.submit_with::<Call>([1_001, 1_011], priority(-1))?;
    let high = queue.submit_with::<Call>([2_001, 2_002], priority(9))?;
    door.open();
    low.ends()?;
    high.ends()?;
    let ones: Vec<_> = log.entries().into_iter().filter(|n| n % 10 == 1).collect();
    assert_eq!(ones, [1_001, 1_011, 2_001]);
    assert_eq!(log.entries()[0], 2_002, "the free one goes first");
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn nothing_of_a_delayed_batch_runs_early_and_all_of_it_when_the_clock_moves() -> Tested {
    for keyed in [false, true] {
        let (disk, clock) = fresh();
        let log = Log::new();
        let written = log.clone();
        let call = Call::new(move |n, _| {
            written.push(n);
            Ok(n)
        });
        let key: fn(u64) -> Option<String> = if keyed {
            |_| Some("k".to_owned())
        } else {
            |_| None
        };
        let queue = queue_on(&clock)
            .register(call.key(key))
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let time = clock.now() + HOUR;
        let batch = queue.submit_with::<Call>([1, 2], not_before(time))?;
        let status = batch.status()?;
        assert_eq!(
            (status.state, status.not_before, status.blocked),
            (State::Queued, Some(time), None)
        );
        let stats = queue.stats()?;
        let call = stats.operations.iter().find(|o| o.name == "call");
        let counts = call.map(|o| (o.batches, o.queued, o.scheduled));
        assert_eq!(counts, Some((1, 0, 2)));
        // It holds up nobody.
        queue.submit::<Call>([3])?.ends()?;
        clock.advance(HOUR - Duration::from_millis(1));
        never(|| log.len() > 1);
        clock.advance(Duration::from_millis(1));
        let status = batch.ends()?.status;
        assert_eq!(status.started_at, Some(time));
        assert_eq!(log.entries(), [3, 1, 2]);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_delay_survives_a_power_cut_and_a_reopen() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo().key(|n| (n > 1).then(|| "k".to_owned())))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let time = clock.now() + HOUR;
    let ids = [[1], [2]].map(|items| queue.submit_with::<Call>(items, not_before(time)));
    let ids: Vec<_> = ids
        .into_iter()
        .map(|batch| batch.map(|batch| batch.id()))
        .collect::<Result<_, _>>()?;
    disk.cut_power();
    let queue = open()?;
    queue.submit::<Call>([1, 2])?.ends()?;
    for id in &ids {
        let status = queue.batch(*id)?.status()?;
        assert_eq!(
            (status.state, status.not_before),
            (State::Queued, Some(time))
        );
    }
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    clock.advance(HOUR);
    let queue = open()?;
    for id in ids {
        let status = queue.batch(id)?.ends()?.status;
        assert_eq!((status.succeeded, status.not_before), (1, Some(time)));
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Opens a queue with one worker, which logs the items of [`Call`]; those below 10 have one ordering key.
fn one_line(
    disk: &MemoryDisk,
    clock: &ManualClock,
    log: &Log<u64>,
) -> Result<Queue, batchwright::OpenError> {
    let written = log.clone();
    let call = Call::new(move |n, _| {
        written.push(n);
        Ok(n)
    });
    queue_on(clock)
        .workers(1)
        .register(call.key(|n| (n < 10).then(|| "k".to_owned())))
        .open_in_memory(disk)
}

#[test]
fn the_place_that_a_batch_takes_when_its_time_comes_is_durable() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let queue = one_line(&disk, &clock, &log)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "hold")?;
    let first = not_before(clock.now() + HOUR);
    let second = not_before(clock.now() + 2 * HOUR);
    let delayed = [
        queue.submit_with::<Call>([4], second)?.id(),
        queue.submit_with::<Call>([1], first)?.id(),
    ];
    clock.advance(HOUR);
    let plain = queue.submit::<Call>([2, 3])?.id();
    disk.cut_power();
    // The other one's time comes while no process runs.
    clock.advance(HOUR);
    let queue = one_line(&disk, &clock, &log)?;
    bystander.assert_unchanged(&queue);
    queue.unpause("call")?;
    for id in delayed.into_iter().chain([plain]) {
        queue.batch(id)?.ends()?;
    }
    assert_eq!(log.entries(), [1, 2, 3, 4]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn priority_survives_a_power_cut() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let queue = one_line(&disk, &clock, &log)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "hold")?;
    let low = queue.submit_with::<Call>([20, 21], priority(-1))?.id();
    let high = queue.submit_with::<Call>([10, 11], priority(1))?.id();
    disk.cut_power();
    let queue = one_line(&disk, &clock, &log)?;
    assert_eq!(queue.batch(low)?.status()?.priority, -1);
    queue.unpause("call")?;
    for id in [low, high] {
        queue.batch(id)?.ends()?;
    }
    assert_eq!(log.entries(), [10, 11, 20, 21]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_delayed_batch_is_stopped_at_once_and_resumed_to_wait_again() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit_with::<Call>([1], not_before(clock.now() + HOUR))?;
    assert_eq!(batch.stop()?.state, State::Stopped);
    assert_eq!(batch.resume()?.state, State::Queued);
    never(|| batch.status().is_ok_and(|status| status.in_flight > 0));
    clock.advance(HOUR);
    batch.ends()?;
    assert_eq!(outputs(&batch)?, [1]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_fraction_of_a_millisecond_is_not_early() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let time = clock.now() + Duration::from_millis(10) + Duration::from_nanos(1);
    let batch = queue.submit_with::<Call>([1], not_before(time))?;
    clock.advance(Duration::from_millis(10));
    never(|| {
        batch
            .status()
            .is_ok_and(|status| status.state != State::Queued)
    });
    clock.advance(Duration::from_millis(1));
    batch.ends()?;
    Ok(())
}

#[test]
fn a_time_in_the_past_delays_nothing() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    for time in [
        UNIX_EPOCH - HOUR,
        UNIX_EPOCH,
        clock.now() - HOUR,
        clock.now(),
    ] {
        let batch = queue.submit_with::<Call>([1], not_before(time))?;
        assert_eq!(batch.ends()?.status.succeeded, 1);
    }
    Ok(())
}

#[test]
fn the_last_time_there_is_can_be_waited_for() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let mut last = UNIX_EPOCH;
    for bit in (0..63).rev() {
        let later = last.checked_add(Duration::from_secs(1 << bit));
        last = later.unwrap_or(last);
    }
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let id = queue.submit_with::<Call>([1], not_before(last))?.id();
    clock.advance(HOUR);
    queue.submit::<Call>([2])?.ends()?;
    queue.shutdown(AMPLE)?;
    let queue = open()?;
    let batch = queue.batch(id)?;
    let status = batch.status()?;
    assert_eq!(status.state, State::Queued);
    assert!(
        status.not_before > Some(clock.now()),
        "{:?}",
        status.not_before
    );
    bystander.assert_unchanged(&queue);
    assert_eq!(batch.stop()?.state, State::Stopped);
    Ok(())
}

/// A clock that tells nobody when it is set.
#[derive(Clone)]
struct QuietClock(Arc<Mutex<SystemTime>>);

impl Clock for QuietClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[test]
fn a_batch_with_keys_whose_time_comes_during_a_commit_runs_without_further_ado() -> Tested {
    let (disk, manual) = fresh();
    let start = manual.now();
    let clock = QuietClock(Arc::new(Mutex::new(start)));
    let queue = queue_on(&manual)
        .clock(clock.clone())
        .register(Call::echo().key(|_| Some("k".to_owned())))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    // No timer of anybody else may wake the queue.
    queue.pause("mail", "stay")?;
    let bystander = queue.submit::<Mail>([1])?;
    let before = bystander.status()?;
    let batch = queue.submit_with::<Call>([1], not_before(start + HOUR))?;
    let held = disk.hold_commits();
    std::thread::scope(|scope| -> Tested {
        let pause = scope.spawn(|| queue.pause("mail", "still"));
        assert!(held.wait_for_commit());
        *clock.0.lock().unwrap_or_else(PoisonError::into_inner) = start + HOUR;
        drop(held);
        pause.join().map_err(|_| "a pause panicked")??;
        Ok(())
    })?;
    batch.ends()?;
    let mut after = bystander.status()?;
    after.blocked.clone_from(&before.blocked);
    assert_eq!(after, before);
    Ok(())
}

#[test]
fn a_label_is_shown_and_listed_by_and_has_a_limit() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let label = |text: &str| SubmitOptions::new().label(text);
    let longest = "x".repeat(limits::NAME_BYTES);
    let march = queue.submit_with::<Call>([1], label("march"))?;
    let long = queue.submit_with::<Call>([2], label(&longest))?;
    let plain = queue.submit::<Call>([3])?;
    for bytes in [0, limits::NAME_BYTES + 1] {
        let refused = queue.submit_with::<Call>([4], label(&"x".repeat(bytes)));
        let limit = limits::NAME_BYTES;
        let expected = SubmitError::InvalidOption {
            option: "label",
            bytes,
            limit,
        };
        assert_eq!(refused.map(|batch| batch.id()).err(), Some(expected));
    }
    for batch in [&march, &long, &plain] {
        batch.ends()?;
    }
    let check = |queue: &Queue| -> Tested {
        for (batch, text) in [
            (&march, Some("march")),
            (&long, Some(&*longest)),
            (&plain, None),
        ] {
            let status = queue.batch(batch.id())?.status()?;
            assert_eq!(status.label.as_deref(), text);
        }
        let listed = |filter: BatchFilter| -> Result<Vec<_>, _> {
            queue
                .batches(filter)
                .map(|status| status.map(|status| status.id))
                .collect()
        };
        assert_eq!(listed(BatchFilter::all().label("march"))?, [march.id()]);
        assert_eq!(listed(BatchFilter::all().label(&*longest))?, [long.id()]);
        assert_eq!(listed(BatchFilter::all().label("marc"))?, []);
        bystander.assert_unchanged(queue);
        Ok(())
    };
    check(&queue)?;
    queue.shutdown(AMPLE)?;
    check(&open()?)?;
    Ok(())
}
