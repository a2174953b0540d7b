//! Damaged stores, foreign directories and directories in use, as an application meets them. Damage at random
//! places is in `verify`.
//!
//! Damage is judged in a process of its own: one that panics, aborts or hangs is seen as that.
#![allow(
    clippy::print_stdout,
    reason = "the shares that were found are read by people"
)]

use batchwright::{
    AtLeastOnce, BatchError, BatchFilter, Context, ExactlyOnce, Failure, OpenError, Operation,
    Outcome, Queue, RetryPolicy, State, Table,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use twox_hash::XxHash3_64;

type Tested<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longer than anything here takes; then it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const SUMS: Table<u64, u64> = Table::new("sums");

/// Adds its item to a row.
struct Add;

impl Operation for Add {
    const NAME: &'static str = "add";
    type Item = u64;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, n: u64, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let row = n % 50;
        let sum = cx.get(&SUMS, &row)?.unwrap_or(0) + n;
        cx.put(&SUMS, &row, &sum)?;
        Ok(n)
    }
}

/// Answers with a text, so that the store has something to keep.
struct Echo;

impl Operation for Echo {
    const NAME: &'static str = "echo";
    type Item = u64;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        Ok(echo(n))
    }
}

fn echo(n: u64) -> String {
    n.to_string().repeat(1_000)
}

const BATCHES: u64 = 30;
const ITEMS: u64 = 60;

fn items(batch: u64) -> std::ops::Range<u64> {
    batch * ITEMS..(batch + 1) * ITEMS
}

fn open(dir: &Path) -> Result<Queue, OpenError> {
    let queue = Queue::builder(dir).workers(2);
    queue.register(Add).register(Echo).open()
}

/// A store with [`BATCHES`] completed batches, even ones of `Echo` and odd ones of `Add`, closed.
fn written() -> Tested<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    let queue = open(dir.path())?;
    for number in 1..=BATCHES {
        if number.is_multiple_of(2) {
            queue.submit::<Echo>(items(number))?.wait()?;
        } else {
            queue.submit::<Add>(items(number))?.wait()?;
        }
    }
    queue.shutdown(PATIENCE)?;
    Ok(dir)
}

/// What an application makes of a store that somebody has damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything is there.
    Intact,
    RefusedUntouched,
    RefusedTouched,
    /// Opened, and something that is read is an error.
    ReadError,
    /// Opened, and something is missing without an error.
    Lost,
}

impl Verdict {
    const ALL: [Self; 5] = [
        Self::Intact,
        Self::RefusedUntouched,
        Self::RefusedTouched,
        Self::ReadError,
        Self::Lost,
    ];
}

/// Reads all that [`written`] wrote. An error is something that must not be: a wrong value.
fn judge(dir: &Path) -> Tested<Verdict> {
    let queue = match open(dir) {
        Ok(queue) => queue,
        Err(OpenError::Damaged { touched, .. }) if touched => return Ok(Verdict::RefusedTouched),
        Err(OpenError::Damaged { .. }) => return Ok(Verdict::RefusedUntouched),
        Err(error) => return Err(error.into()),
    };
    let mut verdict = Verdict::Intact;
    let mut worse = |found: Verdict| verdict = verdict.max(found);
    for number in 1..=BATCHES {
        match read_batch(&queue, number)? {
            Ok(items) if items == ITEMS => {}
            Ok(_) | Err(BatchError::NotFound { .. }) => worse(Verdict::Lost),
            Err(_) => worse(Verdict::ReadError),
        }
    }
    let mut listed = 0;
    for status in queue.batches(BatchFilter::all()) {
        match status {
            Ok(_) => listed += 1,
            Err(_) => worse(Verdict::ReadError),
        }
        if listed > BATCHES {
            return Err("there are more batches than were submitted".into());
        }
    }
    let sums = queue.read(|tables| {
        tables
            .range(&SUMS, ..)
            .collect::<Result<BTreeMap<_, _>, _>>()
    });
    match sums {
        Err(_) => worse(Verdict::ReadError),
        Ok(sums) => {
            let expected = expected_sums();
            if sums.iter().any(|(row, sum)| expected.get(row) != Some(sum)) {
                return Err(format!("wrong sums: {sums:?}").into());
            }
            if sums.len() < expected.len() {
                worse(Verdict::Lost);
            }
        }
    }
    // Whatever it is, the queue can be used or says that it cannot, and can be closed.
    if let Ok(batch) = queue.submit::<Add>(items(BATCHES + 1)) {
        let _ = batch.wait_timeout(PATIENCE / 4);
    }
    let _ = queue.shutdown(PATIENCE / 4);
    Ok(verdict)
}

