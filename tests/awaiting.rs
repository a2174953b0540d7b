//! Awaiting batches: under two runtimes, and with wakers made by hand.

use batchwright::limits::DROP_WAIT;
use batchwright::testing::{CommitFault, ManualClock, MemoryDisk};
use batchwright::{
    AtLeastOnce, Batch, BatchError, Builder, Context, Ended, Failure, Operation, Queue, Report,
    ShutdownError, State, SubmitError, TableError, WaitError,
};
use std::error::Error;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

type Tested = Result<(), Box<dyn Error>>;

/// What must happen happens within this time, or the test fails.
const SOON: Duration = Duration::from_secs(30);

/// A number that only grows, and that threads wait for.
#[derive(Default)]
struct Count(Mutex<u64>, Condvar);

impl Count {
    fn add(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.1.notify_all();
    }

    #[track_caller]
    fn wait_for(&self, count: u64) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.1.wait_timeout_while(counted, SOON, |n| *n < count);
        let (counted, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(counted);
        assert!(!timeout.timed_out(), "it never came to {count}");
    }

    fn now(&self) -> u64 {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Comes to the door, and goes on when it is opened.
#[derive(Default)]
struct Door {
    came: Count,
    opened: Count,
}

/// Waits with item 0 until the door is opened, with item 100 until it is opened again; fails item 13.
struct Visit(Arc<Door>);

impl Operation for Visit {
    const NAME: &'static str = "visit";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        match n {
            0 => {
                self.0.came.add();
                self.0.opened.wait_for(1);
                Ok(n)
            }
            100 => {
                self.0.opened.wait_for(2);
                Ok(n)
            }
            13 => Err(Failure::permanent("unlucky", "it is 13")),
            _ => Ok(n),
        }
    }
}

/// Beside it.
struct Stay;

impl Operation for Stay {
    const NAME: &'static str = "stay";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(n)
    }
}

struct Place {
    disk: MemoryDisk,
    door: Arc<Door>,
    queue: Queue,
    bystander: Batch<Stay>,
}

fn builder() -> Builder {
    Queue::builder("unused")
        .workers(2)
        .clock(ManualClock::new())
}

fn place() -> Result<Place, Box<dyn Error>> {
    let (disk, door) = (MemoryDisk::new(), Arc::<Door>::default());
    let queue = builder()
        .register(Visit(Arc::clone(&door)))
        .register(Stay)
        .open_in_memory(&disk)?;
    queue.pause("stay", "it is to stay as it is")?;
    let bystander = queue.submit::<Stay>([1])?;
    Ok(Place {
        disk,
        door,
        queue,
        bystander,
    })
}

impl Place {
    /// Fails unless the batch that waits is as it was.
    fn assert_bystander_waits(&self) -> Tested {
        let status = self.bystander.status()?;
        assert_eq!((status.state, status.processed()), (State::Queued, 0));
        Ok(())
    }

    /// A batch whose item is with its handler, held at the door.
    fn held(&self) -> Result<Batch<Visit>, Box<dyn Error>> {
        let came = self.door.came.now();
        let batch = self.queue.submit::<Visit>([0, 13])?;
        self.door.came.wait_for(came + 1);
        Ok(batch)
    }
}

fn assert_visited(report: &Report) {
    assert_eq!(report.status.state, State::Completed);
    assert_eq!((report.status.succeeded, report.status.failed), (1, 1));
    assert_eq!(report.failures.get("unlucky"), Some(&1));
}

/// Counts the calls of its wakers.
#[derive(Default)]
struct Bell(Count);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

fn poll<O>(ended: &mut Ended<O>, bell: &Arc<Bell>) -> Poll<Result<Report, WaitError>> {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(ended).poll(&mut std::task::Context::from_waker(&waker))
}

/// The answer of an [`Ended`] that must be ready.
fn ready<O>(ended: &mut Ended<O>) -> Result<Result<Report, WaitError>, &'static str> {
    match poll(ended, &Arc::default()) {
        Poll::Ready(answer) => Ok(answer),
        Poll::Pending => Err("it is pending"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_are_awaited_on_tokio_threads() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let waiting = tokio::spawn(held.clone().into_future());
    // Hundreds that end while they are being awaited.
    let quick = (0..300).map(|n| {
        let batch = place.queue.submit::<Visit>(1..2 + n % 7);
        tokio::spawn(async move {
            batch
                .map_err(|e| e.to_string())?
                .await
                .map_err(|e| e.to_string())
        })
    });
    for quick in quick.collect::<Vec<_>>() {
        let report = tokio::time::timeout(SOON, quick).await???;
        assert_eq!(report.status.state, State::Completed);
    }
    let early = tokio::time::timeout(Duration::from_millis(1), &held).await;
    assert!(early.is_err(), "it ended while its item was held");
    place.door.opened.add();
    assert_visited(&tokio::time::timeout(SOON, waiting).await???);
    // Ended before it is awaited.
    assert_visited(&held.await?);
    place.assert_bystander_waits()
}

#[tokio::test]
async fn a_batch_is_awaited_on_the_only_tokio_thread() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let opening = async {
        tokio::task::yield_now().await;
        place.door.opened.add();
    };
    let (report, ()) = tokio::time::timeout(SOON, async { tokio::join!(&held, opening) }).await?;
    assert_visited(&report?);
    place.assert_bystander_waits()
}

