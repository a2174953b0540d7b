//! A consistent copy of all rows while others commit.
//!
//! A view of everything would keep commits waiting for as long as it takes to copy a store. So the rows are
//! copied in their order, some in a view, and commits note which rows they change of those that were copied
//! already: these are copied again, in the next view. When the last rows have been copied, and in the same view
//! everything that had changed, the copy is what the store is in this view: the state after one commit.
//!
//! What changes behind the copy is read again before it goes on, and when that is much, the view is kept until
//! it is done. So a backup ends, however much is committed.

use super::record::Meta;
use super::vault::{Vault, View};
use super::{StoreError, Value, Writes, codec, keys};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows are copied, in one view, until they have this many bytes. Commits wait for so long.
const PIECE_BYTES: usize = 1 << 20;

/// What a row costs besides its bytes, so that many small ones are not taken for nothing.
const ROW_BYTES: usize = 64;

/// Changed keys that are remembered, in bytes. There are as many as commits make while one piece is written: more
/// of them means that the target has come to a halt.
const CHANGED_BYTES_MAX: usize = 64 << 20;

/// What has changed of the rows that were copied already.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Changed>);

#[derive(Debug, Default)]
struct Changed {
    /// Rows below this key were copied.
    copied: Vec<u8>,
    keys: BTreeSet<Vec<u8>>,
    bytes: usize,
    too_many: bool,
}

impl Changes {
    /// Notes what a commit changes.
    pub(super) fn note(&self, writes: &Writes) {
        let mut changed = self.changed();
        for (key, _) in &writes.0 {
            if *key < changed.copied && key != keys::META && changed.keys.insert(key.clone()) {
                changed.bytes += key.len() + ROW_BYTES;
            }
        }
        if changed.bytes > CHANGED_BYTES_MAX {
            changed.too_many = true;
            changed.keys.clear();
            changed.bytes = 0;
        }
    }

    fn take_one(&self) -> Option<Vec<u8>> {
        let mut changed = self.changed();
        let key = changed.keys.pop_first()?;
        changed.bytes -= key.len() + ROW_BYTES;
        Some(key)
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where rows are copied to.
pub(crate) trait Target {
    /// Sets rows, or removes those without a value.
    fn put(&mut self, rows: Writes) -> Result<(), StoreError>;
}

/// Why rows could not be copied.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// The store was closed or has failed.
    Gone,
    /// The store cannot be read.
    Source(StoreError),
    /// The target cannot be written to.
    Target(StoreError),
    /// The target did not keep up with what was committed.
    Overtaken,
}

/// Copies all rows, as they are after one commit; gives its meta record, which is copied too.
pub(crate) fn copy_rows(vault: &Vault, target: &mut impl Target) -> Result<Meta, CopyError> {
    let changes = Arc::new(Changes::default());
    vault.note_changes(&changes);
    let end = keys::successor(&[u8::MAX]);
    let mut from = Vec::new();
    loop {
        let view = vault.view().ok_or(CopyError::Gone)?;
        if changes.changed().too_many {
            return Err(CopyError::Overtaken);
        }
        let mut piece = copy_changed(&view, &changes, target)?;
        let complete = !read_on(&view, &mut from, &end, &mut piece).map_err(CopyError::Source)?;
        changes.changed().copied.clone_from(&from);
        let meta = if complete {
            let value = view.value(keys::META).map_err(CopyError::Source)?;
            let value = value.ok_or_else(|| {
                CopyError::Source(StoreError("the meta record is missing".to_owned()))
            })?;
            let meta: Meta = codec::decode(keys::META, &value).map_err(CopyError::Source)?;
            piece.put(keys::META.to_vec(), value);
            Some(meta)
        } else {
            None
        };
        drop(view);
        target.put(piece.0).map_err(CopyError::Target)?;
        if let Some(meta) = meta {
            return Ok(meta);
        }
    }
}

/// Rows in memory on their way to the target.
#[derive(Default)]
struct Piece(Writes, usize);

impl Piece {
    fn put(&mut self, key: Vec<u8>, value: impl Into<Option<Value>>) {
        let value = value.into();
        self.1 += key.len() + value.as_ref().map_or(0, |value| value.len()) + ROW_BYTES;
        self.0.0.push((key, value));
    }

