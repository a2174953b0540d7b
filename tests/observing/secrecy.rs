//! What applications put into a queue is not told, whatever becomes of it.

use crate::harness::{AMPLE, Ends, Tested, eventually, fresh, shut_down_failed};
use crate::listeners::{Figures, Log};
use batchwright::testing::CommitFault;
use batchwright::{
    AtLeastOnce, BatchFilter, Blocked, Context, ExactlyOnce, Failure, Operation, Queue,
    RetryPolicy, SubmitError, SubmitOptions, Table,
};
use std::time::Duration;

const SECRET: &str = "s3cr3t";
const NOTES: Table<str, String> = Table::new("notes");
const HOUR: Duration = Duration::from_secs(3_600);

fn secret(what: &str) -> String {
    format!("{what} {SECRET}")
}

struct Letter;

impl Operation for Letter {
    const NAME: &'static str = "letter";
    type Item = String;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, text: String, _: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        let failure = |failure: Failure| failure.field(SECRET).details(SECRET);
        match text.split(' ').next() {
            Some("fail") => Err(failure(Failure::permanent(SECRET, text))),
            Some("retry") => Err(failure(Failure::retryable(SECRET, text))),
            Some("panic") => panic!("{text}"),
            _ => Ok(text),
        }
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(5, HOUR).longest_wait(HOUR)
    }

    fn key(&self, text: &String) -> Option<String> {
        Some(text.clone())
    }

    fn validate(&self, text: &String) -> Result<(), Failure> {
        match text.split(' ').next() {
            Some("refuse") => Err(Failure::permanent(SECRET, text)),
            _ => Ok(()),
        }
    }
}

/// The same operation after a deploy that was not thought through.
struct Number;

impl Operation for Number {
    const NAME: &'static str = "letter";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(n)
    }
}

struct Note;

impl Operation for Note {
    const NAME: &'static str = "note";
    type Item = String;
    type Output = String;
    type Guarantee = ExactlyOnce;

    fn run(&self, text: String, cx: &mut Context<ExactlyOnce>) -> Result<String, Failure> {
        cx.put(&NOTES, &text, &text)?;
        Ok(text)
    }
}

#[test]
fn nothing_of_the_application_is_traced_or_metered() -> Tested {
    let log = Log::start();
    let ((disk, clock), figures) = (fresh(), Figures::default());
    let builder = || Queue::builder("unused").workers(2).clock(clock.clone());
    let queue = metrics::with_local_recorder(&figures, || {
        builder()
            .register(Letter)
            .register(Note)
            .open_in_memory(&disk)
    })?;
    let options = || {
        SubmitOptions::new()
            .owner(SECRET)
            .label(SECRET)
            .idempotency_key(SECRET)
    };
    let letters = ["send", "fail", "panic", "retry"].map(secret);
    let letters = queue.submit_with::<Letter>(letters, options())?;
    let notes = [secret("one"), secret("two")];
    queue
        .submit_with::<Note>(notes.clone(), options())?
        .ends()?;
    let stored = queue.read(|tables| tables.get(&NOTES, &notes[1]))?;
    assert_eq!(stored.as_ref(), Some(&notes[1]));
    let refused = queue.submit::<Letter>([secret("refuse")]);
    assert!(matches!(refused, Err(SubmitError::Invalid { .. })));
    let conflict = queue.submit_with::<Letter>([secret("other")], options());
    assert!(matches!(conflict, Err(SubmitError::KeyConflict { .. })));
    queue.pause("letter", secret("because"))?;
    queue.unpause("letter")?;
    eventually(|| letters.status().is_ok_and(|status| status.waiting == 1));
    clock.advance(2 * HOUR);
    let retried = || {
        log.all("an attempt failed and is followed by another")
            .len()
    };
    eventually(|| retried() == 2);
    assert_eq!(queue.batches(BatchFilter::all().owner(SECRET)).count(), 2);
    queue.shutdown(AMPLE)?;

    // The reason of the pause quotes the item, and is for those who may see items.
    let queue = metrics::with_local_recorder(&figures, || {
        builder()
            .register(Number)
            .register(Note)
            .open_in_memory(&disk)
    })?;
    clock.advance(2 * HOUR);
    let paused = |queue: &Queue| {
        let stats = queue.stats().ok()?;
        stats
            .operations
            .into_iter()
            .find_map(|operation| match operation.blocked {
                Some(Blocked::Undecodable { reason }) => Some(reason),
                _ => None,
            })
    };
    eventually(|| paused(&queue).is_some());
    assert!(paused(&queue).is_some_and(|reason| reason.contains(SECRET)));
    queue.unpause("letter")?;
    eventually(|| paused(&queue).is_some());
    disk.fail_next_commit(CommitFault::Done);
    assert!(queue.submit::<Note>([secret("lost")]).is_err());
    shut_down_failed(&queue)?;

    let text = log.text();
    assert!(!text.contains(SECRET), "{text}");
    let names = figures.names();
    assert!(!names.iter().any(|name| name.contains(SECRET)), "{names:?}");
    // All of it was spoken of.
    for told in [
        "batchwright.submit",
        "batchwright.slice",
        "batchwright.commit",
        "the queue is open",
        "unfinished batches go on",
        "an attempt failed and is followed by another",
        "a handler panicked",
        "an item cannot be decoded, its operation is held up",
        "no item holds the operation up any more",
        "an operation is paused",
        "an operation is unpaused",
        "the queue has failed",
        "the queue is closing",
        "the queue is shut down",
    ] {
        assert!(!log.all(told).is_empty(), "nothing of {told:?} in {text}");
    }
    // And all of it is documented.
    let document = include_str!("../../src/observe/mod.rs");
    for line in log.lines() {
        let text = &line.text;
        let rows = [format!("//! | {text} |"), format!("//! | `{text}` |")];
        assert!(rows.iter().any(|row| document.contains(row)), "{text}");
    }
    let failed = "batchwright_items_total operation=letter outcome=failed";
    assert_eq!(figures.counter(failed), Some(2));
    Ok(())
}