#[test]
fn batches_are_awaited_under_smol() -> Tested {
    let place = place()?;
    smol::block_on(async {
        let held = place.held()?;
        let waiting = smol::spawn(held.clone().into_future());
        for n in 0..100 {
            let batch = place.queue.submit::<Visit>(1..2 + n % 7)?;
            assert_eq!((&batch).await?.status.state, State::Completed);
        }
        place.door.opened.add();
        let answer = smol::future::or(async { Some(waiting.await) }, async {
            smol::Timer::after(SOON).await;
            None
        });
        assert_visited(&answer.await.ok_or("it was not woken")??);
        Tested::Ok(())
    })?;
    place.assert_bystander_waits()
}

#[test]
fn a_waker_is_called_once_at_the_end_and_not_for_progress() -> Tested {
    let place = place()?;
    let items = std::iter::once(0).chain([1; 98]).chain([100]);
    let batch = place.queue.submit::<Visit>(items)?;
    place.door.came.wait_for(1);
    let bell = Arc::<Bell>::default();
    let mut ended = (&batch).into_future();
    assert!(poll(&mut ended, &bell).is_pending());
    // Polled again by somebody else, as `join` does: still one call.
    assert!(poll(&mut ended, &bell).is_pending());
    // Somebody watches every step.
    let mut watch = batch.watch();
    place.door.opened.add();
    while watch
        .next()
        .ok_or("it ended while an item was held")??
        .succeeded
        < 16
    {}
    // By then everybody has been told of that.
    place.queue.submit::<Visit>([1])?.wait()?;
    assert_eq!(bell.0.now(), 0);
    place.door.opened.add();
    bell.0.wait_for(1);
    assert_eq!(ready(&mut ended)??.status.succeeded, 100);
    place.assert_bystander_waits()?;
    place.queue.shutdown(SOON)?;
    assert_eq!(bell.0.now(), 1);
    Ok(())
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_called() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let (first, second, other) = (
        Arc::<Bell>::default(),
        Arc::<Bell>::default(),
        Arc::<Bell>::default(),
    );
    let mut ended = (&held).into_future();
    let mut beside = (&held).into_future();
    assert!(poll(&mut ended, &first).is_pending());
    assert!(poll(&mut beside, &other).is_pending());
    assert!(poll(&mut ended, &second).is_pending());
    // The replaced waker is gone at once.
    assert_eq!(Arc::strong_count(&first), 1);
    place.door.opened.add();
    second.0.wait_for(1);
    other.0.wait_for(1);
    assert_eq!(first.0.now(), 0);
    assert_visited(&ready(&mut ended)??);
    assert_visited(&ready(&mut beside)??);
    place.assert_bystander_waits()
}

#[test]
fn a_dropped_future_forgets_its_waker_and_the_batch_goes_on() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let (dropped, kept) = (Arc::<Bell>::default(), Arc::<Bell>::default());
    let mut first = (&held).into_future();
    let mut second = (&held).into_future();
    let mut never_polled = (&held).into_future();
    assert!(poll(&mut first, &dropped).is_pending());
    assert!(poll(&mut second, &kept).is_pending());
    assert_eq!(Arc::strong_count(&dropped), 2);
    drop(first);
    assert_eq!(Arc::strong_count(&dropped), 1);
    place.door.opened.add();
    kept.0.wait_for(1);
    assert_eq!(dropped.0.now(), 0);
    assert_visited(&ready(&mut second)??);
    assert_visited(&ready(&mut never_polled)??);
    place.assert_bystander_waits()
}

/// Drops a future when it is called, as an executor may that gives a task up.
struct Quitter(Mutex<Option<Ended<Visit>>>);

impl Wake for Quitter {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // A panic of an executor is not the queue's.
        std::panic::resume_unwind(Box::new("the executor gave up"));
    }
}

