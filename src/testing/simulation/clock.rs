//! Virtual time.

use crate::clock::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 2025-01-01T00:00:00Z.
const BEGIN_MS: u64 = 1_735_689_600_000;

/// Stands still until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub(super) struct VirtualClock {
    now_ms: Arc<AtomicU64>,
    /// What somebody has set the queue's clock back by; the time itself goes on.
    set_back_ms: Arc<AtomicU64>,
    /// What it shows to who reads it as a queue's clock, ahead of the time.
    ahead_ms: u64,
    /// And so much faster.
    pace: u64,
}

impl VirtualClock {
    pub(super) fn new() -> Self {
        Self {
            now_ms: Arc::new(AtomicU64::new(BEGIN_MS)),
            set_back_ms: Arc::default(),
            ahead_ms: 0,
            pace: 1,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(super) fn ahead(&self, ahead_ms: u64) -> Self {
        Self {
            ahead_ms,
            ..self.clone()
        }
    }

    pub(super) fn at_pace(&self, pace: u64) -> Self {
        Self {
            pace,
            ..self.clone()
        }
    }

    pub(super) fn set_back(&self, ms: u64) {
        self.set_back_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(super) fn advance(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> SystemTime {
        let passed_ms = (self.now_ms() - BEGIN_MS) * self.pace + self.ahead_ms;
        let set_back_ms = self.set_back_ms.load(Ordering::Relaxed);
        UNIX_EPOCH + Duration::from_millis(BEGIN_MS + passed_ms - set_back_ms)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.now_ms() - BEGIN_MS)
    }
}
