//! A queue that processes nothing: for programs that look at a store.

use crate::harness::{
    AMPLE, Bystander, Call, Ends, Log, Mail, Post, SUMS, Tested, add, eventually, fresh, never,
    outputs, queue_in, queue_on, sum,
};
use batchwright::limits::Limits;
use batchwright::testing::{Assertions, CommitFault, ManualClock};
use batchwright::{
    Batch, BatchError, BatchFilter, Blocked, Builder, Failure, QueueEvent, RetryPolicy,
    ShutdownError, State, SubmitError, SubmitOptions, WaitError,
};
use std::path::Path;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Operations that log each item they run: one fails on 13, one succeeds in the second attempt of odd
/// numbers, one is exactly-once.
fn logging(log: &Log<u64>, dir: &Path, clock: &ManualClock) -> Builder {
    let (called, mailed, posted) = (log.clone(), log.clone(), log.clone());
    let call = Call::new(move |n, _| {
        called.push(n);
        match n {
            13 => Err(Failure::permanent("unlucky", "13")),
            _ => Ok(n),
        }
    });
    let mail = Mail::new(move |n, cx| {
        mailed.push(n);
        match (n % 2, cx.attempt()) {
            (1, 1) => Err(Failure::retryable("odd", "again")),
            _ => Ok(n),
        }
    });
    let post = Post::new(move |n, cx| {
        posted.push(n);
        add(cx, "all", n)
    });
    queue_in(dir, clock)
        .register(call.key(|n| (n < 10).then(|| "same".to_owned())))
        .register(mail.retry(RetryPolicy::exponential(2, HOUR)))
        .register(post)
}

/// What is waited for at once and in vain.
fn assert_cannot_be_waited_for<O>(batch: &Batch<O>) {
    let refused = WaitError::WouldDeadlock;
    assert_eq!(batch.wait(), Err(refused.clone()));
    assert_eq!(batch.wait_timeout(Duration::MAX), Err(refused.clone()));
    assert_eq!(batch.watch().collect::<Vec<_>>(), [Err(refused)]);
}

