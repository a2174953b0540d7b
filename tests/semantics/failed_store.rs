//! A commit that fails: nobody is told more than is known.

use crate::harness::{
    Bystander, Call, Door, Ends, Mail, Post, SUMS, Tested, add, fresh, outcomes, queue_on,
    shut_down_failed, sum,
};
use batchwright::testing::CommitFault;
use batchwright::{
    BatchError, BatchFilter, ReadError, State, SubmitError, SubmitOptions, WaitError,
};
use std::thread;

#[test]
fn a_submit_whose_commit_fails_is_unknown_and_either_there_or_not() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        let (disk, clock) = fresh();
        let open = || {
            queue_on(&clock)
                .register(Call::echo())
                .open_in_memory(&disk)
        };
        let queue = open()?;
        let bystander = Bystander::enter(&queue)?;
        let other = queue.submit::<Call>([5])?;
        other.ends()?;
        disk.fail_next_commit(fault);
        let key = || SubmitOptions::new().idempotency_key("k");
        let unknown = queue.submit_with::<Call>([1, 2], key()).map(|b| b.id());
        assert!(
            matches!(unknown, Err(SubmitError::Unknown { .. })),
            "{unknown:?}"
        );

        // From here on everything says so.
        let later = queue.submit::<Call>([1]).map(|b| b.id());
        assert!(
            matches!(later, Err(SubmitError::Failed { .. })),
            "{later:?}"
        );
        assert!(matches!(other.status(), Err(BatchError::Failed { .. })));
        assert!(matches!(other.outcomes(), Err(BatchError::Failed { .. })));
        assert!(matches!(other.stop(), Err(BatchError::Failed { .. })));
        assert!(matches!(
            queue.batch(other.id()),
            Err(BatchError::Failed { .. })
        ));
        assert!(matches!(queue.stats(), Err(BatchError::Failed { .. })));
        let mut listing = queue.batches(BatchFilter::all());
        let listed = listing.next();
        assert!(matches!(listed, Some(Err(BatchError::Failed { .. }))));
        assert!(
            listing.all(|status| status.is_ok()),
            "a listing ends at an error"
        );
        let read = queue.read(|t| t.get(&SUMS, "all"));
        assert!(matches!(read, Err(ReadError::Failed { .. })));
        let waited = other.wait();
        assert!(matches!(
            waited,
            Err(WaitError::Batch(BatchError::Failed { .. }))
        ));
        shut_down_failed(&queue)?;

        let queue = open()?;
        let there = queue.batches(BatchFilter::all().operation("call")).count();
        assert_eq!(there, if fault == CommitFault::Done { 2 } else { 1 });
        let again = queue.submit_with::<Call>([1, 2], key())?;
        assert_eq!(again.ends()?.status.succeeded, 2);
        assert_eq!(
            queue.batches(BatchFilter::all().operation("call")).count(),
            2
        );
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn everybody_who_waits_is_woken_with_the_failure() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let mut limits = batchwright::limits::Limits::default();
    limits.unfinished_batches = 2;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(call)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    thread::scope(|scope| -> Tested {
        let waiting = scope.spawn(|| batch.wait());
        let importing = scope.spawn(|| queue.import::<Call>("file", 0..10).map(|i| i.items));
        let held = disk.hold_commits();
        let stopping = scope.spawn(|| batch.stop());
        assert!(held.wait_for_commit());
        let reading = scope.spawn(|| queue.read(|t| t.get(&SUMS, "all")));
        disk.fail_next_commit(CommitFault::NotDone);
        drop(held);
        let waited = waiting.join().map_err(|_| "a waiter panicked")?;
        assert!(
            matches!(waited, Err(WaitError::Batch(BatchError::Failed { .. }))),
            "{waited:?}"
        );
        let stopped = stopping.join().map_err(|_| "the stopper panicked")?;
        assert!(
            matches!(stopped, Err(BatchError::Unknown { .. })),
            "{stopped:?}"
        );
        let imported = importing.join().map_err(|_| "the importer panicked")?;
        let imported = imported.map_err(|error| error.source);
        assert!(
            matches!(
                imported,
                Err(SubmitError::Failed { .. } | SubmitError::Unknown { .. })
            ),
            "{imported:?}"
        );
        let read = reading.join().map_err(|_| "the reader panicked")?;
        assert!(matches!(read, Err(ReadError::Failed { .. })), "{read:?}");
        Ok(())
    })?;
    door.open();
    shut_down_failed(&queue)?;
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    assert_eq!(
        queue.batch(batch.id())?.ends()?.status.state,
        State::Completed
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_failed_stop_is_unknown_and_either_in_force_or_not() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let call = Call::new(move |n, _| {
            at.pass();
            Ok(n)
        });
        let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit::<Call>(0..10)?;
        door.wait_for(2);
        disk.fail_next_commit(fault);
        assert!(matches!(batch.stop(), Err(BatchError::Unknown { .. })));
        door.open();
        shut_down_failed(&queue)?;
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)?;
        let status = queue.batch(batch.id())?.ends()?.status;
        let expected = match fault {
            CommitFault::Done => (State::Stopped, 0),
            CommitFault::NotDone => (State::Completed, 10),
        };
        assert_eq!((status.state, status.succeeded), expected);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn an_exactly_once_item_counts_once_whatever_its_failed_commit_left() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        let (disk, clock) = fresh();
        let door = Door::new();
        let at = door.clone();
        let post = Post::new(move |n, cx| {
            at.pass();
            add(cx, "all", n)
        });
        let queue = queue_on(&clock).register(post).open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let batch = queue.submit::<Post>([1, 10, 100])?;
        door.wait_for(1);
        disk.fail_next_commit(fault);
        door.open();
        let waited = batch.wait();
        assert!(matches!(
            waited,
            Err(WaitError::Batch(BatchError::Failed { .. }))
        ));
        shut_down_failed(&queue)?;
        let queue = queue_on(&clock)
            .register(Post::new(|n, cx| add(cx, "all", n)))
            .open_in_memory(&disk)?;
        let batch = queue.batch(batch.id())?.typed::<Post>()?;
        assert_eq!(batch.ends()?.status.succeeded, 3);
        assert_eq!(sum(&queue, "all")?, 111);
        assert_eq!(crate::harness::outputs(&batch)?, [1, 11, 111]);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn after_a_failure_no_further_item_starts() -> Tested {
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
    let batch = queue.submit::<Call>(0..100)?;
    door.wait_for(2);
    disk.fail_next_commit(CommitFault::NotDone);
    let refused = queue.submit::<Mail>([1]).map(|b| b.id());
    assert!(matches!(refused, Err(SubmitError::Unknown { .. })));
    door.open();
    shut_down_failed(&queue)?;
    assert_eq!(door.came(), 2);
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    assert_eq!(queue.batch(batch.id())?.ends()?.status.succeeded, 100);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Submissions race with the failure from all sides; what each is told must be true.
#[test]
fn what_submitters_are_told_at_a_failure_is_true() -> Tested {
    for round in 0..40 {
        let (disk, clock) = fresh();
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)?;
        let started = disk.commits();
        let answers = thread::scope(|scope| {
            let submit = |submitter: u64| {
                let queue = queue.clone();
                move || {
                    let mut answers = Vec::new();
                    for n in 0.. {
                        let item = submitter * 1_000_000 + n;
                        // Every other one is submitted by all, under one key.
                        let answer = if n % 2 == 0 {
                            let key = SubmitOptions::new().idempotency_key(format!("{n}"));
                            queue.submit_with::<Call>([n], key)
                        } else {
                            queue.submit::<Call>([item])
                        };
                        let over = answer.is_err();
                        answers.push(answer.map(|batch| batch.id()));
                        if over {
                            break;
                        }
                    }
                    answers
                }
            };
            let submitters: Vec<_> = (0..4).map(|n| scope.spawn(submit(n))).collect();
            crate::harness::eventually(|| disk.commits() > started + round % 7);
            let fault = [CommitFault::NotDone, CommitFault::Done][round as usize % 2];
            disk.fail_next_commit(fault);
            let joined = submitters.into_iter().map(|submitter| submitter.join());
            joined.collect::<Result<Vec<_>, _>>()
        });
        let answers = answers.map_err(|_| "a submitter panicked")?;
        shut_down_failed(&queue)?;
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)?;
        let mut acknowledged = std::collections::BTreeSet::new();
        let mut unknown = 0;
        for answer in answers.into_iter().flatten() {
            match answer {
                Ok(id) => drop(acknowledged.insert(id)),
                Err(SubmitError::Unknown { .. }) => unknown += 1,
                Err(SubmitError::Failed { .. }) => {}
                Err(error) => return Err(format!("round {round}: {error:?}").into()),
            }
        }
        for id in &acknowledged {
            let batch = queue.batch(*id)?;
            batch.ends()?;
            assert_eq!(outcomes(&batch)?.len(), 1);
        }
        let there = queue.batches(BatchFilter::all()).count();
        let more = there - acknowledged.len();
        assert!(
            more <= unknown,
            "round {round}: {more} more than was said, {unknown} unknown"
        );
    }
    Ok(())
}
