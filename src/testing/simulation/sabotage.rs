//! Ways to take a protection away, to see that the checker misses it.

/// What is broken on purpose. Each is a part of the simulation that lies or misbehaves: the library's own code
/// stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sabotage {
    /// A commit with a new batch is durable with the next commit only: its submitter is answered before.
    AnswersBeforeCommit,
    /// A commit with outcomes is durable with the next commit only: they are shown before.
    OutcomesBeforeCommit,
    /// A commit that deletes a batch is durable with the next commit only.
    DeletionsBeforeCommit,
    /// A commit that pauses an operation or lets it go on is durable with the next commit only.
    PausesBeforeCommit,
    /// The store forgets a commit now and then that it acknowledged.
    LostCommits,
    /// A crash in a commit leaves half of it.
    HalfCommits,
    /// The gates of stopped batches are opened again.
    OpenGates,
    /// The gates of paused operations are opened again.
    OpenPauses,
    /// A handler's table writes are in a commit after that of its outcome.
    EffectsAfterOutcomes,
    /// A handler's table writes are in a commit before that of its outcome.
    EffectsBeforeOutcomes,
    /// Workers begin slices that the writer has taken back.
    HeedlessWorkers,
    /// Of the slices that wait for the lease the latest is begun first.
    LatestLeasedFirst,
    /// Opening overlooks an unfinished batch.
    OverlookedBatch,
    /// The store forgets the idempotency keys.
    ForgottenKeys,
    /// Operations are registered without their ordering keys.
    NoOrder,
    /// Operations are registered without their limits of concurrency.
    NoConcurrencyLimit,
    /// Operations are registered with more attempts.
    MoreAttempts,
    /// The queue's clock is ahead of the world's.
    ClockAhead,
    /// The queue's clock goes faster than the world's.
    ClockFast,
    /// What a worker reports is lost now and then.
    LostReports,
    /// A worker reports items as failed that succeeded.
    WrongVerdicts,
    /// A commit that says that items start is durable with the next commit only.
    StartsBeforeCommit,
    /// A commit that says what became of an item in doubt is durable with the next commit only.
    ResolutionsBeforeCommit,
    /// Operations are registered without their time-outs.
    NoTimeouts,
    /// Operations are registered without their rate limits.
    NoRateLimits,
    /// What workers were at when the process ended is forgotten.
    LostMarks,
    /// Whatever ran when the process ended is charged with it, as if it had run alone and often.
    EagerCharges,
    /// What a client submits reaches the queue twice.
    TwiceSubmitted,
    /// What a client submits is not what it meant to.
    WrongItems,
    /// A client is told that it is refused when it is not.
    WrongRefusals,
    /// A commit panics now and then.
    PanickingDisk,
}
