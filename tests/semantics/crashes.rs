//! What the end of a process means for what was running: suspects run alone, and are charged alone.
//!
//! A process that is killed leaves what it wrote without a sync: notes of what its workers were at. In a power cut
//! they are lost.

use crate::harness::{Bystander, Call, Log, Mail, Pay, Post, Tested, add, fresh, queue_on, sum};
use batchwright::testing::{Assertions, DrainedQueue, ManualClock, MemoryDisk};
use batchwright::{Batch, BatchId, Failure, Operation, State};
use std::error::Error;

/// Kills the process at item 7, each time.
fn killer(disk: &MemoryDisk, log: &Log<u64>) -> Call {
    let (disk, log) = (disk.clone(), log.clone());
    Call::new(move |n, _| {
        log.push(n);
        if n == 7 {
            disk.kill_process();
        }
        Ok(n)
    })
}

struct World {
    disk: MemoryDisk,
    clock: ManualClock,
    log: Log<u64>,
    limit: Option<u32>,
}

impl World {
    fn new(limit: Option<u32>) -> Self {
        let (disk, clock) = fresh();
        let log = Log::new();
        Self {
            disk,
            clock,
            log,
            limit,
        }
    }

    fn open(&self) -> Result<DrainedQueue, Box<dyn Error>> {
        let queue = queue_on(&self.clock)
            .register(killer(&self.disk, &self.log).crashes(self.limit))
            .register(Mail::echo())
            .open_to_drain(&self.disk)?;
        Ok(queue)
    }

    /// A process from its start to the end that item 7 gives it.
    fn dies(&self) -> Tested {
        let queue = self.open()?;
        assert!(queue.drain().is_err(), "nothing ended the process");
        Ok(())
    }

    fn ran(&self) -> Vec<u64> {
        self.log.entries()
    }
}

fn batch<O: Operation>(queue: &DrainedQueue, id: BatchId) -> Result<Batch<O>, Box<dyn Error>> {
    Ok(queue.batch(id)?.typed::<O>()?)
}

