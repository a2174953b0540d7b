//! Batches are found by number and listed while others are being submitted.

use batchwright::{
    AtLeastOnce, BatchError, BatchFilter, Context, Failure, Operation, Queue, SubmitError,
};
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

struct Echo;

impl Operation for Echo {
    const NAME: &'static str = "echo";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        Ok(n)
    }
}

const BATCHES: u64 = 200;

/// A reader that waits for a commit goes on at the very moment at which the commit is durable and its
/// batch not yet announced.
#[test]
fn a_batch_is_there_or_not_and_never_an_error_while_it_is_being_submitted()
-> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = tempfile::tempdir()?;
    let queue = Queue::builder(dir.path())
        .workers(2)
        .register(Echo)
        .open()?;
    let last = AtomicU64::new(0);
    thread::scope(|scope| {
        let submitter = scope.spawn(|| {
            for n in 0..BATCHES {
                let batch = queue.submit::<Echo>([n])?;
                last.store(batch.id().into(), Ordering::SeqCst);
            }
            Ok::<(), SubmitError>(())
        });
        while !submitter.is_finished() {
            let acknowledged = last.load(Ordering::SeqCst);
            let listed = queue.batches(BatchFilter::all()).next().transpose()?;
            let newest = listed.map_or(0, |status| u64::from(status.id));
            assert!(newest >= acknowledged, "{newest} < {acknowledged}");
            match queue.batch(acknowledged + 1) {
                Ok(_) | Err(BatchError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        submitter.join().map_err(|_| "the submitter panicked")??;
        assert_eq!(queue.batches(BatchFilter::all()).count() as u64, BATCHES);
        Ok(())
    })
}
