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
}
