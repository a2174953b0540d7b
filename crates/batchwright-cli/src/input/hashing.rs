//! A reader that hashes what passes through it.

use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// Reads from another reader and keeps the SHA-256 of everything that was read so far.
pub(super) struct Hashing<R> {
    reader: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(reader: R) -> Self {
        let hasher = Sha256::new();
        Self { reader, hasher }
    }

    /// Of all bytes that were read.
    pub(super) fn sha256(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_readers::Pieces;
    use super::*;

    #[test]
    fn the_sum_is_of_all_bytes_however_they_were_read() {
        let mut hashing = Hashing::new(Pieces::of_one_byte(b"abc"));
        io::copy(&mut hashing, &mut io::sink()).unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let sum: String = hashing
            .sha256()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(sum, known);
    }
}
