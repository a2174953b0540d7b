//! Calls that fail: every one of a run, once or for ever, with every error that it can have.
//!
//! Whatever fails, the process must end by itself, without a panic of the library; nothing may be acknowledged that a
//! failed commit was part of, nor anything after it; and when the fault is gone, everything that was acknowledged is
//! there and work goes on.

use crate::books::Books;
use crate::cuts::{is_campaign, report, within_time};
use crate::format::{Entry, Kind};
use crate::recording::{entries, said};
use crate::run::{Ended, Run, Tested, scratch};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// What is to be known of many faults.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) struck: u64,
    /// Of the errors that the process was told, by call and kind.
    told: BTreeMap<String, u64>,
    /// First sessions in which nothing failed although a call did.
    unharmed: u64,
    /// Second sessions that could not open the store, though the fault was over.
    not_reopened: u64,
    pub(crate) wrong: Vec<String>,
}

/// Runs the script with a fault and judges what it did. False when no call was struck.
pub(crate) fn strike(run: &Run<'_>, mut books: Books, tally: &mut Tally) -> Tested<bool> {
    let ended = run.run()?;
    let log = entries(&ended.log);
    if !log.iter().any(is_injected) {
        return Ok(false);
    }
    let opened = log.iter().position(|entry| entry.data == b"opened\n");
    let struck = log.iter().position(is_injected);
    if !books.is_empty() && opened.is_some() && opened < struck {
        // Recovery is over; the rest is work as on a new store.
        return Ok(false);
    }
    tally.struck += 1;
    let lines: Vec<String> = log.iter().flat_map(said).collect();
    lines.iter().for_each(|line| books.hear(line));
    let judged = judge(run, &ended, &log, &lines, tally);
    let checked = within_time(books, run.store()).map_err(|finding| finding.to_string());
    for wrong in [judged, checked].into_iter().filter_map(Result::err) {
        tally.wrong.push(format!("fault {:?}: {wrong}", run.fault));
    }
    Ok(true)
}

fn is_injected(entry: &Entry<'_>) -> bool {
    entry.kind == Kind::Ended && entry.b == 1
}

