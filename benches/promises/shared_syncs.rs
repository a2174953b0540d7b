//! Submitters at the same time share syncs, with each other and with outcomes.

use crate::Measured;
use crate::figure::Figure;
use crate::load::{Quick, purchases, scratch};
use batchwright::Queue;
use std::thread;

const SUBMITTERS: u64 = 4;
const ITEMS_PER_BATCH: u64 = 1_000;

pub(crate) fn measure(small: bool) -> Measured<Vec<Figure>> {
    let (rounds, batches) = if small { (1, 2) } else { (5, 50) };
    let per_500_items: Vec<f64> = (0..rounds)
        .map(|_| round(batches))
        .collect::<Result<_, _>>()?;
    let mean = per_500_items.iter().sum::<f64>() / f64::from(rounds);
    let worst = per_500_items.into_iter().fold(0.0, f64::max);
    Ok(vec![
        Figure::promised(
            format!("syncs for 500 items, {SUBMITTERS} submitters, mean"),
            mean,
            1.0,
            "syncs",
        ),
        Figure::of_interest(format!("the worst of {rounds} rounds"), worst, "syncs"),
    ])
}

/// Syncs for 500 items, when every submitter submits so many batches.
fn round(batches: u64) -> Measured<f64> {
    let dir = scratch()?;
    let queue = Queue::builder(dir.path())
        .workers(2)
        .register(Quick)
        .open()?;
    let items = purchases(ITEMS_PER_BATCH);
    let before = queue.stats()?.writer.commits;
    thread::scope(|scope| {
        let submitters = [(); SUBMITTERS as usize].map(|()| {
            scope.spawn(|| {
                let submit = |_| queue.submit::<Quick>(items.clone());
                let batches: Vec<_> = (0..batches).map(submit).collect::<Result<_, _>>()?;
                for batch in batches {
                    batch.wait()?;
                }
                Measured::Ok(())
            })
        });
        submitters
            .into_iter()
            .try_for_each(|submitter| submitter.join().map_err(|_| "a submitter panicked")?)
    })?;
    // A commit is a sync.
    let commits = queue.stats()?.writer.commits - before;
    let items = SUBMITTERS * batches * ITEMS_PER_BATCH;
    Ok(commits as f64 / items as f64 * 500.0)
}
