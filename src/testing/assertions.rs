//! What tests say of a batch. Nothing here waits: the batch is looked at as it is.
//!
//! Assertions panic, because that is how a test fails; nothing else of this crate does.
#![allow(clippy::panic)]

use crate::batch::{Batch, BatchType, Json};
use crate::error::BatchError;
use crate::failure::Failure;
use crate::kernel::State;
use crate::outcome::{ItemOutcome, Outcome};
use crate::status::Status;
use std::fmt;

/// Items that a message names, at most.
const SHOWN: usize = 8;

/// Assertions on a [`Batch`]. They panic with what was found: outputs as JSON, failures with code, field and
/// message, and the batch's status.
///
/// They do not wait. Drain the queue, or wait for the batch, before.
pub trait Assertions {
    /// What the operation returns.
    type Output;

    /// The outputs of all items, in item order.
    ///
    /// # Panics
    /// Unless every item has succeeded.
    fn assert_all_succeeded(&self) -> Vec<Self::Output>;

    /// The output of item `index`.
    ///
    /// # Panics
    /// Unless it has succeeded.
    fn assert_succeeded(&self, index: usize) -> Self::Output;

    /// The failure of item `index`.
    ///
    /// # Panics
    /// Unless it has failed, for good, with this code.
    fn assert_failed(&self, index: usize, code: &str) -> Failure;

    /// Why item `index` is in doubt.
    ///
    /// # Panics
    /// Unless it is.
    fn assert_in_doubt(&self, index: usize) -> String;

    /// Item `index` has no outcome yet: it is queued, running, or waits for another attempt.
    ///
    /// # Panics
    /// When it has one, or when there is no such item.
    fn assert_unfinished(&self, index: usize);

    /// The batch's status.
    ///
    /// # Panics
    /// Unless the batch is in this state.
    fn assert_state(&self, state: State) -> Status;
}

impl<O: BatchType> Assertions for Batch<O> {
    type Output = O::Output;

    #[track_caller]
    fn assert_all_succeeded(&self) -> Vec<O::Output> {
        let status = known(self.status());
        let total = status.total;
        let json = all(&self.as_json());
        let failed: Vec<_> = json.iter().filter(|o| !o.outcome.is_success()).collect();
        let unfinished = total - json.len() as u64;
        if failed.is_empty() && unfinished == 0 {
            return all(self)
                .into_iter()
                .filter_map(|item| item.outcome.into_output())
                .collect();
        }
        let mut found: Vec<String> = failed
            .iter()
            .take(SHOWN)
            .map(|item| Found(Some(item), item.index).to_string())
            .collect();
        if failed.len() > SHOWN {
            found.push(format!("{} more items failed", failed.len() - SHOWN));
        }
        if unfinished > 0 {
            found.push(format!("{unfinished} items have no outcome"));
        }
        panic!(
            "expected all {total} items to have succeeded:\n  {}\n{status}",
            found.join("\n  ")
        );
    }

    #[track_caller]
    fn assert_succeeded(&self, index: usize) -> O::Output {
        let (found, status) = look(self, index);
        match &found {
            Some(item) if item.outcome.is_success() => {}
            other => panic!(
                "expected item {index} to have succeeded: {}\n{status}",
                Found(other.as_ref(), index)
            ),
        }
        match all(self).into_iter().find(|item| item.index == index) {
            Some(ItemOutcome {
                outcome: Outcome::Succeeded(output),
                ..
            }) => output,
            _ => unreachable!("an outcome never changes"),
        }
    }

    #[track_caller]
    fn assert_failed(&self, index: usize, code: &str) -> Failure {
        let (found, status) = look(self, index);
        match found {
            Some(ItemOutcome {
                outcome: Outcome::Failed(failure),
                ..
            }) if failure.code == code => failure,
            other => panic!(
                "expected item {index} to have failed with {code:?}: {}\n{status}",
                Found(other.as_ref(), index)
            ),
        }
    }

    #[track_caller]
    fn assert_in_doubt(&self, index: usize) -> String {
        let (found, status) = look(self, index);
        match found {
            Some(ItemOutcome {
                outcome: Outcome::InDoubt { reason },
                ..
            }) => reason,
            other => panic!(
                "expected item {index} to be in doubt: {}\n{status}",
                Found(other.as_ref(), index)
            ),
        }
    }

    #[track_caller]
    fn assert_unfinished(&self, index: usize) {
        let (found, status) = look(self, index);
        if found.is_some() {
            let found = Found(found.as_ref(), index);
            panic!("expected item {index} to have no outcome: {found}\n{status}");
        }
    }

    #[track_caller]
    fn assert_state(&self, state: State) -> Status {
        let status = known(self.status());
        if status.state != state {
            panic!("expected the batch to be {state}: {status}");
        }
        status
    }
}

#[track_caller]
fn known<T>(answer: Result<T, BatchError>) -> T {
    answer.unwrap_or_else(|error| panic!("the batch cannot be looked at: {error}"))
}

#[track_caller]
fn all<O: BatchType>(batch: &Batch<O>) -> Vec<ItemOutcome<O::Output>> {
    known(batch.outcomes().and_then(Iterator::collect))
}

/// The outcome of an item, if it has one, read as JSON so that it can be shown.
#[track_caller]
fn look<O>(
    batch: &Batch<O>,
    index: usize,
) -> (Option<ItemOutcome<<Json as BatchType>::Output>>, Status) {
    let status = known(batch.status());
    if index as u64 >= status.total {
        panic!("there is no item {index}: {status}");
    }
    let outcomes = all(&batch.as_json());
    let found = outcomes.into_iter().find(|item| item.index == index);
    (found, status)
}

/// An item as messages show it.
struct Found<'a>(Option<&'a ItemOutcome<serde_json::Value>>, usize);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(found, index) = self;
        write!(f, "item {index} ")?;
        let Some(item) = found else {
            return f.write_str("has no outcome");
        };
        match &item.outcome {
            Outcome::Succeeded(output) => write!(f, "succeeded with {output}")?,
            Outcome::InDoubt { reason } => write!(f, "is in doubt: {reason}")?,
            Outcome::Failed(failure) => {
                write!(f, "failed with {:?}", failure.code)?;
                if let Some(field) = &failure.field {
                    write!(f, " at field {field:?}")?;
                }
                write!(f, ": {}", failure.message)?;
            }
        }
        if item.attempts > 1 {
            write!(f, " (attempt {})", item.attempts)?;
        }
        Ok(())
    }
}
