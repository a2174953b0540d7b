//! `outcomes`: how the items of a batch ended.

use crate::arguments::{OutcomesArguments, OutcomesFormat};
use crate::columns::Columns;
use crate::ending::Ending;
use crate::error::Error;
use crate::members::{Members, plain};
use crate::operation_kind::{LedgerOperation, OperationKind, Visitor};
use crate::progress::say;
use crate::store::Store;
use batchwright::loyalty::Time;
use batchwright::{Batch, BatchType, Failure, ItemOutcome, Outcome};
use serde::Serialize;
use std::io::Write;

pub(crate) fn outcomes(
    store: &Store,
    arguments: &OutcomesArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let queue = store.look()?;
    let batch = queue.batch(arguments.id)?;
    let status = batch.status()?;
    let format = if json {
        OutcomesFormat::Json
    } else {
        arguments.format
    };
    let print = Print {
        batch: &batch,
        format,
        failed_only: arguments.failed,
        out,
    };
    match OperationKind::named(&status.operation) {
        // With the operation's types money is printed to the last digit.
        Some(kind) => kind.visit(print)?,
        None => print.print(&batch)?,
    }
    if status.unfinished() > 0 {
        say(&format!(
            "{} items have no outcome yet",
            status.unfinished()
        ));
    }
    Ok(Ending::Clean)
}

struct Print<'a> {
    batch: &'a Batch,
    format: OutcomesFormat,
    failed_only: bool,
    out: &'a mut dyn Write,
}

impl Visitor for Print<'_> {
    type Output = Result<(), Error>;

    fn visit<O: LedgerOperation>(self) -> Result<(), Error> {
        let batch = self.batch.typed::<O>()?;
        self.print(&batch)
    }
}

/// A line of JSON. Times are RFC 3339 in UTC; there is an output or a failure.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OutcomeDocument<'a, T> {
    index: usize,
    outcome: &'static str,
    attempts: u32,
    ended_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a Failure>,
    /// Why it is in doubt.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl Print<'_> {
    fn print<O: BatchType<Output: Serialize>>(self, batch: &Batch<O>) -> Result<(), Error> {
        match self.format {
            OutcomesFormat::Json => self.print_json(batch),
            OutcomesFormat::Csv => self.print_csv(batch),
            OutcomesFormat::Table => self.print_table(batch),
        }
    }

    fn print_json<O: BatchType<Output: Serialize>>(self, batch: &Batch<O>) -> Result<(), Error> {
        for item in each(batch, self.failed_only)? {
            let item = item?;
            let document = OutcomeDocument {
                index: item.index,
                outcome: word(&item.outcome),
                attempts: item.attempts,
                ended_at: item.ended_at.into(),
                output: item.outcome.output(),
                failure: item.outcome.failure(),
                reason: match &item.outcome {
                    Outcome::InDoubt { reason } => Some(reason),
                    _ => None,
                },
            };
            writeln!(self.out, "{}", serde_json::to_string(&document)?)?;
        }
        Ok(())
    }

    /// With a column for each member that any output has. The outcomes are read twice for it: a batch is small, but
    /// need not fit into memory beside the table.
    fn print_csv<O: BatchType<Output: Serialize>>(self, batch: &Batch<O>) -> Result<(), Error> {
        let mut names: Vec<String> = Vec::new();
        for item in each(batch, self.failed_only)? {
            for (name, _) in members(&item?)?.0 {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let fixed = [
            "index", "outcome", "attempts", "endedAt", "code", "error", "field",
        ];
        let mut heading: Vec<String> = fixed.map(str::to_owned).to_vec();
        heading.extend(names.iter().map(|name| format!("output.{name}")));
        let mut rows = csv::Writer::from_writer(self.out);
        rows.write_record(&heading)?;
        for item in each(batch, self.failed_only)? {
            let item = item?;
            let Members(members) = members(&item)?;
            let failure = item.outcome.failure();
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let mut record = vec![
                item.index.to_string(),
                word(&item.outcome).to_owned(),
                item.attempts.to_string(),
                Time::from(item.ended_at).to_string(),
                text(failure.map(|failure| failure.code.as_str())),
                text(failure.map(|failure| failure.message.as_str())),
                text(failure.and_then(|failure| failure.field.as_deref())),
            ];
            record.extend(names.iter().map(|name| {
                let member = members.iter().find(|(found, _)| found == name);
                member.map_or_else(String::new, |(_, value)| plain(value))
            }));
            rows.write_record(&record)?;
        }
        Ok(rows.flush()?)
    }

    fn print_table<O: BatchType<Output: Serialize>>(self, batch: &Batch<O>) -> Result<(), Error> {
        let mut columns = Columns::new(&[">INDEX", "OUTCOME", "DETAIL"]);
        for item in each(batch, self.failed_only)? {
            let item = item?;
            let detail = match &item.outcome {
                Outcome::Failed(failure) => failure.to_string(),
                Outcome::InDoubt { reason } => reason.clone(),
                _ => {
                    let Members(members) = members(&item)?;
                    let shown = members.iter().filter(|(_, value)| value.get() != "null");
                    let shown: Vec<_> = shown
                        .map(|(name, value)| format!("{name}={}", plain(value)))
                        .collect();
                    shown.join(" ")
                }
            };
            columns.row(&[
                item.index.to_string(),
                word(&item.outcome).to_owned(),
                detail,
            ]);
        }
        if columns.is_empty() {
            say("no outcomes");
            return Ok(());
        }
        Ok(columns.write(self.out)?)
    }
}

/// The outcomes that are asked for.
fn each<O: BatchType>(
    batch: &Batch<O>,
    failed_only: bool,
) -> Result<impl Iterator<Item = Result<ItemOutcome<O::Output>, Error>> + use<O>, Error> {
    let outcomes = batch
        .outcomes()?
        .map(|outcome| outcome.map_err(Error::from));
    Ok(outcomes.filter(move |outcome| match outcome {
        Ok(outcome) => !failed_only || !outcome.outcome.is_success(),
        Err(_) => true,
    }))
}

fn word<T>(outcome: &Outcome<T>) -> &'static str {
    match outcome {
        Outcome::Succeeded(_) => "succeeded",
        Outcome::InDoubt { .. } => "inDoubt",
        _ => "failed",
    }
}

/// The members of an item's output; none of a failure. An output that is no object is the one member `value`.
fn members<T: Serialize>(item: &ItemOutcome<T>) -> Result<Members, Error> {
    let Some(output) = item.outcome.output() else {
        return Ok(Members(Vec::new()));
    };
    let json = serde_json::to_string(output)?;
    match serde_json::from_str(&json) {
        Ok(members) => Ok(members),
        Err(_) => {
            let value = serde_json::value::to_raw_value(output)?;
            Ok(Members(vec![("value".to_owned(), value)]))
        }
    }
}
