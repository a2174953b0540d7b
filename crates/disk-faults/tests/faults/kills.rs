//! `kill -9` at every call: in creation, at work, at the end, and in the recovery from another kill.

use crate::books::Books;
use crate::cuts::{is_campaign, report, within_time};
use crate::recording::{entries, said};
use crate::run::{Run, Tested, scratch};
use std::os::unix::process::ExitStatusExt;

const SIGKILL: i32 = 9;

/// Kills of a run at one call after the other; gives how many there were. In the normal suite at every second one,
/// which are all of them in the two tests together.
fn kill_at_every_call(first: u64, how: &str) -> Tested<u64> {
    let step = if is_campaign() { 1 } else { 2 };
    let mut kills = 0;
    for at in (first..).step_by(step) {
        let scratch = scratch()?;
        let mut run = Run::new(scratch.path(), 10);
        run.sessions = if is_campaign() { 2 } else { 1 };
        run.fault = format!("{at} once {how}");
        if !killed_run_is_recovered(&run)? {
            return Ok(kills);
        }
        kills += 1;
    }
    Ok(kills)
}

/// False when the run was over before the kill.
fn killed_run_is_recovered(run: &Run<'_>) -> Tested<bool> {
    let mut books = Books::default();
    let ended = run.run()?;
    hear(&mut books, &ended.log);
    if ended.status.signal() != Some(SIGKILL) {
        return match ended.status.success() {
            true => Ok(false),
            false => Err(format!("{run:?}: {} {}", ended.status, ended.stderr).into()),
        };
    }
    check(run, books)?;
    Ok(true)
}

fn hear(books: &mut Books, log: &[u8]) {
    for entry in entries(log) {
        said(&entry).iter().for_each(|line| books.hear(line));
    }
}

fn check(run: &Run<'_>, books: Books) -> Tested {
    within_time(books, run.store())
        .map_err(|finding| format!("{} with seed {}: {finding}", run.fault, run.seed).into())
}

/// The kill of a process that opens what a killed process has left.
fn kill_in_recovery() -> Tested<u64> {
    let mut kills = 0;
    for at in 0.. {
        let scratch = scratch()?;
        let mut books = Books::default();
        let mut run = Run::new(scratch.path(), 10);
        // Somewhere at work, with a segment that is not full.
        run.fault = format!("{} once kill-before", 120 + crate::work::mix(at) % 120);
        hear(&mut books, &run.run()?.log);
        run.seed = 30;
        run.fault = format!("{at} once kill-after");
        let ended = run.run()?;
        hear(&mut books, &ended.log);
        // Recovery is over when the queue is open; the rest is work as before.
        let opened = entries(&ended.log)
            .iter()
            .flat_map(said)
            .any(|line| line == "opened");
        check(&run, books)?;
        if opened {
            return Ok(kills);
        }
        kills += 1;
    }
    Ok(kills)
}

#[test]
fn a_kill_before_any_call_loses_nothing() -> Tested {
    let kills = kill_at_every_call(0, "kill-before")?;
    report(&format!("{kills} kills before a call"));
    assert!(kills > 50);
    Ok(())
}

#[test]
fn a_kill_after_any_call_loses_nothing() -> Tested {
    let kills = kill_at_every_call(1, "kill-after")?;
    report(&format!("{kills} kills after a call"));
    assert!(kills > 50);
    Ok(())
}

/// The kills must notice an acknowledgement that comes before its commit.
#[test]
fn a_kill_after_a_hasty_acknowledgement_is_noticed() -> Tested {
    for at in 90..150 {
        let scratch = scratch()?;
        let mut run = Run::new(scratch.path(), 10);
        run.hasty = true;
        run.fault = format!("{at} once kill-before");
        if let Err(error) = killed_run_is_recovered(&run) {
            let error = error.to_string();
            assert!(error.contains("LostBatch"), "for another reason: {error}");
            return Ok(());
        }
    }
    Err("nothing was lost".into())
}

#[test]
fn a_kill_in_recovery_loses_nothing() -> Tested {
    let kills = kill_in_recovery()?;
    report(&format!("{kills} kills in recovery"));
    assert!(kills > 20);
    Ok(())
}
