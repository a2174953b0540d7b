//! What differs between operating systems, in one place and in std's portable calls.
//!
//! Durability is tested on Linux. On Windows a directory cannot be synced: the file system's own
//! journal orders creations and renames there.

use std::fs::File;
#[cfg(not(unix))]
use std::io::Write;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Whether a file that the storage engine has locked can be read through another descriptor.
/// Windows locks are mandatory, those of Unix are advisory.
pub(crate) const LOCKED_FILES_READABLE: bool = !cfg!(windows);

/// Makes the creation, removal and renaming of files in `directory` durable.
#[cfg(unix)]
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Windows has no such call, see the head of this file.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// Fills `buffer` from `offset`. Moves the descriptor's position: one user at a time.
pub(crate) fn read_at(mut file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

/// Writes `bytes` at `offset`: one user at a time.
#[cfg(unix)]
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    // One call of the system where seeking would make it two.
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes `bytes` at `offset`. Moves the descriptor's position: one user at a time.
#[cfg(not(unix))]
pub(crate) fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}
