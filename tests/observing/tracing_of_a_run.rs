//! Feature `tracing`.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Tested, eventually, fresh, queue_on, shut_down_failed,
};
use crate::listeners::{Line, Log};
use batchwright::limits::Limits;
use batchwright::testing::CommitFault;
use batchwright::{Failure, RetryPolicy, ShutdownError};
use std::thread;
use std::time::Duration;
use tracing::Level;

/// The fields of the lines, in the order of `names`.
fn fields(lines: &[Line], names: &[&str]) -> Vec<String> {
    let of = |line: &Line| {
        let fields = names.iter().map(|name| line.field(name));
        fields.collect::<Vec<_>>().join(" ")
    };
    lines.iter().map(of).collect()
}

#[test]
fn a_run_is_told_in_spans_and_events() -> Tested {
    let log = Log::start();
    let (disk, clock) = fresh();
    let call = Call::new(|n, cx| match n {
        1 => Err(Failure::permanent("no", "never")),
        2 => panic!("as it should"),
        3 if cx.attempt() == 1 => Err(Failure::retryable("later", "not yet")),
        _ => {
            tracing::info!("a handler speaks");
            Ok(n)
        }
    });
    let call = call.retry(RetryPolicy::exponential(2, Duration::ZERO));
    let open = || queue_on(&clock).workers(1).register(Mail::echo());
    let queue = open().register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let before = log.all("batchwright.commit").len();
    let stored = disk.commits();
    let batch = queue.submit::<Call>(0..4)?;
    batch.ends()?;
    queue.submit::<Mail>([1])?.ends()?;
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;

    let id = batch.id();
    let opened = log.all("the queue is open");
    assert_eq!(fields(&opened, &["workers", "operations"]), ["1 3"]);
    let mut submits = log.all("batchwright.submit");
    submits.retain(|line| line.field("operation") == "call");
    let expected = format!("call 4 {id}");
    assert_eq!(
        fields(&submits, &["operation", "items", "batch"]),
        [expected]
    );
    let mut slices = log.all("batchwright.slice");
    slices.retain(|line| line.field("operation") == "call");
    let begun = fields(&slices, &["operation", "batch", "items"]);
    assert_eq!(begun.first(), Some(&format!("call {id} 4")));
    assert_eq!(begun.last(), Some(&format!("call {id} 1")));
    let spoken = log.all("a handler speaks");
    assert_eq!(spoken.len(), 2);
    assert!(
        spoken
            .iter()
            .all(|line| line.within == ["batchwright.slice"])
    );
    let names = ["operation", "batch", "item", "attempt"];
    let panicked = log.all("a handler panicked");
    assert_eq!(fields(&panicked, &names), [format!("call {id} 2 1")]);
    let mut retried = log.all("an attempt failed and is followed by another");
    retried.retain(|line| line.field("operation") == "call");
    assert_eq!(fields(&retried, &names), [format!("call {id} 3 1")]);

    let commits = log.all("batchwright.commit");
    assert_eq!(commits.len() - before, (disk.commits() - stored) as usize);
    let number = |line: &Line, name| line.field(name).parse::<u64>();
    let sequences = commits.iter().map(|line| number(line, "sequence"));
    let sequences = sequences.collect::<Result<Vec<_>, _>>()?;
    // The first one is that of the creation.
    assert_eq!(sequences, (2..=disk.commits()).collect::<Vec<_>>());
    for commit in &commits {
        assert!(number(commit, "rows")? > 0, "{commit:?}");
    }
    assert!(
        commits
            .iter()
            .any(|line| number(line, "bytes").is_ok_and(|n| n > 0))
    );
    assert_eq!(log.all("the queue is closing").len(), 1);
    assert_eq!(log.all("the queue is shut down").len(), 1);
    for line in log.lines() {
        let ours = line.field("target") == "batchwright";
        assert_eq!(ours, line.text != "a handler speaks", "{line:?}");
    }
    let level = |text| log.all(text).first().map(|line| line.level);
    assert_eq!(level("a handler panicked"), Some(Level::WARN));
    assert_eq!(level("batchwright.slice"), Some(Level::DEBUG));

    let queue = open().open_in_memory(&disk)?;
    let recovered = log.all("unfinished batches go on");
    assert_eq!(fields(&recovered, &["batches"]), ["1"]);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_failure_of_the_queue_is_told_once_with_its_reason() -> Tested {
    let log = Log::start();
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    disk.fail_next_commit(CommitFault::NotDone);
    assert!(queue.submit::<Call>([1]).is_err());
    assert!(queue.submit::<Call>([1]).is_err());
    shut_down_failed(&queue)?;
    let failed = log.all("the queue has failed");
    assert_eq!(fields(&failed, &["reason"]), ["the disk was told to fail"]);
    assert_eq!(failed[0].level, Level::ERROR);
    // The submission has no batch.
    let submits = log.all("batchwright.submit");
    assert_eq!(submits.last().map(|line| line.field("batch")), Some(""));
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_commit_that_does_not_end_is_told_before_the_queue_fails() -> Tested {
    let log = Log::start();
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.commit = Duration::from_millis(100);
    let queue = queue_on(&clock)
        .limits(limits)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let held = disk.hold_commits();
    thread::scope(|scope| {
        scope.spawn(|| queue.submit::<Call>([1]));
    });
    eventually(|| !log.all("the queue has failed").is_empty());
    drop(held);
    shut_down_failed(&queue)?;
    let slow = fields(&log.all("a commit does not end"), &["looks"]);
    assert_eq!(slow, ["1", "2", "3", "4"]);
    // Once, though the writer finds out too.
    assert_eq!(log.all("the queue has failed").len(), 1);
    Ok(())
}

#[test]
fn handlers_that_outlast_the_shutdown_are_told() -> Tested {
    let log = Log::start();
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let call = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    queue.submit::<Call>([1])?;
    door.wait_for(1);
    let shut = queue.shutdown(Duration::from_millis(1));
    assert!(matches!(shut, Err(ShutdownError::StillRunning { .. })));
    assert_eq!(log.all("handlers or reads outlast the shutdown").len(), 1);
    assert_eq!(log.all("the queue is shut down").len(), 0);
    door.open();
    queue.shutdown(AMPLE)?;
    assert_eq!(log.all("the queue is closing").len(), 1);
    assert_eq!(log.all("the queue is shut down").len(), 1);
    Ok(())
}
