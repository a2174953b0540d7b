//! Acknowledged is durable; shown is durable; and what that costs.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Tested, fresh, never, outcomes, outputs,
    queue_on,
};
use batchwright::{BatchFilter, OpenError, State, SubmitError};
use std::sync::mpsc;
use std::thread;

#[test]
fn concurrent_submitters_share_commits() -> Tested {
    let (disk, clock) = fresh();
    // Nothing runs meanwhile: all commits are the submitters'.
    let door = Door::new();
    let at = door.clone();
    let mail = Mail::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock)
        .workers(1)
        .register(mail)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    queue.submit::<Mail>([1])?;
    door.wait_for(1);
    let held = disk.hold_commits();
    let (before, counted) = (disk.commits(), queue.stats()?.writer.commits);
    thread::scope(|scope| -> Tested {
        let submit = |n| {
            let queue = queue.clone();
            scope.spawn(move || queue.submit::<Call>([n]))
        };
        let first = submit(0);
        assert!(held.wait_for_commit());
        let others: Vec<_> = (1..32).map(submit).collect();
        // Those that are late make commits of their own, but not many.
        drop(held);
        first.join().map_err(|_| "a submitter panicked")??;
        for other in others {
            other.join().map_err(|_| "a submitter panicked")??;
        }
        Ok(())
    })?;
    let commits = disk.commits() - before;
    assert!(commits < 32, "{commits} commits for 32 submissions");
    assert_eq!(queue.stats()?.writer.commits - counted, commits);
    door.open();
    Ok(())
}

#[test]
fn a_submit_is_answered_when_it_is_durable_and_then_survives() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let held = disk.hold_commits();
    let (sender, submitted) = mpsc::channel();
    let submitter = queue.clone();
    let submitting = thread::spawn(move || {
        let _ = sender.send(submitter.submit::<Call>([1, 2, 3]).map(|batch| batch.id()));
    });
    assert!(held.wait_for_commit());
    never(|| submitted.try_recv().is_ok());
    drop(held);
    let id = submitted.recv()??;
    submitting.join().map_err(|_| "the submitter panicked")?;
    disk.cut_power();
    let queue = open()?;
    let batch = queue.batch(id)?.typed::<Call>()?;
    batch.ends()?;
    assert_eq!(outputs(&batch)?, [1, 2, 3]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_status_waits_for_no_commit_and_shows_no_outcome_before_its_own() -> Tested {
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
    let ended = queue.submit::<Mail>([1])?;
    ended.ends()?;
    let old = {
        let batch = queue.submit::<Mail>([1])?;
        batch.ends()?;
        batch.id()
    };
    let batch = queue.submit::<Call>([1])?;
    door.wait_for(1);
    let held = disk.hold_commits();
    door.open();
    assert!(held.wait_for_commit());
    // Were it to wait, this test would not end.
    let status = batch.status()?;
    assert_eq!((status.state, status.processed()), (State::Running, 0));
    assert!(status.started_at.is_some());
    assert_eq!(ended.status()?.state, State::Completed);
    thread::scope(|scope| -> Tested {
        // One that only the disk knows has to wait; others must not wait for who asks for it.
        let finding = scope.spawn(|| queue.batch(old).map(|batch| batch.id()));
        for _ in 0..1_000 {
            assert_eq!(queue.batch(batch.id())?.status()?.processed(), 0);
            thread::yield_now();
        }
        assert!(!finding.is_finished());
        drop(held);
        finding.join().map_err(|_| "the finder panicked")??;
        Ok(())
    })?;
    assert_eq!(batch.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_crash_before_the_outcomes_commit_runs_the_item_again_and_after_it_does_not() -> Tested {
    for durable in [false, true] {
        let (disk, clock) = fresh();
        let keys = Log::new();
        let call = |keys: &Log<String>| {
            let keys = keys.clone();
            Call::new(move |n, cx| {
                keys.push(cx.idempotency_key().to_string());
                Ok(n)
            })
        };
        let queue = queue_on(&clock)
            .register(call(&keys))
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let before = disk.commits();
        let id = queue.submit::<Call>([1])?.id();
        if durable {
            queue.batch(id)?.ends()?;
        } else {
            crate::harness::eventually(|| keys.len() == 1);
            // It may have become durable by now; then there is nothing to see this time.
        }
        let recorded = durable || disk.commits() > before + 1;
        let held = disk.hold_commits();
        disk.cut_power();
        drop(held);
        let queue = queue_on(&clock)
            .register(call(&keys))
            .open_in_memory(&disk)?;
        let batch = queue.batch(id)?;
        batch.ends()?;
        let keys = keys.entries();
        if recorded {
            assert_eq!(keys.len(), 1);
        }
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(outcomes(&batch)?[0].attempts, 1);
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn after_a_crash_only_items_without_an_outcome_run_again() -> Tested {
    let (disk, clock) = fresh();
    let first = Log::new();
    let ran = first.clone();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        if n >= 60 {
            at.pass();
        }
        ran.push(n);
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..100)?;
    door.wait_for(1);
    let kept: Vec<_> = outcomes(&batch)?;
    disk.cut_power();
    let before = first.entries();
    door.open();
    let again = Log::new();
    let ran = again.clone();
    let call = Call::new(move |n, _| {
        ran.push(n);
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let batch = queue.batch(batch.id())?.typed::<Call>()?;
    assert_eq!(batch.ends()?.status.succeeded, 100);
    let after = outcomes(&batch)?;
    for outcome in &kept {
        assert!(before.contains(&(outcome.index as u64)));
        assert!(
            !again.entries().contains(&(outcome.index as u64)),
            "it ran again"
        );
        assert_eq!(&after[outcome.index], outcome);
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn one_queue_at_a_time_has_the_disk() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let second = queue_on(&clock).open_in_memory(&disk);
    assert!(
        matches!(second, Err(OpenError::Locked { pid: Some(pid), .. })
        if pid == std::process::id())
    );
    queue.shutdown(AMPLE)?;
    queue_on(&clock).open_in_memory(&disk)?;
    Ok(())
}

#[test]
fn a_full_queue_refuses_at_once_and_stores_nothing() -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let mut limits = batchwright::limits::Limits::default();
    limits.unfinished_batches = 3;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(call)
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit::<Call>([1])?;
    queue.submit::<Call>([2])?;
    let full = queue.submit::<Call>([3]).map(|batch| batch.id());
    assert_eq!(full, Err(SubmitError::Full { limit: 3 }));
    assert_eq!(queue.batches(BatchFilter::all()).count(), 4);
    door.open();
    first.ends()?;
    queue.submit::<Call>([3])?.ends()?;
    bystander.assert_unchanged(&queue);
    Ok(())
}
