//! Several queues in one process, beside each other and one after another.

use crate::child;
use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Tested, eventually, fresh, queue_in, queue_on,
    shut_down_failed,
};
use batchwright::testing::{CommitFault, ManualClock};
use batchwright::{BatchError, Builder};
use std::path::Path;

#[test]
fn a_queue_that_fails_leaves_the_other_one_of_the_process_alone() -> Tested {
    let ((disk, clock), (other_disk, other_clock)) = (fresh(), fresh());
    let failing = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let other = queue_on(&other_clock)
        .register(Call::echo())
        .open_in_memory(&other_disk)?;
    let bystander = Bystander::enter(&other)?;
    disk.fail_next_commit(CommitFault::NotDone);
    assert!(failing.submit::<Call>([1]).is_err());
    assert!(matches!(failing.stats(), Err(BatchError::Failed { .. })));
    assert_eq!(other.submit::<Call>([1, 2])?.ends()?.status.succeeded, 2);
    shut_down_failed(&failing)?;
    assert_eq!(other.submit::<Call>([3])?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&other);
    Ok(())
}

#[test]
fn queues_in_two_directories_share_nothing_and_end_on_their_own() -> Tested {
    let scratch = tempfile::tempdir()?;
    let clock = ManualClock::new();
    let door = Door::new();
    let at = door.clone();
    let waits = Call::new(move |n, _| {
        at.pass();
        Ok(n)
    });
    let (one_dir, other_dir) = (scratch.path().join("one"), scratch.path().join("other"));
    let one = queue_in(&one_dir, &clock).register(waits).open()?;
    let other = queue_in(&other_dir, &clock).register(Call::echo()).open()?;
    let bystander = Bystander::enter(&other)?;
    // All workers of one are busy, those of the other are not.
    let held = one.submit::<Call>([1, 2, 3])?;
    door.wait_for(2);
    let free = other.submit::<Call>([4, 5])?;
    assert_eq!(free.ends()?.status.succeeded, 2);
    assert!(one.batch(free.id()).is_err());
    door.open();
    assert_eq!(held.ends()?.status.succeeded, 3);
    one.shutdown(AMPLE)?;
    assert_eq!(other.submit::<Call>([6])?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&other);
    Ok(())
}

#[test]
#[cfg(target_os = "linux")]
fn opening_and_closing_often_leaks_no_thread_and_no_descriptor() -> Tested {
    child::plays("many_queues::opened_often").map(drop)
}

pub(crate) fn opened_often(dir: &Path) -> Tested {
    let clock = ManualClock::new;
    let on_disk = || queue_in(dir, &clock()).register(Call::echo()).open();
    let (disk, _) = fresh();
    let in_memory = || {
        let builder: Builder = queue_on(&clock());
        builder.register(Call::echo()).open_in_memory(&disk)
    };
    let use_up = |queue: batchwright::Queue| -> Tested {
        assert_eq!(queue.submit::<Call>(0..10)?.ends()?.status.succeeded, 10);
        Ok(queue.shutdown(AMPLE)?)
    };
    // The storage engine's threads belong to the process: they come with the first queue and stay.
    use_up(on_disk()?)?;
    use_up(in_memory()?)?;
    let ended = || {
        !child::threads()
            .iter()
            .any(|name| name.starts_with("batchwright"))
    };
    eventually(ended);
    let before = (child::threads(), child::descriptors("self"));
    assert!(before.0.len() > 1 && before.1.len() > 2, "{before:?}");
    for round in 0..50 {
        use_up(in_memory()?)?;
        if round % 5 < 2 {
            use_up(on_disk()?)?;
        }
    }
    let now = || (child::threads(), child::descriptors("self"));
    // A thread has left the list of threads a moment after it said that it ended.
    eventually(|| now().0.len() <= before.0.len());
    assert_eq!(now(), before);
    Ok(())
}
