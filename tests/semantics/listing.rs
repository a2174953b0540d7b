//! Finding batches again: by number and by listing.

use crate::harness::{
    AMPLE, Bystander, Call, Ends, Mail, Tested, fresh, outcomes, queue_on, shut_down_failed,
};
use batchwright::testing::CommitFault;
use batchwright::{BatchError, BatchFilter, BatchId, Queue, State, SubmitOptions};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn listed(queue: &Queue, filter: BatchFilter) -> Result<Vec<BatchId>, BatchError> {
    let statuses = queue.batches(filter);
    statuses.map(|status| Ok(status?.id)).collect()
}

#[test]
fn batches_are_listed_newest_first_as_the_filter_says() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let mut calls = Vec::new();
    let mut mails = Vec::new();
    let mut anns = Vec::new();
    for n in 0..300 {
        if n % 3 == 0 {
            mails.push(queue.submit::<Mail>([n])?.id());
        } else {
            let owner = if n % 50 == 1 { "ann" } else { "bob" };
            let options = SubmitOptions::new().owner(owner);
            let id = queue.submit_with::<Call>([n], options)?.id();
            calls.push(id);
            if owner == "ann" {
                anns.push(id);
            }
        }
    }
    for id in calls.iter().chain(&mails) {
        queue.batch(*id)?.ends()?;
    }
    let mut all: Vec<_> = calls.iter().chain(&mails).copied().collect();
    all.extend(bystander.ids());
    for ids in [&mut all, &mut calls, &mut mails, &mut anns] {
        ids.sort();
        ids.reverse();
    }
    assert_eq!(listed(&queue, BatchFilter::all())?, all);
    assert_eq!(listed(&queue, BatchFilter::all().operation("mail"))?, mails);
    assert_eq!(listed(&queue, BatchFilter::all().owner("ann"))?, anns);
    let [waiting, stopped] = bystander.ids();
    let in_state = |state| listed(&queue, BatchFilter::all().state(state));
    assert_eq!(in_state(State::Running)?, [waiting]);
    assert_eq!(in_state(State::Stopped)?, [stopped]);
    assert_eq!(in_state(State::Queued)?, []);
    assert_eq!(in_state(State::Completed)?.len(), 300);
    let none = BatchFilter::all().owner("ann").operation("mail");
    assert_eq!(listed(&queue, none)?, []);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn numbers_grow_and_are_never_used_again() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let mut last = None;
    for round in 0..6 {
        let queue = open()?;
        for _ in 0..3 {
            let batch = queue.submit::<Call>([1])?;
            // So that a fault below meets a submission.
            batch.ends()?;
            let id = batch.id();
            assert!(Some(id) > last, "{id} after {last:?}");
            last = Some(id);
        }
        match round % 3 {
            0 => queue.shutdown(AMPLE)?,
            1 => disk.cut_power(),
            _ => {
                disk.fail_next_commit(CommitFault::Done);
                // The batch is there and its submitter does not know: its number is taken.
                assert!(queue.submit::<Call>([1]).is_err());
                shut_down_failed(&queue)?;
            }
        }
    }
    let ids = listed(&open()?, BatchFilter::all())?;
    assert_eq!(ids.len(), 20);
    assert!(ids.is_sorted_by(|a, b| a > b));
    Ok(())
}

#[test]
fn a_number_that_no_batch_has_is_not_found() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let id = queue.submit::<Call>([1])?.id();
    for number in [0, u64::from(id) + 1, u64::MAX] {
        let id = BatchId::from(number);
        let found = queue.batch(number).map(|batch| batch.id());
        assert_eq!(found, Err(BatchError::NotFound { id }));
    }
    Ok(())
}

#[test]
fn a_batch_that_is_not_durable_yet_is_not_found() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let next = u64::from(queue.submit::<Call>([1])?.id()) + 1;
    queue.batch(next - 1)?.ends()?;
    let held = disk.hold_commits();
    thread::scope(|scope| -> Tested {
        let submitting = scope.spawn(|| queue.submit::<Call>([1]).map(|batch| batch.id()));
        assert!(held.wait_for_commit());
        let finding = scope.spawn(|| queue.batch(next).map(|batch| batch.id()));
        disk.cut_power();
        assert!(
            submitting
                .join()
                .map_err(|_| "the submitter panicked")?
                .is_err()
        );
        let found = finding.join().map_err(|_| "the finder panicked")?;
        let honest = matches!(
            found,
            Err(BatchError::NotFound { .. } | BatchError::Failed { .. })
        );
        assert!(honest, "{found:?}");
        Ok(())
    })
}

/// A batch that has just become durable is found like any other.
#[test]
fn a_listing_beside_submitters_and_workers_meets_no_error() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Tested {
        let listers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> Result<(), BatchError> {
                    while !over.load(Ordering::SeqCst) {
                        let newest = queue.batches(BatchFilter::all()).next().transpose()?;
                        if let Some(newest) = newest {
                            let batch = queue.batch(newest.id)?;
                            batch.status()?;
                            batch.outcomes()?.try_for_each(|o| o.map(drop))?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let submitted = (0..2_000).try_for_each(|n| queue.submit::<Call>([n]).map(drop));
        over.store(true, Ordering::SeqCst);
        for lister in listers {
            lister.join().map_err(|_| "a lister panicked")??;
        }
        Ok(submitted?)
    })?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn outcomes_read_while_a_batch_runs_and_ends_are_in_order_and_never_change() -> Tested {
    let (disk, clock) = fresh();
    let call = Call::new(|n, _| {
        std::thread::yield_now();
        Ok(n * 2)
    });
    // One item at a time: many small segments, which are put together at the end.
    let queue = queue_on(&clock)
        .register(call.key(|_| Some("one".to_owned())))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..400)?;
    let early = loop {
        let early = batch.outcomes()?;
        if batch.status()?.succeeded > 20 {
            break early;
        }
    };
    let mut seen = 0;
    while !batch.status()?.state.has_ended() {
        let now = outcomes(&batch)?;
        assert!(now.len() >= seen, "{} after {seen}", now.len());
        seen = now.len();
        for (n, outcome) in now.into_iter().enumerate() {
            assert_eq!(
                (outcome.index, outcome.outcome.into_output()),
                (n, Some(n as u64 * 2))
            );
        }
    }
    batch.ends()?;
    for (n, outcome) in early.enumerate() {
        assert_eq!(outcome?.index, n);
    }
    assert_eq!(outcomes(&batch)?.len(), 400);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_listing_goes_on_below_the_last_batch_of_a_page() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let mut all = Vec::new();
    for n in 0..9 {
        let batch = queue.submit::<Call>([n])?;
        batch.ends()?;
        all.insert(0, batch.id());
    }
    let mut listed: Vec<BatchId> = Vec::new();
    loop {
        let filter = match listed.last() {
            Some(last) => BatchFilter::all().below(*last),
            None => BatchFilter::all(),
        };
        let page: Vec<_> = queue.batches(filter).take(4).collect::<Result<_, _>>()?;
        if page.is_empty() {
            break;
        }
        listed.extend(page.iter().map(|status| status.id));
    }
    assert_eq!(listed, all);
    assert_eq!(queue.batches(BatchFilter::all().below(1)).count(), 0);
    let parsed: BatchId = all[0].to_string().parse()?;
    assert_eq!(parsed, all[0]);
    Ok(())
}
