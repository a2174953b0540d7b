//! Operations that cannot run: not registered, or paused.

use super::rig::{
    OP, Rig, SECOND_OP, acks, admitted, at_least_once, ended, exactly_once, recalls, records,
    retrying, starts,
};
use crate::kernel::{
    BatchId, Event, Input, OperationSpec, Output, Phase, Refusal, Terms, Ticket, Verdict,
};

#[test]
fn an_item_that_cannot_be_decoded_pauses_only_its_operation() {
    for keyed in [false, true] {
        let mut rig = Rig::new(&[at_least_once(), at_least_once()], 2);
        let batch = if keyed {
            rig.submit_keyed(OP, &[1; 40])
        } else {
            rig.submit(OP, 40)
        };
        rig.commit();
        let out = rig.feed(Input::Undecodable {
            operation: OP,
            batch,
        });
        let slices = rig.slices_of(batch);
        assert_eq!(
            recalls(&out),
            slices.iter().map(|s| s.id).collect::<Vec<_>>()
        );
        for slice in slices {
            rig.end(slice.id, &[Verdict::Succeeded], true);
        }
        rig.commit();
        let later = rig.submit(OP, 1);
        let other = rig.submit(SECOND_OP, 3);
        rig.commit();
        assert_eq!((rig.running(batch).len(), rig.running(later).len()), (0, 0));
        assert_eq!(rig.view(later).phase, Phase::Queued);
        rig.run_all();
        assert_eq!(rig.disk.durable[&other].state().phase, Phase::Completed);

        rig.crash();
        assert!(!rig.running(batch).is_empty(), "the next open tries again");
    }
}

#[test]
fn a_batch_of_a_paused_operation_can_be_stopped() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 40);
    rig.commit();
    rig.feed(Input::Undecodable {
        operation: OP,
        batch,
    });
    let slice = rig.out()[0].id;
    rig.give_back(slice);
    rig.stop(batch);
    assert_eq!(ended(&rig.commit()), [batch]);
}

#[test]
fn a_batch_of_an_unregistered_operation_stays_queued_and_can_be_stopped() {
    let absent = OperationSpec {
        registered: false,
        ..at_least_once()
    };
    let mut rig = Rig::new(&[absent], 4);
    let plain = rig.submit(OP, 3);
    let keyed = rig.submit_keyed(OP, &[1, 2]);
    rig.commit();
    assert!(starts(&rig.advance(1_000_000)).is_empty());
    rig.crash();
    assert_eq!((rig.running(plain).len(), rig.running(keyed).len()), (0, 0));
    assert_eq!(rig.view(plain).phase, Phase::Queued);
    rig.stop(plain);
    rig.stop(keyed);
    assert_eq!(ended(&rig.commit()), [plain, keyed]);
}

#[test]
fn a_paused_operation_starts_nothing_gives_back_what_is_out_and_ends_what_runs() {
    for spec in [at_least_once(), exactly_once()] {
        for keyed in [false, true] {
            let mut rig = Rig::new(&[spec.clone(), at_least_once()], 2);
            let keys: Vec<u64> = (1..=60).collect();
            let batch = if keyed {
                rig.submit_keyed(OP, &keys)
            } else {
                rig.submit(OP, 60)
            };
            rig.commit();
            let slices = rig.slices_of(batch);
            let out = rig.pause(OP);
            let pause = rig.last_ticket();
            assert_eq!(
                recalls(&out),
                slices.iter().map(|s| s.id).collect::<Vec<_>>()
            );
            assert_eq!((records(&out), acks(&out)), (vec![], vec![]));
            let out = rig.end(slices[0].id, &[Verdict::Succeeded; 2], true);
            assert!(starts(&out).is_empty());
            for slice in &slices[1..] {
                assert!(starts(&rig.give_back(slice.id)).is_empty());
            }
            let out = rig.commit();
            assert_eq!((acks(&out), starts(&out).len()), (vec![pause], 0));
            let view = rig.view(batch);
            assert_eq!((view.succeeded, view.in_flight), (2, 0));

            let later = rig.submit(OP, 1);
            let other = rig.submit(SECOND_OP, 3);
            rig.commit();
            rig.advance(60_000);
            rig.run_all();
            assert_eq!(rig.disk.durable[&other].state().phase, Phase::Completed);
            assert_eq!(rig.view(later).phase, Phase::Queued);
            assert_eq!(rig.view(batch), view);

            let out = rig.unpause(OP);
            assert!(starts(&out).is_empty() && acks(&out).is_empty());
            assert!(starts(&rig.advance(1)).is_empty(), "it is not durable");
            let out = rig.commit();
            assert_eq!(out[0], Output::Unpaused { operation: OP });
            assert_eq!(acks(&out), [rig.last_ticket()]);
            assert!(!starts(&out).is_empty());
            rig.run_all();
            assert_eq!(rig.disk.durable[&batch].state().succeeded, 60);
            assert_eq!(rig.disk.durable[&later].state().succeeded, 1);
        }
    }
}

