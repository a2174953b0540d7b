//! Those who wait for news of one batch: threads, and futures.
//!
//! Invariants:
//! - Nobody misses news: what changed is published before its [`wake`](Waiters::wake), and whoever waits
//!   looks after it has enlisted.
//! - No waker is called, cloned or dropped under the lock: it is code of an executor, which may come back.

use super::handler::drop_panic;
use crate::sync::{AtomicU32, Condvar, Mutex, MutexGuard, Ordering, fence};
use crate::waiting;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    room: Mutex<Room>,
    changed: Condvar,
    /// How many want to know of every change.
    watchers: AtomicU32,
}

#[derive(Debug, Default)]
struct Room {
    /// Grows with all news.
    moment: u64,
    /// Threads that sleep.
    sleeping: u32,
    wakers: BTreeMap<Seat, Waker>,
    next_seat: u64,
}

/// A future's place among those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat(u64);

impl Waiters {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes everybody who waits look again.
    pub(crate) fn wake(&self) {
        let mut room = self.room();
        let wakers = std::mem::take(&mut room.wakers);
        self.rouse(room);
        for waker in wakers.into_values() {
            // A foreign panic must not end a thread of the queue.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                drop_panic(panic);
            }
        }
    }

    /// Makes threads look again: something changed that futures do not wait for.
    pub(crate) fn stir(&self) {
        self.rouse(self.room());
    }

    fn rouse(&self, mut room: MutexGuard<'_, Room>) {
        room.moment += 1;
        let sleeping = room.sleeping > 0;
        drop(room);
        if sleeping {
            self.changed.notify_all();
        }
    }

    /// Waits until `ready` gives an answer, or until `deadline`.
    pub(crate) fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let mut room = self.room();
        loop {
            if let Some(answer) = ready() {
                return Some(answer);
            }
            room = self.sleep(room, deadline)?;
        }
    }

    /// To be asked before looking at what [`wait_past`](Self::wait_past) is to see changed.
    pub(crate) fn moment(&self) -> u64 {
        self.room().moment
    }

    /// Waits for news after `moment`.
    pub(crate) fn wait_past(&self, moment: u64) {
        let mut room = self.room();
        while room.moment == moment {
            let Some(woken) = self.sleep(room, None) else {
                return;
            };
            room = woken;
        }
    }

    fn sleep<'a>(
        &'a self,
        mut room: MutexGuard<'a, Room>,
        deadline: Option<Instant>,
    ) -> Option<MutexGuard<'a, Room>> {
        room.sleeping += 1;
        match waiting::wait(&self.changed, room, deadline) {
            Some(mut room) => {
                room.sleeping -= 1;
                Some(room)
            }
            None => {
                self.room().sleeping -= 1;
                None
            }
        }
    }

    /// Has `waker` called at the next [`wake`](Self::wake). Look afterwards: it may have been before.
    pub(crate) fn enlist(&self, seat: &mut Option<Seat>, waker: &Waker) {
        let mut new = Some(waker.clone());
        let mut room = self.room();
        let taken = seat.and_then(|seat| room.wakers.get_mut(&seat));
        let replaced = match taken {
            Some(old) if old.will_wake(waker) => None,
            Some(old) => new.take().map(|new| std::mem::replace(old, new)),
            None => {
                let free = Seat(room.next_seat);
                room.next_seat += 1;
                room.wakers.extend(new.take().map(|new| (free, new)));
                *seat = Some(free);
                None
            }
        };
        drop(room);
        drop((replaced, new));
    }

    /// Forgets the waker of `seat`.
    pub(crate) fn leave(&self, seat: &mut Option<Seat>) {
        let Some(seat) = seat.take() else { return };
        let left = self.room().wakers.remove(&seat);
        drop(left);
    }

    /// From now on somebody wants to know of every change, until [`watch_ends`](Self::watch_ends).
    pub(crate) fn watch_begins(&self) {
        self.watchers.fetch_add(1, Ordering::SeqCst);
        // With the one in `is_watched`: either the watcher sees what was published, or the publisher sees
        // the watcher.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn watch_ends(&self) {
        self.watchers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether somebody wants to know of what was just published.
    pub(crate) fn is_watched(&self) -> bool {
        fence(Ordering::SeqCst);
        self.watchers.load(Ordering::SeqCst) > 0
    }
}
