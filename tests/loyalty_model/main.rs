//! The loyalty operations against a plain model: random batches of all ten under random programmes, stopped and
//! resumed, crashed at any moment, deleted, sent again, reopened under other programmes, while the clock moves.
//!
//! The model is written from the contract and the module's rules. It has a list of lots that never merge, a list of
//! entries, and amounts in whole millionths; it lets time pass event by event. After every step balances, entries,
//! lots, holds, ids, profiles and events are equal, and the audit is clean.
//!
//! `PROPTEST_CASES` sets the number of cases; a failure prints the plan and the seed, which `PROPTEST_RNG_SEED` takes.

mod account;
mod checks;
mod clock;
mod crowds;
mod dates;
mod decimal;
mod found;
mod found_before;
mod items;
mod json;
mod ledger;
mod plan;
mod refunds;
mod resolve;
mod rules;
mod run;
mod settling;
mod shown;
mod stories;

use crowds::Crowd;
use plan::Plan;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use rules::Rules;
use run::{Held, Run, Wrong};
use settling::Course;
use std::time::{SystemTime, UNIX_EPOCH};

/// So many that the debug suite takes some seconds.
const CASES: u32 = 256;

/// Runs `cases` cases, or as many times more or less as are asked for of the [`CASES`].
fn for_any<S: Strategy>(cases: u32, strategy: S, test: impl Fn(&S::Value) -> Held) -> Held {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let asked: Option<u32> = asked.and_then(|n| n.parse().ok());
    let mut config = ProptestConfig {
        cases: asked.map_or(cases, |asked| asked.div_ceil(CASES / cases)),
        max_shrink_time: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            now.unwrap_or_default().subsec_nanos().into()
        }
    };
    config.rng_seed = RngSeed::Fixed(seed);
    TestRunner::new(config)
        .run(&strategy, |value| Ok(test(&value)?))
        .map_err(|error| Wrong(format!("PROPTEST_RNG_SEED={seed} shows it again: {error}")))
}

#[test]
fn whatever_happens_the_ledger_is_what_the_model_says() -> Held {
    for_any(CASES, Plan::any(), Run::all)
}

#[test]
fn to_settle_in_many_steps_comes_to_the_same_as_in_one() -> Held {
    for_any(CASES / 8, Course::any(), settling::in_steps_and_at_once)
}

#[test]
fn what_is_too_much_is_rounded_up_or_refused_as_the_model_says() -> Held {
    let holds = crowds::come_to_what_the_model_says;
    for_any(CASES / 32, Crowd::any(), holds)
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes half a minute unless it is optimised"
)]
fn too_many_dates_are_refused_as_the_model_says() -> Held {
    for_any(1, Rules::any(), crowds::too_many_dates)
}
