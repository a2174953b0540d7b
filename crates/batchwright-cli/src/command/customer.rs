//! `balance` and `history`: what a customer has, and how it came to be.

use crate::columns::{Columns, or_dash};
use crate::ending::Ending;
use crate::error::Error;
use crate::members::{Members, plain};
use crate::progress::say;
use crate::store::Store;
use batchwright::loyalty::{self, Entry};
use std::io::Write;

pub(crate) fn balance(
    store: &Store,
    customer: String,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let queue = store.look()?;
    let balance = loyalty::balance(&queue, &store.program, &customer)?;
    let balance = balance.ok_or(Error::UnknownCustomer(customer))?;
    let document = serde_json::to_string(&balance)?;
    if json {
        writeln!(out, "{document}")?;
        return Ok(Ending::Clean);
    }
    // The same names as in the JSON and in the outcomes of the operation.
    let Members(members) = serde_json::from_str(&document)?;
    let mut columns = Columns::unnamed(&["", ""]);
    for (name, value) in members {
        let value = plain(&value);
        columns.row(&[name, or_dash(Some(value).filter(|value| !value.is_empty()))]);
    }
    columns.write(out)?;
    Ok(Ending::Clean)
}

/// Rows of a table unless it is said how many; JSON is for programs and complete.
const ROWS: usize = 100;

pub(crate) fn history(
    store: &Store,
    customer: String,
    limit: Option<usize>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let queue = store.look()?;
    let history = loyalty::history(&queue, &customer)?;
    let mut history = history.ok_or(Error::UnknownCustomer(customer))?;
    if json {
        for entry in history.take(limit.unwrap_or(usize::MAX)) {
            writeln!(out, "{}", serde_json::to_string(&entry?)?)?;
        }
        return Ok(Ending::Clean);
    }
    let mut columns = Columns::new(&[
        "AT",
        "TYPE",
        ">POINTS",
        ">HELD",
        ">BEFORE",
        ">AFTER",
        ">AMOUNT",
        "ID",
        "AVAILABLE FROM",
    ]);
    for entry in history.by_ref().take(limit.unwrap_or(ROWS)) {
        columns.row(&cells(&entry?));
    }
    if columns.is_empty() {
        say("no points were moved");
        return Ok(Ending::Clean);
    }
    columns.write(out)?;
    if history.next().transpose()?.is_some() {
        say("there are more: --limit N");
    }
    Ok(Ending::Clean)
}

fn cells(entry: &Entry) -> [String; 9] {
    let id = entry.transaction_id.as_ref().or(entry.order_id.as_ref());
    [
        entry.at.to_string(),
        entry.kind.to_string(),
        format!("{:+}", entry.points),
        entry
            .held
            .map_or_else(String::new, |held| format!("{held:+}")),
        entry.balance_before.to_string(),
        entry.balance_after.to_string(),
        entry
            .amount
            .map_or_else(String::new, |amount| amount.to_string()),
        or_dash(id),
        entry
            .available_from
            .map_or_else(String::new, |time| time.to_string()),
    ]
}
