//! A store with something of everything in it, and what files and directories are made of.

use batchwright::{
    AtLeastOnce, Builder, Context, ExactlyOnce, Failure, Operation, Queue, SubmitOptions, Table,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

pub(crate) type Tested<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const SUMS: Table<u64, u64> = Table::new("sums");

/// Adds its item to a row, in order; every tenth fails.
pub(crate) struct Add;

impl Operation for Add {
    const NAME: &'static str = "add";
    type Item = u64;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn key(&self, n: &u64) -> Option<String> {
        Some((n % 50).to_string())
    }

    fn run(&self, n: u64, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        if n.is_multiple_of(10) {
            return Err(Failure::permanent("tenth", "it is a tenth"));
        }
        let row = n % 50;
        let sum = cx.get(&SUMS, &row)?.unwrap_or(0) + n;
        cx.put(&SUMS, &row, &sum)?;
        Ok(n)
    }
}

/// Answers with a text, so that the store has something to keep.
pub(crate) struct Echo;

impl Operation for Echo {
    const NAME: &'static str = "echo";
    type Item = u64;
    type Output = String;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<String, Failure> {
        // Several of the storage engine's segments in all: damage in the last one is the easy case.
        Ok(n.to_string().repeat(3_200))
    }
}

pub(crate) fn builder(dir: &Path) -> Builder {
    Queue::builder(dir).workers(2).register(Add).register(Echo)
}

const BATCHES: u64 = 24;
const ITEMS: u64 = 60;

/// A closed store: completed batches of both operations, failed items that were run again, one batch that was
/// stopped, one that is to be done, idempotency keys, and rows of a table.
pub(crate) fn written() -> Tested<tempfile::TempDir> {
    let parent = tempfile::tempdir()?;
    let queue = builder(&dir_in(&parent)).open()?;
    for number in 1..=BATCHES {
        let items = number * ITEMS..(number + 1) * ITEMS;
        let key = SubmitOptions::new().idempotency_key(number.to_string());
        if number.is_multiple_of(2) {
            queue.submit_with::<Echo>(items, key)?.wait()?;
        } else {
            let batch = queue.submit_with::<Add>(items, key)?;
            batch.wait()?;
            if number == 3 {
                batch.retry_failed()?.wait()?;
            }
        }
    }
    queue.pause("echo", "a test")?;
    queue.submit::<Echo>(0..ITEMS)?.stop()?;
    queue.submit::<Echo>(0..ITEMS)?;
    queue.shutdown(PATIENCE)?;
    Ok(parent)
}

/// Where the store is: not the temporary directory itself, so that what is put beside it goes with it.
pub(crate) fn dir_in(parent: &tempfile::TempDir) -> PathBuf {
    parent.path().join("data")
}

/// Files with their bytes, directories without, and when each was changed last.
pub(crate) type Contents = BTreeMap<PathBuf, (Option<Vec<u8>>, SystemTime)>;

/// `dir`, and everything below it.
pub(crate) fn contents(dir: &Path) -> Tested<Contents> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let bytes = if metadata.is_dir() {
            found.extend(contents(&path)?);
            None
        } else {
            Some(fs::read(&path)?)
        };
        found.insert(path, (bytes, metadata.modified()?));
    }
    let metadata = fs::metadata(dir)?;
    found.insert(dir.to_owned(), (None, metadata.modified()?));
    Ok(found)
}

pub(crate) fn copy_directory(from: &Path, to: &Path) -> Tested {
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

/// Works on a store that was [`written`], so that an old copy of a file of it is old.
pub(crate) fn more(dir: &Path) -> Tested {
    let queue = builder(dir).open()?;
    queue.submit::<Add>(5_000..5_060)?.wait()?;
    Ok(queue.shutdown(PATIENCE)?)
}
