//! Which keys there are, in their order. A key costs the store about as much as a kilobyte of value, so
//! there are few.
//!
//! | key | value |
//! |---|---|
//! | `I` 0 n | fences, 8 |
//! | `I` !id n | a batch's items, packed, n-th chunk |
//! | `S` id | how it ended, while it is ended |
//! | `b` id | its header |
//! | `h` id n | the hashes of its ordering keys, n-th part |
//! | `k` hash | an idempotency key |
//! | `m` | the meta record |
//! | `o` id n | where its items come from, n-th part, when it runs failed items again |
//! | `p` name | an operation that is paused by request |
//! | `r` id id n | its items that another batch runs again, n-th part |
//! | `t` length name key | a table row |
//! | `u` id | its place in the order, while it is unfinished |
//! | `y` n | fences, 24 |
//! | `z` id n | its journal, n-th segment |
//! | `z` 255 n | fences, 7 |
//!
//! Numbers are big-endian, so that key order is number order; items count down (`!id`), newest first.
//!
//! The order matters for speed. The storage engine keeps neighbours in leaves, writes a leaf anew when
//! some of it has changed ten times, and splits one of 17 rows into the first 9 and the other 8, writing
//! both. So large values must not have neighbours that change when they do not: new items come at the
//! very start, new journals at the very end, and what changes with every commit is fenced off from old
//! journals. The fences at both ends, rows that never change, make a split leave the large values that
//! came in since the last one in a leaf that is written once more and then never again; without them it
//! would be twice.

use crate::kernel::BatchId;
use std::ops::Range;

pub(crate) const META: &[u8] = b"m";

/// The rows that keep large values from being rewritten.
pub(crate) fn fences() -> impl Iterator<Item = Vec<u8>> {
    let first = (0..8).map(|n| vec![b'I', 0, n]);
    let before_journals = (0..24).map(|n| vec![b'y', n]);
    let last = (0..7).map(|n| vec![b'z', u8::MAX, n]);
    first.chain(before_journals).chain(last)
}

fn numbered(prefix: u8, batch: BatchId, part: Option<u32>) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.push(prefix);
    key.extend(batch.0.to_be_bytes());
    if let Some(part) = part {
        key.extend(part.to_be_bytes());
    }
    key
}

pub(crate) fn header(batch: BatchId) -> Vec<u8> {
    numbered(b'b', batch, None)
}

/// All batch headers of `ids`.
pub(crate) fn headers(ids: Range<u64>) -> Range<Vec<u8>> {
    header(BatchId(ids.start))..header(BatchId(ids.end))
}

pub(crate) fn items(batch: BatchId, chunk: u32) -> Vec<u8> {
    numbered(b'I', BatchId(!batch.0), Some(chunk))
}

/// All chunks of a batch's items.
pub(crate) fn all_items(batch: BatchId) -> Range<Vec<u8>> {
    under(numbered(b'I', BatchId(!batch.0), None))
}

/// All parts of a batch's ordering keys.
pub(crate) fn all_key_hashes(batch: BatchId) -> Range<Vec<u8>> {
    under(numbered(b'h', batch, None))
}

/// All parts of the places that a batch's items had.
pub(crate) fn all_origin_indexes(batch: BatchId) -> Range<Vec<u8>> {
    under(numbered(b'o', batch, None))
}

pub(crate) fn key_hashes(batch: BatchId, part: u32) -> Vec<u8> {
    numbered(b'h', batch, Some(part))
}

/// The places that a batch's items had in the batch they were first submitted in.
pub(crate) fn origin_indexes(batch: BatchId, part: u32) -> Vec<u8> {
    numbered(b'o', batch, Some(part))
}

/// The items of `parent` that `retry` runs again.
pub(crate) fn retried(parent: BatchId, retry: BatchId, part: u32) -> Vec<u8> {
    let mut key = numbered(b'r', parent, None);
    key.extend(retry.0.to_be_bytes());
    key.extend(part.to_be_bytes());
    key
}

