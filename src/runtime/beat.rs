//! Where the workers stand, and what a handler with a time-out is at: so that the writer sees it hang.
//!
//! Either the worker or the writer ends an attempt, whoever is first: the worker when its handler has returned, the
//! writer when the time is up. The writer may have been waiting for the disk then: a worker whose handler returns late
//! finds that out by itself.

use crate::kernel::{OperationIndex, SliceId};
use crate::sync::{Arc, Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

/// An attempt that is to end in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) slice: SliceId,
    /// Which item of the slice.
    pub(crate) place: usize,
    pub(crate) operation: OperationIndex,
    /// When it began, on the clock's own scale.
    pub(crate) since: Duration,
    pub(crate) limit: Duration,
}

/// How a worker finds its attempt when its handler has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    InTime,
    /// What it did does not count; another worker may be working in this one's place.
    TimedOut {
        replaced: bool,
    },
    /// As before, and the writer has not seen it: it is to be told.
    Late(Attempt),
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Running(Attempt),
    TimedOut {
        slice: SliceId,
        operation: OperationIndex,
        replaced: bool,
    },
}

impl State {
    /// The attempt that runs, if its time is up.
    fn overdue(&self, now: Duration) -> Option<Attempt> {
        match *self {
            Self::Running(attempt) if now.saturating_sub(attempt.since) >= attempt.limit => {
                Some(attempt)
            }
            _ => None,
        }
    }
}

/// One worker's.
#[derive(Debug, Default)]
pub(crate) struct Beat(Mutex<State>);

impl Beat {
    /// A handler is about to be called.
    pub(crate) fn begin(&self, attempt: Attempt) {
        *self.state() = State::Running(attempt);
    }

    /// The handler has returned.
    pub(crate) fn end(&self, now: Duration) -> Ended {
        let state = std::mem::take(&mut *self.state());
        match (state.overdue(now), state) {
            (Some(attempt), _) => Ended::Late(attempt),
            (None, State::TimedOut { replaced, .. }) => Ended::TimedOut { replaced },
            (None, State::Idle | State::Running(_)) => Ended::InTime,
        }
    }

    /// Whether the time of the attempt is up.
    pub(crate) fn is_timed_out(&self, now: impl FnOnce() -> Duration) -> bool {
        let state = self.state();
        match *state {
            State::Idle => false,
            State::Running(_) => state.overdue(now()).is_some(),
            State::TimedOut { .. } => true,
        }
    }

    /// Ends the attempt if its time is up; `replace` says whether another worker takes this one's place.
    pub(crate) fn time_out(
        &self,
        now: Duration,
        replace: impl FnOnce() -> bool,
    ) -> Option<(Attempt, bool)> {
        let mut state = self.state();
        let attempt = state.overdue(now)?;
        let replaced = replace();
        *state = State::TimedOut {
            slice: attempt.slice,
            operation: attempt.operation,
            replaced,
        };
        Some((attempt, replaced))
    }

