//! The whole queue against a simple model: random submissions, scripted handlers, stops, resumes, retries,
//! deletions, pauses, crashes, failing commits, and reopenings, on a disk in memory and a clock that stands still.
//!
//! Threads make no two runs equal, so the model says what must hold whatever their timing. `PROPTEST_CASES`
//! sets the number of cases; a failure prints the actions, and how to run them again.

mod actions;
mod checks;
mod endings;
mod operations;
mod run;
mod steering;

use actions::Action;
use proptest::prelude::*;
use run::Run;

/// So many that the debug suite takes a few seconds.
const CASES: u32 = 200;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|n| n.parse().ok()).unwrap_or(CASES),
        // A shrunk case need not fail again where timing has its part.
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_nothing_acknowledged_is_lost_or_done_twice(
        actions in prop::collection::vec(Action::any(), 1..50),
    ) {
        let mut run = Run::new()?;
        for (step, action) in actions.iter().enumerate() {
            run.step(action)
                .map_err(|error| error.at(step, action))?;
        }
        run.finish()?;
    }
}
