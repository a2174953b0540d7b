//! What the behaviour tests share: scripted operations, doors that handlers wait at, and a bystander that
//! nothing may change.

use batchwright::testing::{DrainedQueue, ManualClock, MemoryDisk};
use batchwright::{
    AtLeastOnce, AtMostOnce, Batch, BatchId, BatchType, Builder, Context, ExactlyOnce, Failure,
    Guarantee, ItemOutcome, Operation, Outcome, Queue, RateLimit, Report, RetryPolicy,
    ShutdownError, State, Status, Table,
};
use std::error::Error;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) type Tested = Result<(), Box<dyn Error>>;

/// What must happen happens within this time, or the test fails.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Longer than any handler or shutdown of these tests takes.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);

/// Sums that exactly-once handlers keep.
pub(crate) const SUMS: Table<str, u64> = Table::new("sums");

/// Ends a queue that has failed: its threads are gone, and it does not claim that all is well.
pub(crate) fn shut_down_failed(queue: &Queue) -> Tested {
    match queue.shutdown(AMPLE) {
        Err(ShutdownError::Failed { .. }) => Ok(()),
        other => Err(format!("a failed queue shut down with {other:?}").into()),
    }
}

type Body<G> = dyn Fn(u64, &mut Context<G>) -> Result<u64, Failure> + Send + Sync;

/// What an operation of these tests does and declares.
pub(crate) struct Script<G: Guarantee> {
    body: Box<Body<G>>,
    pub(crate) retry: RetryPolicy,
    pub(crate) concurrency: Option<u32>,
    pub(crate) key: fn(u64) -> Option<String>,
    pub(crate) rate: Option<RateLimit>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) crashes: Option<u32>,
}

impl<G: Guarantee> Script<G> {
    fn new(
        body: impl Fn(u64, &mut Context<G>) -> Result<u64, Failure> + Send + Sync + 'static,
    ) -> Self {
        Self {
            body: Box::new(body),
            retry: RetryPolicy::none(),
            concurrency: None,
            key: |_| None,
            rate: None,
            timeout: None,
            crashes: Some(3),
        }
    }
}

