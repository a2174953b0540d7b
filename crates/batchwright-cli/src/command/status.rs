//! `status`: one batch, or what matters of all of them.

use crate::batch_document::{BatchDocument, batch_columns};
use crate::ending::Ending;
use crate::error::Error;
use crate::store::Store;
use batchwright::{BatchFilter, Queue};
use serde::Serialize;
use std::io::Write;

pub(crate) fn status(
    queue: &Queue,
    id: u64,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let document = BatchDocument::of_report(queue.batch(id)?.report()?);
    if json {
        writeln!(out, "{}", serde_json::to_string(&document)?)?;
    } else {
        document.figures().write(out)?;
    }
    Ok(Ending::Clean)
}

/// Batches of each part of the overview, at most; `list` shows the others.
const SHOWN: usize = 10;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Overview {
    unfinished_batches: u64,
    /// The newest ones.
    unfinished: Vec<BatchDocument>,
    ended_batches: u64,
    /// The newest ones.
    ended: Vec<BatchDocument>,
}

pub(crate) fn overview(store: &Store, json: bool, out: &mut dyn Write) -> Result<Ending, Error> {
    let queue = store.look()?;
    let mut overview = Overview::default();
    for status in queue.batches(BatchFilter::all()) {
        let status = status?;
        let (count, shown) = if status.state.has_ended() {
            (&mut overview.ended_batches, &mut overview.ended)
        } else {
            (&mut overview.unfinished_batches, &mut overview.unfinished)
        };
        *count += 1;
        if shown.len() < SHOWN {
            shown.push(BatchDocument::of(&status));
        }
    }
    if json {
        writeln!(out, "{}", serde_json::to_string(&overview)?)?;
        return Ok(Ending::Clean);
    }
    let dir = store.dir.display();
    let (unfinished, ended) = (overview.unfinished_batches, overview.ended_batches);
    writeln!(
        out,
        "store {dir}: {unfinished} unfinished batches, {ended} ended"
    )?;
    for (title, batches) in [
        ("unfinished", &overview.unfinished),
        ("last ended", &overview.ended),
    ] {
        if !batches.is_empty() {
            writeln!(out, "\n{title}:")?;
            batch_columns(batches).write(out)?;
        }
    }
    Ok(Ending::Clean)
}