#[test]
fn nothing_runs_and_all_else_works_and_goes_on_at_the_next_open_with_workers() -> Tested {
    let (dir, clock, log) = (tempfile::tempdir()?, ManualClock::new(), Log::new());
    let open = || logging(&log, dir.path(), &clock);
    let queue = open().open()?;
    let old = queue.submit::<Call>([20])?;
    old.ends()?;
    clock.advance(HOUR);
    let bystander = Bystander::enter(&queue)?;
    let ended = queue.submit::<Call>([13, 21])?;
    ended.ends()?;
    let unwanted = queue.submit::<Post>([5])?;
    unwanted.ends()?;
    let half = queue.submit::<Mail>([30, 31])?;
    eventually(|| half.status().is_ok_and(|status| status.waiting == 1));
    queue.shutdown(AMPLE)?;
    let ran = log.len();

    let queue = open().without_workers().open()?;
    let named = |id| queue.batch(id);
    let (ended, half) = (named(ended.id())?, named(half.id())?);
    assert_eq!(ended.items()?.count(), 2);
    assert_eq!(ended.outcomes()?.count(), 2);
    assert_eq!(half.status()?.state, State::Running);
    let keyed = queue.submit::<Call>(0..10)?;
    let posted = queue.submit::<Post>([1, 2, 3])?;
    let stopped = queue.submit::<Call>([40])?;
    let later = SubmitOptions::new().not_before(queue.now() + HOUR);
    let later = queue.submit_with::<Call>([1], later)?;
    let again = ended.retry_failed()?;
    // The second attempt is due, and so is the batch that was to wait.
    clock.advance(2 * HOUR);
    eventually(|| half.status().is_ok_and(|status| status.waiting == 0));
    never(|| log.len() > ran);
    for batch in [
        keyed.id(),
        posted.id(),
        stopped.id(),
        later.id(),
        again.id(),
    ] {
        let batch = named(batch)?;
        assert_eq!(batch.status()?.state, State::Queued);
        assert_cannot_be_waited_for(&batch);
    }
    assert_cannot_be_waited_for(&half);

    stopped.stop()?;
    assert_eq!(stopped.wait()?.status.state, State::Stopped);
    half.stop()?;
    let report = half.wait()?;
    assert_eq!(
        (report.status.state, report.status.succeeded),
        (State::Stopped, 1)
    );
    half.resume()?;
    assert_cannot_be_waited_for(&half);
    named(unwanted.id())?.delete()?;
    // The bystander's was stopped after this one.
    assert_eq!(queue.prune(3 * HOUR)?, 1);
    queue.pause("post", "until the deploy")?;
    let reason = "until the deploy".to_owned();
    assert_eq!(posted.status()?.blocked, Some(Blocked::Paused { reason }));
    queue.pause("call", "for a moment")?;
    queue.unpause("call")?;
    assert_eq!(queue.read(|tables| tables.get(&SUMS, "all"))?, Some(5));
    assert_eq!(queue.stats()?.unfinished_batches, 6);
    never(|| log.len() > ran);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    assert_eq!(keyed.wait(), Err(WaitError::Batch(BatchError::Closed)));

    let queue = open().open()?;
    for gone in [old.id(), unwanted.id()] {
        assert!(matches!(
            queue.batch(gone),
            Err(BatchError::NotFound { .. })
        ));
    }
    let of_call = |id| queue.batch(id)?.typed::<Call>();
    let keyed = of_call(keyed.id())?;
    assert_eq!(keyed.ends()?.status.succeeded, 10);
    assert_eq!(outputs(&keyed)?, (0..10).collect::<Vec<_>>());
    assert_eq!(of_call(later.id())?.ends()?.status.succeeded, 1);
    assert_eq!(of_call(again.id())?.ends()?.failures["unlucky"], 1);
    assert_eq!(queue.batch(half.id())?.ends()?.status.succeeded, 2);
    let state = of_call(stopped.id())?.status()?.state;
    assert_eq!(state, State::Stopped);
    let posted = queue.batch(posted.id())?;
    assert_eq!(posted.status()?.state, State::Queued);
    queue.unpause("post")?;
    posted.ends()?;
    assert_eq!(sum(&queue, "all")?, 11);
    // Each item once, and the one that was tried again.
    assert_eq!(log.len(), ran + 10 + 1 + 1 + 1 + 3);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn it_looks_at_a_store_without_knowing_its_operations() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let ended = queue.submit::<Call>([7])?.id();
    queue.batch(ended)?.ends()?;
    queue.pause("call", "so that it stays")?;
    let queued = queue.submit::<Call>([8])?.id();
    queue.shutdown(AMPLE)?;
    let looks = batchwright::Queue::builder("unused")
        .clock(clock.clone())
        .without_workers()
        .open_in_memory(&disk)?;
    let of_call = BatchFilter::all().operation("call");
    let listed: Vec<_> = looks.batches(of_call).collect::<Result<_, _>>()?;
    let listed: Vec<_> = listed.iter().map(|status| status.id).collect();
    assert_eq!(listed, [queued, ended]);
    assert_eq!(outputs(&looks.batch(ended)?)?, [7]);
    looks.unpause("call")?;
    let batch = looks.batch(queued)?;
    assert_cannot_be_waited_for(&batch);
    batch.stop()?;
    assert_eq!(batch.wait()?.status.state, State::Stopped);
    assert!(matches!(
        batch.resume(),
        Err(BatchError::Unregistered { .. })
    ));
    looks.batch(ended)?.delete()?;
    looks.shutdown(AMPLE)?;
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    assert!(matches!(
        queue.batch(ended),
        Err(BatchError::NotFound { .. })
    ));
    let batch = queue.batch(queued)?;
    batch.resume()?;
    assert_eq!(batch.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn where_it_would_wait_for_what_nobody_does_it_answers_at_once() -> Tested {
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.unfinished_batches = 2;
    limits.items_per_batch = 10;
    let queue = queue_on(&clock)
        .without_workers()
        // It stays without.
        .workers(4)
        .limits(limits)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let mut events = queue.subscribe();
    let refused = queue.import::<Call>("all", 0..100);
    let error = refused.err().ok_or("it was not refused")?;
    assert!(matches!(error.source, SubmitError::Full { .. }), "{error}");
    assert_eq!(error.accepted, 20);
    assert_eq!(events.next(), None);
    assert!(!events.has_ended());
    let first = queue.batches(BatchFilter::all()).last().ok_or("none")??;
    queue.batch(first.id)?.stop()?;
    let told = events.next();
    assert!(matches!(told, Some(QueueEvent::BatchEnded { id, .. }) if id == first.id));
    disk.fail_next_commit(CommitFault::Done);
    let unknown = queue.batch(first.id)?.resume();
    assert!(matches!(unknown, Err(BatchError::Unknown { .. })));
    let failed = queue.shutdown(AMPLE);
    assert!(matches!(failed, Err(ShutdownError::Failed { .. })));
    Ok(())
}

#[test]
fn it_deletes_nothing_by_age() -> Tested {
    let (disk, clock) = fresh();
    let open = || queue_on(&clock).keep_ended(HOUR).register(Call::echo());
    let queue = open().open_in_memory(&disk)?;
    let ended = queue.submit::<Call>([1])?;
    ended.ends()?;
    queue.shutdown(AMPLE)?;
    clock.advance(3 * HOUR);
    let queue = open().without_workers().open_in_memory(&disk)?;
    let found = || queue.batch(ended.id()).and_then(|batch| batch.status());
    never(|| found().is_err());
    clock.advance(3 * HOUR);
    never(|| found().is_err());
    queue.shutdown(AMPLE)?;
    let queue = open().open_in_memory(&disk)?;
    eventually(|| queue.batch(ended.id()).is_err());
    Ok(())
}

#[test]
fn a_queue_that_is_drained_does_what_it_always_does() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .without_workers()
        .keep_ended(HOUR)
        .register(Call::echo())
        .open_to_drain(&disk)?;
    let batch = queue.submit::<Call>([1, 2])?;
    assert_eq!(queue.drain()?, 2);
    assert_eq!(batch.assert_all_succeeded(), [1, 2]);
    clock.advance(2 * HOUR);
    eventually(|| batch.status().is_err());
    Ok(())
}
