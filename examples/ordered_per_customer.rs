//! Moves points of customers around, each customer's moves in the order in which they were submitted, while
//! moves of different customers run at the same time.
//!
//! ```text
//! cargo run --example ordered_per_customer
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what happened")]

use batchwright::{AtLeastOnce, Context, Failure, Operation, Queue, RetryPolicy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const CUSTOMERS: u32 = 10;
const BATCHES: u32 = 5;
const MOVES_PER_BATCH: u32 = 60;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Move {
    customer: u32,
    /// Counts this customer's moves, through all batches.
    number: u32,
}

/// What an outside system would see: which moves reached it in which order, and how many at once.
#[derive(Default)]
struct Ledger {
    lines: Vec<Move>,
    at_work: usize,
    most_at_work: usize,
}

struct PostMove(Arc<Mutex<Ledger>>);

impl Operation for PostMove {
    const NAME: &'static str = "post-move";
    type Item = Move;
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, item: Move, cx: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        self.with_ledger(|ledger| {
            ledger.at_work += 1;
            ledger.most_at_work = ledger.most_at_work.max(ledger.at_work);
        });
        // The outside system takes its time, and now and then does not answer at first.
        thread::sleep(Duration::from_millis(u64::from(1 + item.number % 5)));
        let answered = item.number % 7 != 3 || cx.attempt() > 1;
        self.with_ledger(|ledger| {
            ledger.at_work -= 1;
            if answered {
                ledger.lines.push(item);
                Ok(())
            } else {
                Err(Failure::retryable("no_answer", "the ledger did not answer"))
            }
        })
    }

    /// Moves with equal keys never run together and run in submit order. One that waits for another
    /// attempt holds its key: the next move of this customer waits, those of the others do not.
    fn key(&self, item: &Move) -> Option<String> {
        Some(format!("customer-{}", item.customer))
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::exponential(3, Duration::from_millis(10))
    }
}

impl PostMove {
    fn with_ledger<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let ledger = Arc::<Mutex<Ledger>>::default();
    let queue = Queue::builder(dir.path())
        .workers(8)
        .register(PostMove(Arc::clone(&ledger)))
        .open()?;

    let mut moves = (0..BATCHES * MOVES_PER_BATCH).map(|n| Move {
        customer: n % CUSTOMERS,
        number: n / CUSTOMERS,
    });
    let batches = (0..BATCHES)
        .map(|_| queue.submit::<PostMove>(moves.by_ref().take(MOVES_PER_BATCH as usize)))
        .collect::<Result<Vec<_>, _>>()?;
    for batch in &batches {
        println!("{}", batch.wait()?);
    }
    let retried: u64 = queue.stats()?.operations.iter().map(|o| o.retried).sum();
    queue.shutdown(Duration::from_secs(5))?;

    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let mut numbers_of: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for line in &ledger.lines {
        numbers_of
            .entry(line.customer)
            .or_default()
            .push(line.number);
    }
    let in_order: Vec<u32> = (0..BATCHES * MOVES_PER_BATCH / CUSTOMERS).collect();
    for (customer, numbers) in &numbers_of {
        assert_eq!(numbers, &in_order, "customer {customer} is out of order");
    }
    assert_eq!(numbers_of.len() as u32, CUSTOMERS);
    assert!(ledger.most_at_work > 1, "different customers ran at once");
    println!(
        "{} moves of {CUSTOMERS} customers, each customer's in order: {retried} of them were tried again, up to {} ran at once",
        ledger.lines.len(),
        ledger.most_at_work,
    );
    Ok(())
}
