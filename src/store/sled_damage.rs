//! Damaged stores and interrupted creations, built by hand: what opening them says, and what it leaves.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use super::Store;
use super::seal::{Seal, Sealed};
use super::sled_store::tests::{assert_whole, open, put, written};
use crate::error::OpenError;

/// Every file below the directory with its bytes, and every directory; `LOCK` aside.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            found.insert(path, None);
        } else if path.file_name().unwrap() != "LOCK" {
            found.insert(path.clone(), Some(fs::read(&path).unwrap()));
        }
    }
    found
}

#[track_caller]
fn assert_damaged_and_untouched(dir: &Path, says: &str) {
    let before = contents(dir);
    match open(dir) {
        Err(OpenError::Damaged {
            what,
            touched: false,
            ..
        }) => {
            assert!(what.contains(says), "{what}");
        }
        other => panic!("not damaged: {other:?}"),
    }
    assert!(contents(dir) == before, "something was changed");
}

#[track_caller]
fn assert_opens_fresh(dir: &Path, after: &str) {
    let opened = open(dir).unwrap_or_else(|error| panic!("after {after}: {error}"));
    assert!(opened.created, "after {after}");
    assert_eq!(opened.store.sealed_sequence(), 0);
    assert_eq!(&*opened.store.get(b"initial").unwrap().unwrap(), b"row");
    opened.store.commit(2, put(b"a", b"1")).unwrap();
    drop(opened);
    let opened = open(dir).unwrap();
    assert!(!opened.created);
    assert_eq!(opened.store.sealed_sequence(), 2);
    let names: Vec<_> = contents(dir).into_keys().collect();
    assert!(
        !names
            .iter()
            .any(|name| name.to_string_lossy().contains("new")),
        "{names:?}"
    );
}

fn set_len(path: &Path, length: u64) {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(length)
        .unwrap();
}

