//! `verify`: that nothing is lost or changed, in the store's records and in the ledger.

use super::AuditDocument;
use crate::ending::Ending;
use crate::error::Error;
use crate::progress::say;
use crate::store::Store;
use batchwright::loyalty::{self, Audit};
use batchwright::{Verification, verify_with};
use serde::Serialize;
use std::io::Write;

pub(crate) fn verify(store: &Store, json: bool, out: &mut dyn Write) -> Result<Ending, Error> {
    let (verification, audit) = verify_with(&store.dir, loyalty::audit)?;
    let audit = match audit {
        Some(Ok(audit)) => Some(audit),
        Some(Err(error)) => {
            say(&format!("the ledger could not be audited: {error}"));
            None
        }
        None => None,
    };
    let clean = verification.is_clean() && audit.as_ref().is_some_and(Audit::is_clean);
    write_verification(&verification, audit.as_ref(), json, out)?;
    if clean {
        return Ok(Ending::Clean);
    }
    let dir = store.dir.display();
    say(&format!(
        "the store in {dir} is damaged; restore a backup, or save what can be read: `batchwright salvage {dir} NEW`"
    ));
    Ok(Ending::Damaged)
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerificationDocument<'a> {
    is_clean: bool,
    sequence: Option<u64>,
    rows: u64,
    table_rows: u64,
    batches: u64,
    items: u64,
    outcomes: u64,
    finding_count: u64,
    /// The first ones.
    findings: Vec<FindingDocument<'a>>,
    /// Null when the copy could not be opened.
    audit: Option<AuditDocument<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingDocument<'a> {
    kind: String,
    batch: Option<u64>,
    item: Option<u32>,
    record: Option<&'a str>,
    what: &'a str,
}

fn write_verification(
    found: &Verification,
    audit: Option<&Audit>,
    json: bool,
    out: &mut dyn Write,
) -> Result<(), Error> {
    if !json {
        writeln!(out, "{found}")?;
        if let Some(audit) = audit {
            writeln!(out, "{audit}")?;
        }
        return Ok(());
    }
    let findings = found.findings.iter().map(|finding| FindingDocument {
        kind: finding.kind.to_string(),
        batch: finding.batch.map(u64::from),
        item: finding.item,
        record: finding.record.as_deref(),
        what: &finding.what,
    });
    let document = VerificationDocument {
        is_clean: found.is_clean() && audit.is_some_and(Audit::is_clean),
        sequence: found.sequence,
        rows: found.rows,
        table_rows: found.table_rows,
        batches: found.batches,
        items: found.items,
        outcomes: found.outcomes,
        finding_count: found.finding_count,
        findings: findings.collect(),
        audit: audit.map(AuditDocument::of),
    };
    writeln!(out, "{}", serde_json::to_string(&document)?)?;
    Ok(())
}
