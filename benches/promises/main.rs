//! Measures what is promised of the engine, and says which promises hold on this machine.
//!
//! ```text
//! cargo bench --bench promises             # about half a minute; exits with 1 when a promise is broken
//! cargo bench --bench promises -- --test   # small and quick; figures without a judgement
//! ```
//!
//! The stores lie below the target directory, which must be on a disk. Run it on a quiet machine: the times
//! are those of the machine and its disk.

#[path = "../load/mod.rs"]
mod load;

mod figure;
mod lone_submit;
mod pending;
mod shared_syncs;
mod status;

use figure::Figure;
use std::error::Error;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

pub(crate) type Measured<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False when a promise is broken.
fn run() -> Measured<bool> {
    let mut arguments = std::env::args().skip(1);
    if arguments.any(|argument| argument == pending::CHILD) {
        pending::child(arguments)?;
        return Ok(true);
    }
    let small = std::env::args().any(|argument| argument == "--test");
    let mut broken = 0;
    writeln!(stdout(), "{}", Figure::HEAD)?;
    for measure in [
        status::measure,
        lone_submit::measure,
        shared_syncs::measure,
        pending::measure,
    ] {
        for figure in measure(small)? {
            writeln!(stdout(), "{figure}")?;
            broken += u32::from(!figure.is_kept());
        }
    }
    Ok(small || broken == 0)
}
