//! Output that may lose its reader.

use std::io::{self, ErrorKind, Write};

/// Drops what is written once the reader has gone, as after `| head`.
pub(crate) struct ClosedPipe<W>(pub(crate) W);

impl<W: Write> Write for ClosedPipe<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is() {
        let mut gone = ClosedPipe(Fails(ErrorKind::BrokenPipe));
        assert!(writeln!(gone, "found").and_then(|()| gone.flush()).is_ok());
        let mut full = ClosedPipe(Fails(ErrorKind::StorageFull));
        assert!(writeln!(full, "found").is_err() && full.flush().is_err());
    }
}
