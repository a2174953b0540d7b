//! Power cuts: a run is recorded, and what it may have left on the disk at any moment is opened and checked.

use crate::books::{Books, Checked, Reason, found};
use crate::disk::Disk;
use crate::image::{Dice, Image};
use crate::recording::{Recording, Step, calls, said};
use crate::run::{Run, Tested, scratch};
use crate::script::store_dir;
use crate::work::{SEEDS, is_large, mix};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A store takes milliseconds; one that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Images of one recording: then there is a new one, so that campaigns see many schedules of threads.
const IMAGES_PER_RECORDING: usize = 500;

/// The same of a recording of large batches, whose images take a hundred times as long.
const LARGE_IMAGES_PER_RECORDING: usize = 8;

/// An image to be checked.
struct Exhibit {
    directory: PathBuf,
    books: Books,
    /// What it takes to make it again.
    name: String,
}

/// What came of many images.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) images: usize,
    /// With the name of the first image of each reason.
    pub(crate) findings: BTreeMap<Reason, (usize, String)>,
}

impl Tally {
    fn add(&mut self, name: &str, checked: Checked) {
        self.images += 1;
        if let Err(finding) = checked {
            let first = format!("{name}: {finding}");
            let (count, _) = self.findings.entry(finding.reason).or_insert((0, first));
            *count += 1;
        }
    }
}

