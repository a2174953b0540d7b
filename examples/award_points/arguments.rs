//! The command line.

use crate::error::Error;
use crate::sample;
use clap::Parser;
use std::fs;
use std::path::PathBuf;

/// Awards one point for every whole unit of money spent, exactly once. Safe to kill and to run again.
///
/// Exit codes: 0 everything is awarded, 2 the file cannot be read, 3 the file has bad lines and nothing was
/// stored, 4 some items failed, 5 the store is in use, 1 anything else.
#[derive(Debug, Parser)]
#[command(name = "award_points")]
pub(crate) struct Arguments {
    /// Purchases, one a line: customer, date (YYYYMMDD), quantity, amount. Without it, 10,000 made-up ones
    file: Option<PathBuf>,
    /// The directory that remembers what was awarded
    #[arg(long, value_name = "DIR", default_value = "./batchwright-data")]
    pub(crate) store: PathBuf,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl Arguments {
    pub(crate) fn read_purchases(&self) -> Result<Vec<u8>, Error> {
        let Some(path) = &self.file else {
            return Ok(sample::purchases(10_000).into_bytes());
        };
        fs::read(path).map_err(|source| Error::Unreadable {
            path: path.clone(),
            source,
        })
    }
}
