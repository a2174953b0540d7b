//! Commits that take too long, and reads that only look like it.

use crate::harness::{AMPLE, Bystander, Call, Ends, SOON, Tested, fresh, queue_on};
use batchwright::limits::Limits;
use batchwright::{BatchError, Builder, ReadError, ShutdownError, SubmitError, WaitError};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(100);

fn hasty(builder: Builder) -> Builder {
    let mut limits = Limits::default();
    limits.commit = LIMIT;
    builder.limits(limits)
}

#[test]
fn a_clock_is_moved_any_number_of_times_while_a_commit_is_stuck() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let held = disk.hold_commits();
    thread::scope(|scope| -> Tested {
        let submit = scope.spawn(|| queue.submit::<Call>([1]));
        assert!(held.wait_for_commit());
        let (sender, is_moved) = mpsc::channel();
        let clock = &clock;
        scope.spawn(move || {
            // More often than the writer's channel has places.
            (0..2_000).for_each(|_| clock.advance(Duration::from_millis(1)));
            let _ = sender.send(());
        });
        let moved = is_moved.recv_timeout(SOON);
        drop(held);
        assert_eq!(moved, Ok(()));
        submit
            .join()
            .map_err(|_| "the submitter panicked")??
            .ends()?;
        Ok(())
    })?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn everybody_is_told_when_a_commit_does_not_end() -> Tested {
    let (disk, clock) = fresh();
    let queue = hasty(queue_on(&clock).register(Call::echo())).open_in_memory(&disk)?;
    let ended = queue.submit::<Call>([1])?;
    ended.wait()?;
    let held = disk.hold_commits();
    thread::scope(|scope| {
        let submit = scope.spawn(|| queue.submit::<Call>([2]).map(|batch| batch.id()));
        assert!(held.wait_for_commit());
        // Behind the commit that is stuck.
        let stop = scope.spawn(|| queue.submit::<Call>([3]).map(|batch| batch.id()));
        let read = scope.spawn(|| queue.read(|_| Ok(())));
        let list = scope.spawn(|| ended.outcomes().map(drop));
        let unknown = |answer| matches!(answer, Ok(Err(SubmitError::Unknown { .. })));
        assert!(unknown(submit.join()));
        let refused = stop.join();
        assert!(
            matches!(
                refused,
                Ok(Err(SubmitError::Unknown { .. } | SubmitError::Failed { .. }))
            ),
            "{refused:?}"
        );
        assert!(matches!(read.join(), Ok(Err(ReadError::Failed { .. }))));
        assert!(matches!(list.join(), Ok(Err(BatchError::Failed { .. }))));
        let waited = ended.wait();
        assert!(
            matches!(waited, Err(WaitError::Batch(BatchError::Failed { .. }))),
            "{waited:?}"
        );
    });
    // Nothing can end the thread that is stuck.
    let shut = queue.shutdown(LIMIT);
    assert!(
        matches!(shut, Err(ShutdownError::StillRunning { .. })),
        "{shut:?}"
    );
    drop(held);
    let shut = queue.shutdown(AMPLE);
    assert!(
        matches!(shut, Err(ShutdownError::Failed { .. })),
        "{shut:?}"
    );
    Ok(())
}

#[test]
fn a_read_that_takes_long_is_not_taken_for_a_stuck_commit() -> Tested {
    let (disk, clock) = fresh();
    let queue = hasty(queue_on(&clock).register(Call::echo())).open_in_memory(&disk)?;
    let (began, reading) = mpsc::channel();
    let read = thread::scope(|scope| {
        let read = scope.spawn(|| {
            queue.read(|_| {
                let _ = began.send(());
                let since = Instant::now();
                while since.elapsed() < 4 * LIMIT {
                    thread::yield_now();
                }
                Ok(())
            })
        });
        reading.recv()?;
        queue.submit::<Call>([1])?.wait()?;
        read.join().map_err(|_| "the reader panicked".into())
    });
    let read: Result<_, Box<dyn std::error::Error>> = read;
    Ok(read??)
}

#[test]
fn a_shutdown_waits_for_reads() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let (began, reading) = mpsc::channel();
    let (end, ending) = mpsc::channel::<()>();
    let reader = {
        let queue = queue.clone();
        thread::spawn(move || {
            queue.read(|_| {
                let _ = began.send(());
                let _ = ending.recv();
                Ok(())
            })
        })
    };
    reading.recv()?;
    let shut = queue.shutdown(Duration::from_millis(50));
    assert!(
        matches!(shut, Err(ShutdownError::StillRunning { .. })),
        "{shut:?}"
    );
    end.send(())?;
    queue.shutdown(AMPLE)?;
    open()?;
    reader.join().map_err(|_| "the reader panicked")??;
    Ok(())
}
