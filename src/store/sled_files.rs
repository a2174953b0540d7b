//! What must be true of the engine's files before the engine may run, judged by reading alone.
//!
//! sled truncates its data file by itself: when the last segments of it are free it cuts them off, on
//! its own threads, between two commits as well as within one. A process killed then leaves a file
//! that is shorter than sealed and has lost nothing. What tells that from damage:
//! - segments are numbered by their LSN in the order of their use, and the number is in their header;
//! - a segment is only free once all it held has been written again into later segments, so whatever
//!   was cut off, something at least as new is left;
//! - cuts are at segment boundaries, and a last segment that is not whole is the one being filled.
//!
//! A cut that sled could have made does not prove that sled made it: the caller then has to recount
//! the rows.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{Directory, io_error};
use super::seal::Sealed;
use crate::error::OpenError;
use crate::platform::{self, read_at};

/// Fixed when a store is created. A leaf over a quarter of it would go to a file under `blobs/`, which
/// sled never syncs and leaks; with values of 64 KiB at most, 8 MiB keeps clear of that.
pub(super) const SEGMENT_BYTES: u64 = 8 << 20;

/// A segment begins with a checksum (4 bytes) and its LSN (8).
const SEGMENT_HEADER_BYTES: usize = 12;

/// sled takes a `conf` of 8 bytes or less for none, and writes another one.
const CONF_BYTES_MIN: u64 = 9;

/// How the data file compares with what was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// It has at least that length.
    Whole,
    /// It is shorter, in a way that is explained by sled giving back space.
    Shrunk,
}

/// sled's data file.
pub(super) fn data_file(store: &Path) -> PathBuf {
    store.join("db")
}

/// Holds the engine's files against the seal. Writes nothing.
pub(super) fn check(directory: &Directory, sealed: Sealed) -> Result<Length, OpenError> {
    let damaged = |what| OpenError::Damaged {
        dir: directory.path().to_owned(),
        what,
        touched: false,
    };
    let store = directory.store();
    let data = data_file(&store);
    if !data.is_file() {
        return Err(damaged(format!("{} is missing", data.display())));
    }
    let conf = store.join("conf");
    if !fs::metadata(&conf).is_ok_and(|conf| conf.is_file() && conf.len() >= CONF_BYTES_MIN) {
        return Err(damaged(format!("{} is missing or empty", conf.display())));
    }
    let blobs = store.join("blobs");
    if !is_empty_or_absent(&blobs).map_err(io_error("reading", &blobs))? {
        return Err(damaged(format!(
            "{} is not empty, though no value is large enough for it",
            blobs.display()
        )));
    }

    let file = File::open(&data).map_err(io_error("opening", &data))?;
    let length = file
        .metadata()
        .map_err(io_error("reading the length of", &data))?
        .len();
    if length >= sealed.data_bytes {
        return Ok(Length::Whole);
    }
    if could_be_given_back(&file, length, sealed.tail_lsn).map_err(io_error("reading", &data))? {
        return Ok(Length::Shrunk);
    }
    Err(damaged(format!(
        "{} has {length} bytes, and had {} when commit {} was acknowledged",
        data.display(),
        sealed.data_bytes,
        sealed.sequence
    )))
}

/// Reads what the engine is going to read when it opens. It takes a part that it cannot read for the end of its
/// log, and overwrites what comes after; what was read here is in the system's memory when it comes to it.
///
/// After a failed sync the system's memory is not to be trusted: what is read may not be on the disk, and no later
/// sync would bring it there. With `write_again` it is written once more and synced, so that nothing is built on what
/// the next power cut takes away.
pub(super) fn read_first(store: &Path, data: &File, write_again: bool) -> io::Result<()> {
    let snapshot = newest_snapshot(store)?;
    let length = data.metadata()?.len();
    let mut part = vec![0; READ_BYTES];
    for index in 0..length.div_ceil(SEGMENT_BYTES) {
        // Without a header it is free, and the engine reads no more of it.
        let Some(lsn) = segment_lsn(data, index)? else {
            continue;
        };
        if lsn.saturating_add(SEGMENT_BYTES) <= snapshot {
            continue;
        }
        let mut at = index * SEGMENT_BYTES;
        let end = length.min(at + SEGMENT_BYTES);
        while at < end {
            let bytes = (end - at).min(READ_BYTES as u64);
            let part = &mut part[..bytes as usize];
            read_at(data, part, at)?;
            if write_again {
                platform::write_at(data, part, at)?;
            }
            at += bytes;
        }
    }
    if write_again {
        data.sync_data()
    } else {
        Ok(())
    }
}