    fn is_full(&self) -> bool {
        self.1 >= PIECE_BYTES
    }
}

/// Reads everything again that has changed behind the copy. All but the last piece of it is written while the
/// view keeps commits out.
fn copy_changed(
    view: &View<'_>,
    changes: &Changes,
    target: &mut impl Target,
) -> Result<Piece, CopyError> {
    let mut piece = Piece::default();
    while let Some(key) = changes.take_one() {
        if piece.is_full() {
            target
                .put(std::mem::take(&mut piece).0)
                .map_err(CopyError::Target)?;
        }
        let value = view.value(&key).map_err(CopyError::Source)?;
        piece.put(key, value);
    }
    Ok(piece)
}

/// Reads the next rows, until the piece is full; false when there are no more.
fn read_on(
    view: &View<'_>,
    from: &mut Vec<u8>,
    end: &[u8],
    piece: &mut Piece,
) -> Result<bool, StoreError> {
    let range = from.clone()..end.to_vec();
    for row in view.scan(&range) {
        if piece.is_full() {
            return Ok(true);
        }
        let (key, value) = row?;
        *from = [&key, &[0][..]].concat();
        if &*key != keys::META {
            piece.put(key.to_vec(), value);
        }
    }
    *from = end.to_vec();
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::memory::{MemoryDisk, MemoryStore};
    use super::super::row_sums::recount;
    use super::super::vault::{Committer, Group, initial_rows};
    use super::*;
    use crate::kernel::BatchId;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    /// Rows in memory, and what happens each time that some are put.
    struct Copy<F> {
        rows: BTreeMap<Vec<u8>, Value>,
        meanwhile: F,
    }

    impl<F: FnMut()> Target for Copy<F> {
        fn put(&mut self, rows: Writes) -> Result<(), StoreError> {
            for (key, value) in rows.0 {
                match value {
                    Some(value) => self.rows.insert(key, value),
                    None => self.rows.remove(&key),
                };
            }
            (self.meanwhile)();
            Ok(())
        }
    }

    fn opened() -> (Arc<Vault>, Committer, Arc<dyn Store>) {
        let disk = MemoryDisk::default();
        let opened = MemoryStore::open(&disk, || initial_rows(7).unwrap());
        let store: Arc<dyn Store> = Arc::new(opened.unwrap());
        let vault = Arc::new(Vault::new(Arc::clone(&store)));
        let meta = codec::decode(keys::META, &store.get(keys::META).unwrap().unwrap()).unwrap();
        let committer = Committer::new(Arc::clone(&vault), Arc::clone(&store), meta);
        (vault, committer, store)
    }

    fn row(n: u64) -> Vec<u8> {
        [keys::table("t"), n.to_be_bytes().to_vec()].concat()
    }

    fn value(key: &[u8], content: u64) -> Value {
        codec::encode(key, &(content, vec![7_u8; 30_000])).unwrap()
    }

    /// Changes rows before and behind wherever the copy is: some set, some new, some removed.
    fn commit(committer: &mut Committer, round: u64) {
        let mut group = Group::default();
        for n in 0..4 {
            let key = row((round * 37 + n * 61) % 250);
            if (round + n).is_multiple_of(3) {
                group.remove(key);
            } else {
                let value = value(&key, round);
                group.put(key, value);
            }
        }
        committer.commit(group, BatchId(1), || {}, |_| {}).unwrap();
    }

    fn rows_of(store: &dyn Store) -> BTreeMap<Vec<u8>, Value> {
        let rows = store.scan(&[], &keys::successor(&[u8::MAX]));
        rows.map(|row| row.map(|(key, value)| (key.to_vec(), value)).unwrap())
            .collect()
    }

    #[test]
    fn a_copy_is_the_state_after_one_commit_whatever_is_committed_meanwhile() {
        let (vault, mut committer, store) = opened();
        for round in 0..100 {
            commit(&mut committer, round);
        }
        // By their sequence: what the copy may be.
        let mut states = BTreeMap::new();
        states.insert(committer.next_sequence() - 1, rows_of(&*store));
        let mut rounds = 100..;
        let mut pieces = 0;
        let mut copy = Copy {
            rows: BTreeMap::new(),
            meanwhile: || {
                pieces += 1;
                for round in rounds.by_ref().take(3) {
                    commit(&mut committer, round);
                    states.insert(committer.next_sequence() - 1, rows_of(&*store));
                }
            },
        };
        let meta = copy_rows(&vault, &mut copy).unwrap();
        let rows = copy.rows;
        assert!(pieces > 4, "{pieces}");
        assert!(
            rows == states[&meta.sequence],
            "not the state after commit {}",
            meta.sequence
        );
        assert!(*states.keys().next().unwrap() < meta.sequence);
    }

    #[test]
    fn a_copy_ends_and_its_sums_are_right_while_another_thread_always_commits() {
        let (vault, mut committer, _store) = opened();
        commit(&mut committer, 0);
        let done = Arc::new(AtomicBool::new(false));
        let writer = {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                for round in (1..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    commit(&mut committer, round);
                }
            })
        };
        for _ in 0..10 {
            let mut copy = Copy {
                rows: BTreeMap::new(),
                meanwhile: || {},
            };
            let meta = copy_rows(&vault, &mut copy).unwrap();
            let disk = MemoryDisk::default();
            let mut writes = Writes::default();
            for (key, value) in copy.rows {
                writes.put(key, value);
            }
            let copied = MemoryStore::open(&disk, || writes).unwrap();
            recount(&copied, &meta).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        writer.join().unwrap();
    }

    #[test]
    fn a_target_that_stands_still_is_given_up() {
        let changes = Changes::default();
        changes.changed().copied = vec![u8::MAX];
        for n in 0..200_000_u64 {
            let mut writes = Writes::default();
            writes.put(
                [&n.to_be_bytes()[..], &[0; 500]].concat(),
                Value::from(&b""[..]),
            );
            changes.note(&writes);
        }
        let changed = changes.changed();
        assert!(changed.too_many && changed.bytes <= CHANGED_BYTES_MAX);
    }
}
