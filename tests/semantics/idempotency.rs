//! Idempotency keys: the same submission twice is one batch.

use crate::harness::{
    AMPLE, Bystander, Call, Ends, Log, Mail, Post, Tested, add, fresh, never, outputs, queue_on,
    sum,
};
use batchwright::limits::{Limits, NAME_BYTES};
use batchwright::{
    AtLeastOnce, BatchFilter, Context, Failure, Operation, SubmitError, SubmitOptions,
};
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

fn key(key: &str) -> SubmitOptions {
    SubmitOptions::new().idempotency_key(key)
}

#[test]
fn the_same_items_are_the_same_batch_whatever_became_of_it() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Post::new(|n, cx| add(cx, "all", n)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit_with::<Post>([1, 2], key("k"))?;
    first.ends()?;
    let again = queue.submit_with::<Post>([1, 2], key("k"))?;
    assert_eq!(again.id(), first.id());
    assert_eq!(outputs(&again)?, [1, 3]);
    assert_eq!(sum(&queue, "all")?, 3);
    assert_eq!(queue.batches(BatchFilter::all()).count(), 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn other_items_under_a_used_key_are_a_conflict_that_names_the_batch() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit_with::<Call>([1, 2], key("k"))?;
    let before = first.ends()?.status;
    for items in [vec![1, 3], vec![1], vec![2, 1], vec![1, 2, 2], vec![12]] {
        let other = queue.submit_with::<Call>(items, key("k")).map(|b| b.id());
        let batch = first.id();
        assert_eq!(other, Err(SubmitError::KeyConflict { batch }));
    }
    assert_eq!(first.status()?, before);
    assert_eq!(queue.batches(BatchFilter::all()).count(), 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

struct Members;

impl Operation for Members {
    const NAME: &'static str = "members";
    type Item = serde_json::Value;
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _: serde_json::Value, _: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn items_are_compared_by_content_and_not_by_how_their_json_is_written() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).register(Members).open_in_memory(&disk)?;
    let one: serde_json::Value = serde_json::from_str(r#"{"b": 1, "a": {"d": 2, "c": [1, 2]}}"#)?;
    let two: serde_json::Value = serde_json::from_str(r#"{"a": {"c": [1, 2], "d": 2}, "b": 1}"#)?;
    let other: serde_json::Value = serde_json::from_str(r#"{"a": {"c": [2, 1], "d": 2}, "b": 1}"#)?;
    let first = queue.submit_with::<Members>([one], key("k"))?;
    assert_eq!(
        queue.submit_with::<Members>([two], key("k"))?.id(),
        first.id()
    );
    let other = queue.submit_with::<Members>([other], key("k"));
    assert!(matches!(other, Err(SubmitError::KeyConflict { .. })));
    Ok(())
}

#[test]
fn a_key_counts_within_its_owner_and_operation() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let mine = queue.submit_with::<Call>([1], key("k"))?.id();
    let anns = queue.submit_with::<Call>([1], key("k").owner("ann"))?;
    let bobs = queue.submit_with::<Call>([2], key("k").owner("bob"))?.id();
    let mail = queue.submit_with::<Mail>([3], key("k"))?.id();
    let mut ids = vec![mine, anns.id(), bobs, mail];
    assert_eq!(anns.status()?.owner.as_deref(), Some("ann"));
    assert_eq!(
        queue.submit_with::<Call>([1], key("k").owner("ann"))?.id(),
        anns.id()
    );
    ids.dedup();
    assert_eq!(ids.len(), 4);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn concurrent_submissions_under_one_key_make_one_batch() -> Tested {
    let (disk, clock) = fresh();
    let log = Log::new();
    let ran = log.clone();
    let call = Call::new(move |n, _| {
        ran.push(n);
        Ok(n)
    });
    let queue = queue_on(&clock).register(call).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    for round in 0..30 {
        let barrier = Barrier::new(6);
        let name = format!("round {round}");
        let ids = thread::scope(|scope| {
            let submitters: Vec<_> = (0..6)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        queue.submit_with::<Call>([round, round], key(&name))
                    })
                })
                .collect();
            submitters
                .into_iter()
                .map(|s| {
                    s.join()
                        .map_err(|_| "a submitter panicked")?
                        .map_err(|e| e.into())
                })
                .map(|batch: Result<_, Box<dyn std::error::Error>>| Ok(batch?.id()))
                .collect::<Result<Vec<_>, Box<dyn std::error::Error>>>()
        })?;
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        queue.batch(ids[0])?.ends()?;
    }
    let mut runs = BTreeMap::new();
    for n in log.entries() {
        *runs.entry(n).or_insert(0) += 1;
    }
    assert!(
        runs.len() == 30 && runs.values().all(|runs| *runs == 2),
        "{runs:?}"
    );
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn who_submits_the_same_again_is_answered_when_the_first_is_durable() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let held = disk.hold_commits();
    let answers = thread::scope(|scope| {
        let submit = || {
            queue
                .submit_with::<Call>([1], key("k"))
                .map(|batch| batch.id())
        };
        let submitters: Vec<_> = (0..4).map(|_| scope.spawn(submit)).collect();
        assert!(held.wait_for_commit());
        never(|| submitters.iter().any(|submitter| submitter.is_finished()));
        disk.cut_power();
        let answers = submitters.into_iter().map(|submitter| submitter.join());
        answers.collect::<Vec<_>>()
    });
    drop(held);
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    for answer in answers {
        let answer = answer.map_err(|_| "a submitter panicked")?;
        // Those that the writer had not come to know that nothing is stored.
        let honest = matches!(
            answer,
            Err(SubmitError::Unknown { .. } | SubmitError::Failed { .. })
        );
        assert!(honest, "{answer:?}");
    }
    assert_eq!(queue.batches(BatchFilter::all()).count(), 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn keys_survive_a_restart_and_a_crash() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let id = queue.submit_with::<Call>([1, 2], key("k"))?.id();
    queue.batch(id)?.ends()?;
    queue.shutdown(AMPLE)?;
    let queue = open()?;
    assert_eq!(queue.submit_with::<Call>([1, 2], key("k"))?.id(), id);
    disk.cut_power();
    let queue = open()?;
    assert_eq!(queue.submit_with::<Call>([1, 2], key("k"))?.id(), id);
    let other = queue.submit_with::<Call>([1], key("k"));
    assert!(matches!(other, Err(SubmitError::KeyConflict { .. })));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_key_is_forgotten_after_its_time_and_not_before() -> Tested {
    const KEPT: Duration = Duration::from_secs(24 * 3600);
    let (disk, clock) = fresh();
    let mut limits = Limits::default();
    limits.idempotency_keys_for = KEPT;
    let queue = queue_on(&clock)
        .limits(limits)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let first = queue.submit_with::<Call>([1], key("k"))?;
    first.ends()?;
    clock.advance(KEPT - Duration::from_millis(1));
    assert_eq!(queue.submit_with::<Call>([1], key("k"))?.id(), first.id());
    clock.advance(Duration::from_millis(1));
    let second = queue.submit_with::<Call>([2], key("k"))?;
    assert_ne!(second.id(), first.id());
    assert_eq!(queue.submit_with::<Call>([2], key("k"))?.id(), second.id());
    assert_eq!(first.status()?.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn keys_and_owners_out_of_range_are_refused() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let long = "k".repeat(NAME_BYTES + 1);
    let new = SubmitOptions::new;
    for options in [
        key(""),
        key(&long),
        new().owner(""),
        new().owner(&*long),
        new().label(""),
        new().label(&*long),
    ] {
        let refused = queue.submit_with::<Call>([1], options);
        assert!(matches!(
            refused,
            Err(SubmitError::InvalidOption {
                limit: NAME_BYTES,
                ..
            })
        ));
    }
    assert_eq!(queue.batches(BatchFilter::all()).count(), 0);
    queue.submit_with::<Call>([1], key(&long[1..]).owner(&long[1..]))?;
    Ok(())
}
