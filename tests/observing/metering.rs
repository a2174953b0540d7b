//! Feature `metrics`.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Tested, eventually, fresh, queue_on,
};
use crate::listeners::{Figures, Log};
use batchwright::testing::MemoryDisk;
use batchwright::{Builder, Failure, OpenError, Queue, RetryPolicy};
use std::time::Duration;

/// Opens a queue whose recorder is `figures`.
fn open(builder: Builder, disk: &MemoryDisk, figures: &Figures) -> Result<Queue, OpenError> {
    metrics::with_local_recorder(figures, || builder.open_in_memory(disk))
}

/// Succeeds, fails, panics, and fails once before it succeeds.
fn mixed() -> Call {
    let call = Call::new(|n, cx| match n % 4 {
        1 => Err(Failure::permanent("no", "never")),
        2 => panic!("as it should"),
        3 if cx.attempt() == 1 => Err(Failure::retryable("later", "not yet")),
        _ => Ok(n),
    });
    call.retry(RetryPolicy::exponential(2, Duration::ZERO))
}

#[test]
fn metrics_say_what_stats_say() -> Tested {
    let _log = Log::start();
    let ((disk, clock), figures) = (fresh(), Figures::default());
    let builder = queue_on(&clock).register(mixed()).register(Mail::echo());
    let queue = open(builder, &disk, &figures)?;
    let bystander = Bystander::enter(&queue)?;
    let stored = disk.commits();
    queue.submit::<Call>(0..40)?.ends()?;
    queue.submit::<Call>(0..8)?.ends()?;
    queue.submit::<Mail>(0..3)?.ends()?;
    assert!(disk.commits() > stored);
    let stats = queue.stats()?;
    let same = || {
        let operations = stats.operations.iter().all(|operation| {
            let of = format!("operation={}", operation.name);
            let counter = |name: &str| figures.counter(&format!("batchwright_{name}"));
            let times = figures.times(&format!("batchwright_handler_seconds {of}"));
            [
                (format!("batches_submitted_total {of}"), operation.submitted),
                (
                    format!("items_total {of} outcome=succeeded"),
                    operation.succeeded,
                ),
                (format!("items_total {of} outcome=failed"), operation.failed),
                (format!("attempts_retried_total {of}"), operation.retried),
                (format!("attempts_panicked_total {of}"), operation.panicked),
            ]
            .iter()
            .all(|(name, expected)| counter(name) == Some(*expected))
                && times.is_some_and(|times| {
                    let mean = operation.handler_time.mean.as_secs_f64();
                    let sum: f64 = times.iter().sum();
                    let expected = mean * times.len() as f64;
                    times.len() as u64 == operation.handler_time.count
                        && (sum - expected).abs() <= 1e-9 * times.len() as f64
                })
        });
        let commits = figures
            .times("batchwright_commit_seconds")
            .unwrap_or_default();
        operations
            && figures.counter("batchwright_commits_total") == Some(stats.writer.commits)
            && commits.len() as u64 == stats.writer.commits
            && figures.gauge("batchwright_unfinished_batches") == Some(1.0)
            && figures.counter("batchwright_batches_ended_total state=completed") == Some(3)
            && figures.counter("batchwright_batches_ended_total state=stopped") == Some(1)
    };
    eventually(same);
    let call = stats.operations.iter().find(|o| o.name == "call");
    let figures_of_call = call.map(|o| (o.submitted, o.succeeded, o.failed, o.retried, o.panicked));
    assert_eq!(figures_of_call, Some((2, 24, 24, 12, 12)));
    let size = figures.gauge("batchwright_size_on_disk_bytes");
    assert!(size.is_some_and(|size| size > 0.0), "{size:?}");
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn every_metric_is_described_and_documented() -> Tested {
    let _log = Log::start();
    let ((disk, clock), figures) = (fresh(), Figures::default());
    let queue = open(queue_on(&clock).register(mixed()), &disk, &figures)?;
    let described = figures.described();
    let document = include_str!("../../src/observe/mod.rs");
    for (name, unit) in &described {
        assert!(document.contains(&format!("| `{name}` |")), "{name}");
        let expected = match name.rsplit('_').next() {
            Some("seconds") => "s",
            Some("bytes") => "B",
            _ => "",
        };
        let unit = unit.map(|unit| unit.as_canonical_label());
        assert_eq!(unit, Some(expected), "{name}");
    }
    let mut plain: Vec<_> = figures.names();
    for name in &mut plain {
        name.truncate(name.find(' ').unwrap_or(name.len()));
    }
    plain.sort();
    plain.dedup();
    assert_eq!(plain, described.keys().cloned().collect::<Vec<_>>());
    assert_eq!(document.matches("//! | `batchwright_").count(), plain.len());
    queue.shutdown(AMPLE)?;
    Ok(())
}

#[test]
fn queues_add_up_and_a_closed_one_takes_its_share_of_the_gauges() -> Tested {
    let _log = Log::start();
    let figures = Figures::default();
    let unfinished = || figures.gauge("batchwright_unfinished_batches");
    let door = Door::new();
    let held = || {
        let at = door.clone();
        Call::new(move |n, _| {
            at.pass();
            Ok(n)
        })
    };
    let ((first_disk, clock), (second_disk, _)) = (fresh(), fresh());
    let first = open(queue_on(&clock).register(held()), &first_disk, &figures)?;
    let second = open(queue_on(&clock).register(held()), &second_disk, &figures)?;
    let bystander = Bystander::enter(&second)?;
    let ids = [
        first.submit::<Call>([1])?.id(),
        first.submit::<Call>([2])?.id(),
    ];
    let last = second.submit::<Call>([3])?;
    eventually(|| unfinished() == Some(4.0));
    door.open();
    last.ends()?;
    for id in ids {
        first.batch(id)?.ends()?;
    }
    eventually(|| unfinished() == Some(1.0));
    bystander.assert_unchanged(&second);
    first.shutdown(AMPLE)?;
    assert_eq!(unfinished(), Some(1.0));
    second.shutdown(AMPLE)?;
    assert_eq!(unfinished(), Some(0.0));
    assert_eq!(figures.gauge("batchwright_size_on_disk_bytes"), Some(0.0));
    // What is unfinished is known as soon as the queue is open again.
    let second = open(queue_on(&clock).register(held()), &second_disk, &figures)?;
    assert_eq!(unfinished(), Some(1.0));
    bystander.assert_unchanged(&second);
    Ok(())
}

#[test]
fn a_recorder_gets_what_queues_do_that_are_opened_after_it() -> Tested {
    let _log = Log::start();
    let ((early_disk, clock), (late_disk, _)) = (fresh(), fresh());
    let early = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&early_disk)?;
    let figures = Figures::default();
    metrics::set_global_recorder(figures.clone()).map_err(|_| "there is a recorder")?;
    early.submit::<Call>([1])?.ends()?;
    early.shutdown(AMPLE)?;
    assert_eq!(figures.names(), Vec::<String>::new());
    let late = queue_on(&clock)
        .register(Mail::echo())
        .open_in_memory(&late_disk)?;
    late.submit::<Mail>([1])?.ends()?;
    late.shutdown(AMPLE)?;
    let mails = "batchwright_items_total operation=mail outcome=succeeded";
    assert_eq!(figures.counter(mails), Some(1));
    Ok(())
}
