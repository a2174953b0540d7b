//! `backup`: a copy of a store that nobody has open.

use crate::ending::Ending;
use crate::error::Error;
use crate::store::Store;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BackupDocument {
    sequence: u64,
    bytes: u64,
}

pub(crate) fn backup(
    store: &Store,
    to: &Path,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let queue = store.look()?;
    let backup = queue.backup(to)?;
    if json {
        let document = BackupDocument {
            sequence: backup.sequence,
            bytes: backup.bytes,
        };
        writeln!(out, "{}", serde_json::to_string(&document)?)?;
    } else {
        let (bytes, sequence) = (backup.bytes, backup.sequence);
        writeln!(out, "{bytes} bytes copied, as of commit {sequence}")?;
    }
    Ok(Ending::Clean)
}