/// How many of the batch's outcomes there are.
fn read_batch(queue: &Queue, number: u64) -> Tested<Result<u64, BatchError>> {
    let batch = match queue.batch(number) {
        Ok(batch) => batch,
        Err(error) => return Ok(Err(error)),
    };
    match batch.status() {
        Ok(status) if status.state == State::Completed && status.succeeded == ITEMS => {}
        Ok(status) => return Err(format!("not as it was: {status}").into()),
        Err(error) => return Ok(Err(error)),
    }
    let outcomes = match batch.outcomes() {
        Ok(outcomes) => outcomes,
        Err(error) => return Ok(Err(error)),
    };
    let mut found = 0;
    for item in outcomes {
        let item = match item {
            Ok(item) => item,
            Err(error) => return Ok(Err(error)),
        };
        let n = items(number).start + u64::try_from(item.index)?;
        let expected = if number.is_multiple_of(2) {
            serde_json::Value::from(echo(n))
        } else {
            serde_json::Value::from(n)
        };
        if item.outcome != Outcome::Succeeded(expected) {
            return Err(format!("batch {number}: wrong outcome {item:?}").into());
        }
        found += 1;
    }
    Ok(Ok(found))
}

fn expected_sums() -> BTreeMap<u64, u64> {
    let mut sums = BTreeMap::new();
    for n in (1..=BATCHES).step_by(2).flat_map(items) {
        *sums.entry(n % 50).or_default() += n;
    }
    sums
}

const DIR: &str = "BATCHWRIGHT_DAMAGE_DIR";

/// The process that judges; nothing when run as a test.
#[test]
fn child_that_judges() -> Tested {
    if let Some(dir) = std::env::var_os(DIR) {
        println!("\nverdict: {:?}", judge(Path::new(&dir))?);
    }
    Ok(())
}

/// Runs one of the tests of this file as a child, on `dir`.
fn child(test: &str, dir: &Path) -> Tested<String> {
    let child = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(DIR, dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let id = child.id();
    let (ended, output) = channel();
    thread::spawn(move || ended.send(child.wait_with_output()));
    let output = match output.recv_timeout(PATIENCE) {
        Ok(output) => output?,
        Err(RecvTimeoutError::Timeout) => return Err(format!("process {id} hangs").into()),
        Err(error) => return Err(error.into()),
    };
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{test} on {}: {output:?}", dir.display()).into())
    }
}

fn verdict_of_child(dir: &Path) -> Tested<Verdict> {
    let said = child("child_that_judges", dir)?;
    let verdicts = Verdict::ALL.into_iter();
    let mut said_so = verdicts.filter(|verdict| said.contains(&format!("verdict: {verdict:?}")));
    Ok(said_so.next().ok_or("no verdict")?)
}

