//! Items that run at most once: what is put out between the record of their start and the start.

use super::rig::{OP, Rig, SECOND_OP, acks, at_least_once, at_most_once, ended, records, starts};
use crate::kernel::{
    Event, Fate, Input, ItemEvent, Loss, OperationSpec, Output, RateLimit, Refusal, Timestamp,
    Verdict,
};
use crate::limits;
use std::time::Duration;

fn started(indexes: &[u16]) -> Event {
    Event::ItemsStarted {
        at: Timestamp(1_000_000),
        indexes: indexes.to_vec(),
    }
}

fn returned(indexes: &[u16]) -> Event {
    Event::ItemsReturned {
        at: Timestamp(1_000_000),
        indexes: indexes.to_vec(),
    }
}

#[test]
fn a_slice_is_put_out_when_the_record_of_its_start_is_durable() {
    let mut rig = Rig::new(&[at_most_once()], 1);
    let batch = rig.submit(OP, 3);
    let out = rig.commit();
    assert!(starts(&out).is_empty());
    let at = Timestamp(1_000_000);
    let recorded = [(batch, Event::Started { at }), (batch, started(&[0, 1, 2]))];
    assert_eq!(records(&out), recorded);
    let out = rig.commit();
    assert_eq!(starts(&out).len(), 1);
    assert!(records(&out).is_empty());
    let slice = rig.slices_of(batch)[0].id;
    rig.end_all(slice, Verdict::Succeeded);
    assert_eq!(ended(&rig.commit()), [batch]);
}

#[test]
fn a_crash_before_the_record_is_durable_leaves_no_doubt_and_one_after_it_does() {
    for commits in 1..3 {
        let mut rig = Rig::new(&[at_most_once()], 1);
        let batch = rig.submit(OP, 2);
        for _ in 0..commits {
            rig.commit();
        }
        let out = rig.crash();
        let lost = records(&out)
            .into_iter()
            .find_map(|(id, event)| match event {
                Event::ItemsLost { items, loss, .. } if id == batch => Some((items, loss)),
                _ => None,
            });
        let in_doubt = |index| ItemEvent {
            index,
            attempt: 1,
            fate: Fate::InDoubt,
        };
        let expected = (vec![in_doubt(0), in_doubt(1)], Loss::Crash { alone: 0 });
        assert_eq!(lost, (commits == 2).then_some(expected));
        let view = rig.view(batch);
        let counts = (view.succeeded, view.failed, view.in_doubt);
        assert_eq!(counts, (0, 0, if commits == 2 { 2 } else { 0 }));
    }
}

#[test]
fn an_item_in_doubt_is_settled_once_while_its_batch_goes_on() {
    let mut rig = Rig::new(&[at_most_once()], 1);
    let batch = rig.submit(OP, 40);
    rig.commit();
    rig.commit();
    let lost = rig.slices_of(batch)[0].items.len() as u32;
    rig.crash();
    rig.commit();
    let counts = |rig: &Rig| {
        let view = rig.view(batch);
        (view.succeeded, view.failed, view.in_doubt)
    };
    assert_eq!(counts(&rig), (0, 0, lost));
    let resolve = |rig: &mut Rig, index, succeeded| {
        let ticket = rig.ticket();
        let input = Input::ResolveRequested {
            ticket,
            batch,
            index,
            succeeded,
        };
        (ticket, rig.feed(input))
    };
    for (index, succeeded) in [(3, true), (0, false)] {
        let (ticket, out) = resolve(&mut rig, index, succeeded);
        assert!(acks(&out).is_empty(), "it is not durable");
        let events = records(&out);
        assert!(matches!(
            &events[..],
            [(id, Event::Resolved { item, .. })] if *id == batch && item.index == index
        ));
        assert_eq!(acks(&rig.commit()), [ticket]);
    }
    assert_eq!(counts(&rig), (1, 1, lost - 2));
    for index in [0, 3, 39, 40] {
        let (ticket, out) = resolve(&mut rig, index, true);
        let refusal = Refusal::NotInDoubt;
        assert!(
            out.contains(&Output::Refused { ticket, refusal }),
            "{index}"
        );
    }
    assert_eq!(counts(&rig), (1, 1, lost - 2));
    rig.run_all();
    assert_eq!(rig.disk.durable[&batch].state().succeeded, 40 - lost + 1);
}

