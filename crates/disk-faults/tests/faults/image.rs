//! What a power cut may leave of a disk: one of the many images there are.

use crate::disk::{Change, Disk, FileNode, Inode, Node, Pending, ROOT, apply_change, apply_naming};
use crate::work::mix;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Random numbers, the same for the same seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let sides = u64::try_from(sides.max(1)).unwrap_or(1);
        usize::try_from(mix(self.0) % sides).unwrap_or_default()
    }
}

/// What becomes of what is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Lost,
    Written,
    /// Each by itself is written or lost.
    AnyOf,
    /// All but one are lost.
    OnlyOne,
    /// All but one are written.
    AllButOne,
    /// Up to some point.
    Prefix,
    /// Some of what takes the place of something that is durable is written, and all else is lost.
    Over,
    /// Pieces of so many bytes are written or lost.
    Torn(usize),
    /// The length is that of what was written, and some of it reads zeroes.
    Zeroed(usize),
    /// The data is written, and an older length stands.
    OldLength,
}

const FATES: [Fate; 12] = [
    Fate::Lost,
    Fate::Written,
    Fate::AnyOf,
    Fate::OnlyOne,
    Fate::AllButOne,
    Fate::Prefix,
    Fate::Over,
    Fate::Torn(512),
    Fate::Torn(4096),
    Fate::Zeroed(512),
    Fate::Zeroed(4096),
    Fate::OldLength,
];

/// Files and their content by path; directories have none.
#[derive(Debug, Hash)]
pub(crate) struct Image(BTreeMap<String, Option<Vec<u8>>>);

impl Image {
    /// One that a power cut may leave of `disk`.
    pub(crate) fn draw(disk: &Disk<'_>, dice: &mut Dice) -> Self {
        let mut image = Self(BTreeMap::new());
        let fate = FATES[dice.roll(FATES.len())];
        image.add(disk, ROOT, String::new(), fate, dice);
        image
    }

    fn add(&mut self, disk: &Disk<'_>, inode: Inode, path: String, fate: Fate, dice: &mut Dice) {
        // Files may fare differently.
        let fate = match dice.roll(8) {
            0 => FATES[dice.roll(FATES.len())],
            _ => fate,
        };
        match &disk.nodes[inode] {
            Node::File(file) => {
                self.0.insert(path, Some(content(file, fate, dice)));
            }
            Node::Directory(directory) => {
                let mut names = directory.durable.clone();
                let kept = keep(&directory.pending, fate, dice);
                for (naming, _) in directory.pending.iter().zip(kept).filter(|(_, kept)| *kept) {
                    apply_naming(&mut names, &naming.what);
                }
                for (name, inode) in names {
                    self.add(disk, inode, format!("{path}/{name}"), fate, dice);
                }
                self.0.insert(path, None);
            }
        }
    }

    /// The same for the same image.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Writes it below `directory`, with holes for zeroes.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        for (path, content) in &self.0 {
            let path = directory.join(path.trim_start_matches('/'));
            let Some(content) = content else {
                fs::create_dir_all(path)?;
                continue;
            };
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = File::create(path)?;
            file.set_len(content.len() as u64)?;
            for (index, block) in content.chunks(BLOCK_BYTES).enumerate() {
                if block != &ZEROES[..block.len()] {
                    file.write_all_at(block, (index * BLOCK_BYTES) as u64)?;
                }
            }
        }
        Ok(())
    }
}

const BLOCK_BYTES: usize = 16 << 10;
static ZEROES: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Which of the changes are on the disk, as wholes.
fn keep<T>(pending: &[Pending<T>], fate: Fate, dice: &mut Dice) -> Vec<bool> {
    let chosen = dice.roll(pending.len());
    let each = |(index, _)| match fate {
        Fate::Lost => false,
        Fate::Written | Fate::OldLength => true,
        Fate::OnlyOne => index == chosen,
        Fate::AllButOne => index != chosen,
        Fate::Prefix => index < chosen,
        Fate::AnyOf | Fate::Over | Fate::Torn(_) | Fate::Zeroed(_) => dice.roll(2) == 0,
    };
    pending.iter().enumerate().map(each).collect()
}

fn content(file: &FileNode<'_>, fate: Fate, dice: &mut Dice) -> Vec<u8> {
    let mut content = file.durable.clone();
    let mut lengths = vec![content.len()];
    let kept = keep(&file.pending, fate, dice);
    for (change, kept) in file.pending.iter().zip(kept) {
        match (&change.what, fate) {
            (Change::Write { offset, data }, Fate::Torn(bytes)) => {
                tear(&mut content, *offset, data, bytes, dice);
            }
            (Change::Write { offset, data }, Fate::Zeroed(bytes)) => {
                // Only what is new: zeroes come from blocks that were never written.
                let durable = file.durable.len();
                let length = content.len().max(offset + data.len());
                content.resize(length, 0);
                let old = durable.saturating_sub(*offset).min(data.len());
                if kept {
                    content[*offset..offset + old].copy_from_slice(&data[..old]);
                }
                tear(&mut content, offset + old, &data[old..], bytes, dice);
            }
            (Change::Write { offset, .. }, Fate::Over) if *offset >= file.durable.len() => {}
            (what, _) if kept => apply_change(&mut content, what),
            _ => {}
        }
        lengths.push(content.len());
    }
    if fate == Fate::OldLength {
        content.resize(lengths[dice.roll(lengths.len())], 0);
    }
    content
}

/// Writes some of the pieces of `data`, as the disk divides it.
fn tear(content: &mut Vec<u8>, offset: usize, data: &[u8], bytes: usize, dice: &mut Dice) {
    let odds = 2 + dice.roll(3);
    let mut from = 0;
    while from < data.len() {
        let piece = bytes - (offset + from) % bytes;
        let to = data.len().min(from + piece);
        if dice.roll(odds) > 0 {
            let data = &data[from..to];
            let offset = offset + from;
            apply_change(content, &Change::Write { offset, data });
        }
        from = to;
    }
}
