//! Suspects: what was with a worker when a process came to an unclean end.

use super::rig::{OP, Rig, SECOND_OP, at_least_once, exactly_once, records, starts};
use crate::kernel::{BatchId, Event, Mark, OperationSpec, Verdict};

fn mark(batch: BatchId, indexes: &[u16], alone: Option<u32>) -> Mark {
    Mark {
        batch,
        indexes: indexes.to_vec(),
        alone,
    }
}

fn limited(crashes: u32) -> OperationSpec {
    OperationSpec {
        crashes: Some(crashes),
        ..at_least_once()
    }
}

/// A rig after a crash with these marks, with as many workers as it likes.
fn crashed(rig: &mut Rig, marks: &[Mark]) {
    rig.commit();
    rig.crash_with(marks);
    rig.commit();
}

#[test]
fn one_suspect_runs_at_a_time_and_everything_else_beside_it() {
    let mut rig = Rig::new(&[limited(3), limited(3)], 4);
    let batch = rig.submit(OP, 4);
    let other = rig.submit(SECOND_OP, 4);
    let free = rig.submit(OP, 3);
    rig.commit();
    crashed(
        &mut rig,
        &[mark(batch, &[0, 1], None), mark(other, &[0], None)],
    );
    assert_eq!(rig.running(batch), [(0, 1)]);
    assert_eq!(rig.slices_of(batch)[0].alone, Some(1));
    assert!(rig.running(other).is_empty());
    assert_eq!(rig.running(free), [(0, 1), (1, 1), (2, 1)]);
    let slice = rig.slices_of(batch)[0].id;
    rig.end_all(slice, Verdict::Succeeded);
    // The other one's turn has come.
    assert_eq!(rig.running(other), [(0, 1)]);
    assert!(rig.running(batch).is_empty());
    rig.run_all();
    for done in [batch, other, free] {
        assert!(rig.kernel.view(done).is_none(), "{done} is left");
    }
}

#[test]
fn suspects_stay_suspects_through_a_clean_end_and_through_stop_and_resume() {
    let mut rig = Rig::new(&[limited(3)], 4);
    let batch = rig.submit(OP, 3);
    let other = rig.submit(OP, 2);
    crashed(
        &mut rig,
        &[mark(batch, &[0, 1], None), mark(other, &[0], None)],
    );
    rig.crash_with(&[]);
    rig.commit();
    assert_eq!(rig.slices_of(batch)[0].items.len(), 1);
    assert_eq!(rig.slices_of(batch)[0].alone, Some(1));

    rig.stop(other);
    rig.commit();
    rig.resume(other);
    rig.commit();
    // It waits for the suspect that runs, and is not forgotten.
    assert!(rig.running(other).is_empty());
    let slice = rig.slices_of(batch)[0].id;
    rig.end_all(slice, Verdict::Succeeded);
    rig.commit();
    rig.run_all();
    for done in [batch, other] {
        assert!(rig.kernel.view(done).is_none(), "{done} is left");
    }
}

#[test]
fn a_charge_is_counted_once_and_the_last_one_ends_the_item() {
    let mut rig = Rig::new(&[limited(2)], 2);
    let batch = rig.submit(OP, 3);
    crashed(&mut rig, &[mark(batch, &[1], None)]);
    crashed(&mut rig, &[mark(batch, &[1], Some(1))]);
    // The same mark again: the process ended before it was forgotten.
    crashed(&mut rig, &[mark(batch, &[1], Some(1))]);
    assert_eq!(rig.view(batch).failed, 0);
    crashed(&mut rig, &[mark(batch, &[1], Some(2))]);
    let view = rig.view(batch);
    assert_eq!((view.failed, view.in_doubt), (1, 0));
    rig.run_all();
    assert!(rig.kernel.view(batch).is_none());
}

#[test]
fn marks_of_what_has_ended_or_never_was_mean_nothing() {
    let mut rig = Rig::new(&[limited(1)], 1);
    let batch = rig.submit(OP, 20);
    rig.commit();
    let slice = rig.slices_of(batch)[0].clone();
    rig.end(slice.id, &[Verdict::Succeeded; 2], true);
    rig.commit();
    let out = {
        rig.commit();
        rig.crash_with(&[
            mark(batch, &[0, 1], Some(1)),
            mark(batch, &[20, u16::MAX], Some(1)),
            mark(BatchId(999), &[0], Some(1)),
        ])
    };
    let noted = |event: &Event| matches!(event, Event::Suspected { .. } | Event::Charged { .. });
    assert!(
        !records(&out).iter().any(|(_, event)| noted(event)),
        "{out:?}"
    );
    assert_eq!(rig.view(batch).failed, 0);
}

#[test]
fn a_suspect_does_not_go_before_its_turn_in_the_batch() {
    for spec in [limited(3), exactly_once()] {
        let mut rig = Rig::new(&[spec], 1);
        let batch = rig.submit(OP, 6);
        rig.commit();
        crashed(&mut rig, &[mark(batch, &[2, 3], None)]);
        let mut order = Vec::new();
        while let Some(slice) = rig.slices_of(batch).first().cloned() {
            let items: Vec<_> = slice.items.iter().map(|item| item.index).collect();
            assert_eq!(
                slice.alone.is_some(),
                items == [2] || items == [3],
                "{items:?}"
            );
            order.extend(items);
            rig.end_all(slice.id, Verdict::Succeeded);
            rig.commit();
        }
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_suspect_that_waits_for_its_retry_holds_nobody_up() {
    let mut spec = super::rig::retrying(3, 100_000);
    spec.crashes = Some(3);
    let mut rig = Rig::new(&[spec], 1);
    let batch = rig.submit(OP, 3);
    rig.commit();
    crashed(&mut rig, &[mark(batch, &[0, 1], None)]);
    let slice = rig.slices_of(batch)[0].id;
    let started = starts(&rig.end_all(slice, Verdict::Retryable));
    let started: Vec<_> = started
        .iter()
        .map(|s| (s.items[0].index, s.alone))
        .collect();
    assert_eq!(started, [(1, Some(1)), (2, None)]);
}

#[test]
fn a_charge_that_ends_an_item_ends_its_wait_for_a_retry() {
    let mut spec = super::rig::retrying(3, 1_000);
    spec.crashes = Some(1);
    let mut rig = Rig::new(&[spec], 1);
    let batch = rig.submit(OP, 2);
    crashed(&mut rig, &[mark(batch, &[0], None)]);
    let slice = rig.slices_of(batch)[0].id;
    rig.end_all(slice, Verdict::Retryable);
    crashed(&mut rig, &[mark(batch, &[0], Some(1))]);
    assert_eq!(rig.view(batch).failed, 1);
    assert_eq!(rig.next_wake(), None);
    rig.run_all();
    assert!(rig.kernel.view(batch).is_none());
}
