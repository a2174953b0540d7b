//! What the demo shows at its end.

use crate::columns::Columns;
use crate::command::{AuditDocument, write_audit};
use crate::ending::Ending;
use crate::error::Error;
use crate::summary::Summary;
use batchwright::loyalty::{Audit, BalanceOutput};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// The failures that a step is meant to have.
#[derive(Debug)]
pub(crate) struct Expected(BTreeMap<String, u64>);

impl Expected {
    pub(crate) const NOTHING: Self = Self(BTreeMap::new());

    pub(crate) fn failures(code: &str, count: u64) -> Self {
        Self(BTreeMap::from([(code.to_owned(), count)]))
    }
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) summary: Summary,
    pub(crate) expected: Expected,
}

impl Step {
    fn is_as_expected(&self) -> bool {
        self.summary.failures == self.expected.0 && self.summary.not_run == 0
    }

    /// Such as `100 x 9008 (expected)`.
    fn failures(&self) -> String {
        let failures = &self.summary.failures;
        if failures.is_empty() && self.is_as_expected() {
            return "-".to_owned();
        }
        let mut shown: Vec<_> = failures
            .iter()
            .map(|(code, count)| format!("{count} x {code}"))
            .collect();
        if self.summary.not_run > 0 {
            shown.push(format!("{} not run", self.summary.not_run));
        }
        let is_expected = if self.is_as_expected() {
            "(expected)"
        } else {
            "(NOT EXPECTED)"
        };
        format!("{} {is_expected}", shown.join(", "))
    }
}

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) steps: Vec<Step>,
    pub(crate) balances: Vec<BalanceOutput>,
    pub(crate) audit: Audit,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportDocument<'a> {
    steps: Vec<StepDocument<'a>>,
    balances: &'a [BalanceOutput],
    audit: AuditDocument<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StepDocument<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    is_as_expected: bool,
}

impl Report {
    pub(crate) fn is_nothing_new(&self) -> bool {
        self.steps.iter().all(|step| step.summary.is_nothing_new())
    }

    pub(crate) fn ending(&self) -> Ending {
        let as_expected = self.steps.iter().all(Step::is_as_expected);
        Ending::of(!as_expected || !self.audit.is_clean())
    }

    pub(crate) fn write(&self, json: bool, out: &mut dyn Write) -> Result<(), Error> {
        if json {
            writeln!(out, "{}", serde_json::to_string(&self.document())?)?;
            return Ok(());
        }
        self.write_steps(out)?;
        writeln!(out)?;
        self.write_balances(out)?;
        write!(out, "\naudit: ")?;
        write_audit(&self.audit, false, out)
    }

    fn document(&self) -> ReportDocument<'_> {
        let steps = self.steps.iter().map(|step| StepDocument {
            summary: &step.summary,
            is_as_expected: step.is_as_expected(),
        });
        ReportDocument {
            steps: steps.collect(),
            balances: &self.balances,
            audit: AuditDocument::of(&self.audit),
        }
    }

    fn write_steps(&self, out: &mut dyn Write) -> Result<(), Error> {
        let mut columns = Columns::new(&[
            "OPERATION",
            ">ITEMS",
            ">SUCCEEDED",
            ">FAILED",
            ">SECONDS",
            ">ITEMS/S",
            "FAILURES",
        ]);
        for step in &self.steps {
            let summary = &step.summary;
            columns.row(&[
                summary.operation.clone(),
                summary.items.to_string(),
                summary.succeeded.to_string(),
                summary.failed.to_string(),
                format!("{:.3}", summary.seconds),
                match summary.items_per_second {
                    Some(rate) => rate.to_string(),
                    None => "before".to_owned(),
                },
                step.failures(),
            ]);
        }
        Ok(columns.write(out)?)
    }

    fn write_balances(&self, out: &mut dyn Write) -> Result<(), Error> {
        let mut columns = Columns::new(&[
            "CUSTOMER",
            ">POINTS",
            ">AVAILABLE",
            ">PENDING",
            ">EARNED",
            ">WORTH",
        ]);
        for balance in &self.balances {
            columns.row(&[
                balance.customer_id.clone(),
                balance.total_points_balance.to_string(),
                balance.available_points_balance.to_string(),
                balance.pending_points.to_string(),
                balance.total_earned_points.to_string(),
                format!("{} {}", balance.total_points_value, balance.currency),
            ]);
        }
        Ok(columns.write(out)?)
    }
}
