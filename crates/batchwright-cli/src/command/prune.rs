//! `prune`: deletes old batches.

use crate::ending::Ending;
use crate::error::Error;
use crate::progress::say;
use crate::store::Store;
use batchwright::{BatchFilter, Status};
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pruned {
    deleted_batches: u64,
    /// Stopped ones with items that did not run: deleting them would lose these.
    kept_stopped_batches: u64,
}

pub(crate) fn prune(
    store: &Store,
    older_than: Duration,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let queue = store.look()?;
    let now = queue.now();
    let is_old = |status: &Status| {
        let age = status
            .ended_at
            .map(|at| now.duration_since(at).unwrap_or_default());
        age.is_some_and(|age| age >= older_than)
    };
    let (mut whole, mut kept) = (Vec::new(), 0);
    for status in queue.batches(BatchFilter::all()) {
        match status? {
            status if !is_old(&status) => {}
            status if status.unfinished() > 0 => kept += 1,
            status => whole.push(status.id),
        }
    }
    let deleted = if kept == 0 {
        // Many in a commit.
        queue.prune(older_than)?
    } else {
        for id in &whole {
            queue.batch(*id)?.delete()?;
        }
        whole.len() as u64
    };
    if json {
        let pruned = Pruned {
            deleted_batches: deleted,
            kept_stopped_batches: kept,
        };
        writeln!(out, "{}", serde_json::to_string(&pruned)?)?;
    } else {
        writeln!(out, "{deleted} batches deleted")?;
    }
    if kept > 0 {
        say(&format!(
            "{kept} stopped batches with items that did not run are kept: `batchwright list --state stopped`, \
             `batchwright resume ID`"
        ));
    }
    Ok(Ending::Clean)
}
