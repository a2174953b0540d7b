//! Placeholder until the reader of files is merged: JSON lines only.

use batchwright::loyalty::Field;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Json,
    #[value(name = "jsonl")]
    JsonLines,
    Csv,
}

pub(crate) struct RawItem {
    pub(crate) json: String,
    pub(crate) line: u64,
}

pub(crate) struct InputFile {
    path: PathBuf,
    reader: BufReader<File>,
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct InputError {
    path: PathBuf,
    reason: String,
}

impl InputError {
    pub(crate) fn is_of_one_item(&self) -> bool {
        false
    }
}

impl InputFile {
    pub(crate) fn open(
        path: &Path,
        _format: Option<Format>,
        _fields: &'static [Field],
    ) -> Result<Self, InputError> {
        let file = File::open(path).map_err(|error| InputError {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
        })
    }

    pub(crate) fn items(&mut self) -> Result<Items<'_>, InputError> {
        let path = self.path.clone();
        self.reader.rewind().map_err(|error| InputError {
            path,
            reason: error.to_string(),
        })?;
        Ok(Items {
            file: self,
            line: 0,
            hash: Sha256::new(),
        })
    }
}

pub(crate) struct Items<'a> {
    file: &'a mut InputFile,
    line: u64,
    hash: Sha256,
}

impl Items<'_> {
    pub(crate) fn sha256(self) -> Result<[u8; 32], InputError> {
        Ok(self.hash.finalize().into())
    }
}

impl Iterator for Items<'_> {
    type Item = Result<RawItem, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut json = String::new();
        match self.file.reader.read_line(&mut json) {
            Ok(0) => None,
            Ok(_) => {
                self.line += 1;
                self.hash.update(&json);
                Some(Ok(RawItem {
                    json,
                    line: self.line,
                }))
            }
            Err(error) => Some(Err(InputError {
                path: self.file.path.clone(),
                reason: error.to_string(),
            })),
        }
    }
}
