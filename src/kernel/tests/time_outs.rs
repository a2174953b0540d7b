//! Handlers that do not return in time: what they hold, and until when.

use super::rig::{OP, Rig, SECOND_OP, at_least_once, ended};
use crate::kernel::{BatchId, Input, Mark, OperationSpec, Output, RetryPolicy, SliceId, Verdict};
use std::time::Duration;

fn timed() -> OperationSpec {
    OperationSpec {
        timed: true,
        ..at_least_once()
    }
}

/// Runs again a second after a time-out.
fn again() -> OperationSpec {
    let retry = RetryPolicy::exponential(3, Duration::from_secs(1));
    OperationSpec {
        retry: retry.after_timeouts(),
        ..timed()
    }
}

fn time_out(rig: &mut Rig, slice: SliceId, replaced: bool) -> Vec<Output> {
    rig.feed(Input::TimedOut {
        slice,
        place: 0,
        after_ms: 10,
        replaced,
    })
}

fn slice_of(rig: &Rig, batch: BatchId) -> SliceId {
    rig.slices_of(batch)[0].id
}

/// Items of key 7, the first of which has not returned in time.
fn late_first(spec: OperationSpec) -> (Rig, BatchId, SliceId) {
    let mut rig = Rig::new(&[spec], 4);
    let batch = rig.submit_keyed(OP, &[7, 7]);
    rig.commit();
    let hung = slice_of(&rig, batch);
    time_out(&mut rig, hung, true);
    rig.commit();
    (rig, batch, hung)
}

fn marked(batch: BatchId, indexes: &[u16]) -> Mark {
    Mark {
        batch,
        indexes: indexes.to_vec(),
        alone: None,
    }
}

#[test]
fn a_time_out_is_final_unless_the_policy_says_otherwise() {
    let retry = RetryPolicy::exponential(3, Duration::from_secs(1));
    let final_at_once = OperationSpec { retry, ..timed() };
    for (spec, waits) in [(final_at_once, false), (again(), true)] {
        let mut rig = Rig::new(&[spec], 2);
        let batch = rig.submit(OP, 2);
        rig.commit();
        let hung = slice_of(&rig, batch);
        time_out(&mut rig, hung, true);
        rig.commit();
        let view = rig.view(batch);
        assert_eq!((view.failed == 1, view.waiting == 1), (!waits, waits));
    }
}

#[test]
fn a_late_handler_keeps_its_key_until_it_returns() {
    let (mut rig, batch, hung) = late_first(timed());
    let behind = rig.submit_keyed(OP, &[7]);
    rig.commit();
    assert_eq!((rig.view(batch).failed, rig.view(batch).in_flight), (1, 0));
    assert_eq!(rig.out().len(), 1, "the late one");
    rig.end_all(hung, Verdict::Succeeded);
    assert_eq!(rig.running(batch), [(1, 1)]);
    assert_eq!(rig.view(batch).succeeded, 0, "what it says does not count");
    let next = slice_of(&rig, batch);
    time_out(&mut rig, next, true);
    // Its batch has ended, and the handler still has the key.
    assert_eq!(ended(&rig.commit()), [batch]);
    assert!(rig.running(behind).is_empty());
    rig.give_back(next);
    assert_eq!(rig.running(behind), [(0, 1)]);
    rig.run_all();
    assert!(rig.kernel.lanes[OP.0].is_idle());
}

#[test]
fn an_item_that_runs_again_keeps_its_key_when_its_late_handler_returns_first() {
    let (mut rig, batch, hung) = late_first(again());
    rig.give_back(hung);
    rig.commit();
    assert!(rig.out().is_empty(), "the first item waits");
    rig.advance(1_500);
    assert_eq!(rig.running(batch), [(0, 2)]);
    rig.end_all(slice_of(&rig, batch), Verdict::Succeeded);
    assert_eq!(rig.running(batch), [(1, 1)]);
}

#[test]
fn an_item_that_runs_again_waits_for_its_late_handler() {
    let (mut rig, batch, hung) = late_first(again());
    rig.advance(1_500);
    assert_eq!(rig.out().len(), 1, "the late one");
    rig.give_back(hung);
    assert_eq!(rig.running(batch), [(0, 2)]);
}

