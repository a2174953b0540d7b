//! What differs between operating systems, in one place and in std's portable calls.
//!
//! Durability is tested on Linux. On Windows a directory cannot be synced: the file system's own
//! journal orders creations and renames there.

use std::fs::{self, DirBuilder, File, OpenOptions};
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

/// How a file of the store is created: for its owner alone, where the system knows owners. An existing one
/// keeps its mode.
pub(crate) fn private_file() -> OpenOptions {
    #[allow(unused_mut, reason = "only Unix has modes")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Creates a directory for its owner alone, where the system knows owners. It must not exist.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    #[allow(unused_mut, reason = "only Unix has modes")]
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Takes a directory and all below it away from everybody but its owner. Follows no links.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        set_mode(path, 0o700)?;
        for entry in fs::read_dir(path)? {
            make_private(&entry?.path())?;
        }
        Ok(())
    } else {
        set_mode(path, 0o600)
    }
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Windows gives a file the access of its directory.
#[cfg(not(unix))]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}
