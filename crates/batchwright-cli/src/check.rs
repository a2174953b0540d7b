//! The first pass over a file: every item is checked before anything is stored.

use crate::error::Error;
use crate::input::{InputFile, RawItem};
use crate::interrupt::Interrupt;
use crate::operation_kind::LedgerOperation;
use crate::progress::{Progress, say};
use batchwright::{Failure, InvalidItem, limits};
use std::path::Path;

/// Problems that are shown one by one; the others are counted.
const SHOWN: u64 = 100;

/// A file without problems.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) items: u64,
    /// Of its content.
    pub(crate) sha256: [u8; 32],
}

/// Reads all of the file and says what is wrong with its items on standard error; `None` when it was interrupted.
///
/// What is checked is what the engine checks at submit, so that nothing is refused there.
pub(crate) fn check<O: LedgerOperation>(
    operation: &O,
    file: &mut InputFile,
    path: &Path,
    interrupt: &Interrupt,
) -> Result<Option<Checked>, Error> {
    let progress = Progress::counting("checking");
    let (mut items, mut refused) = (0, 0);
    let mut refuse = |problem: &str| {
        refused += 1;
        if refused <= SHOWN {
            progress.say(problem);
        }
    };
    let shown = path.display();
    let unreadable = Error::of_input(path);
    let mut reading = file.items().map_err(&unreadable)?;
    for item in &mut reading {
        if interrupt.is_requested() {
            return Ok(None);
        }
        match item {
            Ok(raw) => {
                if let Err(failure) = check_item(operation, &raw) {
                    refuse(&format!("{shown}: line {}: {failure}", raw.line));
                }
            }
            Err(error) if error.is_of_one_item() => refuse(&format!("{shown}: {error}")),
            Err(error) => return Err(unreadable(error)),
        }
        items += 1;
        progress.advance();
    }
    let sha256 = reading.sha256().map_err(&unreadable)?;
    progress.finish();
    if refused > SHOWN {
        say(&format!("and {} more", refused - SHOWN));
    }
    if refused > 0 {
        return Err(Error::Refused {
            path: path.to_owned(),
            refused,
            items,
        });
    }
    Ok(Some(Checked { items, sha256 }))
}

fn check_item<O: LedgerOperation>(operation: &O, raw: &RawItem) -> Result<(), Failure> {
    let item: O::Item = serde_json::from_str(&raw.json).map_err(|error| {
        let failure = Failure::permanent(InvalidItem::NOT_DECODABLE, error.to_string());
        operation.undecodable(raw.json.trim(), failure)
    })?;
    operation.validate(&item)?;
    let stored = serde_json::to_vec(&item)
        .map_err(|error| Failure::permanent(InvalidItem::NOT_JSON, error.to_string()))?;
    let (bytes, limit) = (stored.len(), limits::PAYLOAD_BYTES);
    if bytes > limit {
        let text = format!("the item is {bytes} bytes of JSON, the limit is {limit}");
        return Err(Failure::permanent(InvalidItem::TOO_LARGE, text));
    }
    Ok(())
}
