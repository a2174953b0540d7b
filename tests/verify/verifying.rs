//! What `verify` looks at, what it leaves alone, and whom it refuses.

use crate::store::{Tested, builder, contents, dir_in, written};
use batchwright::{FindingKind, OpenError, Verify, VerifyError, verify, verify_with};
use std::fs;
use tempfile::TempDir;

/// The store to the byte and the millisecond, and what is beside it.
fn whole(parent: &TempDir) -> Tested<impl PartialEq + use<>> {
    let mut beside = Vec::new();
    for entry in fs::read_dir(parent.path())? {
        beside.push(entry?.file_name());
    }
    Ok((contents(&dir_in(parent))?, beside))
}

#[test]
fn a_sound_store_is_found_sound_and_stays_as_it_is_to_the_byte() -> Tested {
    let parent = written()?;
    let dir = dir_in(&parent);
    let before = whole(&parent)?;
    let found = verify(&dir)?;
    assert!(found.is_clean(), "{found}");
    assert_eq!(found.batches, 27);
    assert!(found.table_rows == 45 && found.outcomes > 1_400, "{found}");
    assert!(whole(&parent)? == before, "something was changed or left");
    builder(&dir).verify(Verify::Full).open()?;
    Ok(())
}

#[test]
fn a_damaged_store_stays_as_it_is_to_the_byte_and_what_is_wrong_is_told() -> Tested {
    let sound = written()?;
    let length = fs::metadata(dir_in(&sound).join("store/db"))?.len();
    drop(sound);
    for (kind, name, cut) in [
        (FindingKind::Seal, "seal", None),
        (FindingKind::File, "store/conf", None),
        (FindingKind::File, "store/db", None),
        (FindingKind::File, "store/db", Some(length / 2)),
        (FindingKind::File, "store/db", Some(0)),
        (FindingKind::Seal, "seal", Some(30)),
    ] {
        let parent = written()?;
        let dir = dir_in(&parent);
        let path = dir.join(name);
        match cut {
            Some(length) => fs::OpenOptions::new()
                .write(true)
                .open(&path)?
                .set_len(length)?,
            None => fs::remove_file(&path)?,
        }
        let before = whole(&parent)?;
        let (found, looked) = verify_with(&dir, |_| ())?;
        assert!(
            found.findings.iter().any(|finding| finding.kind == kind),
            "{name}: {found}"
        );
        let text = found.to_string();
        // It speaks of the store, not of its copy.
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(!text.contains("batchwright-copy-"), "{text}");
        assert!(looked.is_none(), "{name}");
        assert!(
            whole(&parent)? == before,
            "{name}: something was changed or left"
        );
    }
    Ok(())
}

#[test]
fn a_store_in_use_is_refused_and_one_without_its_lock_file_is_not() -> Tested {
    let parent = written()?;
    let dir = dir_in(&parent);
    let queue = builder(&dir).open()?;
    match verify(&dir) {
        Err(VerifyError::Open(OpenError::Locked { pid, .. })) => {
            assert_eq!(pid, Some(std::process::id()));
        }
        other => return Err(format!("not refused: {other:?}").into()),
    }
    drop(queue);
    fs::remove_file(dir.join("LOCK"))?;
    let before = whole(&parent)?;
    let found = verify(&dir)?;
    assert!(found.is_clean(), "{found}");
    assert!(whole(&parent)? == before);
    Ok(())
}

#[test]
fn where_there_is_no_store_it_is_said_so_and_nothing_is_made() -> Tested {
    let parent = tempfile::tempdir()?;
    let missing = parent.path().join("missing");
    assert!(matches!(verify(&missing), Err(VerifyError::NoStore { .. })));
    assert!(matches!(
        verify(parent.path()),
        Err(VerifyError::NoStore { .. })
    ));
    fs::write(parent.path().join("LOCK"), "batchwright 1\n")?;
    assert!(matches!(
        verify(parent.path()),
        Err(VerifyError::NoStore { .. })
    ));
    assert_eq!(fs::read_dir(parent.path())?.count(), 1);
    fs::remove_file(parent.path().join("LOCK"))?;
    fs::write(parent.path().join("diary.txt"), "mine")?;
    let foreign = verify(parent.path());
    assert!(
        matches!(foreign, Err(VerifyError::Open(OpenError::NotAStore { .. }))),
        "{foreign:?}"
    );
    Ok(())
}

#[test]
fn a_look_at_the_copy_changes_nothing_in_the_store() -> Tested {
    let parent = written()?;
    let dir = dir_in(&parent);
    let before = whole(&parent)?;
    let (found, statuses) = verify_with(&dir, |queue| {
        queue.unpause("echo").ok();
        queue.prune(std::time::Duration::ZERO)
    })?;
    assert!(found.is_clean(), "{found}");
    assert!(statuses.ok_or("no queue")?? > 20);
    assert!(whole(&parent)? == before);
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_store_behind_a_link_is_verified_and_links_in_it_are_refused() -> Tested {
    let parent = written()?;
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(dir_in(&parent), &link)?;
    assert!(verify(&link)?.is_clean());
    let seal = dir_in(&parent).join("seal");
    fs::rename(&seal, parent.path().join("elsewhere"))?;
    std::os::unix::fs::symlink(parent.path().join("elsewhere"), &seal)?;
    let refused = verify(&link);
    assert!(
        matches!(refused, Err(VerifyError::Open(OpenError::NotAFile { .. }))),
        "{refused:?}"
    );
    Ok(())
}
