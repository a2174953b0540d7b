//! The space of deleted batches is used again, on a real disk.

use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue};
use std::error::Error;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

type Tested<T = ()> = Result<T, Box<dyn Error>>;

/// Items of 1 KiB.
struct Read;

impl Operation for Read {
    const NAME: &'static str = "read";
    type Item = String;
    type Output = usize;
    type Guarantee = AtLeastOnce;

    fn run(&self, text: String, _: &mut Context<AtLeastOnce>) -> Result<usize, Failure> {
        Ok(text.len())
    }
}

const ROUNDS: usize = 12;
/// So many rounds show how much a queue needs for them.
const FIRST_ROUNDS: usize = 4;
/// After this round the queue is opened again.
const REOPENED: usize = 8;
const BATCHES: usize = 100;
const ITEMS: usize = 100;

/// The storage engine's flusher looks every half second; far longer than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Tested<Queue> {
    Ok(Queue::builder(dir).register(Read).open()?)
}

/// Submits batches, lets them complete, and deletes them.
fn go_round(queue: &Queue) -> Tested {
    let mut batches = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let items = (0..ITEMS).map(|n| format!("{n:01024}"));
        batches.push(queue.submit::<Read>(items)?);
    }
    for batch in batches {
        assert_eq!(batch.wait()?.status.succeeded, ITEMS as u64);
        batch.delete()?;
    }
    Ok(())
}

/// Waits until the queue takes at most `limit` bytes on the disk; gives what it takes in the end.
fn settle(queue: &Queue, limit: u64) -> Tested<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let size = queue.stats()?.size_on_disk;
        if size <= limit || Instant::now() > deadline {
            return Ok(size);
        }
        thread::yield_now();
    }
}

#[test]
fn deleted_batches_leave_their_space_to_new_ones() -> Tested {
    let dir = tempfile::tempdir()?;
    let mut queue = open(dir.path())?;
    let bystander = queue.submit::<Read>(["bystander".to_owned()])?.id();
    let mut largest = 0;
    for _ in 0..FIRST_ROUNDS {
        go_round(&queue)?;
        largest = largest.max(queue.stats()?.size_on_disk);
    }
    let limit = largest * 3 / 2;
    for round in FIRST_ROUNDS..ROUNDS {
        go_round(&queue)?;
        if round == REOPENED {
            queue.shutdown(PATIENCE)?;
            queue = open(dir.path())?;
            let size = settle(&queue, limit)?;
            assert!(size <= limit, "{size} bytes after reopening, over {limit}");
        }
    }
    let size = settle(&queue, limit)?;
    assert!(size <= limit, "{size} bytes in the end, over {limit}");
    queue.shutdown(PATIENCE)?;

    let queue = open(dir.path())?;
    let size = settle(&queue, limit)?;
    assert!(
        size <= limit,
        "{size} bytes after the last open, over {limit}"
    );
    assert_eq!(queue.batch(bystander)?.status()?.succeeded, 1);
    Ok(())
}
