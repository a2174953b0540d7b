//! No thread to be had, and no memory: whatever the process makes of it, nothing that it had acknowledged is lost.

use crate::books::Books;
use crate::cuts::{is_campaign, report, within_time};
use crate::errors::{Prepared, Tally, assert_harmless, strike};
use crate::recording::{entries, said};
use crate::run::{Run, Tested, scratch};
use std::os::unix::process::ExitStatusExt;

const EAGAIN: i32 = 11;
const SIGABRT: i32 = 6;
const SIGSEGV: i32 = 11;

#[test]
fn any_thread_may_not_start_once() -> Tested {
    assert_harmless(&format!("thread-errno:{EAGAIN}"), "once", None)
}

/// The test's own, and those that the library tries out before it runs the storage engine.
const BEFORE_THE_ENGINE: u64 = 1 + 7;

#[test]
fn no_thread_may_start_from_any_on() -> Tested {
    let mut tally = Tally::default();
    // When they run out in the very moment between the trial and the engine's first one, the engine hangs.
    let hangs = BEFORE_THE_ENGINE;
    for at in (0..).filter(|at| *at != hangs) {
        let scratch = scratch()?;
        let mut run = Run::new(scratch.path(), 10);
        run.fault = format!("{at} ever thread-errno:{EAGAIN}");
        run.mended = true;
        if !strike(&run, Books::default(), &mut tally)? {
            break;
        }
    }
    report(&format!("no thread any more: {tally:?}"));
    assert!(tally.struck > 2 * BEFORE_THE_ENGINE, "{tally:?}");
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    Ok(())
}

#[test]
fn any_thread_of_a_recovery_may_not_start() -> Tested {
    let prepared = Prepared::new()?;
    assert_harmless(&format!("thread-errno:{EAGAIN}"), "once", Some(&prepared))
}

/// Where there is too little memory a process ends by itself or is ended by its allocator, at any point.
#[test]
fn a_process_may_run_out_of_memory_anywhere() -> Tested {
    let steps: u64 = if is_campaign() { 400 } else { 24 };
    let (mut ended, mut aborted, mut through) = (0, 0, 0);
    for step in 0..steps {
        let scratch = scratch()?;
        let mut run = Run::new(scratch.path(), step);
        // From too little to begin with to enough.
        run.memory_kib = Some(60_000 + step * 400_000 / steps);
        let finished = run.run()?;
        let mut books = Books::default();
        let log = entries(&finished.log);
        let lines: Vec<String> = log.iter().flat_map(said).collect();
        lines.iter().for_each(|line| books.hear(line));
        // The storage engine may panic over memory that it did not get, and nobody can tell over what it did.
        let damaged = |line: &&String| {
            line.starts_with("error open Damaged") && !line.contains("the storage engine panicked")
        };
        if let Some(line) = lines.iter().find(damaged) {
            return Err(format!("{:?}: nothing is damaged: {line}", run.memory_kib).into());
        }
        match finished.status.signal() {
            None if lines.iter().any(|line| line.starts_with("error ")) => ended += 1,
            None => through += 1,
            // Where the system gives no page of a stack that grows, too.
            Some(SIGABRT | SIGSEGV) => aborted += 1,
            Some(signal) => return Err(format!("signal {signal}: {}", finished.stderr).into()),
        }
        within_time(books, run.store())
            .map_err(|finding| format!("{:?}: {finding}", run.memory_kib))?;
    }
    report(&format!(
        "{steps} limits of memory: {ended} ended by themselves, {aborted} were aborted, {through} got through"
    ));
    assert!(through > 0 && ended + aborted > 0);
    Ok(())
}
