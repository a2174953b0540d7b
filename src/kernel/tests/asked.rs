//! A kernel without workers: slices come out one at a time, when they are asked for.

use super::rig::{OP, SECOND_OP, at_least_once, exactly_once};
use crate::kernel::{
    BatchId, Input, Kernel, OperationIndex, Output, Slice, Terms, Ticket, Timestamp, Verdict,
};
use crate::limits;

const NOW: Timestamp = Timestamp(1_000_000);

fn starts(outputs: Vec<Output>) -> Vec<Slice> {
    let slices = outputs.into_iter().filter_map(|output| match output {
        Output::Start(slice) => Some(slice),
        _ => None,
    });
    slices.collect()
}

/// Feeds the kernel what must start nothing.
#[track_caller]
fn quietly(kernel: &mut Kernel, input: Input) {
    assert_eq!(starts(kernel.handle(input, NOW)), []);
}

fn submit(kernel: &mut Kernel, operation: OperationIndex, total: u32) {
    let submitted = Input::Submitted {
        ticket: Ticket(0),
        operation,
        total,
        terms: Terms::default(),
    };
    quietly(kernel, submitted);
    quietly(kernel, Input::Committed);
}

fn finish(kernel: &mut Kernel, slice: &Slice, busy_us: u64) {
    let finished = Input::Finished {
        slice: slice.id,
        verdicts: vec![Verdict::Succeeded; slice.items.len()],
        returned: true,
        cancelled: false,
        busy_us,
    };
    quietly(kernel, finished);
    quietly(kernel, Input::Committed);
}

/// Asks for slices of `most` items and ends each after `busy_us`, until none comes: batch and items of each.
fn turns(kernel: &mut Kernel, most: u32, busy_us: u64) -> Vec<(u64, usize)> {
    let mut turns = Vec::new();
    loop {
        let mut slices = starts(kernel.handle(Input::HandOut { most }, NOW));
        let Some(slice) = slices.pop() else {
            return turns;
        };
        assert_eq!(slices, [], "one at a time");
        finish(kernel, &slice, busy_us);
        turns.push((u64::from(slice.batch), slice.items.len()));
    }
}

fn kernel() -> Kernel {
    let operations = vec![at_least_once(), exactly_once()];
    let mut kernel = Kernel::new(operations, 0, 100, BatchId(1));
    submit(&mut kernel, OP, 40);
    submit(&mut kernel, SECOND_OP, 20);
    submit(&mut kernel, OP, 3);
    kernel
}

#[test]
fn nothing_starts_unasked_and_time_does_not_change_the_turns() {
    let whole = limits::FIRST_SLICE_ITEMS as usize;
    let expected = [(1, whole), (2, whole), (3, 3), (1, whole), (2, 4), (1, 8)];
    for busy_us in [0, 1, 1_000, 1_000_000] {
        assert_eq!(turns(&mut kernel(), u32::MAX, busy_us), expected);
    }
}

#[test]
fn no_slice_is_larger_than_was_asked_for() {
    let mut kernel = kernel();
    assert_eq!(starts(kernel.handle(Input::HandOut { most: 0 }, NOW)), []);
    let turns = turns(&mut kernel, 5, 0);
    assert!(turns.iter().all(|(_, items)| *items <= 5), "{turns:?}");
    assert_eq!(turns.iter().map(|(_, items)| items).sum::<usize>(), 63);
    assert_eq!(turns[..4], [(1, 5), (2, 5), (3, 3), (1, 5)]);
}
