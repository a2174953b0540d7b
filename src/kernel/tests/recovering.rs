//! Recovery from recorded events.

use super::rig::{OP, Rig, at_least_once, ended, exactly_once, records, retrying, starts};
use crate::kernel::{
    BatchId, BatchState, Event, Fate, Input, ItemEvent, Kernel, Phase, Recovered, State, Terms,
    Timestamp, Verdict,
};

fn pending_count(rig: &Rig, batch: BatchId) -> u32 {
    rig.kernel.batches[&batch].state.pending_count()
}

#[test]
fn recorded_events_add_up_to_the_live_state() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 2);
    let batch = rig.submit(OP, 4_000);
    rig.commit();
    for round in 0..6 {
        let slice = rig.out()[0].clone();
        let verdicts: Vec<_> = (0..slice.items.len())
            .map(|i| [Verdict::Succeeded, Verdict::Retryable, Verdict::Failed][(i + round) % 3])
            .collect();
        rig.end(slice.id, &verdicts, true);
        rig.commit();
        let live = rig.view(batch);
        let folded = rig.disk.durable[&batch].state();
        assert_eq!(
            (live.phase, live.succeeded, live.failed, live.started_at),
            (
                folded.phase,
                folded.succeeded,
                folded.failed,
                folded.started_at
            )
        );
        assert_eq!(live.waiting, folded.waiting_count());
        assert_eq!(
            live.in_flight + pending_count(&rig, batch),
            folded.pending_count()
        );
    }
}

#[test]
fn a_crash_runs_again_exactly_what_has_no_durable_outcome() {
    for spec in [retrying(3, 60_000), exactly_once()] {
        let mut rig = Rig::new(&[spec], 1);
        let batch = rig.submit(OP, 10);
        rig.commit();
        let slice = rig.out()[0].id;
        rig.end(slice, &[Verdict::Succeeded, Verdict::Failed], false);
        rig.commit();
        rig.end(slice, &[Verdict::Succeeded; 3], false);
        rig.crash();
        let view = rig.view(batch);
        assert_eq!((view.succeeded, view.failed), (1, 1));
        let rerun: Vec<_> = rig.running(batch);
        assert_eq!(rerun[0], (2, 1));
        rig.run_all();
        assert_eq!(rig.disk.durable[&batch].state().succeeded, 9);
    }
}

#[test]
fn an_unacknowledged_batch_is_gone_after_a_crash_and_an_acknowledged_one_is_not() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let kept = rig.submit(OP, 1);
    rig.commit();
    let lost = rig.submit(OP, 1);
    rig.crash();
    assert!(rig.kernel.view(kept).is_some());
    assert!(rig.kernel.view(lost).is_none());
}

#[test]
fn a_start_without_a_durable_outcome_is_forgotten() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    assert_eq!(rig.view(batch).phase, Phase::Running);
    assert_eq!(
        rig.disk.durable[&batch].state().phase.state(),
        State::Queued
    );
    rig.now = rig.now.plus_ms(5_000);
    rig.crash();
    assert_eq!(rig.view(batch).started_at, Some(rig.now));
}

#[test]
fn the_first_start_is_kept_through_crash_and_resume() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let first_start = rig.now;
    let batch = rig.submit(OP, 40);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Succeeded], false);
    rig.stop(batch);
    for slice in rig.slices_of(batch) {
        rig.give_back(slice.id);
    }
    rig.commit();
    rig.now = rig.now.plus_ms(5_000);
    rig.resume(batch);
    rig.commit();
    for _ in 0..2 {
        let view = rig.view(batch);
        assert_eq!((view.phase, view.ended_at), (Phase::Running, None));
        assert_eq!(view.started_at, Some(first_start));
        rig.crash();
    }
}

#[test]
fn a_stopping_batch_is_stopped_straight_away_on_recovery() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 2);
    let batch = rig.submit(OP, 40);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Retryable, Verdict::Succeeded], false);
    rig.stop(batch);
    rig.commit();
    assert_eq!(rig.view(batch).phase, Phase::Stopping);
    let out = rig.crash();
    let stopped = (batch, Event::Stopped { at: rig.now });
    assert!(records(&out).contains(&stopped));
    assert!(starts(&out).iter().all(|slice| slice.batch != batch));
    assert_eq!(ended(&rig.commit()), [batch]);
    assert_eq!(rig.next_wake(), None, "the wait ended with the batch");
}

