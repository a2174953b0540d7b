//! The kinds of operations, and what they promise. The checker holds them to this; how they are registered is
//! another matter.

/// An operation of the simulated application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Exactly once, some items with ordering keys.
    Pay,
    /// At least once.
    Send,
    /// At least once, with ordering keys.
    Ordered,
    /// At least once, few at a time.
    Narrow,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Pay, Self::Send, Self::Ordered, Self::Narrow];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Send => "send",
            Self::Ordered => "ordered",
            Self::Narrow => "narrow",
        }
    }

    pub(super) fn is_exactly_once(self) -> bool {
        self == Self::Pay
    }

    /// Attempts of an item, at most.
    pub(super) fn attempts(self) -> u32 {
        match self {
            Self::Pay | Self::Ordered => 3,
            Self::Send => 4,
            Self::Narrow => 1,
        }
    }

    pub(super) fn first_wait_ms(self) -> u64 {
        200
    }

    /// The shortest wait after an attempt that failed.
    pub(super) fn shortest_wait_ms(self, attempt: u32) -> u64 {
        let wait_ms = self.first_wait_ms() << (attempt - 1);
        wait_ms - wait_ms / 4
    }

    /// Items that run at once, at most.
    pub(super) fn concurrency(self) -> Option<u32> {
        match self {
            Self::Narrow => Some(2),
            Self::Ordered => Some(3),
            Self::Pay | Self::Send => None,
        }
    }
}
