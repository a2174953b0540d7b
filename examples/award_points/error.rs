//! What can go wrong, and the exit codes that say it.

use crate::purchase::BadLine;
use batchwright::{BatchError, ImportError, OpenError, ReadError, ShutdownError, WaitError};
use std::io;
use std::path::PathBuf;

pub(crate) const ITEMS_FAILED: u8 = 4;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("nothing was stored, the file has bad lines:\n{}", list(.0))]
    BadLines(Vec<BadLine>),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    #[error("cannot print the summary: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreadable { .. } => 2,
            Self::BadLines(_) => 3,
            Self::Open(OpenError::Locked { .. }) => 5,
            _ => 1,
        }
    }
}

fn list(bad_lines: &[BadLine]) -> String {
    const SHOWN: usize = 20;
    let mut lines: Vec<_> = bad_lines
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if bad_lines.len() > SHOWN {
        lines.push(format!("and {} more", bad_lines.len() - SHOWN));
    }
    lines.join("\n")
}