#[test]
fn a_stopping_batch_with_all_outcomes_is_completed_on_recovery() {
    let mut state = BatchState::queued(1);
    let at = Timestamp(5);
    let item = ItemEvent {
        index: 0,
        attempt: 1,
        fate: Fate::Succeeded,
    };
    let items = vec![item];
    for event in [
        Event::Started { at },
        Event::StopRequested { at },
        Event::ItemsEnded { at, items },
    ] {
        assert_eq!(state.apply(&event), Ok(()));
    }
    let mut kernel = Kernel::new(vec![at_least_once()], 1, 10, BatchId(2));
    let batch = BatchId(1);
    let recovered = Recovered {
        batch,
        operation: OP,
        position: 1,
        terms: Terms::default(),
        state,
    };
    let out = kernel.recover(vec![recovered], &[], at);
    assert_eq!(records(&out), [(batch, Event::Completed { at })]);
    assert_eq!(ended(&kernel.handle(Input::Committed, at)), [batch]);
}

#[test]
fn waits_survive_a_crash_and_are_capped_when_the_clock_was_set_back() {
    let mut rig = Rig::new(&[retrying(5, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    rig.commit();
    let due = rig.next_wake();
    rig.crash();
    assert_eq!(rig.next_wake(), due);
    assert_eq!(rig.running(batch), []);

    let day_ms = 24 * 3_600_000;
    rig.now = Timestamp(day_ms);
    let later = rig.submit(OP, 1);
    rig.commit();
    rig.run_all();
    assert_eq!(rig.disk.durable[&later].state().phase, Phase::Completed);

    let second = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    rig.commit();
    rig.now = Timestamp(1_000);
    rig.crash();
    let hour_ms = 3_600_000;
    assert_eq!(rig.waits(second), [rig.now.plus_ms(hour_ms)]);
    assert_eq!(rig.next_wake(), Some(rig.now.plus_ms(hour_ms)));
    rig.advance(hour_ms);
    assert_eq!(rig.running(second), [(0, 2)]);
}

#[test]
fn a_wait_that_passed_while_the_process_was_down_is_over() {
    let mut rig = Rig::new(&[retrying(5, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    rig.commit();
    rig.now = rig.now.plus_ms(60_000);
    rig.crash();
    assert_eq!(rig.running(batch), [(0, 2)]);
}

#[test]
fn order_by_key_survives_a_crash() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 4);
    let first = rig.submit_keyed(OP, &[7, 8]);
    let second = rig.submit_keyed(OP, &[7, 8]);
    rig.commit();
    for slice in rig.slices_of(first) {
        rig.end_all(slice.id, Verdict::Retryable);
    }
    rig.commit();
    rig.crash();
    assert_eq!((rig.running(first), rig.running(second)), (vec![], vec![]));
    rig.advance(60_000);
    assert_eq!(rig.running(first), [(0, 2), (1, 2)]);
    assert_eq!(rig.running(second), []);
    rig.run_all();
    assert_eq!(rig.disk.durable[&second].state().phase, Phase::Completed);
}

#[test]
fn a_resumed_batch_keeps_its_new_place_through_a_crash() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let first = rig.submit_keyed(OP, &[7]);
    rig.stop(first);
    rig.commit();
    let second = rig.submit_keyed(OP, &[7]);
    rig.resume(first);
    rig.commit();
    rig.crash();
    assert_eq!(
        (rig.running(first).len(), rig.running(second).len()),
        (0, 1)
    );
    let third = rig.submit_keyed(OP, &[7]);
    rig.commit();
    rig.run_all();
    assert_eq!(rig.disk.durable[&third].state().phase, Phase::Completed);
}

#[test]
fn a_batch_submitted_after_a_crash_stands_behind_those_from_before() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let first = rig.submit_keyed(OP, &[7]);
    rig.submit_keyed(OP, &[8]);
    rig.commit();
    rig.crash();
    let later = rig.submit_keyed(OP, &[7]);
    rig.commit();
    assert!(rig.view(later).position > rig.view(first).position);
    assert_eq!(rig.running(later), []);
}

#[test]
fn a_journal_that_ends_an_item_twice_is_refused() {
    let at = Timestamp(5);
    for fate in [Fate::Succeeded, Fate::Failed, Fate::Retry { due: at }] {
        let end = |index, fate| Event::ItemsEnded {
            at,
            items: vec![ItemEvent {
                index,
                attempt: 1,
                fate,
            }],
        };
        let mut state = BatchState::queued(2);
        assert_eq!(state.apply(&Event::Started { at }), Ok(()));
        assert_eq!(state.apply(&end(1, Fate::Succeeded)), Ok(()));
        assert!(state.apply(&end(1, fate)).is_err());
        assert!(state.apply(&end(2, fate)).is_err(), "no such item");
        assert_eq!((state.succeeded, state.failed), (1, 0));
    }
}
