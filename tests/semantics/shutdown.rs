//! Ending a queue in good order.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, SOON, Tested, eventually, fresh, never, outcomes,
    queue_on,
};
use batchwright::{
    BatchError, BatchFilter, OpenError, ReadError, ShutdownError, State, SubmitError, WaitError,
};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

fn waiting_at(door: &Door) -> Call {
    let at = door.clone();
    Call::new(move |n, _| {
        at.pass();
        Ok(n)
    })
}

#[test]
fn what_runs_ends_and_is_recorded_and_the_rest_stays_queued() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = queue_on(&clock)
        .register(waiting_at(&door))
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..100)?;
    let behind = queue.submit::<Call>(0..3)?;
    door.wait_for(2);
    thread::scope(|scope| -> Tested {
        let closing = scope.spawn(|| queue.shutdown(AMPLE));
        eventually(|| batch.status() == Err(BatchError::Closed));
        never(|| closing.is_finished());
        door.open();
        Ok(closing.join().map_err(|_| "shutdown panicked")??)
    })?;
    assert_eq!(door.came(), 2);
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let status = queue.batch(batch.id())?.status()?;
    assert_eq!((status.state, status.succeeded), (State::Running, 2));
    assert_eq!(queue.batch(behind.id())?.status()?.state, State::Queued);
    drop(queue);
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let batch = queue.batch(batch.id())?;
    assert_eq!(batch.ends()?.status.succeeded, 100);
    assert!(
        outcomes(&batch)?
            .iter()
            .all(|outcome| outcome.attempts == 1)
    );
    assert_eq!(queue.batch(behind.id())?.ends()?.status.succeeded, 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn past_its_limit_it_says_what_runs_and_holds_the_disk_until_that_ends() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = queue_on(&clock)
        .register(waiting_at(&door))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    let still = Err(ShutdownError::StillRunning { items: 2 });
    assert_eq!(queue.shutdown(Duration::from_millis(20)), still);
    let locked = queue_on(&clock).open_in_memory(&disk);
    assert!(matches!(locked, Err(OpenError::Locked { .. })));
    assert_eq!(queue.shutdown(Duration::ZERO), still);
    door.open();
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    assert_eq!(queue.batch(batch.id())?.status()?.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn afterwards_every_call_answers_closed_and_a_second_shutdown_is_nothing() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([1])?;
    batch.ends()?;
    let listing = queue.batches(BatchFilter::all());
    queue.shutdown(AMPLE)?;
    queue.shutdown(Duration::ZERO)?;
    assert_eq!(
        queue.submit::<Call>([1]).map(|b| b.id()),
        Err(SubmitError::Closed)
    );
    let import = queue.import::<Call>("key", [1]).map_err(|e| e.source);
    assert_eq!(import.map(|i| i.items), Err(SubmitError::Closed));
    assert_eq!(batch.status(), Err(BatchError::Closed));
    assert_eq!(batch.stop(), Err(BatchError::Closed));
    assert_eq!(batch.resume(), Err(BatchError::Closed));
    assert_eq!(batch.wait(), Err(WaitError::Batch(BatchError::Closed)));
    assert!(matches!(batch.outcomes(), Err(BatchError::Closed)));
    assert!(matches!(batch.report(), Err(BatchError::Closed)));
    assert!(matches!(queue.batch(batch.id()), Err(BatchError::Closed)));
    assert!(matches!(queue.stats(), Err(BatchError::Closed)));
    assert!(matches!(queue.read(|_| Ok(())), Err(ReadError::Closed)));
    let listed: Vec<_> = listing.take(2).collect();
    assert_eq!(listed.first(), Some(&Err(BatchError::Closed)));
    Ok(())
}

#[test]
fn whoever_waits_for_a_batch_is_told_that_the_queue_closes() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = queue_on(&clock)
        .register(waiting_at(&door))
        .open_in_memory(&disk)?;
    let batch = queue.submit::<Call>([1])?;
    door.wait_for(1);
    thread::scope(|scope| -> Tested {
        let waiting = scope.spawn(|| batch.wait());
        let closing = scope.spawn(|| queue.shutdown(AMPLE));
        let waited = waiting.join().map_err(|_| "the waiter panicked")?;
        assert_eq!(waited, Err(WaitError::Batch(BatchError::Closed)));
        door.open();
        Ok(closing.join().map_err(|_| "shutdown panicked")??)
    })
}

#[test]
fn a_shutdown_without_a_limit_waits_as_long_as_it_takes() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    queue.submit::<Call>([1])?;
    queue.shutdown(Duration::MAX)?;
    queue_on(&clock).open_in_memory(&disk)?;
    Ok(())
}

#[test]
fn dropping_the_last_clone_closes_the_queue_and_dropping_another_does_not() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let clone = queue.clone();
    drop(queue);
    let batch = clone.submit::<Call>([1])?;
    batch.ends()?;
    let listing = clone.batches(BatchFilter::all());
    drop(clone);
    // A listing keeps the queue; a batch does not.
    assert_eq!(batch.status()?.state, State::Completed);
    drop(listing);
    assert_eq!(batch.status(), Err(BatchError::Closed));
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// It finds the writer at its last commit, and nobody who would take it out of the channel.
#[test]
fn a_submission_that_meets_the_last_commit_is_told_that_the_queue_is_closed() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let queue = queue_on(&clock)
        .register(waiting_at(&door))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    door.wait_for(1);
    // It is past the look whether the queue is open, and draws its items.
    let drawing = Door::new();
    let (sender, answer) = mpsc::channel();
    let (submitter, at) = (queue.clone(), drawing.clone());
    let submitting = thread::spawn(move || {
        let items = (0..3).inspect(|_| at.pass());
        let answer = submitter.submit::<Call>(items).map(|batch| batch.id());
        drop(sender.send(answer));
    });
    drawing.wait_for(1);
    let closer = queue.clone();
    let closing = thread::spawn(move || closer.shutdown(AMPLE));
    eventually(|| batch.status() == Err(BatchError::Closed));
    let held = disk.hold_commits();
    door.open();
    assert!(held.wait_for_commit());
    drawing.open();
    never(|| submitting.is_finished());
    drop(held);
    assert_eq!(answer.recv_timeout(SOON)?, Err(SubmitError::Closed));
    closing.join().map_err(|_| "shutdown panicked")??;
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    assert_eq!(queue.batch(batch.id())?.status()?.state, State::Completed);
    assert_eq!(queue.batches(BatchFilter::all()).count(), 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Submissions race with the shutdown; whoever is told `Closed` has nothing stored.
#[test]
fn what_submitters_are_told_at_a_shutdown_is_true() -> Tested {
    for round in 0..60 {
        let (disk, clock) = fresh();
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)?;
        let started = disk.commits();
        let submitters: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                thread::spawn(move || {
                    let mut accepted = Vec::new();
                    loop {
                        match queue.submit::<Call>([1]) {
                            Ok(batch) => accepted.push(batch.id()),
                            Err(error) => return (accepted, error),
                        }
                    }
                })
            })
            .collect();
        eventually(|| disk.commits() > started + round % 10);
        queue.shutdown(AMPLE)?;
        let queue = queue_on(&clock).open_in_memory(&disk)?;
        let mut accepted = 0;
        for submitter in submitters {
            let (ids, error) = submitter.join().map_err(|_| "a submitter panicked")?;
            assert_eq!(error, SubmitError::Closed);
            accepted += ids.len();
            for id in ids {
                queue.batch(id)?;
            }
        }
        assert_eq!(
            queue.batches(BatchFilter::all()).count(),
            accepted,
            "round {round}"
        );
    }
    Ok(())
}
