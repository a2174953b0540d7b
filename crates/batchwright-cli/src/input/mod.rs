//! Files of items: JSON, JSON lines and CSV, of any size, read piece by piece.
//!
//! An item comes out as its JSON text and the line it begins on. Nothing here looks into an item beyond whether it is
//! JSON: whether it is an item of its operation is the library's to say. So numbers are never decoded: `150.75` stays
//! the text that was written.
//!
//! - Memory is bounded whatever the file is: no more than an item of at most [`limits::ITEM_BYTES`] and a piece of the file is
//!   held at once.
//! - Where items are lines or rows, a bad one is reported and the next one is read. Everything else that is wrong ends
//!   the iteration: behind it nothing is certain.
//! - The file's SHA-256 is of the very bytes that the items were read from.

mod cell;
mod columns;
mod csv_items;
mod csv_rows;
mod error;
mod file;
mod format;
mod fuzzing;
mod hashing;
mod json_items;
mod json_lines;
mod limits;
mod lookahead;
#[cfg(test)]
mod properties;
mod reading;
#[cfg(test)]
mod test_readers;
mod text;
mod value_end;

pub(crate) use error::InputError;
pub(crate) use file::{InputFile, Items};
pub(crate) use format::Format;
#[allow(unused_imports, reason = "for fuzz targets")]
pub(crate) use fuzzing::drain;

/// An item as it was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawItem {
    /// One JSON value, without space around it.
    pub(crate) json: String,
    /// The line it begins on, from 1.
    pub(crate) line: u64,
}
