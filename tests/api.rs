//! The public API, end to end on the store on disk.

use batchwright::{
    AtLeastOnce, BatchError, Context, ExactlyOnce, Failure, Operation, Outcome, Queue, State,
    SubmitError, SubmitOptions, Table,
};
use std::error::Error;
use std::time::Duration;

type Tested = Result<(), Box<dyn Error>>;

struct Double;

impl Operation for Double {
    const NAME: &'static str = "double";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, _cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        if n == 13 {
            return Err(Failure::permanent("unlucky", "13 cannot be doubled").field("n"));
        }
        n.checked_mul(2)
            .ok_or_else(|| Failure::permanent("too_large", n.to_string()))
    }
}

const TOTALS: Table<str, u64> = Table::new("totals");

struct Add;

impl Operation for Add {
    const NAME: &'static str = "add";
    type Item = (String, u64);
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, (name, n): (String, u64), cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let total = cx.get(&TOTALS, name.as_str())?.unwrap_or(0) + n;
        cx.put(&TOTALS, &name, &total)?;
        assert!(n != 666, "a beastly number");
        if n == 13 {
            return Err(Failure::permanent("unlucky", "13 cannot be added"));
        }
        Ok(total)
    }
}

#[test]
fn every_item_of_a_batch_gets_its_outcome_in_order() -> Tested {
    let dir = tempfile::tempdir()?;
    let queue = Queue::builder(dir.path())
        .workers(2)
        .register(Double)
        .open()?;
    let batch = queue.submit::<Double>(0..1_000)?;
    let report = batch.wait()?;
    assert_eq!(report.status.state, State::Completed);
    assert_eq!((report.status.succeeded, report.status.failed), (999, 1));
    assert_eq!(report.failures.get("unlucky"), Some(&1));
    let outcomes: Vec<_> = batch.outcomes()?.collect::<Result<_, _>>()?;
    assert_eq!(outcomes.len(), 1_000);
    for (n, item) in outcomes.into_iter().enumerate() {
        assert_eq!((item.index, item.attempts), (n, 1));
        match item.outcome {
            Outcome::Failed(failure) if n == 13 => {
                assert_eq!(failure.field.as_deref(), Some("n"));
            }
            outcome => assert_eq!(outcome, Outcome::Succeeded(n as u64 * 2)),
        }
    }
    Ok(())
}

#[test]
fn exactly_once_items_see_each_other_and_failures_leave_nothing() -> Tested {
    let dir = tempfile::tempdir()?;
    let queue = Queue::builder(dir.path()).workers(4).register(Add).open()?;
    let mut batches = Vec::new();
    for _ in 0..5 {
        let items = (0..1_000).map(|n| {
            (
                format!("t{}", n % 3),
                if n == 500 {
                    13
                } else if n == 600 {
                    666
                } else {
                    1
                },
            )
        });
        batches.push(queue.submit::<Add>(items)?);
    }
    for batch in &batches {
        let report = batch.wait()?;
        assert_eq!(report.status.failed, 2);
        assert_eq!(report.failures.get(Failure::PANICKED), Some(&1));
    }
    let totals = queue.read(|tables| tables.range(&TOTALS, ..).collect::<Result<Vec<_>, _>>())?;
    let sum: u64 = totals.iter().map(|(_, n)| n).sum();
    assert_eq!(sum, 5 * 998);
    Ok(())
}

#[test]
fn what_was_submitted_is_there_after_reopening() -> Tested {
    let dir = tempfile::tempdir()?;
    let id = {
        let queue = Queue::builder(dir.path()).workers(2).register(Add).open()?;
        let batch = queue.submit::<Add>([("a".to_owned(), 5), ("a".to_owned(), 6)])?;
        batch.wait()?;
        queue.shutdown(Duration::from_secs(10))?;
        assert_eq!(batch.status(), Err(BatchError::Closed));
        batch.id()
    };
    let queue = Queue::builder(dir.path()).register(Add).open()?;
    let batch = queue.batch(id)?.typed::<Add>()?;
    assert_eq!(batch.status()?.state, State::Completed);
    let outputs: Vec<_> = batch
        .outcomes()?
        .map(|o| o.map(|o| o.outcome))
        .collect::<Result<_, _>>()?;
    assert_eq!(outputs, [Outcome::Succeeded(5), Outcome::Succeeded(11)]);
    assert_eq!(queue.read(|t| t.get(&TOTALS, "a"))?, Some(11));
    let next = queue.submit::<Add>([("a".to_owned(), 1)])?;
    assert!(next.id() > id);
    Ok(())
}

#[test]
fn an_idempotency_key_makes_one_batch_of_the_same_items() -> Tested {
    let dir = tempfile::tempdir()?;
    let queue = Queue::builder(dir.path()).register(Double).open()?;
    let options = || SubmitOptions::new().idempotency_key("monday");
    let first = queue.submit_with::<Double>([1, 2], options())?;
    first.wait()?;
    let again = queue.submit_with::<Double>([1, 2], options())?;
    assert_eq!(first.id(), again.id());
    let other = queue.submit_with::<Double>([1, 3], options());
    assert_eq!(
        other.map(|b| b.id()),
        Err(SubmitError::KeyConflict { batch: first.id() })
    );
    let owned = queue.submit_with::<Double>([1, 2], options().owner("me"))?;
    assert_ne!(owned.id(), first.id());
    Ok(())
}