fn copy_directory(from: &Path, to: &Path) -> Tested {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Damages a copy of `store` and lets a child judge it.
fn damaged_copy(store: &Path, damage: impl FnOnce(&Path) -> Tested) -> Tested<Verdict> {
    let copy = tempfile::tempdir()?;
    copy_directory(store, copy.path())?;
    damage(copy.path())?;
    verdict_of_child(copy.path())
}

fn random(state: &mut u64, end: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

#[test]
fn a_truncated_store_is_refused_and_left_alone() -> Tested {
    let store = written()?;
    let length = fs::metadata(store.path().join("store/db"))?.len();
    let mut state = 11;
    for round in 0..10 {
        let left = if round == 0 {
            length - 1
        } else {
            random(&mut state, length)
        };
        let copy = tempfile::tempdir()?;
        copy_directory(store.path(), copy.path())?;
        let data = copy.path().join("store/db");
        OpenOptions::new().write(true).open(&data)?.set_len(left)?;
        let verdict = verdict_of_child(copy.path())?;
        assert_eq!(
            verdict,
            Verdict::RefusedUntouched,
            "{left} of {length} bytes"
        );
        assert_eq!(fs::metadata(&data)?.len(), left);
    }
    Ok(())
}

#[test]
fn missing_and_torn_files_are_damage_and_one_torn_slot_is_not() -> Tested {
    let store = written()?;
    for name in ["seal", "store/conf", "store/db", "store"] {
        let verdict = damaged_copy(store.path(), |dir| {
            let path = dir.join(name);
            let remove = if path.is_dir() {
                fs::remove_dir_all
            } else {
                fs::remove_file
            };
            Ok(remove(path)?)
        })?;
        assert_eq!(verdict, Verdict::RefusedUntouched, "{name} is missing");
    }
    // A directory in which there has been a store is not one to make a new store in.
    let verdict = damaged_copy(store.path(), |dir| {
        fs::remove_file(dir.join("seal"))?;
        Ok(fs::remove_dir_all(dir.join("store"))?)
    })?;
    assert_eq!(
        verdict,
        Verdict::RefusedUntouched,
        "all but the marks is missing"
    );
    for (slots, expected) in [
        (&[0, 4096][..], Verdict::RefusedUntouched),
        (&[0], Verdict::Intact),
        (&[4096], Verdict::Intact),
    ] {
        let verdict = damaged_copy(store.path(), |dir| {
            let path = dir.join("seal");
            let mut seal = fs::read(&path)?;
            for slot in slots {
                seal[slot + 20..slot + 24].copy_from_slice(b"torn");
            }
            Ok(fs::write(path, seal)?)
        })?;
        assert_eq!(verdict, expected, "slots at {slots:?} torn");
    }
    Ok(())
}

#[test]
fn a_damaged_store_says_so_and_where() -> Tested {
    let store = written()?;
    fs::remove_file(store.path().join("seal"))?;
    let error = open(store.path()).map(drop).err().ok_or("it opened")?;
    let text = error.to_string();
    assert!(text.contains(&store.path().display().to_string()), "{text}");
    assert!(
        text.contains("is damaged") && text.contains("no file was touched"),
        "{text}"
    );
    Ok(())
}

#[test]
fn a_second_open_is_refused_with_the_holders_process_id() -> Tested {
    let dir = tempfile::tempdir()?;
    let queue = open(dir.path())?;
    assert_locked(dir.path(), std::process::id())?;
    let said = child("child_that_is_refused", dir.path())?;
    let holder = format!("in use by process {};", std::process::id());
    assert!(said.contains(&holder), "{said}");
    // It works on, and lets go at the end.
    queue.submit::<Add>([1])?.wait()?;
    queue.shutdown(PATIENCE)?;
    assert_eq!(open(dir.path())?.batch(1)?.status()?.succeeded, 1);
    Ok(())
}

fn assert_locked(dir: &Path, holder: u32) -> Tested {
    match open(dir) {
        Err(OpenError::Locked { pid, .. }) => assert_eq!(pid, Some(holder)),
        other => return Err(format!("not locked: {other:?}").into()),
    }
    Ok(())
}

/// The other process of [`a_second_open_is_refused_with_the_holders_process_id`].
#[test]
fn child_that_is_refused() -> Tested {
    if let Some(dir) = std::env::var_os(DIR) {
        let refused = open(Path::new(&dir)).map(drop).err();
        println!("{}", refused.ok_or("it opened")?);
    }
    Ok(())
}

#[test]
fn a_foreign_directory_is_refused_and_left_as_it_was() -> Tested {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("diary.txt"), "mine")?;
    match open(dir.path()) {
        Err(OpenError::NotAStore { found, .. }) => assert_eq!(found, "diary.txt"),
        other => return Err(format!("not refused: {other:?}").into()),
    }
    assert_eq!(fs::read_dir(dir.path())?.count(), 1);
    Ok(())
}

/// The storage engine's rows, past the library.
fn rows(dir: &Path) -> Tested<sled::Db> {
    let files = sled::Config::new().path(dir.join("store"));
    let files = files.segment_size(8 << 20).mode(sled::Mode::LowSpace);
    Ok(files.open()?)
}

/// The key of a part of a batch's journal.
fn segment(batch: u64, number: u32) -> Vec<u8> {
    [&b"z"[..], &batch.to_be_bytes(), &number.to_be_bytes()].concat()
}

/// Written as the next version of this library would, if it only raised the number.
#[test]
fn a_store_of_a_newer_format_is_refused() -> Tested {
    let store = written()?;
    let rows = rows(store.path())?;
    let mut meta = rows.get(b"m")?.ok_or("no meta record")?.to_vec();
    // Version and checksum of the record, then the format, then the rest.
    assert_eq!((meta[0], meta[9]), (1, 1));
    meta[9] = 2;
    let key_hash = XxHash3_64::oneshot_with_seed(1, b"m");
    let sum = XxHash3_64::oneshot_with_seed(key_hash, &meta[9..]);
    meta[1..9].copy_from_slice(&sum.to_le_bytes());
    rows.insert(b"m", meta)?;
    drop(rows);
    match open(store.path()) {
        Err(OpenError::NewerFormat {
            found, supported, ..
        }) => assert_eq!((found, supported), (2, 1)),
        other => return Err(format!("not refused: {other:?}").into()),
    }
    Ok(())
}

#[test]
fn outcomes_that_are_lost_from_an_ended_batch_are_an_error() -> Tested {
    let store = written()?;
    let rows = rows(store.path())?;
    rows.remove(segment(1, 0))?.ok_or("no such segment")?;
    drop(rows);
    let queue = open(store.path())?;
    let outcomes = queue.batch(1)?.outcomes().map(Iterator::count);
    let error = outcomes.err().ok_or("they were read as if they were all")?;
    assert!(error.to_string().contains("60 items of batch 1"), "{error}");
    // The others are there.
    assert_eq!(read_batch(&queue, 2)?, Ok(ITEMS));
    Ok(())
}

/// Asks for another attempt every time, and tells after the fifth.
struct Insist(Mutex<Sender<()>>);

impl Operation for Insist {
    const NAME: &'static str = "insist";
    type Item = ();
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, (): (), cx: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        if cx.attempt() == 6 {
            let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = told.send(());
        }
        Err(Failure::retryable("again", "always"))
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(u32::MAX, Duration::from_millis(1)).factor(1)
    }
}

