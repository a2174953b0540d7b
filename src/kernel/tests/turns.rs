//! Whose turn it is: fairness, the lease, concurrency, slice sizes, how much is out.

use super::rig::{OP, Rig, SECOND_OP, at_least_once, exactly_once, recalls, retrying, starts};
use crate::kernel::{BatchId, OperationIndex, OperationSpec, Promise, Slice, Verdict};
use crate::limits;

const FAST_US: u64 = 10;
const SLOW_US: u64 = 20_000;

/// Ends slices, oldest first, and commits after each, until `batch` has ended; returns how many.
fn slices_until_end(rig: &mut Rig, batch: BatchId) -> usize {
    let mut slices = 0;
    while rig.kernel.view(batch).is_some() {
        let oldest = rig.out().first().map(|slice| slice.id);
        rig.end_all(oldest.expect("work goes on"), Verdict::Succeeded);
        rig.commit();
        slices += 1;
        assert!(slices < 10_000, "it never ends");
    }
    slices
}

/// Runs one batch of `operation`, so that the kernel knows how long its items take.
fn warm_up(rig: &mut Rig, operation: OperationIndex, item_us: u64) {
    rig.item_us = item_us;
    rig.submit(operation, 20);
    rig.commit();
    rig.run_all();
}

#[test]
fn a_small_batch_behind_a_hundred_large_ones_ends_within_one_round() {
    for spec in [at_least_once(), exactly_once()] {
        for item_us in [FAST_US, SLOW_US] {
            let mut rig = Rig::new(std::slice::from_ref(&spec), 2);
            warm_up(&mut rig, OP, item_us);
            for _ in 0..100 {
                rig.submit(OP, 1_000);
            }
            let small = rig.submit(OP, 10);
            rig.commit();
            let items_per_turn = if item_us == FAST_US { 10 } else { 1 };
            let rounds = 10 / items_per_turn;
            let slices = slices_until_end(&mut rig, small);
            assert!(slices <= rounds * 101 + 7, "{slices} slices");
        }
    }
}

#[test]
fn a_batch_submitted_later_does_not_wait_for_more_than_one_turn_of_the_others() {
    let mut rig = Rig::new(&[at_least_once()], 2);
    warm_up(&mut rig, OP, FAST_US);
    for _ in 0..20 {
        rig.submit(OP, 10_000);
    }
    rig.commit();
    for _ in 0..30 {
        let oldest = rig.out()[0].id;
        rig.end_all(oldest, Verdict::Succeeded);
    }
    let late = rig.submit(OP, 10);
    rig.commit();
    let slices = slices_until_end(&mut rig, late);
    assert!(slices <= 20 + 7, "{slices} slices");
}

#[test]
fn an_operation_of_slow_or_unknown_speed_is_not_starved_by_fast_ones() {
    let lanes = [at_least_once(), exactly_once()];
    for fast in &lanes {
        for other in &lanes {
            for known in [true, false] {
                let mut rig = Rig::new(&[fast.clone(), other.clone()], 2);
                if known {
                    warm_up(&mut rig, SECOND_OP, SLOW_US);
                }
                warm_up(&mut rig, OP, FAST_US);
                for _ in 0..10 {
                    rig.submit(OP, 20_000);
                }
                rig.commit();
                rig.submit(SECOND_OP, 1);
                rig.commit();
                let mut waited = 0;
                while !rig.out().iter().any(|slice| slice.operation == SECOND_OP) {
                    let oldest = rig.out()[0].id;
                    rig.end_all(oldest, Verdict::Succeeded);
                    waited += 1;
                    assert!(waited <= 20, "starved: {fast:?} {other:?} {known}");
                }
            }
        }
    }
}

#[test]
fn slices_grow_for_fast_operations_and_shrink_to_one_item_for_slow_ones() {
    let mut rig = Rig::new(&[exactly_once()], 1);
    let sizes = |slices: Vec<Slice>| -> Vec<usize> {
        slices.iter().map(|slice| slice.items.len()).collect()
    };
    rig.submit(OP, 50_000);
    rig.commit();
    assert_eq!(sizes(rig.out()), [limits::FIRST_SLICE_ITEMS as usize]);
    for (item_us, expected) in [(10, limits::SLICE_ITEMS as usize), (SLOW_US, 1), (500, 20)] {
        rig.item_us = item_us;
        for _ in 0..40 {
            let oldest = rig.out()[0].id;
            rig.end_all(oldest, Verdict::Succeeded);
        }
        assert!(
            sizes(rig.out()).iter().all(|size| *size == expected),
            "{:?}",
            sizes(rig.out())
        );
    }
}

