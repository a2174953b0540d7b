//! A sound store, and one wrong row at a time: each check finds what it is for.
//!
//! What is wrong is committed as the engine commits, so that the sums agree and only the one check can find it.

use super::{FindingKind, Verification, check_opened};
use crate::kernel::{BatchId, State, Timestamp};
use crate::store::codec::{Unsealed, decode, encode};
use crate::store::journal::{End, Entry, FailureEntry, ItemEntry};
use crate::store::record::{Header, Meta, Summary, Unfinished, UsedKey};
use crate::store::vault::{Committer, Group, Vault};
use crate::store::{Store, Value, Writes, codec, keys};
use crate::testing::MemoryDisk;
use crate::{
    Context, ExactlyOnce, Failure, OpenError, Operation, Queue, SubmitOptions, Table, Verify,
};
use serde::Serialize;
use std::sync::Arc;

const SUMS: Table<u64, u64> = Table::new("sums");

/// Adds its item to a row; odd items fail. Items of a hundred are one behind the other.
struct Add;

impl Operation for Add {
    const NAME: &'static str = "add";
    type Item = u64;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn key(&self, n: &u64) -> Option<String> {
        Some((n / 100).to_string())
    }

    fn run(&self, n: u64, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        if n % 2 == 1 {
            return Err(Failure::permanent("odd", "it is odd").details(n));
        }
        cx.put(&SUMS, &n, &n)?;
        Ok(n)
    }
}

/// Batch 1: 40 items, half of which failed. Batch 2: these, once more. Batch 3: stopped. Batch 4: to be done.
fn sound() -> MemoryDisk {
    let disk = MemoryDisk::new();
    let queue = Queue::builder("")
        .register(Add)
        .open_to_drain(&disk)
        .unwrap();
    let key = SubmitOptions::new().idempotency_key("one");
    let first = queue.submit_with::<Add>(0..40, key).unwrap();
    queue.drain().unwrap();
    first.retry_failed().unwrap();
    queue.drain().unwrap();
    let stopped = queue.submit::<Add>(40..60).unwrap();
    queue.drain_at_most(5).unwrap();
    stopped.stop().unwrap();
    queue.drain().unwrap();
    queue.submit::<Add>(60..80).unwrap();
    queue.pause("add", "a test").unwrap();
    drop(queue);
    disk
}

const ONE: BatchId = BatchId(1);
const TWO: BatchId = BatchId(2);
const THREE: BatchId = BatchId(3);
const FOUR: BatchId = BatchId(4);

fn verified(disk: &MemoryDisk) -> Verification {
    let store = disk.open().unwrap();
    check_opened(&store, store.sealed_sequence())
}

fn meta(store: &dyn Store) -> Meta {
    decode(keys::META, &store.get(keys::META).unwrap().unwrap()).unwrap()
}

/// The store after a commit of what `wrong` does to it.
fn with(wrong: impl FnOnce(&dyn Store, &mut Group)) -> MemoryDisk {
    let disk = sound();
    let store: Arc<dyn Store> = Arc::new(disk.open().unwrap());
    let vault = Arc::new(Vault::new(Arc::clone(&store)));
    let meta = meta(&*store);
    let next = BatchId(meta.next_batch);
    let mut group = Group::default();
    wrong(&*store, &mut group);
    let mut committer = Committer::new(vault, store, meta);
    committer.commit(group, next, || {}, |_| {}).unwrap();
    disk
}

fn put<T: Serialize>(group: &mut Group, key: Vec<u8>, record: &T) {
    let value = encode(&key, record).unwrap();
    group.put(key, value);
}

fn changed<T: Serialize + serde::de::DeserializeOwned>(
    store: &dyn Store,
    group: &mut Group,
    key: Vec<u8>,
    change: impl FnOnce(&mut T),
) {
    let mut record = decode(&key, &store.get(&key).unwrap().unwrap()).unwrap();
    change(&mut record);
    put(group, key, &record);
}

/// The number of the last segment of a batch's journal.
fn last_segment(store: &dyn Store, batch: BatchId) -> u32 {
    let range = keys::segments(batch);
    let last = store.scan(&range.start, &range.end).next_back().unwrap();
    keys::segment_number(&last.unwrap().0).unwrap()
}

