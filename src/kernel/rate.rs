//! How many items of an operation start in a time.

use super::Timestamp;
use crate::limits;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

/// At most so many attempts of an operation's items in any stretch of time of the given length, as quotas of
/// outside systems are given: see [`Operation::rate_limit`](crate::Operation::rate_limit).
///
/// All of them may come at once, and then none until the first of them is as old as the stretch is long. For an even
/// flow give a short stretch: 10 in 100 ms rather than 100 in a second.
///
/// ```
/// use batchwright::RateLimit;
/// use std::time::Duration;
///
/// let limit = RateLimit::new(100, Duration::from_secs(60));
/// assert_eq!(limit.items(), 100);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    items: NonZeroU32,
    period_ms: u64,
}

impl RateLimit {
    /// At most `items` attempts in any `period`. Both are taken as the nearest that is allowed: 1 to
    /// [`RATE_ITEMS_MAX`](crate::limits::RATE_ITEMS_MAX) items, 1 ms to
    /// [`RATE_PERIOD_MAX`](crate::limits::RATE_PERIOD_MAX).
    pub fn new(items: u32, period: Duration) -> Self {
        let items = items.clamp(1, limits::RATE_ITEMS_MAX);
        let period = period.min(limits::RATE_PERIOD_MAX);
        Self {
            items: NonZeroU32::new(items).unwrap_or(NonZeroU32::MIN),
            // Up: a part of a millisecond is not waited too little for.
            period_ms: u64::try_from(period.as_micros().div_ceil(1_000))
                .unwrap_or(u64::MAX)
                .max(1),
        }
    }

    /// How many attempts in a [`period`](Self::period).
    pub fn items(&self) -> u32 {
        self.items.get()
    }

    /// How long the stretch is.
    pub fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms)
    }
}

/// The starts of the last period, oldest first. At most as many entries as there are items allowed, or milliseconds
/// in the period.
#[derive(Debug)]
pub(super) struct Starts {
    limit: RateLimit,
    log: VecDeque<(Timestamp, u32)>,
    /// The sum of the log.
    items: u32,
    /// Items that are to start, at a time that is not known yet.
    held: u32,
}

impl Starts {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            log: VecDeque::new(),
            items: 0,
            held: 0,
        }
    }

    /// Forgets what is older than the period.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while let Some((at, passed)) = self.log.front().copied() {
            if at.plus_ms(self.limit.period_ms) > now {
                break;
            }
            self.items -= passed;
            self.log.pop_front();
        }
    }

    /// How many may start.
    pub(super) fn allowed(&self) -> u32 {
        self.limit.items() - self.items - self.held
    }

    pub(super) fn note(&mut self, items: u32, now: Timestamp) {
        self.items += items;
        match self.log.back_mut() {
            // Time does not go back while the queue is open.
            Some((at, sum)) if *at == now => *sum += items,
            _ => self.log.push_back((now, items)),
        }
    }

    /// So many are to start: until they do, or do not after all, nobody starts in their place.
    pub(super) fn hold(&mut self, items: u32) {
        self.held += items;
    }

    /// So many that were held start now, and are to be noted, or do not start.
    pub(super) fn let_go(&mut self, items: u32) {
        self.held -= items;
    }

    /// So many that were noted at `noted` did not start after all. What is forgotten is no longer in the way.
    pub(super) fn give_back(&mut self, items: u32, noted: Timestamp) {
        let Ok(place) = self.log.binary_search_by_key(&noted, |(at, _)| *at) else {
            return;
        };
        let (_, left) = &mut self.log[place];
        let back = items.min(*left);
        *left -= back;
        self.items -= back;
        if *left == 0 {
            self.log.remove(place);
        }
    }

    /// When the next one may start, while none may and time alone will change that.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let oldest = self.log.front().filter(|_| self.allowed() == 0);
        oldest.map(|(at, _)| at.plus_ms(self.limit.period_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn extreme_settings_are_taken_as_the_nearest_allowed() {
        let least = RateLimit::new(0, Duration::ZERO);
        assert_eq!(
            (least.items(), least.period()),
            (1, Duration::from_millis(1))
        );
        let most = RateLimit::new(u32::MAX, Duration::MAX);
        assert_eq!(most.items(), limits::RATE_ITEMS_MAX);
        assert_eq!(most.period(), limits::RATE_PERIOD_MAX);
        let up = RateLimit::new(1, Duration::from_micros(1_001));
        assert_eq!(up.period(), Duration::from_millis(2));
    }

    proptest! {
        #[test]
        fn no_stretch_of_a_period_has_more_starts_and_none_waits_for_nothing(
            items in 1..20_u32,
            period_ms in 1..50_u64,
            steps in prop::collection::vec((0..30_u64, 1..8_u32, 0..4_u32, 0..6_usize), 1..100),
        ) {
            let limit = RateLimit::new(items, Duration::from_millis(period_ms));
            let mut starts = Starts::new(limit);
            // When each item was handed out that has not come back.
            let mut all: Vec<u64> = Vec::new();
            let mut handed_out: Vec<u64> = Vec::new();
            let mut now = Timestamp(1_000);
            for (later_ms, wanted, returned, which) in steps {
                now = now.plus_ms(later_ms);
                let recent = all.iter().filter(|at| **at + period_ms > now.0).count();
                starts.forget(now);
                let allowed = starts.allowed();
                prop_assert_eq!(allowed as usize, items as usize - recent);
                if allowed == 0 {
                    let next = starts.next().map(|at| at.0);
                    let oldest = all.iter().filter(|at| **at + period_ms > now.0).min();
                    prop_assert_eq!(next, oldest.map(|at| at + period_ms));
                } else {
                    prop_assert_eq!(starts.next(), None);
                }
                let taken = wanted.min(allowed);
                if taken > 0 {
                    starts.note(taken, now);
                    all.extend((0..taken).map(|_| now.0));
                    handed_out.push(now.0);
                }
                // Any slice comes back, however long ago it was handed out.
                if let Some(at) = handed_out.iter().rev().nth(which).copied() {
                    let mut back = 0;
                    all.retain(|other| {
                        let comes_back = *other == at && back < returned;
                        back += u32::from(comes_back);
                        !comes_back
                    });
                    starts.give_back(back, Timestamp(at));
                }
            }
        }
    }
}
