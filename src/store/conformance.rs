//! The contract of `Store`, checked on every implementation by the same tests.
//!
//! A store is checked on a [`Bench`]: where it lives, so that it can be closed and opened again.
//! `contract_of!` makes a module of tests for a bench, one per claim.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::memory::{CommitFault, MemoryDisk, MemoryStore};
use super::{Directory, KEY_BYTES, SledStore, Store, StoreError, Writes};
use crate::limits::VALUE_BYTES;

/// Somewhere a store lives, empty at first.
trait Bench {
    fn new() -> Self;
    /// Opens the store. The one opened before has been dropped.
    fn open(&self) -> Box<dyn Store>;
}

struct OnSled(tempfile::TempDir);

impl Bench for OnSled {
    fn new() -> Self {
        // In memory where there is such a place: what becomes of it on a disk is judged elsewhere.
        let in_memory = tempfile::tempdir_in("/dev/shm");
        Self(in_memory.or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn open(&self) -> Box<dyn Store> {
        let directory = Directory::lock(self.0.path()).unwrap();
        Box::new(
            SledStore::open(directory, 16 << 20, Writes::default)
                .unwrap()
                .store,
        )
    }
}

struct InMemory(MemoryDisk);

impl Bench for InMemory {
    fn new() -> Self {
        Self(MemoryDisk::default())
    }

    fn open(&self) -> Box<dyn Store> {
        Box::new(MemoryStore::open(&self.0, Writes::default).unwrap())
    }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn put(rows: &[(&[u8], &[u8])]) -> Writes {
    let mut writes = Writes::default();
    for (key, value) in rows {
        writes.put(key.to_vec(), *value);
    }
    writes
}

fn rows(
    scan: impl Iterator<Item = Result<(super::Value, super::Value), StoreError>>,
) -> Result<Rows, StoreError> {
    scan.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
        .collect()
}

fn all(store: &dyn Store) -> Rows {
    rows(store.scan(b"", &[0xff; KEY_BYTES])).unwrap()
}

fn value(store: &dyn Store, key: &[u8]) -> Option<Vec<u8>> {
    store.get(key).unwrap().map(|value| value.to_vec())
}

fn committed_rows_survive_reopening<B: Bench>() {
    let bench = B::new();
    let store = bench.open();
    store.commit(2, put(&[(b"a", b"1"), (b"b", b"")])).unwrap();
    assert_eq!(value(&*store, b"a"), Some(b"1".to_vec()));
    drop(store);
    let store = bench.open();
    assert_eq!(value(&*store, b"a"), Some(b"1".to_vec()));
    assert_eq!(value(&*store, b"b"), Some(Vec::new()));
    assert_eq!(value(&*store, b"c"), None);
}

fn the_last_write_to_a_key_wins<B: Bench>() {
    let bench = B::new();
    let store = bench.open();
    let mut writes = put(&[(b"kept", b"1"), (b"kept", b"2"), (b"removed", b"1")]);
    writes.remove(b"removed".to_vec());
    writes.remove(b"back".to_vec());
    writes.put(b"back".to_vec(), b"again".as_slice());
    writes.remove(b"never there".to_vec());
    store.commit(2, writes).unwrap();
    let expected = [
        (b"back".to_vec(), b"again".to_vec()),
        (b"kept".to_vec(), b"2".to_vec()),
    ];
    assert_eq!(all(&*store), expected);
}

fn scans_are_ordered_as_byte_strings_and_exclude_their_end<B: Bench>() {
    let bench = B::new();
    let store = bench.open();
    let ordered: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"a\xff", b"b"];
    let mut shuffled = ordered;
    shuffled.reverse();
    shuffled.swap(1, 4);
    store
        .commit(2, put(&shuffled.map(|key| (key, key))))
        .unwrap();

    let keys = |scan: super::Scan<'_>| -> Vec<Vec<u8>> {
        rows(scan)
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    };
    assert_eq!(keys(store.scan(b"", b"\xff")), ordered);
    assert_eq!(keys(store.scan(b"a", b"b")), ordered[3..6]);
    assert_eq!(keys(store.scan(b"\0", b"a")), ordered[1..3]);
    assert_eq!(keys(store.scan(b"a", b"a")), ordered[..0]);
    assert_eq!(keys(store.scan(b"b", b"a")), ordered[..0]);
    assert_eq!(keys(store.scan(b"c", b"d")), ordered[..0]);
    assert_eq!(keys(Box::new(store.scan(b"", b"\0"))), ordered[..1]);
}

fn a_scan_from_both_ends_gives_each_row_once<B: Bench>() {
    let bench = B::new();
    let store = bench.open();
    store
        .commit(
            2,
            put(&[(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4")]),
        )
        .unwrap();
    let key = |row: Option<Result<(super::Value, super::Value), StoreError>>| {
        row.map(|row| row.unwrap().0.to_vec())
    };
    let mut scan = store.scan(b"a", b"e");
    assert_eq!(key(scan.next()), Some(b"a".to_vec()));
    assert_eq!(key(scan.next_back()), Some(b"d".to_vec()));
    assert_eq!(key(scan.next_back()), Some(b"c".to_vec()));
    assert_eq!(key(scan.next()), Some(b"b".to_vec()));
    assert_eq!(key(scan.next_back()), None);
    assert_eq!(key(scan.next()), None);
}

fn too_large_rows_are_refused_and_nothing_is_applied<B: Bench>() {
    let bench = B::new();
    let store = bench.open();
    let largest_key = vec![b'k'; KEY_BYTES];
    let largest_value = vec![7; VALUE_BYTES];
    store
        .commit(2, put(&[(&largest_key, &largest_value)]))
        .unwrap();
    for (key, value) in [
        (b"x".to_vec(), vec![7; VALUE_BYTES + 1]),
        (vec![b'x'; KEY_BYTES + 1], b"small".to_vec()),
    ] {
        let writes = put(&[(b"bystander", b"1"), (&key, &value), (b"other", b"1")]);
        assert!(store.commit(3, writes).is_err());
        assert_eq!(all(&*store), [(largest_key.clone(), largest_value.clone())]);
    }
    // It is the caller's mistake and not the disk's: the store goes on.
    store.commit(3, put(&[(b"y", b"1")])).unwrap();
    assert_eq!(value(&*store, b"y"), Some(b"1".to_vec()));
}

fn size_on_disk_is_known<B: Bench>() {
    let bench = B::new();
    let store = bench.open();
    store.commit(2, put(&[(b"a", &[1; 10_000])])).unwrap();
    assert!(store.size_on_disk().unwrap() >= 10_000);
}

/// One step of the comparison with a map.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    Scan {
        from: Vec<u8>,
        to: Vec<u8>,
        from_the_back: Vec<bool>,
    },
    Reopen,
}

/// Few and similar keys, so that they meet.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0, 1, b'a', 0xff]), 0..4)
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    (0_u8..4, any::<u8>())
        .prop_map(|(size, byte)| vec![byte; [0, 5, 3_000, VALUE_BYTES][usize::from(size)]])
}

fn any_step() -> impl Strategy<Value = Step> {
    let commit =
        prop::collection::vec((any_key(), prop::option::weighted(0.7, any_value())), 0..12);
    prop_oneof![
        6 => commit.prop_map(Step::Commit),
        4 => (any_key(), any_key(), prop::collection::vec(any::<bool>(), 0..20))
            .prop_map(|(from, to, from_the_back)| Step::Scan { from, to, from_the_back }),
        1 => Just(Step::Reopen),
    ]
}

fn follow_a_map<B: Bench>(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let bench = B::new();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut store = bench.open();
    let mut sequence = 1;
    for step in steps {
        match step {
            Step::Commit(rows) => {
                let mut writes = Writes::default();
                for (key, value) in rows {
                    match value {
                        Some(value) => {
                            writes.put(key.clone(), value.as_slice());
                            model.insert(key, value);
                        }
                        None => {
                            writes.remove(key.clone());
                            model.remove(&key);
                        }
                    }
                }
                sequence += 1;
                store.commit(sequence, writes).unwrap();
            }
            Step::Scan {
                from,
                to,
                from_the_back,
            } => {
                let mut scan = store.scan(&from, &to);
                let rows: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| **key >= from && **key < to)
                    .collect();
                let mut expected = rows.into_iter();
                for back in from_the_back {
                    let row = if back { scan.next_back() } else { scan.next() };
                    let expected = if back {
                        expected.next_back()
                    } else {
                        expected.next()
                    };
                    let row = row.map(|row| row.unwrap());
                    prop_assert_eq!(
                        row.as_ref().map(|(key, _)| &**key),
                        expected.map(|(key, _)| &**key)
                    );
                    prop_assert!(
                        row.as_ref().map(|(_, value)| &**value)
                            == expected.map(|(_, value)| &**value)
                    );
                }
            }
            Step::Reopen => {
                drop(store);
                store = bench.open();
            }
        }
        for (key, expected) in &model {
            prop_assert!(value(&*store, key).as_ref() == Some(expected), "{key:?}");
        }
        let mut expected: Rows = model.clone().into_iter().collect();
        prop_assert!(all(&*store) == expected);
        expected.reverse();
        let backwards = rows(store.scan(b"", &[0xff; KEY_BYTES]).rev()).unwrap();
        prop_assert!(backwards == expected);
    }
    Ok(())
}

