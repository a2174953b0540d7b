//! What a key is the key of, told from the key alone. Anything else is no key of ours.

use super::keys;
use crate::kernel::BatchId;
use crate::limits;

/// A key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind<'a> {
    Fence,
    Meta,
    Header(BatchId),
    Items {
        batch: BatchId,
        chunk: u32,
    },
    KeyHashes {
        batch: BatchId,
        part: u32,
    },
    OriginIndexes {
        batch: BatchId,
        part: u32,
    },
    Retried {
        parent: BatchId,
        retry: BatchId,
        part: u32,
    },
    Segment {
        batch: BatchId,
        number: u32,
    },
    Summary(BatchId),
    Unfinished(BatchId),
    Idempotency,
    Paused(&'a str),
    Row {
        table: &'a str,
    },
}

impl<'a> KeyKind<'a> {
    /// `None` for a key that this library does not make.
    pub(crate) fn of(key: &'a [u8]) -> Option<Self> {
        if key == keys::META {
            return Some(Self::Meta);
        }
        if key.len() <= 3 && keys::fences().any(|fence| fence == key) {
            return Some(Self::Fence);
        }
        let (prefix, rest) = key.split_first()?;
        match prefix {
            b'b' => Some(Self::Header(alone(rest)?)),
            b'S' => Some(Self::Summary(alone(rest)?)),
            b'u' => Some(Self::Unfinished(alone(rest)?)),
            b'I' => {
                let (BatchId(id), chunk) = numbered(rest)?;
                let batch = BatchId(!id);
                Some(Self::Items { batch, chunk })
            }
            b'h' => {
                let (batch, part) = numbered(rest)?;
                Some(Self::KeyHashes { batch, part })
            }
            b'o' => {
                let (batch, part) = numbered(rest)?;
                Some(Self::OriginIndexes { batch, part })
            }
            b'z' => {
                let (batch, number) = numbered(rest)?;
                Some(Self::Segment { batch, number })
            }
            b'r' => {
                let (parent, rest) = rest.split_at_checked(8)?;
                let (retry, part) = numbered(rest)?;
                let parent = alone(parent)?;
                Some(Self::Retried {
                    parent,
                    retry,
                    part,
                })
            }
            b'k' => (rest.len() == 32).then_some(Self::Idempotency),
            b'p' => keys::paused_name(key)
                .filter(|name| is_name(name))
                .map(Self::Paused),
            b't' => {
                let table = keys::table_of(key).filter(|name| is_name(name))?;
                let row = rest.len() - 1 - table.len();
                (row <= limits::TABLE_KEY_BYTES).then_some(Self::Row { table })
            }
            _ => None,
        }
    }

    /// The batch that the row is of.
    pub(crate) fn batch(self) -> Option<BatchId> {
        match self {
            Self::Header(batch)
            | Self::Items { batch, .. }
            | Self::KeyHashes { batch, .. }
            | Self::OriginIndexes { batch, .. }
            | Self::Retried { parent: batch, .. }
            | Self::Segment { batch, .. }
            | Self::Summary(batch)
            | Self::Unfinished(batch) => Some(batch),
            Self::Fence | Self::Meta | Self::Idempotency | Self::Paused(_) | Self::Row { .. } => {
                None
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=limits::NAME_BYTES).contains(&name.len())
}

fn alone(digits: &[u8]) -> Option<BatchId> {
    Some(BatchId(u64::from_be_bytes(digits.try_into().ok()?)))
}

fn numbered(digits: &[u8]) -> Option<(BatchId, u32)> {
    let (batch, part) = digits.split_at_checked(8)?;
    Some((alone(batch)?, u32::from_be_bytes(part.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_made_is_known_and_none_that_is_longer_or_shorter() {
        let (batch, retry) = (BatchId(300), BatchId(301));
        let made = [
            (keys::header(batch), KeyKind::Header(batch)),
            (keys::items(batch, 2), KeyKind::Items { batch, chunk: 2 }),
            (
                keys::key_hashes(batch, 2),
                KeyKind::KeyHashes { batch, part: 2 },
            ),
            (
                keys::origin_indexes(batch, 2),
                KeyKind::OriginIndexes { batch, part: 2 },
            ),
            (
                keys::segment(batch, 2),
                KeyKind::Segment { batch, number: 2 },
            ),
            (keys::summary(batch), KeyKind::Summary(batch)),
            (keys::unfinished(batch), KeyKind::Unfinished(batch)),
            (keys::META.to_vec(), KeyKind::Meta),
            (keys::idempotency(&[7; 32]), KeyKind::Idempotency),
            (
                keys::retried(batch, retry, 2),
                KeyKind::Retried {
                    parent: batch,
                    retry,
                    part: 2,
                },
            ),
        ];
        let of_a_batch = made.iter().filter(|(_, kind)| kind.batch() == Some(batch));
        assert_eq!(of_a_batch.count(), made.len() - 2);
        assert_eq!(KeyKind::Meta.batch(), None);
        assert_eq!(KeyKind::Idempotency.batch(), None);
        for (key, kind) in &made {
            assert_eq!(KeyKind::of(key), Some(*kind));
            let longer = [&key[..], &[0]].concat();
            assert_eq!(KeyKind::of(&longer), None, "{longer:?}");
            assert_eq!(KeyKind::of(&key[..key.len() - 1]), None, "{key:?}");
        }
        for fence in keys::fences() {
            assert_eq!(KeyKind::of(&fence), Some(KeyKind::Fence));
        }
        assert_eq!(
            KeyKind::of(&keys::paused("send")),
            Some(KeyKind::Paused("send"))
        );
        let row = [keys::table("points"), vec![1, 2]].concat();
        assert_eq!(KeyKind::of(&row), Some(KeyKind::Row { table: "points" }));
        let longest = [keys::table("points"), vec![0; limits::TABLE_KEY_BYTES]].concat();
        assert_eq!(
            KeyKind::of(&longest),
            Some(KeyKind::Row { table: "points" })
        );
        let long = [&longest[..], &[0]].concat();
        for foreign in [&b""[..], b"x", b"t", b"t\x09ab", b"p", b"y\x18", &long] {
            assert_eq!(KeyKind::of(foreign), None, "{foreign:?}");
        }
    }
}