/// Defines an operation that runs a closure on a number.
macro_rules! scripted {
    ($(#[$doc:meta])* $type:ident, $name:literal, $guarantee:ty) => {
        $(#[$doc])*
        pub(crate) struct $type(pub Script<$guarantee>);

        // Not every operation needs everything.
        #[allow(dead_code)]
        impl $type {
            pub(crate) fn new(
                body: impl Fn(u64, &mut Context<$guarantee>) -> Result<u64, Failure> + Send + Sync + 'static,
            ) -> Self {
                Self(Script::new(body))
            }

            /// Every item is its own output.
            pub(crate) fn echo() -> Self {
                Self::new(|n, _| Ok(n))
            }

            pub(crate) fn retry(mut self, retry: RetryPolicy) -> Self {
                self.0.retry = retry;
                self
            }

            pub(crate) fn concurrency(mut self, limit: u32) -> Self {
                self.0.concurrency = Some(limit);
                self
            }

            pub(crate) fn key(mut self, key: fn(u64) -> Option<String>) -> Self {
                self.0.key = key;
                self
            }

            pub(crate) fn rate(mut self, items: u32, period: Duration) -> Self {
                self.0.rate = Some(RateLimit::new(items, period));
                self
            }

            pub(crate) fn timeout(mut self, limit: Duration) -> Self {
                self.0.timeout = Some(limit);
                self
            }

            pub(crate) fn crashes(mut self, limit: Option<u32>) -> Self {
                self.0.crashes = limit;
                self
            }
        }

        impl Operation for $type {
            const NAME: &'static str = $name;
            type Item = u64;
            type Output = u64;
            type Guarantee = $guarantee;

            fn run(&self, n: u64, cx: &mut Context<$guarantee>) -> Result<u64, Failure> {
                (self.0.body)(n, cx)
            }

            fn retry(&self) -> RetryPolicy {
                self.0.retry.clone()
            }

            fn concurrency(&self) -> Option<NonZeroU32> {
                self.0.concurrency.and_then(NonZeroU32::new)
            }

            fn key(&self, n: &u64) -> Option<String> {
                (self.0.key)(*n)
            }

            fn rate_limit(&self) -> Option<RateLimit> {
                self.0.rate
            }

            fn timeout(&self) -> Option<Duration> {
                self.0.timeout
            }

            fn crash_limit(&self) -> Option<NonZeroU32> {
                self.0.crashes.and_then(NonZeroU32::new)
            }
        }
    };
}

scripted!(
    /// An at-least-once operation.
    Call,
    "call",
    AtLeastOnce
);
scripted!(
    /// Another one, beside it.
    Mail,
    "mail",
    AtLeastOnce
);
scripted!(
    /// An exactly-once operation.
    Post,
    "post",
    ExactlyOnce
);
scripted!(
    /// An at-most-once operation.
    Pay,
    "pay",
    AtMostOnce
);
scripted!(Watch, "bystander", AtLeastOnce);

/// A builder with the bystander's operation registered and two workers.
pub(crate) fn queue_on(clock: &ManualClock) -> Builder {
    queue_in(Path::new("unused"), clock)
}

/// The same in a directory.
pub(crate) fn queue_in(dir: &Path, clock: &ManualClock) -> Builder {
    // Longer than any clock of these tests is moved.
    let forever = Duration::from_secs(100_000 * 24 * 3600);
    let waits = RetryPolicy::exponential(2, forever).longest_wait(forever);
    let watch = Watch::new(|n, _| match n {
        0 => Ok(0),
        _ => Err(Failure::retryable("later", "much later")),
    });
    Queue::builder(dir)
        .workers(2)
        .clock(clock.clone())
        .register(watch.retry(waits))
}

/// A fresh disk and clock.
pub(crate) fn fresh() -> (MemoryDisk, ManualClock) {
    (MemoryDisk::new(), ManualClock::new())
}

/// Batches that nothing in a test may change: one that waits for a retry, one that is stopped.
pub(crate) struct Bystander {
    waiting: Status,
    stopped: Status,
}

impl Bystander {
    pub(crate) fn enter(queue: &Queue) -> Result<Self, Box<dyn Error>> {
        Self::enter_as(queue, || Ok(()))
    }

    /// Into a queue that runs only when it is drained.
    pub(crate) fn enter_drained(queue: &DrainedQueue) -> Result<Self, Box<dyn Error>> {
        Self::enter_as(queue, || {
            queue.drain()?;
            Ok(())
        })
    }

    fn enter_as(queue: &Queue, run: impl Fn() -> Tested) -> Result<Self, Box<dyn Error>> {
        let waiting = queue.submit::<Watch>([0, 1, 2])?;
        run()?;
        let settled = |status: &Status| {
            (status.succeeded, status.waiting, status.in_flight) == (1, 2, 0)
                && status.state == State::Running
        };
        eventually(|| waiting.status().is_ok_and(|status| settled(&status)));
        let stopped = queue.submit::<Watch>([0, 1])?;
        run()?;
        eventually(|| stopped.status().is_ok_and(|status| status.waiting == 1));
        stopped.stop()?;
        stopped.ends()?;
        Ok(Self {
            waiting: waiting.status()?,
            stopped: stopped.status()?,
        })
    }

    /// Fails unless both are as they were, also with `queue` being a later opening.
    #[track_caller]
    pub(crate) fn assert_unchanged(&self, queue: &Queue) {
        for before in [&self.waiting, &self.stopped] {
            let now = queue.batch(before.id).and_then(|batch| batch.status());
            assert_eq!(now.as_ref(), Ok(before), "a bystander changed");
        }
    }

    /// The batches of the bystander.
    pub(crate) fn ids(&self) -> [BatchId; 2] {
        [self.waiting.id, self.stopped.id]
    }
}

/// Looks until `condition` holds. For what the API offers no signal for.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < SOON, "it never came to pass");
        std::thread::yield_now();
    }
}

