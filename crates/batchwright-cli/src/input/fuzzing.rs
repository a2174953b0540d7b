//! The way in for fuzz targets.

use super::format::{Format, LOOKED_AT_BYTES};
use super::hashing::Hashing;
use super::reading::Reading;
use batchwright::loyalty::Field;

/// Reads all items of a file with this content. Whatever it is: no panic, an end, and no more memory than its longest
/// item asks for.
#[allow(dead_code, reason = "fuzz targets and tests call it")]
pub(crate) fn drain(content: &[u8], format: Option<Format>, fields: &'static [Field]) {
    let beginning = content.get(..LOOKED_AT_BYTES).unwrap_or(content);
    let format = format.unwrap_or_else(|| Format::of_beginning(beginning, fields.is_empty()));
    let Ok(mut items) = Reading::new(Hashing::new(content), format, fields) else {
        return;
    };
    for item in items.by_ref() {
        // Messages have code of their own, too.
        let _ = item.map_err(|error| (error.to_string(), error.line()));
    }
    let _ = items.into_reader_at_end().map(Hashing::sha256);
}
