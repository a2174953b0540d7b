//! The process's working directory, and files that child processes must not have.

use crate::child;
use crate::harness::{AMPLE, Bystander, Call, Ends, Tested, queue_in};
use batchwright::State;
use batchwright::testing::ManualClock;
use std::path::Path;

#[test]
fn a_relative_directory_stays_what_it_was_when_the_process_changes_its_own() -> Tested {
    child::plays("directories::moves_away").map(drop)
}

pub(crate) fn moves_away(dir: &Path) -> Tested {
    let (home, away) = (dir.join("home"), dir.join("away"));
    std::fs::create_dir(&home)?;
    std::fs::create_dir(&away)?;
    std::env::set_current_dir(&home)?;
    let clock = ManualClock::new();
    let open = |dir: &Path| queue_in(dir, &clock).register(Call::echo()).open();
    let queue = open(Path::new("queue"))?;
    let bystander = Bystander::enter(&queue)?;
    let before = queue.submit::<Call>([1])?;
    before.ends()?;
    std::env::set_current_dir(&away)?;
    // More than a segment of the storage engine, so that it needs new files or space.
    for _ in 0..12 {
        let batch = queue.submit::<Call>(0..1_000)?;
        assert_eq!(batch.ends()?.status.succeeded, 1_000);
    }
    assert!(queue.stats()?.size_on_disk > 0);
    assert_eq!(before.outcomes()?.count(), 1);
    queue.shutdown(AMPLE)?;
    let here: Vec<_> = std::fs::read_dir(&away)?.collect();
    assert!(here.is_empty(), "{here:?}");
    let queue = open(&home.join("queue"))?;
    let status = queue.batch(before.id())?.status()?;
    assert_eq!(status.state, State::Completed);
    bystander.assert_unchanged(&queue);
    Ok(())
}

#[test]
#[cfg(unix)]
fn a_program_that_the_application_starts_has_no_file_of_the_queue() -> Tested {
    child::plays("directories::spawns").map(drop)
}

pub(crate) fn spawns(dir: &Path) -> Tested {
    use std::process::{Command, Stdio};
    let dir = dir.canonicalize()?;
    let clock = ManualClock::new();
    let queue = queue_in(&dir, &clock).register(Call::echo()).open()?;
    let bystander = Bystander::enter(&queue)?;
    // Lives until its standard input ends.
    let mut program = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let of_queue = |process: &str| -> Vec<_> {
        let files = child::descriptors(process);
        files
            .into_iter()
            .filter(|file| file.starts_with(&dir))
            .collect()
    };
    let has = of_queue(&program.id().to_string());
    assert!(has.is_empty(), "{has:?}");
    if cfg!(target_os = "linux") {
        // The look is no blind one.
        assert!(!of_queue("self").is_empty());
    }
    assert_eq!(queue.submit::<Call>([1])?.ends()?.status.succeeded, 1);
    queue.shutdown(AMPLE)?;
    let queue = queue_in(&dir, &clock).open()?;
    bystander.assert_unchanged(&queue);
    assert!(program.try_wait()?.is_none(), "it ended before it was to");
    drop(program.stdin.take());
    program.wait()?;
    Ok(())
}
