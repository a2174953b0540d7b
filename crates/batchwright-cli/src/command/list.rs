//! `list`: batches, newest first.

use crate::arguments::ListArguments;
use crate::batch_document::{BatchDocument, batch_columns};
use crate::ending::Ending;
use crate::error::Error;
use crate::operation_kind::OperationKind;
use crate::progress::say;
use crate::store::Store;
use batchwright::BatchFilter;
use std::io::Write;

/// Rows of a table unless it is said how many; JSON is for programs and complete.
const ROWS: usize = 20;

pub(crate) fn list(
    store: &Store,
    arguments: &ListArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let mut filter = BatchFilter::all();
    if let Some(state) = arguments.state {
        filter = filter.state(state.into());
    }
    if let Some(operation) = &arguments.operation {
        filter = filter.operation(OperationKind::asked_for(operation)?.name());
    }
    if let Some(below) = arguments.below {
        filter = filter.below(below);
    }
    let queue = store.look()?;
    let mut batches = queue.batches(filter);
    let limit = arguments.limit;
    if json {
        for status in batches.take(limit.unwrap_or(usize::MAX)) {
            let document = BatchDocument::of(&status?);
            writeln!(out, "{}", serde_json::to_string(&document)?)?;
        }
        return Ok(Ending::Clean);
    }
    let mut shown = Vec::new();
    for status in batches.by_ref().take(limit.unwrap_or(ROWS)) {
        shown.push(BatchDocument::of(&status?));
    }
    if shown.is_empty() {
        say("no batches");
        return Ok(Ending::Clean);
    }
    batch_columns(&shown).write(out)?;
    if batches.next().transpose()?.is_some() {
        say("there are more: --limit N, or --below with the last id");
    }
    Ok(Ending::Clean)
}
