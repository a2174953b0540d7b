//! After a fork: the child is told that the queue is not its own, and the parent notices nothing.

use crate::child;
use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Mail, Post, SOON, SUMS, Tested, Watch, add, eventually,
    fresh, outcomes, queue_in, queue_on, sum,
};
use batchwright::testing::{DrainError, ManualClock, MemoryDisk};
use batchwright::{
    Batch, BatchError, BatchFilter, Ended, OpenError, PauseError, Queue, ReadError, Report,
    ShutdownError, SubmitError, TableError, WaitError,
};
use fork::{Fork, WIFSIGNALED, WTERMSIG};
use std::error::Error;
use std::io::{PipeWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

const SIGABRT: i32 = 6;

/// The one who waits for a forked child.
struct Forked {
    pid: i32,
    said: std::io::PipeReader,
}

impl Forked {
    /// Waits for its end: its status, and what it said.
    fn ended(mut self) -> Result<(i32, String), Box<dyn Error>> {
        let mut said = String::new();
        self.said.read_to_string(&mut said)?;
        Ok((fork::waitpid(self.pid)?, said))
    }

    /// Waits for its end, which must be a good one.
    fn ended_well(self) -> Tested {
        let (status, said) = self.ended()?;
        if status == 0 && said.is_empty() {
            return Ok(());
        }
        Err(format!("the forked child ended with {status:#x}: {said}").into())
    }
}

/// Which of the two processes of a fork this is.
enum Side {
    Parent(Forked),
    Child(PipeWriter),
}

/// Forks. A child that hangs does not hang for ever.
fn split() -> Result<Side, Box<dyn Error>> {
    let (said, says) = std::io::pipe()?;
    match fork::fork()? {
        Fork::Parent(pid) => Ok(Side::Parent(Forked { pid, said })),
        Fork::Child => {
            drop(said);
            thread::spawn(|| {
                thread::sleep(SOON / 2);
                std::process::abort();
            });
            Ok(Side::Child(says))
        }
    }
}

/// Ends a child, which says what has gone wrong in it.
fn end_child(mut says: PipeWriter, body: impl FnOnce() -> Tested) -> ! {
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(body));
    let said = match result {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| "it panicked".to_owned()),
    };
    let written = says.write_all(said.as_bytes());
    drop(says);
    // As an application's own child ends: with what runs at an exit.
    std::process::exit(i32::from(written.is_err() || !said.is_empty()));
}

/// Runs `body` in a forked child with its copy of `kept`; fails when it does.
fn in_a_child<T>(kept: T, body: impl FnOnce(T) -> Tested) -> Result<T, Box<dyn Error>> {
    match split()? {
        Side::Child(says) => end_child(says, move || body(kept)),
        Side::Parent(child) => {
            child.ended_well()?;
            Ok(kept)
        }
    }
}