    /// As in [`time_out`](Self::time_out), of a worker whose place nobody could take until now; the slice, if somebody
    /// does.
    pub(crate) fn replace(&self, replace: impl FnOnce() -> bool) -> Option<SliceId> {
        let mut state = self.state();
        match &mut *state {
            State::TimedOut {
                slice, replaced, ..
            } if !*replaced => {
                *replaced = replace();
                replaced.then_some(*slice)
            }
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The workers of a queue, by number.
#[derive(Debug, Default)]
pub(crate) struct Posts(Mutex<BTreeMap<usize, Arc<Beat>>>);

/// A worker's place: its number, which nobody else has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) number: usize,
    pub(crate) beat: Arc<Beat>,
    posts: Arc<Posts>,
}

impl Posts {
    /// Gives a worker the lowest free number.
    pub(crate) fn take(posts: &Arc<Self>) -> Post {
        let post = Arc::clone(posts);
        let mut posts = posts.posts();
        let taken = posts.keys().zip(0..).take_while(|(at, n)| *at == n);
        let number = taken.count();
        let beat = Arc::new(Beat::default());
        posts.insert(number, Arc::clone(&beat));
        Post {
            number,
            beat,
            posts: post,
        }
    }

    /// Every worker's.
    pub(crate) fn beats(&self) -> Vec<Arc<Beat>> {
        self.posts().values().cloned().collect()
    }

    /// Workers that others have taken the place of.
    pub(crate) fn replaced(&self) -> usize {
        let hangs = |beat: &&Arc<Beat>| {
            let state = beat.state();
            matches!(*state, State::TimedOut { replaced: true, .. })
        };
        // Not while the posts are locked: a worker may be taking one while its beat is.
        self.beats().iter().filter(hangs).count()
    }

    /// Whether an attempt is to be ended because its time is up.
    #[cfg(feature = "testing")]
    pub(crate) fn has_overdue(&self, now: Duration) -> bool {
        let mut beats = self.beats().into_iter();
        beats.any(|beat| beat.state().overdue(now).is_some())
    }

    /// Handlers of the operation whose time is up and that have not returned.
    pub(crate) fn hung(&self, of: OperationIndex) -> u64 {
        let hangs = |beat: &&Arc<Beat>| {
            let state = beat.state();
            matches!(*state, State::TimedOut { operation, .. } if operation == of)
        };
        self.beats().iter().filter(hangs).count() as u64
    }

    fn posts(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Beat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.posts.posts().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt = Attempt {
        slice: SliceId(1),
        place: 0,
        operation: OperationIndex(0),
        since: Duration::from_secs(10),
        limit: Duration::from_secs(5),
    };

    #[test]
    fn the_lowest_free_number_is_given_again() {
        let posts = Arc::new(Posts::default());
        let mut held: Vec<_> = (0..3).map(|_| Posts::take(&posts)).collect();
        let numbers = |held: &[Post]| held.iter().map(|post| post.number).collect::<Vec<_>>();
        assert_eq!(numbers(&held), [0, 1, 2]);
        held.remove(1);
        held.push(Posts::take(&posts));
        held.push(Posts::take(&posts));
        assert_eq!(numbers(&held), [0, 2, 1, 3]);
    }

    #[test]
    fn whoever_is_first_ends_an_attempt() {
        let beat = Beat::default();
        let late = Duration::from_secs(15);
        assert_eq!(beat.time_out(late, || true), None);
        beat.begin(ATTEMPT);
        let early = Duration::from_millis(14_999);
        assert_eq!(beat.time_out(early, || true), None);
        assert!(!beat.is_timed_out(|| early));
        assert_eq!(beat.end(early), Ended::InTime);
        assert_eq!(beat.time_out(late, || true), None);

        beat.begin(ATTEMPT);
        assert_eq!(beat.time_out(late, || true), Some((ATTEMPT, true)));
        assert_eq!(beat.time_out(late, || true), None);
        assert!(beat.is_timed_out(|| late));
        assert_eq!(beat.end(late), Ended::TimedOut { replaced: true });
        assert!(!beat.is_timed_out(|| late));
    }

    #[test]
    fn a_handler_that_returns_late_is_late_though_nobody_looked() {
        let beat = Beat::default();
        let late = Duration::from_secs(15);
        beat.begin(ATTEMPT);
        assert!(beat.is_timed_out(|| late));
        assert_eq!(beat.end(late), Ended::Late(ATTEMPT));
        assert!(!beat.is_timed_out(|| late));
        assert_eq!(beat.end(late), Ended::InTime);
    }

    #[test]
    fn a_worker_that_hangs_is_replaced_once_when_that_can_be() {
        let beat = Beat::default();
        beat.begin(ATTEMPT);
        let late = Duration::from_secs(15);
        assert_eq!(beat.replace(|| true), None);
        assert_eq!(beat.time_out(late, || false), Some((ATTEMPT, false)));
        assert_eq!(beat.replace(|| false), None);
        assert_eq!(beat.replace(|| true), Some(ATTEMPT.slice));
        assert_eq!(beat.replace(|| true), None);
        assert_eq!(beat.end(late), Ended::TimedOut { replaced: true });
        assert_eq!(beat.replace(|| true), None);
    }
}
