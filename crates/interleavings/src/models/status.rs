//! What is claimed of what is published of a batch, and of those who wait for it, in every order.
//!
//! loom ends a model in which nobody can go on: a wake-up that is lost shows as that.

use crate::gate::Gate;
use crate::kernel::{BatchId, State, Timestamp};
use crate::live::{Facts, Live, Progress, Registry};
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, without_fences};
use loom::thread;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

/// A batch of which nothing has run.
fn live() -> Arc<Live> {
    let flag = || Arc::new(AtomicBool::new(false));
    let facts = Facts {
        id: BatchId(1),
        operation: None,
        operation_name: "operation".into(),
        owner: None,
        created_at: Timestamp::default(),
        total: 2,
        chunk_starts: vec![0],
        label: None,
        priority: 0,
        not_before: None,
        origin: None,
        fails_undecodable: false,
    };
    let gate = Gate::new(flag(), flag());
    Arc::new(Live::new(facts, Progress::queued(), gate))
}

/// Where a batch of two items stands when `succeeded` of them have.
fn progress(succeeded: u32) -> Progress {
    let (state, in_flight) = match succeeded {
        2 => (State::Completed, 0),
        _ => (State::Running, 2 - succeeded),
    };
    Progress {
        state,
        succeeded,
        in_flight,
        left_ms: (in_flight > 0).then_some(1),
        ..Progress::queued()
    }
}

fn settled(live: &Live) -> Option<()> {
    (live.is_deleted() || live.progress().state.has_ended()).then_some(())
}

fn delete(live: &Arc<Live>) {
    let registry = Registry::default();
    registry.insert(live);
    assert!(registry.remove(live.id).is_some());
}

/// What the writer does when a batch is settled.
fn settle(live: &Arc<Live>, how: &str) {
    match how {
        "ended" => live.publish(progress(2)),
        _ => delete(live),
    }
    live.wake();
}

fn wait_in_a_thread(live: &Arc<Live>) -> thread::JoinHandle<()> {
    let live = Arc::clone(live);
    thread::spawn(move || {
        let answer = live.waiters.wait_until(None, || settled(&live));
        assert!(answer.is_some());
    })
}

/// Two threads, one of which may sleep when the other comes.
pub fn threads_that_wait_see_the_end_or_the_deletion() {
    for how in ["ended", "deleted"] {
        loom::model(move || {
            let live = live();
            let waiting = [wait_in_a_thread(&live), wait_in_a_thread(&live)];
            settle(&live, how);
            for thread in waiting {
                thread.join().expect("no thread panics");
            }
        });
    }
}

/// The smallest executor: one future, polled again when its waker was called.
#[derive(Default)]
struct Woken {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        *self.woken.lock().expect("no thread panics") = true;
        self.changed.notify_one();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return answer;
        }
        let mut is_woken = woken.woken.lock().expect("no thread panics");
        while !*is_woken {
            is_woken = woken.changed.wait(is_woken).expect("no thread panics");
        }
        *is_woken = false;
    }
}

/// Awaits the end as the library's future does; `looks_again` is when it has enlisted.
async fn end_of(live: &Live, looks_again: bool) {
    let mut seat = None;
    std::future::poll_fn(|cx| {
        if settled(live).is_some() {
            return Poll::Ready(());
        }
        live.waiters.enlist(&mut seat, cx.waker());
        match settled(live).filter(|()| looks_again) {
            Some(()) => Poll::Ready(()),
            None => Poll::Pending,
        }
    })
    .await;
    live.waiters.leave(&mut seat);
}

/// As its name says; of the end it may be told when it has been woken for something else.
pub fn a_future_that_waits_sees_the_end_or_the_deletion() {
    for how in ["ended", "deleted"] {
        loom::model(move || {
            let live = live();
            let awaiting = thread::spawn({
                let live = Arc::clone(&live);
                move || block_on(end_of(&live, true))
            });
            if how == "ended" {
                live.publish(progress(1));
                live.wake();
            }
            settle(&live, how);
            awaiting.join().expect("no thread panics");
        });
    }
}

/// What the writer does for a change that settles nothing.
fn change(live: &Live, succeeded: u32) {
    live.publish(progress(succeeded));
    if live.waiters.is_watched() {
        live.waiters.stir();
    }
}

