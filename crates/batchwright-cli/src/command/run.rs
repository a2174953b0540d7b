//! `run`: a file, from its first look to its last outcome.

use crate::arguments::RunArguments;
use crate::check::{Checked, check};
use crate::ending::Ending;
use crate::error::Error;
use crate::failed_items::{ErrorsFile, Lines};
use crate::input::{InputFile, Items};
use crate::interrupt::{Interrupt, SHUTDOWN};
use crate::operation_kind::{LedgerOperation, OperationKind, Visitor};
use crate::progress::{Progress, say};
use crate::store::Store;
use crate::summary::Summary;
use crate::work::{wait_for_all, work};
use batchwright::loyalty::Fields;
use batchwright::{Import, Queue, SubmitOptions};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) fn run(
    store: &Store,
    arguments: &RunArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Ending, Error> {
    let kind = OperationKind::asked_for(&arguments.operation)?;
    refuse_errors_over_input(arguments)?;
    kind.visit(Run {
        store,
        arguments,
        json,
        out,
    })
}

fn refuse_errors_over_input(arguments: &RunArguments) -> Result<(), Error> {
    let Some(errors) = &arguments.errors else {
        return Ok(());
    };
    match (fs::canonicalize(errors), fs::canonicalize(&arguments.file)) {
        (Ok(errors), Ok(file)) if errors == file || are_links(&errors, &file) => {
            Err(Error::ErrorsOverInput(file))
        }
        _ => Ok(()),
    }
}

/// Whether two names are of one file.
#[cfg(unix)]
fn are_links(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    identity(one).is_some() && identity(one) == identity(other)
}

#[cfg(not(unix))]
fn are_links(_: &Path, _: &Path) -> bool {
    false
}

struct Run<'a> {
    store: &'a Store,
    arguments: &'a RunArguments,
    json: bool,
    out: &'a mut dyn Write,
}

impl Visitor for Run<'_> {
    type Output = Result<Ending, Error>;

    fn visit<O: LedgerOperation>(self) -> Result<Ending, Error> {
        let RunArguments { file: path, .. } = self.arguments;
        let interrupt = Interrupt::listen()?;
        let operation = O::of(Arc::new(self.store.program.clone()));
        let fields = <O::Item as Fields>::FIELDS;
        let mut file =
            InputFile::open(path, self.arguments.format, fields).map_err(Error::of_input(path))?;
        let Some(checked) = check(&operation, &mut file, path, &interrupt)? else {
            say("interrupted; nothing was stored");
            return Ok(Ending::Interrupted);
        };
        let (shown, items) = (path.display(), checked.items);
        let s = if items == 1 { "" } else { "s" };
        say(&format!("{shown}: {items} item{s}, all acceptable"));
        let (began, clock) = (SystemTime::now(), Instant::now());
        // Before anything is stored or worked: it may not be writable.
        let errors = self.arguments.errors.as_deref();
        let errors = errors.map(ErrorsFile::create).transpose()?;
        let queue = self.store.work_or_create()?;
        let worked = work(&queue, &interrupt, |queue| {
            let progress = Progress::of(items, "storing");
            let import = self.import::<O>(queue, &mut file, &checked, &progress)?;
            progress.turn_to("working", 0);
            let reports = wait_for_all(&import.batches, &progress)?;
            progress.finish();
            let summary = Summary::new(O::NAME, items, &import.batches, &reports, began)?;
            if let Some(errors) = errors {
                let lines = Lines::of(&mut file, path)?;
                errors.write_all(&import.batches, &import.deleted, lines)?;
            }
            Ok(summary.took(clock.elapsed()))
        })?;
        match worked {
            Some(summary) => self.conclude(&summary),
            None => {
                say(self.how_to_go_on());
                Ok(Ending::Interrupted)
            }
        }
    }
}

impl Run<'_> {
    /// The second pass: submits the items in batches.
    fn import<O: LedgerOperation>(
        &self,
        queue: &Queue,
        file: &mut InputFile,
        checked: &Checked,
        progress: &Progress,
    ) -> Result<Import<O>, Error> {
        let mut options = SubmitOptions::new();
        if let Some(label) = &self.arguments.label {
            options = options.label(label);
        }
        let given_up = RefCell::new(None);
        let path = &self.arguments.file;
        let unreadable = Error::of_input(path);
        let mut reading = Some(file.items().map_err(&unreadable)?);
        let give_up = |error: Error| {
            *given_up.borrow_mut() = Some(error);
            // An import submits what it was given when the items end. It must not: these are fewer than the same
            // chunk has the next time.
            let _ = queue.shutdown(SHUTDOWN);
        };
        let changed = || Error::Changed(path.clone());
        let items = std::iter::from_fn(|| match reading.as_mut()?.next() {
            Some(Ok(raw)) => match serde_json::from_str::<O::Item>(&raw.json) {
                Ok(item) => {
                    progress.advance();
                    Some(item)
                }
                Err(_) => {
                    give_up(changed());
                    None
                }
            },
            Some(Err(error)) => {
                give_up(unreadable(error));
                None
            }
            None => {
                match reading.take().map(Items::sha256)? {
                    Ok(sha256) if sha256 == checked.sha256 => {}
                    Ok(_) => give_up(changed()),
                    Err(error) => give_up(unreadable(error)),
                }
                None
            }
        });
        let key = self.import_key(checked);
        let import = queue.import_with(&key, items, options);
        match given_up.take() {
            Some(error) => Err(error),
            None => Ok(import?),
        }
    }

    /// What the import is known by. The engine adds the operation and the number of the chunk.
    fn import_key(&self, checked: &Checked) -> String {
        let mut key = String::with_capacity(64);
        for byte in checked.sha256 {
            // Into memory: it cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        if self.arguments.again {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let nanos = now.unwrap_or_default().as_nanos();
            let _ = write!(key, " again {nanos} {}", process::id());
        }
        key
    }

    fn how_to_go_on(&self) -> &'static str {
        if self.arguments.again {
            "interrupted; what is stored goes on with the next command that works the store, and the same command \
             would begin anew"
        } else {
            "interrupted; the same command goes on"
        }
    }

    fn conclude(self, summary: &Summary) -> Result<Ending, Error> {
        let shown = self.arguments.file.display();
        if summary.deleted > 0 {
            let deleted = summary.deleted;
            say(&format!(
                "{deleted} items are of batches that were pruned: how they ended is no longer known"
            ));
        }
        if summary.is_nothing_new() {
            say(&format!(
                "{shown} was imported before, and nothing was changed; --again would import it anew"
            ));
        } else if summary.ended_before > 0 {
            let before = summary.ended_before;
            say(&format!(
                "{shown} was imported in part before: {before} items had ended"
            ));
        }
        if summary.failed > 0 && self.arguments.errors.is_none() {
            say(
                "`batchwright outcomes ID --failed` shows what failed, as does --errors FILE the next time",
            );
        }
        if summary.not_run > 0 {
            say("a batch was stopped: `batchwright list --state stopped`, `batchwright resume ID`");
        }
        summary.write(self.json, self.out)?;
        Ok(summary.ending())
    }
}
