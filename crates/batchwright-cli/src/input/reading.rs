//! Items of any format, out of any reader.

use super::RawItem;
use super::csv_items::CsvItems;
use super::error::InputError;
use super::format::Format;
use super::json_items::JsonItems;
use super::json_lines::JsonLines;
use super::lookahead::Lookahead;
use batchwright::loyalty::Field;
use std::io::Read;

/// Iterates over items. Ends behind the last item, and behind an error that is not of one item only.
pub(super) struct Reading<R> {
    items: ItemsOf<R>,
    /// Items were met, good or bad.
    has_items: bool,
    has_ended: bool,
}

enum ItemsOf<R> {
    Json(JsonItems<R>),
    JsonLines(JsonLines<R>),
    /// Boxed because its parser is many times as large as the other two.
    Csv(Box<CsvItems<R>>),
}

impl<R: Read> Reading<R> {
    pub(super) fn new(reader: R, format: Format, fields: &[Field]) -> Result<Self, InputError> {
        let text = Lookahead::new(reader)?;
        let items = match format {
            Format::Json => ItemsOf::Json(JsonItems::new(text)),
            Format::JsonLines => ItemsOf::JsonLines(JsonLines::new(text)),
            Format::Csv => ItemsOf::Csv(Box::new(CsvItems::new(text, fields)?)),
        };
        Ok(Self {
            items,
            has_items: false,
            has_ended: false,
        })
    }

    /// Reads what is left of the file, and gives the reader back.
    pub(super) fn into_reader_at_end(self) -> Result<R, InputError> {
        let text = match self.items {
            ItemsOf::Json(items) => items.into_text(),
            ItemsOf::JsonLines(items) => items.into_text(),
            ItemsOf::Csv(items) => items.into_text(),
        };
        text.into_reader_at_end()
    }
}

impl<R: Read> Iterator for Reading<R> {
    type Item = Result<RawItem, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let next = match &mut self.items {
            ItemsOf::Json(items) => items.next(),
            ItemsOf::JsonLines(items) => items.next(),
            ItemsOf::Csv(items) => items.next(),
        };
        let next = match next.transpose() {
            None if !self.has_items => Some(Err(InputError::NoItems)),
            next => next,
        };
        self.has_items = true;
        self.has_ended = match &next {
            None => true,
            Some(Err(error)) => !error.is_of_one_item(),
            Some(Ok(_)) => false,
        };
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::{ITEM_BYTES, PIECE_BYTES};
    use super::super::test_readers::{Endless, Pieces};
    use super::*;
    use batchwright::loyalty::{BalanceItem, Fields};

    fn errors(bytes: &[u8], format: Format) -> Vec<String> {
        match Reading::new(bytes, format, BalanceItem::FIELDS) {
            Err(error) => vec![error.to_string()],
            Ok(items) => items
                .filter_map(Result::err)
                .map(|error| error.to_string())
                .collect(),
        }
    }

    #[test]
    fn a_file_without_items_is_refused() {
        let none = ["the file has no items, expected one or more"];
        assert_eq!(errors(b"[ ]", Format::Json), none);
        assert_eq!(errors(b"{\"body\":[],\"a\":1}", Format::Json), none);
        assert_eq!(errors(b"customerId\n\n", Format::Csv), none);
        for format in [Format::Json, Format::JsonLines, Format::Csv] {
            let empty = ["the file is empty, expected items"];
            assert_eq!(errors(b"", format), empty);
            assert_eq!(errors(b"\xEF\xBB\xBF", format), empty);
            assert_eq!(errors(b"\r\n\r\n", format), empty);
        }
    }

    #[test]
    fn a_file_whose_every_item_is_bad_has_items() {
        assert_eq!(errors(b"{\n", Format::JsonLines).len(), 1);
        assert_eq!(errors(b"customerId\n1,2\n", Format::Csv).len(), 1);
    }

    #[test]
    fn nothing_comes_behind_an_error_that_is_not_of_one_item() {
        let mut items = Reading::new(&b"[1,x,2]"[..], Format::Json, &[]).unwrap();
        assert!(items.next().unwrap().is_ok());
        assert!(!items.next().unwrap().unwrap_err().is_of_one_item());
        assert!(items.next().is_none());
        assert!(items.next().is_none());
    }

