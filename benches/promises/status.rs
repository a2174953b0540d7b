//! `status()` of a running batch, while the engine is busy with others: it waits for nobody.

use crate::Measured;
use crate::figure::{Figure, percentile};
use crate::load::{Quick, Slow, purchases, scratch};
use batchwright::limits::{ITEMS_PER_BATCH_MAX, Limits};
use batchwright::{Batch, Queue, State};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) fn measure(small: bool) -> Measured<Vec<Figure>> {
    let samples = if small { 10_000 } else { 5_000_000 };
    let dir = scratch()?;
    let mut limits = Limits::default();
    limits.items_per_batch = ITEMS_PER_BATCH_MAX;
    let queue = Queue::builder(dir.path())
        .workers(2)
        .limits(limits)
        .register(Quick)
        .register(Slow)
        .open()?;
    let watched = queue.submit::<Slow>(0..ITEMS_PER_BATCH_MAX as u64)?;
    let items = purchases(1_000);
    let over = AtomicBool::new(false);
    let mut times_ns = thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                queue.submit::<Quick>(items.clone())?.wait()?;
            }
            Measured::Ok(())
        });
        let times = call(&watched, samples);
        over.store(true, Ordering::Relaxed);
        busy.join().map_err(|_| "the submitter panicked")??;
        times
    })?;
    queue.shutdown(Duration::from_secs(10))?;
    let mut us_at = |percent| percentile(&mut times_ns, percent) as f64 / 1e3;
    Ok(vec![
        Figure::promised("status() under load, median", us_at(50), 1.0, "µs"),
        Figure::of_interest("status() under load, 99 %", us_at(99), "µs"),
    ])
}

/// Nanoseconds of each call, the reading of the clock included.
fn call(watched: &Batch<Slow>, samples: usize) -> Measured<Vec<u128>> {
    while watched.status()?.state != State::Running {
        thread::yield_now();
    }
    let mut times_ns = Vec::with_capacity(samples);
    for _ in 0..samples {
        let started = Instant::now();
        let status = std::hint::black_box(watched.status()?);
        times_ns.push(started.elapsed().as_nanos());
        if status.state != State::Running {
            return Err("the watched batch ended too early".into());
        }
    }
    Ok(times_ns)
}