/// All items of `parent` that other batches run again.
pub(crate) fn all_retried(parent: BatchId) -> Range<Vec<u8>> {
    under(numbered(b'r', parent, None))
}

/// The batch that runs items again, in a key of [`retried`].
pub(crate) fn retry_of(key: &[u8]) -> Option<BatchId> {
    let digits = key.get(9..17)?;
    Some(BatchId(u64::from_be_bytes(digits.try_into().ok()?)))
}

/// Everything that is stored of a batch.
pub(crate) fn of_batch(batch: BatchId) -> impl Iterator<Item = Range<Vec<u8>>> {
    let items = under(numbered(b'I', BatchId(!batch.0), None));
    let others = [b'S', b'b', b'h', b'o', b'r', b'u', b'z'];
    let others = others.map(|prefix| under(numbered(prefix, batch, None)));
    std::iter::once(items).chain(others)
}

pub(crate) fn paused(operation: &str) -> Vec<u8> {
    let mut key = vec![b'p'];
    key.extend(operation.as_bytes());
    key
}

pub(crate) fn all_paused() -> Range<Vec<u8>> {
    under(vec![b'p'])
}

/// The operation in a key of [`paused`].
pub(crate) fn paused_name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(b"p")?).ok()
}

pub(crate) fn segment(batch: BatchId, number: u32) -> Vec<u8> {
    numbered(b'z', batch, Some(number))
}

/// All journal segments of a batch.
pub(crate) fn segments(batch: BatchId) -> Range<Vec<u8>> {
    under(numbered(b'z', batch, None))
}

/// All keys that start with `prefix`, which is not empty.
fn under(prefix: Vec<u8>) -> Range<Vec<u8>> {
    let end = successor(&prefix);
    prefix..end
}

/// The number in a segment's key.
pub(crate) fn segment_number(key: &[u8]) -> Option<u32> {
    let digits = key.get(9..13)?;
    Some(u32::from_be_bytes(digits.try_into().ok()?))
}

pub(crate) fn summary(batch: BatchId) -> Vec<u8> {
    numbered(b'S', batch, None)
}

/// The summaries of `batch` and of those after it.
pub(crate) fn summaries_from(batch: BatchId) -> Range<Vec<u8>> {
    summary(batch)..successor(b"S")
}

pub(crate) fn unfinished(batch: BatchId) -> Vec<u8> {
    numbered(b'u', batch, None)
}

pub(crate) fn all_unfinished() -> Range<Vec<u8>> {
    under(vec![b'u'])
}

/// The batch in the key of a header, a summary or an unfinished marker.
pub(crate) fn batch_of(key: &[u8]) -> Option<BatchId> {
    let digits = key.get(1..9)?;
    Some(BatchId(u64::from_be_bytes(digits.try_into().ok()?)))
}

pub(crate) fn idempotency(scope: &[u8; 32]) -> Vec<u8> {
    let mut key = vec![b'k'];
    key.extend(scope);
    key
}

/// The idempotency keys after `key`, which is one; all, when there is none.
pub(crate) fn idempotency_after(key: Option<&[u8]>) -> Range<Vec<u8>> {
    let start = key.map_or_else(|| vec![b'k'], |key| [key, &[0]].concat());
    start..successor(b"k")
}

/// What the rows of a table start with. `table` is at most 255 bytes long.
pub(crate) fn table(table: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + table.len() + 32);
    key.push(b't');
    key.push(u8::try_from(table.len()).unwrap_or(u8::MAX));
    key.extend(table.as_bytes());
    key
}

/// The table that a key is a row of.
pub(crate) fn table_of(key: &[u8]) -> Option<&str> {
    let (b't', rest) = key.split_first()? else {
        return None;
    };
    let (length, rest) = rest.split_first()?;
    std::str::from_utf8(rest.get(..usize::from(*length))?).ok()
}

/// The first byte string after all that start with `prefix`, which is not empty.
pub(crate) fn successor(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; prefix.len() + 1]
}

