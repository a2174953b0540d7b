//! Rows of CSV, cut into cells, with the line they begin on.
//!
//! The parser is the csv crate's. What is added here is the limit of a row, its line, and that a quote is closed.

use super::error::{InputError, Part, Problem};
use super::limits::ITEM_BYTES;
use super::lookahead::Lookahead;
use super::text;
use csv_core::ReadRecordResult;
use std::io::Read;

/// Reads rows one after the other. Lines without anything are none.
pub(super) struct CsvRows<R> {
    text: Lookahead<R>,
    parser: csv_core::Reader,
    /// The cells of the row, one behind the other, and where each of them ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
}

/// A row, which may be no text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// The line it begins on.
    pub(super) line: u64,
    cells: &'a [u8],
    ends: &'a [usize],
}

/// The cells of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cells<'a> {
    text: &'a str,
    ends: &'a [usize],
}

/// How much of the buffers a row fills.
struct Filled {
    line: u64,
    cells: usize,
    ends: usize,
}

impl<R: Read> CsvRows<R> {
    pub(super) fn new(text: Lookahead<R>) -> Self {
        Self {
            text,
            parser: csv_core::Reader::new(),
            cells: vec![0; 1 << 10],
            ends: vec![0; 1 << 5],
        }
    }

    /// The next row; `None` when the file has ended.
    pub(super) fn next(&mut self, part: Part) -> Result<Option<Row<'_>>, InputError> {
        // Before the parser sees them: the row begins behind them.
        if self.text.skip(is_line_end)?.is_none() {
            return Ok(None);
        }
        let filled = self.fill(part)?;
        Ok(Some(Row {
            line: filled.line,
            cells: self.cells.get(..filled.cells).unwrap_or_default(),
            ends: self.ends.get(..filled.ends).unwrap_or_default(),
        }))
    }

    pub(super) fn into_text(self) -> Lookahead<R> {
        self.text
    }

    /// Parses one row into the buffers.
    fn fill(&mut self, part: Part) -> Result<Filled, InputError> {
        let line = self.text.line();
        let (mut read, mut cells, mut ends) = (0, 0, 0);
        loop {
            let at_end = self.text.first()?.is_none();
            // A line end that the file does not have ends the row, unless it is inside of quotes.
            let input = if at_end { b"\n" } else { self.text.bytes() };
            let (result, used, cell_bytes, cell_ends) = self.parser.read_record(
                input,
                self.cells.get_mut(cells..).unwrap_or_default(),
                self.ends.get_mut(ends..).unwrap_or_default(),
            );
            cells += cell_bytes;
            ends += cell_ends;
            if !at_end {
                self.text.consume(used);
                read += used;
            }
            if read > ITEM_BYTES {
                return Err(self.too_long(line, part, cells));
            }
            match result {
                ReadRecordResult::InputEmpty if at_end => {
                    return Err(InputError::Truncated { line, part });
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.cells.resize(2 * self.cells.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record | ReadRecordResult::End => {
                    return Ok(Filled { line, cells, ends });
                }
            }
        }
    }

    fn too_long(&self, line: u64, part: Part, cells: usize) -> InputError {
        let bytes = self.cells.get(..cells).unwrap_or_default();
        if memchr::memchr(0, bytes).is_none() {
            return InputError::TooLong { line, part };
        }
        // The usual reason in a file that is no text.
        InputError::Document {
            line,
            part,
            problem: Problem::Nul,
        }
    }
}

impl<'a> Row<'a> {
    /// The cells, or why they are no text.
    pub(super) fn cells(self) -> Result<Cells<'a>, Problem> {
        let text = text::decode(self.cells).map_err(|fault| fault.problem)?;
        // Two cells with a part of a character each are text only when one is put behind the other.
        match self.ends.iter().find(|end| !text.is_char_boundary(**end)) {
            None => Ok(Cells {
                text,
                ends: self.ends,
            }),
            Some(end) => {
                let byte = self.cells.get(*end).copied().unwrap_or_default();
                Err(Problem::NotUtf8 { byte })
            }
        }
    }
}

impl<'a> Cells<'a> {
    /// How many there are.
    pub(super) fn len(self) -> usize {
        self.ends.len()
    }

