//! What is shown of a batch: failures by code, the statuses of `watch`, the time left.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, SOON, Tested, eventually, fresh, outcomes,
    queue_on,
};
use batchwright::limits::FAILURE_CODES;
use batchwright::testing::{CommitFault, ManualClock, MemoryDisk};
use batchwright::{
    Batch, BatchError, BatchType, Blocked, Failure, OpenError, Outcome, Queue, Report, RetryPolicy,
    State, Status, TableError, WaitError, Watch,
};
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

/// The code that items of `coded` fail with; every third one succeeds.
fn code_of(n: u64) -> Option<&'static str> {
    [None, Some("bad"), Some("worse")][n as usize % 3]
}

/// Passes the door before every item, one item at a time.
fn coded(door: &Door) -> Call {
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        match code_of(n) {
            Some(code) => Err(Failure::permanent(code, "as asked")),
            None => Ok(n),
        }
    });
    call.key(|_| Some("one at a time".to_owned()))
}

/// The failures by code of the batch's outcomes.
fn recounted<O: BatchType>(
    batch: &Batch<O>,
) -> Result<BTreeMap<String, u64>, Box<dyn std::error::Error>> {
    let mut failures = BTreeMap::new();
    for item in outcomes(batch)? {
        if let Outcome::Failed(failure) = item.outcome {
            *failures.entry(failure.code).or_default() += 1;
        }
    }
    Ok(failures)
}

#[track_caller]
fn assert_adds_up(report: &Report) {
    let sum: u64 = report.failures.values().sum();
    assert_eq!(sum, report.status.failed, "{report}");
}

fn open(disk: &MemoryDisk, clock: &ManualClock, door: &Door) -> Result<Queue, OpenError> {
    queue_on(clock).register(coded(door)).open_in_memory(disk)
}

