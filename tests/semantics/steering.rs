//! Operations that an operator pauses, and batches whose items cannot be decoded.

use crate::harness::{
    AMPLE, Bystander, Call, Door, Ends, Log, Mail, Post, Tested, add, eventually, fresh, never,
    outcomes, queue_on, shut_down_failed, sum,
};
use batchwright::testing::{CommitFault, ManualClock, MemoryDisk};
use batchwright::{
    AtLeastOnce, BatchError, BatchId, Blocked, Context, ExactlyOnce, Failure, Operation, Outcome,
    PauseError, Queue, State, SubmitOptions, WaitError, limits,
};
use serde::{Deserialize, Deserializer};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

fn paused(reason: &str) -> Option<Blocked> {
    let reason = reason.to_owned();
    Some(Blocked::Paused { reason })
}

/// What `stats` says of an operation.
fn blocked(queue: &Queue, operation: &str) -> Result<Option<Blocked>, Box<dyn Error>> {
    let stats = queue.stats()?;
    let found = stats.operations.iter().find(|o| o.name == operation);
    Ok(found.and_then(|o| o.blocked.clone()))
}

#[test]
fn a_pause_is_durable_and_so_is_its_end() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .register(Mail::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "the provider is down")?;
    let id = queue.submit::<Call>([1, 2])?.id();
    disk.cut_power();

    let queue = open()?;
    queue.submit::<Mail>([1])?.ends()?;
    let check = |queue: &Queue| -> Tested {
        let status = queue.batch(id)?.status()?;
        assert_eq!(status.state, State::Queued);
        assert_eq!(status.blocked, paused("the provider is down"));
        assert!(
            status
                .to_string()
                .ends_with(", paused: the provider is down")
        );
        assert_eq!(blocked(queue, "call")?, status.blocked);
        assert_eq!(blocked(queue, "mail")?, None);
        bystander.assert_unchanged(queue);
        Ok(())
    };
    check(&queue)?;
    queue.shutdown(AMPLE)?;
    let queue = open()?;
    never(|| {
        queue
            .batch(id)
            .is_ok_and(|b| b.status().is_ok_and(|s| s.in_flight > 0))
    });
    check(&queue)?;

    queue.unpause("call")?;
    assert_eq!(blocked(&queue, "call")?, None);
    let report = queue.batch(id)?.ends()?;
    assert_eq!((report.status.succeeded, report.status.blocked), (2, None));
    disk.cut_power();
    let queue = open()?;
    assert_eq!(queue.submit::<Call>([3])?.ends()?.status.succeeded, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn batches_of_a_paused_operation_are_submitted_stopped_and_resumed() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "hold")?;
    let batches = [queue.submit::<Call>([1])?, queue.submit::<Call>([2])?];
    for batch in &batches {
        assert_eq!(batch.stop()?.state, State::Stopped);
    }
    assert_eq!(batches[0].resume()?.state, State::Queued);
    assert_eq!(batches[0].status()?.blocked, paused("hold"));
    bystander.assert_unchanged(&queue);
    queue.unpause("call")?;
    assert_eq!(batches[0].ends()?.status.state, State::Completed);
    assert_eq!(batches[1].status()?.state, State::Stopped);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn wait_goes_on_through_a_pause() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "hold")?;
    let batch = queue.submit::<Call>([1])?;
    assert_eq!(batch.wait_timeout(Duration::from_millis(20))?, None);
    thread::scope(|scope| -> Tested {
        let waiting = scope.spawn(|| batch.ends().map_err(|error| error.to_string()));
        queue.pause("call", "hold on")?;
        queue.unpause("call")?;
        let report = waiting.join().map_err(|_| "the waiter panicked")??;
        assert_eq!(report.status.state, State::Completed);
        Ok(())
    })?;
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Items that wait at the door, and log whether they were to stop.
fn held<G: batchwright::Guarantee>(
    door: &Door,
    log: &Log<(u64, bool)>,
) -> impl Fn(u64, &mut Context<G>) -> Result<u64, Failure> + use<G> {
    let (door, log) = (door.clone(), log.clone());
    move |n, cx| {
        door.pass();
        log.push((n, cx.is_cancelled()));
        Ok(n)
    }
}