#[test]
fn a_waker_may_come_back_to_the_batch_or_panic() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let quitter = Arc::new(Quitter(Mutex::new(Some((&held).into_future()))));
    let waker = Waker::from(Arc::clone(&quitter));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut ended = (&held).into_future();
    assert!(Pin::new(&mut ended).poll(&mut cx).is_pending());
    {
        let mut inner = quitter.0.lock().unwrap_or_else(PoisonError::into_inner);
        let inner = inner.as_mut().ok_or("it was dropped early")?;
        assert!(Pin::new(inner).poll(&mut cx).is_pending());
    }
    let bell = Arc::<Bell>::default();
    let mut behind = (&held).into_future();
    assert!(poll(&mut behind, &bell).is_pending());
    place.door.opened.add();
    bell.0.wait_for(1);
    assert_visited(&ready(&mut behind)??);
    assert_visited(&place.queue.submit::<Visit>([1, 13])?.wait()?);
    place.assert_bystander_waits()
}

/// What some executor panics with.
struct Grudge;

impl Drop for Grudge {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("and another thing"));
    }
}

#[test]
fn a_panic_of_a_waker_that_panics_again_does_not_end_the_queue() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let (_act, _ended) = acting(&held, || std::panic::resume_unwind(Box::new(Grudge)))?;
    let bell = Arc::<Bell>::default();
    let mut behind = (&held).into_future();
    assert!(poll(&mut behind, &bell).is_pending());
    place.door.opened.add();
    bell.0.wait_for(1);
    assert_visited(&ready(&mut behind)??);
    assert_visited(&place.queue.submit::<Visit>([1, 13])?.wait()?);
    place.assert_bystander_waits()
}

/// Acts when it is called, on whatever thread that is.
struct Act<F>(Mutex<Option<F>>, Count);

impl<F: FnOnce() + Send + 'static> Wake for Act<F> {
    fn wake(self: Arc<Self>) {
        let act = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(act) = act {
            act();
            self.1.add();
        }
    }
}

/// A future that waits for `batch` with a waker that acts.
fn acting<F: FnOnce() + Send + 'static>(
    batch: &Batch<Visit>,
    act: F,
) -> Result<(Arc<Act<F>>, Ended<Visit>), &'static str> {
    let act = Arc::new(Act(Mutex::new(Some(act)), Count::default()));
    let waker = Waker::from(Arc::clone(&act));
    let mut ended = batch.into_future();
    match Pin::new(&mut ended).poll(&mut std::task::Context::from_waker(&waker)) {
        Poll::Ready(_) => Err("it ended early"),
        Poll::Pending => Ok((act, ended)),
    }
}

/// An executor that runs its tasks in their wakers runs them on the thread that all answers come from.
#[test]
fn what_a_waker_asks_of_its_queue_is_refused_where_it_would_wait_for_ever() -> Tested {
    let place = place()?;
    let held = place.held()?;
    let (queue, other) = (place.queue.clone(), place.bystander.clone());
    let mut events = queue.subscribe();
    let found = Arc::new(Mutex::new(None));
    let finds = Arc::clone(&found);
    let (act, _ended) = acting(&held, move || {
        let found = (
            queue.submit::<Visit>([1]).err(),
            other.stop().err(),
            other.wait().err(),
            other.watch().last().and_then(Result::err),
            queue.shutdown(SOON).err(),
            // The end has been told; there is no more, and no waiting for it.
            (events.next().is_some(), events.next()),
        );
        let looks = (other.status().is_ok(), queue.read(|_| Ok(())).is_ok());
        *finds.lock().unwrap_or_else(PoisonError::into_inner) = Some((found, looks));
    })?;
    place.door.opened.add();
    act.1.wait_for(1);
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (found, looks) = found.ok_or("it was not woken")?;
    let refused = (
        Some(SubmitError::WouldDeadlock),
        Some(BatchError::WouldDeadlock),
        Some(WaitError::WouldDeadlock),
        Some(WaitError::WouldDeadlock),
        Some(ShutdownError::WouldDeadlock),
        (true, None),
    );
    assert_eq!((found, looks), (refused, (true, true)));
    assert_visited(&place.queue.submit::<Visit>([1, 13])?.wait()?);
    place.assert_bystander_waits()
}

#[test]
fn a_waker_that_drops_the_last_clone_does_not_hold_up_the_queue() -> Tested {
    for fails in [false, true] {
        let place = place()?;
        let held = place.held()?;
        let Place {
            queue, disk, door, ..
        } = place;
        let took = Arc::new(Mutex::new(None));
        let takes = Arc::clone(&took);
        let (act, _ended) = acting(&held, move || {
            let since = Instant::now();
            drop(queue);
            *takes.lock().unwrap_or_else(PoisonError::into_inner) = Some(since.elapsed());
        })?;
        if fails {
            // Everybody is woken by whatever thread meets it.
            disk.fail_next_commit(CommitFault::NotDone);
        }
        door.opened.add();
        act.1.wait_for(1);
        let took = took.lock().unwrap_or_else(PoisonError::into_inner).take();
        let took = took.ok_or("it was not woken")?;
        assert!(took < DROP_WAIT, "it waited {took:?} for itself");
    }
    Ok(())
}

