//! The store that a command works with, and the programme that it works under.

use crate::arguments::Global;
use crate::error::Error;
use batchwright::Queue;
use batchwright::loyalty::{self, Program};
use std::fs;
use std::path::{Path, PathBuf};

const DEFAULT_DIR: &str = "./batchwright-data";

/// Where every store has its data. A directory without it holds nothing that was ever acknowledged.
const DATA: &str = "store";

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) program: Program,
}

impl Store {
    /// The store of the command line. Opens nothing, but reads the programme.
    pub(crate) fn of(global: &Global) -> Result<Self, Error> {
        let dir = global.store.clone().unwrap_or_else(|| DEFAULT_DIR.into());
        Self::in_dir(dir, global)
    }

    pub(crate) fn in_dir(dir: PathBuf, global: &Global) -> Result<Self, Error> {
        let program = match &global.program {
            Some(path) => read_program(path)?,
            None => Program::default(),
        };
        Ok(Self { dir, program })
    }

    /// Opens the store to look at it or to steer it: no item runs.
    pub(crate) fn look(&self) -> Result<Queue, Error> {
        self.check_exists()?;
        self.open(false)
    }

    /// Opens the store and lets everything in it that is unfinished go on.
    pub(crate) fn work(&self) -> Result<Queue, Error> {
        self.check_exists()?;
        self.open(true)
    }

    /// As [`work`](Self::work); a store that is not there is made.
    pub(crate) fn work_or_create(&self) -> Result<Queue, Error> {
        self.open(true)
    }

    fn check_exists(&self) -> Result<(), Error> {
        if self.dir.join(DATA).exists() {
            return Ok(());
        }
        Err(Error::NoStore {
            dir: self.dir.clone(),
        })
    }

    fn open(&self, works: bool) -> Result<Queue, Error> {
        // The programme was checked when it was read.
        let setting = |source| Error::ProgramSetting {
            path: PathBuf::new(),
            source,
        };
        let builder = loyalty::register_all(Queue::builder(&self.dir), &self.program);
        let builder = builder.map_err(setting)?;
        let builder = if works {
            builder
        } else {
            builder.without_workers()
        };
        Ok(builder.open()?)
    }
}

fn read_program(path: &Path) -> Result<Program, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::ProgramUnreadable {
        path: path.to_owned(),
        source,
    })?;
    // The message shows the line that is wrong.
    let program: Program = toml::from_str(&text).map_err(|error| Error::ProgramSyntax {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })?;
    program.check().map_err(|source| Error::ProgramSetting {
        path: path.to_owned(),
        source,
    })?;
    Ok(program)
}
