//! Who may read what is created, and links that somebody has put in the place of the store's files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::Directory;
use super::sled_store::tests::{open, written};
use crate::error::OpenError;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// Everything below the directory.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

#[test]
fn what_is_created_is_for_its_owner_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new/store");
    drop(open(&dir).unwrap());
    assert_eq!(mode(&dir), 0o700);
    let mut files = Vec::new();
    for path in below(&dir) {
        let name = path.strip_prefix(&dir).unwrap().display().to_string();
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        // What sled creates later is below a directory of mode 0700.
        if !name.starts_with("store/snap.") {
            assert_eq!(mode(&path), expected, "{name}");
        }
        files.push(name);
    }
    for name in [
        "LOCK",
        "seal",
        "store",
        "store/db",
        "store/conf",
        "store/blobs",
    ] {
        assert!(files.iter().any(|file| file == name), "{name} in {files:?}");
    }
}

#[test]
fn a_directory_that_exists_keeps_its_mode() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
    drop(open(dir.path()).unwrap());
    assert_eq!(mode(dir.path()), 0o750);
    assert_eq!(mode(&dir.path().join("store")), 0o700);
}

#[track_caller]
fn assert_refused(dir: &Path, link: &Path) {
    match open(dir) {
        Err(OpenError::NotAFile { path, is_link }) => {
            assert_eq!((path.as_path(), is_link), (link, true));
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_link_in_the_place_of_a_file_is_refused_and_what_it_leads_to_is_left_alone() {
    let names = [
        "LOCK",
        "seal",
        "seal.new",
        "marks",
        "store",
        "store.new",
        "store/db",
        "store/conf",
        "store/blobs",
        "store/snap.0000000000FF0000.generating",
        "store/blobs/17",
    ];
    for name in names {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().join("target");
        let dir = written();
        let link = dir.path().join(name);
        if link.exists() {
            // The store works as well with it there: only that it is a link is wrong.
            fs::rename(&link, &target).unwrap();
        } else {
            fs::write(&target, "mine").unwrap();
        }
        let before: Vec<_> = below(outside.path())
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| {
                (
                    fs::read(&path).unwrap(),
                    fs::metadata(&path).unwrap().modified().unwrap(),
                )
            })
            .collect();
        symlink(&target, &link).unwrap();
        assert_refused(dir.path(), &link);
        let after: Vec<_> = below(outside.path())
            .into_iter()
            .filter(|path| path.is_file())
            .map(|path| {
                (
                    fs::read(&path).unwrap(),
                    fs::metadata(&path).unwrap().modified().unwrap(),
                )
            })
            .collect();
        assert!(before == after, "{name} led to something that was changed");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}

/// A link that leads nowhere would be followed when the file is created.
#[test]
fn a_dangling_link_creates_nothing_where_it_leads() {
    let outside = tempfile::tempdir().unwrap();
    for name in ["LOCK", "seal.new", "store.new"] {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join(name);
        symlink(outside.path().join("target"), &link).unwrap();
        assert_refused(dir.path(), &link);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_refused_and_not_waited_for() {
    for name in ["LOCK", "seal", "store/db"] {
        let dir = written();
        let path = dir.path().join(name);
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            return;
        }
        let opened = open(dir.path());
        assert!(
            matches!(opened, Err(OpenError::NotAFile { is_link: false, .. })),
            "{opened:?}"
        );
    }
}

#[test]
fn the_directory_itself_may_be_reached_through_a_link() {
    let real = written();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(real.path(), &link).unwrap();
    drop(open(&link).unwrap());
    drop(Directory::lock(&link).unwrap());
}
