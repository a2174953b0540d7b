//! A copy of the directory that is put back: what ran since runs again, and nothing gets a key that was used.

use crate::harness::{AMPLE, Bystander, Call, Ends, Log, Tested, fresh, queue_in};
use batchwright::{BatchId, Failure, OpenError, Queue};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn copy_directory(from: &Path, to: &Path) -> Tested {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[test]
fn a_restored_backup_keeps_the_keys_of_its_items_and_gives_new_ones_new_keys() -> Tested {
    let (_, clock) = fresh();
    let dir = tempfile::tempdir()?;
    let (original, backup) = (dir.path().join("original"), dir.path().join("backup"));
    let met: Log<(BatchId, String)> = Log::new();
    let open = |dir: &Path| -> Result<Queue, OpenError> {
        let met = met.clone();
        let call = Call::new(move |n, cx| {
            met.push((cx.batch_id(), cx.idempotency_key().to_string()));
            match n {
                13 => Err(Failure::permanent("unlucky", "13")),
                _ => Ok(n),
            }
        });
        queue_in(dir, &clock).register(call).open()
    };
    let queue = open(&original)?;
    let bystander = Bystander::enter(&queue)?;
    queue.pause("call", "a backup is made")?;
    let old = queue.submit::<Call>([1])?.id();
    queue.shutdown(AMPLE)?;
    copy_directory(&original, &backup)?;

    for dir in [&original, &backup] {
        clock.advance(Duration::from_millis(1));
        let queue = open(dir)?;
        queue.unpause("call")?;
        queue.batch(old)?.ends()?;
        let new = queue.submit::<Call>([13])?;
        new.ends()?;
        queue.shutdown(AMPLE)?;
        // Run again later, and after a restart, an item has the key that it had.
        clock.advance(Duration::from_millis(1));
        let queue = open(dir)?;
        queue.batch(new.id())?.retry_failed()?.ends()?;
        queue.shutdown(AMPLE)?;
        let queue = open(dir)?;
        bystander.assert_unchanged(&queue);
        queue.shutdown(AMPLE)?;
    }
    let met = met.entries();
    let [first, lost, lost_again, second, new, new_again] = &met[..] else {
        return Err(format!("{met:?}").into());
    };
    assert_eq!(first, second);
    assert_eq!((lost.0, &lost.1), (new.0, &lost_again.1));
    assert_eq!(new.1, new_again.1);
    assert_ne!(lost.1, new.1);
    Ok(())
}