/// Watches until `succeeded` items have, as the library's iterator does.
fn watch_until(live: &Live, succeeded: u32) {
    live.waiters.watch_begins();
    loop {
        let moment = live.waiters.moment();
        if live.progress().succeeded >= succeeded {
            break;
        }
        live.waiters.wait_past(moment);
    }
    live.waiters.watch_ends();
}

fn watching_until(live: &Arc<Live>, succeeded: u32) -> thread::JoinHandle<()> {
    let live = Arc::clone(live);
    thread::spawn(move || watch_until(&live, succeeded))
}

/// It sees the first one, or has begun too late for that and sees it in what is there: whoever publishes does not
/// look at watchers under a lock.
pub fn a_watcher_misses_no_change() {
    loom::model(|| {
        let live = live();
        let watching = watching_until(&live, 2);
        change(&live, 1);
        change(&live, 2);
        watching.join().expect("no thread panics");
    });
}

/// And a whole progress is of one moment.
pub fn counts_never_go_back_for_a_reader() {
    loom::model(|| {
        let live = live();
        let reading = thread::spawn({
            let live = Arc::clone(&live);
            move || read_on(&live)
        });
        for succeeded in [0, 1] {
            live.publish(progress(succeeded));
        }
        live.forget_time_left();
        live.publish(progress(2));
        reading.join().expect("no thread panics");
        assert_eq!(*live.progress().as_ref(), progress(2));
    });
}

fn read_on(live: &Live) {
    let mut last = 0;
    for _ in 0..3 {
        let seen = live.progress();
        assert!(seen.succeeded >= last, "the counts went back");
        last = seen.succeeded;
        let of = seen.succeeded + seen.in_flight;
        assert!(seen.state == State::Queued || of == 2, "of two moments");
        assert_eq!(seen.state.has_ended(), seen.succeeded == 2);
    }
}

/// The model checker finds what is wrong: waking before publishing.
pub fn a_wake_before_its_news_is_found() {
    loom::model(|| {
        let live = live();
        let waiting = wait_in_a_thread(&live);
        live.wake();
        live.publish(progress(2));
        waiting.join().expect("no thread panics");
    });
}

/// And before deleting.
pub fn a_wake_before_the_deletion_is_found() {
    loom::model(|| {
        let live = live();
        let waiting = wait_in_a_thread(&live);
        live.wake();
        delete(&live);
        waiting.join().expect("no thread panics");
    });
}

/// And a future that enlists and does not look again.
pub fn a_future_that_does_not_look_again_is_found() {
    loom::model(|| {
        let live = live();
        let awaiting = thread::spawn({
            let live = Arc::clone(&live);
            move || block_on(end_of(&live, false))
        });
        settle(&live, "ended");
        awaiting.join().expect("no thread panics");
    });
}

/// And a watcher and a publisher that do not see each other.
pub fn watching_without_fences_is_found() {
    without_fences(|| {
        loom::model(|| {
            let live = live();
            let watching = watching_until(&live, 1);
            change(&live, 1);
            watching.join().expect("no thread panics");
        });
    });
}

/// And a watcher that asks for the moment when it has looked.
pub fn a_moment_that_is_asked_for_too_late_is_found() {
    loom::model(|| {
        let live = live();
        let watching = thread::spawn({
            let live = Arc::clone(&live);
            move || {
                live.waiters.watch_begins();
                while live.progress().succeeded == 0 {
                    let moment = live.waiters.moment();
                    live.waiters.wait_past(moment);
                }
            }
        });
        change(&live, 1);
        watching.join().expect("no thread panics");
    });
}

/// And an estimate that is taken back by somebody who is not the one who publishes.
pub fn a_second_publisher_is_found() {
    loom::model(|| {
        let live = live();
        live.publish(progress(0));
        let other = thread::spawn({
            let live = Arc::clone(&live);
            move || live.forget_time_left()
        });
        let reading = thread::spawn({
            let live = Arc::clone(&live);
            move || read_on(&live)
        });
        live.publish(progress(1));
        other.join().expect("no thread panics");
        reading.join().expect("no thread panics");
    });
}

/// And counts that are published one after the other.
pub fn a_progress_that_is_published_in_parts_is_found() {
    loom::model(|| {
        let live = live();
        live.publish(progress(0));
        let reading = thread::spawn({
            let live = Arc::clone(&live);
            move || read_on(&live)
        });
        live.publish(Progress {
            succeeded: 1,
            ..progress(0)
        });
        live.publish(progress(1));
        reading.join().expect("no thread panics");
    });
}
