//! What became of the items of an import, or of a batch.

use crate::columns::Columns;
use crate::ending::Ending;
use crate::error::Error;
use crate::failed_items;
use crate::progress::say;
use batchwright::loyalty::codes;
use batchwright::{Batch, BatchType, Report};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) operation: String,
    pub(crate) items: u64,
    pub(crate) succeeded: u64,
    /// Items whose transaction id was used before, for the same content.
    pub(crate) already_done: u64,
    pub(crate) failed: u64,
    /// The failed ones by code.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Items without an outcome, of stopped batches.
    pub(crate) not_run: u64,
    /// Items of batches that were deleted since they ended: nobody knows how.
    pub(crate) deleted: u64,
    /// Items of batches that had ended before this command began, deleted ones included.
    pub(crate) ended_before: u64,
    pub(crate) batches: Vec<u64>,
    #[serde(skip)]
    first_with_failures: Option<u64>,
    pub(crate) seconds: f64,
    /// Of those that ended now.
    pub(crate) items_per_second: Option<u64>,
}

impl Summary {
    /// Of `items` items in these batches, which have ended; `began` is when the command did. Reads the outcomes where
    /// items had been there before.
    pub(crate) fn new<O: BatchType>(
        operation: &str,
        items: u64,
        batches: &[Batch<O>],
        reports: &[Report],
        began: SystemTime,
    ) -> Result<Self, Error> {
        let mut summary = Self {
            operation: operation.to_owned(),
            items,
            succeeded: 0,
            already_done: 0,
            failed: 0,
            failures: BTreeMap::new(),
            not_run: 0,
            deleted: 0,
            ended_before: 0,
            batches: batches.iter().map(|batch| batch.id().into()).collect(),
            first_with_failures: None,
            seconds: 0.0,
            items_per_second: None,
        };
        let mut present = 0;
        for (batch, report) in batches.iter().zip(reports) {
            present += report.status.total;
            summary.add(batch, report, began)?;
        }
        summary.deleted = items - present;
        summary.ended_before += summary.deleted;
        Ok(summary)
    }

    fn add<O: BatchType>(
        &mut self,
        batch: &Batch<O>,
        report: &Report,
        began: SystemTime,
    ) -> Result<(), Error> {
        let status = &report.status;
        self.succeeded += status.succeeded;
        self.not_run += status.unfinished();
        if status.ended_at.is_some_and(|ended| ended < began) {
            self.ended_before += status.processed();
        }
        let mut already_done = 0;
        if report.failures.contains_key(codes::DUPLICATE) {
            already_done = failed_items::count_already_done(batch)?;
        }
        self.already_done += already_done;
        let failed = status.failed - already_done;
        self.failed += failed;
        if failed > 0 {
            self.first_with_failures.get_or_insert(status.id.into());
        }
        for (code, count) in &report.failures {
            let known = if code == codes::DUPLICATE {
                already_done
            } else {
                0
            };
            if *count > known {
                *self.failures.entry(code.clone()).or_default() += count - known;
            }
        }
        Ok(())
    }

    /// Says how long it took.
    pub(crate) fn took(mut self, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        self.seconds = (seconds * 1_000.0).round() / 1_000.0;
        let now = self.items - self.not_run - self.ended_before;
        if now > 0 && seconds > 0.0 {
            self.items_per_second = Some((now as f64 / seconds).round() as u64);
        }
        self
    }

    pub(crate) fn say_where_failures_are(&self) {
        if let Some(id) = self.first_with_failures {
            say(&format!(
                "`batchwright outcomes {id} --failed` shows what failed in batch {id}"
            ));
        }
    }

    pub(crate) fn ending(&self) -> Ending {
        Ending::of(self.failed > 0 || self.not_run > 0)
    }

    /// Whether all of it had ended before the command began.
    pub(crate) fn is_nothing_new(&self) -> bool {
        self.ended_before == self.items
    }

    pub(crate) fn write(&self, json: bool, out: &mut dyn Write) -> Result<(), Error> {
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
        } else {
            self.columns().write(out)?;
        }
        Ok(())
    }

    fn columns(&self) -> Columns {
        let mut columns = Columns::unnamed(&["", ">"]);
        let mut row = |name: &str, value: String| columns.row(&[name.to_owned(), value]);
        let mut count = |name: &str, items: u64, always: bool| {
            if always || items > 0 {
                row(name, items.to_string());
            }
        };
        count("items", self.items, true);
        count("succeeded", self.succeeded, true);
        count("already done", self.already_done, false);
        count("failed", self.failed, true);
        for (code, items) in &self.failures {
            count(&format!("  {code}"), *items, true);
        }
        count("not run", self.not_run, false);
        count("deleted since", self.deleted, false);
        count("ended before", self.ended_before, false);
        row("batch ids", shown_batches(&self.batches));
        row("seconds", format!("{:.3}", self.seconds));
        if let Some(rate) = self.items_per_second {
            row("items/s", rate.to_string());
        }
        columns
    }
}

fn shown_batches(ids: &[u64]) -> String {
    match ids {
        [] => "-".to_owned(),
        [id] => id.to_string(),
        [first, .., last] if last - first + 1 == ids.len() as u64 => format!("{first} to {last}"),
        ids => {
            const SHOWN: usize = 10;
            let shown: Vec<_> = ids.iter().take(SHOWN).map(u64::to_string).collect();
            let more = if ids.len() > SHOWN { ", .." } else { "" };
            format!("{}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shown_batches;

    #[test]
    fn batches_without_a_gap_are_shown_as_a_range() {
        assert_eq!(shown_batches(&[]), "-");
        assert_eq!(shown_batches(&[3]), "3");
        assert_eq!(shown_batches(&[3, 4, 5]), "3 to 5");
        assert_eq!(shown_batches(&[3, 5]), "3, 5");
    }
}