/// A key in words, for messages. Never the content of an application's key.
pub(crate) fn name(key: &[u8]) -> String {
    let batch = || batch_of(key).map_or_else(|| "?".to_owned(), |batch| batch.to_string());
    match key.first() {
        Some(b'm') => "meta".to_owned(),
        Some(b'b') => format!("header of batch {}", batch()),
        Some(b'I') => {
            let batch = batch_of(key).map_or(0, |BatchId(id)| !id);
            format!("items of batch {batch}")
        }
        Some(b'o') => format!("origin of batch {}", batch()),
        Some(b'r') => format!("retried items of batch {}", batch()),
        Some(b'p') => "paused operation".to_owned(),
        Some(b'h') => format!("ordering keys of batch {}", batch()),
        Some(b'z') => format!("journal of batch {}", batch()),
        Some(b'S') => format!("summary of batch {}", batch()),
        Some(b'u') => format!("unfinished marker of batch {}", batch()),
        Some(b'k') => "idempotency key".to_owned(),
        Some(b't') => format!("row of table {:?}", table_of(key).unwrap_or("?")),
        _ => format!("of unknown kind ({} bytes)", key.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: BatchId = BatchId(0x0102_0304_0506_0708);

    /// A store that was written by an earlier version has these.
    #[test]
    fn keys_are_what_they_were() {
        let batch = [1, 2, 3, 4, 5, 6, 7, 8];
        let complement = batch.map(|byte: u8| !byte);
        let part = [0, 0, 0xab, 0xcd];
        for (key, parts) in [
            (header(BATCH), [b"b", &batch[..], &[]]),
            (items(BATCH, 0xabcd), [b"I", &complement, &part]),
            (key_hashes(BATCH, 0xabcd), [b"h", &batch, &part]),
            (origin_indexes(BATCH, 0xabcd), [b"o", &batch, &part]),
            (segment(BATCH, 0xabcd), [b"z", &batch, &part]),
            (summary(BATCH), [b"S", &batch, &[]]),
            (unfinished(BATCH), [b"u", &batch, &[]]),
            (paused("send"), [b"p", b"send", &[]]),
            (idempotency(&[7; 32]), [b"k", &[7; 32], &[]]),
            (table("points"), [b"t", b"\x06", b"points"]),
            (META.to_vec(), [b"m", &[], &[]]),
        ] {
            assert_eq!(key, parts.concat());
        }
        let retry = [0, 0, 0, 0, 0, 0, 0, 9];
        let expected = [b"r", &batch[..], &retry, &part].concat();
        assert_eq!(retried(BATCH, BatchId(9), 0xabcd), expected);
        let fences: Vec<_> = fences().collect();
        assert_eq!(fences.len(), 8 + 24 + 7);
        assert_eq!((&*fences[0], &*fences[7]), (&b"I\0\0"[..], &b"I\0\x07"[..]));
        assert_eq!((&*fences[8], &*fences[31]), (&b"y\0"[..], &b"y\x17"[..]));
        assert_eq!(
            (&*fences[32], &*fences[38]),
            (&b"z\xff\0"[..], &b"z\xff\x06"[..])
        );
    }

    #[test]
    fn keys_are_named_and_what_applications_put_in_them_is_not() {
        for (key, expected) in [
            (header(BatchId(7)), "header of batch 7"),
            (items(BatchId(7), 1), "items of batch 7"),
            (origin_indexes(BatchId(7), 1), "origin of batch 7"),
            (
                retried(BatchId(7), BatchId(8), 1),
                "retried items of batch 7",
            ),
            (paused("secret"), "paused operation"),
            (key_hashes(BatchId(7), 1), "ordering keys of batch 7"),
            (segment(BatchId(7), 1), "journal of batch 7"),
            (summary(BatchId(7)), "summary of batch 7"),
            (unfinished(BatchId(7)), "unfinished marker of batch 7"),
            (idempotency(&[b's'; 32]), "idempotency key"),
            (
                [table("points"), b"secret".to_vec()].concat(),
                "row of table \"points\"",
            ),
            (META.to_vec(), "meta"),
            (b"b\0\0".to_vec(), "header of batch ?"),
            (b"t\xff".to_vec(), "row of table \"?\""),
            (b"secret".to_vec(), "of unknown kind (6 bytes)"),
            (Vec::new(), "of unknown kind (0 bytes)"),
        ] {
            assert_eq!(name(&key), expected);
        }
    }

    #[test]
    fn ranges_begin_and_end_where_they_say() {
        let (before, batch, after) = (BatchId(254), BatchId(255), BatchId(256));
        let range = headers(255..256);
        assert!(range.contains(&header(batch)));
        assert!(!range.contains(&header(before)) && !range.contains(&header(after)));
        let range = summaries_from(batch);
        assert!(range.contains(&summary(batch)) && range.contains(&summary(BatchId(u64::MAX))));
        assert!(!range.contains(&summary(before)) && !range.contains(&header(BatchId(0))));
        let range = all_unfinished();
        assert!(range.contains(&unfinished(BatchId(0))));
        assert!(range.contains(&unfinished(BatchId(u64::MAX))));
        assert!(!range.contains(&table("points")));
        for (range, key) in [
            (all_items(batch), items as fn(BatchId, u32) -> Vec<u8>),
            (all_key_hashes(batch), key_hashes),
            (all_origin_indexes(batch), origin_indexes),
            (segments(batch), segment),
        ] {
            for part in [0, u32::MAX] {
                assert!(range.contains(&key(batch, part)));
                assert!(!range.contains(&key(before, part)));
                assert!(!range.contains(&key(after, part)));
            }
        }
        let scopes = [[0; 32], [1; 32], [u8::MAX; 32]];
        let keys = scopes.map(|scope| idempotency(&scope));
        let inside = |range: Range<Vec<u8>>| keys.each_ref().map(|key| range.contains(key));
        assert_eq!(inside(idempotency_after(None)), [true; 3]);
        assert_eq!(
            inside(idempotency_after(Some(&keys[0]))),
            [false, true, true]
        );
        assert_eq!(inside(idempotency_after(Some(&keys[2]))), [false; 3]);
        assert!(!idempotency_after(None).contains(&META.to_vec()));
        assert!(!idempotency_after(Some(&keys[2])).contains(&META.to_vec()));
    }

    #[test]
    fn keys_sort_by_number() {
        assert!(segment(BatchId(1), 255) < segment(BatchId(1), 256));
        assert!(segment(BatchId(1), u32::MAX) < segment(BatchId(2), 0));
        let all = segments(BatchId(1));
        assert!(all.contains(&segment(BatchId(1), 0)));
        assert!(all.contains(&segment(BatchId(1), u32::MAX)));
        assert!(!all.contains(&segment(BatchId(2), 0)));
    }

    #[test]
    fn fences_stand_outside_of_what_they_fence() {
        let fences: Vec<_> = fences().collect();
        assert!(fences.is_sorted());
        assert!(
            fences[..8]
                .iter()
                .all(|fence| *fence < items(BatchId(u64::MAX >> 8), 0))
        );
        assert!(
            fences[8..32]
                .iter()
                .all(|fence| *fence > unfinished(BatchId(u64::MAX)))
        );
        assert!(
            fences[8..32]
                .iter()
                .all(|fence| *fence < segment(BatchId(0), 0))
        );
        let last = segment(BatchId(u64::MAX >> 8), u32::MAX);
        assert!(fences[32..].iter().all(|fence| *fence > last));
    }

    #[test]
    fn a_key_gives_back_what_it_was_made_of() {
        assert_eq!(batch_of(&header(BatchId(77))), Some(BatchId(77)));
        assert_eq!(segment_number(&segment(BatchId(1), 9)), Some(9));
        assert_eq!(segment_number(&header(BatchId(1))), None);
        assert_eq!(table_of(&table("accounts")), Some("accounts"));
        assert_eq!(table_of(b"b12345678"), None);
        assert_eq!(paused_name(&paused("send-\u{e9}")), Some("send-\u{e9}"));
        assert_eq!(paused_name(&header(BatchId(1))), None);
        let retry = retried(BatchId(3), BatchId(300), 7);
        assert_eq!(retry_of(&retry), Some(BatchId(300)));
        assert_eq!(batch_of(&retry), Some(BatchId(3)));
    }

    /// Keys of every kind that a batch has, first and last.
    fn keys_of(batch: BatchId) -> Vec<Vec<u8>> {
        let mut keys = vec![header(batch), summary(batch), unfinished(batch)];
        for part in [0, 255, u32::MAX] {
            keys.push(items(batch, part));
            keys.push(key_hashes(batch, part));
            keys.push(origin_indexes(batch, part));
            keys.push(segment(batch, part));
            for retry in [0, u64::MAX] {
                keys.push(retried(batch, BatchId(retry), part));
            }
        }
        keys
    }

    fn is_of(key: &[u8], batch: BatchId) -> bool {
        of_batch(batch).any(|range| range.contains(&key.to_vec()))
    }

    #[test]
    fn everything_of_a_batch_is_its_own_and_nothing_else() {
        for id in [1, 2, 254, 255, 256, 257, 65_535, 65_536, u64::MAX >> 8] {
            let batch = BatchId(id);
            for key in keys_of(batch) {
                assert!(is_of(&key, batch), "{key:?} of {id}");
            }
            for other in [id - 1, id + 1, id << 8, id >> 8, id ^ 1, !id] {
                for key in keys_of(BatchId(other)) {
                    assert!(!is_of(&key, batch), "{key:?} of {other}, not {id}");
                }
                // These say which items of the other one it runs again.
                assert!(!is_of(&retried(BatchId(other), batch, 0), batch));
            }
            let alone = [META.to_vec(), idempotency(&[b'z'; 32]), table("b")];
            let paused = ["b", "bbbbbbbbbbbbb"].map(paused);
            for key in alone.into_iter().chain(paused).chain(fences()) {
                assert!(!is_of(&key, batch), "{key:?} is not of {id}");
            }
        }
    }

    #[test]
    fn ranges_of_retries_and_pauses_hold_their_own_kind_only() {
        let range = all_retried(BatchId(255));
        for (parent, inside) in [(254, false), (255, true), (256, false)] {
            for retry in [0, u64::MAX] {
                let key = retried(BatchId(parent), BatchId(retry), u32::MAX);
                assert_eq!(range.contains(&key), inside);
            }
        }
        let range = all_paused();
        assert!(range.contains(&paused("a")));
        assert!(range.contains(&paused(char::MAX.to_string().as_str())));
        let others = [
            origin_indexes(BatchId(u64::MAX), u32::MAX),
            range.end.clone(),
        ];
        assert!(others.iter().all(|key| !range.contains(key)));
        assert!(!range.contains(&retried(BatchId(0), BatchId(0), 0)));
    }

    #[test]
    fn small_rows_stand_between_the_fences_of_large_ones() {
        let fences: Vec<_> = fences().collect();
        let last = BatchId(u64::MAX);
        for key in [
            origin_indexes(BatchId(0), 0),
            origin_indexes(last, u32::MAX),
            retried(BatchId(0), BatchId(0), 0),
            retried(last, last, u32::MAX),
            paused("a"),
            paused(char::MAX.to_string().as_str()),
        ] {
            assert!(key > fences[7] && key < fences[8], "{key:?}");
            assert!(key > items(BatchId(0), u32::MAX));
        }
    }

    #[test]
    fn the_rows_of_a_table_never_mix_with_those_of_another() {
        let rows = table("ab");
        let range = rows.clone()..successor(&rows);
        let mut row = rows.clone();
        row.extend([255; 8]);
        assert!(range.contains(&row));
        for other in ["a", "abc", "b"] {
            assert!(!range.contains(&table(other)));
        }
        assert_eq!(successor(&[1, 255]), [2]);
        assert_eq!(successor(&[255, 255]), [255; 3]);
    }
}