/// So many cases, or as many as `PROPTEST_CASES` says.
fn cases(cases: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.and_then(|asked| asked.parse().ok()).unwrap_or(cases),
        ..ProptestConfig::default()
    }
}

/// Tests of the contract for one bench.
macro_rules! contract_of {
    ($module:ident, $bench:ty, $cases:expr, [$($claim:ident),* $(,)?]) => {
        mod $module {
            use super::*;

            $(
                #[test]
                fn $claim() {
                    super::$claim::<$bench>();
                }
            )*

            proptest! {
                #![proptest_config(cases($cases))]

                #[test]
                fn any_commits_scans_and_reopenings_follow_a_map(
                    steps in prop::collection::vec(any_step(), 1..25)
                ) {
                    follow_a_map::<$bench>(steps)?;
                }
            }
        }
    };
    ($module:ident, $bench:ty, $cases:expr) => {
        contract_of!($module, $bench, $cases, [
            committed_rows_survive_reopening,
            the_last_write_to_a_key_wins,
            scans_are_ordered_as_byte_strings_and_exclude_their_end,
            a_scan_from_both_ends_gives_each_row_once,
            too_large_rows_are_refused_and_nothing_is_applied,
            size_on_disk_is_known,
        ]);
    };
}

contract_of!(sled, OnSled, 500);
contract_of!(memory, InMemory, 2_000);

/// A commit that fails is not known to be done or not, and there is no going on without reopening.
/// How to make a commit fail is each store's own; sled's is in `sled_store`.
#[test]
fn in_memory_a_failed_commit_ends_the_store_and_leaves_all_or_nothing() {
    for (fault, left) in [(CommitFault::NotDone, 0), (CommitFault::Done, 2)] {
        let disk = MemoryDisk::default();
        let store = MemoryStore::open(&disk, Writes::default).unwrap();
        disk.fail_next_commit(fault);
        assert!(store.commit(2, put(&[(b"a", b"1"), (b"b", b"1")])).is_err());
        assert!(store.commit(3, put(&[(b"c", b"1")])).is_err());
        drop(store);
        let store = MemoryStore::open(&disk, Writes::default).unwrap();
        assert_eq!(all(&store).len(), left, "{fault:?}");
        store.commit(4, put(&[(b"d", b"1")])).unwrap();
    }
}
