//! A check that cannot fail is none: with each protection taken away, the checker must say which one it misses.

use batchwright::testing::simulation::{Rule, Sabotage, simulate_broken};

/// So many seeds must be enough.
const SEEDS: u64 = 2_000;

/// Runs seeds until one breaks one of `rules`. On the way there, the store may notice by its own books that it
/// is not what it was, and nothing else may be noticed.
fn is_noticed(sabotage: Sabotage, rules: &[Rule]) {
    for seed in 0..SEEDS {
        if let Err(failure) = simulate_broken(seed, sabotage) {
            if rules.contains(&failure.rule) {
                return;
            }
            assert_eq!(failure.rule, Rule::StoreIsSound, "{sabotage:?}: {failure}");
        }
    }
    panic!("{sabotage:?} is not noticed");
}

macro_rules! canary {
    ($name:ident, $sabotage:ident, $($rule:ident),+) => {
        #[test]
        fn $name() {
            is_noticed(Sabotage::$sabotage, &[$(Rule::$rule),+]);
        }
    };
}

canary!(
    an_answer_before_the_commit_is_noticed,
    AnswersBeforeCommit,
    BatchIsKept
);
canary!(
    an_outcome_shown_before_the_commit_is_noticed,
    OutcomesBeforeCommit,
    OutcomeIsKept
);
canary!(
    a_deletion_before_the_commit_is_noticed,
    DeletionsBeforeCommit,
    DeletedIsGone
);
canary!(
    a_lost_commit_is_noticed,
    LostCommits,
    BatchIsKept,
    OutcomeIsKept
);
canary!(half_a_commit_is_noticed, HalfCommits, StoreIsSound);
canary!(
    a_gate_that_does_not_close_at_a_stop_is_noticed,
    OpenGates,
    StopHoldsItems
);
canary!(
    a_gate_that_does_not_close_at_a_pause_is_noticed,
    OpenPauses,
    PauseHoldsItems
);
canary!(
    effects_after_their_outcome_are_noticed,
    EffectsAfterOutcomes,
    EffectsAreOutcomes
);
canary!(
    effects_before_their_outcome_are_noticed,
    EffectsBeforeOutcomes,
    EffectsAreOutcomes
);
canary!(
    a_worker_that_begins_what_was_taken_back_is_noticed,
    HeedlessWorkers,
    AttemptsAreCounted
);
canary!(
    a_batch_that_recovery_overlooks_is_noticed,
    OverlookedBatch,
    StoreIsSound
);
canary!(
    a_forgotten_idempotency_key_is_noticed,
    ForgottenKeys,
    KeyIsOneBatch
);
canary!(forgotten_ordering_keys_are_noticed, NoOrder, KeysAreOrdered);
canary!(
    a_forgotten_limit_of_concurrency_is_noticed,
    NoConcurrencyLimit,
    ConcurrencyIsLimited
);
canary!(
    too_many_attempts_are_noticed,
    MoreAttempts,
    AttemptsAreCounted
);
canary!(a_clock_that_is_ahead_is_noticed, ClockAhead, NotBefore);
