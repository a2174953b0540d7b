//! What the queue tells of itself in figures.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Post, SOON, Tested, add, eventually, fresh, queue_on,
};
use batchwright::testing::ManualClock;
use batchwright::{Failure, OperationStats, Queue, RetryPolicy, State};
use std::error::Error;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

fn operation(queue: &Queue, name: &str) -> Result<OperationStats, Box<dyn Error>> {
    let found = queue.stats()?.operations.into_iter();
    let mut found = found.filter(|operation| operation.name == name);
    found.next().ok_or_else(|| format!("no {name}").into())
}

/// Item 0 succeeds, 1 fails, 2 panics, 3 fails twice and succeeds then.
fn mixed() -> Call {
    let call = Call::new(|n, cx| match n % 4 {
        1 => Err(Failure::permanent("no", "never")),
        2 => panic!("as it should"),
        3 if cx.attempt() < 3 => Err(Failure::retryable("later", "not yet")),
        _ => Ok(n),
    });
    call.retry(RetryPolicy::exponential(5, MINUTE).longest_wait(MINUTE))
}

fn run_mixed(queue: &Queue, clock: &ManualClock) -> Tested {
    let before = operation(queue, "call")?;
    let batch = queue.submit::<Call>(0..40)?;
    for attempts in 1..=2 {
        let retried = before.retried + 10 * attempts;
        eventually(|| {
            operation(queue, "call").is_ok_and(|now| (now.retried, now.waiting) == (retried, 10))
        });
        clock.advance(2 * MINUTE);
    }
    assert_eq!(batch.ends()?.status.state, State::Completed);
    Ok(())
}

#[test]
fn totals_are_what_was_done_and_start_at_zero_with_each_opening() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(mixed())
            .register(Mail::echo())
            .register(Post::new(|n, cx| add(cx, "sum", n)))
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    queue.submit::<Mail>([1, 2])?.ends()?;
    let (watched, mails) = (operation(&queue, "bystander")?, operation(&queue, "mail")?);
    assert_eq!((mails.submitted, mails.succeeded), (1, 2));
    for round in 1..=2 {
        run_mixed(&queue, &clock)?;
        let call = operation(&queue, "call")?;
        assert_eq!(call.submitted, round);
        assert_eq!((call.succeeded, call.failed), (20 * round, 20 * round));
        assert_eq!((call.retried, call.panicked), (20 * round, 10 * round));
        assert_eq!(call.handler_time.count, 60 * round);
        assert_eq!((call.batches, call.queued, call.in_flight), (0, 0, 0));
        assert_eq!((call.waiting, call.oldest_queued), (0, None));
    }
    let sums = queue.submit::<Post>(0..5)?;
    sums.ends()?;
    let post = operation(&queue, "post")?;
    assert_eq!((post.succeeded, post.handler_time.count), (5, 5));
    assert_eq!(operation(&queue, "bystander")?, watched);
    assert_eq!(operation(&queue, "mail")?, mails);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;

    let queue = open()?;
    for name in ["call", "mail", "post"] {
        let mut new = OperationStats::default();
        new.name = name.to_owned();
        new.registered = true;
        assert_eq!(operation(&queue, name)?, new);
    }
    let watched = operation(&queue, "bystander")?;
    assert_eq!((watched.waiting, watched.submitted), (2, 0));
    Ok(())
}

