//! Waiting on a condition variable until a moment that may never come.

use crate::sync::{Condvar, MutexGuard};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Waits once for `changed`, until `deadline` at most; `None` when that has passed.
pub(crate) fn wait<'a, T>(
    changed: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> Option<MutexGuard<'a, T>> {
    let Some(deadline) = deadline else {
        let woken = changed.wait(guard);
        return Some(woken.unwrap_or_else(PoisonError::into_inner));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    if left == Duration::ZERO {
        return None;
    }
    let woken = changed.wait_timeout(guard, left);
    Some(woken.unwrap_or_else(PoisonError::into_inner).0)
}
