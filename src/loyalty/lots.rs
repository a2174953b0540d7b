//! Lots: points of one customer with equal dates.

use super::time::Time;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// The day with whose start points expire, UTC; or never. Never is after every day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Expiry(u32);

impl Expiry {
    pub(super) const NEVER: Self = Self(0);

    /// Valid up to the end of the day that is `days` after the one of `time`.
    pub(super) fn days_after(time: Time, days: u32) -> Self {
        Self(time.day().saturating_add(days).saturating_add(1))
    }

    /// When the points expire.
    pub(super) fn time(self) -> Option<Time> {
        (self != Self::NEVER).then(|| Time::of_day(self.0))
    }

    pub(super) fn has_come(self, now: Time) -> bool {
        self.time().is_some_and(|time| time <= now)
    }
}

impl Ord for Expiry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.wrapping_sub(1).cmp(&other.0.wrapping_sub(1))
    }
}

impl PartialOrd for Expiry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Points that were available, with their expiry: what was taken from a lot, or has expired. Stored as a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part(pub(super) Expiry, pub(super) i64);

pub(super) fn sum(parts: &[Part]) -> i64 {
    parts.iter().map(|Part(_, points)| points).sum()
}

/// When the points of a lot become available, in milliseconds since the Unix epoch; 0 once they are.
type From = i64;

pub(super) const AVAILABLE: From = 0;

/// Stored as three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Lot(From, Expiry, i64);

impl Lot {
    fn dates(&self) -> (From, Expiry) {
        (self.0, self.1)
    }

    fn is_available(&self) -> bool {
        self.0 == AVAILABLE
    }
}

/// The lots of a customer, no two with the same dates: available ones first, then by date; what expires first
/// comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Lots(Vec<Lot>);

/// Pending lots beyond which their dates are rounded up, to the hour, then to the day, so that they merge.
const PENDING_LOTS: usize = 256;

impl Lots {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn available(&self) -> i64 {
        self.0
            .iter()
            .filter(|lot| lot.is_available())
            .map(|lot| lot.2)
            .sum()
    }

    pub(super) fn pending(&self) -> i64 {
        self.0
            .iter()
            .filter(|lot| !lot.is_available())
            .map(|lot| lot.2)
            .sum()
    }

    /// The points that expire next, and when: pending ones, too.
    pub(super) fn next_expiring(&self) -> Option<(Time, i64)> {
        let next = self.0.iter().map(|lot| lot.1).min()?;
        let points = self
            .0
            .iter()
            .filter(|lot| lot.1 == next)
            .map(|lot| lot.2)
            .sum();
        Some((next.time()?, points))
    }

    /// Adds points that become available at `from`, which may be past, in which case they are available.
    pub(super) fn add(&mut self, from: Time, part: Part, now: Time) {
        self.insert(Self::stored_from(from, now), part);
        let pending = |lots: &Self| lots.0.iter().filter(|lot| !lot.is_available()).count();
        for step_ms in [3_600_000, 24 * 3_600_000] {
            if pending(self) > PENDING_LOTS {
                self.round_up_pending(step_ms);
            }
        }
    }

    fn stored_from(from: Time, now: Time) -> From {
        if from <= now { AVAILABLE } else { from.ms }
    }

    fn insert(&mut self, from: From, Part(expiry, points): Part) {
        if points == 0 {
            return;
        }
        match self.0.binary_search_by_key(&(from, expiry), Lot::dates) {
            Ok(at) => self.0[at].2 += points,
            Err(at) => self.0.insert(at, Lot(from, expiry, points)),
        }
    }

    fn round_up_pending(&mut self, step_ms: i64) {
        for Lot(from, expiry, points) in std::mem::take(&mut self.0) {
            let mut rounded = from;
            if from != AVAILABLE {
                let up = from.saturating_add(step_ms - 1).div_euclid(step_ms) * step_ms;
                // Not so far that they could never be spent.
                if !expiry.has_come(Time::from_ms(up)) {
                    rounded = up;
                }
            }
            self.insert(rounded, Part(expiry, points));
        }
    }

    /// Points that were available come back.
    pub(super) fn put_back(&mut self, parts: impl IntoIterator<Item = Part>) {
        for part in parts {
            self.insert(AVAILABLE, part);
        }
    }

    /// Takes up to `points` from what is available, what expires first first.
    pub(super) fn take_available(&mut self, points: i64) -> Vec<Part> {
        self.take_where(points, Lot::is_available)
    }

    /// Takes up to `points` of an award that is reversed: from what is left of the award itself, pending or
    /// available by now, from what else is pending, then from what else is available.
    pub(super) fn take_reversed(
        &mut self,
        from: Time,
        expiry: Expiry,
        points: i64,
        now: Time,
    ) -> Vec<Part> {
        let from = Self::stored_from(from, now);
        let mut taken = self.take_where(points, |lot| lot.dates() == (from, expiry));
        taken.extend(self.take_where(points - sum(&taken), |lot| !lot.is_available()));
        taken.extend(self.take_where(points - sum(&taken), Lot::is_available));
        taken
    }

    fn take_where(&mut self, points: i64, which: impl Fn(&Lot) -> bool) -> Vec<Part> {
        let mut left = points;
        let mut taken = Vec::new();
        for lot in &mut self.0 {
            if left == 0 {
                break;
            }
            if which(lot) {
                let part = lot.2.min(left);
                lot.2 -= part;
                left -= part;
                taken.push(Part(lot.1, part));
            }
        }
        self.0.retain(|lot| lot.2 > 0);
        taken
    }

