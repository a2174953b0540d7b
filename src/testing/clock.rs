//! A clock that tests move.

use crate::clock::{Clock, Wake};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A clock that stands still until it is moved. Clones are the same clock.
///
/// Queues that use it notice at once when it moves.
#[derive(Clone)]
pub struct ManualClock(Arc<Mutex<Hands>>);

struct Hands {
    now: SystemTime,
    /// The sum of the moves forward.
    elapsed: Duration,
    watchers: Vec<Wake>,
}

impl ManualClock {
    /// A clock that shows 2025-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::at(UNIX_EPOCH + Duration::from_secs(1_735_689_600))
    }

    /// A clock that shows `now`.
    pub fn at(now: SystemTime) -> Self {
        let watchers = Vec::new();
        let elapsed = Duration::ZERO;
        Self(Arc::new(Mutex::new(Hands {
            now,
            elapsed,
            watchers,
        })))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let to = self.hands().now + by;
        self.set(to);
    }

    /// Sets the clock, forward or back.
    pub fn set(&self, now: SystemTime) {
        let watchers = {
            let mut hands = self.hands();
            let forward = now.duration_since(hands.now);
            hands.elapsed += forward.unwrap_or_default();
            hands.now = now;
            hands.watchers.clone()
        };
        for watcher in watchers {
            watcher.wake();
        }
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> SystemTime {
        self.hands().now
    }

    fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }

    fn on_jump(&self, wake: Wake) {
        self.hands().watchers.push(wake);
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ManualClock")
            .field(&self.hands().now)
            .finish()
    }
}
