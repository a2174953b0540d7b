//! How a command ended that did what it was to do.

use crate::error;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing failed.
    Clean,
    /// Items failed or were not run, or an audit found differences.
    ItemsFailed,
    /// The store is damaged, or not all of it could be salvaged.
    Damaged,
    /// Ctrl-C or SIGTERM ended it.
    Interrupted,
}

impl Ending {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::ItemsFailed => error::ITEMS_FAILED,
            Self::Damaged => error::DAMAGED,
            Self::Interrupted => error::INTERRUPTED,
        }
    }

    pub(crate) fn of(anything_failed: bool) -> Self {
        if anything_failed {
            Self::ItemsFailed
        } else {
            Self::Clean
        }
    }
}
