//! The same on a real file system: ext4 in a file in memory, on a loop device.
//!
//! While a process works, it is stopped at random moments, and the file is copied: that is what the disk held then.
//! What the file system had only in its memory is missing in the copy. A copy is used only if the device wrote nothing
//! meanwhile, by its own count. It is mounted, which replays ext4's journal, and checked like any image.
//!
//! It proves that the library's syncs are enough for the order in which ext4 really writes, names and lengths
//! included. It proves nothing of disks that lose or reorder what they were given: the model of a disk does.
//!
//! Needs root, `mkfs.ext4` and loop devices: `cargo test -p disk-faults -- --ignored ext4 --nocapture`.
//! `BATCHWRIGHT_COPIES` says how many copies are to be checked, 20 otherwise.

use crate::books::Books;
use crate::cuts::{report, within_time};
use crate::image::Dice;
use crate::recording::{entries, said};
use crate::run::{Run, Tested, scratch};
use crate::script::store_dir;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

const IMAGE_BYTES: u64 = 192 << 20;

/// A mounted image. Dropping it unmounts it.
struct Mount {
    place: PathBuf,
    image: PathBuf,
}

impl Mount {
    fn new(image: &Path, place: &Path) -> Tested<Self> {
        fs::create_dir_all(place)?;
        run("mount", &["-o", "loop", &text(image), &text(place)])?;
        Ok(Self {
            place: place.to_owned(),
            image: image.to_owned(),
        })
    }

    /// What the device has written so far; none while it is writing.
    fn written(&self) -> Tested<Option<u64>> {
        let listed = Command::new("losetup")
            .arg("-j")
            .arg(&self.image)
            .output()?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let device = listed.split(':').next().unwrap_or_default();
        let device = device.trim_start_matches("/dev/");
        let counts = fs::read_to_string(format!("/sys/block/{device}/stat"))?;
        let counts: Vec<u64> = counts.split_whitespace().flat_map(str::parse).collect();
        // Documented by the kernel: writes completed, and in flight.
        let [.., writes, _, _, _, in_flight, _, _] = counts[..11] else {
            return Err("a device without counts".into());
        };
        Ok((in_flight == 0).then_some(writes))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever still uses it keeps it until the end of this process.
        let _ = run("umount", &["-l", &text(&self.place)]);
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn run(program: &str, arguments: &[&str]) -> Tested {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{program} {arguments:?}: {error}").into());
    }
    Ok(())
}

#[test]
#[ignore = "needs root and loop devices; see the head of the file"]
fn ext4_holds_what_was_acknowledged_at_any_moment() -> Tested {
    let wanted: u64 = match std::env::var("BATCHWRIGHT_COPIES") {
        Ok(copies) => copies.parse()?,
        Err(_) => 20,
    };
    let (mut copies, mut round) = (0, 0);
    while copies < wanted {
        copies += watch_a_run(round, wanted - copies, false)?;
        round += 1;
    }
    report(&format!(
        "{copies} copies of an ext4 image checked, of {round} runs"
    ));
    Ok(())
}

/// The copies must notice an acknowledgement that comes before its commit. Without the library's syncs they lose
/// nothing: the storage engine writes over what is already allocated, and this device keeps what `sync_file_range`
/// brings to it, because it has no cache of its own.
#[test]
#[ignore = "needs root and loop devices; see the head of the file"]
fn ext4_shows_a_hasty_acknowledgement() -> Tested {
    for round in 0..20 {
        if let Err(error) = watch_a_run(round, 40, true) {
            let error = error.to_string();
            assert!(error.contains("LostBatch"), "for another reason: {error}");
            return Ok(());
        }
    }
    Err("nothing was lost".into())
}

/// A run on a new file system, and at most `wanted` copies of it.
fn watch_a_run(round: u64, wanted: u64, hasty: bool) -> Tested<u64> {
    let scratch = scratch()?;
    let image = scratch.path().join("image");
    fs::File::create(&image)?.set_len(IMAGE_BYTES)?;
    run("mkfs.ext4", &["-q", "-F", &text(&image)])?;
    let mut script = Run::new(scratch.path(), 10);
    script.sessions = 6;
    script.hasty = hasty;
    let mount = Mount::new(&image, &script.watched())?;
    let mut child = script.spawn()?;
    let watched = copy_now_and_then(&script, &mount, &mut child, round, wanted);
    // The last of it, if it has not ended by itself.
    child.kill()?;
    child.wait()?;
    watched
}

fn copy_now_and_then(
    script: &Run<'_>,
    mount: &Mount,
    child: &mut Child,
    round: u64,
    wanted: u64,
) -> Tested<u64> {
    let mut dice = Dice::new(round);
    let mut copies = 0;
    while copies < wanted {
        // The moment is to be any, so that nothing is waited for but time.
        sleep(Duration::from_millis(dice.roll(60) as u64));
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                return Err(format!("the script ended with {status}").into());
            }
            return Ok(copies);
        }
        let pid = child.id().to_string();
        run("kill", &["-STOP", &pid])?;
        let copy = script.scratch.join("copy");
        if copy_at_one_moment(mount, &copy)? {
            let mut books = Books::default();
            for entry in entries(&fs::read(script.log())?) {
                said(&entry).iter().for_each(|line| books.hear(line));
            }
            check(&copy, script.scratch, books)?;
            copies += 1;
        }
        run("kill", &["-CONT", &pid])?;
    }
    Ok(copies)
}

/// False if the device wrote something meanwhile.
fn copy_at_one_moment(mount: &Mount, copy: &Path) -> Tested<bool> {
    let before = mount.written()?;
    run("cp", &["--sparse=always", &text(&mount.image), &text(copy)])?;
    Ok(before.is_some() && before == mount.written()?)
}

fn check(copy: &Path, scratch: &Path, books: Books) -> Tested {
    let place = scratch.join("copy-mounted");
    let _mount = Mount::new(copy, &place)?;
    within_time(books, store_dir(&place)).map_err(|finding| finding.to_string().into())
}