const READ_BYTES: usize = 1 << 20;

/// How far the newest snapshot of the log goes, which is its name: what is older the engine does not read.
fn newest_snapshot(store: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for entry in fs::read_dir(store)? {
        let name = entry?.file_name();
        let lsn = name
            .to_str()
            .and_then(|name| u64::from_str_radix(name.strip_prefix("snap.")?, 16).ok());
        newest = newest.max(lsn.unwrap_or(0));
    }
    Ok(newest)
}

/// Removes what an interrupted open or creation left. Only for a store that passed [`check`].
pub(super) fn remove_leftovers(directory: &Directory) -> Result<(), OpenError> {
    remove_unfinished_creation(directory)?;
    let store = directory.store();
    for entry in fs::read_dir(&store).map_err(io_error("reading", &store))? {
        let path = entry.map_err(io_error("reading", &store))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // sled takes its own unfinished snapshot for a finished one, and fails for ever.
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path).map_err(io_error("removing", &path))?;
        }
    }
    Ok(())
}

/// Removes sled's snapshots, which it makes anew from its data file.
pub(super) fn remove_snapshots(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("snap.") && path.is_file() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Removes sled's settings, which are the same in every store of ours.
pub(super) fn remove_settings(store: &Path) -> io::Result<()> {
    match fs::remove_file(store.join("conf")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the files of a creation that did not get as far as its renames.
pub(super) fn remove_unfinished_creation(directory: &Directory) -> Result<(), OpenError> {
    let removals = [
        (
            directory.store_new(),
            fs::remove_dir_all as fn(PathBuf) -> io::Result<()>,
        ),
        (directory.seal_new(), fs::remove_file),
    ];
    for (path, remove) in removals {
        match remove(path.clone()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("removing", &path)(source)),
        }
    }
    Ok(())
}

/// Makes a newly written store durable, which sled leaves undone.
pub(super) fn sync_new_store(store: &Path) -> io::Result<()> {
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.is_dir() {
            platform::sync_directory(&path)?;
        } else {
            // Windows syncs only what it may write.
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)?
                .sync_all()?;
        }
    }
    platform::sync_directory(store)
}

/// The LSN of the segment that the data file ends with, for the seal. 0 where it cannot be told, which
/// makes [`check`] more lenient and never stricter.
pub(super) fn tail_lsn(data: &File, length: u64) -> u64 {
    if !platform::LOCKED_FILES_READABLE || length == 0 {
        return 0;
    }
    segment_lsn(data, (length - 1) / SEGMENT_BYTES)
        .ok()
        .flatten()
        .unwrap_or(0)
}

fn could_be_given_back(data: &File, length: u64, sealed_tail_lsn: u64) -> io::Result<bool> {
    let whole_segments = length / SEGMENT_BYTES;
    let mut newest = None;
    for index in 0..whole_segments {
        newest = newest.max(segment_lsn(data, index)?);
    }
    if !length.is_multiple_of(SEGMENT_BYTES) {
        // A part of a segment: it must have been begun after the seal, and must be the one that is
        // being filled, or its predecessor while both are being written.
        if let Some(last) = segment_lsn(data, whole_segments)? {
            if last <= sealed_tail_lsn || newest.is_some_and(|newest| last + SEGMENT_BYTES < newest)
            {
                return Ok(false);
            }
            newest = newest.max(Some(last));
        }
    }
    Ok(newest.is_some_and(|newest| newest >= sealed_tail_lsn))
}

/// The LSN in a segment's header; none if there is no header.
fn segment_lsn(data: &File, index: u64) -> io::Result<Option<u64>> {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    match read_at(data, &mut header, index * SEGMENT_BYTES) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut word = [0; 8];
    word.copy_from_slice(&header[4..]);
    // sled stores it with these bits flipped, so that zeroes are no LSN.
    let lsn = u64::from_le_bytes(word) ^ (i64::MAX as u64);
    Ok(lsn.is_multiple_of(SEGMENT_BYTES).then_some(lsn))
}