#[test]
fn no_item_starts_once_pause_has_returned_and_what_runs_is_not_cancelled() -> Tested {
    for exactly_once in [false, true] {
        let (disk, clock) = fresh();
        let (door, log) = (Door::new(), Log::new());
        let queue = queue_on(&clock)
            .register(Call::new(held(&door, &log)))
            .register(Post::new(held(&door, &log)))
            .open_in_memory(&disk)?;
        let bystander = Bystander::enter(&queue)?;
        let (name, running, batch) = if exactly_once {
            ("post", 1, queue.submit::<Post>(0..20)?.id())
        } else {
            ("call", 2, queue.submit::<Call>(0..20)?.id())
        };
        let batch = queue.batch(batch)?;
        door.wait_for(running);
        queue.pause(name, "hold")?;
        assert_eq!(door.came(), running);
        door.open();
        eventually(|| batch.status().is_ok_and(|status| status.in_flight == 0));
        let status = batch.status()?;
        assert_eq!((status.succeeded, status.state), (running, State::Running));
        never(|| door.came() > running);
        assert!(log.entries().iter().all(|(_, cancelled)| !cancelled));
        bystander.assert_unchanged(&queue);

        queue.unpause(name)?;
        assert_eq!(batch.ends()?.status.succeeded, 20);
        let mut ran: Vec<_> = log.entries().iter().map(|(n, _)| *n).collect();
        ran.sort_unstable();
        assert_eq!(ran, (0..20).collect::<Vec<_>>(), "each once");
        bystander.assert_unchanged(&queue);
    }
    Ok(())
}

#[test]
fn a_second_pause_replaces_the_reason_and_no_reason_is_endless() -> Tested {
    let (disk, clock) = fresh();
    let open = || {
        queue_on(&clock)
            .register(Call::echo())
            .open_in_memory(&disk)
    };
    let queue = open()?;
    let longest = "x".repeat(limits::FAILURE_MESSAGE_BYTES);
    queue.pause("call", "first")?;
    assert_eq!(blocked(&queue, "call")?, paused("first"));
    queue.pause("call", longest.clone())?;
    assert_eq!(blocked(&queue, "call")?, paused(&longest));
    let limit = limits::FAILURE_MESSAGE_BYTES;
    let bytes = limit + 1;
    let refused = queue.pause("call", format!("{longest}x"));
    assert_eq!(refused, Err(PauseError::ReasonTooLong { bytes, limit }));
    queue.shutdown(AMPLE)?;
    assert_eq!(
        queue.pause("call", "late"),
        Err(PauseError::Batch(BatchError::Closed))
    );
    assert_eq!(
        queue.unpause("call"),
        Err(PauseError::Batch(BatchError::Closed))
    );
    assert_eq!(blocked(&open()?, "call")?, paused(&longest));
    Ok(())
}

#[test]
fn pausing_an_unknown_operation_names_the_known_ones() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let unknown = PauseError::UnknownOperation {
        name: "cal".to_owned(),
        known: vec!["bystander".to_owned(), "call".to_owned()],
    };
    assert_eq!(queue.pause("cal", "hold"), Err(unknown.clone()));
    assert_eq!(queue.unpause("cal"), Err(unknown));
    let inside = queue.read(|_| Ok(queue.pause("call", "hold")))?;
    assert_eq!(inside, Err(PauseError::Batch(BatchError::WouldDeadlock)));
    assert_eq!(blocked(&queue, "call")?, None);
    Ok(())
}

#[test]
fn an_operation_that_only_the_store_names_can_be_paused_for_a_later_open() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    let tomorrow = clock_time(&clock) + Duration::from_secs(24 * 3600);
    let delayed = SubmitOptions::new().not_before(tomorrow);
    let id = queue.submit_with::<Call>([1, 2], delayed)?.id();
    queue.pause("mail", "hold")?;
    queue.shutdown(AMPLE)?;

    let queue = queue_on(&clock).open_in_memory(&disk)?;
    queue.pause("call", "not yet")?;
    assert_eq!(
        queue.batch(id)?.status()?.blocked,
        Some(Blocked::Unregistered)
    );
    // Nothing but its pause is left of this one.
    queue.unpause("mail")?;
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock).open_in_memory(&disk)?;
    assert!(matches!(
        queue.unpause("mail"),
        Err(PauseError::UnknownOperation { .. })
    ));
    queue.shutdown(AMPLE)?;

    clock.advance(Duration::from_secs(24 * 3600));
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let batch = queue.batch(id)?;
    never(|| batch.status().is_ok_and(|status| status.in_flight > 0));
    assert_eq!(batch.status()?.blocked, paused("not yet"));
    queue.unpause("call")?;
    assert_eq!(batch.ends()?.status.succeeded, 2);
    bystander.assert_unchanged(&queue);
    Ok(())
}

