//! The whole engine on one thread, in virtual time, with everything that can fail failing: the real kernel, writer,
//! workers and recovery on a store in memory, and a checker with a model of its own. For the library's own tests.
//!
//! One number decides all of a run: who goes next, what clients ask for, how long handlers take, what the disk
//! does with each commit, and when the process crashes, be it between two steps, inside a handler or in the middle
//! of a commit. So a run that breaks a rule can be run again:
//!
//! ```
//! # use batchwright::testing::simulation::simulate;
//! let once = simulate(7)?;
//! let again = simulate(7)?;
//! assert_eq!(once.hash, again.hash);
//! # Ok::<(), batchwright::testing::simulation::Failure>(())
//! ```
//!
//! Not simulated: that two handlers run at the very same time, and calls that wait. Handlers nest instead; clients
//! send what the waiting calls send, and look for the answer later.

mod checker;
mod client;
mod clock;
mod dice;
mod disk;
mod item;
mod kind;
mod operations;
mod page_cache;
mod process;
mod run;
mod sabotage;
mod trace;
mod world;

pub use checker::Rule;
pub use sabotage::Sabotage;
pub use trace::Trace;

use checker::Violation;
use dice::Dice;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A run that broke a rule.
#[derive(Debug, Clone, thiserror::Error)]
#[error("seed {seed} breaks {rule:?}: {what}")]
#[non_exhaustive]
pub struct Failure {
    /// Runs it again.
    pub seed: u64,
    /// Which one.
    pub rule: Rule,
    /// What was seen.
    pub what: String,
    /// What had happened, if it was recorded.
    pub trace: Option<Trace>,
}

/// Runs what the seed says.
///
/// # Errors
/// The first rule that was broken.
pub fn simulate(seed: u64) -> Result<Trace, Failure> {
    run(seed, Dice::new(seed), None, false)
}

/// As [`simulate`], of what a fuzzer chooses: a byte for each thing that is left to chance, until there are no more.
///
/// # Errors
/// As [`simulate`]; the seed means nothing.
pub fn simulate_choices(choices: &[u8]) -> Result<Trace, Failure> {
    run(0, Dice::chosen(choices), None, false)
}

/// As [`simulate`], and keeps the text of the trace.
///
/// # Errors
/// As [`simulate`], with the trace.
pub fn simulate_and_record(seed: u64) -> Result<Trace, Failure> {
    run(seed, Dice::new(seed), None, true)
}

/// As [`simulate`], with something broken on purpose.
///
/// # Errors
/// As [`simulate`]: with enough seeds there must be one.
pub fn simulate_broken(seed: u64, sabotage: Sabotage) -> Result<Trace, Failure> {
    run(seed, Dice::new(seed), Some(sabotage), false)
}

fn run(
    seed: u64,
    dice: Dice,
    sabotage: Option<Sabotage>,
    with_text: bool,
) -> Result<Trace, Failure> {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        run::run(seed, dice, sabotage, with_text)
    }));
    let (trace, violation) = ran.map_err(|_| Failure {
        seed,
        rule: Rule::NothingPanics,
        what: "the engine panicked".to_owned(),
        trace: None,
    })?;
    match violation {
        None => Ok(trace),
        Some(Violation { rule, what }) => Err(Failure {
            seed,
            rule,
            what,
            trace: with_text.then_some(trace),
        }),
    }
}