fn append(store: &dyn Store, group: &mut Group, batch: BatchId, entries: &[Entry<'_>]) {
    let key = keys::segment(batch, last_segment(store, batch) + 1);
    let mut segment = Unsealed::with_capacity(64);
    for entry in entries {
        segment.append(entry).unwrap();
    }
    group.put(key.clone(), segment.seal(&key));
}

fn ended(index: u16, end: End<'_>) -> Entry<'_> {
    Entry::Item(ItemEntry {
        index,
        attempt: 1,
        end,
    })
}

#[track_caller]
fn assert_found(disk: &MemoryDisk, kind: FindingKind, batch: Option<BatchId>, says: &str) {
    let verification = verified(disk);
    let found = verification.findings.iter().any(|finding| {
        finding.kind == kind
            && (batch.is_none() || finding.batch == batch)
            && finding.to_string().contains(says)
    });
    assert!(
        found,
        "no {kind} finding that says {says:?}: {verification}"
    );
}

#[test]
fn a_sound_store_is_found_sound_and_all_of_it_is_looked_at() {
    let disk = sound();
    let found = verified(&disk);
    assert!(found.is_clean(), "{found}");
    assert_eq!((found.batches, found.items), (4, 100));
    assert_eq!(found.outcomes, 65);
    assert!(
        found.table_rows > 20 && found.rows as usize == disk.rows(),
        "{found}"
    );
}

/// Something that is wrong, how it is made, and how it is found.
type Wrong = (
    FindingKind,
    Option<BatchId>,
    &'static str,
    fn(&dyn Store, &mut Group),
);

#[test]
fn every_kind_of_wrong_row_is_found_by_the_check_that_is_for_it() {
    use FindingKind as K;
    let wrong: &[Wrong] = &[
        (K::Record, Some(ONE), "checksum", |store, group| {
            let key = keys::header(ONE);
            let mut bytes = store.get(&key).unwrap().unwrap().to_vec();
            bytes[12] ^= 1;
            group.put(key, Value::from(bytes));
        }),
        (K::Record, Some(ONE), "items of batch 1", |_, group| {
            // A good frame around something else.
            put(group, keys::items(ONE, 0), &u64::MAX);
        }),
        (K::Record, None, "not JSON", |_, group| {
            let key = [keys::table("sums"), vec![9; 8]].concat();
            let mut row = Unsealed::with_capacity(8);
            row.append_encoded(b"{\"n\":");
            group.put(key.clone(), row.seal(&key));
        }),
        (K::Record, None, "table \"sums\"", |_, group| {
            let key = [keys::table("sums"), vec![9; 8]].concat();
            group.put(key.clone(), codec::encode(b"another key", &1).unwrap());
        }),
        (K::Record, None, "paused", |_, group| {
            put(group, keys::paused("add"), &());
        }),
        (K::Key, None, "unknown kind", |_, group| {
            put(group, b"x-files".to_vec(), &1);
        }),
        (K::Rows, None, "fences", |_, group| {
            group.remove(keys::fences().next().unwrap());
        }),
        (K::Batch, Some(THREE), "header is missing", |_, group| {
            group.remove(keys::header(THREE));
        }),
        (
            K::Batch,
            Some(BatchId(77)),
            "next new one is 5",
            |store, group| {
                let header: Header = decode(
                    &keys::header(FOUR),
                    &store.get(&keys::header(FOUR)).unwrap().unwrap(),
                )
                .unwrap();
                put(group, keys::header(BatchId(77)), &header);
            },
        ),
        (K::Batch, Some(ONE), "0 items", |store, group| {
            changed::<Header>(store, group, keys::header(ONE), |header| header.total = 0);
        }),
        (
            K::Batch,
            Some(ONE),
            "divided into chunks",
            |store, group| {
                changed::<Header>(store, group, keys::header(ONE), |header| {
                    header.chunk_starts.insert(0, 7);
                });
            },
        ),
        (
            K::Batch,
            Some(ONE),
            "chunk 1 of its items",
            |store, group| {
                changed::<Header>(store, group, keys::header(ONE), |header| {
                    header.chunk_starts.push(20);
                });
            },
        ),
        (
            K::Batch,
            Some(ONE),
            "chunk 0 has 40 items of 39",
            |store, group| {
                changed::<Header>(store, group, keys::header(ONE), |header| header.total = 39);
            },
        ),
        (K::Batch, Some(FOUR), "chunk 0 of its items", |_, group| {
            group.remove(keys::items(FOUR, 0));
        }),
        (K::Batch, Some(FOUR), "1 chunks are too many", |_, group| {
            put(group, keys::items(FOUR, 9), &"1");
        }),
        (K::Batch, Some(FOUR), "of 1 parts", |_, group| {
            group.remove(keys::key_hashes(FOUR, 0));
        }),
        (
            K::Batch,
            Some(FOUR),
            "3 entries for 20 items",
            |_, group| {
                put(group, keys::key_hashes(FOUR, 0), &vec![1_u64, 2, 3]);
            },
        ),
        (K::Batch, Some(FOUR), "too many", |_, group| {
            put(group, keys::key_hashes(FOUR, 1), &vec![1_u64]);
        }),
        (K::Batch, Some(TWO), "of 1 parts", |_, group| {
            group.remove(keys::origin_indexes(TWO, 0));
        }),
        (K::Item, Some(TWO), "from item 40 of 40", |_, group| {
            put(group, keys::origin_indexes(TWO, 0), &vec![40_u16; 20]);
        }),
        (
            K::Batch,
            Some(ONE),
            "of its journal is missing",
            |store, group| {
                let last = last_segment(store, ONE);
                let key = keys::segment(ONE, last + 2);
                let mut segment = Unsealed::with_capacity(8);
                segment.append(&Entry::Clock { at: Timestamp(1) }).unwrap();
                group.put(key.clone(), segment.seal(&key));
            },
        ),
        (
            K::Item,
            Some(THREE),
            "ends a second time",
            |store, group| {
                let at = Timestamp(1);
                let again = [
                    Entry::Resumed { at },
                    Entry::Started { at },
                    ended(0, End::Succeeded("1")),
                ];
                append(store, group, THREE, &again);
            },
        ),
        (K::Item, Some(THREE), "item 20 of 20", |store, group| {
            let at = Timestamp(1);
            let beyond = [
                Entry::Resumed { at },
                Entry::Started { at },
                ended(20, End::Succeeded("1")),
            ];
            append(store, group, THREE, &beyond);
        }),
        (
            K::Batch,
            Some(ONE),
            "cannot take the event",
            |store, group| {
                append(store, group, ONE, &[ended(0, End::Succeeded("1"))]);
            },
        ),
        (K::Item, Some(THREE), "not JSON", |store, group| {
            let at = Timestamp(1);
            let last = [
                Entry::Resumed { at },
                Entry::Started { at },
                ended(19, End::Succeeded("{")),
            ];
            append(store, group, THREE, &last);
        }),
        (
            K::Batch,
            Some(ONE),
            "20 items succeeded and 19 failed",
            |store, group| {
                changed::<Summary>(store, group, keys::summary(ONE), |summary| {
                    summary.failed -= 1
                });
            },
        ),
        (
            K::Batch,
            Some(ONE),
            "1 items are in doubt; by its journal 0",
            |store, group| {
                changed::<Summary>(store, group, keys::summary(ONE), |summary| {
                    summary.in_doubt = 1;
                });
            },
        ),
        (
            K::Item,
            Some(ONE),
            "resolved and was not in doubt",
            |store, group| {
                let item = ItemEntry {
                    index: 0,
                    attempt: 1,
                    end: End::Succeeded("1"),
                };
                append(store, group, ONE, &[Entry::Resolved(item)]);
            },
        ),
        (K::Batch, Some(ONE), "failures by code", |store, group| {
            changed::<Summary>(store, group, keys::summary(ONE), |summary| {
                summary.failures.insert("even".to_owned(), 1);
            });
        }),
        (K::Batch, Some(ONE), "it is stopped", |store, group| {
            changed::<Summary>(store, group, keys::summary(ONE), |summary| {
                summary.state = State::Stopped;
            });
        }),
        (K::Batch, Some(ONE), "another time", |store, group| {
            changed::<Summary>(store, group, keys::summary(ONE), |summary| {
                summary.ended_at = Some(Timestamp(7));
            });
        }),
        (K::Batch, Some(ONE), "both ended and not", |_, group| {
            put(group, keys::unfinished(ONE), &Unfinished { position: 1 });
        }),
        (
            K::Batch,
            Some(FOUR),
            "neither unfinished nor",
            |_, group| {
                group.remove(keys::unfinished(FOUR));
            },
        ),
        (
            K::Batch,
            Some(ONE),
            "completed by its journal",
            |_, group| {
                group.remove(keys::summary(ONE));
                put(group, keys::unfinished(ONE), &Unfinished { position: 1 });
            },
        ),
        (K::IdempotencyKey, None, "of batch 5", |_, group| {
            let used = UsedKey {
                batch: BatchId(5),
                content: [0; 32],
                expires_at: Timestamp(u64::MAX),
            };
            put(group, keys::idempotency(&[7; 32]), &used);
        }),
        (K::Retry, Some(TWO), "has 0 listed for it", |_, group| {
            group.remove(keys::retried(ONE, TWO, 0));
        }),
        (
            K::Item,
            Some(ONE),
            "though it has not failed",
            |_, group| {
                put(group, keys::retried(ONE, THREE, 0), &vec![0_u16]);
            },
        ),
        (
            K::Item,
            Some(ONE),
            "batches 2 and 3 both run it again",
            |_, group| {
                put(group, keys::retried(ONE, THREE, 0), &vec![1_u16]);
            },
        ),
        (
            K::Retry,
            Some(BatchId(9)),
            "next new one is 5",
            |_, group| {
                put(group, keys::retried(ONE, BatchId(9), 0), &Vec::<u16>::new());
            },
        ),
        (K::Retry, Some(THREE), "came before it", |_, group| {
            put(group, keys::retried(THREE, ONE, 0), &Vec::<u16>::new());
        }),
        (
            K::Retry,
            Some(TWO),
            "runs items of batch 3",
            |store, group| {
                changed::<Header>(store, group, keys::header(TWO), |header| {
                    header.origin.as_mut().unwrap().parent = THREE;
                });
            },
        ),
    ];
    for (kind, batch, says, change) in wrong {
        assert_found(&with(change), *kind, *batch, says);
    }
}

/// Past the committer, so that the sums do not follow.
fn behind_its_back(writes: impl FnOnce(&dyn Store, &mut Writes)) -> MemoryDisk {
    let disk = sound();
    let store = disk.open().unwrap();
    let sequence = meta(&store).sequence;
    let mut changed = Writes::default();
    writes(&store, &mut changed);
    store.commit(sequence, changed).unwrap();
    disk
}

#[test]
fn rows_that_are_lost_whole_are_found_by_the_sums() {
    let lost = behind_its_back(|_, writes| {
        writes.remove([keys::table("sums"), 2_u64.to_be_bytes().to_vec()].concat());
    });
    assert_found(&lost, FindingKind::Rows, None, "table \"sums\"");
    let lost = behind_its_back(|store, writes| {
        let range = keys::idempotency_after(None);
        let row = store.scan(&range.start, &range.end).next().unwrap();
        writes.remove(row.unwrap().0.to_vec());
    });
    assert_found(&lost, FindingKind::Rows, None, "the engine's own records");
    let strange = behind_its_back(|_, writes| {
        let key = [keys::table("new"), vec![1]].concat();
        writes.put(key.clone(), encode(&key, &1).unwrap());
    });
    assert_found(&strange, FindingKind::Rows, None, "unknown table \"new\"");
}

#[test]
fn a_missing_or_old_meta_record_is_found() {
    let missing = behind_its_back(|_, writes| writes.remove(keys::META.to_vec()));
    assert_found(&missing, FindingKind::Meta, None, "missing");
    let store = sound();
    let store = store.open().unwrap();
    let found = check_opened(&store, store.sealed_sequence() + 1);
    assert_eq!(found.findings[0].kind, FindingKind::Seal);
    assert_eq!(found.finding_count, 1);
}

#[test]
fn a_full_verification_at_open_refuses_and_a_quick_one_does_not() {
    let open = |verify| {
        let disk = with(|store, group| {
            changed::<Summary>(store, group, keys::summary(ONE), |summary| {
                summary.failed -= 1
            });
        });
        let queue = Queue::builder("").register(Add).verify(verify);
        queue.open_in_memory(&disk)
    };
    assert!(open(Verify::Quick).is_ok());
    match open(Verify::Full) {
        Err(OpenError::Damaged { what, .. }) => assert!(what.contains("batch 1"), "{what}"),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn what_recovery_cannot_go_on_from_is_damage_without_a_verification_too() {
    type Wrong = fn(&dyn Store, &mut Group);
    let wrong: [(&str, Wrong); 4] = [
        ("batch 1 is both ended and unfinished", |_, group| {
            put(group, keys::unfinished(ONE), &Unfinished { position: 1 });
        }),
        ("3 entries for 20 items", |_, group| {
            put(group, keys::key_hashes(FOUR, 0), &vec![1_u64, 2, 3]);
        }),
        ("ordering keys of batch 4 are missing", |_, group| {
            group.remove(keys::key_hashes(FOUR, 0));
        }),
        ("journal of batch 4: ", |_, group| {
            let key = keys::segment(FOUR, 0);
            let mut segment = Unsealed::with_capacity(64);
            segment.append_encoded(&[0xff; 9]);
            group.put(key.clone(), segment.seal(&key));
        }),
    ];
    for (says, wrong) in wrong {
        let queue = Queue::builder("").register(Add).verify(Verify::Quick);
        match queue.open_in_memory(&with(wrong)) {
            Err(OpenError::Damaged { what, .. }) => assert!(what.contains(says), "{what}"),
            other => panic!("{says}: not refused: {other:?}"),
        }
    }
}

#[test]
fn what_a_failure_says_must_be_json_too() {
    let disk = with(|store, group| {
        let at = Timestamp(1);
        let failure = FailureEntry {
            code: "c".into(),
            message: "m".into(),
            field: None,
            details: Some("[".into()),
            retryable: false,
        };
        let last = [
            Entry::Resumed { at },
            Entry::Started { at },
            ended(19, End::Failed(failure)),
        ];
        append(store, group, THREE, &last);
    });
    assert_found(&disk, FindingKind::Item, Some(THREE), "not JSON");
}
