//! The items that failed: which of them count, and the file that has them for whoever mends them.

use crate::error::Error;
use crate::input::{InputFile, Items};
use batchwright::loyalty::Original;
use batchwright::{Batch, BatchId, BatchType, Failure, Outcome};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Whether the item failed because it was done before: it says the same as the one that used its transaction id.
pub(crate) fn is_already_done(failure: &Failure) -> bool {
    Original::of(failure).is_some_and(|original| original.same_content)
}

pub(crate) fn count_already_done<O: BatchType>(batch: &Batch<O>) -> Result<u64, Error> {
    let mut count = 0;
    for outcome in batch.outcomes()? {
        count += u64::from(outcome?.outcome.failure().is_some_and(is_already_done));
    }
    Ok(count)
}

/// A line of the file.
#[derive(Debug, Serialize)]
struct FailedItem<'a, T> {
    /// The item's place in the input, from 0; null when batches before it were deleted.
    index: Option<u64>,
    /// The line of the input that it begins on.
    line: Option<u64>,
    code: &'a str,
    message: &'a str,
    field: Option<&'a str>,
    item: T,
}

/// The file that `--errors` names.
#[derive(Debug)]
pub(crate) struct ErrorsFile {
    path: PathBuf,
    writer: BufWriter<File>,
}

impl ErrorsFile {
    /// Opens the file. What is in it stays until there is something to take its place.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut options = File::options();
        let opened = options.create(true).write(true).truncate(false).open(path);
        let file = opened.map_err(|source| Error::Unwritable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            writer: BufWriter::new(file),
        })
    }

    /// Writes the failed items of `batches`, which are those of `input` in its order but for the `deleted` ones.
    pub(crate) fn write_all<O: BatchType<Item: Serialize>>(
        mut self,
        batches: &[Batch<O>],
        deleted: &[BatchId],
        mut input: Lines<'_>,
    ) -> Result<(), Error> {
        let emptied = match self.writer.get_ref().metadata() {
            // A pipe or a device has no content to go.
            Ok(file) if !file.is_file() => Ok(()),
            _ => self.writer.get_ref().set_len(0),
        };
        emptied.map_err(|source| Error::Unwritable {
            path: self.path.clone(),
            source,
        })?;
        let mut first = 0;
        for batch in batches {
            let status = batch.status()?;
            // Batches get their numbers in the order of the input.
            let is_known = !deleted.iter().any(|id| *id < batch.id());
            if status.failed > 0 {
                self.write(batch, is_known.then_some(first), &mut input)?;
            }
            first += status.total;
        }
        let Self { path, mut writer } = self;
        writer
            .flush()
            .map_err(|source| Error::Unwritable { path, source })
    }

    fn write<O: BatchType<Item: Serialize>>(
        &mut self,
        batch: &Batch<O>,
        first: Option<u64>,
        lines: &mut Lines<'_>,
    ) -> Result<(), Error> {
        // Neither has gaps before the failed ones: every item is there, outcomes are in item order.
        let mut items = (0..).zip(batch.items()?);
        for outcome in batch.outcomes()? {
            let outcome = outcome?;
            let Outcome::Failed(failure) = &outcome.outcome else {
                continue;
            };
            if is_already_done(failure) {
                continue;
            }
            let Some((_, item)) = items.find(|(index, _)| *index == outcome.index) else {
                continue;
            };
            let index = first.map(|first| first + outcome.index as u64);
            let line = match index {
                Some(index) => lines.of_item(index)?,
                None => None,
            };
            let failed = FailedItem {
                index,
                line,
                code: &failure.code,
                message: &failure.message,
                field: failure.field.as_deref(),
                item: item?,
            };
            let json = serde_json::to_string(&failed)?;
            writeln!(self.writer, "{json}").map_err(|source| Error::Unwritable {
                path: self.path.clone(),
                source,
            })?;
        }
        Ok(())
    }
}

/// Where items begin in the input, which is read once more for it.
pub(crate) struct Lines<'a> {
    path: &'a Path,
    items: Items<'a>,
    next: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(input: &'a mut InputFile, path: &'a Path) -> Result<Self, Error> {
        Ok(Self {
            path,
            items: input.items().map_err(Error::of_input(path))?,
            next: 0,
        })
    }

    /// Of items in ascending order.
    fn of_item(&mut self, index: u64) -> Result<Option<u64>, Error> {
        for item in self.items.by_ref() {
            self.next += 1;
            let item = item.map_err(Error::of_input(self.path))?;
            if self.next > index {
                return Ok(Some(item.line));
            }
        }
        Ok(None)
    }
}
