//! A submission when nothing else goes on: acknowledged within two syncs and a millisecond, for the engine
//! waits for no timer.

use crate::Measured;
use crate::figure::{Figure, percentile};
use crate::load::{Purchase, Quick, purchases, scratch};
use batchwright::Queue;
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

pub(crate) fn measure(small: bool) -> Measured<Vec<Figure>> {
    let rounds = if small { 3 } else { 300 };
    let mut figures = compare(&purchases(1), rounds)?;
    figures.extend(compare(&purchases(1_000), rounds)?);
    Ok(figures)
}

/// By turns, because a disk's speed drifts.
fn compare(items: &[Purchase], rounds: usize) -> Measured<Vec<Figure>> {
    let dir = scratch()?;
    let mut file = File::create_new(dir.path().join("plain"))?;
    let queue = Queue::builder(dir.path().join("store"))
        .workers(2)
        .register(Quick)
        .open()?;
    let bytes = serde_json::to_vec(items)?;
    let (mut syncs, mut submits) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let started = Instant::now();
        file.write_all(&bytes)?;
        file.sync_data()?;
        syncs.push(started.elapsed());

        let items = items.to_vec();
        let started = Instant::now();
        let batch = queue.submit::<Quick>(items)?;
        submits.push(started.elapsed());
        // The queue is idle again when the next one comes.
        batch.wait()?;
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let sync = ms(percentile(&mut syncs, 50));
    let submit = ms(percentile(&mut submits, 50));
    let n = items.len();
    Ok(vec![
        Figure::of_interest(
            format!("write and fdatasync of the JSON of {n} items, median"),
            sync,
            "ms",
        ),
        Figure::promised(
            format!("lone submit of {n} items, median"),
            submit,
            2.0 * sync + 1.0,
            "ms",
        ),
    ])
}
