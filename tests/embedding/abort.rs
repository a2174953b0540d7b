//! With `panic = "abort"` a handler's panic ends the process, and counts as a crash.
//!
//! Only the last crate of a program needs to be built so: the dependencies are those of this test's own
//! build, which makes it a matter of seconds.

use crate::harness::{Bystander, Call, Ends, Log, Post, Tested, add, outcomes, queue_in, sum};
use batchwright::testing::ManualClock;
use batchwright::{Batch, BatchFilter, Queue, State};
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds `aborting.rs`; none where this test was not started by cargo.
fn build() -> Result<Option<PathBuf>, Box<dyn Error>> {
    let Some(cargo) = std::env::var_os("CARGO") else {
        println!("skipped: not started by cargo");
        return Ok(None);
    };
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--offline", "--package", env!("CARGO_PKG_NAME")])
        .args(["--test", "aborting", "--message-format", "json"])
        // The feature that this test needs: then the library is there already.
        .args(["--features", "testing"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let output = command.args(["--", "-C", "panic=abort"]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let program = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == "aborting";
        Some(PathBuf::from(
            message["executable"].as_str().filter(|_| is_it)?,
        ))
    });
    Ok(Some(program.ok_or("cargo names no program")?))
}

/// What the program's handlers noted, and what it left.
struct Crashed {
    notes: Vec<String>,
    scratch: tempfile::TempDir,
    bystander: Bystander,
    clock: ManualClock,
}

fn crash(kind: &str) -> Result<Option<Crashed>, Box<dyn Error>> {
    let Some(program) = build()? else {
        return Ok(None);
    };
    let (scratch, clock) = (tempfile::tempdir()?, ManualClock::new());
    let (dir, notes) = (scratch.path().join("queue"), scratch.path().join("notes"));
    let queue = queue_in(&dir, &clock).open()?;
    let bystander = Bystander::enter(&queue)?;
    drop(queue);
    let status = Command::new(program)
        .arg(&dir)
        .arg(kind)
        .arg(&notes)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        const SIGABRT: i32 = 6;
        assert_eq!(status.signal(), Some(SIGABRT), "{status}");
    }
    assert!(!status.success());
    let notes = std::fs::read_to_string(notes)?;
    Ok(Some(Crashed {
        notes: notes.lines().map(str::to_owned).collect(),
        scratch,
        bystander,
        clock,
    }))
}

/// The batch that the program has submitted.
fn newest(queue: &Queue) -> Result<Batch, Box<dyn Error>> {
    let newest = queue.batches(BatchFilter::all()).next();
    Ok(queue.batch(newest.ok_or("no batch")??.id)?)
}

#[test]
fn an_at_least_once_item_whose_panic_aborts_runs_again_under_the_same_key() -> Tested {
    let Some(crashed) = crash("call")? else {
        return Ok(());
    };
    let keys = Log::new();
    let seen = keys.clone();
    let call = Call::new(move |n, cx| {
        seen.push(format!("{n} {}", cx.idempotency_key()));
        Ok(n)
    });
    let queue = queue_in(&crashed.scratch.path().join("queue"), &crashed.clock)
        .workers(1)
        .register(call)
        .open()?;
    let batch = newest(&queue)?.typed::<Call>()?;
    assert_eq!(batch.ends()?.status.succeeded, 3);
    let [first, second] = &crashed.notes[..] else {
        return Err(format!("not two items had run: {:?}", crashed.notes).into());
    };
    // The first is recorded when the machine was slow. The one that panicked is not, whatever happens.
    let mut again = keys.entries();
    again.retain(|note| note != first);
    assert_eq!(again.first(), Some(second));
    assert_eq!(again.len(), 2);
    // An attempt cut short is not counted.
    assert!(
        outcomes(&batch)?
            .iter()
            .all(|outcome| outcome.attempts == 1)
    );
    crashed.bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
fn an_exactly_once_item_whose_panic_aborts_leaves_no_write_and_runs_again() -> Tested {
    let Some(crashed) = crash("post")? else {
        return Ok(());
    };
    assert_eq!(crashed.notes, ["1", "2"]);
    let dir = crashed.scratch.path().join("queue");
    let queue = queue_in(&dir, &crashed.clock).open()?;
    let status = newest(&queue)?.status()?;
    assert!(!status.state.has_ended(), "{status:?}");
    // What is durable is what the outcomes say: the panicking item has neither.
    assert_eq!(status.failed, 0);
    assert_eq!(sum(&queue, "sum")?, status.succeeded);
    assert!(status.succeeded < 2);
    drop(queue);
    let queue = queue_in(&dir, &crashed.clock)
        .register(Post::new(|n, cx| add(cx, "sum", n)))
        .open()?;
    let report = newest(&queue)?.ends()?;
    assert_eq!(
        (report.status.state, report.status.succeeded),
        (State::Completed, 3)
    );
    assert_eq!(sum(&queue, "sum")?, 6);
    crashed.bystander.assert_unchanged(&queue);
    Ok(())
}
