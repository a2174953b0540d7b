//! What can go wrong, and the exit code that says so to scripts.

use crate::input::InputError;
use batchwright::loyalty::InvalidProgram;
use batchwright::{
    BackupError, BatchError, ImportError, OpenError, ReadError, SalvageError, ShutdownError,
    SubmitError, VerifyError, WaitError,
};
use std::io;
use std::path::{Path, PathBuf};

/// Anything that no other code is for: the store failed or is damaged, or a file could not be written.
pub(crate) const FAILED: u8 = 1;
/// What was given cannot be worked with. Nothing was stored.
pub(crate) const REFUSED: u8 = 3;
/// Items failed or were not run, or an audit found differences.
pub(crate) const ITEMS_FAILED: u8 = 4;
/// Another process has the store.
pub(crate) const IN_USE: u8 = 5;
/// `verify` found something wrong, or `salvage` could not copy everything.
pub(crate) const DAMAGED: u8 = 6;
/// Ended by Ctrl-C or SIGTERM, as shells say it of SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is no store in {}; `batchwright run` and `batchwright demo` make one, --store says where it is", dir.display())]
    NoStore { dir: PathBuf },
    #[error("there is no operation {name:?}; known are {known}")]
    UnknownOperation { name: String, known: String },
    #[error("there is no customer {0:?}")]
    UnknownCustomer(String),
    #[error("cannot read the programme {}: {source}", path.display())]
    ProgramUnreadable { path: PathBuf, source: io::Error },
    #[error("the programme {} is not acceptable: {reason}", path.display())]
    ProgramSyntax { path: PathBuf, reason: String },
    #[error("the programme {} is not acceptable: {} is {}, allowed is {}", path.display(), source.setting, source.value, source.allowed)]
    ProgramSetting {
        path: PathBuf,
        source: InvalidProgram,
    },
    #[error("{}: {source}", path.display())]
    Input { path: PathBuf, source: InputError },
    #[error("{refused} of {items} items of {} are not acceptable; nothing is stored", path.display())]
    Refused {
        path: PathBuf,
        refused: u64,
        items: u64,
    },
    #[error("--errors would overwrite the input, {}", .0.display())]
    ErrorsOverInput(PathBuf),
    #[error("{} has changed while it was read; batches of it as it was may be stored and go on with the next command that works the store. Running the changed file imports all of it anew: stop those batches first (`batchwright list`, `batchwright stop ID`) unless every item has a transaction id", .0.display())]
    Changed(PathBuf),
    #[error("batches of an earlier demo in this store were pruned; give the demo another --store")]
    DemoPruned,
    #[error("cannot write {}: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    #[error("cannot listen to Ctrl-C: {0}")]
    Signals(#[from] ctrlc::Error),
    #[error("cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Salvage(#[from] SalvageError),
}

impl Error {
    /// What is wrong with a file.
    pub(crate) fn of_input(path: &Path) -> impl Fn(InputError) -> Self {
        move |source| Self::Input {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Open(OpenError::Locked { .. })
            | Self::Verify(VerifyError::Open(OpenError::Locked { .. }))
            | Self::Backup(BackupError::Target(OpenError::Locked { .. }))
            | Self::Salvage(SalvageError::Open(OpenError::Locked { .. })) => IN_USE,
            Self::Verify(VerifyError::NoStore { .. })
            | Self::Backup(BackupError::NotEmpty { .. })
            | Self::Salvage(
                SalvageError::NoStore { .. }
                | SalvageError::NotEmpty { .. }
                | SalvageError::Inside { .. },
            ) => REFUSED,
            Self::NoStore { .. }
            | Self::UnknownOperation { .. }
            | Self::UnknownCustomer(_)
            | Self::ProgramUnreadable { .. }
            | Self::ProgramSyntax { .. }
            | Self::ProgramSetting { .. }
            | Self::Input { .. }
            | Self::Refused { .. }
            | Self::ErrorsOverInput(_)
            | Self::DemoPruned => REFUSED,
            Self::Import(error) if matches!(error.source, SubmitError::Invalid { .. }) => REFUSED,
            Self::Batch(error) if is_refusal(error) => REFUSED,
            _ => FAILED,
        }
    }

    /// Whether the queue was shut down meanwhile.
    pub(crate) fn is_closed_queue(&self) -> bool {
        match self {
            Self::Import(error) => error.source == SubmitError::Closed,
            Self::Batch(error) | Self::Wait(WaitError::Batch(error)) => {
                *error == BatchError::Closed
            }
            Self::Read(error) => *error == ReadError::Closed,
            _ => false,
        }
    }

    /// Whether the reader of standard output has gone, as `head` does: no failure of ours.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Whether it was asked for something that the batch does not allow, or for a batch that is not there.
fn is_refusal(error: &BatchError) -> bool {
    matches!(
        error,
        BatchError::NotFound { .. }
            | BatchError::NotStopped { .. }
            | BatchError::NotEnded { .. }
            | BatchError::NothingFailed { .. }
            | BatchError::NotInDoubt { .. }
            | BatchError::InvalidOutput { .. }
            | BatchError::AlreadyRetried { .. }
            | BatchError::Unregistered { .. }
            | BatchError::WrongOperation { .. }
    )
}

/// The CSV writer hides what the standard output said.
impl From<csv::Error> for Error {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Output(error),
            other => Self::Output(io::Error::other(format!("{other:?}"))),
        }
    }
}
