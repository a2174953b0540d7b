//! Ordering keys: equal keys never run together, and run in submit order.

use super::rig::{OP, Rig, at_least_once, exactly_once, retrying, starts};
use crate::kernel::{BatchId, Phase, Verdict};

/// Batch and index of all items out, oldest slice first.
fn out(rig: &Rig) -> Vec<(BatchId, u16)> {
    let slices = rig.out();
    slices
        .iter()
        .flat_map(|slice| slice.items.iter().map(|item| (slice.batch, item.index)))
        .collect()
}

fn end_oldest(rig: &mut Rig, verdict: Verdict) {
    let slice = rig.out()[0].id;
    rig.end_all(slice, verdict);
}

#[test]
fn items_with_equal_keys_run_one_after_the_other_in_item_order() {
    for spec in [at_least_once(), exactly_once()] {
        let mut rig = Rig::new(&[spec], 4);
        let batch = rig.submit_keyed(OP, &[7; 5]);
        rig.commit();
        for index in 0..5 {
            assert_eq!(out(&rig), [(batch, index)]);
            end_oldest(&mut rig, Verdict::Succeeded);
        }
        rig.commit();
        assert_eq!(rig.disk.durable[&batch].state().phase, Phase::Completed);
    }
}

#[test]
fn items_with_different_keys_run_together() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let batch = rig.submit_keyed(OP, &[1, 2, 3, 1]);
    rig.commit();
    assert_eq!(out(&rig), [(batch, 0), (batch, 1), (batch, 2)]);
}

#[test]
fn equal_keys_run_in_submit_order_across_batches() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let first = rig.submit_keyed(OP, &[7, 8]);
    let second = rig.submit_keyed(OP, &[7, 9]);
    let third = rig.submit_keyed(OP, &[8, 7]);
    rig.commit();
    assert_eq!(rig.running(first), [(0, 1), (1, 1)]);
    assert_eq!(rig.running(second), [(1, 1)]);
    assert_eq!(rig.running(third), []);
    end_oldest(&mut rig, Verdict::Failed);
    assert!(out(&rig).contains(&(second, 0)), "a failed item is done");
    assert!(!out(&rig).contains(&(third, 1)));
    while out(&rig).first() != Some(&(second, 0)) {
        end_oldest(&mut rig, Verdict::Succeeded);
    }
    assert!(!out(&rig).contains(&(third, 1)));
    end_oldest(&mut rig, Verdict::Succeeded);
    assert!(out(&rig).contains(&(third, 1)));
}

#[test]
fn keys_of_different_operations_have_nothing_to_do_with_each_other() {
    let mut rig = Rig::new(&[at_least_once(), at_least_once()], 4);
    let first = rig.submit_keyed(OP, &[7]);
    let second = rig.submit_keyed(super::rig::SECOND_OP, &[7]);
    rig.commit();
    assert_eq!(out(&rig), [(first, 0), (second, 0)]);
}

#[test]
fn an_item_that_waits_for_a_retry_holds_its_key() {
    let mut rig = Rig::new(&[retrying(3, 1_000)], 4);
    let first = rig.submit_keyed(OP, &[7, 8]);
    let second = rig.submit_keyed(OP, &[7, 8]);
    rig.commit();
    assert_eq!(out(&rig), [(first, 0), (first, 1)]);
    end_oldest(&mut rig, Verdict::Retryable);
    end_oldest(&mut rig, Verdict::Succeeded);
    assert_eq!(out(&rig), [(second, 1)], "key 7 is held");
    rig.advance(1_000);
    assert_eq!(rig.running(first), [(0, 2)]);
    assert_eq!(rig.running(second), [(1, 1)]);
    let retry = rig.slices_of(first)[0].id;
    rig.end_all(retry, Verdict::Succeeded);
    assert!(rig.running(second).contains(&(0, 1)));
}

#[test]
fn an_item_given_back_unstarted_keeps_its_place() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let first = rig.submit_keyed(OP, &[7]);
    rig.submit_keyed(OP, &[7]);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.give_back(slice);
    assert_eq!(out(&rig), [(first, 0)]);
}

#[test]
fn items_without_a_key_in_a_keyed_batch_are_free() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 4);
    let first = rig.submit_keyed(OP, &[7]);
    let second = rig.submit_keyed(OP, &[7, 0, 0, 7]);
    rig.commit();
    assert_eq!(out(&rig), [(first, 0), (second, 1), (second, 2)]);
    end_oldest(&mut rig, Verdict::Succeeded);
    let waiting = rig.slices_of(second)[0].id;
    rig.end_all(waiting, Verdict::Retryable);
    assert!(rig.running(second).contains(&(0, 1)));
    rig.advance(60_000);
    rig.run_all();
    assert_eq!(rig.disk.durable[&second].state().succeeded, 4);
}

#[test]
fn a_batch_without_keys_does_not_wait_for_one_with_keys() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    rig.submit_keyed(OP, &[7; 50]);
    let free = rig.submit(OP, 1);
    rig.commit();
    assert!(out(&rig).contains(&(free, 0)));
}