    #[test]
    fn items_of_a_file_of_many_pieces_come_whole_and_in_order() {
        // Each has another length, and some are longer than a piece.
        let item = |number: usize| {
            let length = number * 37 % 900 + number % 1_000 / 999 * 2 * PIECE_BYTES;
            format!("\"{number}-{}\"", "x".repeat(length))
        };
        let items: Vec<String> = (0..4_000).map(item).collect();
        for (format, start, between) in [
            (Format::Json, "[\n", ",\n"),
            (Format::JsonLines, "\n", "\n"),
            (Format::Csv, "orderId\n", "\r\n"),
        ] {
            let text = format!("{start}{}", items.join(between));
            let text = match format {
                Format::Json => text + "]",
                Format::JsonLines | Format::Csv => text,
            };
            let reader = Pieces::new(text.as_bytes(), vec![usize::MAX, 7, 10_007]);
            let found = Reading::new(reader, format, &[]).unwrap();
            let found: Vec<RawItem> = found.map(Result::unwrap).collect();
            let expected = items.iter().zip(2..);
            assert_eq!(found.len(), items.len());
            for (found, (json, line)) in found.iter().zip(expected) {
                assert!(
                    found.json == *json && found.line == line,
                    "{format:?}, line {line}"
                );
            }
        }
    }

    /// What is said of a file without end, which must be said before 4 MiB of it were read.
    fn refused(start: &str, repeated: &str, format: Format) -> String {
        let mut reader = Endless::new(start.as_bytes(), repeated.as_bytes());
        let last = match Reading::new(&mut reader, format, BalanceItem::FIELDS) {
            Err(error) => error,
            Ok(items) => items.filter_map(Result::err).last().unwrap(),
        };
        assert!(!last.is_of_one_item());
        assert!(
            reader.given() < 4 << 20,
            "{} bytes were read",
            reader.given()
        );
        last.to_string()
    }

    #[test]
    fn nonsense_without_end_is_refused_before_much_of_it_is_read() {
        for (start, repeated, format, part) in [
            ("[\n\"", "a", Format::Json, "line 2: item 1 is longer than"),
            ("[1,", "[", Format::Json, "line 1: item 2 is longer than"),
            ("[", "1", Format::Json, "line 1: item 1 is longer than"),
            ("[[", "1,\n", Format::Json, "line 1: item 1 is longer than"),
            ("[\"", "\\\"", Format::Json, "line 1: item 1 is longer than"),
            (
                "{\"",
                "a",
                Format::Json,
                "line 1: a member beside \"body\" is longer than",
            ),
            (
                "{\"a\":",
                "{\"a\":",
                Format::Json,
                "line 1: a member beside \"body\" is longer than",
            ),
            ("", "[", Format::Json, "line 1: item 1 is longer than"),
            (
                "1\n",
                "1",
                Format::JsonLines,
                "line 2: the line is longer than",
            ),
            (
                "",
                " ",
                Format::JsonLines,
                "line 1: the line is longer than",
            ),
            ("", "a,", Format::Csv, "line 1: the header is longer than"),
            ("", "\"", Format::Csv, "line 1: the header is longer than"),
            (
                "customerId\nada\n",
                "a",
                Format::Csv,
                "line 3: the row is longer than",
            ),
            (
                "customerId\n",
                ",",
                Format::Csv,
                "line 2: the row is longer than",
            ),
            (
                "customerId\nada\n\"",
                "bob\n",
                Format::Csv,
                "line 3: the row is longer than",
            ),
        ] {
            let error = refused(start, repeated, format);
            assert!(error.starts_with(part), "{start}{repeated}...: {error}");
        }
    }

    #[test]
    fn zeros_without_end_are_told_to_be_no_text() {
        for (start, format) in [
            ("", Format::Json),
            ("[\"", Format::Json),
            ("", Format::JsonLines),
            ("", Format::Csv),
            ("customerId\n", Format::Csv),
        ] {
            let error = refused(start, "\0", format);
            assert!(error.contains("found a NUL byte"), "{error}");
        }
    }

    #[test]
    fn an_item_may_have_as_many_bytes_as_the_limit_says_and_no_more() {
        let longest = format!("\"{}\"", "a".repeat(ITEM_BYTES - 2));
        let count = |text: String, format| {
            let items = Reading::new(text.as_bytes(), format, &[]).unwrap();
            items.filter(Result::is_ok).count()
        };
        assert_eq!(count(format!("[{longest}]"), Format::Json), 1);
        assert_eq!(count(format!("[ {longest} , {longest} ]"), Format::Json), 2);
        assert_eq!(count(format!("[a{longest}]"), Format::Json), 0);
        assert_eq!(count(longest.clone(), Format::JsonLines), 1);
        assert_eq!(count(format!(" {longest}"), Format::JsonLines), 0);
        assert_eq!(count(format!("orderId\n{longest}"), Format::Csv), 1);
        assert_eq!(count(format!("orderId\n{longest}a"), Format::Csv), 0);
    }
}
