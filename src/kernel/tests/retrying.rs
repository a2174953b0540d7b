//! Retries and their timers.

use super::rig::{OP, Rig, records, retrying, starts};
use crate::kernel::{Event, Fate, ItemEvent, Phase, Verdict};

#[test]
fn a_retry_waits_for_its_time_and_not_longer() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    assert_eq!(rig.next_wake(), None);
    let slice = rig.out()[0].id;
    let out = rig.end_all(slice, Verdict::Retryable);
    let due = rig.next_wake().expect("a retry waits");
    let recorded = ItemEvent {
        index: 0,
        attempt: 1,
        fate: Fate::Retry { due },
    };
    let event = Event::ItemsEnded {
        at: rig.now,
        items: vec![recorded],
    };
    assert!(records(&out).contains(&(batch, event)));
    let wait_ms = due.0 - rig.now.0;
    assert!((750..=1_000).contains(&wait_ms), "{wait_ms} ms");
    assert_eq!(rig.view(batch).waiting, 1);

    assert!(starts(&rig.advance(wait_ms - 1)).is_empty());
    assert_eq!(rig.next_wake(), Some(due));
    let out = rig.advance(1);
    assert_eq!(starts(&out)[0].items[0].attempt, 2);
    assert_eq!(rig.next_wake(), None);
    assert_eq!(rig.view(batch).waiting, 0);
}

#[test]
fn any_input_fires_a_timer_that_is_due() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    rig.now = rig.now.plus_ms(1_000);
    rig.commit();
    assert_eq!(rig.running(batch), [(0, 2)]);
}

#[test]
fn the_retry_of_one_item_lets_the_others_go_on() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 1);
    let batch = rig.submit(OP, 50);
    let neighbour = rig.submit(OP, 3);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Retryable], false);
    rig.run_all();
    let view = rig.view(batch);
    assert_eq!((view.succeeded, view.waiting, view.in_flight), (49, 1, 0));
    assert_eq!(view.phase, Phase::Running);
    assert_eq!(rig.disk.durable[&neighbour].state().succeeded, 3);

    rig.advance(60_000);
    assert_eq!(rig.running(batch), [(0, 2)]);
    rig.run_all();
    assert_eq!(rig.disk.durable[&batch].state().succeeded, 50);
}

#[test]
fn the_last_attempt_is_final() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    for attempt in 1..=3 {
        assert_eq!(rig.running(batch), [(0, attempt)]);
        let slice = rig.out()[0].id;
        rig.end_all(slice, Verdict::Retryable);
        rig.advance(10_000);
    }
    assert_eq!(rig.view(batch).phase, Phase::Completed);
    rig.commit();
    let state = rig.disk.durable[&batch].state();
    assert_eq!((state.succeeded, state.failed), (0, 1));
}

#[test]
fn a_failure_that_is_not_retryable_is_final_at_once() {
    let mut rig = Rig::new(&[retrying(9, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Failed);
    assert_eq!(rig.view(batch).phase, Phase::Completed);
    assert_eq!(rig.next_wake(), None);
}

#[test]
fn an_item_given_back_unstarted_has_made_no_attempt() {
    let mut rig = Rig::new(&[retrying(2, 1_000)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    for _ in 0..5 {
        assert_eq!(rig.running(batch), [(0, 1)]);
        let slice = rig.out()[0].id;
        rig.give_back(slice);
    }
}

#[test]
fn a_retry_without_a_wait_runs_at_once() {
    let mut rig = Rig::new(&[retrying(3, 0)], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end_all(slice, Verdict::Retryable);
    assert_eq!(rig.running(batch), [(0, 2)]);
}

#[test]
fn the_next_wake_is_that_of_the_shortest_wait() {
    let mut rig = Rig::new(&[retrying(4, 1_000)], 1);
    let batch = rig.submit(OP, 8);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.end(slice, &[Verdict::Retryable; 8], true);
    let mut waits = rig.waits(batch);
    waits.sort();
    waits.dedup();
    assert!(waits.len() > 4, "{waits:?}");
    for due in waits {
        assert_eq!(rig.next_wake(), Some(due));
        rig.advance(due.0 - rig.now.0);
    }
    assert_eq!(rig.next_wake(), None);
    assert_eq!(rig.view(batch).waiting, 0);
}