/// A recorded run: creation and work in a process that is killed, recovery and work in another one that ends, and
/// the next recovery.
pub(crate) fn record(seed: u64, change: impl Fn(&mut Run<'_>)) -> Tested<Recording> {
    let scratch = scratch()?;
    let mut run = Run::new(scratch.path(), seed * SEEDS);
    let mut recording = Recording::default();
    recording.root = run.watched().to_string_lossy().into_owned();
    change(&mut run);
    let fault = std::mem::take(&mut run.fault);
    let whole = run.run()?;
    let calls = u64::try_from(calls(&whole.log))?;
    if calls == 0 || !whole.status.success() {
        return Err(format!("the script ended with {}: {}", whole.status, whole.stderr).into());
    }
    std::fs::remove_dir_all(run.watched())?;

    // Killed anywhere, or not at all; or struck by what the caller has for it.
    let at = mix(seed) % (calls + calls / 4);
    run.fault = format!("{at} once kill-quiet");
    if !fault.is_empty() {
        run.fault = fault;
    }
    recording.add(run.run()?.log);
    run.fault.clear();
    run.seed += SEEDS / 2;
    recording.add(run.run()?.log);
    Ok(recording)
}

/// Draws `wanted` different images of the recording and gives them to `check`.
fn draw(
    recording: &Recording,
    seed: u64,
    wanted: usize,
    mut give: impl FnMut(Image, &Books, String),
) {
    let steps = recording.steps();
    let mut dice = Dice::new(seed);
    // Half as many again, because some are drawn twice.
    let mut cuts: Vec<usize> = (0..wanted + wanted / 2)
        .map(|_| dice.roll(steps.len()) + 1)
        .collect();
    cuts.sort_unstable();
    let mut disk = Disk::new(&recording.root);
    let mut books = Books::default();
    let mut seen = HashSet::new();
    let mut done = 0;
    for (draw, cut) in cuts.into_iter().enumerate() {
        for step in &steps[done..cut] {
            disk.step(*step);
            if let Step::Entry(entry) = step {
                said(entry).iter().for_each(|line| books.hear(line));
            }
        }
        done = cut;
        let image_seed = mix(seed ^ mix(draw as u64));
        let image = Image::draw(&disk, &mut Dice::new(image_seed));
        if seen.len() < wanted && seen.insert((image.fingerprint(), books.acknowledged())) {
            let name = format!("cut after step {cut}, image seed {image_seed}");
            give(image, &books, name);
        }
    }
}

/// Checks `wanted` images, on as many threads as there are processors.
pub(crate) fn judge(recording: &Recording, seed: u64, wanted: usize) -> Tested<Tally> {
    let place = scratch()?;
    let tally = Mutex::new(Tally::default());
    let threads = thread::available_parallelism()?.get();
    let (to_check, exhibits) = mpsc::sync_channel::<Exhibit>(threads);
    let exhibits = Mutex::new(exhibits);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = exhibits.lock().unwrap_or_else(PoisonError::into_inner);
                    let Ok(exhibit) = next.recv() else { return };
                    drop(next);
                    let checked = within_time(exhibit.books, store_dir(&exhibit.directory));
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.add(&exhibit.name, checked);
                    let _ = std::fs::remove_dir_all(exhibit.directory);
                }
            });
        }
        let mut number = 0;
        draw(recording, seed, wanted, |image, books, name| {
            number += 1;
            let directory = place.path().join(number.to_string());
            let exhibit = Exhibit {
                books: books.clone(),
                name,
                directory,
            };
            if image.write(&exhibit.directory).is_ok() {
                let _ = to_check.send(exhibit);
            }
        });
        drop(to_check);
    });
    Ok(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The check, or that it did not end.
pub(crate) fn within_time(books: Books, dir: PathBuf) -> Checked {
    let (tell, told) = mpsc::channel();
    let spawned = thread::Builder::new().spawn(move || {
        let _ = tell.send(books.check(&dir));
    });
    match (spawned, told.recv_timeout(PATIENCE)) {
        (Ok(_), Ok(checked)) => checked,
        (Ok(_), Err(mpsc::RecvTimeoutError::Disconnected)) => {
            found(Reason::Refused, "the check panicked")
        }
        _ => found(Reason::NeverEnds, "opening or working it"),
    }
}

/// What is to be said of a campaign, also when it succeeds.
pub(crate) fn report(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether everything is to be tried, and not what the normal suite has time for.
pub(crate) fn is_campaign() -> bool {
    std::env::var("BATCHWRIGHT_FAULTS").is_ok_and(|faults| faults == "all")
}

fn wanted() -> Tested<usize> {
    match std::env::var("BATCHWRIGHT_IMAGES") {
        Ok(images) => Ok(images.parse()?),
        Err(_) => Ok(IMAGES_PER_RECORDING),
    }
}

/// Images of recordings made of the seeds from `first_seed` on; an error with the first finding of each kind, and what
/// it takes to see it again.
fn check_images(
    wanted: usize,
    first_seed: u64,
    change: impl Fn(u64, &mut Run<'_>),
) -> Tested<usize> {
    let (mut images, mut seed) = (0, first_seed);
    while images < wanted {
        let recording = match std::env::var("BATCHWRIGHT_RECORDING") {
            Ok(saved) => Recording::load(Path::new(&saved))?,
            Err(_) => record(seed, |run| change(seed, run))?,
        };
        // A seed that was printed is that of the one recording.
        let image_seed = std::env::var("BATCHWRIGHT_SEED").map_or(Ok(seed), |seed| seed.parse())?;
        let at_once = if is_large(seed * SEEDS) {
            LARGE_IMAGES_PER_RECORDING
        } else {
            IMAGES_PER_RECORDING
        };
        let tally = judge(&recording, image_seed, at_once.min(wanted - images))?;
        if !tally.findings.is_empty() {
            let saved = std::env::temp_dir().join(format!("batchwright-recording-{seed}"));
            std::fs::create_dir_all(&saved)?;
            recording.save(&saved)?;
            let saved = saved.display();
            return Err(format!(
                "{:#?}\nagain with BATCHWRIGHT_RECORDING={saved} BATCHWRIGHT_SEED={image_seed}",
                tally.findings
            )
            .into());
        }
        images += tally.images;
        seed += 1;
    }
    Ok(images)
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() -> Tested {
    let images = check_images(wanted()?, 1, |_, _| {})?;
    report(&format!("{images} images checked"));
    Ok(())
}

/// The process that creates the directories is killed before it can sync them, and the next one finds them there.
#[test]
fn directories_that_a_killed_process_made_are_as_durable_as_what_is_in_them() -> Tested {
    let made = |_, run: &mut Run<'_>| run.fault = "2 once kill-quiet".to_owned();
    let images = check_images(60, 1, made)?;
    report(&format!("{images} images with such directories checked"));
    Ok(())
}

#[test]
fn nothing_acknowledged_is_lost_when_segments_fill() -> Tested {
    let images = check_images(LARGE_IMAGES_PER_RECORDING, 7, |_, _| {})?;
    report(&format!("{images} images of several segments checked"));
    Ok(())
}

/// What a failed sync should have made durable may be lost for ever: nothing that was acknowledged may depend on it.
#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut_after_a_failed_sync() -> Tested {
    let recordings = if is_campaign() { 60 } else { 3 };
    let mut images = 0;
    for round in 0..recordings {
        // From the beginning of the work on.
        let failing = 9 + mix(round) % 12;
        let strike = |_, run: &mut Run<'_>| run.fault = format!("{failing} once sync-errno:5");
        images += check_images(40, 8 * round + 2, strike)?;
    }
    report(&format!("{images} images after failed syncs checked"));
    Ok(())
}
