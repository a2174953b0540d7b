//! Batches that start nothing before a time.

use super::rig::{
    OP, Rig, SECOND_OP, acks, admitted, at_least_once, ended, exactly_once, moved, records,
    retrying, starts,
};
use crate::kernel::{BatchId, Event, Input, Output, Phase, Terms, Timestamp, Verdict};

/// Not before `ms` from now.
fn later(rig: &Rig, ms: u64) -> Terms {
    Terms {
        not_before: Some(rig.now.plus_ms(ms)),
        ..Terms::default()
    }
}

fn later_with_keys(rig: &Rig, ms: u64, keys: &[u64]) -> Terms {
    Terms {
        keys: Some(Box::from(keys)),
        ..later(rig, ms)
    }
}

/// With and without ordering keys.
fn both_kinds(rig: &Rig, ms: u64) -> [Terms; 2] {
    [later(rig, ms), later_with_keys(rig, ms, &[7, 8, 7])]
}

fn phase(rig: &Rig, batch: BatchId) -> Phase {
    rig.disk.durable[&batch].state().phase
}

#[test]
fn a_delayed_batch_is_acknowledged_starts_nothing_early_and_wakes_exactly_at_its_time() {
    for spec in [at_least_once(), exactly_once()] {
        for kind in 0..2 {
            let mut rig = Rig::new(std::slice::from_ref(&spec), 4);
            let terms = both_kinds(&rig, 1_000)[kind].clone();
            let due = rig.now.plus_ms(1_000);
            let batch = rig.submit_on(OP, 3, terms);
            assert_eq!(rig.next_wake(), None, "it is not durable");
            let out = rig.commit();
            assert_eq!(acks(&out), [rig.last_ticket()]);
            assert!(starts(&out).is_empty());
            assert_eq!(rig.next_wake(), Some(due));
            assert!(starts(&rig.advance(999)).is_empty());
            assert_eq!(rig.next_wake(), Some(due));
            assert_eq!(rig.view(batch).phase, Phase::Queued);

            rig.advance(1);
            assert_eq!(rig.next_wake(), None);
            rig.commit();
            assert!(!rig.running(batch).is_empty());
            assert_eq!(rig.view(batch).started_at, Some(due));
            rig.run_all();
            assert_eq!(phase(&rig, batch), Phase::Completed);
        }
    }
}

#[test]
fn a_time_that_has_passed_delays_nothing() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let now = rig.now;
    for (not_before, keys) in [
        (Timestamp(0), None),
        (now, None),
        (now, Some([7].into())),
        (Timestamp(0), Some([8].into())),
    ] {
        let not_before = Some(not_before);
        let terms = Terms {
            not_before,
            keys,
            ..Terms::default()
        };
        let batch = rig.submit_on(OP, 1, terms);
        let out = rig.commit();
        assert_eq!(moved(&out), []);
        assert_eq!(rig.running(batch), [(0, 1)]);
        rig.run_all();
    }
}

#[test]
fn the_last_time_there_is_never_comes_and_does_not_overflow() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let terms = Terms {
        not_before: Some(Timestamp(u64::MAX)),
        ..Terms::default()
    };
    let batch = rig.submit_on(OP, 1, terms);
    rig.commit();
    rig.advance(1_000_000);
    assert_eq!(rig.running(batch), []);
    rig.stop(batch);
    assert_eq!(ended(&rig.commit()), [batch]);
}

#[test]
fn a_delayed_batch_holds_up_nobody_not_even_with_equal_keys() {
    let mut rig = Rig::new(&[at_least_once(), at_least_once()], 4);
    let terms = later_with_keys(&rig, 1_000, &[7, 8]);
    let delayed = rig.submit_on(OP, 2, terms);
    let keyed = rig.submit_keyed(OP, &[7, 8]);
    let plain = rig.submit(OP, 1);
    let other = rig.submit(SECOND_OP, 1);
    rig.commit();
    for (batch, items) in [(keyed, 2), (plain, 1), (other, 1)] {
        assert_eq!(rig.running(batch).len(), items);
    }
    rig.run_all();
    assert_eq!(rig.view(delayed).phase, Phase::Queued);
    assert_eq!(phase(&rig, keyed), Phase::Completed);
}

