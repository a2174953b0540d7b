//! What thousands of batches and items cost. The bounds leave a debug build ten times what it needs;
//! work that grows with the square of the number of items is far beyond them.

use super::rig::{OP, Rig, SECOND_OP, at_least_once, retrying};
use crate::kernel::engine::Member;
use crate::kernel::{OperationSpec, Verdict};
use std::time::{Duration, Instant};

#[test]
fn a_queued_batch_costs_its_record_and_not_its_items() {
    let absent = OperationSpec {
        registered: false,
        ..at_least_once()
    };
    let mut rig = Rig::new(&[absent], 1);
    let batches: Vec<_> = (0..1_000).map(|_| rig.submit(OP, 1_000)).collect();
    rig.commit();
    for batch in &batches {
        let member = &rig.kernel.batches[batch];
        assert!(member.state.items().is_none() && member.keys.is_none());
    }
    // With its places in the maps, half empty at worst, that is less than a megabyte.
    assert!(size_of::<Member>() <= 256, "{} bytes", size_of::<Member>());
}

#[test]
fn batches_that_wait_for_their_turn_have_no_items_in_memory() {
    let mut rig = Rig::new(&[at_least_once(), at_least_once()], 2);
    let plain: Vec<_> = (0..100).map(|_| rig.submit(OP, 1_000)).collect();
    let keys: Vec<u64> = (1..=1_000).collect();
    let keyed: Vec<_> = (0..100)
        .map(|_| rig.submit_keyed(SECOND_OP, &keys))
        .collect();
    rig.commit();
    for batches in [plain, keyed] {
        let waiting = batches
            .iter()
            .filter(|batch| rig.kernel.batches[*batch].state.items().is_none());
        assert!(waiting.count() > 90);
    }
}

#[test]
fn many_items_with_one_key_run_without_a_search() {
    let started = Instant::now();
    let mut rig = Rig::new(&[at_least_once()], 4);
    let batches: Vec<_> = (0..20).map(|_| rig.submit_keyed(OP, &[7; 1_000])).collect();
    rig.commit();
    rig.run_all();
    assert!(
        batches
            .iter()
            .all(|batch| rig.disk.durable[batch].state().succeeded == 1_000)
    );
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn stopping_batches_in_long_lines_does_not_walk_the_lines() {
    let started = Instant::now();
    let mut rig = Rig::new(&[at_least_once()], 4);
    let keys: Vec<u64> = (1..=100).collect();
    let first = rig.submit_keyed(OP, &[1; 10_000]);
    let batches: Vec<_> = (0..1_000).map(|_| rig.submit_keyed(OP, &keys)).collect();
    rig.commit();
    for batch in batches {
        rig.stop(batch);
    }
    rig.commit();
    assert_eq!(rig.running(first).len(), 1);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn retries_that_fire_one_by_one_do_not_search_their_batch() {
    let started = Instant::now();
    let mut rig = Rig::new(&[retrying(2, 60_000_000)], 4);
    let batch = rig.submit(OP, 20_000);
    rig.commit();
    while let Some(slice) = rig.out().first().map(|slice| slice.id) {
        rig.end_all(slice, Verdict::Retryable);
    }
    while let Some(wake) = rig.next_wake() {
        assert!(wake > rig.now, "a timer that is due does not fire");
        rig.advance(wake.0 - rig.now.0);
        while let Some(slice) = rig.out().first().map(|slice| slice.id) {
            rig.end_all(slice, Verdict::Succeeded);
        }
    }
    assert_eq!(rig.view(batch).succeeded, 20_000);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}
