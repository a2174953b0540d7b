//! Ends on Ctrl-C or SIGTERM: what runs is finished, the rest waits in the store for the next run.
//!
//! ```text
//! cargo run --example graceful_shutdown                # ends itself after a second, and runs once more
//! cargo run --example graceful_shutdown -- DIRECTORY   # runs until all is done or you press Ctrl-C
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what happened")]

use batchwright::{
    AtLeastOnce, BatchFilter, Context, Failure, Operation, Queue, ShutdownError, State,
};
use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

const PAGES: u32 = 300;

/// What ends the main loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    AllDone,
    Signal,
}

/// Work that must not be cut off in the middle.
struct PrintPage;

impl Operation for PrintPage {
    const NAME: &'static str = "print-page";
    type Item = u32;
    type Output = ();
    type Guarantee = AtLeastOnce;

    fn run(&self, _page: u32, _cx: &mut Context<AtLeastOnce>) -> Result<(), Failure> {
        thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (ends, end) = mpsc::channel();
    let signals = ends.clone();
    // A signal handler is the application's business: the library installs none.
    ctrlc::set_handler(move || {
        // Who does not listen any more is ending already.
        let _ = signals.send(End::Signal);
    })?;

    if let Some(dir) = env::args_os().nth(1) {
        return run(Path::new(&dir), &ends, &end);
    }
    let dir = tempfile::tempdir()?;
    let signal = ends.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_secs(1));
        let _ = signal.send(End::Signal);
    });
    let first = run(dir.path(), &ends, &end)?;
    assert_eq!(first, ExitCode::SUCCESS);
    println!("\nthe next run:");
    run(dir.path(), &ends, &end)
}

/// What a server's `main` does: open, work until the end is asked for, shut down.
fn run(dir: &Path, ends: &Sender<End>, end: &Receiver<End>) -> Result<ExitCode, Box<dyn Error>> {
    let queue = Queue::builder(dir).workers(4).register(PrintPage).open()?;
    // The same import again is the batch from before.
    let book = queue.import::<PrintPage>("the book", 1..=PAGES)?;
    for batch in &book.batches {
        println!("opened: {}", batch.status()?);
        let (batch, done) = (batch.clone(), ends.clone());
        thread::spawn(move || {
            // When the queue is shut down meanwhile, the wait ends with `Closed`.
            if batch.wait().is_ok() {
                let _ = done.send(End::AllDone);
            }
        });
    }

    println!("ending: {:?}", end.recv()?);
    for status in queue.batches(BatchFilter::all().state(State::Running)) {
        println!("still to do: {}", status?);
    }
    match queue.shutdown(Duration::from_secs(10)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ShutdownError::StillRunning { .. }) => {
            // Handlers outlast the limit. Ending the process now is a crash to them: they run again.
            println!("{error}");
            Ok(ExitCode::from(75))
        }
        Err(error) => Err(error.into()),
    }
}