#[test]
fn a_delayed_batch_with_keys_lines_up_behind_what_came_before_its_time() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let terms = later_with_keys(&rig, 1_000, &[7]);
    let delayed = rig.submit_on(OP, 1, terms);
    let running = rig.submit_keyed(OP, &[7, 7]);
    rig.commit();
    assert_eq!(rig.running(running), [(0, 1)]);

    let out = rig.advance(1_000);
    assert_eq!(moved(&out), [delayed]);
    let position = rig.view(delayed).position;
    assert!(position > rig.view(running).position);
    // Behind it, in the same commit.
    let behind = rig.submit_keyed(OP, &[7]);
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Succeeded);
    assert_eq!(rig.running(delayed), [], "its place is not durable");
    rig.commit();
    assert_eq!(rig.disk.durable[&delayed].position, position);
    assert_eq!(
        rig.run_in_order(),
        [running, delayed, behind],
        "one item at a time"
    );
}

#[test]
fn nothing_of_a_batch_starts_before_its_new_place_is_durable() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let terms = later_with_keys(&rig, 1_000, &[7]);
    let delayed = rig.submit_on(OP, 1, terms);
    rig.commit();
    assert_eq!(moved(&rig.advance(1_000)), [delayed]);
    // What comes meanwhile runs: it cannot know.
    for _ in 0..3 {
        assert_eq!(moved(&rig.advance(1)), []);
        assert_eq!(rig.running(delayed), []);
    }
    rig.commit();
    assert_eq!(rig.running(delayed), [(0, 1)]);
}

#[test]
fn a_batch_whose_time_comes_takes_its_turn_by_priority_and_behind_the_others() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    rig.item_us = 20_000;
    rig.submit(OP, 1);
    rig.commit();
    rig.run_all();
    let high = Terms {
        priority: 1,
        ..later(&rig, 1_000)
    };
    let high = rig.submit_on(OP, 2, high);
    let terms = later(&rig, 1_000);
    let equal = rig.submit_on(OP, 2, terms);
    let other = rig.submit(OP, 5);
    rig.commit();
    rig.advance(1_000);
    assert_eq!(
        rig.run_in_order(),
        [other, high, high, other, equal, other, equal, other, other]
    );
}

#[test]
fn batches_wake_in_the_order_of_their_times() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let start = rig.now;
    let delays = [3_000, 1_000, 2_000];
    let batches = delays.map(|ms| {
        let terms = later_with_keys(&rig, ms, &[7]);
        rig.submit_on(OP, 1, terms)
    });
    rig.commit();
    for (ms, batch) in [
        (1_000, batches[1]),
        (2_000, batches[2]),
        (3_000, batches[0]),
    ] {
        assert_eq!(rig.next_wake(), Some(start.plus_ms(ms)));
        rig.now = start.plus_ms(ms);
        assert_eq!(moved(&rig.feed(Input::Tick)), [batch]);
        rig.commit();
    }
    assert_eq!(rig.run_in_order(), [batches[1], batches[2], batches[0]]);
}

#[test]
fn a_time_that_comes_before_the_admission_is_durable_is_not_missed() {
    for kind in 0..2 {
        let mut rig = Rig::new(&[at_least_once()], 4);
        let terms = both_kinds(&rig, 1_000)[kind].clone();
        let batch = rig.submit_on(OP, 3, terms);
        let neighbour = rig.submit_keyed(OP, &[7]);
        assert_eq!(moved(&rig.advance(2_000)), [], "it is not durable");
        let out = rig.commit();
        if kind == 1 {
            assert_eq!(moved(&out), [batch]);
            assert!(rig.view(batch).position > rig.view(neighbour).position);
            assert_eq!(rig.running(batch), []);
            rig.commit();
        }
        assert!(!rig.running(batch).is_empty());
        rig.run_all();
        assert_eq!(phase(&rig, batch), Phase::Completed);
        assert_eq!(phase(&rig, neighbour), Phase::Completed);
    }
}

#[test]
fn a_delayed_batch_is_stopped_at_once_and_its_time_passes_it_by() {
    for kind in 0..2 {
        // Before and with its admission.
        for admitted in [true, false] {
            let mut rig = Rig::new(&[at_least_once()], 4);
            let terms = both_kinds(&rig, 1_000)[kind].clone();
            let batch = rig.submit_on(OP, 3, terms);
            if admitted {
                rig.commit();
            }
            let out = rig.stop(batch);
            assert_eq!(out[0], Output::Close { batch });
            let event = Event::StopRequested { at: rig.now };
            assert_eq!(records(&out), [(batch, event)]);
            assert_eq!(rig.next_wake(), None);
            if admitted {
                assert_eq!(moved(&rig.advance(2_000)), []);
            }
            let out = rig.commit();
            assert_eq!((ended(&out), moved(&out)), (vec![batch], vec![]));
            assert_eq!(rig.next_wake(), None);
            assert!(starts(&rig.advance(2_000)).is_empty());
            assert_eq!(rig.next_wake(), None);
            assert_eq!(phase(&rig, batch), Phase::Stopped);
            assert!(rig.kernel.delayed.is_empty());
            assert!(rig.kernel.lanes[OP.0].order.is_empty());
        }
    }
}