#[test]
fn of_a_pause_and_an_unpause_in_one_commit_the_last_counts() {
    for paused_before in [false, true] {
        for pause_last in [false, true] {
            let spec = OperationSpec {
                paused: paused_before,
                ..at_least_once()
            };
            let mut rig = Rig::new(&[spec, at_least_once()], 2);
            let batch = rig.submit(OP, 1);
            let other = rig.submit(SECOND_OP, 1);
            if pause_last {
                rig.unpause(OP);
                rig.pause(OP);
            } else {
                rig.pause(OP);
                rig.unpause(OP);
            }
            let last = rig.last_ticket();
            let out = rig.commit();
            assert!(acks(&out).ends_with(&[Ticket(last.0 - 1), last]), "{out:?}");
            let unpaused = out.contains(&Output::Unpaused { operation: OP });
            assert_eq!(unpaused, !pause_last);
            assert_eq!(rig.running(batch).len(), usize::from(!pause_last));
            assert_eq!(rig.running(other).len(), 1);
        }
    }
}

#[test]
fn an_operation_that_was_paused_before_starts_nothing_until_it_is_unpaused() {
    let paused = OperationSpec {
        paused: true,
        ..at_least_once()
    };
    let mut rig = Rig::new(&[paused], 4);
    let batch = rig.submit(OP, 3);
    let stopped = rig.submit(OP, 3);
    rig.commit();
    rig.crash();
    rig.stop(stopped);
    assert_eq!(ended(&rig.commit()), [stopped]);
    assert_eq!(rig.running(batch), []);
    rig.unpause(OP);
    rig.commit();
    assert_eq!(rig.running(batch).len(), 3);
}

#[test]
fn pausing_the_paused_and_unpausing_what_goes_on_are_answered_and_change_nothing() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let batch = rig.submit(OP, 1);
    rig.commit();
    assert_eq!(rig.unpause(OP), []);
    assert_eq!(
        rig.commit(),
        [Output::Ack {
            ticket: rig.last_ticket()
        }]
    );
    assert_eq!(rig.running(batch), [(0, 1)]);
    rig.pause(OP);
    let first = rig.last_ticket();
    rig.pause(OP);
    assert_eq!(acks(&rig.commit()), [first, rig.last_ticket()]);
    rig.pause(OP);
    assert_eq!(acks(&rig.commit()), [rig.last_ticket()]);
    rig.unpause(OP);
    rig.commit();
    rig.run_all();
    assert_eq!(rig.disk.durable[&batch].state().phase, Phase::Completed);
}

#[test]
fn a_pause_frees_the_lease_for_other_operations() {
    let mut rig = Rig::new(&[exactly_once(), exactly_once()], 4);
    let paused = rig.submit(OP, 60);
    let other = rig.submit(SECOND_OP, 3);
    rig.commit();
    assert_eq!(
        (rig.slices_of(paused).len(), rig.slices_of(other).len()),
        (1, 0)
    );
    rig.pause(OP);
    let slice = rig.slices_of(paused)[0].id;
    let out = rig.end(slice, &[Verdict::Succeeded], true);
    assert_eq!(starts(&out)[0].batch, other);
    rig.commit();
    rig.run_all();
    assert_eq!(rig.disk.durable[&other].state().phase, Phase::Completed);
    assert_eq!(rig.running(paused), []);
}

#[test]
fn a_retry_whose_wait_ends_in_a_pause_runs_after_it() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 4);
    let batch = rig.submit_keyed(OP, &[7]);
    rig.commit();
    rig.end_all(rig.out()[0].id, Verdict::Retryable);
    rig.pause(OP);
    rig.commit();
    rig.advance(1_000);
    assert_eq!((rig.running(batch), rig.next_wake()), (vec![], None));
    rig.unpause(OP);
    rig.commit();
    assert_eq!(rig.running(batch), [(0, 2)]);
}

