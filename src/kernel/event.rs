//! What can happen to a batch. A batch's journal is a list of these, oldest first.

use super::Timestamp;

/// How one attempt of an item ended, as decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Final: the item succeeded.
    Succeeded,
    /// Final: the item failed.
    Failed,
    /// Final, until somebody resolves it: whether the item ran is not known.
    InDoubt,
    /// The item runs again, not before `due`.
    Retry { due: Timestamp },
}

/// What an attempt came to that no handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The process ended while the item ran, or may have; so many times it has while nothing else of the suspects ran.
    Crash { alone: u32 },
    /// The handler did not return in time.
    Timeout { after_ms: u64 },
}

/// The end of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ItemEvent {
    pub(crate) index: u16,
    pub(crate) attempt: u32,
    pub(crate) fate: Fate,
}

/// Something that happened to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The first item since the batch was queued has started.
    Started { at: Timestamp },
    /// Attempts ended.
    ItemsEnded {
        at: Timestamp,
        items: Vec<ItemEvent>,
    },
    /// Attempts came to nothing that a handler could tell of.
    ItemsLost {
        at: Timestamp,
        items: Vec<ItemEvent>,
        loss: Loss,
    },
    /// Items that run at most once are about to be handed out: from here on they may have run.
    ItemsStarted { at: Timestamp, indexes: Vec<u16> },
    /// Such items came back, and their handlers have not begun.
    ItemsReturned { at: Timestamp, indexes: Vec<u16> },
    /// The process ended while these were with a worker: from here on each of them runs alone.
    Suspected { at: Timestamp, indexes: Vec<u16> },
    /// The process ended while this suspect ran alone, the `crashes`th time.
    Charged {
        at: Timestamp,
        index: u16,
        crashes: u32,
    },
    /// Somebody said what became of an item in doubt.
    Resolved { at: Timestamp, item: ItemEvent },
    /// Somebody asked to stop the batch.
    StopRequested { at: Timestamp },
    /// Every item has its outcome.
    Completed { at: Timestamp },
    /// The last running handler of a stopping batch ended.
    Stopped { at: Timestamp },
    /// A stopped batch goes on.
    Resumed { at: Timestamp },
    /// Somebody asked that items which cannot be decoded fail.
    FailUndecodableRequested { at: Timestamp },
}

/// An [`Event`] without its data: what the transition table speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Started,
    ItemsEnded,
    /// A note on items that have not ended.
    ItemsNoted,
    Resolved,
    StopRequested,
    Completed,
    Stopped,
    Resumed,
    FailUndecodableRequested,
}

impl Event {
    pub(crate) fn kind(&self) -> EventKind {
        match self {
            Self::Started { .. } => EventKind::Started,
            Self::ItemsEnded { .. } | Self::ItemsLost { .. } => EventKind::ItemsEnded,
            Self::ItemsStarted { .. }
            | Self::ItemsReturned { .. }
            | Self::Suspected { .. }
            | Self::Charged { .. } => EventKind::ItemsNoted,
            Self::Resolved { .. } => EventKind::Resolved,
            Self::StopRequested { .. } => EventKind::StopRequested,
            Self::Completed { .. } => EventKind::Completed,
            Self::Stopped { .. } => EventKind::Stopped,
            Self::Resumed { .. } => EventKind::Resumed,
            Self::FailUndecodableRequested { .. } => EventKind::FailUndecodableRequested,
        }
    }
}
