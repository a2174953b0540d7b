//! A check that cannot fail is none: with each protection taken away, the checker must say which one it misses.

use batchwright::testing::simulation::{Rule, Sabotage, simulate_broken};

/// So many seeds must be enough.
const SEEDS: u64 = 2_000;

/// Runs seeds until one breaks the rule that is named first. Until then others may be broken that are named, and
/// the store may notice by its own books that it is not what it was.
fn is_noticed(sabotage: Sabotage, rules: &[Rule]) {
    for seed in 0..SEEDS {
        let Err(failure) = simulate_broken(seed, sabotage) else {
            continue;
        };
        if failure.rule == rules[0] {
            return;
        }
        let may_be = rules.contains(&failure.rule) || failure.rule == Rule::StoreIsSound;
        assert!(may_be, "{sabotage:?}: {failure}");
    }
    panic!("{sabotage:?} is not noticed");
}

macro_rules! canaries {
    ($($name:ident: $sabotage:ident, $($rule:ident),+;)+) => {
        $(
            #[test]
            fn $name() {
                is_noticed(Sabotage::$sabotage, &[$(Rule::$rule),+]);
            }
        )+
    };
}

canaries! {
    an_answer_before_the_commit_is_noticed: AnswersBeforeCommit, BatchIsKept, OutcomeIsKept, StopIsKept;
    an_outcome_shown_before_the_commit_is_noticed: OutcomesBeforeCommit, OutcomeIsKept, StopIsKept, StateIsLegal;
    a_deletion_before_the_commit_is_noticed: DeletionsBeforeCommit, DeletedIsGone, OutcomeIsKept;
    a_pause_before_the_commit_is_noticed: PausesBeforeCommit, PauseIsKept, OutcomeIsKept;
    a_lost_commit_is_noticed: LostCommits, BatchIsKept, OutcomeIsKept, StopIsKept, StateIsLegal, DeletedIsGone,
        OnceIsOnce, SuspectsRunAlone, PauseIsKept, CrashesAreCounted, ResolutionIsKept, SubmissionIsOneBatch, KeyIsOneBatch;
    a_lost_stop_is_noticed: LostCommits, StopIsKept, BatchIsKept, OutcomeIsKept, StateIsLegal, DeletedIsGone,
        OnceIsOnce, SuspectsRunAlone, PauseIsKept, CrashesAreCounted, ResolutionIsKept, SubmissionIsOneBatch, KeyIsOneBatch;
    half_a_commit_is_noticed: HalfCommits, StoreIsSound;
    a_gate_that_does_not_close_at_a_stop_is_noticed: OpenGates, StopHoldsItems;
    a_gate_that_does_not_close_at_a_pause_is_noticed: OpenPauses, PauseHoldsItems;
    effects_after_their_outcome_are_noticed: EffectsAfterOutcomes, EffectsAreOutcomes;
    effects_before_their_outcome_are_noticed: EffectsBeforeOutcomes, EffectsAreOutcomes;
    a_worker_that_begins_what_was_taken_back_is_noticed: HeedlessWorkers, AttemptsAreCounted, StopHoldsItems,
        PauseHoldsItems, KeysAreOrdered, ConcurrencyIsLimited, DeletedIsGone, OnceIsOnce;
    a_slice_that_is_begun_before_an_earlier_one_is_noticed: LatestLeasedFirst, ItemsAreOrdered;
    a_batch_that_recovery_overlooks_is_noticed: OverlookedBatch, StoreIsSound;
    a_forgotten_idempotency_key_is_noticed: ForgottenKeys, KeyIsOneBatch;
    forgotten_ordering_keys_are_noticed: NoOrder, KeysAreOrdered;
    a_forgotten_limit_of_concurrency_is_noticed: NoConcurrencyLimit, ConcurrencyIsLimited;
    too_many_attempts_are_noticed: MoreAttempts, AttemptsAreCounted, OutcomeIsTheHandlers;
    a_clock_that_is_ahead_is_noticed: ClockAhead, NotBefore;
    a_clock_that_is_fast_is_noticed: ClockFast, RetryWaits, NotBefore, RateIsLimited;
    a_lost_report_is_noticed: LostReports, BatchesEnd;
    a_count_that_is_not_of_the_outcomes_is_noticed: WrongVerdicts, CountsAreOutcomes, AttemptsAreCounted, KeysAreOrdered, OutcomeIsTheHandlers;
    a_start_before_its_record_is_noticed: StartsBeforeCommit, OnceIsOnce, OutcomeIsKept, StopIsKept, StateIsLegal,
        DeletedIsGone, BatchIsKept, PauseIsKept;
    a_resolution_before_its_commit_is_noticed: ResolutionsBeforeCommit, ResolutionIsKept, OutcomeIsKept, StopIsKept,
        DeletedIsGone, BatchIsKept, PauseIsKept, StateIsLegal, OnceIsOnce;
    forgotten_time_outs_are_noticed: NoTimeouts, TimeoutIsKept;
    forgotten_rate_limits_are_noticed: NoRateLimits, RateIsLimited;
    forgotten_crashes_are_noticed: LostMarks, CrashesAreCounted, SuspectsRunAlone;
    forgotten_suspects_are_noticed: LostMarks, SuspectsRunAlone, CrashesAreCounted;
    crashes_that_were_none_are_noticed: EagerCharges, CrashesAreCounted;
    a_submission_that_arrives_twice_is_noticed: TwiceSubmitted, SubmissionIsOneBatch, KeyIsOneBatch;
    a_batch_that_is_not_as_submitted_is_noticed: WrongItems, BatchIsAsSubmitted, SubmissionIsOneBatch, KeyIsOneBatch;
    a_refusal_that_was_none_is_noticed: WrongRefusals, RefusedIsNotStored, SubmissionIsOneBatch, BatchIsKept;
    a_panic_is_noticed: PanickingDisk, NothingPanics;
}