fn flip_byte(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Adds to a directory what one step of a creation leaves.
type Build<'a> = &'a dyn Fn(&Path);

#[test]
fn a_creation_interrupted_anywhere_opens_fresh() {
    let complete = tempfile::tempdir().unwrap();
    drop(open(complete.path()).unwrap());
    let at = |name: &str| complete.path().join(name);
    let creation_seal = |path: &Path| {
        Seal::create(
            path,
            Sealed {
                sequence: 0,
                data_bytes: 1,
                tail_lsn: 0,
                doubted: false,
            },
        )
        .unwrap();
    };
    let stages: [(&str, Build); 8] = [
        ("an empty LOCK", &|dir| {
            fs::write(dir.join("LOCK"), "").unwrap()
        }),
        ("LOCK", &|dir| {
            fs::write(dir.join("LOCK"), "batchwright 1\n").unwrap()
        }),
        ("an empty store.new", &|dir| {
            fs::create_dir(dir.join("store.new")).unwrap()
        }),
        ("an empty data file", &|dir| {
            fs::write(dir.join("store.new/db"), "").unwrap()
        }),
        ("a torn data file and conf", &|dir| {
            let data = fs::read(at("store/db")).unwrap();
            fs::write(dir.join("store.new/db"), &data[..data.len() / 2]).unwrap();
            fs::write(dir.join("store.new/conf"), "segm").unwrap();
        }),
        ("a complete store.new", &|dir| {
            fs::copy(at("store/db"), dir.join("store.new/db")).unwrap();
            fs::copy(at("store/conf"), dir.join("store.new/conf")).unwrap();
            fs::create_dir(dir.join("store.new/blobs")).unwrap();
        }),
        ("a torn seal.new", &|dir| {
            creation_seal(&dir.join("seal.new"));
            set_len(&dir.join("seal.new"), 20);
        }),
        ("the seal", &|dir| {
            creation_seal(&dir.join("seal.new"));
            fs::rename(dir.join("seal.new"), dir.join("seal")).unwrap();
        }),
    ];
    for last in 0..stages.len() {
        let dir = tempfile::tempdir().unwrap();
        for (_, build) in &stages[..=last] {
            build(dir.path());
        }
        assert_opens_fresh(dir.path(), stages[last].0);
    }
}

#[test]
fn leftovers_of_an_interrupted_open_are_removed() {
    let dir = written();
    let snapshot = dir.path().join("store/snap.0000000000FF0000.generating");
    fs::write(&snapshot, "torn").unwrap();
    fs::create_dir(dir.path().join("store.new")).unwrap();
    fs::write(dir.path().join("store.new/db"), "torn").unwrap();
    fs::write(dir.path().join("seal.new"), "torn").unwrap();
    let opened = open(dir.path()).unwrap();
    assert_whole(&opened.store);
    assert!(!snapshot.exists());
    assert!(!dir.path().join("store.new").exists());
    assert!(!dir.path().join("seal.new").exists());
}

#[test]
fn a_missing_seal_is_damage() {
    let dir = written();
    fs::remove_file(dir.path().join("seal")).unwrap();
    assert_damaged_and_untouched(dir.path(), "seal is missing");
}

#[test]
fn a_seal_with_both_slots_torn_is_damage_and_with_one_torn_is_fine() {
    let dir = written();
    let seal = dir.path().join("seal");
    flip_byte(&seal, 16);
    let opened = open(dir.path()).unwrap();
    assert!([8, 9].contains(&opened.store.sealed_sequence()));
    assert_whole(&opened.store);
    drop(opened);
    flip_byte(&seal, 16);
    flip_byte(&seal, 4096 + 16);
    assert_damaged_and_untouched(dir.path(), "unreadable");
}

#[test]
fn a_truncated_data_file_is_damage() {
    let full = fs::metadata(written().path().join("store/db"))
        .unwrap()
        .len();
    for length in [0, 1, 19, 20, 4096, full / 2, full - 1] {
        let dir = written();
        let data = dir.path().join("store/db");
        let sealed = fs::metadata(&data).unwrap().len();
        set_len(&data, length.min(sealed - 1));
        assert_damaged_and_untouched(dir.path(), "bytes");
    }
}

/// The canary of the seal: with one that knows of nothing, sled takes what is left of its log for all of it.
#[test]
fn without_what_the_seal_says_a_lost_end_would_go_unnoticed() {
    let dir = written();
    // The commits are 20,000 bytes each, in their order.
    set_len(&dir.path().join("store/db"), 100_000);
    assert_damaged_and_untouched(dir.path(), "bytes");
    let seal = dir.path().join("seal");
    fs::remove_file(&seal).unwrap();
    let knows_nothing = Sealed {
        sequence: 0,
        data_bytes: 0,
        tail_lsn: 0,
        doubted: false,
    };
    Seal::create(&seal, knows_nothing).unwrap();
    let opened = open(dir.path()).unwrap();
    assert!(opened.store.get(&[2]).unwrap().is_some());
    assert_eq!(opened.store.get(&[9]).unwrap(), None);
}

#[test]
fn missing_files_and_side_files_are_damage() {
    for name in ["db", "conf"] {
        let dir = written();
        fs::remove_file(dir.path().join("store").join(name)).unwrap();
        assert_damaged_and_untouched(dir.path(), name);
    }
    let dir = written();
    set_len(&dir.path().join("store/conf"), 4);
    assert_damaged_and_untouched(dir.path(), "conf");
    let dir = written();
    fs::write(dir.path().join("store/blobs/17"), "a value").unwrap();
    assert_damaged_and_untouched(dir.path(), "blobs");
}

#[test]
fn a_missing_store_is_damage_once_something_was_acknowledged() {
    let dir = written();
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    assert_damaged_and_untouched(dir.path(), "commit 9 was acknowledged");
    flip_byte(&dir.path().join("seal"), 16);
    flip_byte(&dir.path().join("seal"), 4096 + 16);
    assert_damaged_and_untouched(dir.path(), "seal");
}

#[test]
fn what_only_sled_finds_is_damage_and_says_that_files_were_touched() {
    let dir = written();
    let conf = dir.path().join("store/conf");
    let text = String::from_utf8_lossy(&fs::read(&conf).unwrap()).replace("8388608", "4194304");
    fs::write(&conf, text).unwrap();
    let result = open(dir.path());
    assert!(
        matches!(result, Err(OpenError::Damaged { touched: true, .. })),
        "{result:?}"
    );
    // The failed open has let go of everything.
    assert!(matches!(
        open(dir.path()),
        Err(OpenError::Damaged { touched: true, .. })
    ));
}
