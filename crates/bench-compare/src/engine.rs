//! What every engine in the comparison must do: run one load in one directory and say how long it took.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::workload::Load;

/// A round that went wrong ends the whole comparison, so the cause is only ever printed.
pub(crate) type RoundError = Box<dyn Error + Send + Sync>;

pub(crate) trait Engine {
    /// The column head in the results.
    fn name(&self) -> &'static str;

    /// Runs the load in an empty directory. The clock starts with the first submission and stops when the last
    /// outcome is durable; setting up, generating items and checking the result are outside it.
    ///
    /// An engine counts what it has stored after the clock has stopped and returns an error if anything is missing:
    /// a wrong result has no speed.
    fn run(&self, dir: &Path, load: &Load) -> Result<Measurement, RoundError>;
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Measurement {
    pub(crate) items: usize,
    pub(crate) elapsed: Duration,
}

impl Measurement {
    pub(crate) fn items_per_s(&self) -> f64 {
        self.items as f64 / self.elapsed.as_secs_f64()
    }
}