#[test]
fn a_time_that_cannot_be_does_not_overflow() {
    let mut rig = Rig::new(&[exactly_once()], 1);
    let batch = rig.submit(OP, 20);
    rig.commit();
    rig.item_us = u64::MAX;
    for _ in 0..3 {
        let slice = rig.out()[0].id;
        rig.end(slice, &[Verdict::Succeeded], true);
    }
    assert_eq!(rig.view(batch).succeeded, 3);
}

#[test]
fn a_few_slow_items_are_spread_over_the_workers() {
    let mut rig = Rig::new(&[at_least_once()], 4);
    rig.submit(OP, 8);
    rig.commit();
    let sizes: Vec<_> = rig.out().iter().map(|slice| slice.items.len()).collect();
    assert_eq!(sizes, [2, 2, 2, 2]);
}

#[test]
fn items_of_fast_operations_and_leased_ones_stay_together() {
    let sizes = |rig: &Rig| -> Vec<_> { rig.out().iter().map(|out| out.items.len()).collect() };
    let mut rig = Rig::new(&[at_least_once()], 4);
    warm_up(&mut rig, OP, FAST_US);
    rig.submit(OP, 200);
    rig.commit();
    assert_eq!(sizes(&rig), [200]);

    let mut rig = Rig::new(&[exactly_once()], 4);
    rig.submit(OP, 8);
    rig.commit();
    assert_eq!(sizes(&rig), [8]);
}

#[test]
fn at_most_one_lease_holders_worth_of_exactly_once_items_is_out() {
    let mut rig = Rig::new(&[exactly_once(), exactly_once()], 8);
    for item_us in [FAST_US, SLOW_US] {
        warm_up(&mut rig, OP, item_us);
        warm_up(&mut rig, SECOND_OP, FAST_US);
        let first = rig.submit(OP, 600);
        let second = rig.submit(SECOND_OP, 600);
        rig.commit();
        let mut most = 0;
        while let Some(oldest) = rig.out().first().map(|slice| slice.id) {
            most = most.max(rig.out().len());
            assert!(rig.out().iter().all(|slice| slice.exactly_once));
            rig.end_all(oldest, Verdict::Succeeded);
        }
        assert_eq!(most, 2, "{item_us}");
        rig.commit();
        assert_eq!(
            (rig.kernel.view(first), rig.kernel.view(second)),
            (None, None)
        );
    }
}

