//! Which format a file has.

use super::limits::ITEM_BYTES;
use super::value_end::is_space;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::Path;

/// How items are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// An array of items, or an object with one as "body".
    #[value(name = "json")]
    Json,
    /// An item in each line.
    #[value(name = "jsonl")]
    JsonLines,
    /// A header with the names of fields, and a row for each item.
    #[value(name = "csv")]
    Csv,
}

/// How much of a file's beginning is looked at to tell its format: no first item is longer.
pub(super) const LOOKED_AT_BYTES: usize = ITEM_BYTES;

impl Format {
    /// By the extension of the file's name, in any letter case.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::JsonLines),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// By the file's beginning. Items are plain texts or objects.
    pub(super) fn of_beginning(bytes: &[u8], items_are_texts: bool) -> Self {
        let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        let space = bytes.iter().take_while(|byte| is_space(**byte)).count();
        let bytes = bytes.get(space..).unwrap_or_default();
        let first_line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        match bytes.first() {
            Some(b'[') => Self::Json,
            Some(b'{') => {
                match serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(first_line) {
                    Ok(members) if !members.contains_key("body") => Self::JsonLines,
                    Ok(_) | Err(_) => Self::Json,
                }
            }
            // A text, but not the one that a table has for a header.
            Some(b'"') if items_are_texts => match serde_json::from_slice::<String>(first_line) {
                Ok(text) if text != "orderId" => Self::JsonLines,
                Ok(_) | Err(_) => Self::Csv,
            },
            _ => Self::Csv,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn a_format_has_the_name_that_its_files_end_in() {
        for format in Format::value_variants() {
            let value = format.to_possible_value().unwrap();
            let path = format!("some.dir/file.{}", value.get_name().to_uppercase());
            assert_eq!(Format::of_path(Path::new(&path)), Some(*format));
        }
        assert_eq!(
            Format::of_path(Path::new("a.ndjson")),
            Some(Format::JsonLines)
        );
        for path in ["csv", "a.txt", "a.csv.gz", "a.csv/a"] {
            assert_eq!(Format::of_path(Path::new(path)), None);
        }
    }

    #[test]
    fn the_beginning_of_a_file_tells_its_format() {
        for (text, texts, expected) in [
            ("[1]", false, Format::Json),
            (" \r\n[", false, Format::Json),
            ("\u{feff}[", false, Format::Json),
            ("{\n\"body\": []}", false, Format::Json),
            ("{\"body\": [{}]}\n", false, Format::Json),
            ("{\"a\": [\n", false, Format::Json),
            ("{\"a\": 1}\r\n{\"a\": 2}\r\n", false, Format::JsonLines),
            ("\n{\"a\": {\"body\": 1}}", false, Format::JsonLines),
            ("customerId,amount\n", false, Format::Csv),
            ("\"customerId\"\n", false, Format::Csv),
            ("", false, Format::Csv),
            ("\"o-1\"\n\"o-2\"\n", true, Format::JsonLines),
            ("\"orderId\"\n\"o-2\"\n", true, Format::Csv),
            ("orderId\no-1\n", true, Format::Csv),
        ] {
            assert_eq!(
                Format::of_beginning(text.as_bytes(), texts),
                expected,
                "{text}"
            );
        }
    }
}
