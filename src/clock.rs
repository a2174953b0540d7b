//! The queue's time.

use crate::kernel::Timestamp;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where a queue gets its time from.
///
/// The queue never lets its time go back while it is open: when `now` jumps back by more than a second,
/// the queue's time goes on from where it was, at the clock's pace, so that retry waits last as long as
/// they should. Order never depends on the clock.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> SystemTime;

    /// The time since some moment, on a scale that nobody sets: what [time-outs](crate::Operation::timeout) are measured
    /// on. Default: the system's monotonic clock.
    fn elapsed(&self) -> Duration {
        static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
        ORIGIN.elapsed()
    }

    /// Asks the clock to call `wake` whenever its time has jumped, so that waits which are over are
    /// noticed at once. A clock that only flows, like the system's, has nothing to do.
    fn on_jump(&self, wake: Wake) {
        let _ = wake;
    }
}

/// Makes the queue look at its clock. See [`Clock::on_jump`].
#[derive(Clone)]
pub struct Wake(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl Wake {
    /// Makes the queue look at its clock. Does nothing once the queue is closed.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

/// The system's clock: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// A clock's time, kept from going back.
pub(crate) struct Timeline {
    clock: Arc<dyn Clock>,
    /// The latest time given out.
    latest_ms: AtomicU64,
    /// What the clock was set back by since the queue was opened.
    ahead_ms: AtomicU64,
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").finish_non_exhaustive()
    }
}

/// Readings of different threads overlap by less than this; a jump is more.
const JUMP_MS: u64 = 1_000;

impl Timeline {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            latest_ms: AtomicU64::new(0),
            ahead_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(crate) fn now(&self) -> Timestamp {
        let ahead_ms = self.ahead_ms.load(Ordering::Acquire);
        let now_ms = millis(self.clock.now()).saturating_add(ahead_ms);
        let latest_ms = self.latest_ms.fetch_max(now_ms, Ordering::AcqRel);
        let behind_ms = latest_ms.saturating_sub(now_ms);
        if behind_ms > JUMP_MS {
            // Whoever notices first moves the time line; for the others it has moved already.
            let _ = self.ahead_ms.compare_exchange(
                ahead_ms,
                ahead_ms.saturating_add(behind_ms),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
        Timestamp(now_ms.max(latest_ms))
    }

    /// The time on a scale that nobody sets.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The latest time given out: does not ask the clock.
    pub(crate) fn latest(&self) -> Timestamp {
        Timestamp(self.latest_ms.load(Ordering::Acquire))
    }
}

pub(crate) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// As [`millis`], and never before `time`.
pub(crate) fn millis_up(time: SystemTime) -> u64 {
    let up = time.checked_add(Duration::from_nanos(999_999));
    millis(up.unwrap_or(time))
}

impl Timestamp {
    pub(crate) fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.0))
            .unwrap_or(UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct SetClock(Mutex<SystemTime>);

    impl Clock for SetClock {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap_or_else(|e| e.into_inner())
        }
    }

    #[test]
    fn time_goes_on_at_the_clocks_pace_after_the_clock_was_set_back() {
        let clock = Arc::new(SetClock(Mutex::new(
            UNIX_EPOCH + Duration::from_secs(1_000),
        )));
        let line = Timeline::new(clock.clone());
        let set = |secs| {
            *clock.0.lock().unwrap_or_else(|e| e.into_inner()) =
                UNIX_EPOCH + Duration::from_secs(secs);
        };
        assert_eq!(line.now(), Timestamp(1_000_000));
        set(100);
        assert_eq!(line.now(), Timestamp(1_000_000));
        set(107);
        assert_eq!(line.now(), Timestamp(1_007_000));
    }

    #[test]
    fn small_differences_between_threads_do_not_move_the_time_line() {
        let clock = Arc::new(SetClock(Mutex::new(
            UNIX_EPOCH + Duration::from_millis(5_000),
        )));
        let line = Timeline::new(clock.clone());
        assert_eq!(line.now(), Timestamp(5_000));
        *clock.0.lock().unwrap_or_else(|e| e.into_inner()) =
            UNIX_EPOCH + Duration::from_millis(4_500);
        assert_eq!(line.now(), Timestamp(5_000));
        assert_eq!(line.ahead_ms.load(Ordering::Relaxed), 0);
    }
}