    /// The cell with this number, from 0; empty if there is none.
    pub(super) fn cell(self, number: usize) -> &'a str {
        let end_of = |number| self.ends.get(number).copied();
        let start = number.checked_sub(1).and_then(end_of).unwrap_or(0);
        let end = end_of(number).unwrap_or(start);
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        (0..self.len()).map(move |number| self.cell(number))
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::super::test_readers::Pieces;
    use super::*;

    type Found = Vec<(u64, Result<Vec<String>, Problem>)>;

    fn read_from(reader: impl Read) -> Result<Found, String> {
        let mut rows = CsvRows::new(Lookahead::new(reader).unwrap());
        let mut found = Vec::new();
        while let Some(row) = rows.next(Part::Row).map_err(|error| error.to_string())? {
            let cells = row
                .cells()
                .map(|cells| cells.iter().map(str::to_owned).collect());
            found.push((row.line, cells));
        }
        Ok(found)
    }

    fn read(bytes: &[u8]) -> Result<Found, String> {
        let whole = read_from(bytes);
        assert_eq!(read_from(Pieces::of_one_byte(bytes)), whole);
        whole
    }

    fn row<const N: usize>(line: u64, cells: [&str; N]) -> (u64, Result<Vec<String>, Problem>) {
        (line, Ok(cells.map(str::to_owned).into()))
    }

    #[test]
    fn a_row_begins_on_the_line_of_its_first_cell() {
        for line_end in ["\n", "\r\n"] {
            let text = "\na,b\n\n\n\"c\n\n\",d\ne,\"f\"\n\n".replace('\n', line_end);
            let quoted = format!("c{line_end}{line_end}");
            let expected = vec![
                row(2, ["a", "b"]),
                row(5, [&quoted, "d"]),
                row(8, ["e", "f"]),
            ];
            assert_eq!(read(text.as_bytes()), Ok(expected));
        }
    }

    #[test]
    fn cells_keep_what_quotes_protect() {
        let text = "\"a,\"\"b\"\"\n\", c ,\"\",\n";
        assert_eq!(
            read(text.as_bytes()),
            Ok(vec![row(1, ["a,\"b\"\n", " c ", "", ""])])
        );
    }

    #[test]
    fn the_last_row_needs_no_line_end() {
        for text in ["a,b", "a,\"b\"", "\"a\",b\r", "a,b\n"] {
            assert_eq!(read(text.as_bytes()), Ok(vec![row(1, ["a", "b"])]));
        }
        assert_eq!(read(b"a\nb,"), Ok(vec![row(1, ["a"]), row(2, ["b", ""])]));
        assert_eq!(read(b"a\n\"\""), Ok(vec![row(1, ["a"]), row(2, [""])]));
    }

    #[test]
    fn a_quote_that_is_not_closed_is_told_with_the_line_its_row_begins_on() {
        let expected = "the file ends in the middle of the row, which begins on line 2";
        for text in ["a\nb,\"c\nd\n", "a\n\"", "a\n\"b\"\""] {
            assert_eq!(read(text.as_bytes()), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_row_that_is_no_text_leaves_the_next_one_as_it_is() {
        let not_utf8 = |byte| Err(Problem::NotUtf8 { byte });
        let expected = vec![
            (1, not_utf8(0xE9)),
            row(2, ["b"]),
            (3, Err(Problem::Nul)),
            // An e with an accent, in two cells.
            (4, not_utf8(0xA9)),
            row(5, ["c"]),
        ];
        assert_eq!(read(b"a\xE9\nb\n\0\n\xC3,\xA9\nc"), Ok(expected));
    }

    #[test]
    fn rows_may_have_many_cells_and_long_ones() {
        let long = "x".repeat(ITEM_BYTES - 1);
        assert_eq!(
            read_from(format!("{long}\n").as_bytes()),
            Ok(vec![row(1, [&long])])
        );
        let many = read_from(",".repeat(ITEM_BYTES - 1).as_bytes()).unwrap();
        assert_eq!(many.first().unwrap().1.as_ref().unwrap().len(), ITEM_BYTES);
    }
}
