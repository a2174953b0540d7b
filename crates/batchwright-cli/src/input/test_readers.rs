//! Readers for tests: content in pieces, and content without end.

use std::io::{self, Read};

/// Gives content in pieces of these lengths, over and over.
pub(super) struct Pieces<'a> {
    content: &'a [u8],
    lengths: Vec<usize>,
    next: usize,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(content: &'a [u8], lengths: Vec<usize>) -> Self {
        assert!(
            lengths.iter().all(|length| *length > 0),
            "a read of nothing is the end of a file"
        );
        Self {
            content,
            lengths,
            next: 0,
        }
    }

    pub(super) fn of_one_byte(content: &'a [u8]) -> Self {
        Self::new(content, vec![1])
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths[self.next % self.lengths.len()].min(buffer.len());
        self.next += 1;
        self.content.read(&mut buffer[..length])
    }
}

/// A text, and then another one again and again; it takes a gibibyte to reach its end.
pub(super) struct Endless {
    start: Vec<u8>,
    repeated: Vec<u8>,
    given: usize,
}

impl Endless {
    pub(super) fn new(start: &[u8], repeated: &[u8]) -> Self {
        Self {
            start: start.to_owned(),
            repeated: repeated.to_owned(),
            given: 0,
        }
    }

    /// Bytes that were read.
    pub(super) fn given(&self) -> usize {
        self.given
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given >= 1 << 30 {
            return Ok(0);
        }
        for byte in buffer.iter_mut() {
            let start = self.start.get(self.given).copied();
            let repeated = || self.repeated[(self.given - self.start.len()) % self.repeated.len()];
            *byte = start.unwrap_or_else(repeated);
            self.given += 1;
        }
        Ok(buffer.len())
    }
}