/// Nobody is overlooked who asks while the batch ends: every future that was pending is woken.
#[test]
fn whoever_polls_while_a_batch_ends_is_woken_or_told() -> Tested {
    let place = place()?;
    for _ in 0..400 {
        let batch = place.queue.submit::<Visit>([1])?;
        let bell = Arc::<Bell>::default();
        let mut pending = Vec::new();
        loop {
            let mut ended = (&batch).into_future();
            match poll(&mut ended, &bell) {
                Poll::Pending => pending.push(ended),
                Poll::Ready(answer) => break drop(answer?),
            }
        }
        bell.0.wait_for(pending.len() as u64);
    }
    place.assert_bystander_waits()
}

/// Wakers are called when the batch cannot end any more, with the error of `wait`.
#[test]
fn a_queue_that_fails_or_closes_wakes_who_awaits_its_batches() -> Tested {
    for fails in [true, false] {
        let place = place()?;
        let held = place.held()?;
        let bell = Arc::<Bell>::default();
        let mut ended = (&held).into_future();
        let mut waiting = (&place.bystander).into_future();
        assert!(poll(&mut ended, &bell).is_pending());
        assert!(poll(&mut waiting, &bell).is_pending());
        if fails {
            place.disk.fail_next_commit(CommitFault::NotDone);
            assert!(place.queue.submit::<Visit>([1]).is_err());
        } else {
            assert!(place.queue.shutdown(Duration::ZERO).is_err());
        }
        bell.0.wait_for(2);
        for answer in [ready(&mut ended)?, ready(&mut waiting)?] {
            let expected = held.wait().err();
            assert!(expected.is_some());
            assert_eq!(answer.err(), expected);
        }
        let failed = matches!(
            ready(&mut ended)?,
            Err(WaitError::Batch(BatchError::Failed { .. }))
        );
        assert_eq!(failed, fails);
        place.door.opened.add();
    }
    Ok(())
}

/// The operation as a later deploy: its items are texts.
struct VisitText;

impl Operation for VisitText {
    const NAME: &'static str = "visit";
    type Item = String;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, _text: String, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(0)
    }
}

#[test]
fn a_batch_that_cannot_go_on_gives_the_error_of_wait() -> Tested {
    let place = place()?;
    place.queue.pause("visit", "for the deploy")?;
    let id = place.queue.submit::<Visit>([1])?.id();
    place.queue.shutdown(SOON)?;

    let queue = builder().open_in_memory(&place.disk)?;
    let batch = queue.batch(id)?;
    let answer = ready(&mut (&batch).into_future())?.err();
    assert!(matches!(answer, Some(WaitError::Unregistered { .. })));
    assert_eq!(answer, batch.wait().err());
    queue.shutdown(SOON)?;

    // Awaited while it is paused; then its item is met.
    let queue = builder().register(VisitText).open_in_memory(&place.disk)?;
    let batch = queue.batch(id)?;
    let bell = Arc::<Bell>::default();
    let mut ended = (&batch).into_future();
    assert!(poll(&mut ended, &bell).is_pending());
    queue.unpause("visit")?;
    let answer = smol::block_on(&mut ended).err();
    assert!(matches!(answer, Some(WaitError::Undecodable { .. })));
    assert_eq!(answer, batch.wait().err());
    batch.fail_undecodable()?;
    assert_eq!(smol::block_on(ended)?.status.failed, 1);
    Ok(())
}

/// Polls a batch of its own queue, and says what it got.
struct Look(Arc<Mutex<Option<Ended<Visit>>>>, Arc<AtomicU64>);

impl Operation for Look {
    const NAME: &'static str = "look";
    type Item = ();
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, (): (), _cx: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        let mut ended = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = &mut *ended
            && poll(ended, &Arc::default()).is_pending()
        {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn polling_in_a_handler_or_a_read_of_the_same_queue_just_looks() -> Tested {
    let (disk, door) = (MemoryDisk::new(), Arc::<Door>::default());
    let (slot, pending) = (Arc::default(), Arc::<AtomicU64>::default());
    let queue = builder()
        .register(Visit(Arc::clone(&door)))
        .register(Look(Arc::clone(&slot), Arc::clone(&pending)))
        .open_in_memory(&disk)?;
    let held = queue.submit::<Visit>([0, 13])?;
    door.came.wait_for(1);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((&held).into_future());
    queue.submit::<Look>([()])?.wait()?;
    assert_eq!(pending.load(Ordering::SeqCst), 1);
    let mut ended = (&held).into_future();
    queue.read(|_| {
        assert!(poll(&mut ended, &Arc::default()).is_pending());
        Ok::<_, TableError>(())
    })?;
    door.opened.add();
    held.wait()?;
    queue.read(|_| {
        assert!(poll(&mut ended, &Arc::default()).is_ready());
        Ok::<_, TableError>(())
    })?;
    Ok(())
}