/// Polls once.
fn look<O>(ended: &mut Ended<O>) -> Poll<Result<Report, WaitError>> {
    Pin::new(ended).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn every_call_of_a_forked_child_is_refused_and_none_waits() -> Tested {
    child::plays("fork::refused").map(drop)
}

pub(crate) fn refused(_: &Path) -> Tested {
    let (disk, clock) = fresh();
    let door = Door::new();
    let at = door.clone();
    let waits = Call::new(move |n, _| match n {
        0 => Ok(0),
        n => {
            at.pass();
            Ok(n)
        }
    });
    // Of an operation that is not registered later.
    let queue = queue_on(&clock)
        .register(Mail::new(|_, cx| Err(failed(&cx.attempt().to_string()))))
        .open_in_memory(&disk)?;
    let unregistered = queue.submit::<Mail>([1])?;
    unregistered.stop()?;
    unregistered.ends()?;
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock)
        .register(waits)
        .register(Post::new(|n, cx| add(cx, "sum", n)))
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let ended = queue.submit::<Post>([1, 2])?;
    ended.ends()?;
    let stopped = queue.submit::<Watch>([0, 1])?;
    stopped.stop()?;
    stopped.ends()?;
    let running = queue.submit::<Call>([1, 2])?;
    door.wait_for(2);
    let batches: Vec<Batch> = [ended.id(), stopped.id(), running.id(), unregistered.id()]
        .into_iter()
        .map(|id| queue.batch(id))
        .collect::<Result<_, _>>()?;
    let mut listing = queue.batches(BatchFilter::all());
    let mut outcomes_before = ended.outcomes()?;
    // Under way when the process forks.
    let mut events = queue.subscribe();
    let mut watches: Vec<_> = batches.iter().map(Batch::watch).collect();
    for watch in &mut watches {
        assert!(watch.next().is_some_and(|status| status.is_ok()));
    }
    let mut awaited = (&running).into_future();
    assert!(look(&mut awaited).is_pending());

    let drained = queue_on(&clock).open_to_drain(&MemoryDisk::new())?;

    // At its worst: a commit is under way, so that who wants to read must wait for it.
    let held = disk.hold_commits();
    let submitted = thread::scope(|scope| -> Result<_, Box<dyn Error>> {
        let submitting = scope.spawn(|| queue.submit::<Call>([0]));
        assert!(held.wait_for_commit());
        let parent = std::process::id();
        let under_way = in_a_child((awaited, watches), |(mut awaited, watches)| {
            let pid = parent;
            assert_ne!(std::process::id(), pid);
            assert_eq!(events.next(), None);
            assert_eq!((events.missed(), events.has_ended()), (0, true));
            assert_eq!(queue.subscribe().next(), None);
            let gone = BatchError::Forked { pid };
            let refused = SubmitError::Forked { pid };
            let since = Instant::now();
            assert_eq!(
                queue.submit::<Call>([1]).map(|b| b.id()),
                Err(refused.clone())
            );
            let named = queue.submit_named("call", [1]).map(|batch| batch.id());
            assert_eq!(named, Err(refused.clone()));
            let import = queue.import::<Call>("key", [1]).map_err(|e| e.source);
            assert_eq!(import.map(|i| i.items), Err(refused));
            for batch in &batches {
                assert_eq!(batch.status(), Err(gone.clone()));
                assert_eq!(batch.stop(), Err(gone.clone()));
                assert_eq!(batch.resume(), Err(gone.clone()));
                assert_eq!(batch.fail_undecodable(), Err(gone.clone()));
                assert_eq!(batch.delete(), Err(gone.clone()));
                assert_eq!(batch.retry_failed().err(), Some(gone.clone()));
                assert_eq!(batch.wait(), Err(WaitError::Batch(gone.clone())));
                let waited = batch.wait_timeout(Duration::MAX);
                assert_eq!(waited, Err(WaitError::Batch(gone.clone())));
                assert_eq!(batch.report(), Err(gone.clone()));
                let waited = WaitError::Batch(gone.clone());
                assert_eq!(batch.watch().collect::<Vec<_>>(), [Err(waited.clone())]);
                let mut ended = batch.into_future();
                assert_eq!(look(&mut ended), Poll::Ready(Err(waited)));
                assert_eq!(batch.outcomes().err(), Some(gone.clone()));
            }
            let waited = WaitError::Batch(gone.clone());
            assert_eq!(look(&mut awaited), Poll::Ready(Err(waited.clone())));
            drop(awaited);
            for mut watch in watches {
                // Nothing more is told of those whose end was told.
                assert!(watch.next().is_none_or(|told| told == Err(waited.clone())));
                assert_eq!(watch.next(), None);
            }
            assert_eq!(outcomes_before.next(), Some(Err(gone.clone())));
            assert_eq!(listing.next(), Some(Err(gone.clone())));
            assert_eq!(listing.next(), None);
            let mut fresh_listing = queue.batches(BatchFilter::all());
            assert_eq!(fresh_listing.next(), Some(Err(gone.clone())));
            assert_eq!(queue.batch(ended.id()).err(), Some(gone.clone()));
            assert_eq!(queue.stats().err(), Some(gone.clone()));
            assert_eq!(queue.prune(Duration::ZERO), Err(gone.clone()));
            let paused = [queue.pause("call", "forked"), queue.unpause("call")];
            assert_eq!(
                paused,
                [(); 2].map(|()| Err(PauseError::Batch(gone.clone())))
            );
            let read = queue.read(|_| Ok(()));
            assert!(matches!(read, Err(ReadError::Forked { pid: found }) if found == pid));
            let closed = queue.shutdown(AMPLE);
            assert_eq!(closed, Err(ShutdownError::Forked { pid }));
            let drained = drained.drain();
            assert_eq!(drained, Err(DrainError::Forked { pid }));
            let now = queue.now();
            // More than the writer's channel takes.
            for _ in 0..1_000 {
                clock.advance(Duration::from_millis(1));
            }
            // It does not ask the clock, which may need a lock.
            assert_eq!(queue.now(), now);
            let opened = queue_on(&clock).open_in_memory(&disk);
            assert!(matches!(opened, Err(OpenError::Forked { pid: found }) if found == pid));
            assert!(since.elapsed() < AMPLE / 3);
            let text = gone.to_string();
            assert!(
                text.contains(&pid.to_string()) && text.contains("after forking"),
                "{text}"
            );
            Ok(())
        })?;
        drop(held);
        drop(under_way);
        Ok(submitting.join().map_err(|_| "the submitter panicked")??)
    })?;

    // The child's clock is not the parent's, and its calls were nothing.
    door.open();
    assert_eq!(submitted.ends()?.status.succeeded, 1);
    assert_eq!(running.ends()?.status.succeeded, 2);
    assert_eq!(outcomes_before.filter(Result::is_ok).count(), 2);
    assert_eq!(listing.filter(Result::is_ok).count(), 7);
    assert_eq!(queue.batches(BatchFilter::all()).count(), 7);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    assert_eq!(sum(&queue, "sum")?, 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// The items come from the application, which may fork while it makes them.
#[test]
fn a_submission_whose_items_fork_is_made_once() -> Tested {
    child::plays("fork::while_submitting").map(drop)
}

pub(crate) fn while_submitting(_: &Path) -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let mut side = None;
    let submitted = queue.submit::<Call>((0..1).inspect(|_| side = Some(split())));
    match side.ok_or("nothing was forked")?? {
        Side::Child(says) => end_child(says, || {
            assert!(matches!(submitted, Err(SubmitError::Forked { .. })));
            Ok(())
        }),
        Side::Parent(child) => child.ended_well()?,
    }
    assert_eq!(submitted?.ends()?.status.succeeded, 1);
    assert_eq!(queue.batches(BatchFilter::all()).count(), 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_child_that_drops_everything_neither_waits_nor_touches_the_store() -> Tested {
    child::plays("fork::dropped").map(drop)
}

pub(crate) fn dropped(dir: &Path) -> Tested {
    let clock = ManualClock::new();
    let door = Door::new();
    let at = door.clone();
    let waits = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let queue = queue_in(dir, &clock).register(waits).open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>([1, 2, 3])?;
    door.wait_for(2);
    let files = || -> Result<_, std::io::Error> {
        Ok((
            std::fs::read(dir.join("LOCK"))?,
            std::fs::read(dir.join("seal"))?,
        ))
    };
    let before = files()?;
    let (queue, batch) = in_a_child((queue, batch), |(queue, batch)| {
        let since = Instant::now();
        let again = queue_in(dir, &clock).open();
        assert!(matches!(again, Err(OpenError::Forked { .. })));
        drop(queue);
        drop(batch);
        // Nobody works here, so waiting would take all the time there is for it.
        assert!(since.elapsed() < batchwright::limits::DROP_WAIT);
        Ok(())
    })?;
    assert_eq!(files()?, before);
    let locked = queue_in(dir, &clock).open();
    assert!(matches!(locked, Err(OpenError::Locked { .. })));
    door.open();
    assert_eq!(batch.ends()?.status.succeeded, 3);
    bystander.assert_unchanged(&queue);
    queue.shutdown(AMPLE)?;
    let queue = queue_in(dir, &clock).open()?;
    assert_eq!(outcomes(&queue.batch(batch.id())?)?.len(), 3);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Such a child has all open files of its parent, with the locks on them.
#[test]
fn a_child_that_lives_on_does_not_keep_the_parent_from_shutting_down() -> Tested {
    child::plays("fork::outlives").map(drop)
}

pub(crate) fn outlives(dir: &Path) -> Tested {
    let clock = ManualClock::new();
    let open = || queue_in(dir, &clock).register(Call::echo()).open();
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    let batch = queue.submit::<Call>(0..10)?;
    batch.ends()?;
    let (mut until, release) = std::io::pipe()?;
    let child = match split()? {
        Side::Parent(child) => child,
        Side::Child(says) => end_child(says, || {
            drop(release);
            // Ends when the parent lets go of the other end.
            until.read_to_end(&mut Vec::new())?;
            Ok(())
        }),
    };
    queue.shutdown(AMPLE / 2)?;
    // Refused, and not taken for damaged: the child could still be using the files.
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    drop(release);
    child.ended_well()?;
    let queue = open()?;
    assert_eq!(queue.batch(batch.id())?.outcomes()?.count(), 10);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn a_read_that_forks_goes_on_in_the_parent_and_gives_nothing_back_in_the_child() -> Tested {
    child::plays("fork::in_a_read").map(drop)
}

pub(crate) fn in_a_read(dir: &Path) -> Tested {
    let clock = ManualClock::new();
    let open = || {
        let post = Post::new(|n, cx| add(cx, &n.to_string(), n));
        queue_in(dir, &clock).register(post).open()
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    assert_eq!(queue.submit::<Post>(0..10)?.ends()?.status.succeeded, 10);
    let parent = std::process::id();
    let side = Mutex::new(None);
    let read = queue.read(|tables| {
        let mut rows = tables.range(&SUMS, ..);
        assert_eq!(rows.next().transpose()?, Some(("0".to_owned(), 0)));
        // The read has the store alone when the queue is gone.
        assert_eq!(
            thread::scope(|scope| scope.spawn(|| queue.shutdown(Duration::ZERO)).join().ok()),
            Some(Err(ShutdownError::StillRunning { items: 0 }))
        );
        eventually(|| {
            !child::threads()
                .iter()
                .any(|name| name.starts_with("batchwright"))
        });
        let forked = split().map_err(|error| TableError::Store {
            reason: error.to_string(),
        })?;
        let in_child = matches!(forked, Side::Child(_));
        *side.lock().unwrap_or_else(|error| error.into_inner()) = Some(forked);
        let (next, found) = (rows.next(), tables.get(&SUMS, "1"));
        if in_child {
            let pid = parent;
            assert!(matches!(next, Some(Err(TableError::Forked { pid: found })) if found == pid));
            assert!(matches!(found, Err(TableError::Forked { pid: found }) if found == pid));
        } else {
            assert_eq!(next.transpose()?, Some(("1".to_owned(), 1)));
            assert_eq!(found?, Some(1));
            // While this goes on the directory is in use, whatever the child did.
            if let Some(Side::Parent(child)) = side.lock().unwrap_or_else(|e| e.into_inner()).take()
            {
                child.ended_well().map_err(|error| TableError::Store {
                    reason: error.to_string(),
                })?;
            }
            let locked = open();
            assert!(
                matches!(locked, Err(OpenError::Locked { pid: Some(pid), .. }) if pid == parent),
                "{locked:?}"
            );
        }
        Ok(())
    });
    if let Some(Side::Child(says)) = side.lock().unwrap_or_else(|e| e.into_inner()).take() {
        // The view has gone, with the last that held the store.
        end_child(says, || Ok(read?));
    }
    read?;
    queue.shutdown(AMPLE)?;
    let queue = open()?;
    assert_eq!(sum(&queue, "9")?, 9);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Enough for one of them to meet a lock that is held.
const FORKS: usize = 400;

/// A lock that another thread holds at the fork is never given back in the child.
#[test]
fn a_child_waits_for_no_lock_of_a_thread_that_it_does_not_have() -> Tested {
    child::plays("fork::among_threads").map(drop)
}

pub(crate) fn among_threads(_: &Path) -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let [waiting, stopped] = bystander.ids();
    let batch = queue.batch(waiting)?;
    let done = AtomicBool::new(false);
    let reads = || {
        while !done.load(Ordering::Relaxed) {
            assert!(queue.read(|_| Ok(())).is_ok());
        }
    };
    let looks_up = || {
        while !done.load(Ordering::Relaxed) {
            assert!(queue.batch(waiting).is_ok());
        }
    };
    thread::scope(|scope| -> Tested {
        let threads = [scope.spawn(reads), scope.spawn(looks_up)];
        let forked = || -> Tested {
            for _ in 0..FORKS {
                let mut side = None;
                queue.read(|_| {
                    side = Some(split());
                    Ok(())
                })?;
                match side.ok_or("nothing was forked")?? {
                    Side::Parent(child) => child.ended_well()?,
                    Side::Child(says) => end_child(says, || {
                        let gone = |error| matches!(error, Some(BatchError::Forked { .. }));
                        assert!(gone(queue.batch(stopped).err()));
                        assert!(gone(batch.outcomes().err()) && gone(queue.stats().err()));
                        assert!(queue.read(|_| Ok(())).is_err() && batch.wait().is_err());
                        Ok(())
                    }),
                }
            }
            Ok(())
        };
        let result = forked();
        done.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| "a reader panicked")?;
        }
        result
    })?;
    bystander.assert_unchanged(&queue);
    Ok(queue.shutdown(AMPLE)?)
}

#[test]
fn a_handler_that_forks_and_returns_in_the_child_too_ends_the_child() -> Tested {
    child::plays("fork::in_a_handler").map(drop)
}

pub(crate) fn in_a_handler(dir: &Path) -> Tested {
    static FORKED: Mutex<Option<Forked>> = Mutex::new(None);
    static QUEUE: Mutex<Option<(Queue, Batch)>> = Mutex::new(None);
    let clock = ManualClock::new();
    let ran = dir.join("ran");
    let note = move |n: u64| {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&ran);
        drop(file.and_then(|mut file| writeln!(file, "{n}")));
    };
    let post = Post::new(move |n, cx| {
        note(n);
        let sum = add(cx, "sum", n)?;
        if n != 2 {
            return Ok(sum);
        }
        match split().map_err(|error| failed(&error.to_string()))? {
            Side::Parent(child) => {
                *FORKED.lock().unwrap_or_else(|e| e.into_inner()) = Some(child);
            }
            Side::Child(mut says) => {
                let engaged = QUEUE.lock().unwrap_or_else(|e| e.into_inner());
                let all_refused = engaged.as_ref().is_some_and(|(queue, batch)| {
                    // On a worker; but first of all in a child.
                    matches!(
                        batch.wait(),
                        Err(WaitError::Batch(BatchError::Forked { .. }))
                    ) && matches!(queue.shutdown(AMPLE), Err(ShutdownError::Forked { .. }))
                        && matches!(cx.get(&SUMS, "other"), Err(TableError::Forked { .. }))
                });
                drop(says.write_all(if all_refused {
                    b"refused"
                } else {
                    b"not refused"
                }));
            }
        }
        Ok(sum)
    });
    let queue = queue_in(&dir.join("queue"), &clock).register(post).open()?;
    let bystander = Bystander::enter(&queue)?;
    let [_, ended] = bystander.ids();
    let known = (queue.clone(), queue.batch(bystander.ids()[0])?);
    *QUEUE.lock().unwrap_or_else(|e| e.into_inner()) = Some(known);
    assert!(queue.batch(ended).is_ok());
    let batch = queue.submit::<Post>([1, 2, 3, 4])?;
    assert_eq!(batch.ends()?.status.succeeded, 4);
    let forked = FORKED.lock().unwrap_or_else(|e| e.into_inner()).take();
    let (status, said) = forked.ok_or("nothing was forked")?.ended()?;
    assert!(
        WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT,
        "{status:#x}"
    );
    assert_eq!(said, "refused");
    // The items after the one that forked ran in the parent alone.
    assert_eq!(std::fs::read_to_string(dir.join("ran"))?, "1\n2\n3\n4\n");
    assert_eq!(sum(&queue, "sum")?, 10);
    bystander.assert_unchanged(&queue);
    QUEUE.lock().unwrap_or_else(|e| e.into_inner()).take();
    queue.shutdown(AMPLE)?;
    Ok(())
}

fn failed(text: &str) -> batchwright::Failure {
    batchwright::Failure::permanent("failed", text)
}

#[test]
fn a_child_forked_before_the_first_queue_has_queues_of_its_own() -> Tested {
    child::plays("fork::opens").map(drop)
}

pub(crate) fn opens(dir: &Path) -> Tested {
    let clock = ManualClock::new();
    let work = |name: &str| -> Tested {
        let queue = queue_in(&dir.join(name), &clock)
            .register(Call::echo())
            .open()?;
        assert_eq!(queue.submit::<Call>(0..10)?.ends()?.status.succeeded, 10);
        Ok(queue.shutdown(AMPLE)?)
    };
    in_a_child((), |()| work("of the child"))?;
    work("of the parent")?;
    // From here on the storage engine's threads are the parent's, also when no queue is open.
    in_a_child((), |()| {
        let opened = queue_in(&dir.join("of the second child"), &clock).open();
        assert!(
            matches!(opened, Err(OpenError::Forked { .. })),
            "{opened:?}"
        );
        assert!(!dir.join("of the second child").exists());
        Ok(())
    })?;
    work("of the child")?;
    work("of the parent")
}
