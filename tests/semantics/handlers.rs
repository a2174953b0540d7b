//! Handlers: panics, how many run at once, and what they may ask of their own queue.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Post, Tested, eventually, fresh, outcomes,
    queue_on,
};
use batchwright::{BatchError, Failure, Queue, ReadError, ShutdownError, SubmitError, WaitError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

#[test]
fn panics_become_failures_with_their_text_and_the_pool_keeps_its_size() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(|n, _| -> Result<u64, Failure> {
        match n % 3 {
            0 => panic!("a text"),
            1 => panic!("number {n}"),
            _ => std::panic::panic_any(n),
        }
    });
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(3)
        .register(call)
        .register(mail)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..60)?;
    assert_eq!(batch.ends()?.failures.get(Failure::PANICKED), Some(&60));
    for outcome in outcomes(&batch)? {
        let expected = match outcome.index % 3 {
            0 => "a text".to_owned(),
            1 => format!("number {}", outcome.index),
            _ => "a panic without a text".to_owned(),
        };
        let failure = outcome.outcome.failure().ok_or("it did not fail")?;
        assert_eq!(
            (failure.message.as_str(), failure.retryable),
            (expected.as_str(), false)
        );
    }
    let stats = queue.stats()?;
    let call = stats.operations.iter().find(|o| o.name == "call");
    assert_eq!(call.map(|o| (o.panicked, o.failed)), Some((60, 60)));
    let mails = queue.submit::<Mail>(0..3)?;
    // All three workers are there.
    door.wait_for(3);
    door.open();
    mails.ends()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn no_more_items_run_at_once_than_the_operation_allows() -> Tested {
    for limit in [1, 2] {
        let (disk, clock) = fresh();
        let running = Arc::new(AtomicU64::new(0));
        let most = Arc::new(AtomicU64::new(0));
        let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
        let call = Call::new(move |n, _| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(n)
        });
        let door = Door::new();
        let at = door.clone();
        let mail = Mail::new(move |n, _| {
            at.pass();
            Ok(n)
        });
        let queue = queue_on(&clock)
            .workers(6)
            .register(call.concurrency(limit))
            .register(mail.concurrency(limit))
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let batches: Vec<_> = (0..5)
            .map(|_| queue.submit::<Call>(0..200))
            .collect::<Result<_, _>>()?;
        for batch in &batches {
            batch.ends()?;
        }
        assert!(most.load(Ordering::SeqCst) <= u64::from(limit));
        // And as many do.
        let mails = [
            queue.submit::<Mail>([1])?,
            queue.submit::<Mail>([2])?,
            queue.submit::<Mail>([3])?,
        ];
        door.wait_for(u64::from(limit));
        queue.submit::<Call>([1])?.ends()?;
        assert_eq!(door.came(), u64::from(limit));
        door.open();
        for mail in &mails {
            mail.ends()?;
        }
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_batch_behind_large_ones_takes_its_turn() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, cx| {
        at.pass();
        ran.push(cx.batch_id());
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let large: Vec<_> = (0..10)
        .map(|_| queue.submit::<Call>(0..1_000))
        .collect::<Result<_, _>>()?;
    let small = queue.submit::<Call>(0..10)?;
    door.open();
    small.ends()?;
    let before = log.entries().len();
    assert!(
        before < 6_000,
        "{before} items ran before the small batch was through"
    );
    for batch in &large {
        batch.stop()?;
        batch.ends()?;
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn what_would_wait_for_itself_is_refused_in_a_handler_and_the_rest_works() -> Tested {
    let (disk, clock) = fresh();
    let own = Arc::new(OnceLock::<Queue>::new());
    let answers = Log::new();
    let (of, say) = (Arc::clone(&own), answers.clone());
    let call = Call::new(move |n, cx| {
        let Some(queue) = of.get() else {
            return Err(Failure::permanent("no_queue", "not set"));
        };
        let failed =
            |error: &dyn std::error::Error| Failure::permanent("refused", error.to_string());
        let batch = queue.submit::<Mail>([n]).map_err(|e| failed(&e))?;
        let this = queue.batch(cx.batch_id()).map_err(|e| failed(&e))?;
        say.push(format!(
            "{:?}",
            this.wait() == Err(WaitError::WouldDeadlock)
        ));
        say.push(format!(
            "{:?}",
            queue.shutdown(AMPLE) == Err(ShutdownError::WouldDeadlock)
        ));
        this.stop().map_err(|e| failed(&e))?;
        queue.stats().map_err(|e| failed(&e))?;
        queue.read(|_| Ok(())).map_err(|e| failed(&e))?;
        Ok(batch.id().into())
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    assert!(own.set(queue.clone()).is_ok());
    let batch = queue.submit::<Call>([5])?;
    assert_eq!(batch.ends()?.status.succeeded, 1);
    assert_eq!(answers.entries(), ["true", "true"]);
    let mail = outcomes(&batch)?[0]
        .outcome
        .clone()
        .into_output()
        .ok_or("no output")?;
    assert_eq!(queue.batch(mail)?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// A queue kept in an operation that is registered in it keeps itself: only `shutdown` ends it.
#[test]
fn a_queue_that_its_own_operation_holds_is_ended_by_shutdown_and_only_by_it() -> Tested {
    let (disk, clock) = fresh();
    let own = Arc::new(OnceLock::<Queue>::new());
    let of = Arc::clone(&own);
    let call = Call::new(move |n, _| {
        let queue = of
            .get()
            .ok_or_else(|| Failure::permanent("no_queue", "not set"))?;
        let batch = queue.submit::<Mail>([n]);
        Ok(batch
            .map_err(|e| Failure::permanent("refused", e.to_string()))?
            .id()
            .into())
    });
    let queue = queue_on(&clock)
        .register(call)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    assert!(own.set(queue.clone()).is_ok());
    let id = queue.submit::<Call>([5])?.id();
    drop(queue);
    // It goes on without an owner outside, and holds the disk.
    let queue = own.get().ok_or("not set")?;
    assert_eq!(queue.batch(id)?.ends()?.status.succeeded, 1);
    assert!(queue_on(&clock).open_in_memory(&disk).is_err());
    queue.shutdown(AMPLE)?;
    queue_on(&clock).open_in_memory(&disk)?;
    Ok(())
}

#[test]
fn a_queue_whose_last_clone_a_handler_drops_closes_when_the_handler_ends() -> Tested {
    let (disk, clock) = fresh();
    let own = Arc::new(std::sync::Mutex::new(None::<Queue>));
    let door = Door::new();
    let (of, at) = (Arc::clone(&own), door.clone());
    let call = Call::new(move |n, _| {
        at.pass();
        drop(of.lock().map(|mut queue| queue.take()));
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(call)
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>(0..3)?;
    door.wait_for(1);
    *own.lock().map_err(|_| "poisoned")? = Some(queue);
    door.open();
    // The slice that runs is recorded, and the disk let go.
    let reopened = Log::new();
    eventually(|| {
        match queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
        {
            Ok(queue) => {
                reopened.push(queue);
                true
            }
            Err(_) => false,
        }
    });
    assert_eq!(batch.status(), Err(BatchError::Closed));
    let queue = reopened.entries().pop().ok_or("not opened")?;
    let batch = queue.batch(batch.id())?;
    assert_eq!(batch.ends()?.status.succeeded, 3);
    Ok(())
}

#[test]
fn inside_a_read_everything_that_commits_or_reads_is_refused() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .register(call)
        .register(Post::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let running = queue.submit::<Call>([1])?;
    door.wait_for(1);
    let stopped = queue.batch(bystander.ids()[1])?;
    queue.read(|_| {
        let refused = queue.submit::<Post>([1]).map(|b| b.id());
        assert_eq!(refused, Err(SubmitError::WouldDeadlock));
        let import = queue.import::<Post>("key", [1]).map_err(|e| e.source);
        assert!(matches!(import, Err(SubmitError::WouldDeadlock)));
        assert_eq!(running.stop(), Err(BatchError::WouldDeadlock));
        assert_eq!(stopped.resume(), Err(BatchError::WouldDeadlock));
        assert_eq!(running.wait(), Err(WaitError::WouldDeadlock));
        assert!(matches!(running.outcomes(), Err(BatchError::WouldDeadlock)));
        let nested = queue.read(|_| Ok(()));
        assert!(matches!(nested, Err(ReadError::WouldDeadlock)));
        assert_eq!(queue.shutdown(AMPLE), Err(ShutdownError::WouldDeadlock));
        // What is in memory may be looked at.
        assert!(running.status().is_ok());
        assert!(queue.stats().is_ok());
        Ok(())
    })?;
    door.open();
    running.ends()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}
