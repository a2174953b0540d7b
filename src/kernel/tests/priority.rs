//! Batches of a higher priority go first.

use super::rig::{OP, Rig, SECOND_OP, at_least_once, exactly_once, retrying, starts};
use crate::kernel::{BatchId, OperationSpec, Terms, Verdict};

/// Items so slow that each is a slice.
const SLOW_US: u64 = 20_000;

fn priority(priority: i8) -> Terms {
    Terms {
        priority,
        ..Terms::default()
    }
}

fn keyed(keys: &[u64], priority: i8) -> Terms {
    let keys = Some(Box::from(keys));
    Terms {
        priority,
        keys,
        ..Terms::default()
    }
}

/// A rig with one free worker, which a batch of one slow item of each operation keeps busy.
fn busy_rig(specs: &[OperationSpec]) -> Rig {
    let mut rig = Rig::new(specs, 1);
    rig.item_us = SLOW_US;
    for (index, _) in specs.iter().enumerate() {
        rig.submit(crate::kernel::OperationIndex(index), 1);
        rig.commit();
        rig.run_all();
    }
    rig.submit(OP, 1);
    rig.commit();
    rig
}

/// Ends everything; tells which batch's slices ended, but for those of what was out.
fn order_behind_what_is_out(rig: &mut Rig) -> Vec<BatchId> {
    let out = rig.out().len();
    rig.run_in_order().split_off(out)
}

#[test]
fn priority_is_strict_across_batches_and_operations() {
    let mut rig = busy_rig(&[at_least_once(), exactly_once()]);
    let low = rig.submit_on(OP, 3, priority(-1));
    let bottom = rig.submit_on(SECOND_OP, 3, priority(i8::MIN));
    let middle = rig.submit(SECOND_OP, 3);
    let top = rig.submit_on(SECOND_OP, 3, priority(i8::MAX));
    let high = rig.submit_on(OP, 3, priority(1));
    rig.commit();
    let order = order_behind_what_is_out(&mut rig);
    let expected = [top, high, middle, low, bottom].map(|batch| [batch; 3]);
    assert_eq!(order, expected.concat());
}

#[test]
fn a_batch_of_a_higher_priority_gets_the_next_slice() {
    let mut rig = busy_rig(&[at_least_once()]);
    let low = rig.submit_on(OP, 4, priority(3));
    rig.commit();
    rig.end_all(rig.out()[0].id, Verdict::Succeeded);
    assert_eq!(rig.running(low), [(0, 1)]);
    let high = rig.submit_on(OP, 2, priority(4));
    rig.commit();
    assert_eq!(
        order_behind_what_is_out(&mut rig),
        [high, high, low, low, low]
    );
}

#[test]
fn batches_of_equal_priority_take_turns_by_slice() {
    let mut rig = busy_rig(&[at_least_once(), at_least_once()]);
    let last = rig.submit_on(OP, 2, priority(-5));
    let first = rig.submit_on(OP, 3, priority(-4));
    let second = rig.submit_on(SECOND_OP, 3, priority(-4));
    rig.commit();
    let order = order_behind_what_is_out(&mut rig);
    assert_eq!(
        order,
        [first, second, first, second, first, second, last, last]
    );
}

#[test]
fn what_may_not_start_leaves_the_workers_to_lower_priorities() {
    let limited = OperationSpec {
        concurrency: Some(1),
        ..at_least_once()
    };
    for high_spec in [limited, exactly_once()] {
        let mut rig = Rig::new(&[high_spec, at_least_once()], 2);
        rig.item_us = SLOW_US;
        let low = rig.submit_on(SECOND_OP, 5, priority(-9));
        let high = rig.submit_on(OP, 30, priority(9));
        rig.commit();
        assert_eq!(rig.slices_of(high).len(), 1);
        assert_eq!(rig.slices_of(low).len(), 1);
        let slice = rig.slices_of(high)[0].id;
        rig.end_all(slice, Verdict::Succeeded);
        assert_eq!(rig.slices_of(high).len(), 1, "its own place is its again");
    }
}

#[test]
fn equal_keys_run_in_submit_order_whatever_their_priority() {
    for spec in [at_least_once(), exactly_once()] {
        let mut rig = Rig::new(&[spec], 4);
        let low = rig.submit_on(OP, 2, keyed(&[7, 7], -1));
        let high = rig.submit_on(OP, 3, keyed(&[7, 8, 7], 9));
        rig.commit();
        assert_eq!(rig.out()[0].batch, high, "its free item goes first");
        assert_eq!(rig.out()[0].items[0].index, 1);
        let mut sevens = Vec::new();
        while let Some(slice) = rig.out().first().cloned() {
            let items = slice.items.iter().map(|item| (slice.batch, item.index));
            sevens.extend(items.filter(|item| *item != (high, 1)));
            rig.end_all(slice.id, Verdict::Succeeded);
        }
        assert_eq!(sevens, [(low, 0), (low, 1), (high, 0), (high, 2)]);
        rig.commit();
    }
}

#[test]
fn a_retry_of_a_higher_priority_goes_before_lower_ones_when_its_wait_is_over() {
    let mut rig = Rig::new(&[retrying(2, 1_000)], 1);
    rig.item_us = SLOW_US;
    let high = rig.submit_on(OP, 1, priority(1));
    rig.commit();
    rig.end_all(rig.out()[0].id, Verdict::Retryable);
    let low = rig.submit_on(OP, 3, priority(0));
    rig.commit();
    assert_eq!(rig.running(low), [(0, 1)], "nobody waits for a retry");
    rig.advance(1_000);
    let started = starts(&rig.end_all(rig.out()[0].id, Verdict::Succeeded));
    assert_eq!(started[0].batch, high);
    assert_eq!(order_behind_what_is_out(&mut rig), [low, low]);
}

#[test]
fn priority_survives_a_crash_and_a_stop() {
    let mut rig = busy_rig(&[at_least_once()]);
    let low = rig.submit_on(OP, 2, priority(1));
    let high = rig.submit_on(OP, 2, priority(2));
    rig.commit();
    rig.stop(high);
    rig.commit();
    rig.resume(high);
    rig.commit();
    assert_eq!(
        order_behind_what_is_out(&mut rig),
        [high, high, low, low],
        "resumed"
    );

    let low = rig.submit_on(OP, 40, priority(1));
    rig.commit();
    let high = rig.submit_on(OP, 40, priority(2));
    rig.commit();
    rig.crash();
    assert!(!rig.running(high).is_empty());
    let order = rig.run_in_order();
    let first_low = order.iter().position(|batch| *batch == low);
    let last_high = order.iter().rposition(|batch| *batch == high);
    // Both workers are free now, the bystander's too: at the end they share.
    assert!(last_high.zip(first_low).is_some_and(|(h, l)| h <= l + 1));
}
