//! The bytes of a file that were read but not yet used, and the line they begin on.

use super::error::InputError;
use super::limits::PIECE_BYTES;
use std::io::{ErrorKind, Read};

/// A window on a file: its front moves by [`consume`](Self::consume), its back by [`more`](Self::more). It holds what
/// is between, so whoever asks for more must set a limit to that.
pub(super) struct Lookahead<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The window is `buffer[start..end]`.
    start: usize,
    end: usize,
    /// The line that the window begins on, from 1.
    line: u64,
    at_end_of_file: bool,
}

impl<R: Read> Lookahead<R> {
    /// At the beginning of a text, behind its byte order mark if it has one.
    pub(super) fn new(reader: R) -> Result<Self, InputError> {
        const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
        let mut text = Self {
            reader,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            line: 1,
            at_end_of_file: false,
        };
        while text.bytes().len() < BYTE_ORDER_MARK.len() && text.more()? {}
        let bytes = text.bytes();
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(InputError::Utf16);
        }
        if bytes.starts_with(BYTE_ORDER_MARK) {
            text.consume(BYTE_ORDER_MARK.len());
        }
        Ok(text)
    }

    /// What is in the window.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The line that the window begins on.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Reads more of the file into the window. False at the end of the file.
    pub(super) fn more(&mut self) -> Result<bool, InputError> {
        if self.at_end_of_file {
            return Ok(false);
        }
        self.make_room();
        let room_end = self.buffer.len().min(self.end + PIECE_BYTES);
        let room = self.buffer.get_mut(self.end..room_end).unwrap_or_default();
        let count = loop {
            match self.reader.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result.map_err(InputError::Read)?,
            }
        };
        self.end += count.min(room.len());
        self.at_end_of_file = count == 0;
        Ok(count > 0)
    }

    /// Only when there is no room at all, so that a reader that gives a byte at a time costs no move for each.
    fn make_room(&mut self) {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end + PIECE_BYTES, 0);
        }
    }

    /// Moves the window's front over `count` of its bytes.
    pub(super) fn consume(&mut self, count: usize) {
        let passed = self.bytes().get(..count).unwrap_or(self.bytes());
        let (lines, count) = (lines_in(passed), passed.len());
        self.line += lines;
        self.start += count;
    }

    /// The byte at the window's front; `None` at the end of the file.
    pub(super) fn first(&mut self) -> Result<Option<u8>, InputError> {
        if self.bytes().is_empty() {
            self.more()?;
        }
        Ok(self.bytes().first().copied())
    }

    /// Moves the front over all bytes that are `skipped`, and returns the one behind them.
    pub(super) fn skip(&mut self, skipped: fn(u8) -> bool) -> Result<Option<u8>, InputError> {
        loop {
            let bytes = self.bytes();
            let found = bytes.iter().position(|byte| !skipped(*byte));
            self.consume(found.unwrap_or(bytes.len()));
            let first = self.first()?;
            if found.is_some() || first.is_none() {
                return Ok(first);
            }
        }
    }

    /// Reads what is left of the file and gives the reader back. A file that grew after its end was seen has nothing
    /// left: the items were read from the file as it was.
    pub(super) fn into_reader_at_end(mut self) -> Result<R, InputError> {
        loop {
            self.start = self.end;
            if !self.more()? {
                return Ok(self.reader);
            }
        }
    }
}

/// Line ends in the bytes. A carriage return alone is none.
pub(super) fn lines_in(bytes: &[u8]) -> u64 {
    // No slice has more bytes than a u64 counts.
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::super::test_readers::{Endless, Pieces};
    use super::*;
    use std::io;

    #[test]
    fn a_byte_order_mark_is_skipped_also_when_it_comes_in_pieces() {
        for text in ["\u{feff}ab", "ab"] {
            let mut whole = Lookahead::new(text.as_bytes()).unwrap();
            assert_eq!(whole.first().unwrap(), Some(b'a'));
            let mut pieces = Lookahead::new(Pieces::of_one_byte(text.as_bytes())).unwrap();
            assert_eq!(pieces.first().unwrap(), Some(b'a'));
        }
    }

    #[test]
    fn utf_16_is_refused_by_its_byte_order_mark() {
        for bytes in [b"\xFF\xFE[\0]\0", b"\xFE\xFF\0[\0]"] {
            let error = Lookahead::new(Pieces::of_one_byte(bytes)).err().unwrap();
            assert!(matches!(error, InputError::Utf16));
            let text = "the file is UTF-16, expected UTF-8; save it as UTF-8";
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn lines_are_counted_as_the_front_passes_them() {
        let mut text = Lookahead::new(&b"a\r\n\nb"[..]).unwrap();
        text.consume(2);
        assert_eq!(text.line(), 1);
        text.consume(1);
        assert_eq!(text.line(), 2);
        assert_eq!(text.skip(|byte| byte == b'\n').unwrap(), Some(b'b'));
        assert_eq!(text.line(), 3);
    }

    #[test]
    fn a_window_whose_front_moves_on_does_not_grow() {
        let mut text = Lookahead::new(Endless::new(b"", b"abc")).unwrap();
        for _ in 0..1_000 {
            text.more().unwrap();
            text.consume(text.bytes().len() - 1);
        }
        assert!(text.buffer.len() <= 2 * PIECE_BYTES);
    }

    #[test]
    fn a_file_that_grows_after_its_end_was_seen_is_not_read_on() {
        struct Grows(u8);
        impl Read for Grows {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                Ok(usize::from(self.0 != 1))
            }
        }
        let text = Lookahead::new(Grows(0)).unwrap();
        assert_eq!(text.into_reader_at_end().unwrap().0, 1);
    }

    #[test]
    fn an_interrupted_read_is_repeated_and_any_other_error_is_told() {
        struct Fails(Vec<ErrorKind>);
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(self.0.pop().unwrap().into())
            }
        }
        let kinds = vec![ErrorKind::PermissionDenied, ErrorKind::Interrupted];
        let error = Lookahead::new(Fails(kinds)).err().unwrap();
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
}