fn is_empty_or_absent(directory: &Path) -> io::Result<bool> {
    match fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SEGMENT_BYTES;

    /// A sparse data file of `length` bytes whose segments have these numbers, in units of a segment.
    fn data(lsns: &[Option<u64>], length: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        for (index, lsn) in (0..).zip(lsns) {
            if let Some(lsn) = lsn {
                let word = (lsn * S) ^ (i64::MAX as u64);
                platform::write_at(&file, &word.to_le_bytes(), index * S + 4).unwrap();
            }
        }
        file.set_len(length).unwrap();
        file
    }

    /// The file had `before`, was sealed at its full length, was cut to `length` and then got `after`.
    fn could_be(before: &[u64], after: &[Option<u64>], length: u64) -> bool {
        let before: Vec<_> = before.iter().copied().map(Some).collect();
        let full = before.len() as u64 * S;
        let tail = tail_lsn(&data(&before, full), full);
        could_be_given_back(&data(after, length), length, tail).unwrap()
    }

    #[test]
    fn sled_reads_the_same_segment_headers() {
        let dir = tempfile::tempdir().unwrap();
        let config = sled::Config::new()
            .path(dir.path())
            .segment_size(S as usize)
            .flush_every_ms(None);
        let db = config.open().unwrap();
        for row in 0..400_u16 {
            db.insert(row.to_be_bytes(), vec![1; 60_000]).unwrap();
        }
        db.flush().unwrap();
        let file = File::open(data_file(dir.path())).unwrap();
        let segments = file.metadata().unwrap().len() / S;
        assert!(segments >= 3);
        // In which order they are used is sled's business.
        let mut lsns: Vec<_> = (0..segments)
            .map(|index| segment_lsn(&file, index).unwrap().unwrap())
            .collect();
        assert_eq!(tail_lsn(&file, segments * S), lsns[lsns.len() - 1]);
        assert_eq!(tail_lsn(&file, S + 1), lsns[1]);
        lsns.sort_unstable();
        lsns.dedup();
        assert_eq!(lsns.len() as u64, segments);
        assert!(lsns[lsns.len() - 1] >= (segments - 1) * S);
        assert!(lsns[lsns.len() - 1] < 100 * S);
    }

    #[test]
    fn what_the_engine_would_take_for_the_end_of_its_log_is_an_error() {
        let store = tempfile::tempdir().unwrap();
        let readable = data(&[Some(0), None, Some(2)], 2 * S + 4096);
        read_first(store.path(), &readable, false).unwrap();
        let path = data_file(store.path());
        fs::write(&path, [0; 4096]).unwrap();
        // A file that is open for writing only stands for a disk that cannot read.
        let unreadable = fs::OpenOptions::new().write(true).open(&path).unwrap();
        assert!(read_first(store.path(), &unreadable, false).is_err());
    }

    #[test]
    fn the_newest_snapshot_is_the_one_that_goes_furthest() {
        let store = tempfile::tempdir().unwrap();
        assert_eq!(newest_snapshot(store.path()).unwrap(), 0);
        for name in [
            "snap.00000000000006C8",
            "snap.0000000000800000",
            "snap.0000000000FFFFFF.generating",
            "conf",
        ] {
            fs::write(store.path().join(name), "").unwrap();
        }
        assert_eq!(newest_snapshot(store.path()).unwrap(), 0x0080_0000);
    }

    #[test]
    fn whole_segments_given_back_after_newer_ones_were_written_are_explained() {
        // The last two were written again into the first, which was free.
        assert!(could_be(&[0, 1, 2, 3], &[Some(4), Some(1)], 2 * S));
        assert!(could_be(&[5, 1, 2, 3], &[Some(5), Some(1)], 2 * S));
    }

    #[test]
    fn a_segment_begun_after_giving_back_is_explained() {
        assert!(could_be(
            &[0, 1, 2, 3],
            &[Some(4), Some(1), Some(5)],
            2 * S + 100
        ));
        // Its predecessor may still be on its way to the disk.
        assert!(could_be(
            &[0, 1, 2, 3],
            &[Some(6), Some(1), Some(5)],
            2 * S + 100
        ));
        // So may its own beginning.
        assert!(could_be(
            &[0, 1, 2, 3],
            &[Some(4), Some(1), None],
            2 * S + 100
        ));
    }

    #[test]
    fn a_cut_through_a_segment_is_not_explained() {
        for length in [1, 19, S / 2, S + 1, 2 * S + 4096, 4 * S - 1] {
            let whole = [Some(0), Some(1), Some(2), Some(3)];
            let left = &whole[..length.div_ceil(S) as usize];
            assert!(!could_be(&[0, 1, 2, 3], left, length), "{length}");
        }
        assert!(!could_be(
            &[9, 6, 7, 5],
            &[Some(9), Some(6), Some(7)],
            2 * S + 4096
        ));
    }

    #[test]
    fn a_cut_between_segments_that_takes_the_newest_is_not_explained() {
        for segments in 0..4 {
            let left: Vec<_> = (0..segments).map(Some).collect();
            assert!(!could_be(&[0, 1, 2, 3], &left, segments * S), "{segments}");
        }
    }
}