#[test]
fn failures_are_counted_live_over_crashes_stops_and_reopens() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..90)?;
    let counted = |bad, worse| {
        let counts = [("bad".to_owned(), bad), ("worse".to_owned(), worse)];
        BTreeMap::from_iter(counts.into_iter().filter(|(_, n)| *n > 0))
    };

    // Live.
    assert_eq!(batch.report()?.failures, counted(0, 0));
    door.admit(2);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 2));
    assert_eq!(batch.report()?.failures, counted(1, 0));
    door.admit(30);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 32));
    let report = batch.report()?;
    assert_eq!(report.failures, counted(11, 10));
    assert_adds_up(&report);

    // After a crash.
    let id = batch.id();
    disk.cut_power();
    door.open();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let batch = queue.batch(id)?;
    door.wait_for(1);
    let report = batch.report()?;
    assert_eq!(report.failures, counted(11, 10));
    assert_adds_up(&report);

    // Stopped, resumed, and stopped in another opening.
    door.admit(2);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 34));
    door.wait_for(3);
    batch.stop()?;
    door.admit(1);
    assert_eq!(batch.ends()?.failures, counted(12, 11));
    batch.resume()?;
    assert_eq!(batch.report()?.failures, counted(12, 11));
    door.wait_for(4);
    batch.stop()?;
    door.admit(1);
    assert_eq!(batch.ends()?.failures, counted(12, 12));
    queue.shutdown(AMPLE)?;
    let queue = open(&disk, &clock, &door)?;
    let batch = queue.batch(id)?;
    let report = batch.report()?;
    assert_eq!(
        (report.status.state, report.status.processed()),
        (State::Stopped, 36)
    );
    assert_eq!(report.failures, counted(12, 12));

    // After the end, and after another reopening.
    door.open();
    batch.resume()?;
    assert_eq!(batch.ends()?.failures, counted(30, 30));
    assert_eq!(recounted(&batch)?, counted(30, 30));
    queue.shutdown(AMPLE)?;
    let queue = open(&disk, &clock, &door)?;
    let report = queue.batch(id)?.report()?;
    assert_eq!(report.failures, counted(30, 30));
    assert_adds_up(&report);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn only_final_failures_are_counted() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::new(|n, cx| {
        let code = format!("attempt {}", cx.attempt());
        match n {
            0 if cx.attempt() == 2 => Ok(n),
            _ => Err(Failure::retryable(code, "again")),
        }
    });
    let queue = queue_on(&clock)
        .register(call.retry(RetryPolicy::exponential(3, MINUTE)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([0, 1, 2])?;
    eventually(|| batch.status().is_ok_and(|status| status.waiting == 3));
    assert_eq!(batch.report()?.failures, BTreeMap::new());
    clock.advance(2 * MINUTE);
    eventually(|| {
        batch
            .status()
            .is_ok_and(|s| (s.succeeded, s.waiting) == (1, 2))
    });
    assert_eq!(batch.report()?.failures, BTreeMap::new());
    clock.advance(4 * MINUTE);
    let failures = batch.ends()?.failures;
    assert_eq!(failures, BTreeMap::from([("attempt 3".to_owned(), 2)]));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn codes_past_the_limit_are_counted_together_in_every_opening() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let open = |door: &Door| {
        let at = door.clone();
        let call = Call::new(move |n, _| {
            if n == 150 {
                at.pass();
            }
            Err(Failure::permanent(format!("code {:03}", n % 100), "no"))
        });
        queue_on(&clock)
            .workers(1)
            .register(call.key(|_| Some("in order".to_owned())))
            .open_in_memory(&disk)
    };
    // The codes that come last in the alphabet come first in the batch.
    let items = || (0..200).rev();
    let queue = open(&door)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(items())?;
    let id = batch.id();
    door.wait_for(1);
    eventually(|| batch.status().is_ok_and(|status| status.failed == 49));
    let live = batch.report()?;
    assert_eq!(live.failures.len(), 49);
    disk.cut_power();
    door.open();
    let queue = open(&door)?;
    let report = queue.batch(id)?.ends()?;
    queue.shutdown(AMPLE)?;
    let queue = open(&door)?;
    let reopened = queue.batch(id)?.report()?;
    for report in [report, reopened] {
        assert_adds_up(&report);
        assert_eq!(report.failures.len(), FAILURE_CODES + 1);
        for n in 0..FAILURE_CODES {
            assert_eq!(report.failures.get(&format!("code {n:03}")), Some(&2));
        }
        let others = report.failures.get(Failure::OTHER_CODES);
        assert_eq!(others, Some(&(200 - 2 * FAILURE_CODES as u64)));
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_report_is_there_while_the_disk_is_not() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::new(|_, _| Err(Failure::permanent("no", "never"))))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([1, 2])?;
    batch.ends()?;
    let mut report = None;
    queue.read(|_| {
        report = Some(batch.report());
        Ok::<_, TableError>(())
    })?;
    let report = report.ok_or("the read did not run")??;
    assert_eq!(report.failures.get("no"), Some(&2));
    Ok(())
}

/// What a watcher is told.
type Told = Option<Result<Status, WaitError>>;

/// What the next call gives, on a thread of its own: a lost wake-up is to fail a test, not to hang it.
fn soon<O: 'static>(mut watch: Watch<O>) -> Result<(Told, Watch<O>), Box<dyn std::error::Error>> {
    let (told, telling) = mpsc::channel();
    thread::spawn(move || {
        let next = watch.next();
        let _ = told.send((next, watch));
    });
    Ok(telling.recv_timeout(SOON)?)
}

#[test]
fn a_watcher_sees_the_start_every_change_and_the_end() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let blocker = Door::new();
    let at = blocker.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(coded(&door))
        .register(mail)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.submit::<Mail>([0])?;
    blocker.wait_for(1);
    // A slice may already be on its way to the worker: that is in flight, and shown.
    let batch = queue.submit::<Call>([0, 1, 2])?;
    let (first, mut watch) = soon(batch.watch())?;
    assert_eq!(first.ok_or("nothing at first")??.processed(), 0);
    blocker.open();
    let mut seen = 0;
    for admitted in 1..=3 {
        // It has been told of everything up to here, so that it sleeps or is about to.
        door.wait_for(admitted);
        door.admit(1);
        while seen < admitted {
            let (next, again) = soon(watch)?;
            watch = again;
            let status = next.ok_or("it ended early")??;
            assert!(status.processed() >= seen, "{status}");
            seen = status.processed();
        }
        assert_eq!(seen, admitted);
    }
    let mut last = None;
    for status in watch.by_ref() {
        last = Some(status?);
    }
    // The end may have come together with the last item.
    if let Some(last) = last {
        assert_eq!(last.state, State::Completed);
    }
    assert_eq!(batch.status()?.state, State::Completed);
    assert_eq!(watch.next(), None);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Every status that `watch` tells differs from the one before; the last one has ended.