#[test]
fn a_batch_stopped_while_its_new_place_is_on_its_way_starts_nothing() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let terms = later_with_keys(&rig, 1_000, &[7]);
    let batch = rig.submit_on(OP, 1, terms);
    rig.commit();
    assert_eq!(moved(&rig.advance(1_000)), [batch]);
    rig.stop(batch);
    let behind = rig.submit_keyed(OP, &[7]);
    let out = rig.commit();
    assert_eq!(ended(&out), [batch]);
    assert_eq!(rig.running(behind), [(0, 1)]);
    rig.run_all();
    assert!(rig.kernel.lanes[OP.0].order.is_empty());
}

#[test]
fn a_delayed_batch_that_is_resumed_still_waits_for_its_time() {
    for kind in 0..2 {
        let mut rig = Rig::new(&[at_least_once()], 4);
        let terms = both_kinds(&rig, 1_000)[kind].clone();
        let due = rig.now.plus_ms(1_000);
        let batch = rig.submit_on(OP, 3, terms);
        rig.commit();
        rig.stop(batch);
        rig.commit();
        rig.resume(batch);
        assert!(starts(&rig.commit()).is_empty());
        assert_eq!(rig.next_wake(), Some(due));
        let between = rig.submit_keyed(OP, &[7]);
        rig.commit();
        assert_eq!(rig.running(between), [(0, 1)]);
        rig.advance(1_000);
        rig.commit();
        assert!(!rig.running(batch).is_empty());
        rig.run_all();
        assert_eq!(phase(&rig, batch), Phase::Completed);
    }
}

#[test]
fn a_delayed_batch_that_is_resumed_after_its_time_runs_at_once() {
    for kind in 0..2 {
        let mut rig = Rig::new(&[at_least_once()], 4);
        let terms = both_kinds(&rig, 1_000)[kind].clone();
        let batch = rig.submit_on(OP, 3, terms);
        rig.commit();
        rig.stop(batch);
        rig.commit();
        rig.advance(1_000);
        rig.resume(batch);
        rig.commit();
        assert!(!rig.running(batch).is_empty());
        assert!(rig.view(batch).position > 0);
    }
}

#[test]
fn a_crash_before_the_time_changes_nothing_and_one_after_it_lets_the_batch_run() {
    for kind in 0..2 {
        let mut rig = Rig::new(&[at_least_once()], 4);
        let terms = both_kinds(&rig, 1_000)[kind].clone();
        let due = rig.now.plus_ms(1_000);
        let batch = rig.submit_on(OP, 3, terms);
        rig.commit();
        rig.advance(500);
        assert!(starts(&rig.crash()).iter().all(|s| s.batch != batch));
        assert_eq!(rig.next_wake(), Some(due));
        assert_eq!(rig.running(batch), []);

        rig.now = due;
        let out = rig.crash();
        assert_eq!(moved(&out).len(), kind);
        rig.commit();
        assert!(!rig.running(batch).is_empty());
        rig.run_all();
        assert_eq!(phase(&rig, batch), Phase::Completed);
    }
}

#[test]
fn a_batch_whose_time_came_while_no_process_ran_stands_behind_what_had_started() {
    // Also when the first process had given it a place that never became durable.
    for noticed in [false, true] {
        let mut rig = Rig::new(&[retrying(3, 60_000)], 4);
        let terms = later_with_keys(&rig, 1_000, &[7]);
        let delayed = rig.submit_on(OP, 1, terms);
        let started = rig.submit_keyed(OP, &[7]);
        rig.commit();
        rig.end_all(rig.out()[0].id, Verdict::Retryable);
        rig.commit();
        rig.now = rig.now.plus_ms(1_000);
        if noticed {
            assert_eq!(moved(&rig.advance(0)), [delayed]);
        }
        assert_eq!(moved(&rig.crash()), [delayed]);
        rig.commit();
        assert_eq!(rig.running(delayed), [], "the retry holds the key");
        rig.advance(60_000);
        assert_eq!(rig.running(started), [(0, 2)]);
        assert_eq!(rig.run_in_order(), [started, delayed]);
    }
}

