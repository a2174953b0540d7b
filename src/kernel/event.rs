//! What can happen to a batch. A batch's journal is a list of these, oldest first.

use super::Timestamp;

/// How one attempt of an item ended, as decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Final: the item succeeded.
    Succeeded,
    /// Final: the item failed.
    Failed,
    /// The item runs again, not before `due`.
    Retry { due: Timestamp },
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
            Self::ItemsEnded { .. } => EventKind::ItemsEnded,
            Self::StopRequested { .. } => EventKind::StopRequested,
            Self::Completed { .. } => EventKind::Completed,
            Self::Stopped { .. } => EventKind::Stopped,
            Self::Resumed { .. } => EventKind::Resumed,
            Self::FailUndecodableRequested { .. } => EventKind::FailUndecodableRequested,
        }
    }
}
