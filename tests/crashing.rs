//! Handlers that end the whole process: by aborting, by overflowing the stack, by running out of memory; of each
//! guarantee. The program is started again until it gets through.
//!
//! After the crash with its slice an item crashes three times more, alone; then it fails, and all others have run.

use batchwright::limits::CRASHES;
use batchwright::{
    AtLeastOnce, AtMostOnce, Batch, Context, ExactlyOnce, Failure, Json, Operation, Outcome, Queue,
    SubmitOptions, Table,
};
use std::error::Error;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

type Tested<T = ()> = Result<T, Box<dyn Error>>;

const DIR: &str = "BATCHWRIGHT_CRASHING_DIR";
const WAY: &str = "BATCHWRIGHT_CRASHING_WAY";
const KIND: &str = "BATCHWRIGHT_CRASHING_KIND";

const WAYS: [&str; 3] = ["abort", "stack overflow", "out of memory"];
const KINDS: [&str; 3] = ["at-least-once", "at-most-once", "exactly-once"];

const ITEMS: u64 = 40;
/// The item that ends the process.
const KILLER: u64 = 7;

const SUMS: Table<str, u64> = Table::new("sums");

/// Notes that an item begins, where it outlives the process, and ends the process if it is the killer.
struct Body {
    way: String,
    notes: PathBuf,
}

impl Body {
    fn begin(&self, n: u64) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::permanent("notes", error.to_string());
        let mut notes = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.notes)
            .map_err(failed)?;
        notes
            .write_all(format!("{n}\n").as_bytes())
            .map_err(failed)?;
        if n == KILLER {
            match self.way.as_str() {
                "abort" => std::process::abort(),
                "stack overflow" => drop(overflow(&[1; 1_000])),
                // More than there can be: the allocator gives up, which ends the process.
                _ => drop(black_box(Vec::<u8>::with_capacity(1 << 46))),
            }
        }
        Ok(())
    }
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn overflow(frame: &[u64; 1_000]) -> u64 {
    let mut next = *black_box(frame);
    next[0] += 1;
    overflow(&next) + black_box(next)[999]
}

macro_rules! crashing {
    ($type:ident, $name:literal, $guarantee:ty, $($post:tt)*) => {
        struct $type(Body);

        impl Operation for $type {
            const NAME: &'static str = $name;
            type Item = u64;
            type Output = u64;
            type Guarantee = $guarantee;

            fn run(&self, n: u64, cx: &mut Context<$guarantee>) -> Result<u64, Failure> {
                let post: fn(u64, &mut Context<$guarantee>) -> Result<(), Failure> = $($post)*;
                post(n, cx)?;
                self.0.begin(n)?;
                Ok(n)
            }
        }
    };
}

crashing!(Call, "at-least-once", AtLeastOnce, |_, _| Ok(()));
crashing!(Pay, "at-most-once", AtMostOnce, |_, _| Ok(()));
crashing!(Post, "exactly-once", ExactlyOnce, |n, cx| {
    let sum = cx.get(&SUMS, "all")?.unwrap_or(0) + n;
    Ok(cx.put(&SUMS, "all", &sum)?)
});

fn open(dir: &Path, way: &str) -> Tested<Queue> {
    let body = || Body {
        way: way.to_owned(),
        notes: dir.join("notes"),
    };
    let queue = Queue::builder(dir.join("store"))
        .workers(1)
        .register(Call(body()))
        .register(Pay(body()))
        .register(Post(body()))
        .open()?;
    Ok(queue)
}

fn submit(queue: &Queue, kind: &str) -> Tested<Batch<Json>> {
    let options = SubmitOptions::new().idempotency_key("the batch");
    Ok(queue.submit_named_with(kind, 0..ITEMS, options)?)
}

/// The other process: gets through, or dies.
#[test]
fn child() -> Tested {
    let (Some(dir), Ok(way), Ok(kind)) = (
        std::env::var_os(DIR),
        std::env::var(WAY),
        std::env::var(KIND),
    ) else {
        return Ok(());
    };
    let queue = open(Path::new(&dir), &way)?;
    let batch = submit(&queue, &kind)?;
    batch
        .wait_timeout(Duration::from_secs(60))?
        .ok_or("it does not end")?;
    queue.shutdown(Duration::from_secs(60))?;
    Ok(())
}

/// How often the program died before it got through.
fn run(dir: &Path, way: &str, kind: &str) -> Tested<u32> {
    for crashes in 0..20 {
        let status = Command::new(std::env::current_exe()?)
            .args(["--exact", "child"])
            .env(DIR, dir)
            .env(WAY, way)
            .env(KIND, kind)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if status.success() {
            return Ok(crashes);
        }
        // An error of the child would be an exit, not a signal.
        #[cfg(unix)]
        assert_eq!(status.code(), None, "{status}");
    }
    Err("it never gets through".into())
}

fn ran(dir: &Path, item: u64) -> Tested<usize> {
    let notes = std::fs::read_to_string(dir.join("notes"))?;
    Ok(notes
        .lines()
        .filter(|line| *line == item.to_string())
        .count())
}

#[test]
fn an_item_that_ends_the_process_ends_and_so_do_all_others() -> Tested {
    for way in WAYS {
        for kind in KINDS {
            let scratch = tempfile::tempdir()?;
            let dir = scratch.path();
            let crashes = run(dir, way, kind)?;
            let queue = open(dir, way)?;
            let batch = submit(&queue, kind)?;
            let status = batch.status()?;
            let outcomes: Vec<_> = batch.outcomes()?.collect::<Result<_, _>>()?;
            let what = format!("{kind}, {way}: {status}");
            assert_eq!(outcomes.len() as u64, ITEMS, "{what}");
            let of_killer = &outcomes[KILLER as usize].outcome;
            if kind == "at-most-once" {
                assert_eq!(crashes, 1, "{what}");
                assert!(of_killer.is_in_doubt(), "{what}: {of_killer:?}");
                assert_eq!(status.failed, 0, "{what}");
                for item in 0..ITEMS {
                    let times = ran(dir, item)?;
                    let outcome = &outcomes[item as usize].outcome;
                    // What had run is in doubt or has its outcome; what had not is in doubt or has run since.
                    assert!(
                        times == 1 || (times == 0 && outcome.is_in_doubt()),
                        "{what}: {item}"
                    );
                }
                continue;
            }
            assert_eq!(crashes, 1 + CRASHES, "{what}");
            let code = of_killer.failure().map(|failure| failure.code.as_str());
            assert_eq!(code, Some(Failure::CRASHED), "{what}");
            assert_eq!((status.succeeded, status.failed), (ITEMS - 1, 1), "{what}");
            assert_eq!(ran(dir, KILLER)? as u32, crashes, "{what}");
            for (outcome, item) in outcomes.iter().zip(0..).filter(|(_, item)| *item != KILLER) {
                assert_eq!(outcome.outcome, Outcome::Succeeded(item.into()), "{what}");
            }
            if kind == "exactly-once" {
                let sum = queue.read(|tables| tables.get(&SUMS, "all"))?;
                assert_eq!(sum, Some((0..ITEMS).sum::<u64>() - KILLER), "{what}");
            }
        }
    }
    Ok(())
}