fn clock_time(clock: &ManualClock) -> std::time::SystemTime {
    batchwright::Clock::now(clock)
}

#[test]
fn a_failed_commit_leaves_a_pause_unknown_and_either_in_force_or_not() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        for pausing in [true, false] {
            let (disk, clock) = fresh();
            let open = || {
                queue_on(&clock)
                    .register(Call::echo())
                    .open_in_memory(&disk)
            };
            let queue = open()?;
            let bystander = Bystander::enter(&queue)?;
            if !pausing {
                queue.pause("call", "hold")?;
            }
            disk.fail_next_commit(fault);
            let asked = || {
                if pausing {
                    queue.pause("call", "hold")
                } else {
                    queue.unpause("call")
                }
            };
            let unknown = asked();
            assert!(
                matches!(unknown, Err(PauseError::Batch(BatchError::Unknown { .. }))),
                "{unknown:?}"
            );
            let failed = asked();
            assert!(
                matches!(failed, Err(PauseError::Batch(BatchError::Failed { .. }))),
                "{failed:?}"
            );
            shut_down_failed(&queue)?;

            let queue = open()?;
            let in_force = pausing == (fault == CommitFault::Done);
            let expected = paused("hold").filter(|_| in_force);
            assert_eq!(blocked(&queue, "call")?, expected);
            let batch = queue.submit::<Call>([1])?;
            if in_force {
                assert_eq!(batch.wait_timeout(Duration::from_millis(20))?, None);
                queue.unpause("call")?;
            }
            assert_eq!(batch.ends()?.status.succeeded, 1);
            bystander.assert_unchanged(&queue);
        }
    }
    Ok(())
}

/// The same name as [`Post`], with smaller numbers: some items decode.
struct PostSmall;

impl Operation for PostSmall {
    const NAME: &'static str = "post";
    type Item = u8;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, n: u8, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        add(cx, "all", n.into())
    }
}

