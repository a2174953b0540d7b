//! The example program `award_points`, run as its users run it.

use serde_json::Value;
use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

type Tested<T = ()> = Result<T, Box<dyn Error>>;

/// Of the real purchases, from a calculation apart from this library.
const CDNOW_ITEMS: u64 = 69_659;
const CDNOW_POINTS: u64 = 2_453_159;
const CDNOW_CUSTOMERS: u64 = 23_544;

#[test]
fn made_up_purchases_are_awarded_once_however_often_it_runs() -> Tested {
    let dir = scratch()?;
    let first = award(&dir, &[])?;
    assert_eq!(
        counts(&first),
        Counts {
            batches: 10,
            items: 10_000,
            succeeded: 10_000,
            failed: 0,
            points_total: 522_535,
            customers: 2_450,
        }
    );
    assert!(first["seconds"].as_f64() > Some(0.0), "{first}");
    assert!(first["items_per_second"].as_f64() > Some(0.0), "{first}");
    let again = award(&dir, &[])?;
    assert_eq!(counts(&again), counts(&first));
    assert_eq!(again["items_per_second"], 0.0, "nothing was left to run");
    Ok(())
}

#[test]
fn without_json_the_summary_is_text_with_the_largest_balances() -> Tested {
    let dir = scratch()?;
    let file = write(&dir, "c 20210101 1 3\na 20210101 1 1\nb 20210101 1 2.99\n")?;
    let output = program(&dir).arg(file).output()?;
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout)?;
    let balances: Vec<Vec<&str>> = text.lines().rev().take(3).map(words).collect();
    assert_eq!(balances, [["a", "1"], ["b", "2"], ["c", "3"]], "{text}");
    Ok(())
}

#[test]
fn amounts_are_exact_and_blanks_and_line_ends_do_not_matter() -> Tested {
    let dir = scratch()?;
    let text = "\u{feff}  00001 20240229  1   11.77\r\n\
        \r\n\
        00001 20240229  1   11.77\r\n\
        \t \n\
        00001\t20210112 5 0.999999999999999999999\n\
        00002 20210112 1 9007199254740993.99\n\
        00002 20210112 4294967295 007";
    let file = write(&dir, text)?;
    let summary = award(&dir, &[file.as_os_str()])?;
    let expected = Counts {
        batches: 1,
        items: 5,
        succeeded: 5,
        failed: 0,
        points_total: 11 + 11 + 9_007_199_254_740_993 + 7,
        customers: 2,
    };
    assert_eq!(counts(&summary), expected);
    Ok(())
}

#[test]
fn another_file_adds_to_the_same_balances() -> Tested {
    let dir = scratch()?;
    let monday = write(&dir, "a 20210101 1 5\n")?;
    award(&dir, &[monday.as_os_str()])?;
    let tuesday = write(&dir, "a 20210102 1 6\nb 20210102 1 7\n")?;
    let summary = award(&dir, &[tuesday.as_os_str()])?;
    let expected = Counts {
        batches: 1,
        items: 2,
        succeeded: 2,
        failed: 0,
        points_total: 18,
        customers: 2,
    };
    assert_eq!(counts(&summary), expected);
    Ok(())
}

#[test]
fn bad_lines_are_all_named_and_nothing_is_stored() -> Tested {
    let dir = scratch()?;
    let text = "a 20210101 1 1.00\n\
        \n\
        b 20210229 1 1.00\n\
        c 20210101 -1 1.00\n\
        d 20210101 1 1e3\n\
        e 20210101 1 -2.00\n\
        f 20210101 1 2.\n\
        g 20210101 1\n\
        h 20210101 1 2.00 more\n\
        i 2021011 1 2.00\n";
    let file = write(&dir, text)?;
    let output = program(&dir).arg(file).output()?;
    assert_eq!(output.status.code(), Some(3));
    assert!(!dir.path().join("store").exists());
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr)?;
    for bad in [
        "line 3: date is \"20210229\"",
        "line 4: quantity is \"-1\"",
        "line 5: amount is \"1e3\"",
        "line 6: amount is \"-2.00\"",
        "line 7: amount is \"2.\"",
        "line 8: amount is missing",
        "line 9: the fifth field is \"more\"",
        "line 10: date is \"2021011\"",
    ] {
        assert!(message.contains(bad), "{bad} is not in: {message}");
    }
    assert!(
        !message.contains("line 1:") && !message.contains("line 2:"),
        "{message}"
    );
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_an_error_of_its_own() -> Tested {
    let dir = scratch()?;
    let output = program(&dir).arg("no-such-file.txt").output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr)?.contains("no-such-file.txt"));
    assert!(!dir.path().join("store").exists());
    Ok(())
}

#[test]
fn failed_items_are_named_and_the_others_awarded() -> Tested {
    let dir = scratch()?;
    let most = u64::MAX;
    let file = write(
        &dir,
        &format!("a 20210101 1 {most}\na 20210101 1 1\nb 20210101 1 2\n"),
    )?;
    let output = program(&dir).arg("--json").arg(&file).output()?;
    assert_eq!(output.status.code(), Some(4));
    let summary: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(
        (&summary["succeeded"], &summary["failed"]),
        (&2.into(), &1.into())
    );
    let message = String::from_utf8(output.stderr)?;
    assert!(message.contains("line 2"), "{message}");
    Ok(())
}

