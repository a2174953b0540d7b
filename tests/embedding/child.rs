//! Processes of their own for what belongs to a whole process: this program, started again for one part.

use crate::harness::{SOON, Tested};
use std::error::Error;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// What a child does, in an empty directory. It fails with the error, or the panic.
pub(crate) type Part = fn(&Path) -> Tested;

const PART: &str = "BATCHWRIGHT_EMBEDDING_PART";
const DIR: &str = "BATCHWRIGHT_EMBEDDING_DIR";

/// What a child says at the end, so that one which did nothing is noticed.
const PLAYED: &str = "the part was played";

/// Is a child, if this process was started as one.
pub(crate) fn play(parts: &[(&str, Part)]) -> Tested {
    let (Ok(name), Some(dir)) = (std::env::var(PART), std::env::var_os(DIR)) else {
        return Ok(());
    };
    let part = parts.iter().find(|(known, _)| *known == name);
    let (_, part) = part.ok_or_else(|| format!("no part {name:?}"))?;
    part(&PathBuf::from(dir))?;
    println!("{PLAYED}");
    Ok(())
}

/// What a child printed.
#[derive(Debug)]
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Has a child play a part; fails when it does, or does not end.
pub(crate) fn plays(part: &str) -> Result<Printed, Box<dyn Error>> {
    let scratch = tempfile::tempdir()?;
    let program = Command::new(std::env::current_exe()?);
    finish(start(program, part, scratch.path(), "")?)
}

/// Starts `program`, which is or runs this one, as a child that reads `input`.
pub(crate) fn start(
    mut program: Command,
    part: &str,
    dir: &Path,
    input: &str,
) -> Result<Child, Box<dyn Error>> {
    let mut child = program
        .args(["--exact", "child", "--nocapture"])
        .env(PART, part)
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    stdin.write_all(input.as_bytes())?;
    Ok(child)
}

/// Waits for the end of a child, and kills it when that does not come.
pub(crate) fn finish(mut child: Child) -> Result<Printed, Box<dyn Error>> {
    let stdout = all_of(child.stdout.take());
    let stderr = all_of(child.stderr.take());
    let printed = (stdout.recv_timeout(2 * SOON), stderr.recv_timeout(2 * SOON));
    let (Ok(stdout), Ok(stderr)) = printed else {
        child.kill()?;
        child.wait()?;
        return Err("the child does not end".into());
    };
    let status = child.wait()?;
    if !status.success() || !stdout.contains(PLAYED) {
        return Err(format!("the child ended with {status}:\n{stdout}{stderr}").into());
    }
    Ok(Printed { stdout, stderr })
}

/// Reads in the background, so that a child which does not end can be noticed.
fn all_of(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, text) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    text
}

/// Threads of this process by name, which Linux cuts at 15 bytes; none elsewhere.
pub(crate) fn threads() -> Vec<String> {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return Vec::new();
    };
    let name = |thread: std::io::Result<std::fs::DirEntry>| {
        let name = std::fs::read_to_string(thread.ok()?.path().join("comm"));
        Some(name.ok()?.trim_end().to_owned())
    };
    let mut names: Vec<_> = threads.filter_map(name).collect();
    names.sort();
    names
}

/// What the descriptors of a process lead to; none where there is no `/proc`.
pub(crate) fn descriptors(process: &str) -> Vec<PathBuf> {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
        return Vec::new();
    };
    let mut targets: Vec<_> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .collect();
    targets.sort();
    targets
}