/// A rig with a batch whose item cannot be decoded, and what the worker held given back.
fn held_up(specs: &[OperationSpec]) -> (Rig, BatchId) {
    let mut rig = Rig::new(specs, 2);
    let batch = rig.submit(OP, 30);
    rig.commit();
    rig.undecodable(OP, batch);
    for slice in rig.slices_of(batch) {
        rig.give_back(slice.id);
    }
    assert!(rig.kernel.holds_undecodable(OP));
    (rig, batch)
}

#[test]
fn unpause_lets_an_operation_try_again_that_an_undecodable_item_holds_up() {
    for paused in [false, true] {
        let (mut rig, batch) = held_up(&[at_least_once()]);
        if paused {
            rig.pause(OP);
        }
        rig.commit();
        rig.unpause(OP);
        assert!(rig.kernel.holds_undecodable(OP), "it is not durable");
        let out = rig.commit();
        assert!(out.contains(&Output::Decodable { operation: OP }));
        assert_eq!(out.contains(&Output::Unpaused { operation: OP }), paused);
        assert!(!rig.running(batch).is_empty());
        rig.undecodable(OP, batch);
        assert!(rig.kernel.holds_undecodable(OP));
    }
}

#[test]
fn a_batch_whose_undecodable_items_are_to_fail_lets_its_operation_go_on_once_that_is_durable() {
    for spec in [at_least_once(), exactly_once()] {
        let (mut rig, batch) = held_up(&[spec, at_least_once()]);
        let other = rig.submit(SECOND_OP, 1);
        rig.commit();
        let before = rig.view(other);
        let out = rig.fail_undecodable(batch);
        let event = Event::FailUndecodableRequested { at: rig.now };
        assert!(records(&out).contains(&(batch, event)));
        assert!(acks(&out).is_empty() && starts(&out).is_empty());
        assert!(rig.kernel.holds_undecodable(OP));
        let out = rig.commit();
        assert_eq!(
            out[..3],
            [
                Output::FailUndecodable { batch },
                Output::Decodable { operation: OP },
                Output::Ack {
                    ticket: rig.last_ticket()
                }
            ]
        );
        assert!(!rig.running(batch).is_empty());
        assert_eq!(rig.view(other), before);
        rig.run_all();
        assert_eq!(rig.disk.durable[&batch].state().phase, Phase::Completed);
    }
}

#[test]
fn late_reports_of_undecodable_items_are_ignored_once_they_are_to_fail() {
    let mut rig = Rig::new(&[at_least_once()], 2);
    let batch = rig.submit(OP, 30);
    rig.commit();
    rig.fail_undecodable(batch);
    for _ in 0..2 {
        assert_eq!(rig.undecodable(OP, batch), []);
        assert!(!rig.kernel.holds_undecodable(OP));
        rig.commit();
    }
    let slice = rig.slices_of(batch)[0].id;
    assert!(
        !starts(&rig.give_back(slice)).is_empty(),
        "it is tried again"
    );
}

#[test]
fn what_is_to_fail_in_one_batch_does_not_free_another_batchs_hold() {
    let (mut rig, holder) = held_up(&[at_least_once()]);
    let other = rig.submit(OP, 3);
    rig.commit();
    // A worker had it too; the first one holds.
    rig.undecodable(OP, other);
    rig.fail_undecodable(other);
    let out = rig.commit();
    assert!(out.contains(&Output::FailUndecodable { batch: other }));
    assert!(!out.contains(&Output::Decodable { operation: OP }));
    assert!(rig.kernel.holds_undecodable(OP));
    assert_eq!(rig.running(other), []);

    rig.fail_undecodable(holder);
    let out = rig.commit();
    assert!(out.contains(&Output::Decodable { operation: OP }));
    rig.run_all();
    assert_eq!(rig.disk.durable[&other].state().phase, Phase::Completed);
}

