//! That no call escapes the recorder: strace sees the same ones.

use crate::format::Kind;
use crate::recording::entries;
use crate::run::{Run, Tested, scratch};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// System calls that change files, make them durable, or read what is in them, and what the recorder calls them.
/// Those with no name here must not be made at all.
const CALLS: [(&str, Option<Kind>); 35] = [
    ("open", Some(Kind::Open)),
    ("openat", Some(Kind::Open)),
    ("openat2", None),
    ("creat", Some(Kind::Open)),
    ("read", Some(Kind::Read)),
    ("pread64", Some(Kind::Read)),
    ("readv", None),
    ("preadv", None),
    ("preadv2", None),
    ("write", Some(Kind::Write)),
    ("pwrite64", Some(Kind::Write)),
    ("writev", None),
    ("pwritev", None),
    ("pwritev2", None),
    ("truncate", None),
    ("ftruncate", Some(Kind::Truncate)),
    ("fallocate", None),
    ("fsync", Some(Kind::Sync)),
    ("fdatasync", Some(Kind::SyncData)),
    ("sync_file_range", Some(Kind::SyncRange)),
    ("rename", Some(Kind::Rename)),
    ("renameat", Some(Kind::Rename)),
    ("renameat2", Some(Kind::Rename)),
    ("unlink", Some(Kind::Unlink)),
    ("mkdir", Some(Kind::MakeDirectory)),
    ("mkdirat", Some(Kind::MakeDirectory)),
    ("link", None),
    ("linkat", None),
    ("symlink", None),
    ("symlinkat", None),
    ("copy_file_range", None),
    ("sendfile", None),
    ("splice", None),
    ("mmap", None),
    ("io_uring_setup", None),
];

#[test]
fn no_call_escapes_the_recorder() -> Tested {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stderr(Stdio::null())
        .status();
    if !works.is_ok_and(|status| status.success()) {
        crate::cuts::report("skipped: strace is not installed, or may not trace here");
        return Ok(());
    }
    let scratch = scratch()?;
    let run = Run::new(scratch.path(), 10);
    std::fs::create_dir_all(run.watched())?;
    let (log, trace) = (scratch.path().join("log"), scratch.path().join("trace"));
    let names: Vec<String> = CALLS.iter().map(|(name, _)| format!("?{name}")).collect();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-e"]);
    strace.arg(format!("trace={},?unlinkat,?rmdir", names.join(",")));
    strace.arg("-o").arg(&trace);
    for (name, value) in run.variables(&log)? {
        strace.arg("-E").arg(format!("{name}={value}"));
    }
    strace.arg(std::env::current_exe()?);
    strace.args(["--exact", "script", "--nocapture"]);
    let status = strace
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    assert!(status.success(), "{status}");

    let mut recorded: BTreeMap<Kind, u64> = BTreeMap::new();
    for entry in entries(&std::fs::read(log)?) {
        if !matches!(
            entry.kind,
            Kind::Ended | Kind::Said | Kind::Close | Kind::Duplicate
        ) {
            *recorded.entry(entry.kind).or_default() += 1;
        }
    }
    let trace = String::from_utf8_lossy(&std::fs::read(trace)?).into_owned();
    let seen = count(&trace, &run.watched().to_string_lossy())?;
    assert_eq!(seen, recorded);
    assert!(recorded.values().sum::<u64>() > 100, "{recorded:?}");
    Ok(())
}

/// The calls in the output of strace that are on files below `directory`.
fn count(trace: &str, directory: &str) -> Tested<BTreeMap<Kind, u64>> {
    let mut seen = BTreeMap::new();
    for line in trace.lines() {
        let what = line
            .split_once(' ')
            .map_or(line, |(_, what)| what.trim_start());
        let Some((name, arguments)) = what.split_once('(') else {
            continue;
        };
        if !arguments.contains(directory) || arguments.contains("O_DIRECTORY") {
            // The C library opens directories itself, to list them.
            continue;
        }
        let kind = match name {
            "unlinkat" if arguments.contains("AT_REMOVEDIR") => Some(Kind::RemoveDirectory),
            "unlinkat" => Some(Kind::Unlink),
            "rmdir" => Some(Kind::RemoveDirectory),
            name => CALLS
                .iter()
                .find(|call| call.0 == name)
                .and_then(|call| call.1),
        };
        let kind = kind.ok_or_else(|| format!("not recorded: {line}"))?;
        *seen.entry(kind).or_default() += 1;
    }
    Ok(seen)
}
