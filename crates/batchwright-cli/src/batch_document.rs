//! A batch as it is printed.

use crate::columns::{Columns, or_dash};
use batchwright::loyalty::Time;
use batchwright::{Report, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A batch in JSON. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchDocument {
    id: u64,
    operation: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<u64>,
    items: u64,
    succeeded: u64,
    failed: u64,
    #[serde(skip_serializing_if = "is_zero")]
    in_doubt: u64,
    unfinished: u64,
    created_at: Time,
    started_at: Option<Time>,
    ended_at: Option<Time>,
    /// Failed items by code; of a batch that is shown by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<BTreeMap<String, u64>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(items: &u64) -> bool {
    *items == 0
}

impl BatchDocument {
    pub(crate) fn of_report(report: Report) -> Self {
        Self {
            failures: Some(report.failures),
            ..Self::of(&report.status)
        }
    }

    pub(crate) fn of(status: &Status) -> Self {
        let time = |time: Option<SystemTime>| time.map(Time::from);
        Self {
            id: status.id.into(),
            operation: status.operation.clone(),
            state: status.state.to_string(),
            blocked: status.blocked.as_ref().map(ToString::to_string),
            label: status.label.clone(),
            retry_of: status.retry_of.map(u64::from),
            items: status.total,
            succeeded: status.succeeded,
            failed: status.failed,
            in_doubt: status.in_doubt,
            unfinished: status.unfinished(),
            created_at: status.created_at.into(),
            started_at: time(status.started_at),
            ended_at: time(status.ended_at),
            failures: None,
        }
    }

    /// Two columns, a row a figure.
    pub(crate) fn figures(&self) -> Columns {
        let mut columns = Columns::unnamed(&["", ""]);
        let mut row = |name: &str, value: String| columns.row(&[name.to_owned(), value]);
        row("batch", self.id.to_string());
        row("operation", self.operation.clone());
        row("state", self.state.clone());
        if let Some(blocked) = &self.blocked {
            row("", blocked.clone());
        }
        if let Some(label) = &self.label {
            row("label", label.clone());
        }
        if let Some(id) = &self.retry_of {
            row("retry of", id.to_string());
        }
        row("items", self.items.to_string());
        row("succeeded", self.succeeded.to_string());
        row("failed", self.failed.to_string());
        for (code, items) in self.failures.iter().flatten() {
            row(&format!("  {code}"), items.to_string());
        }
        row("unfinished", self.unfinished.to_string());
        row("created", self.created_at.to_string());
        row("started", or_dash(self.started_at));
        row("ended", or_dash(self.ended_at));
        columns
    }
}

/// A table with a row a batch.
pub(crate) fn batch_columns<'a>(batches: impl IntoIterator<Item = &'a BatchDocument>) -> Columns {
    let mut columns = Columns::new(&[
        ">ID",
        "OPERATION",
        "STATE",
        ">ITEMS",
        ">SUCCEEDED",
        ">FAILED",
        "CREATED",
        "ENDED",
        "LABEL",
    ]);
    for batch in batches {
        columns.row(&[
            batch.id.to_string(),
            batch.operation.clone(),
            batch.state.clone(),
            batch.items.to_string(),
            batch.succeeded.to_string(),
            batch.failed.to_string(),
            batch.created_at.to_string(),
            or_dash(batch.ended_at),
            batch.label.clone().unwrap_or_default(),
        ]);
    }
    columns
}
