//! Where the stores lie during a round: on a disk. In memory, a sync costs nothing and the comparison means nothing.

use std::fs;
use std::path::Path;

use crate::engine::RoundError;

/// Makes the directory, and refuses one that is in memory.
pub(crate) fn prepare(dir: &Path) -> Result<(), RoundError> {
    fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
    if is_in_memory(dir)? {
        return Err(format!(
            "{} is in memory, where a sync costs nothing; give a directory on a disk with --dir",
            dir.display()
        )
        .into());
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_in_memory(dir: &Path) -> Result<bool, RoundError> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    // The field's type differs between architectures; the numbers fit into all of them.
    let kind = rustix::fs::statfs(dir)?.f_type as u64;
    Ok(kind == TMPFS || kind == RAMFS)
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_dir: &Path) -> Result<bool, RoundError> {
    Ok(false)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_memory_is_refused() -> Result<(), RoundError> {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return Ok(());
        };
        assert!(is_in_memory(dir.path())?);
        assert!(prepare(dir.path()).is_err());
        Ok(())
    }
}
