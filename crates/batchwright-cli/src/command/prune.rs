//! `prune`: deletes old batches.

use crate::ending::Ending;
use crate::error::Error;
use crate::store::Store;
use serde::Serialize;
use std::io::Write;
use std::time::Duration;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pruned {
    deleted_batches: u64,
}

pub(crate) fn prune(
    store: &Store,
    older_than: Duration,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let deleted_batches = store.look()?.prune(older_than)?;
    if json {
        writeln!(
            out,
            "{}",
            serde_json::to_string(&Pruned { deleted_batches })?
        )?;
    } else {
        writeln!(out, "{deleted_batches} batches deleted")?;
    }
    Ok(Ending::Clean)
}