#[test]
fn a_gap_in_the_journal_of_an_unfinished_batch_is_damage() -> Tested {
    let dir = tempfile::tempdir()?;
    let (teller, told) = channel();
    let insist = Insist(Mutex::new(teller));
    let queue = Queue::builder(dir.path()).register(insist).open()?;
    let id = queue.submit::<Insist>([()])?.id();
    // By then five attempts are recorded, each in a commit of its own.
    told.recv_timeout(PATIENCE)?;
    queue.shutdown(PATIENCE)?;
    drop(open(dir.path())?);
    let rows = rows(dir.path())?;
    rows.remove(segment(id.into(), 2))?
        .ok_or("no such segment")?;
    drop(rows);
    match open(dir.path()) {
        Err(OpenError::Damaged { what, .. }) => {
            assert!(what.contains("segment 2 of the journal"), "{what}");
        }
        other => return Err(format!("not refused: {other:?}").into()),
    }
    Ok(())
}

#[test]
fn a_directory_is_created_with_its_parents() -> Tested {
    let parent = tempfile::tempdir()?;
    let dir = parent.path().join("not/there/yet");
    open(&dir)?.submit::<Add>([1])?.wait()?;
    assert!(dir.join("store/db").is_file());
    Ok(())
}

#[test]
fn what_the_file_system_refuses_is_an_error_that_says_what_and_where() -> Tested {
    let parent = tempfile::tempdir()?;
    let file = parent.path().join("file");
    fs::write(&file, "mine")?;
    let mut refused = vec![file.join("dir"), file];
    let read_only = parent.path().join("read-only");
    fs::create_dir(&read_only)?;
    let mut permissions = fs::metadata(&read_only)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&read_only, permissions)?;
    if fs::write(read_only.join("probe"), "").is_err() {
        refused.extend([read_only.join("dir"), read_only]);
    } else {
        println!("not tried: a read-only directory, which does not stop this user");
    }
    for path in refused {
        match open(&path) {
            Err(error @ OpenError::Io { .. }) => {
                let text = error.to_string();
                let parent = parent.path().display().to_string();
                assert!(text.starts_with("cannot open the store: "), "{text}");
                assert!(text.contains(&parent), "{text}");
                println!("{text}");
            }
            other => return Err(format!("{}: {other:?}", path.display()).into()),
        }
    }
    Ok(())
}

#[test]
fn a_queue_can_be_opened_again_as_soon_as_it_is_shut_down() -> Tested {
    let dir: PathBuf = tempfile::tempdir()?.keep();
    for round in 1..=50 {
        let queue = open(&dir).map_err(|error| format!("round {round}: {error}"))?;
        let batch = queue.submit::<Add>([round])?;
        if round.is_multiple_of(2) {
            batch.wait()?;
        }
        if round.is_multiple_of(3) {
            // Dropping it is enough.
            continue;
        }
        queue.shutdown(PATIENCE)?;
    }
    let queue = open(&dir)?;
    for round in 1..=50_u64 {
        assert_eq!(queue.batch(round)?.wait()?.status.succeeded, 1);
    }
    queue.shutdown(PATIENCE)?;
    Ok(fs::remove_dir_all(dir)?)
}