#[test]
fn a_store_in_use_is_an_error_of_its_own() -> Tested {
    let dir = scratch()?;
    let _queue = batchwright::Queue::builder(dir.path().join("store")).open()?;
    let output = program(&dir).output()?;
    assert_eq!(output.status.code(), Some(5));
    let message = String::from_utf8(output.stderr)?;
    let pid = std::process::id().to_string();
    assert!(message.contains(&pid), "{message}");
    Ok(())
}

#[test]
fn real_purchases_are_awarded_once_through_three_kills() -> Tested {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cdnow_purchases.txt");
    if !file.exists() {
        // The data is not part of the repository.
        writeln!(std::io::stderr(), "skipped: {} is absent", file.display())?;
        return Ok(());
    }
    let dir = store_killed_three_times(&file)?;
    let expected = Counts {
        batches: CDNOW_ITEMS.div_ceil(1_000),
        items: CDNOW_ITEMS,
        succeeded: CDNOW_ITEMS,
        failed: 0,
        points_total: CDNOW_POINTS,
        customers: CDNOW_CUSTOMERS,
    };
    let last = award(&dir, &[file.as_os_str()])?;
    assert!(
        last["items_per_second"].as_f64() > Some(0.0),
        "the kills left nothing to do"
    );
    assert_eq!(counts(&last), expected);
    let again = award(&dir, &[file.as_os_str()])?;
    assert_eq!(counts(&again), expected);
    Ok(())
}

/// A store whose program was killed early, a little later, and later still. On a machine so busy that a kill
/// comes after the program's end, another store has its turn.
fn store_killed_three_times(file: &Path) -> Tested<TempDir> {
    for _ in 0..5 {
        let dir = scratch()?;
        let mut hits = 0;
        for more_bytes in [1, 2 << 20, 6 << 20] {
            hits += u32::from(kill_once_the_store_grew(&dir, file, more_bytes)?);
        }
        if hits == 3 {
            return Ok(dir);
        }
    }
    Err("no kill came in time".into())
}

/// Starts the program and kills it once its store has grown by `more_bytes`; false when it ended first.
fn kill_once_the_store_grew(dir: &TempDir, file: &Path, more_bytes: u64) -> Tested<bool> {
    let data = dir.path().join("store/store/db");
    let bytes = || fs::metadata(&data).map_or(0, |data| data.len());
    let enough = bytes() + more_bytes;
    let quiet = Stdio::null;
    let mut child = Killed(
        program(dir)
            .arg(file)
            .stdout(quiet())
            .stderr(quiet())
            .spawn()?,
    );
    while bytes() < enough {
        if child.0.try_wait()?.is_some() {
            return Ok(false);
        }
        // Another process cannot signal how far it is; its end bounds this loop.
        thread::sleep(Duration::from_millis(1));
    }
    child.0.kill()?;
    Ok(!child.0.wait()?.success())
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Counts {
    batches: u64,
    items: u64,
    succeeded: u64,
    failed: u64,
    points_total: u64,
    customers: u64,
}

fn counts(summary: &Value) -> Counts {
    let count = |name: &str| summary[name].as_u64().unwrap_or(u64::MAX);
    Counts {
        batches: count("batches"),
        items: count("items"),
        succeeded: count("succeeded"),
        failed: count("failed"),
        points_total: count("points_total"),
        customers: count("customers"),
    }
}

/// Runs the program to its end, which must be a good one.
fn award(dir: &TempDir, arguments: &[&OsStr]) -> Tested<Value> {
    let Output {
        status,
        stdout,
        stderr,
    } = program(dir).arg("--json").args(arguments).output()?;
    assert!(
        status.success(),
        "{status}: {}",
        String::from_utf8_lossy(&stderr)
    );
    Ok(serde_json::from_slice(&stdout)?)
}

fn program(dir: &TempDir) -> Command {
    let mut command = Command::new(example());
    command.arg("--store").arg(dir.path().join("store"));
    command
}

/// The example as `cargo test` built it. Cargo does not build examples for `cargo test --test`; run
/// `cargo build --example award_points` first then.
fn example() -> PathBuf {
    // This program is target/<profile>/deps/award_points-<hash>.
    let this = std::env::current_exe().unwrap_or_default();
    let profile = this.parent().and_then(Path::parent).unwrap_or(&this);
    let name = format!("award_points{}", std::env::consts::EXE_SUFFIX);
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --example award_points`",
        path.display()
    );
    path
}

/// Beside the build, which is on a disk.
fn scratch() -> std::io::Result<TempDir> {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
}

fn write(dir: &TempDir, text: &str) -> std::io::Result<PathBuf> {
    let path = dir.path().join("purchases.txt");
    fs::write(&path, text)?;
    Ok(path)
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}
