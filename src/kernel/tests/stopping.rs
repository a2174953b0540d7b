//! Stop and resume.

use super::rig::{
    OP, Rig, SECOND_OP, acks, admitted, at_least_once, ended, exactly_once, recalls, records,
    retrying, starts,
};
use crate::kernel::{Event, Output, Phase, Refusal, State, Verdict};

#[test]
fn stopping_a_queued_batch_ends_it_with_the_commit() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let neighbour = rig.submit(OP, 40);
    rig.commit();
    let batch = rig.submit(OP, 5);
    rig.commit();
    let before = rig.view(neighbour);

    let out = rig.stop(batch);
    let stop = rig.last_ticket();
    assert!(out.contains(&Output::Close { batch }));
    let event = Event::StopRequested { at: rig.now };
    assert_eq!(records(&out), [(batch, event)]);
    assert_eq!((acks(&out), ended(&out)), (vec![], vec![]));
    let out = rig.commit();
    assert_eq!((acks(&out), ended(&out)), (vec![stop], vec![batch]));
    assert_eq!(rig.view(neighbour), before);

    rig.run_all();
    assert_eq!(rig.disk.durable[&neighbour].state().succeeded, 40);
    let state = rig.disk.durable[&batch].state();
    assert_eq!((state.phase, state.succeeded), (Phase::Stopped, 0));
}

#[test]
fn a_batch_stopped_before_its_first_commit_never_starts() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let batch = rig.submit(OP, 5);
    rig.stop(batch);
    let out = rig.commit();
    assert!(starts(&out).is_empty());
    assert_eq!(ended(&out), [batch]);
}

#[test]
fn a_stop_closes_the_gate_before_anything_else_and_recalls_what_is_out() {
    for spec in [at_least_once(), exactly_once()] {
        let mut rig = Rig::new(&[spec], 2);
        let batch = rig.submit(OP, 60);
        rig.commit();
        let out_before: Vec<_> = rig.out().iter().map(|slice| slice.id).collect();
        let out = rig.stop(batch);
        assert_eq!(out[0], Output::Close { batch });
        assert_eq!(recalls(&out), out_before);
        assert_eq!(rig.view(batch).phase.state(), State::Running);
    }
}

#[test]
fn no_item_of_a_stopped_batch_starts_although_workers_are_free() {
    for keyed in [false, true] {
        for spec in [at_least_once(), exactly_once()] {
            let mut rig = Rig::new(&[spec], 2);
            let keys: Vec<u64> = (1..=60).collect();
            let batch = if keyed {
                rig.submit_keyed(OP, &keys)
            } else {
                rig.submit(OP, 60)
            };
            rig.commit();
            let slices = rig.out();
            assert!(starts(&rig.stop(batch)).is_empty());
            for slice in &slices[1..] {
                assert!(starts(&rig.give_back(slice.id)).is_empty());
            }
            assert!(starts(&rig.end_all(slices[0].id, Verdict::Succeeded)).is_empty());
            let out = rig.commit();
            assert!(starts(&out).is_empty());
            assert_eq!(ended(&out), [batch]);
        }
    }
}

#[test]
fn no_item_of_a_stopped_batch_starts_when_another_batch_frees_a_worker() {
    for spec in [at_least_once(), exactly_once()] {
        let mut rig = Rig::new(&[at_least_once(), spec], 2);
        let other = rig.submit(OP, 1);
        rig.commit();
        let running = rig.submit(SECOND_OP, 60);
        rig.commit();
        let queued = rig.submit(SECOND_OP, 5);
        rig.commit();
        assert!(!rig.running(running).is_empty());
        rig.stop(running);
        rig.stop(queued);
        let slice = rig.slices_of(other)[0].id;
        assert!(starts(&rig.end_all(slice, Verdict::Succeeded)).is_empty());
        assert!(starts(&rig.commit()).is_empty());
    }
}

#[test]
fn a_running_batch_is_stopped_when_its_last_slice_is_back() {
    let mut rig = Rig::new(&[exactly_once()], 1);
    let batch = rig.submit(OP, 30);
    rig.commit();
    let slice = rig.out()[0].clone();
    rig.stop(batch);
    let stop = rig.last_ticket();
    let out = rig.commit();
    assert_eq!((acks(&out), ended(&out)), (vec![stop], vec![]));

    let ran = rig.end(slice.id, &[Verdict::Succeeded; 3], false);
    assert_eq!(records(&ran).len(), 1);
    let out = rig.give_back(slice.id);
    assert_eq!(records(&out), [(batch, Event::Stopped { at: rig.now })]);
    assert_eq!(ended(&rig.commit()), [batch]);
    let state = rig.disk.durable[&batch].state();
    assert_eq!((state.phase, state.succeeded), (Phase::Stopped, 3));
}

#[test]
fn a_stopping_batch_whose_last_items_all_end_is_completed() {
    let mut rig = Rig::new(&[exactly_once()], 1);
    let batch = rig.submit(OP, 4);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.stop(batch);
    let out = rig.end_all(slice, Verdict::Succeeded);
    assert!(records(&out).contains(&(batch, Event::Completed { at: rig.now })));
    rig.commit();
    assert_eq!(rig.disk.durable[&batch].state().phase, Phase::Completed);
}

