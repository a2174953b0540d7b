//! The seal: what the store had acknowledged, kept outside the storage engine.
//!
//! The engine opens truncated and corrupted files "successfully", with data gone, and rewrites them
//! while it does. The seal is what the files are held against before it may run.
//!
//! Two slots are written in turn, so a torn write leaves the other one. A slot is written after the
//! commit it speaks of is durable, and not synced itself: after a power cut the seal may be older than
//! the store, never newer.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use twox_hash::XxHash3_64;

use crate::platform::{self, read_at, write_at};

/// What a slot begins with; the last byte is the version of its layout.
const MAGIC: [u8; 8] = *b"bwseal\0\x01";

/// Magic, five numbers, checksum: eight bytes each, numbers little-endian.
const SLOT_BYTES: usize = 56;

/// Slots do not share a page, so no torn page takes both.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];

/// The sequence in the seal of a store that is being filled with rows from elsewhere: no store reaches it.
pub(super) const INCOMPLETE: u64 = u64::MAX;

/// What was acknowledged when a slot was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The last acknowledged commit; 0 if there was none since the store's creation.
    pub(super) sequence: u64,
    /// Length of the engine's data file.
    pub(super) data_bytes: u64,
    /// Which segment the data file ended with, see `sled_files`.
    pub(super) tail_lsn: u64,
    /// The file was found shorter than sealed, or a commit has failed, and none has followed since.
    pub(super) doubted: bool,
}

/// What there is of a seal.
#[derive(Debug)]
pub(super) enum Found {
    Missing,
    /// Neither slot can be read.
    Unreadable,
    Valid(Seal),
}

/// An open seal.
#[derive(Debug)]
pub(super) struct Seal {
    file: File,
    /// Writes so far; its parity is the slot.
    generation: u64,
    latest: Sealed,
}

impl Seal {
    /// Writes a new seal to `path`, durable except for its name.
    pub(super) fn create(path: &Path, sealed: Sealed) -> io::Result<()> {
        let file = platform::private_file()
            .create(true)
            .truncate(true)
            .write(true)
            .open(path)?;
        for generation in 0..2 {
            write_slot(&file, generation, sealed)?;
        }
        file.sync_all()
    }

    /// Reads the seal at `path` and keeps it open. Writes nothing.
    pub(super) fn open(path: &Path) -> io::Result<Found> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(error),
        };
        let mut newest: Option<(u64, Sealed)> = None;
        for slot in 0..SLOT_OFFSETS.len() {
            let Some((generation, sealed)) = read_slot(&file, slot)? else {
                continue;
            };
            if newest.is_none_or(|(newer, _)| generation > newer) {
                newest = Some((generation, sealed));
            }
        }
        Ok(match newest {
            Some((generation, latest)) => Found::Valid(Self {
                file,
                generation,
                latest,
            }),
            None => Found::Unreadable,
        })
    }

    /// What was written last.
    pub(super) fn latest(&self) -> Sealed {
        self.latest
    }

    /// Replaces the older slot. After an error the newer one still stands.
    pub(super) fn write(&mut self, sealed: Sealed) -> io::Result<()> {
        write_slot(&self.file, self.generation + 1, sealed)?;
        self.generation += 1;
        self.latest = sealed;
        Ok(())
    }

    /// Makes what was written durable, which it need not be otherwise.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes every later write fail, as a broken disk would.
    #[cfg(test)]
    pub(super) fn make_read_only(&mut self, path: &Path) {
        self.file = File::open(path).expect("the seal exists");
    }
}

/// Whether a file begins as our seals do, damaged or not.
pub(super) fn has_magic(path: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    File::open(path).is_ok_and(|file| {
        SLOT_OFFSETS.iter().any(|&offset| {
            // The version may differ: a newer seal is ours too.
            read_at(&file, &mut begin, offset).is_ok() && begin[..7] == MAGIC[..7]
        })
    })
}

fn slot_offset(generation: u64) -> u64 {
    SLOT_OFFSETS[usize::from(generation % 2 == 1)]
}

