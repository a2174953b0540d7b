//! What can happen to the files of a store.

use crate::store::Tested;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    FlippedBit,
    Garbage,
    ZeroedSector,
    SwappedSectors,
    StaleSector,
    ZeroedEnd,
    Truncated,
    Deleted,
    FlippedElsewhere,
    TruncatedElsewhere,
    OldData,
    SideFile,
}

const ALL: [Damage; 12] = [
    Damage::FlippedBit,
    Damage::Garbage,
    Damage::ZeroedSector,
    Damage::SwappedSectors,
    Damage::StaleSector,
    Damage::ZeroedEnd,
    Damage::Truncated,
    Damage::Deleted,
    Damage::FlippedElsewhere,
    Damage::TruncatedElsewhere,
    Damage::OldData,
    Damage::SideFile,
];

const SECTOR: usize = 4096;

/// The same numbers for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).map_or(0, |n| n % end.max(1))
    }
}

/// Damages the store in `dir`, and says how. `old_data` is its data file from an earlier time.
pub(crate) fn damage(
    dir: &Path,
    old_data: &Path,
    number: u64,
    seed: u64,
) -> Tested<(Damage, String)> {
    let mut random = Random(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    random.below(2);
    let kind = ALL[usize::try_from(number)? % ALL.len()];
    let data = dir.join("store/db");
    let text = match kind {
        Damage::Truncated => {
            let length = fs::metadata(&data)?.len();
            let left = random.below(usize::try_from(length)?) as u64;
            OpenOptions::new().write(true).open(&data)?.set_len(left)?;
            format!("to {left} of {length}")
        }
        Damage::Deleted => {
            let files = files(dir)?;
            let file = &files[random.below(files.len())];
            fs::remove_file(file)?;
            file.display().to_string()
        }
        Damage::FlippedElsewhere | Damage::TruncatedElsewhere => {
            let mut files = files(dir)?;
            files.retain(|file| {
                *file != data && fs::metadata(file).is_ok_and(|file| file.len() > 0)
            });
            let file = &files[random.below(files.len())];
            let mut bytes = fs::read(file)?;
            let at = random.below(bytes.len());
            if kind == Damage::FlippedElsewhere {
                bytes[at] ^= 1 << random.below(8);
            } else {
                bytes.truncate(at);
            }
            fs::write(file, bytes)?;
            format!("{} at {at}", file.display())
        }
        Damage::OldData => {
            fs::copy(old_data, &data)?;
            String::new()
        }
        Damage::SideFile => {
            fs::write(dir.join("store/blobs/17"), "a value")?;
            String::new()
        }
        _ => {
            let mut bytes = fs::read(&data)?;
            let text = in_data(kind, &mut bytes, &mut random);
            fs::write(&data, bytes)?;
            text
        }
    };
    Ok((kind, text))
}

fn in_data(kind: Damage, bytes: &mut [u8], random: &mut Random) -> String {
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    let at = random.below(used);
    let other = random.below(used);
    let sector = |at: usize| at / SECTOR * SECTOR..(at / SECTOR + 1) * SECTOR;
    let fits = |at: usize| sector(at).end <= bytes.len();
    let both = fits(at) && fits(other);
    match kind {
        Damage::Garbage => {
            let end = (at + 1 + random.below(2_000)).min(bytes.len());
            bytes[at..end].fill(0xA5);
        }
        Damage::ZeroedSector if fits(at) => bytes[sector(at)].fill(0),
        Damage::SwappedSectors if both => {
            let copy = bytes[sector(at)].to_vec();
            bytes.copy_within(sector(other), sector(at).start);
            bytes[sector(other)].copy_from_slice(&copy);
        }
        Damage::StaleSector if both => bytes.copy_within(sector(other), sector(at).start),
        Damage::ZeroedEnd => bytes[at..].fill(0),
        _ => bytes[at] ^= 1 << random.below(8),
    }
    format!("at {at} and {other} of {used}")
}

/// All files of the store but its lock, in order.
fn files(dir: &Path) -> Tested<Vec<PathBuf>> {
    let mut found = Vec::new();
    for dir in [dir.to_owned(), dir.join("store")] {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_file() && path.file_name().is_some_and(|name| name != "LOCK") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
