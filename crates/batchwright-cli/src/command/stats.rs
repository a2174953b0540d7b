//! `stats`: what is in the store, by operation.

use crate::columns::{Columns, or_dash};
use crate::ending::Ending;
use crate::error::Error;
use crate::store::Store;
use batchwright::{BatchFilter, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StatsDocument {
    size_on_disk_bytes: u64,
    unfinished_batches: u64,
    /// Those that have batches in the store.
    operations: BTreeMap<String, OperationDocument>,
}

/// Of the batches that were not deleted.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct OperationDocument {
    batches: u64,
    unfinished_batches: u64,
    stopped_batches: u64,
    items: u64,
    succeeded: u64,
    failed: u64,
    /// Items without an outcome, of stopped batches as well.
    unfinished: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<String>,
}

impl OperationDocument {
    fn add(&mut self, status: &Status) {
        self.batches += 1;
        self.unfinished_batches += u64::from(!status.state.has_ended());
        self.stopped_batches += u64::from(status.state == batchwright::State::Stopped);
        self.items += status.total;
        self.succeeded += status.succeeded;
        self.failed += status.failed;
        self.unfinished += status.unfinished();
        if let Some(blocked) = &status.blocked {
            self.blocked = Some(blocked.to_string());
        }
    }
}

pub(crate) fn stats(store: &Store, json: bool, out: &mut dyn Write) -> Result<Ending, Error> {
    let queue = store.look()?;
    // The queue's own totals begin with its opening, and this one does nothing: they are counted from the batches.
    let stats = queue.stats()?;
    let mut operations: BTreeMap<String, OperationDocument> = BTreeMap::new();
    for status in queue.batches(BatchFilter::all()) {
        let status = status?;
        operations
            .entry(status.operation.clone())
            .or_default()
            .add(&status);
    }
    let document = StatsDocument {
        size_on_disk_bytes: stats.size_on_disk,
        unfinished_batches: stats.unfinished_batches,
        operations,
    };
    if json {
        writeln!(out, "{}", serde_json::to_string(&document)?)?;
    } else {
        document.write(store, out)?;
    }
    Ok(Ending::Clean)
}

impl StatsDocument {
    fn write(&self, store: &Store, out: &mut dyn Write) -> Result<(), Error> {
        let size = indicatif::HumanBytes(self.size_on_disk_bytes);
        let unfinished = self.unfinished_batches;
        let dir = store.dir.display();
        writeln!(out, "store {dir}: {size}, {unfinished} unfinished batches")?;
        let mut columns = Columns::new(&[
            "OPERATION",
            ">BATCHES",
            ">UNFINISHED",
            ">STOPPED",
            ">ITEMS",
            ">SUCCEEDED",
            ">FAILED",
            ">WITHOUT OUTCOME",
            "BLOCKED",
        ]);
        for (name, operation) in &self.operations {
            columns.row(&[
                name.clone(),
                operation.batches.to_string(),
                operation.unfinished_batches.to_string(),
                operation.stopped_batches.to_string(),
                operation.items.to_string(),
                operation.succeeded.to_string(),
                operation.failed.to_string(),
                operation.unfinished.to_string(),
                or_dash(operation.blocked.as_ref()),
            ]);
        }
        if !columns.is_empty() {
            writeln!(out)?;
            columns.write(out)?;
        }
        Ok(())
    }
}
