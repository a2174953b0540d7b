//! When a failed attempt is followed by another.

use super::BatchId;
use crate::limits;
use std::time::Duration;
use twox_hash::XxHash3_64;

/// How often, and after what wait, an item that failed with a retryable failure runs again.
///
/// The wait before attempt `n + 1` is `first_wait * factor^(n - 1)`, at most `longest_wait`, less up to
/// a quarter of it, drawn from a hash of batch, item and attempt so that items which failed together
/// do not return together. Waits survive a restart.
///
/// ```
/// use batchwright::RetryPolicy;
/// use std::time::Duration;
///
/// let policy = RetryPolicy::exponential(5, Duration::from_millis(200)).longest_wait(Duration::from_secs(30));
/// assert_eq!(policy.max_attempts(), 5);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    max_attempts: u32,
    first_wait_ms: u64,
    factor: u32,
    longest_wait_ms: u64,
    after_timeouts: bool,
}

impl RetryPolicy {
    /// No retries: the first failure is final. The default.
    pub fn none() -> Self {
        Self::exponential(1, Duration::ZERO)
    }

    /// Up to `max_attempts` attempts in all (1 to [`ATTEMPTS_MAX`](crate::limits::ATTEMPTS_MAX), taken
    /// as the nearest of these), waiting `first_wait` before the second
    /// and twice as long before each further one, an hour at most.
    pub fn exponential(max_attempts: u32, first_wait: Duration) -> Self {
        Self {
            max_attempts: max_attempts.clamp(1, limits::ATTEMPTS_MAX),
            first_wait_ms: millis(first_wait),
            factor: 2,
            longest_wait_ms: 3_600_000,
            after_timeouts: false,
        }
    }

    /// The factor by which each wait exceeds the one before (0 is taken as 1: equal waits).
    #[must_use]
    pub fn factor(mut self, factor: u32) -> Self {
        self.factor = factor.max(1);
        self
    }

    /// The longest wait before an attempt.
    #[must_use]
    pub fn longest_wait(mut self, longest_wait: Duration) -> Self {
        self.longest_wait_ms = millis(longest_wait);
        self
    }

    /// An attempt that ran into the operation's [time-out](crate::Operation::timeout) is followed by another, like one
    /// that failed with a retryable failure. Otherwise a time-out is final. The next attempt does not wait for the
    /// handler of the last one, which may be running still, unless the item has an
    /// [ordering key](crate::Operation::key).
    #[must_use]
    pub fn after_timeouts(mut self) -> Self {
        self.after_timeouts = true;
        self
    }

    pub(crate) fn is_after_timeouts(&self) -> bool {
        self.after_timeouts
    }

    /// Attempts of one item, the first included.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// The wait after attempt `attempt` failed, or `None` when that was the last one.
    pub(crate) fn wait_ms_after(&self, batch: BatchId, index: u16, attempt: u32) -> Option<u64> {
        if attempt >= self.max_attempts {
            return None;
        }
        let growth = u64::from(self.factor).saturating_pow(attempt.saturating_sub(1));
        let wait_ms = self
            .first_wait_ms
            .saturating_mul(growth)
            .min(self.longest_wait_ms);
        let attempt = [u32::from(index), attempt].map(u32::to_le_bytes);
        let draw = XxHash3_64::oneshot_with_seed(batch.0, attempt.as_flattened());
        Some(wait_ms - draw % (wait_ms / 4 + 1))
    }

    /// The longest wait that this policy ever asks for.
    pub(crate) fn longest_wait_ms(&self) -> u64 {
        self.longest_wait_ms
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::none()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const BATCH: BatchId = BatchId(7);

    #[test]
    fn no_retries_means_the_first_failure_is_final() {
        assert_eq!(RetryPolicy::none().wait_ms_after(BATCH, 0, 1), None);
        assert_eq!(
            RetryPolicy::exponential(0, Duration::ZERO).max_attempts(),
            1
        );
    }

    #[test]
    fn waits_double_up_to_the_longest_and_lose_at_most_a_quarter() {
        let policy = RetryPolicy::exponential(100, Duration::from_millis(100))
            .longest_wait(Duration::from_millis(1_000));
        for (attempt, full) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (4, 800),
            (5, 1_000),
            (99, 1_000),
        ] {
            for index in 0..200 {
                let wait = policy.wait_ms_after(BATCH, index, attempt);
                assert!(
                    wait.is_some_and(|w| w <= full && w >= full - full / 4),
                    "{attempt} {wait:?}"
                );
            }
        }
        assert_eq!(policy.wait_ms_after(BATCH, 0, 100), None);
    }

    #[test]
    fn items_that_failed_together_do_not_return_together() {
        let policy = RetryPolicy::exponential(1_000, Duration::from_secs(10)).factor(1);
        let spread = |wait: fn(&RetryPolicy, u16) -> Option<u64>| {
            let waits: BTreeSet<_> = (0..1_000).map(|n| wait(&policy, n)).collect();
            assert!(waits.len() > 600, "{} different waits", waits.len());
        };
        spread(|policy, n| policy.wait_ms_after(BATCH, n, 1));
        spread(|policy, n| policy.wait_ms_after(BATCH, 0, n.into()));
        spread(|policy, n| policy.wait_ms_after(BatchId(n.into()), 0, 1));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let policy = RetryPolicy::exponential(u32::MAX, Duration::MAX)
            .factor(u32::MAX)
            .longest_wait(Duration::MAX);
        assert_eq!(policy.max_attempts(), limits::ATTEMPTS_MAX);
        assert!(policy.wait_ms_after(BATCH, u16::MAX, 999).is_some());
        assert!(policy.wait_ms_after(BATCH, u16::MAX, u32::MAX).is_none());
    }
}