#[test]
fn what_a_stop_a_pause_or_a_shutdown_meets_between_record_and_start_is_withdrawn() {
    for what in ["stop", "pause", "shutdown"] {
        let mut rig = Rig::new(&[at_most_once()], 1);
        let batch = rig.submit(OP, 2);
        rig.commit();
        match what {
            "stop" => rig.stop(batch),
            "pause" => rig.pause(OP),
            _ => rig.feed(Input::Closing),
        };
        let out = rig.commit();
        assert!(starts(&out).is_empty(), "{what}");
        // The bystander's.
        assert_eq!(rig.kernel.slices_in_flight(), 1, "{what}");
        let recorded = records(&out);
        assert_eq!(recorded[0], (batch, returned(&[0, 1])), "{what}");
        if what == "stop" {
            assert_eq!(ended(&rig.commit()), [batch]);
            continue;
        }
        rig.commit();
        rig.crash();
        let view = rig.view(batch);
        assert_eq!((view.in_doubt, view.failed), (0, 0), "{what}");
    }
}

#[test]
fn items_that_come_back_unstarted_are_withdrawn_and_start_anew() {
    let mut rig = Rig::new(&[at_most_once()], 1);
    let batch = rig.submit(OP, 3);
    rig.commit();
    rig.commit();
    let slice = rig.slices_of(batch)[0].id;
    let out = rig.end(slice, &[Verdict::Succeeded], true);
    let recorded: Vec<_> = records(&out).into_iter().map(|(_, event)| event).collect();
    assert!(matches!(recorded[0], Event::ItemsEnded { .. }));
    assert_eq!(recorded[1..], [returned(&[1, 2]), started(&[1, 2])]);
    assert!(starts(&out).is_empty());
    rig.commit();
    assert_eq!(rig.running(batch), [(1, 1), (2, 1)]);
}

#[test]
fn what_may_be_left_in_doubt_is_little_and_others_go_on_meanwhile() {
    let mut rig = Rig::new(&[at_most_once(), at_least_once()], 4);
    // Known to be fast.
    for operation in [OP, SECOND_OP] {
        rig.submit(operation, 200);
        rig.commit();
        rig.run_all();
    }
    let batch = rig.submit(OP, 1_000);
    let beside = rig.submit(SECOND_OP, 1_000);
    rig.commit();
    assert!(!rig.slices_of(beside).is_empty());
    rig.commit();
    let most = limits::AT_MOST_ONCE_SLICE_ITEMS as usize;
    let sizes: Vec<_> = rig.slices_of(batch).iter().map(|s| s.items.len()).collect();
    assert!(
        !sizes.is_empty() && sizes.iter().all(|items| *items <= most),
        "{sizes:?}"
    );
}

#[test]
fn neither_a_retryable_failure_nor_its_policy_runs_an_item_again() {
    let mut spec = super::rig::retrying(5, 10);
    spec.promise = at_most_once().promise;
    let mut rig = Rig::new(&[spec], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    rig.commit();
    let slice = rig.slices_of(batch)[0].id;
    rig.end_all(slice, Verdict::Retryable);
    assert_eq!(ended(&rig.commit()), [batch]);
}

#[test]
fn a_rate_limit_counts_starts_and_not_their_records() {
    let spec = OperationSpec {
        rate: Some(RateLimit::new(1, Duration::from_millis(10))),
        ..at_most_once()
    };
    let mut rig = Rig::new(&[spec], 2);
    let batch = rig.submit(OP, 3);
    rig.commit();
    // The commit of the first record takes longer than the limit's stretch of time.
    assert!(records(&rig.advance(15)).is_empty());
    assert_eq!(starts(&rig.commit()).len(), 1);
    assert_eq!(rig.next_wake(), Some(rig.now.plus_ms(10)));
    assert!(records(&rig.advance(9)).is_empty());
    assert_eq!(records(&rig.advance(1)).len(), 1);
    assert_eq!(starts(&rig.commit()).len(), 1);
    assert_eq!(rig.running(batch), [(0, 1), (1, 1)]);
}