#[test]
fn fail_undecodable_is_for_batches_that_have_not_ended() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let running = rig.submit(OP, 30);
    rig.commit();
    let queued = rig.submit(OP, 3);
    let stopped = rig.submit(OP, 3);
    rig.stop(stopped);
    rig.commit();
    let refused = |out: Vec<Output>| {
        let refusal = Refusal::Ended;
        assert!(
            matches!(&out[..], [Output::Refused { refusal: r, .. }] if *r == refusal),
            "{out:?}"
        );
    };
    for batch in [queued, running] {
        let phase = rig.view(batch).phase;
        rig.fail_undecodable(batch);
        assert_eq!(rig.view(batch).phase, phase);
        assert_eq!(acks(&rig.commit()), [rig.last_ticket()]);
        assert!(rig.disk.durable[&batch].state().fails_undecodable);
    }
    refused(rig.fail_undecodable(stopped));
    refused(rig.fail_undecodable(BatchId(1_000)));

    let stopping = rig.submit(OP, 30);
    rig.commit();
    let slice = rig.slices_of(running)[0].id;
    rig.end_all(slice, Verdict::Succeeded);
    while rig.running(stopping).is_empty() {
        let slice = rig.out()[0].id;
        rig.end_all(slice, Verdict::Succeeded);
    }
    rig.stop(stopping);
    rig.fail_undecodable(stopping);
    assert_eq!(rig.view(stopping).phase, Phase::Stopping);
    rig.commit();
    let slice = rig.slices_of(stopping)[0].id;
    rig.give_back(slice);
    assert_eq!(rig.view(stopping).phase, Phase::Stopped);
    refused(rig.fail_undecodable(stopping));
    rig.commit();
    refused(rig.fail_undecodable(stopping));
    // A stopped one keeps the mark for when it goes on.
    rig.resume(stopping);
    rig.commit();
    assert_eq!(rig.undecodable(OP, stopping), []);
    rig.run_all();
    refused(rig.fail_undecodable(running));
    assert_eq!(rig.disk.durable[&stopping].state().succeeded, 30);
}

#[test]
fn what_is_marked_is_not_recorded_twice_and_the_answer_waits_for_the_first_commit() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let batch = rig.submit(OP, 1);
    rig.commit();
    rig.fail_undecodable(batch);
    let first = rig.last_ticket();
    assert_eq!(rig.fail_undecodable(batch), []);
    let out = rig.commit();
    assert_eq!(acks(&out), [first, rig.last_ticket()]);
}

#[test]
fn a_crash_keeps_that_undecodable_items_are_to_fail_if_it_was_durable() {
    for durable in [false, true] {
        let (mut rig, batch) = held_up(&[at_least_once()]);
        rig.commit();
        rig.fail_undecodable(batch);
        if durable {
            rig.commit();
        }
        rig.crash();
        assert!(!rig.kernel.holds_undecodable(OP), "the next open tries");
        rig.undecodable(OP, batch);
        assert_eq!(rig.kernel.holds_undecodable(OP), !durable);
    }
}

#[test]
fn a_batch_that_has_ended_holds_its_operation_no_longer() {
    let (mut rig, batch) = held_up(&[at_least_once()]);
    let other = rig.submit(OP, 3);
    let third = rig.submit(OP, 3);
    rig.stop(third);
    let out = rig.commit();
    assert!(!out.contains(&Output::Decodable { operation: OP }));
    rig.stop(batch);
    assert!(rig.kernel.holds_undecodable(OP), "its end is not durable");
    let out = rig.commit();
    assert_eq!(ended(&out), [batch]);
    assert!(out.contains(&Output::Decodable { operation: OP }));
    rig.run_all();
    assert_eq!(rig.disk.durable[&other].state().phase, Phase::Completed);
}

#[test]
fn a_batch_submitted_to_fail_what_cannot_be_decoded_is_marked_in_the_commit_that_admits_it() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let terms = Terms {
        fails_undecodable: true,
        ..Terms::default()
    };
    let out = rig.ask_submit_on(OP, 3, terms);
    let batch = admitted(&out);
    let event = Event::FailUndecodableRequested { at: rig.now };
    assert_eq!(records(&out), [(batch, event)]);
    rig.commit();
    assert!(rig.disk.durable[&batch].state().fails_undecodable);
    rig.undecodable(OP, batch);
    rig.crash();
    rig.undecodable(OP, batch);
    rig.run_all();
    assert_eq!(rig.disk.durable[&batch].state().phase, Phase::Completed);
}
