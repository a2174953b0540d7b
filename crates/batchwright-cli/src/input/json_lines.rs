//! The items of JSON lines: one JSON value in each line. A line that is no item leaves the others as they are.

use super::RawItem;
use super::error::{InputError, Part};
use super::limits::ITEM_BYTES;
use super::lookahead::Lookahead;
use super::text::{self, Fault};
use super::value_end::is_space;
use std::io::Read;

/// Reads items line by line. Lines with nothing but space are none.
pub(super) struct JsonLines<R> {
    text: Lookahead<R>,
    is_blank: bool,
}

impl<R: Read> JsonLines<R> {
    pub(super) fn new(text: Lookahead<R>) -> Self {
        Self {
            text,
            is_blank: true,
        }
    }

    /// The next item; `None` when the file has ended.
    pub(super) fn next(&mut self) -> Result<Option<RawItem>, InputError> {
        while self.text.first()?.is_some() {
            let line = self.text.line();
            let length = self.line_length()?;
            let bytes = self.text.bytes().get(..length).unwrap_or_default();
            let is_blank = bytes.iter().all(|byte| is_space(*byte));
            let json = (!is_blank).then(|| text::json(bytes).map(str::to_owned));
            self.text.consume(length);
            if let Some(json) = json {
                self.is_blank = false;
                return match json {
                    Ok(json) => Ok(Some(RawItem { json, line })),
                    Err(Fault { problem, .. }) => Err(InputError::Item { line, problem }),
                };
            }
        }
        if self.is_blank {
            return Err(InputError::Empty);
        }
        Ok(None)
    }

    pub(super) fn into_text(self) -> Lookahead<R> {
        self.text
    }

    /// With the line end, if there is one.
    fn line_length(&mut self) -> Result<usize, InputError> {
        let line = self.text.line();
        let mut looked_at = 0;
        loop {
            let bytes = self.text.bytes();
            let end = memchr::memchr(b'\n', bytes.get(looked_at..).unwrap_or_default());
            let length = end.map_or(bytes.len(), |end| looked_at + end + 1);
            if length > ITEM_BYTES {
                let part = Part::Line;
                // The usual reason in a file that is no text.
                let nul = text::decode(bytes).err().filter(Fault::is_nul);
                return Err(match nul {
                    None => InputError::TooLong { line, part },
                    Some(Fault { problem, .. }) => InputError::Document {
                        line,
                        part,
                        problem,
                    },
                });
            }
            looked_at = length;
            if end.is_some() || !self.text.more()? {
                return Ok(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_readers::Pieces;
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<(u64, String), String>> {
        let whole = read_from(bytes);
        assert_eq!(read_from(Pieces::of_one_byte(bytes)), whole);
        whole
    }

    fn read_from(reader: impl Read) -> Vec<Result<(u64, String), String>> {
        let mut items = JsonLines::new(Lookahead::new(reader).unwrap());
        let mut found = Vec::new();
        loop {
            match items.next() {
                Ok(None) => return found,
                Ok(Some(item)) => found.push(Ok((item.line, item.json))),
                Err(error) => {
                    let goes_on = error.is_of_one_item();
                    found.push(Err(error.to_string()));
                    if !goes_on {
                        return found;
                    }
                }
            }
        }
    }

    fn ok(line: u64, json: &str) -> Result<(u64, String), String> {
        Ok((line, json.to_owned()))
    }

    #[test]
    fn every_line_that_is_not_blank_is_an_item() {
        let text = "\u{feff}{\"a\" : 1.50}\r\n\n \t\r\n \"o-1\" \n[1]";
        let expected = [ok(1, "{\"a\" : 1.50}"), ok(4, "\"o-1\""), ok(5, "[1]")];
        assert_eq!(read(text.as_bytes()), expected);
    }

    #[test]
    fn a_line_that_is_no_item_is_told_and_the_next_one_is_read() {
        let bytes = b"1\n{\"a\":\n2\n\"\xE9\"\n3\n\"\0\"\n1 2\n4";
        let err = |text: &str| Err(text.to_owned());
        let expected = [
            ok(1, "1"),
            err("line 2: not JSON: it ends in the middle of a value"),
            ok(3, "2"),
            err("line 4: found byte 0xE9, which is not UTF-8; save the file as UTF-8"),
            ok(5, "3"),
            err("line 6: found a NUL byte, expected text; is the file UTF-16, or no text at all?"),
            err("line 7: not JSON: trailing characters"),
            ok(8, "4"),
        ];
        assert_eq!(read(bytes), expected);
    }

    #[test]
    fn a_file_of_blank_lines_is_empty() {
        let expected = [Err("the file is empty, expected items".to_owned())];
        assert_eq!(read(b""), expected);
        assert_eq!(read(b" \r\n\n\t"), expected);
    }
}
