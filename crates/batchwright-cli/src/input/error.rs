//! What is wrong with a file, or with one item in it.

use super::columns::ColumnError;
use super::limits::{ITEM_BYTES, SHOWN_CHARS};
use batchwright::limits::PAYLOAD_BYTES;
use std::fmt;
use std::io;
use thiserror::Error;

/// What is wrong with a file. Messages name the line, what was found and what was expected, but not the file: who
/// knows its path says it in front.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum InputError {
    #[error("the file cannot be opened: {0}")]
    Open(io::Error),

    #[error("this is {found}, expected a file, which can be read twice")]
    NotAFile { found: &'static str },

    #[error("the file cannot be read: {0}")]
    Read(io::Error),

    #[error("the file is UTF-16, expected UTF-8; save it as UTF-8")]
    Utf16,

    #[error("the file is empty, expected items")]
    Empty,

    #[error("the file has no items, expected one or more")]
    NoItems,

    /// A line or row is no item. The ones behind it are not concerned.
    #[error("line {line}: {problem}")]
    Item { line: u64, problem: Problem },

    /// Something that all items depend on: a JSON document, or the header of a table.
    #[error("line {line}: {part} is not valid: {problem}")]
    Document {
        line: u64,
        part: Part,
        problem: Problem,
    },

    #[error("line {line}: found {found}, expected {expected}")]
    Unexpected {
        line: u64,
        found: Found,
        expected: &'static str,
    },

    #[error("the file ends in the middle of {part}, which begins on line {line}")]
    Truncated { line: u64, part: Part },

    #[error(
        "line {line}: {part} is longer than {ITEM_BYTES} bytes, expected an item, which has up to {PAYLOAD_BYTES} \
         bytes of JSON{}", .part.advice()
    )]
    TooLong { line: u64, part: Part },

    #[error("line {line}: the object has \"body\" twice, expected it once")]
    SecondBody { line: u64 },

    #[error(
        "line {line}: the object has no \"body\" with the items; if every line is an item, the format is jsonl"
    )]
    NoBody { line: u64 },

    #[error("line {line}: {error}")]
    Columns { line: u64, error: ColumnError },
}

impl InputError {
    /// The line that it is about, from 1.
    pub(crate) fn line(&self) -> Option<u64> {
        match self {
            Self::Open(_)
            | Self::NotAFile { .. }
            | Self::Read(_)
            | Self::Utf16
            | Self::Empty
            | Self::NoItems => None,
            Self::Item { line, .. }
            | Self::Document { line, .. }
            | Self::Unexpected { line, .. }
            | Self::Truncated { line, .. }
            | Self::TooLong { line, .. }
            | Self::SecondBody { line }
            | Self::NoBody { line }
            | Self::Columns { line, .. } => Some(*line),
        }
    }

    /// Whether it is about one item only: then the iteration goes on with the next one. Any other error ends it.
    pub(crate) fn is_of_one_item(&self) -> bool {
        matches!(self, Self::Item { .. })
    }
}

/// Why text is no item.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum Problem {
    #[error("found byte 0x{byte:02X}, which is not UTF-8; save the file as UTF-8")]
    NotUtf8 { byte: u8 },

    #[error("found a NUL byte, expected text; is the file UTF-16, or no text at all?")]
    Nul,

    /// In the JSON parser's words.
    #[error("not JSON: {reason}")]
    NotJson { reason: String },

    #[error("found {}, expected {expected}, as in the header", cells(*.found))]
    CellCount { found: usize, expected: usize },
}

fn cells(count: usize) -> String {
    match count {
        1 => "1 cell".to_owned(),
        _ => format!("{count} cells"),
    }
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// An item of an array, by its number from 1.
    Item(u64),
    /// A member of the object that has the items as `body`: another one, or the name of one.
    Member,
    Line,
    Row,
    Header,
}

impl Part {
    fn advice(self) -> &'static str {
        match self {
            Self::Row | Self::Header => "; is there a quote that is not closed?",
            Self::Item(_) | Self::Member => "; is there a quote or a bracket that is not closed?",
            Self::Line => "; is the file JSON lines, with one item in a line?",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(number) => write!(f, "item {number}"),
            Self::Member => f.write_str("a member beside \"body\""),
            Self::Line => f.write_str("the line"),
            Self::Row => f.write_str("the row"),
            Self::Header => f.write_str("the header"),
        }
    }
}

/// What stands where something else was expected; `None` is the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found(pub(super) Option<u8>);

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("the end of the file"),
            Some(0) => f.write_str("a NUL byte"),
            Some(byte) if byte.is_ascii_graphic() => write!(f, "`{}`", char::from(byte)),
            Some(byte) => write!(f, "byte 0x{byte:02X}"),
        }
    }
}

/// The beginning of a text from the file, quoted for a message.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_line_what_was_found_and_what_was_expected() {
        let line = 7;
        let part = Part::Item(3);
        let truncated = InputError::Truncated { line, part };
        let text = "the file ends in the middle of item 3, which begins on line 7";
        assert_eq!(truncated.to_string(), text);
        assert_eq!(truncated.line(), Some(7));

        let unexpected = InputError::Unexpected {
            line,
            found: Found(Some(b'x')),
            expected: "`,`",
        };
        assert_eq!(unexpected.to_string(), "line 7: found `x`, expected `,`");

        let problem = Problem::CellCount {
            found: 1,
            expected: 4,
        };
        let item = InputError::Item { line, problem };
        let text = "line 7: found 1 cell, expected 4, as in the header";
        assert_eq!(item.to_string(), text);

        let too_long = InputError::TooLong { line, part };
        let text = too_long.to_string();
        let start = "line 7: item 3 is longer than 1048576 bytes, expected an item, which has up to 61440 bytes";
        assert!(text.starts_with(start), "{text}");
    }

    #[test]
    fn what_is_shown_of_a_text_is_short_and_printable() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        let long = shown(&"\u{e9}".repeat(100_000));
        assert!(long.chars().count() < 70, "{long}");
    }
}