    /// The next moment at which points become available or expire.
    pub(super) fn next_change(&self) -> Option<Time> {
        let from = |lot: &Lot| (!lot.is_available()).then(|| Time::from_ms(lot.0));
        let changes = self.0.iter().flat_map(|lot| [from(lot), lot.1.time()]);
        changes.flatten().min()
    }

    /// Makes available what has waited until `now`.
    pub(super) fn mature(&mut self, now: Time) {
        let due = |lot: &Lot| !lot.is_available() && lot.0 <= now.ms;
        if !self.0.iter().any(due) {
            return;
        }
        for lot in std::mem::take(&mut self.0) {
            let from = if due(&lot) { AVAILABLE } else { lot.0 };
            self.insert(from, Part(lot.1, lot.2));
        }
    }

    /// Removes what has expired by `now`.
    pub(super) fn expire(&mut self, now: Time) -> Vec<Part> {
        self.take_where(i64::MAX, |lot| lot.1.has_come(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time {
        ms: 1_000_000_000_000,
    };

    fn on_day(day: u32) -> Expiry {
        Expiry(day)
    }

    #[test]
    fn what_expires_first_is_taken_first_and_never_last() {
        let mut lots = Lots::default();
        for (expiry, points) in [(Expiry::NEVER, 5), (on_day(20_001), 3), (on_day(20_000), 2)] {
            lots.add(NOW, Part(expiry, points), NOW);
        }
        let taken = lots.take_available(6);
        assert_eq!(
            taken,
            [
                Part(on_day(20_000), 2),
                Part(on_day(20_001), 3),
                Part(Expiry::NEVER, 1)
            ]
        );
        assert_eq!((lots.available(), lots.len()), (4, 1));
    }

    #[test]
    fn lots_with_the_same_dates_are_one() {
        let mut lots = Lots::default();
        let later = NOW.plus_days(1);
        for from in [NOW, later, NOW, later] {
            lots.add(from, Part(Expiry::NEVER, 1), NOW);
        }
        assert_eq!((lots.len(), lots.available(), lots.pending()), (2, 2, 2));
        lots.mature(later);
        assert_eq!((lots.len(), lots.available(), lots.pending()), (1, 4, 0));
    }

    #[test]
    fn many_pending_dates_are_rounded_up_and_never_down() {
        let mut lots = Lots::default();
        let start = NOW.plus_days(1);
        for n in 0..10_000 {
            let from = Time::from_ms(start.ms + n * 60_000);
            lots.add(from, Part(Expiry::NEVER, 1), NOW);
            let promised = n + 1;
            assert_eq!(lots.pending(), promised);
        }
        assert!(lots.len() <= PENDING_LOTS + 1, "{}", lots.len());
        // Nothing early: at each moment at most those whose time has come.
        for n in (0..10_000).step_by(997) {
            let mut then = lots.clone();
            then.mature(Time::from_ms(start.ms + n * 60_000));
            assert!(then.available() <= n + 1);
            let mut a_day_later = lots.clone();
            a_day_later.mature(Time::from_ms(start.ms + n * 60_000).plus_days(1));
            assert!(a_day_later.available() > n);
        }
    }

    #[test]
    fn a_reversal_takes_the_award_itself_first_then_pending_then_available() {
        let (soon, later) = (NOW.plus_days(1), NOW.plus_days(2));
        let mut lots = Lots::default();
        for from in [NOW, soon, later] {
            lots.add(from, Part(Expiry::NEVER, 10), NOW);
        }
        lots.take_reversed(later, Expiry::NEVER, 12, NOW);
        assert_eq!((lots.available(), lots.pending()), (10, 8));
        lots.take_reversed(later, Expiry::NEVER, 9, NOW);
        assert_eq!((lots.available(), lots.pending()), (9, 0));
        assert_eq!(sum(&lots.take_reversed(later, Expiry::NEVER, 100, NOW)), 9);
    }

    #[test]
    fn a_reversal_takes_the_award_itself_also_when_it_has_become_available() {
        let (soon, later) = (NOW.plus_days(1), NOW.plus_days(2));
        let (first, second) = (on_day(20_000), on_day(20_001));
        let mut lots = Lots::default();
        lots.add(NOW, Part(first, 10), NOW);
        lots.add(soon, Part(second, 10), NOW);
        lots.add(later, Part(Expiry::NEVER, 10), NOW);
        lots.mature(soon);
        let taken = lots.take_reversed(soon, second, 5, soon);
        assert_eq!(taken, [Part(second, 5)]);
        assert_eq!((lots.available(), lots.pending()), (15, 10));
    }

    #[test]
    fn points_expire_with_the_end_of_their_last_day() {
        let expiry = Expiry::days_after(NOW, 1);
        let end = Time::of_day(NOW.day() + 2);
        assert!(expiry.has_come(end) && !expiry.has_come(Time::from_ms(end.ms - 1)));
        assert!(!Expiry::NEVER.has_come(Time::from_ms(i64::MAX)));
        let mut lots = Lots::default();
        lots.add(NOW, Part(expiry, 7), NOW);
        assert_eq!(lots.next_change(), Some(end));
        assert_eq!(lots.expire(end), [Part(expiry, 7)]);
        assert!(lots.is_empty());
    }
}