#[test]
fn a_stop_does_not_wait_for_a_retry() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    assert!(rig.next_wake().is_some());
    rig.stop(batch);
    assert_eq!(ended(&rig.commit()), [batch]);
    assert_eq!(rig.next_wake(), None);
}

#[test]
fn stop_is_idempotent_and_each_caller_is_answered_once_when_it_is_durable() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 20);
    rig.commit();
    rig.stop(batch);
    let first = rig.last_ticket();
    assert_eq!(rig.stop(batch), []);
    let second = rig.last_ticket();
    assert_eq!(acks(&rig.commit()), [first, second]);
    for slice in rig.out() {
        rig.give_back(slice.id);
    }
    rig.commit();
    assert_eq!(rig.stop(batch), [], "it has ended");
    assert_eq!(acks(&rig.commit()), [rig.last_ticket()]);
}

#[test]
fn resume_runs_exactly_the_items_without_an_outcome_and_attempts_go_on() {
    let mut rig = Rig::new(&[retrying(5, 1_000)], 1);
    let batch = rig.submit(OP, 6);
    rig.commit();
    let slice = rig.out()[0].id;
    let verdicts = [Verdict::Succeeded, Verdict::Retryable, Verdict::Failed];
    rig.end(slice, &verdicts, false);
    rig.stop(batch);
    rig.give_back(slice);
    rig.commit();

    let out = rig.resume(batch);
    let resume = rig.last_ticket();
    assert_eq!(records(&out), [(batch, Event::Resumed { at: rig.now })]);
    assert_eq!((acks(&out).len(), starts(&out).len()), (0, 0));
    assert!(starts(&rig.advance(5_000)).is_empty(), "it is not durable");
    assert_eq!(rig.view(batch).phase, Phase::Queued);
    assert_eq!(acks(&rig.commit()), [resume]);
    let mut ran = Vec::new();
    while let Some(slice) = rig.out().first().map(|slice| slice.id) {
        ran.extend(rig.running(batch));
        rig.end_all(slice, Verdict::Succeeded);
    }
    assert_eq!(ran, [(1, 2), (3, 1), (4, 1), (5, 1)]);
    rig.commit();
    let state = rig.disk.durable[&batch].state();
    assert_eq!((state.succeeded, state.failed), (5, 1));
    assert_eq!(state.phase, Phase::Completed);
}

#[test]
fn a_resumed_batch_still_waits_for_its_retries() {
    let mut rig = Rig::new(&[retrying(5, 60_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    let due = rig.next_wake();
    rig.stop(batch);
    rig.commit();
    rig.resume(batch);
    assert!(starts(&rig.commit()).is_empty());
    assert_eq!(rig.next_wake(), due);
    rig.advance(60_000);
    assert_eq!(rig.running(batch), [(0, 2)]);
}

#[test]
fn a_resumed_batch_can_be_stopped_again() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 3);
    rig.stop(batch);
    rig.commit();
    rig.resume(batch);
    rig.stop(batch);
    let out = rig.commit();
    assert_eq!((ended(&out), starts(&out).len()), (vec![batch], 0));
    rig.resume(batch);
    rig.commit();
    rig.run_all();
    assert_eq!(rig.disk.durable[&batch].state().phase, Phase::Completed);
}

#[test]
fn only_stopped_batches_are_resumed() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let refused = |out: Vec<Output>, expected: State| {
        let refusal = Refusal::NotStopped { state: expected };
        assert!(
            matches!(&out[..], [Output::Refused { refusal: r, .. }] if *r == refusal),
            "{out:?}"
        );
    };
    refused(rig.resume(batch), State::Running);
    rig.run_all();
    refused(rig.resume(batch), State::Completed);
    let other = rig.submit(OP, 1);
    rig.stop(other);
    rig.commit();
    rig.resume(other);
    refused(rig.resume(other), State::Queued);
}

#[test]
fn a_batch_whose_stop_is_not_durable_is_not_resumed() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.stop(batch);
    rig.give_back(slice);
    assert_eq!(rig.view(batch).phase, Phase::Stopped);
    let out = rig.resume(batch);
    assert!(matches!(out[..], [Output::Refused { .. }]), "{out:?}");
    rig.commit();
    rig.resume(batch);
    rig.commit();
    assert_eq!(rig.running(batch), [(0, 1)]);
}

#[test]
fn a_slice_that_comes_back_after_its_batch_ended_changes_nothing() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 2);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Succeeded; 2], false);
    rig.commit();
    assert_eq!(rig.kernel.view(batch), None);
    let next = admitted(&rig.ask_submit(OP, 1, None));
    rig.commit();
    let before = rig.view(next);
    let out = rig.give_back(slice);
    assert_eq!(records(&out), []);
    assert_eq!(rig.view(next).total, before.total);
    rig.run_all();
    assert_eq!(rig.disk.durable[&next].state().phase, Phase::Completed);
}

#[test]
fn a_slice_of_a_stopped_batch_that_comes_back_after_resume_changes_nothing() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 2);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Retryable], false);
    rig.stop(batch);
    rig.commit();
    rig.resume(batch);
    rig.commit();
    let before = rig.view(batch);
    assert_eq!(records(&rig.give_back(slice)), []);
    assert_eq!(rig.view(batch), before);
    assert_eq!(rig.kernel.slices_in_flight(), 1, "the bystander's");
}
