//! A clock at whose readings the power can be cut: so a crash comes anywhere, in handlers, too.

use batchwright::testing::{ManualClock, MemoryDisk};
use batchwright::{Clock, Wake};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone)]
pub(crate) struct FusedClock {
    hands: ManualClock,
    disk: MemoryDisk,
    /// Readings that are left; below zero: any number.
    fuse: Arc<AtomicI64>,
}

const NO_FUSE: i64 = -1;

impl FusedClock {
    pub(crate) fn new(disk: &MemoryDisk) -> Self {
        Self {
            hands: ManualClock::new(),
            disk: disk.clone(),
            fuse: Arc::new(AtomicI64::new(NO_FUSE)),
        }
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.hands.advance(Duration::from_millis(ms.unsigned_abs()));
    }

    pub(crate) fn cut_at_reading(&self, reading: i64) {
        self.fuse.store(reading, Ordering::SeqCst);
    }

    pub(crate) fn remove_fuse(&self) {
        self.fuse.store(NO_FUSE, Ordering::SeqCst);
    }
}

impl Clock for FusedClock {
    fn now(&self) -> SystemTime {
        let left = self
            .fuse
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                (left > 0).then(|| left - 1)
            });
        if left == Ok(1) {
            self.disk.cut_power();
        }
        self.hands.now()
    }

    fn on_jump(&self, wake: Wake) {
        self.hands.on_jump(wake);
    }
}

/// Milliseconds since 1970.
pub(crate) fn ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