#[test]
fn an_item_that_ends_the_process_fails_after_three_crashes_alone_and_all_others_go_on() -> Tested {
    let world = World::new(Some(3));
    let queue = world.open()?;
    let bystander = Bystander::enter_drained(&queue)?;
    let id = queue.submit::<Call>(0..40)?.id();
    let beside = queue.submit::<Mail>(0..40)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    // The first slice died with it.
    assert_eq!(world.ran(), (0..16).collect::<Vec<_>>());
    for _ in 0..3 {
        world.dies()?;
    }
    // Once with its slice, three times alone; the suspects before it once with it and once alone.
    let ran = world.ran();
    assert_eq!(ran.iter().filter(|n| **n == 7).count(), 4);
    assert!(
        (0..7).all(|item| ran.iter().filter(|n| **n == item).count() == 2),
        "{ran:?}"
    );

    let queue = world.open()?;
    let calls = batch::<Call>(&queue, id)?;
    let failure = calls.assert_failed(7, Failure::CRASHED);
    assert!(failure.message.contains("3 times"), "{failure}");
    queue.drain()?;
    let status = calls.assert_state(State::Completed);
    assert_eq!((status.succeeded, status.failed), (39, 1));
    batch::<Mail>(&queue, beside)?.assert_all_succeeded();
    assert_eq!(world.ran().iter().filter(|n| **n == 7).count(), 4);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_operation_without_a_limit_runs_its_item_as_often_as_it_takes() -> Tested {
    let world = World::new(None);
    let queue = world.open()?;
    let id = queue.submit::<Call>(0..8)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    for _ in 0..6 {
        world.dies()?;
    }
    let queue = queue_on(&world.clock)
        .register(Call::echo().crashes(None))
        .open_to_drain(&world.disk)?;
    queue.drain()?;
    batch::<Call>(&queue, id)?.assert_all_succeeded();
    Ok(())
}

/// Where the process is killed from outside, time and again, nobody who ran in company is to blame.
#[test]
fn who_did_not_run_alone_is_not_charged() -> Tested {
    let (disk, clock) = fresh();
    let cut = disk.clone();
    let open = |limit: Option<u32>| {
        let cut = cut.clone();
        let call = Call::new(move |n, cx| {
            if n == 99 {
                cut.kill_process();
            }
            Ok(n + u64::from(cx.attempt()))
        });
        queue_on(&clock)
            .register(call.crashes(limit))
            .open_to_drain(&disk)
    };
    let queue = open(Some(1))?;
    let id = queue.submit::<Call>([1, 2, 99, 3])?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    // One crash alone is the limit: only the one that was alone is charged.
    let queue = open(Some(1))?;
    assert!(queue.drain().is_err());
    drop(queue);
    let queue = open(Some(1))?;
    queue.drain()?;
    let calls = batch::<Call>(&queue, id)?;
    calls.assert_failed(2, Failure::CRASHED);
    for index in [0, 1, 3] {
        calls.assert_succeeded(index);
    }
    Ok(())
}

#[test]
fn a_power_cut_and_a_clean_end_make_no_suspects() -> Tested {
    for kind in ["power cut", "shutdown"] {
        let (disk, clock) = fresh();
        let cut = disk.clone();
        let call = Call::new(move |n, _| {
            if n == 3 {
                cut.cut_power();
            }
            Ok(n)
        });
        let queue = queue_on(&clock).register(call).open_to_drain(&disk)?;
        let id = if kind == "power cut" {
            let id = queue.submit::<Call>(0..16)?.id();
            assert!(queue.drain().is_err());
            id
        } else {
            let id = queue.submit::<Call>(4..20)?.id();
            queue.drain_at_most(4)?;
            queue.shutdown(crate::harness::AMPLE)?;
            id
        };
        drop(queue);
        let (again, log) = (disk.clone(), Log::new());
        let noted = log.clone();
        let call = Call::new(move |n, _| {
            noted.push(n);
            // Were it a suspect, it would be alone and charged.
            again.kill_process();
            Ok(n)
        });
        let queue = queue_on(&clock)
            .register(call.crashes(Some(1)))
            .open_to_drain(&disk)?;
        assert!(queue.drain().is_err());
        assert!(log.len() > 1, "{kind}: it ran alone");
        drop(queue);
        let queue = queue_on(&clock)
            .register(Call::echo())
            .open_to_drain(&disk)?;
        queue.drain()?;
        batch::<Call>(&queue, id)?.assert_all_succeeded();
    }
    Ok(())
}

#[test]
fn exactly_once_suspects_run_alone_and_are_applied_once() -> Tested {
    let (disk, clock) = fresh();
    let cut = disk.clone();
    let open = || {
        let cut = cut.clone();
        let post = Post::new(move |n, cx| {
            let sum = add(cx, "all", n)?;
            if n == 7 {
                cut.kill_process();
            }
            Ok(sum)
        });
        queue_on(&clock)
            .register(post.crashes(Some(2)))
            .open_to_drain(&disk)
    };
    let queue = open()?;
    let id = queue.submit::<Post>(0..20)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    for _ in 0..2 {
        let queue = open()?;
        assert!(queue.drain().is_err());
    }
    let queue = open()?;
    queue.drain()?;
    let posts = batch::<Post>(&queue, id)?;
    posts.assert_failed(7, Failure::CRASHED);
    assert_eq!(posts.assert_state(State::Completed).succeeded, 19);
    assert_eq!(sum(&queue, "all")?, (0..20).sum::<u64>() - 7);
    // In item order, but for the one that came to nothing.
    let sums: Vec<u64> = posts
        .outcomes()?
        .filter_map(|item| item.ok()?.outcome.into_output())
        .collect();
    assert!(sums.is_sorted(), "{sums:?}");
    Ok(())
}

#[test]
fn an_at_most_once_item_that_ended_the_process_is_in_doubt_and_charges_nobody() -> Tested {
    let (disk, clock) = fresh();
    let cut = disk.clone();
    let pay = Pay::new(move |n, _| {
        if n == 1 {
            cut.kill_process();
        }
        Ok(n)
    });
    let queue = queue_on(&clock).register(pay).open_to_drain(&disk)?;
    let id = queue.submit::<Pay>(0..3)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    let queue = queue_on(&clock)
        .register(Pay::echo())
        .open_to_drain(&disk)?;
    assert_eq!(queue.drain()?, 0);
    let status = batch::<Pay>(&queue, id)?.assert_state(State::Completed);
    assert_eq!((status.in_doubt, status.failed), (3, 0));
    Ok(())
}

/// The crash after which the reopening crashes, too: it must not be charged twice.
#[test]
fn a_crash_while_reopening_charges_nobody_twice() -> Tested {
    let world = World::new(Some(2));
    let queue = world.open()?;
    let id = queue.submit::<Call>(0..8)?.id();
    assert!(queue.drain().is_err());
    drop(queue);
    world.dies()?;
    // The charge is durable, the note is still there: the process ends between the two.
    world
        .disk
        .fail_next_commit(batchwright::testing::CommitFault::Done);
    assert!(world.open().is_err());
    let queue = world.open()?;
    batch::<Call>(&queue, id)?.assert_unfinished(7);
    assert!(queue.drain().is_err());
    drop(queue);
    let queue = world.open()?;
    batch::<Call>(&queue, id)?.assert_failed(7, Failure::CRASHED);
    Ok(())
}
