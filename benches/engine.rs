//! Submitting, running, looking and reopening.
//!
//! ```text
//! cargo bench --bench engine
//! cargo bench --bench engine -- --test    # each once, in a few seconds
//! ```

mod load;

use batchwright::limits::{ITEMS_PER_BATCH_MAX, Limits};
use batchwright::{Batch, Queue, State};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use load::{Held, Quick, Slow, purchases, scratch};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

type Benched<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn engine(criterion: &mut Criterion) {
    let benches = [submit, throughput, status, reopen];
    for bench in benches {
        bench(criterion).expect("a bench needs a disk that works");
    }
}

/// The time to an acknowledgement, when nothing else goes on.
fn submit(criterion: &mut Criterion) -> Benched {
    let dir = scratch()?;
    let queue = Queue::builder(dir.path())
        .workers(2)
        .register(Quick)
        .open()?;
    let items = purchases(1_000);
    let one = || {
        let items = items.clone();
        let started = Instant::now();
        let batch = queue.submit::<Quick>(items)?;
        let took = started.elapsed();
        batch.wait()?;
        Benched::Ok(took)
    };
    criterion.bench_function("submit 1,000 items", |b| {
        b.iter_custom(|count| (0..count).map(|_| one().expect("the queue works")).sum());
    });
    Ok(())
}

/// From the first submission to the last durable outcome.
fn throughput(criterion: &mut Criterion) -> Benched {
    const BATCHES: u64 = 10;
    let dir = scratch()?;
    let queue = Queue::builder(dir.path())
        .workers(2)
        .register(Quick)
        .open()?;
    let items = purchases(1_000);
    let round = || {
        let rounds = vec![items.clone(); BATCHES as usize];
        let started = Instant::now();
        let batches: Vec<_> = rounds
            .into_iter()
            .map(|items| queue.submit::<Quick>(items))
            .collect::<Result<_, _>>()?;
        for batch in batches {
            batch.wait()?;
        }
        Benched::Ok(started.elapsed())
    };
    let mut group = criterion.benchmark_group("throughput");
    group.throughput(Throughput::Elements(BATCHES * items.len() as u64));
    group.bench_function("10 batches of 1,000", |b| {
        b.iter_custom(|count| (0..count).map(|_| round().expect("the queue works")).sum());
    });
    group.finish();
    Ok(())
}

/// The status of a running batch, while the writer and the workers are busy with others.
fn status(criterion: &mut Criterion) -> Benched {
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
    thread::scope(|scope| -> Benched {
        let busy = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                queue.submit::<Quick>(items.clone())?.wait()?;
            }
            Benched::Ok(())
        });
        let watched = watch(&watched, criterion);
        over.store(true, Ordering::Relaxed);
        busy.join().expect("submitting does not panic")?;
        watched
    })
}

fn watch(watched: &Batch<Slow>, criterion: &mut Criterion) -> Benched {
    while watched.status()?.state != State::Running {
        thread::yield_now();
    }
    criterion.bench_function("status of a running batch", |b| b.iter(|| watched.status()));
    match watched.status()?.state {
        State::Running => Ok(()),
        state => Err(format!("the batch was to outlast the bench, it is {state}").into()),
    }
}

/// Opening a store with unfinished batches in it.
fn reopen(criterion: &mut Criterion) -> Benched {
    const BATCHES: usize = 100;
    let dir = scratch()?;
    let open = || Queue::builder(dir.path()).workers(2).register(Held).open();
    let queue = open()?;
    let items = purchases(1_000);
    for _ in 0..BATCHES {
        queue.submit::<Held>(items.clone())?;
    }
    let close = |queue: Queue| queue.shutdown(Duration::from_secs(10));
    close(queue)?;
    let once = || {
        let started = Instant::now();
        let queue = open()?;
        let took = started.elapsed();
        close(queue)?;
        Benched::Ok(took)
    };
    let mut group = criterion.benchmark_group("reopen");
    group.sample_size(10);
    group.bench_function("100,000 items pending", |b| {
        b.iter_custom(|count| (0..count).map(|_| once().expect("the store opens")).sum());
    });
    group.finish();
    Ok(())
}

criterion_group!(benches, engine);
criterion_main!(benches);
