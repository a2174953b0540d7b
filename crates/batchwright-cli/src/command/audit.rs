//! `audit`: every balance, computed anew.

use crate::ending::Ending;
use crate::error::Error;
use crate::progress::say;
use crate::store::Store;
use batchwright::loyalty::{self, Audit};
use serde::Serialize;
use std::io::Write;

pub(crate) fn audit(store: &Store, json: bool, out: &mut dyn Write) -> Result<Ending, Error> {
    let queue = store.look()?;
    let audit = loyalty::audit(&queue)?;
    write_audit(&audit, json, out)?;
    if !audit.is_clean() {
        say("the ledger does not add up");
    }
    Ok(Ending::of(!audit.is_clean()))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditDocument<'a> {
    is_clean: bool,
    customers: u64,
    transactions: u64,
    entries: u64,
    points: i128,
    difference_count: u64,
    /// The first ones.
    differences: Vec<DifferenceDocument<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DifferenceDocument<'a> {
    /// Null when it is about the tables as a whole.
    customer_id: Option<&'a str>,
    what: &'a str,
}

impl<'a> AuditDocument<'a> {
    pub(crate) fn of(audit: &'a Audit) -> Self {
        let differences = audit.differences.iter();
        Self {
            is_clean: audit.is_clean(),
            customers: audit.customers,
            transactions: audit.transactions,
            entries: audit.entries,
            points: audit.points,
            difference_count: audit.difference_count,
            differences: differences
                .map(|difference| DifferenceDocument {
                    customer_id: difference.customer_id.as_deref(),
                    what: &difference.what,
                })
                .collect(),
        }
    }
}

pub(crate) fn write_audit(audit: &Audit, json: bool, out: &mut dyn Write) -> Result<(), Error> {
    if json {
        writeln!(out, "{}", serde_json::to_string(&AuditDocument::of(audit))?)?;
    } else {
        writeln!(out, "{audit}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_audit_says_so_in_both_forms() {
        let audit = Audit::default();
        let mut text = Vec::new();
        write_audit(&audit, false, &mut text).unwrap();
        assert!(
            String::from_utf8(text)
                .unwrap()
                .ends_with("everything adds up\n")
        );
        let mut json = Vec::new();
        write_audit(&audit, true, &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["isClean"], true);
        assert_eq!(json["differences"], serde_json::json!([]));
    }
}