#[test]
fn a_batch_that_was_stopped_and_resumed_has_a_new_place_and_the_late_handler_frees_the_old_one() {
    let mut rig = Rig::new(&[again()], 4);
    let batch = rig.submit_keyed(OP, &[7]);
    let behind = rig.submit_keyed(OP, &[7]);
    rig.commit();
    let hung = slice_of(&rig, batch);
    time_out(&mut rig, hung, true);
    rig.stop(batch);
    rig.commit();
    rig.resume(batch);
    rig.commit();
    assert!(rig.running(behind).is_empty());
    rig.give_back(hung);
    assert_eq!(rig.running(behind), [(0, 1)]);
    rig.advance(1_500);
    assert!(rig.running(batch).is_empty(), "it stands behind now");
    rig.end_all(slice_of(&rig, behind), Verdict::Succeeded);
    assert_eq!(rig.running(batch), [(0, 2)]);
    rig.run_all();
    assert!(rig.kernel.lanes[OP.0].is_idle());
}

#[test]
fn a_late_handler_counts_for_concurrency_and_frees_a_worker_only_when_it_is_replaced() {
    let one_at_a_time = OperationSpec {
        concurrency: Some(1),
        ..timed()
    };
    let mut rig = Rig::new(&[one_at_a_time], 4);
    let batch = rig.submit(OP, 2);
    rig.commit();
    let hung = slice_of(&rig, batch);
    time_out(&mut rig, hung, true);
    rig.commit();
    assert_eq!(rig.out().len(), 1, "the late one");
    rig.give_back(hung);
    assert_eq!(rig.running(batch), [(1, 1)]);

    for replaced in [false, true] {
        let mut rig = Rig::new(&[timed()], 1);
        let batch = rig.submit(OP, 2);
        rig.commit();
        let hung = slice_of(&rig, batch);
        time_out(&mut rig, hung, replaced);
        rig.commit();
        assert_eq!(rig.view(batch).in_flight, u32::from(replaced));
        rig.give_back(hung);
        assert_eq!(rig.view(batch).in_flight, 1);
    }
}

#[test]
fn a_worker_is_free_when_the_late_one_is_replaced_after_all() {
    let mut rig = Rig::new(&[timed()], 1);
    let batch = rig.submit(OP, 3);
    rig.commit();
    let hung = slice_of(&rig, batch);
    time_out(&mut rig, hung, false);
    rig.commit();
    assert_eq!(rig.view(batch).in_flight, 0);
    rig.feed(Input::Replaced { slice: hung });
    assert_eq!(
        rig.running(batch),
        [(0, 1), (1, 1)],
        "the late one, and one"
    );
    // It is gone, and leaves no room of its own.
    rig.give_back(hung);
    assert_eq!(rig.running(batch), [(1, 1)]);
    rig.end_all(slice_of(&rig, batch), Verdict::Succeeded);
    assert_eq!(rig.running(batch), [(2, 1)]);
    // Of a slice that is not known it means nothing.
    assert_eq!(rig.feed(Input::Replaced { slice: hung }), []);
}

#[test]
fn a_suspect_that_is_late_lets_the_next_run_and_nobody_elses_lateness_does() {
    for late_is_suspect in [true, false] {
        let mut rig = Rig::new(&[timed(), timed()], 4);
        let suspects = rig.submit(OP, 2);
        let other = rig.submit(SECOND_OP, 1);
        rig.commit();
        rig.crash_with(&[marked(suspects, &[0, 1])]);
        rig.commit();
        assert_eq!(rig.running(suspects), [(0, 1)]);
        let late = if late_is_suspect { suspects } else { other };
        let hung = slice_of(&rig, late);
        time_out(&mut rig, hung, true);
        rig.commit();
        let second = rig
            .slices_of(suspects)
            .into_iter()
            .find(|slice| slice.items[0].index == 1);
        assert_eq!(second.is_some(), late_is_suspect);
    }
}