/// A store with batches of [`Post`], none of which has started, and the operation paused.
fn with_posts(
    clock: &ManualClock,
    batches: &[&[u64]],
) -> Result<(MemoryDisk, Vec<BatchId>, Bystander), Box<dyn Error>> {
    let disk = MemoryDisk::new();
    let queue = queue_on(clock)
        .register(Post::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("post", "deploy")?;
    let submit = |items: &&[u64]| queue.submit::<Post>(items.iter().copied());
    let ids: Result<_, _> = batches
        .iter()
        .map(|items| submit(items).map(|batch| batch.id()))
        .collect();
    let ids = ids?;
    queue.shutdown(AMPLE)?;
    Ok((disk, ids, bystander))
}

/// Waits until the operation is held up by an item of `batch`.
fn held_by(queue: &Queue, operation: &str, batch: BatchId) -> Tested {
    let by = format!("of batch {batch}:");
    eventually(
        || matches!(blocked(queue, operation), Ok(Some(Blocked::Undecodable { reason })) if reason.contains(&by)),
    );
    let told = queue.batch(batch)?.wait();
    match told {
        Err(WaitError::Undecodable { reason, .. }) if reason.contains(&by) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn fail_undecodable_fails_those_items_only_and_frees_nobody_elses_hold() -> Tested {
    let clock = ManualClock::new();
    let items: [&[u64]; 3] = [&[1, 2, 1_000, 4], &[5, 2_000], &[8]];
    let (disk, ids, bystander) = with_posts(&clock, &items)?;
    let queue = queue_on(&clock)
        .register(PostSmall)
        .register(Mail::echo())
        .open_in_memory(&disk)?;
    queue.unpause("post")?;
    held_by(&queue, "post", ids[0])?;
    // Marked while another batch holds the operation: that one still does.
    queue.batch(ids[1])?.fail_undecodable()?;
    held_by(&queue, "post", ids[0])?;
    assert!(queue.submit::<Mail>([1])?.ends().is_ok());
    bystander.assert_unchanged(&queue);

    let batch = queue.batch(ids[0])?.typed::<PostSmall>()?;
    batch.fail_undecodable()?;
    let report = batch.ends()?;
    assert_eq!((report.status.succeeded, report.status.failed), (3, 1));
    assert_eq!(report.failures.get(Failure::UNREADABLE_ITEM), Some(&1));
    let outcomes = outcomes(&batch)?;
    assert!(outcomes.iter().all(|item| match &item.outcome {
        Outcome::Failed(failure) => item.index == 2 && failure.code == Failure::UNREADABLE_ITEM,
        _ => item.index != 2,
    }));
    let marked = queue.batch(ids[1])?.ends()?.status;
    assert_eq!((marked.succeeded, marked.failed), (1, 1));
    assert_eq!(queue.batch(ids[2])?.ends()?.status.succeeded, 1);
    assert_eq!(blocked(&queue, "post")?, None);
    assert_eq!(sum(&queue, "all")?, 1 + 2 + 4 + 5 + 8);
    let again = batch.fail_undecodable();
    assert_eq!(again, Err(BatchError::Ended { id: ids[0] }));
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn items_that_failed_as_undecodable_hold_up_nobody_when_they_are_run_again() -> Tested {
    let clock = ManualClock::new();
    let (disk, ids, bystander) = with_posts(&clock, &[&[1, 1_000]])?;
    let open = || queue_on(&clock).register(PostSmall).open_in_memory(&disk);
    let queue = open()?;
    queue.unpause("post")?;
    held_by(&queue, "post", ids[0])?;
    let batch = queue.batch(ids[0])?;
    batch.fail_undecodable()?;
    batch.ends()?;
    let again = batch.retry_failed()?;
    let report = again.ends()?;
    assert_eq!(report.failures.get(Failure::UNREADABLE_ITEM), Some(&1));
    assert_eq!(blocked(&queue, "post")?, None);

    // Also when they run after a restart.
    queue.pause("post", "restart")?;
    let commits = disk.commits();
    let later = again.retry_failed()?.id();
    assert_eq!(disk.commits(), commits + 1, "not with the batch itself");
    disk.cut_power();
    let queue = open()?;
    queue.unpause("post")?;
    let report = queue.batch(later)?.ends()?;
    assert_eq!(report.failures.get(Failure::UNREADABLE_ITEM), Some(&1));
    assert_eq!(blocked(&queue, "post")?, None);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn fail_undecodable_survives_a_power_cut() -> Tested {
    let clock = ManualClock::new();
    let (disk, ids, bystander) = with_posts(&clock, &[&[1, 1_000], &[2_000]])?;
    let queue = queue_on(&clock).register(PostSmall).open_in_memory(&disk)?;
    // Still paused: nothing has been met.
    assert_eq!(
        queue.batch(ids[0])?.fail_undecodable()?.state,
        State::Queued
    );
    disk.cut_power();
    let queue = queue_on(&clock).register(PostSmall).open_in_memory(&disk)?;
    queue.unpause("post")?;
    let status = queue.batch(ids[0])?.ends()?.status;
    assert_eq!((status.succeeded, status.failed), (1, 1));
    held_by(&queue, "post", ids[1])?;
    bystander.assert_unchanged(&queue);

    // It goes with the batch through a stop.
    let batch = queue.batch(ids[1])?;
    batch.fail_undecodable()?;
    assert_eq!(batch.ends()?.status.failed, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn fail_undecodable_goes_with_a_batch_through_stop_and_resume() -> Tested {
    let clock = ManualClock::new();
    let (disk, ids, bystander) = with_posts(&clock, &[&[1_000]])?;
    let open = || queue_on(&clock).register(PostSmall).open_in_memory(&disk);
    let queue = open()?;
    let batch = queue.batch(ids[0])?;
    batch.fail_undecodable()?;
    batch.stop()?;
    let refused = batch.fail_undecodable();
    assert_eq!(refused, Err(BatchError::Ended { id: ids[0] }));
    queue.shutdown(AMPLE)?;
    let queue = open()?;
    queue.unpause("post")?;
    let batch = queue.batch(ids[0])?;
    batch.resume()?;
    assert_eq!(batch.ends()?.status.failed, 1);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn stopping_the_batch_that_holds_an_operation_lets_the_others_go_on() -> Tested {
    let clock = ManualClock::new();
    let (disk, ids, bystander) = with_posts(&clock, &[&[1_000], &[7]])?;
    let queue = queue_on(&clock).register(PostSmall).open_in_memory(&disk)?;
    queue.unpause("post")?;
    held_by(&queue, "post", ids[0])?;
    queue.batch(ids[0])?.stop()?;
    assert_eq!(queue.batch(ids[1])?.ends()?.status.succeeded, 1);
    assert_eq!(blocked(&queue, "post")?, None);
    assert_eq!(queue.batch(ids[0])?.status()?.state, State::Stopped);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Whether items of [`CallWhenReadable`] decode.
static READABLE: AtomicBool = AtomicBool::new(false);

struct ReadableNow(u64);

impl<'de> Deserialize<'de> for ReadableNow {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let n = u64::deserialize(from)?;
        let readable = READABLE.load(Ordering::SeqCst);
        readable
            .then_some(Self(n))
            .ok_or_else(|| serde::de::Error::custom("not yet"))
    }
}

impl serde::Serialize for ReadableNow {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(to)
    }
}

/// The same name as [`Post`].
struct PostWhenReadable;

impl Operation for PostWhenReadable {
    const NAME: &'static str = "post";
    type Item = ReadableNow;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, n: ReadableNow, _: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        Ok(n.0)
    }
}

#[test]
fn unpause_lets_an_operation_try_an_undecodable_item_again() -> Tested {
    let clock = ManualClock::new();
    let (disk, ids, bystander) = with_posts(&clock, &[&[1, 2]])?;
    let queue = queue_on(&clock)
        .register(PostWhenReadable)
        .open_in_memory(&disk)?;
    queue.unpause("post")?;
    held_by(&queue, "post", ids[0])?;
    queue.unpause("post")?;
    held_by(&queue, "post", ids[0])?;
    READABLE.store(true, Ordering::SeqCst);
    queue.unpause("post")?;
    assert_eq!(queue.batch(ids[0])?.ends()?.status.succeeded, 2);
    assert_eq!(blocked(&queue, "post")?, None);
    bystander.assert_unchanged(&queue);
    Ok(())
}

/// Where two workers meet before neither can decode its item.
static DECODERS: LazyLock<Arc<Door>> = LazyLock::new(Arc::default);

struct NeverReadable;

impl<'de> Deserialize<'de> for NeverReadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        DECODERS.pass();
        Err(serde::de::Error::custom("never"))
    }
}

impl serde::Serialize for NeverReadable {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_unit()
    }
}

/// The same name as [`Call`].
struct CallNeverReadable;

impl Operation for CallNeverReadable {
    const NAME: &'static str = "call";
    type Item = NeverReadable;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, _: NeverReadable, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(0)
    }
}

#[test]
fn of_two_batches_with_undecodable_items_the_one_named_is_the_one_to_be_dealt_with() -> Tested {
    let (disk, clock) = fresh();
    let queue = queue_on(&clock)
        .register(Call::echo())
        .open_in_memory(&disk)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "deploy")?;
    let ids = [
        queue.submit::<Call>([1])?.id(),
        queue.submit::<Call>([2])?.id(),
    ];
    queue.shutdown(AMPLE)?;
    let queue = queue_on(&clock)
        .register(CallNeverReadable)
        .open_in_memory(&disk)?;
    queue.unpause("call")?;
    DECODERS.wait_for(2);
    DECODERS.open();
    let idle = |id: BatchId| {
        let status = queue.batch(id).and_then(|batch| batch.status());
        status.is_ok_and(|status| status.in_flight == 0)
    };
    eventually(|| ids.iter().all(|id| idle(*id)));
    for _ in 0..2 {
        let named = || match blocked(&queue, "call") {
            Ok(Some(Blocked::Undecodable { reason })) => ids
                .into_iter()
                .find(|id| reason.contains(&format!("of batch {id}:"))),
            _ => None,
        };
        eventually(|| named().is_some());
        let batch = queue.batch(named().ok_or("nobody is named")?)?;
        batch.fail_undecodable()?;
    }
    // Not before: the other one may hold up the operation before this one's item has run.
    for id in ids {
        assert_eq!(queue.batch(id)?.ends()?.status.failed, 1);
    }
    bystander.assert_unchanged(&queue);
    Ok(())
}
