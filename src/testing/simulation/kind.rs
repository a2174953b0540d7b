//! The kinds of operations, and what they promise. The checker holds them to this; how they are registered is
//! another matter.

/// An operation of the simulated application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Exactly once, in time, some items with ordering keys.
    Pay,
    /// At least once.
    Send,
    /// At least once, with ordering keys.
    Ordered,
    /// At least once, few at a time.
    Narrow,
    /// At most once, some items with ordering keys.
    Once,
    /// At least once, in time, some items with ordering keys.
    Timed,
    /// At most once, in time, few in a while.
    Call,
}

/// So many items in so many milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) items: u32,
    pub(super) period_ms: u64,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Pay,
        Self::Send,
        Self::Ordered,
        Self::Narrow,
        Self::Once,
        Self::Timed,
        Self::Call,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Send => "send",
            Self::Ordered => "ordered",
            Self::Narrow => "narrow",
            Self::Once => "once",
            Self::Timed => "timed",
            Self::Call => "call",
        }
    }

    pub(super) fn is_exactly_once(self) -> bool {
        self == Self::Pay
    }

    pub(super) fn is_at_most_once(self) -> bool {
        matches!(self, Self::Once | Self::Call)
    }

    /// Attempts of an item, at most.
    pub(super) fn attempts(self) -> u32 {
        match self {
            Self::Pay | Self::Ordered | Self::Timed => 3,
            Self::Send => 4,
            Self::Narrow | Self::Once | Self::Call => 1,
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
            Self::Narrow | Self::Call => Some(2),
            Self::Ordered => Some(3),
            Self::Pay | Self::Send | Self::Once | Self::Timed => None,
        }
    }

    /// How long a handler may take. An attempt that takes longer is followed by another, unless the item runs at most
    /// once.
    pub(super) fn timeout_ms(self) -> Option<u64> {
        match self {
            Self::Pay => Some(2_000),
            Self::Timed | Self::Call => Some(600),
            Self::Send | Self::Ordered | Self::Narrow | Self::Once => None,
        }
    }

    /// How often an item may end the process while it runs alone.
    pub(super) fn crash_limit(self) -> Option<u32> {
        match self {
            Self::Ordered => Some(1),
            Self::Narrow => None,
            _ => Some(2),
        }
    }

    pub(super) fn rate(self) -> Option<Rate> {
        let rate = |items, period_ms| Some(Rate { items, period_ms });
        match self {
            Self::Timed => rate(5, 300),
            Self::Call => rate(3, 500),
            _ => None,
        }
    }
}