fn write_slot(file: &File, generation: u64, sealed: Sealed) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(SLOT_BYTES);
    bytes.extend_from_slice(&MAGIC);
    let doubted = u64::from(sealed.doubted);
    for number in [
        generation,
        sealed.sequence,
        sealed.data_bytes,
        sealed.tail_lsn,
        doubted,
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = XxHash3_64::oneshot(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    write_at(file, &bytes, slot_offset(generation))
}

/// The slot's generation and content; none if it is torn, damaged, or not where it belongs.
fn read_slot(file: &File, slot: usize) -> io::Result<Option<(u64, Sealed)>> {
    let mut bytes = [0; SLOT_BYTES];
    match read_at(file, &mut bytes, SLOT_OFFSETS[slot]) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (content, checksum) = bytes.split_at(SLOT_BYTES - 8);
    if content[..8] != MAGIC || XxHash3_64::oneshot(content).to_le_bytes() != checksum {
        return Ok(None);
    }
    let number = |index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&content[8 * index..8 * (index + 1)]);
        u64::from_le_bytes(word)
    };
    let generation = number(1);
    if slot_offset(generation) != SLOT_OFFSETS[slot] {
        return Ok(None);
    }
    let sealed = Sealed {
        sequence: number(2),
        data_bytes: number(3),
        tail_lsn: number(4),
        doubted: number(5) != 0,
    };
    Ok(Some((generation, sealed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the slots in a file is the newer one, for every version of the library.
    #[test]
    fn odd_generations_are_in_the_second_slot() {
        let offsets = [1, 2, 3, u64::MAX].map(slot_offset);
        assert_eq!(offsets, [4096, 0, 4096, 4096]);
    }

    fn sealed(sequence: u64) -> Sealed {
        Sealed {
            sequence,
            data_bytes: sequence * 100,
            tail_lsn: 0,
            doubted: sequence % 2 == 1,
        }
    }

    fn read(path: &Path) -> Option<Sealed> {
        match Seal::open(path).unwrap() {
            Found::Valid(seal) => Some(seal.latest()),
            Found::Missing | Found::Unreadable => None,
        }
    }

    fn flip_byte(path: &Path, at: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    /// A seal written for each of 0 to `last`.
    fn written(last: u64) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal");
        Seal::create(&path, sealed(0)).unwrap();
        let Found::Valid(mut seal) = Seal::open(&path).unwrap() else {
            panic!("just created")
        };
        for sequence in 1..=last {
            seal.write(sealed(sequence)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn the_last_write_is_read_back() {
        for last in 0..5 {
            let (_dir, path) = written(last);
            assert_eq!(read(&path), Some(sealed(last)));
        }
    }

    #[test]
    fn writing_goes_on_after_reopening() {
        let (_dir, path) = written(3);
        for sequence in 4..8 {
            let Found::Valid(mut seal) = Seal::open(&path).unwrap() else {
                panic!("it is valid")
            };
            seal.write(sealed(sequence)).unwrap();
            assert_eq!(read(&path), Some(sealed(sequence)));
        }
    }

    #[test]
    fn one_torn_slot_leaves_the_write_before_or_the_last() {
        for at in 0..SLOT_BYTES {
            for offset in SLOT_OFFSETS {
                let (_dir, path) = written(7);
                flip_byte(&path, offset as usize + at);
                let left = read(&path);
                assert!(
                    left == Some(sealed(6)) || left == Some(sealed(7)),
                    "{at} {left:?}"
                );
            }
        }
    }

    #[test]
    fn two_torn_slots_are_unreadable() {
        let (_dir, path) = written(7);
        flip_byte(&path, 20);
        flip_byte(&path, 4096 + 20);
        assert!(matches!(Seal::open(&path).unwrap(), Found::Unreadable));
        assert!(has_magic(&path));
    }

    #[test]
    fn an_empty_or_cut_file_is_unreadable_and_an_absent_one_missing() {
        let (_dir, path) = written(7);
        std::fs::write(&path, [0; 40]).unwrap();
        assert!(matches!(Seal::open(&path).unwrap(), Found::Unreadable));
        assert!(!has_magic(&path));
        std::fs::write(&path, []).unwrap();
        assert!(matches!(Seal::open(&path).unwrap(), Found::Unreadable));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(Seal::open(&path).unwrap(), Found::Missing));
    }

    #[test]
    fn a_slot_copied_over_the_other_does_not_count_twice() {
        let (_dir, path) = written(7);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.copy_within(0..SLOT_BYTES, 4096);
        std::fs::write(&path, bytes).unwrap();
        assert!(read(&path).is_some());
        flip_byte(&path, 20);
        assert_eq!(read(&path), None);
    }
}
