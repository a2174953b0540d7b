//! Random plans for the kernel: operations, and steps to take with them.

use crate::kernel::{OperationSpec, Promise, RateLimit, RetryPolicy};
use proptest::prelude::*;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) workers: u32,
    pub(super) operations: Vec<OperationSpec>,
    /// Time an item takes, by operation.
    pub(super) item_us: Vec<u64>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Submit {
        operation: usize,
        total: u32,
        keys: u64,
        priority: i8,
        /// From half a second before now.
        delay_ms: Option<u64>,
        seed: u64,
    },
    /// A worker ends some items of a slice, and may be done with it.
    Work {
        pick: usize,
        count: usize,
        returned: bool,
        seed: u64,
    },
    Commit,
    Wait {
        ms: u64,
    },
    SetClockBack {
        ms: u64,
    },
    Stop {
        pick: usize,
    },
    Resume {
        pick: usize,
    },
    /// A worker ends some items of a slice, and cannot decode the next.
    Undecodable {
        pick: usize,
        count: usize,
        seed: u64,
    },
    FailUndecodable {
        pick: usize,
    },
    Pause {
        operation: usize,
    },
    Unpause {
        operation: usize,
    },
    Close,
    /// The process ends so often in a row, with notes of some of the slices that were out.
    Crash {
        times: u32,
        seed: u64,
    },
    /// The process ends after a failed commit, which the store may have kept all the same.
    FailCommit {
        kept: bool,
        seed: u64,
    },
    /// A handler does not return in time.
    TimeOut {
        pick: usize,
        /// How many items of the slice ended before and were not reported.
        ahead: usize,
        replaced: bool,
    },
    /// A worker reports a slice that it no longer has.
    ReportLate {
        pick: usize,
        seed: u64,
    },
    Resolve {
        pick: usize,
        index: usize,
        succeeded: bool,
    },
    /// The process ends and the next one registers an operation more or less.
    Redeploy {
        operation: usize,
    },
}

fn operation() -> impl Strategy<Value = OperationSpec> {
    let registered = prop::bool::weighted(0.9);
    let promise = prop_oneof![
        3 => Just(Promise::ExactlyOnce),
        3 => Just(Promise::AtLeastOnce),
        2 => Just(Promise::AtMostOnce),
    ];
    let concurrency = prop_oneof![3 => Just(None), 1 => (1u32..4).prop_map(Some)];
    let crashes = prop_oneof![1 => Just(None), 2 => (1u32..4).prop_map(Some)];
    let timed = prop::bool::weighted(0.4);
    (
        registered,
        promise,
        retry(),
        concurrency,
        rate(),
        timed,
        crashes,
    )
        .prop_map(
            |(registered, promise, retry, concurrency, rate, timed, crashes)| OperationSpec {
                registered,
                paused: false,
                promise,
                retry,
                concurrency,
                rate,
                timed,
                crashes,
            },
        )
}

fn retry() -> impl Strategy<Value = RetryPolicy> {
    let wait_ms = prop_oneof![Just(0u64), 1..5_000u64];
    (1u32..5, wait_ms, any::<bool>()).prop_map(|(attempts, wait_ms, after_timeouts)| {
        let policy = RetryPolicy::exponential(attempts, Duration::from_millis(wait_ms))
            .longest_wait(Duration::from_millis(8_000));
        if after_timeouts {
            policy.after_timeouts()
        } else {
            policy
        }
    })
}

fn rate() -> impl Strategy<Value = Option<RateLimit>> {
    let limit = (1u32..40, 1..4_000u64)
        .prop_map(|(items, ms)| RateLimit::new(items, Duration::from_millis(ms)));
    prop_oneof![4 => Just(None), 1 => limit.prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    let total = prop_oneof![6 => 1u32..8, 2 => 8u32..60, 1 => 60u32..400];
    let keys = prop_oneof![2 => Just(0u64), 3 => 1u64..5];
    let priority = prop_oneof![2 => Just(0i8), 1 => -2..3i8];
    let delay_ms = prop_oneof![3 => Just(None), 1 => (0..8_000u64).prop_map(Some)];
    prop_oneof![
        8 => (any::<usize>(), total, keys, priority, delay_ms, any::<u64>()).prop_map(
            |(operation, total, keys, priority, delay_ms, seed)| Step::Submit {
                operation, total, keys, priority, delay_ms, seed,
            }
        ),
        24 => (any::<usize>(), 0..40usize, any::<bool>(), any::<u64>())
            .prop_map(|(pick, count, returned, seed)| Step::Work { pick, count, returned, seed }),
        10 => Just(Step::Commit),
        5 => (0..6_000u64).prop_map(|ms| Step::Wait { ms }),
        1 => (0..100_000u64).prop_map(|ms| Step::SetClockBack { ms }),
        4 => any::<usize>().prop_map(|pick| Step::Stop { pick }),
        3 => any::<usize>().prop_map(|pick| Step::Resume { pick }),
        1 => (1u32..5, any::<u64>()).prop_map(|(times, seed)| Step::Crash { times, seed }),
        4 => (any::<usize>(), any::<usize>(), any::<bool>())
            .prop_map(|(pick, ahead, replaced)| Step::TimeOut { pick, ahead, replaced }),
        1 => (any::<usize>(), any::<u64>())
            .prop_map(|(pick, seed)| Step::ReportLate { pick, seed }),
        2 => (any::<usize>(), any::<usize>(), any::<bool>())
            .prop_map(|(pick, index, succeeded)| Step::Resolve { pick, index, succeeded }),
        1 => any::<usize>().prop_map(|operation| Step::Pause { operation }),
        2 => any::<usize>().prop_map(|operation| Step::Unpause { operation }),
        1 => (any::<usize>(), 0..4usize, any::<u64>())
            .prop_map(|(pick, count, seed)| Step::Undecodable { pick, count, seed }),
        2 => any::<usize>().prop_map(|pick| Step::FailUndecodable { pick }),
        1 => prop_oneof![
            (any::<bool>(), any::<u64>())
                .prop_map(|(kept, seed)| Step::FailCommit { kept, seed }),
            Just(Step::Close),
            any::<usize>().prop_map(|operation| Step::Redeploy { operation }),
        ],
    ]
}

pub(super) fn plan() -> impl Strategy<Value = Plan> {
    let item_us = prop_oneof![Just(0u64), Just(10), Just(1_000), Just(20_000)];
    let operations = prop::collection::vec((operation(), item_us), 1..5);
    (1u32..5, operations, prop::collection::vec(step(), 1..90)).prop_map(
        |(workers, operations, steps)| {
            let (operations, item_us) = operations.into_iter().unzip();
            Plan {
                workers,
                operations,
                item_us,
                steps,
            }
        },
    )
}
