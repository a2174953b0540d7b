//! Outcomes, as the queue has them.

use crate::items::Operation;
use crate::json::is_same;
use crate::ledger::Outcome;
use crate::run::{Held, Wrong, hold, same};
use batchwright::loyalty::{
    Adjustment, Balance, Cashback, Customers, Events, Hold, OrderTransactions, Orders, Redeem,
    Refund,
};
use batchwright::{BatchId, Failure, ItemOutcome, Queue};
use std::time::SystemTime;

/// How an item has ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) index: usize,
    attempts: u32,
    ended_at: SystemTime,
    /// Its output is JSON.
    outcome: Result<String, Failure>,
}

impl Found {
    pub(crate) fn is_success(&self) -> bool {
        self.outcome.is_ok()
    }

    pub(crate) fn compare(&self, expected: &Outcome) -> Held {
        same("attempts", self.attempts, 1)?;
        match (&self.outcome, expected) {
            (Ok(output), Outcome::Done(expected)) => {
                same_json("the output", Some(output), Some(expected))
            }
            (Err(failure), Outcome::Failed(expected)) => {
                let details = failure.details.as_ref().map(ToString::to_string);
                let code = (failure.code.as_str(), failure.field.as_deref());
                same("the failure", code, (expected.code, Some(expected.field)))?;
                let expected_details = expected.details.as_ref();
                same_json("the failure's details", details.as_ref(), expected_details)?;
                let mut says = expected.says.iter();
                hold(
                    says.all(|text| failure.message.contains(text)) && !failure.retryable,
                    || format!("{failure:?} does not say {:?}", expected.says),
                )
            }
            (found, expected) => Err(Wrong(format!("it is {found:?}\nexpected {expected:?}"))),
        }
    }
}

pub(crate) fn same_json(what: &str, found: Option<&String>, expected: Option<&String>) -> Held {
    match (found, expected) {
        (Some(one), Some(other)) if is_same(one, other)? => Ok(()),
        _ => same(what, found, expected),
    }
}

/// The outcomes of a batch, in the order of its items.
pub(crate) fn outcomes(
    queue: &Queue,
    id: BatchId,
    operation: Operation,
) -> Result<Vec<Found>, Wrong> {
    match operation {
        Operation::Customers => typed::<Customers>(queue, id),
        Operation::Orders => typed::<Orders>(queue, id),
        Operation::OrderTransactions => typed::<OrderTransactions>(queue, id),
        Operation::Balance => typed::<Balance>(queue, id),
        Operation::Adjustment => typed::<Adjustment>(queue, id),
        Operation::Cashback => typed::<Cashback>(queue, id),
        Operation::Redeem => typed::<Redeem>(queue, id),
        Operation::Events => typed::<Events>(queue, id),
        Operation::Hold => typed::<Hold>(queue, id),
        Operation::Refund => typed::<Refund>(queue, id),
    }
}

/// By its type: amounts keep all digits.
fn typed<O>(queue: &Queue, id: BatchId) -> Result<Vec<Found>, Wrong>
where
    O: batchwright::Operation<Output: std::fmt::Debug>,
{
    let batch = queue.batch(id)?.typed::<O>()?;
    let mut found = Vec::new();
    for outcome in batch.outcomes()? {
        let ItemOutcome {
            index,
            attempts,
            ended_at,
            outcome,
            ..
        } = outcome?;
        let outcome = match outcome {
            batchwright::Outcome::Succeeded(output) => Ok(serde_json::to_string(&output)?),
            batchwright::Outcome::Failed(failure) => Err(failure),
            other => return Err(Wrong(format!("item {index} ended as {other:?}"))),
        };
        found.push(Found {
            index,
            attempts,
            ended_at,
            outcome,
        });
    }
    Ok(found)
}