/// Gives what must not happen the time to happen.
#[track_caller]
pub(crate) fn never(mut condition: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        assert!(!condition(), "it happened");
        std::thread::yield_now();
    }
}

/// For batches that must end.
pub(crate) trait Ends {
    /// Waits for the end, and fails when it does not come.
    fn ends(&self) -> Result<Report, Box<dyn Error>>;
}

impl<O> Ends for Batch<O> {
    fn ends(&self) -> Result<Report, Box<dyn Error>> {
        let report = self.wait_timeout(SOON)?;
        report
            .ok_or_else(|| format!("batch {} does not end: {:?}", self.id(), self.status()).into())
    }
}

/// All outcomes of a batch.
pub(crate) fn outcomes<O: BatchType>(
    batch: &Batch<O>,
) -> Result<Vec<ItemOutcome<O::Output>>, Box<dyn Error>> {
    Ok(batch.outcomes()?.collect::<Result<_, _>>()?)
}

/// The outputs of a batch whose items all succeeded.
pub(crate) fn outputs<O: BatchType>(batch: &Batch<O>) -> Result<Vec<O::Output>, Box<dyn Error>> {
    let outputs = outcomes(batch)?.into_iter().map(|item| match item.outcome {
        Outcome::Succeeded(output) => Ok(output),
        Outcome::Failed(failure) => Err(Box::<dyn Error>::from(failure)),
        other => Err(format!("an outcome of an unknown kind: {}", other.is_success()).into()),
    });
    outputs.collect()
}

/// A door that handlers wait at until it is opened; it knows how many have come.
#[derive(Clone, Default)]
pub(crate) struct Door(Arc<DoorParts>);

#[derive(Default)]
struct DoorParts {
    state: Mutex<DoorState>,
    changed: Condvar,
}

#[derive(Default)]
struct DoorState {
    came: u64,
    /// How many may pass.
    passes: u64,
    passed: u64,
}

impl Door {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Comes to the door and waits until it may pass.
    pub(crate) fn pass(&self) {
        let mut state = self.state();
        state.came += 1;
        self.0.changed.notify_all();
        let (mut state, _) = self
            .0
            .changed
            .wait_timeout_while(state, SOON, |state| state.passed >= state.passes)
            .unwrap_or_else(PoisonError::into_inner);
        state.passed += 1;
    }

    /// Waits until `count` in all have come.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: u64) {
        let (state, timeout) = self
            .0
            .changed
            .wait_timeout_while(self.state(), SOON, |state| state.came < count)
            .unwrap_or_else(PoisonError::into_inner);
        let came = state.came;
        drop(state);
        assert!(!timeout.timed_out(), "{came} of {count} came to the door");
    }

    /// How many have come.
    pub(crate) fn came(&self) -> u64 {
        self.state().came
    }

    /// Lets `count` more pass.
    pub(crate) fn admit(&self, count: u64) {
        self.state().passes += count;
        self.0.changed.notify_all();
    }

    /// Lets everybody pass from now on.
    pub(crate) fn open(&self) {
        self.state().passes = u64::MAX;
        self.0.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, DoorState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A list that handlers write on.
pub(crate) struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Log<T> {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    pub(crate) fn push(&self, entry: T) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    pub(crate) fn entries(&self) -> Vec<T> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Adds `n` to the sum called `name`.
pub(crate) fn add(cx: &mut Context<ExactlyOnce>, name: &str, n: u64) -> Result<u64, Failure> {
    let sum = cx.get(&SUMS, name)?.unwrap_or(0) + n;
    cx.put(&SUMS, name, &sum)?;
    Ok(sum)
}

/// The sum called `name`, as durable.
pub(crate) fn sum(queue: &Queue, name: &str) -> Result<u64, Box<dyn Error>> {
    Ok(queue.read(|tables| tables.get(&SUMS, name))?.unwrap_or(0))
}