fn watched_to_the_end<O>(watch: Watch<O>) -> Result<Vec<Status>, WaitError> {
    let statuses: Vec<_> = watch.collect::<Result<_, _>>()?;
    for pair in statuses.windows(2) {
        assert_ne!(pair[0], pair[1]);
        assert!(pair[0].processed() <= pair[1].processed());
        assert!(!pair[0].state.has_ended());
    }
    assert!(statuses.last().is_some_and(|last| last.state.has_ended()));
    Ok(statuses)
}

#[test]
fn watchers_of_many_batches_miss_no_end() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let (told, telling) = mpsc::channel();
    for _ in 0..4 {
        let (queue, told) = (queue.clone(), told.clone());
        thread::spawn(move || {
            for n in 0..200 {
                let watched = queue.submit::<Call>(0..n).map(|batch| batch.watch());
                let watched = watched.map_err(|e| e.to_string());
                let seen = watched.and_then(|w| watched_to_the_end(w).map_err(|e| e.to_string()));
                let _ = told.send(seen.map(|seen| seen.len()));
            }
        });
    }
    drop(told);
    // The empty batches are refused.
    let mut ended = 0;
    for _ in 0..800 {
        match telling.recv_timeout(SOON)? {
            Ok(statuses) => {
                assert!(statuses > 0);
                ended += 1;
            }
            Err(error) => assert!(error.contains("item"), "{error}"),
        }
    }
    assert_eq!(ended, 796);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_slow_watcher_skips_to_the_latest() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..50)?;
    let mut watch = batch.watch();
    assert_eq!(watch.next().ok_or("nothing at first")??.processed(), 0);
    door.open();
    batch.ends()?;
    assert_eq!(watch.next(), Some(Ok(batch.status()?)));
    assert_eq!(watch.next(), None);
    // Watched when it is over: the end is all there is.
    let late: Vec<_> = batch.watch().collect();
    assert_eq!(late, [Ok(batch.status()?)]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_stop_is_seen_by_a_watcher() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..50)?;
    door.wait_for(1);
    let mut watch = batch.watch();
    assert!(!watch.next().ok_or("nothing at first")??.stop_requested);
    let watching = thread::spawn(move || watched_to_the_end(watch));
    batch.stop()?;
    door.open();
    let seen = watching.join().map_err(|_| "the watcher panicked")??;
    assert_eq!(seen.last().map(|s| s.state), Some(State::Stopped));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_pause_is_seen_by_a_watcher_and_does_not_end_the_watch() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "for a while")?;
    let batch = queue.submit::<Call>([0])?;
    let paused = Some(Blocked::Paused {
        reason: "for a while".to_owned(),
    });
    let (first, watch) = soon(batch.watch())?;
    assert_eq!(first.ok_or("nothing at first")??.blocked, paused);
    queue.unpause("call")?;
    door.open();
    let (mut next, mut watch) = soon(watch)?;
    while let Some(status) = next {
        assert_eq!(status?.blocked, None);
        (next, watch) = soon(watch)?;
    }
    assert_eq!(batch.status()?.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_handler_or_a_read_cannot_watch_what_would_wait_for_it() -> Tested {
    let (disk, clock) = fresh();
    let slot = Arc::new(Mutex::new(None::<(Batch<Mail>, Batch<Mail>)>));
    let log = Log::new();
    let (inner, seen) = (slot.clone(), log.clone());
    let call = Call::new(move |n, _| {
        let batches = inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((ended, stopped)) = &*batches {
            seen.push(ended.watch().collect::<Vec<_>>());
            seen.push(stopped.watch().collect::<Vec<_>>());
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let ended = queue.submit::<Mail>([1])?;
    ended.ends()?;
    queue.pause("mail", "held")?;
    let held = queue.submit::<Mail>([1])?;
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((ended.clone(), held.clone()));
    queue.submit::<Call>([1])?.ends()?;
    queue.read(|_| {
        log.push(ended.watch().collect());
        log.push(held.watch().collect());
        Ok::<_, TableError>(())
    })?;
    let end = vec![Ok(ended.status()?)];
    let refused = vec![Err(WaitError::WouldDeadlock)];
    assert_eq!(log.entries(), [end.clone(), refused.clone(), end, refused]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_watch_ends_with_the_error_that_wait_gives() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let batch = queue.submit::<Call>([0, 1])?;
    let id = batch.id();
    let ended = queue.submit::<Call>([0])?;
    door.admit(1);
    door.wait_for(2);

    // Closed: nothing of memory is shown any more.
    let (_, watch) = soon(batch.watch())?;
    let watching = thread::spawn(move || watch.last());
    door.open();
    queue.shutdown(AMPLE)?;
    let last = watching.join().map_err(|_| "the watcher panicked")?;
    let closed = Some(Err(WaitError::Batch(BatchError::Closed)));
    // The batch may just have ended before.
    assert!(last == closed || matches!(last, Some(Ok(_))), "{last:?}");
    assert_eq!(
        ended.watch().collect::<Vec<_>>(),
        [Err(BatchError::Closed.into())]
    );

    // Not registered: shown, and then the error.
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    assert_eq!(queue.submit::<Call>([0, 1])?.id(), id);
    disk.cut_power();
    door.open();
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let batch = queue.batch(id)?;
    let mut watch = batch.watch();
    let blocked = watch.next().ok_or("nothing at first")??.blocked;
    assert_eq!(blocked, Some(Blocked::Unregistered));
    let error = batch.wait().err().ok_or("the wait ended well")?;
    assert!(matches!(error, WaitError::Unregistered { .. }));
    assert_eq!(watch.next(), Some(Err(error)));
    assert_eq!(watch.next(), None);
    Ok(())
}

#[test]
fn a_watcher_is_woken_when_the_queue_fails() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let batch = queue.submit::<Call>(0..9)?;
    door.wait_for(1);
    let (_, watch) = soon(batch.watch())?;
    disk.fail_next_commit(CommitFault::NotDone);
    door.open();
    let (next, mut watch) = soon(watch)?;
    let failed = matches!(next, Some(Err(WaitError::Batch(BatchError::Failed { .. }))));
    assert!(failed, "{next:?}");
    assert_eq!(watch.next(), None);
    Ok(())
}

#[test]
fn the_time_left_follows_the_pace_since_the_batch_went_on() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = open(&disk, &clock, &door)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..10)?;
    let left = || batch.status().map(|status| status.time_left);
    let mut processed = 0;
    // One more item ends, `secs` later.
    let mut step = |secs| -> Result<Status, BatchError> {
        door.wait_for(processed + 1);
        clock.advance(Duration::from_secs(secs));
        door.admit(1);
        processed += 1;
        eventually(|| batch.status().is_ok_and(|s| s.processed() >= processed));
        batch.status()
    };
    assert_eq!(left()?, None);
    let status = step(10)?;
    assert_eq!(status.time_left, Some(Duration::from_secs(90)));
    let shown = status.to_string();
    assert!(shown.contains("about 1 min 30 s left"), "{shown}");
    assert_eq!(step(20)?.time_left, Some(Duration::from_secs(120)));
    // It is of the moment when the last item ended.
    clock.advance(Duration::from_secs(3));
    assert_eq!(left()?, Some(Duration::from_secs(120)));

    // The time for which it was paused says nothing.
    door.wait_for(3);
    queue.pause("call", "for a while")?;
    assert_eq!(left()?, None);
    door.admit(1);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 3));
    clock.advance(100 * MINUTE);
    queue.unpause("call")?;
    assert_eq!(left()?, None);
    door.wait_for(4);
    clock.advance(Duration::from_secs(1));
    door.admit(1);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 4));
    assert_eq!(left()?, Some(Duration::from_secs(6)));

    // Nor that for which it was stopped.
    door.wait_for(5);
    batch.stop()?;
    assert_eq!(left()?, None);
    door.admit(1);
    assert_eq!(batch.ends()?.status.time_left, None);
    clock.advance(100 * MINUTE);
    batch.resume()?;
    assert_eq!(left()?, None);
    door.wait_for(6);
    clock.advance(Duration::from_secs(2));
    door.admit(1);
    eventually(|| batch.status().is_ok_and(|status| status.processed() == 6));
    assert_eq!(left()?, Some(Duration::from_secs(8)));
    door.open();
    assert_eq!(batch.ends()?.status.time_left, None);
    bystander.assert_unchanged(&queue);
    Ok(())
}
