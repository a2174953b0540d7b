//! What the workers have in their hands, on the disk before they begin and off it when they are through: so that the
//! next process knows what ran when this one ended.
//!
//! Marks are written and never synced: the page cache survives the process, and a power cut is nobody's crash. Some may
//! reach the disk all the same: where the system says which boot it is, those of another boot are no marks. They are a
//! help and not a promise. Whatever cannot be read is no mark, and one that cannot be written is done without.

use super::directory::io_error;
use crate::error::OpenError;
use crate::kernel::{BatchId, Mark, SliceItem};
use crate::limits;
use crate::platform;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use twox_hash::XxHash3_64;

/// A mark: checksum (8 bytes), batch (8), the crash it would be of a suspect (4), number of items (2), items (2 each).
const HEAD_BYTES: usize = 22;

/// Room for the mark of a slice.
const SLOT_BYTES: usize = 1024;
const _: () = assert!(HEAD_BYTES + 2 * limits::SLICE_ITEMS as usize <= SLOT_BYTES);

/// The marks of one store, a slot for each worker.
pub(crate) trait Marks: Send + Sync {
    /// Notes what the worker of this slot is about to run.
    fn set(&self, slot: usize, bytes: &[u8]);

    /// The worker of this slot has nothing in its hands.
    fn clear(&self, slot: usize);

    /// Everything that was noted and not cleared.
    fn noted(&self) -> Vec<Mark>;

    /// Forgets everything.
    fn clear_all(&self);
}

/// The mark of a slice.
pub(crate) fn encode(batch: BatchId, alone: Option<u32>, items: &[SliceItem]) -> Vec<u8> {
    let mut bytes = vec![0; 8];
    bytes.extend(batch.0.to_le_bytes());
    bytes.extend(alone.unwrap_or(0).to_le_bytes());
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    bytes.extend(count.to_le_bytes());
    for item in items {
        bytes.extend(item.index.to_le_bytes());
    }
    let checksum = XxHash3_64::oneshot(&bytes[8..]);
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// The mark in a slot, if there is one.
pub(crate) fn decode(slot: &[u8]) -> Option<Mark> {
    let (checksum, rest) = slot.split_first_chunk()?;
    let (batch, after) = rest.split_first_chunk()?;
    let (alone, after) = after.split_first_chunk()?;
    let (count, after) = after.split_first_chunk()?;
    let items = after.get(..2 * usize::from(u16::from_le_bytes(*count)))?;
    let content = &rest[..HEAD_BYTES - 8 + items.len()];
    if XxHash3_64::oneshot(content) != u64::from_le_bytes(*checksum) {
        return None;
    }
    let (indexes, _) = items.as_chunks();
    let indexes = indexes.iter().map(|index| u16::from_le_bytes(*index));
    let alone = u32::from_le_bytes(*alone);
    Some(Mark {
        batch: BatchId(u64::from_le_bytes(*batch)),
        indexes: indexes.collect(),
        alone: (alone > 0).then_some(alone),
    })
}

/// The marks in a file.
#[derive(Debug)]
pub(crate) struct MarkFile {
    file: Mutex<File>,
    /// Mixed into every checksum.
    boot: u64,
}

/// Which boot of the system this is; the same for all where it does not say.
fn boot() -> u64 {
    let id = fs::read("/proc/sys/kernel/random/boot_id");
    id.map_or(0, |id| XxHash3_64::oneshot(&id))
}

/// A mark as it is in the file of this boot, and the reverse.
fn mix(mark: &mut [u8], boot: u64) {
    for (byte, mixed) in mark.iter_mut().zip(boot.to_le_bytes()) {
        *byte ^= mixed;
    }
}

impl MarkFile {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut options = platform::private_file();
        options.create(true).truncate(false).read(true).write(true);
        let file = options.open(path).map_err(io_error("opening", path))?;
        Ok(Self {
            file: Mutex::new(file),
            boot: boot(),
        })
    }

    fn write(&self, slot: usize, bytes: &[u8]) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = platform::write_at(&file, bytes, (slot * SLOT_BYTES) as u64);
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = limits::WORKERS_MAX + limits::HUNG_HANDLERS;
        let length = file.metadata()?.len().min((slots * SLOT_BYTES) as u64);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        platform::read_at(&file, &mut bytes, 0)?;
        Ok(bytes)
    }
}

impl Marks for MarkFile {
    fn set(&self, slot: usize, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        mix(&mut bytes, self.boot);
        self.write(slot, &bytes);
    }

    fn clear(&self, slot: usize) {
        // Of no items, so of no use; and its checksum is wrong.
        self.write(slot, &[0; HEAD_BYTES]);
    }

    fn noted(&self) -> Vec<Mark> {
        let mut bytes = self.read().unwrap_or_default();
        let slots = bytes.chunks_mut(SLOT_BYTES);
        slots
            .filter_map(|slot| {
                mix(slot, self.boot);
                decode(slot)
            })
            .collect()
    }

    fn clear_all(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(indexes: &[u16]) -> Vec<SliceItem> {
        let item = |index: &u16| SliceItem {
            index: *index,
            attempt: 1,
        };
        indexes.iter().map(item).collect()
    }

    fn mark(batch: u64, indexes: &[u16], alone: Option<u32>) -> Mark {
        Mark {
            batch: BatchId(batch),
            indexes: indexes.to_vec(),
            alone,
        }
    }

    #[test]
    fn what_was_noted_and_not_cleared_is_there_in_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("marks");
        let marks = MarkFile::open(&path).unwrap();
        let most: Vec<u16> = (0..limits::SLICE_ITEMS as u16).collect();
        marks.set(0, &encode(BatchId(7), None, &items(&most)));
        marks.set(1, &encode(BatchId(8), None, &items(&[3])));
        marks.set(3, &encode(BatchId(9), Some(2), &items(&[999])));
        marks.clear(1);
        drop(marks);
        let marks = MarkFile::open(&path).unwrap();
        let expected = [mark(7, &most, None), mark(9, &[999], Some(2))];
        assert_eq!(marks.noted(), expected);
        marks.clear_all();
        assert_eq!(marks.noted(), []);
    }

    #[test]
    fn each_worker_and_each_that_takes_anothers_place_has_a_slot() {
        let dir = tempfile::tempdir().unwrap();
        let marks = MarkFile::open(&dir.path().join("marks")).unwrap();
        let slots = limits::WORKERS_MAX + limits::HUNG_HANDLERS;
        for (batch, slot) in [(1, 0), (2, slots - 1), (3, slots)] {
            marks.set(slot, &encode(BatchId(batch), None, &items(&[3])));
        }
        assert_eq!(marks.noted(), [mark(1, &[3], None), mark(2, &[3], None)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_says_which_boot_it_is() {
        let id = fs::read("/proc/sys/kernel/random/boot_id").unwrap();
        assert_eq!(boot(), XxHash3_64::oneshot(&id));
    }

    #[test]
    fn marks_of_another_boot_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = MarkFile::open(&dir.path().join("marks")).unwrap();
        marks.boot = 1;
        marks.set(0, &encode(BatchId(7), Some(1), &items(&[3])));
        assert_eq!(marks.noted(), [mark(7, &[3], Some(1))]);
        marks.boot = 2;
        assert_eq!(marks.noted(), []);
    }

    #[test]
    fn what_is_damaged_is_no_mark() {
        let whole = encode(BatchId(7), Some(1), &items(&[1, 2]));
        assert_eq!(decode(&whole), Some(mark(7, &[1, 2], Some(1))));
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(decode(&[0; SLOT_BYTES]), None);
    }
}