fn judge(
    run: &Run<'_>,
    ended: &Ended,
    log: &[Entry<'_>],
    lines: &[String],
    tally: &mut Tally,
) -> Result<(), String> {
    if !ended.status.success() {
        return Err(format!("it ended with {}: {}", ended.status, ended.stderr));
    }
    // The storage engine's panics are the library's to catch, and it does.
    let panics = ended
        .stderr
        .lines()
        .filter(|line| line.contains("panicked at"));
    if let Some(panic) = panics
        .into_iter()
        .find(|line| !line.contains("/sled-0.34.7/"))
    {
        return Err(format!("{panic}: {}", ended.stderr));
    }
    for session in lines.split(|line| line == "opening") {
        check_latched(session)?;
    }
    check_failed_syncs(log)?;
    let errors = lines.iter().filter_map(|line| line.strip_prefix("error "));
    let mut failed = false;
    for error in errors {
        let words: Vec<&str> = error.splitn(3, ' ').collect();
        // A small batch may have completed before it was to be stopped.
        if words[1] == "NotStopped" {
            continue;
        }
        failed = true;
        *tally.told.entry(words[..2].join(" ")).or_default() += 1;
        if words[..2] == ["open", "Damaged"] {
            return Err(format!("nothing is damaged: {error}"));
        }
    }
    if !failed {
        tally.unharmed += 1;
    }
    let mut after = lines.iter().skip_while(|line| *line != "mended");
    if run.mended && !after.any(|line| line == "opened") {
        tally.not_reopened += 1;
    }
    Ok(())
}

/// After a queue has said that it failed, it acknowledges nothing that is asked of it.
fn check_latched(session: &[String]) -> Result<(), String> {
    let mut latched: Option<&String> = None;
    let mut asked_after = false;
    for line in session {
        let what = line.split(' ').next().unwrap_or_default();
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if what == "error" && matches!(words[2], "Failed" | "Unknown") {
            latched = latched.or(Some(line));
        }
        if latched.is_some() {
            match what {
                "submitting" | "stopping" | "resuming" | "deleting" | "waiting" => {
                    asked_after = true;
                }
                "submitted" | "stopped" | "resumed" | "deleted" | "ended" if asked_after => {
                    return Err(format!("after {latched:?}: {line}"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// After a sync of the library's failed, nothing that is asked for is acknowledged until the queue is opened again.
fn check_failed_syncs(log: &[Entry<'_>]) -> Result<(), String> {
    let mut syncs = BTreeMap::new();
    let mut failed = false;
    let mut asked_after = false;
    for entry in log {
        match entry.kind {
            // Only the library syncs data alone; the storage engine syncs all or ranges.
            Kind::SyncData => {
                syncs.insert(entry.number, ());
            }
            Kind::Ended if syncs.contains_key(&entry.number) && entry.a < 0 => failed = true,
            _ => {}
        }
        for line in said(entry) {
            let what = line.split(' ').next().unwrap_or_default().to_owned();
            match what.as_str() {
                "opening" => (failed, asked_after) = (false, false),
                "submitting" | "stopping" | "resuming" | "deleting" => asked_after = failed,
                "submitted" | "stopped" | "resumed" | "deleted" if failed && asked_after => {
                    return Err(format!("a sync had failed, and then: {line}"));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// A store that a killed process has left, to be opened again and again.
pub(crate) struct Prepared {
    scratch: tempfile::TempDir,
    books: Books,
}

impl Prepared {
    pub(crate) fn new() -> Tested<Self> {
        let scratch = scratch()?;
        let mut books = Books::default();
        let mut run = Run::new(scratch.path(), 10);
        run.fault = "190 once kill-before".to_owned();
        for entry in entries(&run.run()?.log) {
            said(&entry).iter().for_each(|line| books.hear(line));
        }
        Ok(Self { scratch, books })
    }

    fn copy_to(&self, scratch: &Path) -> Tested {
        copy(
            &Run::new(self.scratch.path(), 0).watched(),
            &Run::new(scratch, 0).watched(),
        )
    }
}

fn copy(from: &Path, to: &Path) -> Tested {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, to) = (entry?.path(), to);
        let to = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(path, to)?;
        }
    }
    Ok(())
}

/// Strikes one call after the other, each with `action`, on as many threads as there are processors. Of a run on a
/// new store, or of the opening of one that is there.
fn strike_every_call(action: &str, lasts: &str, prepared: Option<&Prepared>) -> Tested<Tally> {
    let next = AtomicU64::new(0);
    let threads = thread::available_parallelism()?.get();
    let strikers = thread::scope(|scope| {
        let striker = || -> Tested<Tally> {
            let mut tally = Tally::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let scratch = scratch()?;
                let mut run = Run::new(scratch.path(), 10);
                run.fault = format!("{at} {lasts} {action}");
                run.mended = is_campaign() || prepared.is_some();
                run.sessions = if run.mended { 2 } else { 1 };
                let mut books = Books::default();
                if let Some(prepared) = prepared {
                    prepared.copy_to(scratch.path())?;
                    books = prepared.books.clone();
                    run.seed = 30;
                }
                if !strike(&run, books, &mut tally)? {
                    return Ok(tally);
                }
            }
        };
        let strikers: Vec<_> = (0..threads).map(|_| scope.spawn(striker)).collect();
        strikers
            .into_iter()
            .map(|striker| striker.join().map_err(|_| "a striker panicked")?)
            .collect::<Tested<Vec<_>>>()
    })?;
    let mut sum = Tally::default();
    for tally in strikers {
        sum.struck += tally.struck;
        sum.unharmed += tally.unharmed;
        sum.not_reopened += tally.not_reopened;
        sum.wrong.extend(tally.wrong);
        for (told, count) in tally.told {
            *sum.told.entry(told).or_default() += count;
        }
    }
    Ok(sum)
}

pub(crate) fn assert_harmless(action: &str, lasts: &str, prepared: Option<&Prepared>) -> Tested {
    let tally = strike_every_call(action, lasts, prepared)?;
    report(&format!(
        "{action} {lasts}: {} struck, {} of them without any effect, told: {:?}; {} not opened again by the same process",
        tally.struck, tally.unharmed, tally.told, tally.not_reopened
    ));
    assert!(tally.struck > 5, "only {}", tally.struck);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    Ok(())
}

#[test]
fn any_call_may_fail_once() -> Tested {
    assert_harmless(&format!("errno:{EIO}"), "once", None)
}

#[test]
fn a_call_may_find_the_disk_full_once() -> Tested {
    assert_harmless(&format!("errno:{ENOSPC}"), "once", None)
}

#[test]
fn an_open_may_find_no_descriptor_left_once() -> Tested {
    assert_harmless(&format!("errno:{EMFILE}"), "once", None)
}

#[test]
fn reads_and_writes_may_be_short_once() -> Tested {
    assert_harmless("short", "once", None)
}

/// Short reads and writes are no errors: all goes well.
#[test]
fn reads_and_writes_may_always_be_short() -> Tested {
    let scratch = scratch()?;
    let mut run = Run::new(scratch.path(), 10);
    run.fault = "0 ever short".to_owned();
    let mut tally = Tally::default();
    assert!(strike(&run, Books::default(), &mut tally)?);
    assert!(tally.wrong.is_empty() && tally.unharmed == 1, "{tally:?}");
    Ok(())
}

#[test]
fn a_directory_that_cannot_be_written_to_is_refused_and_left_as_it_was() -> Tested {
    let scratch = scratch()?;
    let mut run = Run::new(scratch.path(), 10);
    run.run()?;
    let before = names(&run.watched())?;
    run.fault = format!("0 ever errno:{EROFS}");
    run.seed = 30;
    let ended = run.run()?;
    let lines: Vec<String> = entries(&ended.log).iter().flat_map(said).collect();
    assert!(ended.status.success(), "{}", ended.stderr);
    let errors: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("error "))
        .collect();
    assert!(
        errors
            .iter()
            .all(|error| error.starts_with("error open Io ")),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2);
    assert_eq!(names(&run.watched())?, before);
    Ok(())
}

fn names(directory: &Path) -> Tested<Vec<(String, u64)>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            names.extend(self::names(&path)?);
        }
        names.push((path.to_string_lossy().into_owned(), path.metadata()?.len()));
    }
    names.sort();
    Ok(names)
}

/// A read that fails is not the end of the data.
#[test]
fn any_call_of_a_recovery_may_fail_once() -> Tested {
    let prepared = Prepared::new()?;
    for errno in [EIO, ENOSPC, EMFILE] {
        assert_harmless(&format!("errno:{errno}"), "once", Some(&prepared))?;
    }
    Ok(())
}

/// From the call on everything fails, until the process is told that it is over.
#[test]
fn any_call_may_be_the_first_that_fails_for_ever() -> Tested {
    if !is_campaign() {
        return Ok(());
    }
    assert_harmless(&format!("errno:{EIO}"), "ever", None)
}

#[test]
fn a_disk_may_be_full_from_any_call_on_and_freed_later() -> Tested {
    if !is_campaign() {
        return Ok(());
    }
    assert_harmless(&format!("errno:{ENOSPC}"), "ever", None)
}

#[test]
fn there_may_be_no_descriptors_from_any_call_on() -> Tested {
    if !is_campaign() {
        return Ok(());
    }
    assert_harmless(&format!("errno:{EMFILE}"), "ever", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn an_acknowledgement_after_a_failure_is_noticed() {
        let known =
            lines("submitting 1, error submit Unknown why, submitting 2, error submit Failed why");
        assert!(check_latched(&known).is_ok());
        // One that was asked for before may have been under way.
        let before = lines("submitting 1, error wait Failed why, submitted 1 1");
        assert!(check_latched(&before).is_ok());
        let after = lines("error wait Failed why, submitting 1, submitted 1 1");
        assert!(check_latched(&after).is_err());
    }

    #[test]
    fn an_acknowledgement_after_a_failed_sync_is_noticed() {
        let entry = |kind, a, data| Entry {
            kind,
            number: 1,
            fd: 5,
            a,
            b: 0,
            path: &[],
            data,
        };
        let log = |result| {
            [
                entry(Kind::SyncData, 0, &b""[..]),
                entry(Kind::Ended, result, &b""[..]),
                entry(Kind::Said, 0, &b"submitting 1\n"[..]),
                entry(Kind::Said, 0, &b"submitted 1 1\n"[..]),
            ]
        };
        assert!(check_failed_syncs(&log(0)).is_ok());
        assert!(check_failed_syncs(&log(-5)).is_err());
    }
}
