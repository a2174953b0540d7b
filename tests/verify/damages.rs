//! Damaged stores by the dozen: none is a panic or a hang, each that a reader would notice is found, and what is
//! salvaged is sound.

use crate::child::{RANGE, SEED, STORE};
use crate::store::{Tested, dir_in, written};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Stores that one process judges.
const PER_CHILD: u64 = 25;

/// Processes at once.
const CHILDREN: usize = 3;

/// Far more than a process takes for its stores.
const PATIENCE: Duration = Duration::from_secs(600);

fn number_of(variable: &str, default: u64) -> Tested<u64> {
    match std::env::var(variable) {
        Ok(text) => Ok(text.parse()?),
        Err(_) => Ok(default),
    }
}

/// What a process said of the stores of a range. An error names the one at which it ended.
fn child(store: &Path, from: u64, to: u64, seed: u64) -> Tested<Vec<String>> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", "child::child_that_judges", "--nocapture"])
        .env(STORE, store)
        .env(RANGE, format!("{from} {to}"))
        .env(SEED, seed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let id = child.id();
    let (ended, output) = channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    let output = match output.recv_timeout(PATIENCE) {
        Ok(output) => output?,
        Err(RecvTimeoutError::Timeout) => {
            return Err(
                format!("process {id} hangs, with damages {from} to {to}, seed {seed}").into(),
            );
        }
        Err(error) => return Err(error.into()),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let at = said
            .rsplit("begin\t")
            .next()
            .and_then(|rest| rest.lines().next());
        let errors = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<_> = errors.lines().rev().take(30).collect();
        let tail: Vec<_> = tail.into_iter().rev().collect();
        return Err(format!(
            "seed {seed}, damage {at:?}: {}\n{}",
            output.status,
            tail.join("\n")
        )
        .into());
    }
    let judged = said
        .lines()
        .filter_map(|line| line.strip_prefix("judged\t"));
    Ok(judged.map(str::to_owned).collect())
}

#[test]
fn every_damage_that_a_reader_would_notice_is_found_and_none_is_a_panic_or_a_hang() -> Tested {
    let total = number_of("BATCHWRIGHT_DAMAGES", 150)?;
    let seed = number_of("BATCHWRIGHT_DAMAGE_SEED", 7)?;
    let parent = written()?;
    fs::copy(dir_in(&parent).join("store/db"), parent.path().join("old"))?;
    crate::store::more(&dir_in(&parent))?;
    let next = AtomicU64::new(0);
    let judged = Mutex::new(Vec::new());
    let failed = Mutex::new(Vec::new());
    thread::scope(|threads| {
        for _ in 0..CHILDREN {
            threads.spawn(|| {
                loop {
                    let from = next.fetch_add(PER_CHILD, Ordering::Relaxed);
                    if from >= total {
                        return;
                    }
                    match child(parent.path(), from, total.min(from + PER_CHILD), seed) {
                        Ok(lines) => judged.lock().unwrap().extend(lines),
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                }
            });
        }
    });
    let (judged, failed) = (judged.into_inner()?, failed.into_inner()?);
    show(&judged);
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert_eq!(judged.len() as u64, total);
    Ok(())
}

fn show(judged: &[String]) {
    let mut tally: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut harm, mut by_open, mut by_verify) = (0, 0, 0);
    for line in judged {
        *tally.entry(line).or_default() += 1;
        let harms = !line.contains("Intact");
        harm += u32::from(harms);
        by_open += u32::from(line.contains("Refused"));
        by_verify += u32::from(harms && line.contains("found"));
    }
    for (line, count) in &tally {
        println!("{count:6}  {}", line.replace('\t', "  "));
    }
    println!(
        "{} damaged stores; {harm} of them refused or read otherwise: {by_open} found by open, {by_verify} by verify",
        judged.len()
    );
}
