//! What the files name of `src/sync.rs`, as the model checker sees it.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::{Arc, Weak};

use loom::sync::atomic::AtomicUsize;
use std::cell::Cell;
use std::sync::PoisonError;

/// What is published, and which of it is the latest. See the crate's documentation.
#[derive(Debug)]
pub(crate) struct ArcSwap<T> {
    latest: AtomicUsize,
    /// Everything that was ever stored. No thread of a model is switched while this is locked, and loom does not see it:
    /// it orders nothing.
    values: std::sync::Mutex<Vec<Arc<T>>>,
}

pub(crate) type Guard<T> = T;

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self {
            latest: AtomicUsize::new(0),
            values: std::sync::Mutex::new(vec![Arc::new(value)]),
        }
    }

    pub(crate) fn load(&self) -> Guard<Arc<T>> {
        let latest = self.latest.load(Ordering::Acquire);
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&values[latest])
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let place = {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.push(value);
            values.len() - 1
        };
        self.latest.swap(place, Ordering::AcqRel);
    }
}

thread_local! {
    // All threads of a model run on one thread of the system.
    static FENCES: Cell<bool> = const { Cell::new(true) };
}

pub(crate) fn fence(order: Ordering) {
    if FENCES.get() {
        loom::sync::atomic::fence(order);
    }
}

/// Runs a model in which no fence does anything.
pub(crate) fn without_fences(model: impl FnOnce()) {
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            FENCES.set(true);
        }
    }
    let _back = Back;
    FENCES.set(false);
    model();
}