#[test]
fn a_stopped_batch_leaves_the_order_once_its_running_items_end() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let first = rig.submit_keyed(OP, &[7, 8, 7, 7]);
    let second = rig.submit_keyed(OP, &[7, 7, 8]);
    rig.commit();
    assert_eq!(out(&rig), [(first, 0), (first, 1)]);
    rig.stop(first);
    assert_eq!(rig.running(second), [], "both keys are still in use");
    end_oldest(&mut rig, Verdict::Succeeded);
    assert_eq!(rig.running(second), [(0, 1)]);
    let unstarted = rig.slices_of(first)[0].id;
    rig.give_back(unstarted);
    assert_eq!(rig.running(second), [(0, 1), (2, 1)]);
    rig.commit();
    rig.run_all();
    assert_eq!(rig.disk.durable[&second].state().phase, Phase::Completed);
}

#[test]
fn a_stop_frees_the_key_that_a_waiting_retry_held() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 4);
    let first = rig.submit_keyed(OP, &[7]);
    let second = rig.submit_keyed(OP, &[7]);
    rig.commit();
    end_oldest(&mut rig, Verdict::Retryable);
    assert_eq!(out(&rig), []);
    let started = starts(&rig.stop(first));
    assert_eq!(started.len(), 1);
    assert_eq!(started[0].batch, second);
}

#[test]
fn a_retryable_failure_while_stopping_frees_its_key() {
    let mut rig = Rig::new(&[retrying(3, 60_000)], 4);
    let first = rig.submit_keyed(OP, &[7]);
    let second = rig.submit_keyed(OP, &[7]);
    rig.commit();
    rig.stop(first);
    end_oldest(&mut rig, Verdict::Retryable);
    assert_eq!(out(&rig), [(second, 0)]);
    rig.commit();
    let state = rig.disk.durable[&first].state();
    assert_eq!((state.phase, state.waiting_count()), (Phase::Stopped, 1));
}

#[test]
fn stopping_a_queued_batch_in_the_middle_of_a_line_lets_the_rest_go_on() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let batches: Vec<_> = (0..3).map(|_| rig.submit_keyed(OP, &[7, 7])).collect();
    rig.commit();
    rig.stop(batches[1]);
    rig.commit();
    rig.run_all();
    let phases: Vec<_> = batches
        .iter()
        .map(|batch| rig.disk.durable[batch].state().phase)
        .collect();
    assert_eq!(phases, [Phase::Completed, Phase::Stopped, Phase::Completed]);
}

#[test]
fn a_resumed_batch_stands_behind_those_that_came_while_it_was_stopped() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    let held = rig.submit_keyed(OP, &[7]);
    let first = rig.submit_keyed(OP, &[7, 7]);
    let second = rig.submit_keyed(OP, &[7]);
    rig.commit();
    rig.stop(first);
    rig.commit();
    let third = rig.submit_keyed(OP, &[7]);
    rig.commit();
    rig.resume(first);
    rig.commit();
    let mut order = Vec::new();
    while let Some(next) = out(&rig).first().copied() {
        order.push(next);
        end_oldest(&mut rig, Verdict::Succeeded);
        rig.commit();
    }
    assert_eq!(
        order,
        [(held, 0), (second, 0), (third, 0), (first, 0), (first, 1)]
    );
}

#[test]
fn a_resumed_batch_takes_no_place_for_items_that_have_an_outcome() {
    let mut rig = Rig::new(&[at_least_once()], 1);
    let first = rig.submit_keyed(OP, &[7, 7]);
    rig.commit();
    let slice = rig.out()[0].id;
    rig.stop(first);
    rig.end_all(slice, Verdict::Succeeded);
    rig.commit();
    rig.resume(first);
    rig.commit();
    assert_eq!(rig.running(first), [(1, 1)]);
    let second = rig.submit_keyed(OP, &[7]);
    rig.commit();
    assert_eq!(rig.running(second), []);
    end_oldest(&mut rig, Verdict::Succeeded);
    assert_eq!(rig.running(second), [(0, 1)]);
}

#[test]
fn lines_and_books_are_empty_when_all_work_is_done() {
    let mut rig = Rig::new(&[retrying(2, 1_000)], 4);
    for _ in 0..10 {
        rig.submit_keyed(OP, &[1, 2, 0, 1, 3]);
    }
    let stopped = rig.submit_keyed(OP, &[1, 4]);
    rig.commit();
    rig.stop(stopped);
    let mut verdicts = [Verdict::Retryable, Verdict::Succeeded, Verdict::Failed]
        .into_iter()
        .cycle();
    for _ in 0..500 {
        let (Some(slice), Some(verdict)) =
            (rig.out().first().map(|slice| slice.id), verdicts.next())
        else {
            break;
        };
        rig.end_all(slice, verdict);
        rig.advance(100);
        rig.commit();
        if rig.out().is_empty() {
            rig.advance(2_000);
        }
    }
    assert_eq!(rig.kernel.unfinished(), 2, "the bystanders");
    assert!(rig.kernel.lanes[OP.0].order.is_empty());
    assert_eq!(rig.kernel.lanes[OP.0].slices, 0);
    assert_eq!(rig.kernel.timers.len(), 1, "the bystander's");
}