#[test]
fn batches_whose_times_came_while_no_process_ran_line_up_by_time() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let terms = later_with_keys(&rig, 2_000, &[7]);
    let second = rig.submit_on(OP, 1, terms);
    let terms = later_with_keys(&rig, 1_000, &[7]);
    let first = rig.submit_on(OP, 1, terms);
    rig.commit();
    rig.now = rig.now.plus_ms(5_000);
    assert_eq!(moved(&rig.crash()), [first, second]);
    rig.commit();
    assert_eq!(rig.run_in_order(), [first, second]);
}

#[test]
fn a_durable_place_survives_a_crash() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let terms = later_with_keys(&rig, 1_000, &[7]);
    let delayed = rig.submit_on(OP, 1, terms);
    let before = rig.submit_keyed(OP, &[7]);
    rig.commit();
    rig.advance(1_000);
    let behind = rig.submit_keyed(OP, &[7]);
    rig.commit();
    assert_eq!(moved(&rig.crash()), [], "it has its place");
    rig.commit();
    assert_eq!(rig.run_in_order(), [before, delayed, behind]);
}

#[test]
fn a_clock_set_back_does_not_take_back_that_the_time_has_come() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 4);
    let early = rig.now;
    let terms = later_with_keys(&rig, 50_000, &[7]);
    let keyed = rig.submit_on(OP, 1, terms);
    let terms = later(&rig, 50_000);
    let plain = rig.submit_on(OP, 2, terms);
    rig.commit();
    rig.advance(50_000);
    rig.commit();
    let slice = rig.slices_of(keyed)[0].id;
    rig.end_all(slice, Verdict::Retryable);
    let slice = rig.slices_of(plain)[0].id;
    rig.end(slice, &[Verdict::Succeeded], false);
    let behind = rig.submit_keyed(OP, &[7]);
    rig.commit();

    rig.now = early;
    assert_eq!(rig.running(plain).len(), 1, "it goes on");
    rig.crash();
    rig.commit();
    assert!(!rig.running(plain).is_empty(), "it has started");
    assert_eq!(rig.running(behind), [], "the retry holds the key");
    // The clock was set back: no wait is longer than the policy's longest.
    rig.advance(3_600_000);
    assert_eq!(rig.running(keyed), [(0, 2)]);
    rig.run_all();
    assert_eq!(phase(&rig, behind), Phase::Completed);
}

#[test]
fn a_place_in_the_order_is_kept_when_the_clock_is_set_back_and_nothing_has_started() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let early = rig.now;
    let terms = later_with_keys(&rig, 50_000, &[7]);
    let batch = rig.submit_on(OP, 1, terms);
    rig.commit();
    rig.pause(OP);
    rig.advance(50_000);
    rig.commit();
    assert_eq!(rig.running(batch), [], "it is paused");
    rig.now = early;
    rig.crash();
    assert_eq!(rig.running(batch), [(0, 1)], "its time came before");
}

#[test]
fn a_stopping_batch_that_was_delayed_is_stopped_on_recovery() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let early = rig.now;
    let terms = later_with_keys(&rig, 1_000, &[7, 7]);
    let batch = rig.submit_on(OP, 2, terms);
    rig.commit();
    rig.advance(1_000);
    rig.commit();
    rig.stop(batch);
    rig.commit();
    rig.now = early;
    let out = rig.crash();
    assert!(records(&out).contains(&(batch, Event::Stopped { at: early })));
    assert_eq!(ended(&rig.commit()), [batch]);
}

#[test]
fn a_closing_queue_starts_no_batch_whose_time_comes() {
    for kind in 0..2 {
        let mut rig = Rig::new(&[at_least_once()], 4);
        let terms = both_kinds(&rig, 1_000)[kind].clone();
        let batch = rig.submit_on(OP, 3, terms);
        rig.commit();
        rig.feed(Input::Closing);
        rig.advance(1_000);
        rig.commit();
        assert_eq!(rig.running(batch), []);
        rig.crash();
        rig.commit();
        assert!(!rig.running(batch).is_empty());
    }
}

#[test]
fn delayed_batches_count_as_unfinished() {
    let mut rig = Rig::with_limit(&[at_least_once()], 1, 3);
    let terms = later(&rig, 1_000);
    admitted(&rig.ask_submit_on(OP, 1, terms.clone()));
    rig.commit();
    let out = rig.ask_submit_on(OP, 1, terms);
    assert!(matches!(out[..], [Output::Refused { .. }]), "{out:?}");
}