#[test]
fn figures_of_now_say_where_items_are_and_how_long_the_oldest_waits() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.concurrency(1))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let mails = operation(&queue, "mail")?;
    let places = || {
        let call = operation(&queue, "call").unwrap_or_default();
        (
            call.batches,
            call.in_flight,
            call.queued,
            call.oldest_queued,
        )
    };
    let running = queue.submit::<Call>([1])?;
    door.wait_for(1);
    eventually(|| places() == (1, 1, 0, None));
    // The oldest batch has nothing that waits for a worker.
    clock.advance(MINUTE);
    let stopped = queue.submit::<Call>([2, 3])?;
    clock.advance(MINUTE);
    let last = queue.submit::<Call>(0..40)?;
    clock.advance(MINUTE);
    assert_eq!(places(), (3, 1, 42, Some(2 * MINUTE)));
    stopped.stop()?;
    assert_eq!(places(), (2, 1, 40, Some(MINUTE)));
    // Of a batch that is being stopped, what runs runs on and nothing else waits.
    door.admit(1);
    running.ends()?;
    door.wait_for(2);
    eventually(|| {
        let (batches, in_flight, queued, oldest) = places();
        let all = in_flight > 0 && queued > 0 && in_flight + queued == 40;
        batches == 1 && all && oldest == Some(MINUTE)
    });
    last.stop()?;
    let (batches, in_flight, queued, oldest) = places();
    assert_eq!((batches, queued, oldest), (1, 0, None));
    assert!(in_flight > 0);
    assert_eq!(operation(&queue, "mail")?, mails);
    door.open();
    last.ends()?;
    assert_eq!(places(), (0, 0, 0, None));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn stats_wait_neither_for_a_commit_nor_for_a_read() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let before = queue.stats()?;
    let held = disk.hold_commits();
    let (say, said) = mpsc::channel();
    thread::scope(|scope| -> Tested {
        let submit = scope.spawn(|| queue.submit::<Call>([1]));
        assert!(held.wait_for_commit());
        scope.spawn(|| drop(say.send(queue.stats())));
        let during = said.recv_timeout(SOON);
        drop(held);
        // Nothing of the commit is shown before it is durable.
        assert_eq!(during??, before);
        submit
            .join()
            .map_err(|_| "the submitter panicked")??
            .ends()?;
        Ok(())
    })?;
    let after = queue.stats()?;
    assert!(after.size_on_disk > before.size_on_disk);
    assert_eq!(operation(&queue, "call")?.succeeded, 1);

    // A reader, and a commit that waits for it.
    let (begin, began) = mpsc::channel();
    let (end, ending) = mpsc::channel::<()>();
    thread::scope(|scope| -> Tested {
        let queue = &queue;
        let reader = scope.spawn(move || {
            queue.read(|_| {
                let _ = begin.send(());
                let _ = ending.recv();
                Ok(())
            })
        });
        began.recv_timeout(SOON)?;
        let submit = scope.spawn(|| queue.submit::<Call>([2]));
        scope.spawn(|| drop(say.send(queue.stats())));
        let during = said.recv_timeout(SOON);
        end.send(())?;
        assert_eq!(during??, after);
        reader.join().map_err(|_| "the reader panicked")??;
        submit
            .join()
            .map_err(|_| "the submitter panicked")??
            .ends()?;
        Ok(())
    })?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn commits_are_counted_and_timed_with_the_items_in_them() -> Tested {
    const HELD: Duration = Duration::from_millis(20);
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let before = queue.stats()?.writer;
    let stored = disk.commits();
    let held = disk.hold_commits();
    thread::scope(|scope| -> Tested {
        let submit = scope.spawn(|| queue.submit::<Call>(0..30));
        assert!(held.wait_for_commit());
        let since = Instant::now();
        while since.elapsed() < HELD {
            thread::yield_now();
        }
        drop(held);
        submit
            .join()
            .map_err(|_| "the submitter panicked")??
            .ends()?;
        Ok(())
    })?;
    let writer = queue.stats()?.writer;
    assert_eq!(writer.commits - before.commits, disk.commits() - stored);
    // Each item once when it was accepted and once with its outcome.
    assert_eq!(writer.items - before.items, 60);
    let per_commit = writer.items as f64 / writer.commits as f64;
    assert_eq!(writer.items_per_commit(), per_commit);
    let time = writer.commit_time;
    assert_eq!(time.count, writer.commits);
    assert!(time.max >= HELD && time.p99 == time.max, "{time:?}");
    assert!(time.mean <= time.max && time.p50 < HELD, "{time:?}");
    assert!(before.commit_time.max < time.max, "{before:?}");
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn each_attempt_is_timed_on_its_own() -> Tested {
    const SLOW: Duration = Duration::from_millis(20);
    let (disk, clock) = fresh();
    // A slow one among quicker ones, several to a slice.
    let call = Call::new(|n, _| {
        let since = Instant::now();
        let takes = if n == 3 { SLOW } else { SLOW / 40 };
        while since.elapsed() < takes {
            thread::yield_now();
        }
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let watched = operation(&queue, "bystander")?;
    let since = Instant::now();
    queue.submit::<Call>(0..50)?.ends()?;
    let elapsed = since.elapsed();
    let time = operation(&queue, "call")?.handler_time;
    assert_eq!(time.count, 50);
    assert!(time.max >= SLOW && time.p99 == time.max, "{time:?}");
    assert!(time.p50 < SLOW && time.mean >= SLOW / 40, "{time:?}");
    // There is one worker, and no time is counted twice.
    assert!(time.mean * 50 <= elapsed, "{time:?} in {elapsed:?}");
    assert_eq!(operation(&queue, "mail")?.handler_time.count, 0);
    assert_eq!(operation(&queue, "bystander")?, watched);
    bystander.assert_unchanged(&queue);
    Ok(())
}