#[test]
fn exactly_once_items_of_a_batch_start_in_item_order() {
    let mut rig = Rig::new(&[exactly_once()], 4);
    let batch = rig.submit(OP, 1_000);
    rig.commit();
    let mut started = Vec::new();
    while let Some(oldest) = rig.slices_of(batch).first().cloned() {
        started.extend(oldest.items.iter().map(|item| item.index));
        rig.end_all(oldest.id, Verdict::Succeeded);
    }
    assert_eq!(started, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn an_exactly_once_slice_given_back_recalls_the_one_behind_it() {
    let mut rig = Rig::new(&[exactly_once()], 4);
    warm_up(&mut rig, OP, FAST_US);
    let batch = rig.submit(OP, 1_000);
    rig.commit();
    let slices = rig.slices_of(batch);
    assert_eq!(slices.len(), 2);
    let out = rig.end(slices[0].id, &[Verdict::Succeeded; 3], true);
    assert_eq!(recalls(&out), [slices[1].id]);
    assert_eq!(starts(&out)[0].items[0].index, 3);
}

#[test]
fn a_recalled_slice_that_comes_back_does_not_recall_the_one_that_took_its_turn() {
    let mut rig = Rig::new(&[exactly_once()], 4);
    warm_up(&mut rig, OP, FAST_US);
    let batch = rig.submit(OP, 1_000);
    rig.commit();
    let slices = rig.slices_of(batch);
    rig.end(slices[0].id, &[Verdict::Succeeded; 3], true);
    assert_eq!(recalls(&rig.give_back(slices[1].id)), []);
    let order: Vec<_> = rig.running(batch).iter().map(|(index, _)| *index).collect();
    assert_eq!(order, (3..order.len() as u16 + 3).collect::<Vec<_>>());
}

#[test]
fn a_retry_does_not_carry_later_items_past_those_of_another_slice() {
    let spec = OperationSpec {
        promise: Promise::ExactlyOnce,
        ..retrying(3, 100_000)
    };
    let mut rig = Rig::new(&[spec], 4);
    warm_up(&mut rig, OP, FAST_US);
    let batch = rig.submit(OP, 1_000);
    rig.commit();
    rig.end(rig.out()[0].id, &[Verdict::Retryable; 2], false);
    let mut waits = rig.waits(batch);
    waits.sort();
    rig.stop(batch);
    for slice in rig.out() {
        rig.give_back(slice.id);
    }
    rig.commit();
    rig.now = waits[0];
    rig.resume(batch);
    rig.commit();
    let slices = rig.slices_of(batch);
    assert_eq!(slices[0].items[0].attempt, 2);
    assert_eq!(slices[0].items[1].index, 2);
    rig.now = waits[1];
    let later = starts(&rig.give_back(slices[1].id));
    assert_eq!(later[0].items.len(), 1, "the other retry goes alone");
}

#[test]
fn the_lease_leaves_the_other_workers_to_other_operations() {
    let mut rig = Rig::new(&[exactly_once(), at_least_once()], 3);
    rig.submit(OP, 100);
    rig.submit(SECOND_OP, 2);
    rig.commit();
    let leased = rig.out().iter().filter(|slice| slice.exactly_once).count();
    assert_eq!((leased, rig.out().len()), (1, 3));
}

#[test]
fn an_operation_has_no_more_slices_out_than_its_concurrency() {
    let limited = OperationSpec {
        concurrency: Some(2),
        ..at_least_once()
    };
    let mut rig = Rig::new(&[limited, at_least_once()], 8);
    for item_us in [FAST_US, SLOW_US] {
        warm_up(&mut rig, OP, item_us);
        for _ in 0..3 {
            rig.submit(OP, 30);
        }
        let other = rig.submit(SECOND_OP, 3);
        rig.commit();
        assert!(!rig.slices_of(other).is_empty());
        let mut most = 0;
        while let Some(oldest) = rig.out().first().map(|slice| slice.id) {
            let limited = rig
                .out()
                .iter()
                .filter(|slice| slice.operation == OP)
                .count();
            most = most.max(limited);
            rig.end_all(oldest, Verdict::Succeeded);
        }
        assert_eq!(most, 2);
        rig.commit();
    }
}

#[test]
fn no_more_than_two_slices_a_worker_and_one_are_out() {
    for item_us in [FAST_US, SLOW_US] {
        let mut rig = Rig::new(&[at_least_once(), exactly_once()], 3);
        let workers = 4;
        warm_up(&mut rig, OP, item_us);
        warm_up(&mut rig, SECOND_OP, item_us);
        for _ in 0..20 {
            rig.submit(OP, 2_000);
            rig.submit(SECOND_OP, 2_000);
        }
        rig.commit();
        for _ in 0..200 {
            let bound = if item_us == FAST_US {
                2 * workers + 1
            } else {
                workers
            };
            let out = rig.kernel.slices_in_flight();
            assert!(out <= bound && out >= workers, "{out} slices");
            let oldest = rig.out()[0].id;
            rig.end_all(oldest, Verdict::Succeeded);
        }
    }
}

/// Two slices a worker, of which the leased ones count as one: a worker that has one takes the next without a gap.
#[test]
fn the_second_leased_slice_is_out_beside_as_many_others_and_the_first_is_not() {
    let mut rig = Rig::new(&[at_least_once(), exactly_once()], 3);
    warm_up(&mut rig, OP, FAST_US);
    warm_up(&mut rig, SECOND_OP, FAST_US);
    let leased = |rig: &Rig| rig.out().iter().filter(|slice| slice.exactly_once).count();

    let free = rig.submit(OP, 5_000);
    rig.commit();
    // One more is out, of a batch that the rig has put beside.
    assert_eq!(rig.out().len(), 7);
    rig.submit(SECOND_OP, 5_000);
    rig.commit();
    assert_eq!((rig.out().len(), leased(&rig)), (7, 0));

    for _ in 0..6 {
        let oldest = rig.slices_of(free)[0].id;
        rig.end_all(oldest, Verdict::Succeeded);
        let others = rig.out().len() - leased(&rig);
        assert!(others + leased(&rig).min(1) <= 7, "{others} others");
    }
    assert_eq!((rig.out().len(), leased(&rig)), (8, 2));
}
