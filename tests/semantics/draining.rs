//! A queue without worker threads: what runs when, and that it is otherwise a queue like any other.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Log, Mail, Post, Tested, add, fresh, outcomes, queue_on,
    shut_down_failed, sum,
};
use batchwright::limits::Limits;
use batchwright::testing::{Assertions, CommitFault, DrainError, DrainedQueue};
use batchwright::{
    BatchId, Blocked, Clock, Context, ExactlyOnce, Failure, Guarantee, OpenError, Operation, Queue,
    RetryPolicy, ShutdownError, State, SubmitError, SubmitOptions, WaitError,
};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);

/// A place for a queue that its own handlers use.
type Own<T> = Arc<OnceLock<T>>;

type Attempt = (BatchId, usize, u32);

fn attempt<G: Guarantee>(cx: &Context<G>) -> Attempt {
    (cx.batch_id(), cx.index(), cx.attempt())
}

/// Keeps the thread busy, as a slow handler does, so that it also ends late.
fn dawdle(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Retries of several kinds, both guarantees, keys, handlers that submit: which attempts it makes, in order,
/// when handlers take as long as `pace` says.
fn attempts_of_a_script(
    pace: fn(usize) -> Duration,
) -> Result<Vec<Attempt>, Box<dyn std::error::Error>> {
    let (disk, clock) = fresh();
    let log = Log::new();
    let own: Own<Queue> = Own::default();
    let (ran, queue) = (log.clone(), Arc::clone(&own));
    let call = Call::new(move |n, cx| {
        dawdle(pace(ran.len()));
        ran.push(attempt(cx));
        if n == 13
            && let Some(queue) = queue.get()
        {
            let id = queue.submit::<Mail>(0..20).map(|batch| batch.id());
            return id
                .map(u64::from)
                .map_err(|e| Failure::permanent("no", e.to_string()));
        }
        if n % 7 == 3 && cx.attempt() < 3 {
            return Err(Failure::retryable("seven", "again"));
        }
        Ok(n)
    });
    let ran = log.clone();
    let post = Post::new(move |n, cx| {
        dawdle(pace(ran.len()));
        ran.push(attempt(cx));
        let sum = add(cx, "all", n)?;
        if n % 5 == 0 && cx.attempt() == 1 {
            return Err(Failure::retryable("five", "again"));
        }
        Ok(sum)
    });
    let ran = log.clone();
    let mail = Mail::new(move |n, cx| {
        dawdle(pace(ran.len()));
        ran.push(attempt(cx));
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call.retry(RetryPolicy::exponential(3, Duration::ZERO)))
        .register(post.retry(RetryPolicy::exponential(2, MINUTE)))
        .register(mail.key(|n| Some((n % 4).to_string())))
        .open_to_drain(&disk)?;
    let _ = own.set(queue.clone());
    let bystander = Bystander::enter_drained(&queue)?;
    queue.submit::<Call>(0..40)?;
    queue.submit::<Post>(0..40)?;
    queue.submit::<Mail>(0..10)?;
    queue.drain_at_most(25)?;
    queue.submit::<Call>(0..3)?;
    queue.submit::<Post>(6..9)?;
    queue.drain()?;
    clock.advance(MINUTE);
    queue.drain()?;
    assert_eq!(sum(&queue, "all")?, (0..40).sum::<u64>() + 6 + 7 + 8);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    Ok(log.entries())
}

#[test]
fn the_same_calls_make_the_same_attempts_in_the_same_order_however_long_handlers_take() -> Tested {
    let first = attempts_of_a_script(|_| Duration::ZERO)?;
    // 40 of Call and 5 x 2 more of 3, 10, 17, ...; 40 of Post and 8 more; 30 of Mail; the late ones.
    assert_eq!(first.len(), 40 + 12 + 40 + 8 + 30 + 3 + 3);
    for round in 0..50 {
        // Some over the time of a slice, each time others.
        let slow = match round % 3 {
            0 => |_| Duration::ZERO,
            1 => |n| Duration::from_micros(if n % 29 == 4 { 6_000 } else { 0 }),
            _ => |n| Duration::from_micros(n as u64 * 37 % 400),
        };
        assert_eq!(attempts_of_a_script(slow)?, first, "round {round}");
    }
    Ok(())
}

#[test]
fn batches_take_turns_by_priority_and_in_the_order_in_which_they_came() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, cx| {
        ran.push((u64::from(cx.batch_id()), cx.index()));
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let a = u64::from(queue.submit::<Call>(0..20)?.id());
    let b = u64::from(queue.submit::<Call>(0..3)?.id());
    let first = SubmitOptions::new().priority(1);
    let c = u64::from(queue.submit_with::<Call>(0..2, first)?.id());
    assert_eq!(queue.drain()?, 25);
    let expected: Vec<_> = (0..2)
        .map(|n| (c, n))
        .chain((0..16).map(|n| (a, n)))
        .chain((0..3).map(|n| (b, n)))
        .chain((16..20).map(|n| (a, n)))
        .collect();
    assert_eq!(log.entries(), expected);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn handlers_run_on_the_thread_that_drains_and_nothing_runs_before() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let call = || {
        let ran = log.clone();
        Call::new(move |n, _| {
            ran.push(thread::current().id());
            Ok(n)
        })
    };
    let queue = queue_on(&clock).register(call()).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Call>(0..100)?.id();
    let stands = |queue: &Queue| -> Tested {
        let batch = queue.batch(id)?;
        let status = batch.assert_state(State::Queued);
        assert_eq!((status.in_flight, status.started_at), (0, None));
        let at_once = Duration::from_millis(1);
        assert_eq!(batch.wait_timeout(at_once), Err(WaitError::WouldDeadlock));
        assert_eq!(batch.wait(), Err(WaitError::WouldDeadlock));
        Ok(())
    };
    stands(&queue)?;
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock).register(call()).open_to_drain(&disk)?;
    stands(&queue)?;
    assert_eq!(log.len(), 0);
    assert_eq!(queue.drain()?, 100);
    assert_eq!(queue.batch(id)?.wait()?.status.state, State::Completed);
    let here = thread::current().id();
    assert!(log.entries().iter().all(|ran_on| *ran_on == here));
    assert_eq!(queue.drain()?, 0);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn at_most_so_many_attempts_are_made_and_they_survive_a_crash() -> Tested {
    for most in 0..=21 {
        let (disk, clock) = fresh();
        let open = || {
            let post = Post::new(|n, cx| add(cx, "all", n));
            let queue = queue_on(&clock).register(post).register(Call::echo());
            queue.open_to_drain(&disk)
        };
        let queue = open()?;
        let bystander = Bystander::enter_drained(&queue)?;
        let post = queue.submit::<Post>((0..20).map(|_| 1))?.id();
        assert_eq!(queue.drain_at_most(most)?, most.min(20));
        disk.cut_power();
        drop(queue);
        let queue = open()?;
        let batch = queue.batch(post)?;
        assert_eq!(outcomes(&batch)?.len() as u64, most.min(20));
        assert_eq!(sum(&queue, "all")?, most.min(20));
        if most < 20 {
            batch.assert_unfinished(most as usize);
        }
        queue.submit::<Call>([1])?;
        assert_eq!(queue.drain()?, 20 - most.min(20) + 1);
        batch.assert_all_succeeded();
        assert_eq!(sum(&queue, "all")?, 20);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_crash_in_a_handler_leaves_its_item_to_run_again() -> Tested {
    let (disk, clock) = fresh();
    let cut = disk.clone();
    let post = Post::new(move |n, cx| {
        let sum = add(cx, "all", n)?;
        if n == 100 {
            cut.cut_power();
        }
        Ok(sum)
    });
    let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Post>([1, 10, 100, 1_000])?.id();
    queue.drain_at_most(2)?;
    let failed = queue.drain();
    assert!(
        matches!(failed, Err(DrainError::Failed { .. })),
        "{failed:?}"
    );
    assert_eq!(queue.drain(), failed);
    shut_down_failed(&queue)?;
    let post = Post::new(|n, cx| add(cx, "all", n));
    let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
    queue.batch(id)?.assert_unfinished(2);
    assert_eq!(queue.drain()?, 2);
    let sums = queue.batch(id)?.typed::<Post>()?.assert_all_succeeded();
    assert_eq!(sums, [1, 11, 111, 1_111]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_wait_for_the_clock_and_not_for_the_drain() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::new(|n, cx| match cx.attempt() {
        1 => Err(Failure::retryable("busy", "again")),
        _ => Ok(n),
    });
    let queue = queue_on(&clock)
        .register(call.retry(RetryPolicy::exponential(2, MINUTE)))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>([5, 6])?;
    let later = SubmitOptions::new().not_before(clock.now() + MINUTE * 3);
    let later = queue.submit_with::<Call>([7], later)?;
    assert_eq!((queue.drain()?, queue.drain()?), (2, 0));
    assert_eq!(batch.assert_state(State::Running).waiting, 2);
    clock.advance(MINUTE * 3 / 4 - Duration::from_millis(1));
    assert_eq!(queue.drain()?, 0);
    clock.advance(MINUTE);
    assert_eq!((queue.drain()?, queue.drain()?), (2, 0));
    assert_eq!(batch.assert_all_succeeded(), [5, 6]);
    later.assert_state(State::Queued);
    clock.advance(MINUTE * 3);
    assert_eq!((queue.drain()?, queue.drain()?), (1, 0));
    clock.advance(MINUTE);
    assert_eq!(queue.drain()?, 1);
    assert_eq!(later.assert_all_succeeded(), [7]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn what_cannot_run_is_left_alone() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Mail::echo())
        .register(Post::new(|n, cx| add(cx, "all", n)))
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let stopped = queue.submit::<Call>(0..3)?;
    assert_eq!(stopped.stop()?.state, State::Stopped);
    let unregistered = queue.submit::<Mail>(0..3)?.id();
    let undecodable = queue.submit::<Post>(0..3)?.id();
    assert_eq!(queue.drain_at_most(1)?, 1);
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Words)
        .open_to_drain(&disk)?;
    let goes_on = queue.submit::<Call>([9])?;
    assert_eq!(queue.drain()?, 1);
    assert_eq!(goes_on.assert_all_succeeded(), [9]);
    let blocked = |id| queue.batch(id).and_then(|batch| batch.status());
    assert_eq!(blocked(unregistered)?.blocked, Some(Blocked::Unregistered));
    assert!(blocked(undecodable)?.blocked.is_some());
    let stopped = queue.batch(stopped.id())?;
    stopped.assert_state(State::Stopped);
    stopped.assert_unfinished(0);
    assert_eq!(stopped.resume()?.state, State::Queued);
    assert_eq!(queue.drain()?, 3);
    stopped.assert_all_succeeded();
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// [`Post`] after a deploy that reads items as something else.
struct Words;

impl Operation for Words {
    const NAME: &'static str = Post::NAME;
    type Item = String;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, _: String, _: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        Ok(0)
    }
}

#[test]
fn a_stop_in_the_middle_of_a_drain_stops_the_batch_and_nothing_else() -> Tested {
    let (disk, clock) = fresh();
    let own: Own<Queue> = Own::default();
    let queue = Arc::clone(&own);
    let call = Call::new(move |n, cx| {
        if let (3, Some(queue)) = (n, queue.get()) {
            let stopped = queue.batch(cx.batch_id()).and_then(|batch| batch.stop());
            return Ok(u64::from(stopped.is_ok_and(|status| status.stop_requested)));
        }
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_to_drain(&disk)?;
    let _ = own.set(queue.clone());
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>(0..10)?;
    let beside = queue.submit::<Call>([20, 21])?;
    assert_eq!(queue.drain()?, 4 + 2);
    assert_eq!(batch.assert_state(State::Stopped).succeeded, 4);
    assert_eq!(batch.assert_succeeded(3), 1);
    batch.assert_unfinished(4);
    assert_eq!(beside.assert_all_succeeded(), [20, 21]);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn a_handler_may_submit_but_not_wait_shut_down_or_drain() -> Tested {
    let (disk, clock) = fresh();
    let own: Own<DrainedQueue> = Own::default();
    let queue = Arc::clone(&own);
    let call = Call::new(move |n, _| {
        let Some(queue) = queue.get() else {
            return Err(Failure::permanent("no", "queue"));
        };
        let failure = |what: String| Failure::permanent("unexpected", what);
        let more = queue
            .submit::<Mail>([n])
            .map_err(|e| failure(e.to_string()))?;
        if more.wait() != Err(WaitError::WouldDeadlock) {
            return Err(failure("it waited".to_owned()));
        }
        if queue.shutdown(AMPLE) != Err(ShutdownError::WouldDeadlock) {
            return Err(failure("it shut down".to_owned()));
        }
        if queue.drain() != Err(DrainError::WouldDeadlock) {
            return Err(failure("it drained".to_owned()));
        }
        Ok(u64::from(more.id()))
    });
    let queue = queue_on(&clock)
        .register(call)
        .register(Mail::echo())
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>([1, 2])?;
    assert!(own.set(queue).is_ok());
    let queue = own.get().ok_or("no queue")?;
    assert_eq!(queue.drain()?, 4);
    for id in batch.assert_all_succeeded() {
        queue.batch(id)?.assert_all_succeeded();
    }
    // Outside, the thread is an ordinary one again.
    let drained = queue.read(|_| Ok(queue.drain()))?;
    assert_eq!(drained, Err(DrainError::WouldDeadlock));
    bystander.assert_unchanged(queue);
    queue.shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn a_panic_is_its_items_failure_and_leaves_no_write() -> Tested {
    let (disk, clock) = fresh();
    let post = Post::new(|n, cx| {
        let sum = add(cx, "all", n)?;
        match n {
            10 => panic!("after writing"),
            _ => Ok(sum),
        }
    });
    let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Post>([1, 10, 100])?;
    assert_eq!(queue.drain()?, 3);
    assert_eq!(batch.assert_succeeded(2), 101);
    let failure = batch.assert_failed(1, Failure::PANICKED);
    assert_eq!(failure.message, "after writing");
    assert_eq!(sum(&queue, "all")?, 101);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_shutdown_needs_no_drain_and_frees_the_disk_though_the_queue_is_still_held() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        let post = Post::new(|n, cx| add(cx, "all", n));
        let queue = queue_on(&clock).register(post);
        queue.open_to_drain(&disk)
    };
    let first = open()?;
    let bystander = Bystander::enter_drained(&first)?;
    let batch = first.submit::<Post>(0..100)?.id();
    first.drain_at_most(30)?;
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    first.shutdown(AMPLE)?;
    let second = open()?;
    assert_eq!(first.drain(), Err(DrainError::Closed));
    assert_eq!(second.drain()?, 70);
    second.batch(batch)?.assert_all_succeeded();
    bystander.assert_unchanged(&second);
    Ok(())
}

#[test]
fn a_shutdown_waits_for_the_handler_that_a_drain_runs() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let post = Post::new(move |n, cx| {
        at.pass();
        add(cx, "all", n)
    });
    let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Post>([1, 10])?.id();
    thread::scope(|scope| -> Tested {
        let draining = scope.spawn(|| queue.drain());
        door.wait_for(1);
        let closed = queue.shutdown(Duration::ZERO);
        assert!(matches!(closed, Err(ShutdownError::StillRunning { .. })));
        door.open();
        queue.shutdown(AMPLE)?;
        let drained = draining.join().map_err(|_| "the drain panicked")?;
        assert_eq!(drained, Err(DrainError::Closed));
        Ok(())
    })?;
    let post = Post::new(|n, cx| add(cx, "all", n));
    let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
    queue.batch(id)?.assert_succeeded(0);
    queue.batch(id)?.assert_unfinished(1);
    assert_eq!(queue.drain()?, 1);
    assert_eq!(sum(&queue, "all")?, 11);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn the_disk_is_free_when_a_shutdown_in_the_middle_of_a_drain_returns() -> Tested {
    for round in 0..50 {
        let (disk, clock) = fresh();
        let begun = Door::new();
        begun.open();
        let at = begun.clone();
        let post = Post::new(move |n, cx| {
            at.pass();
            add(cx, "all", n)
        });
        let queue = queue_on(&clock).register(post).open_to_drain(&disk)?;
        let bystander = Bystander::enter_drained(&queue)?;
        let id = queue.submit::<Post>((0..1_000).map(|_| 1))?.id();
        thread::scope(|scope| -> Tested {
            let draining = scope.spawn(|| queue.drain());
            begun.wait_for(100);
            queue.shutdown(AMPLE)?;
            let post = Post::new(|n, cx| add(cx, "all", n));
            let again = queue_on(&clock).register(post).open_to_drain(&disk);
            let again = again.map_err(|error| format!("round {round}: {error}"))?;
            let before = again.batch(id)?.status()?.succeeded;
            assert_eq!(sum(&again, "all")?, before);
            assert_eq!(again.drain()?, 1_000 - before);
            bystander.assert_unchanged(&again);
            let drained = draining.join().map_err(|_| "the drain panicked")?;
            assert!(before == 1_000 || drained == Err(DrainError::Closed));
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn two_drains_of_one_queue_take_turns() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let batch = queue.submit::<Call>(0..40)?;
    let (a, b) = thread::scope(|scope| {
        let drains = [0, 1].map(|_| scope.spawn(|| queue.drain()));
        door.wait_for(1);
        // One handler at a time: the other drain waits.
        assert_eq!(batch.status().map(|s| s.in_flight), Ok(16));
        door.open();
        let [a, b] = drains.map(|drain| drain.join());
        (a, b)
    });
    let ran = |drained: thread::Result<Result<u64, DrainError>>| match drained {
        Ok(ran) => ran.map_err(|error| error.to_string()),
        Err(_) => Err("a drain panicked".to_owned()),
    };
    assert_eq!(ran(a)? + ran(b)?, 40);
    batch.assert_all_succeeded();
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_commit_that_fails_ends_the_drain_with_the_reason() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        let (disk, clock) = fresh();
        let post = || Post::new(|n, cx| add(cx, "all", n));
        let queue = queue_on(&clock).register(post()).open_to_drain(&disk)?;
        let bystander = Bystander::enter_drained(&queue)?;
        let id = queue.submit::<Post>([1, 10])?.id();
        disk.fail_next_commit(fault);
        let failed = queue.drain();
        assert!(
            matches!(failed, Err(DrainError::Failed { .. })),
            "{failed:?}"
        );
        assert_eq!(queue.drain(), failed);
        shut_down_failed(&queue)?;
        let again = queue_on(&clock).register(post()).open_to_drain(&disk)?;
        let left = if fault == CommitFault::Done { 0 } else { 2 };
        assert_eq!(again.drain()?, left);
        again.batch(id)?.assert_all_succeeded();
        assert_eq!(sum(&again, "all")?, 11);
        bystander.assert_unchanged(&again);
    }
    Ok(())
}

#[test]
fn an_import_into_a_full_queue_is_refused_instead_of_waiting() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    // One is the bystander's.
    limits.unfinished_batches = 3;
    limits.items_per_batch = 10;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(Call::echo())
        .open_to_drain(&disk)?;
    let bystander = Bystander::enter_drained(&queue)?;
    let refused = queue.import::<Call>("all", 0..100);
    let error = refused.err().ok_or("it was not refused")?;
    assert!(matches!(error.source, SubmitError::Full { .. }), "{error}");
    assert_eq!(error.accepted, 20);
    assert_eq!(queue.drain()?, 20);
    // As it says: the same import again goes on where it stopped.
    assert_eq!(queue.import::<Call>("all", 0..40)?.items, 40);
    assert_eq!(queue.drain()?, 20);
    bystander.assert_unchanged(&queue);
    Ok(())
}
