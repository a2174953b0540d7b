//! `salvage`: what can be read of a damaged store.

use crate::ending::Ending;
use crate::error::Error;
use crate::progress::say;
use batchwright::Salvage;
use serde::Serialize;
use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SalvageDocument<'a> {
    is_whole: bool,
    sequence: u64,
    rows: u64,
    batches: u64,
    loss_count: u64,
    losses: Vec<LossDocument<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LossDocument<'a> {
    batch: Option<u64>,
    record: Option<&'a str>,
    /// The key of a table's row.
    row: Option<Cow<'a, str>>,
    what: &'a str,
}

pub(crate) fn salvage(
    dir: &Path,
    to: &Path,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let salvage = batchwright::salvage(dir, to)?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&document(&salvage))?)?;
    } else {
        writeln!(out, "{salvage}")?;
    }
    if salvage.is_whole {
        return Ok(Ending::Clean);
    }
    let to = to.display();
    say(&format!(
        "nothing in the new store runs by itself; see that its points add up: `batchwright audit --store {to}`"
    ));
    Ok(Ending::Damaged)
}

fn document(salvage: &Salvage) -> SalvageDocument<'_> {
    let losses = salvage.losses.iter().map(|loss| LossDocument {
        batch: loss.batch.map(u64::from),
        record: loss.record.as_deref(),
        row: loss.row.as_deref().map(String::from_utf8_lossy),
        what: &loss.what,
    });
    SalvageDocument {
        is_whole: salvage.is_whole,
        sequence: salvage.sequence,
        rows: salvage.rows,
        batches: salvage.batches,
        loss_count: salvage.loss_count,
        losses: losses.collect(),
    }
}
