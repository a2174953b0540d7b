//! What is claimed of the gate, the claim and the beat, in every order; of the rest in files of their own.

pub mod lease;
pub mod status;

use crate::beat::{Attempt, Ended, Posts};
use crate::gate::{Claim, Gate};
use crate::kernel::{OperationIndex, SliceId};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};
use loom::thread;
use std::time::Duration;

fn gate() -> (Arc<Gate>, Arc<AtomicBool>, Arc<AtomicBool>) {
    let paused = Arc::new(AtomicBool::new(false));
    let closed = Arc::new(AtomicBool::new(false));
    let gate = Gate::new(Arc::clone(&paused), Arc::clone(&closed));
    (Arc::new(gate), paused, closed)
}

/// Whoever closes it then says so; from there on nothing starts.
pub fn no_item_starts_after_the_gate_was_said_to_be_closed() {
    for how in ["stop", "pause", "close the queue"] {
        loom::model(move || {
            let (gate, paused, closed) = gate();
            let said = Arc::new(AtomicBool::new(false));
            let worker = thread::spawn({
                let (gate, said) = (Arc::clone(&gate), Arc::clone(&said));
                move || {
                    for _ in 0..2 {
                        let was_said = said.load(Ordering::SeqCst);
                        let starts = gate.lets_pass();
                        assert!(!(was_said && starts), "it started after the answer: {how}");
                    }
                }
            });
            match how {
                "stop" => gate.close(),
                "pause" => paused.store(true, Ordering::SeqCst),
                _ => closed.store(true, Ordering::SeqCst),
            }
            said.store(true, Ordering::SeqCst);
            worker.join().expect("no thread panics");
        });
    }
}

/// What the worker has done of the batch before is seen by whoever reopens its gate, and the reverse.
pub fn a_gate_that_is_reopened_lets_pass_who_knows_of_it() {
    loom::model(|| {
        let (gate, _, _) = gate();
        gate.close();
        let reopened = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let (gate, reopened) = (Arc::clone(&gate), Arc::clone(&reopened));
            move || {
                if reopened.load(Ordering::SeqCst) {
                    assert!(gate.lets_pass());
                }
            }
        });
        gate.reopen();
        reopened.store(true, Ordering::SeqCst);
        worker.join().expect("no thread panics");
    });
}

/// As its name says.
pub fn a_slice_is_begun_or_recalled_and_never_both() {
    loom::model(|| {
        let claim = Arc::new(Claim::default());
        let worker = thread::spawn({
            let claim = Arc::clone(&claim);
            move || claim.take()
        });
        let recalled = claim.take();
        let begun = worker.join().expect("no thread panics");
        assert!(begun != recalled);
    });
}

const ATTEMPT: Attempt = Attempt {
    slice: SliceId(1),
    place: 0,
    operation: OperationIndex(0),
    since: Duration::ZERO,
    limit: Duration::from_secs(1),
};

/// The worker's result counts, or the time-out does: one of the two, whoever looks when. A worker that returns late
/// says so itself when the writer has not seen it.
pub fn an_attempt_ends_once() {
    for returns_after in [Duration::ZERO, ATTEMPT.limit] {
        loom::model(move || an_attempt_ends(returns_after));
    }
}

fn an_attempt_ends(returns_after: Duration) {
    let posts = Arc::new(Posts::default());
    let post = Posts::take(&posts);
    let counted = Arc::new(Mutex::new(Vec::new()));
    let worker = thread::spawn({
        let counted = Arc::clone(&counted);
        move || {
            post.beat.begin(ATTEMPT);
            let ended = match post.beat.end(returns_after) {
                Ended::InTime => "result",
                Ended::Late(attempt) => {
                    assert_eq!((attempt, returns_after), (ATTEMPT, ATTEMPT.limit));
                    "late"
                }
                Ended::TimedOut { replaced } => return assert!(replaced),
            };
            counted.lock().expect("no thread panics").push(ended);
        }
    });
    for beat in posts.beats() {
        if beat.time_out(ATTEMPT.limit, || true).is_some() {
            counted.lock().expect("no thread panics").push("time-out");
        }
    }
    worker.join().expect("no thread panics");
    assert_eq!(counted.lock().expect("no thread panics").len(), 1);
    assert!(posts.beats().is_empty());
}

/// `stats` looks at all posts while a worker that hangs is replaced, which takes a post.
pub fn looking_at_the_posts_and_replacing_a_worker_do_not_wait_for_each_other() {
    loom::model(|| {
        let posts = Arc::new(Posts::default());
        let hangs = Posts::take(&posts);
        hangs.beat.begin(ATTEMPT);
        let looking = thread::spawn({
            let posts = Arc::clone(&posts);
            move || posts.hung(OperationIndex(0)) + posts.replaced() as u64
        });
        let mut replacement = None;
        let timed_out = hangs.beat.time_out(ATTEMPT.limit, || {
            replacement = Some(Posts::take(&posts));
            true
        });
        assert!(timed_out.is_some());
        assert!(looking.join().expect("no thread panics") <= 2);
        assert_eq!(replacement.map(|post| post.number), Some(1));
        assert_eq!(
            hangs.beat.end(Duration::ZERO),
            Ended::TimedOut { replaced: true }
        );
    });
}

/// The model checker finds what is wrong: a gate that is closed after the answer.
pub fn a_gate_that_is_closed_too_late_is_found() {
    loom::model(|| {
        let (gate, _, _) = gate();
        let said = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let (gate, said) = (Arc::clone(&gate), Arc::clone(&said));
            move || {
                let was_said = said.load(Ordering::SeqCst);
                let starts = gate.lets_pass();
                assert!(!(was_said && starts), "it started after the answer");
            }
        });
        said.store(true, Ordering::SeqCst);
        gate.close();
        worker.join().expect("no thread panics");
    });
}

/// And so is a claim that looks before it takes.
pub fn a_claim_in_two_steps_is_found() {
    loom::model(|| {
        let taken = Arc::new(AtomicBool::new(false));
        let take = |taken: &AtomicBool| {
            let free = !taken.load(Ordering::SeqCst);
            taken.store(true, Ordering::SeqCst);
            free
        };
        let worker = thread::spawn({
            let taken = Arc::clone(&taken);
            move || take(&taken)
        });
        let here = take(&taken);
        assert!(
            !(worker.join().expect("no thread panics") && here),
            "taken twice"
        );
    });
}
