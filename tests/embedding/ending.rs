//! Queues that end, on a real directory: who waits for whom, and when the directory is free.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, SOON, Tested, eventually, never, queue_in,
};
use batchwright::limits::DROP_WAIT;
use batchwright::testing::ManualClock;
use batchwright::{BatchError, Builder, OpenError, Queue, ShutdownError, State};
use std::cell::RefCell;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn waiting_at(door: &Door) -> Call {
    let at = door.clone();
    Call::new(move |n, _| {
        at.pass();
        Ok(n)
    })
}

fn is_locked(builder: Builder) -> bool {
    matches!(builder.open(), Err(OpenError::Locked { pid, .. }) if pid == Some(std::process::id()))
}

/// Opens the queue as soon as the directory is free.
fn open_when_free(dir: &Path, clock: &ManualClock) -> Result<Queue, OpenError> {
    let since = Instant::now();
    loop {
        match queue_in(dir, clock).register(Call::echo()).open() {
            Err(OpenError::Locked { .. }) if since.elapsed() < SOON => thread::yield_now(),
            opened => return opened,
        }
    }
}

#[test]
fn dropping_the_last_clone_waits_for_handlers_and_frees_the_directory() -> Tested {
    let (scratch, clock, door) = (tempfile::tempdir()?, ManualClock::new(), Door::new());
    let dir = scratch.path();
    let queue = queue_in(dir, &clock).register(waiting_at(&door)).open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2, 3])?;
    door.wait_for(2);
    let dropping = thread::spawn(move || drop(queue));
    eventually(|| batch.status() == Err(BatchError::Closed));
    never(|| dropping.is_finished());
    assert!(is_locked(queue_in(dir, &clock)));
    door.open();
    dropping.join().map_err(|_| "dropping panicked")?;
    // At once: whoever dropped it has waited for everything.
    let queue = queue_in(dir, &clock).open()?;
    let status = queue.batch(batch.id())?.status()?;
    assert_eq!((status.state, status.succeeded), (State::Running, 2));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_handler_that_outlives_the_drop_keeps_the_directory_until_it_ends() -> Tested {
    let (scratch, clock, door) = (tempfile::tempdir()?, ManualClock::new(), Door::new());
    let dir = scratch.path();
    let queue = queue_in(dir, &clock).register(waiting_at(&door)).open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1])?;
    door.wait_for(1);
    let since = Instant::now();
    drop(queue);
    let waited = since.elapsed();
    assert!(waited >= DROP_WAIT && waited < SOON, "{waited:?}");
    assert!(is_locked(queue_in(dir, &clock)));
    door.open();
    let queue = open_when_free(dir, &clock)?;
    assert_eq!(queue.batch(batch.id())?.status()?.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_handler_that_outlives_a_shutdown_keeps_the_directory_until_it_ends() -> Tested {
    let (scratch, clock, door) = (tempfile::tempdir()?, ManualClock::new(), Door::new());
    let dir = scratch.path();
    let queue = queue_in(dir, &clock).register(waiting_at(&door)).open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    let still = Err(ShutdownError::StillRunning { items: 2 });
    assert_eq!(queue.shutdown(Duration::from_millis(20)), still);
    assert_eq!(batch.status(), Err(BatchError::Closed));
    assert!(is_locked(queue_in(dir, &clock)));
    door.open();
    queue.shutdown(AMPLE)?;
    let queue = queue_in(dir, &clock).open()?;
    assert_eq!(queue.batch(batch.id())?.status()?.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Queue>> = const { RefCell::new(None) };
}

/// What the thread has kept of its own for the queue may be gone before the queue is.
#[test]
fn a_queue_in_a_thread_local_ends_with_its_thread() -> Tested {
    let (scratch, clock) = (tempfile::tempdir()?, ManualClock::new());
    let dir = scratch.path().to_owned();
    let opened = queue_in(&dir, &clock).register(Call::echo()).open()?;
    let bystander = Bystander::enter(&opened)?;
    let batch = thread::spawn(move || {
        OF_THIS_THREAD.set(Some(opened));
        let submitted = OF_THIS_THREAD.with_borrow(|queue| {
            let queue = queue.as_ref()?;
            let batch = queue.submit::<Call>([1]).ok()?;
            batch.wait().ok().map(|_| batch)
        });
        submitted.ok_or("it was not submitted")
    });
    let batch = batch.join().map_err(|_| "the thread panicked")??;
    assert_eq!(batch.status(), Err(BatchError::Closed));
    // At once: the thread has waited for everything.
    let queue = queue_in(&dir, &clock).open()?;
    assert_eq!(queue.batch(batch.id())?.status()?.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Where a handler finds a clone of its own queue.
type Slot = Arc<Mutex<Option<Queue>>>;

fn take(slot: &Slot) -> Option<Queue> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[test]
fn a_handler_that_drops_the_last_clone_does_not_wait_for_itself() -> Tested {
    let (scratch, clock, door) = (tempfile::tempdir()?, ManualClock::new(), Door::new());
    let dir = scratch.path();
    let slot = Slot::default();
    let (sender, took) = mpsc::channel();
    let (last, at) = (Arc::clone(&slot), door.clone());
    let drops = Call::new(move |n, _| {
        at.pass();
        let since = Instant::now();
        let queue = take(&last);
        let had_it = queue.is_some();
        drop(queue);
        let _ = sender.send((had_it, since.elapsed()));
        Ok(n)
    });
    let queue = queue_in(dir, &clock).register(drops).open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2, 3])?;
    door.wait_for(2);
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(queue);
    door.admit(1);
    let (had_it, waited) = took.recv_timeout(SOON)?;
    assert!(had_it && waited < DROP_WAIT, "{waited:?}");
    // The other handler runs, and nothing starts any more.
    assert!(is_locked(queue_in(dir, &clock)));
    door.open();
    let queue = open_when_free(dir, &clock)?;
    assert_eq!(door.came(), 2);
    let batch = queue.batch(batch.id())?;
    assert_eq!(batch.ends()?.status.succeeded, 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}
