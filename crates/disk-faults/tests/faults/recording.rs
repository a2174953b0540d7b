//! What the recorder has written down, of one process after the other.

use crate::format::{self, Entry, Kind};
use std::path::Path;
use std::{fs, io};

/// Logs, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// The directory that was watched.
    pub(crate) root: String,
    logs: Vec<Vec<u8>>,
}

/// A step of what happened.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'a> {
    /// A process begins: all descriptors of the last one are closed.
    Process,
    Entry(Entry<'a>),
}

impl Recording {
    pub(crate) fn add(&mut self, log: Vec<u8>) {
        self.logs.push(log);
    }

    /// Writes it to a directory, for [`load`](Self::load).
    pub(crate) fn save(&self, directory: &Path) -> io::Result<()> {
        fs::write(directory.join("root"), &self.root)?;
        for (number, log) in self.logs.iter().enumerate() {
            fs::write(directory.join(format!("log.{number}")), log)?;
        }
        Ok(())
    }

    pub(crate) fn load(directory: &Path) -> io::Result<Self> {
        let mut recording = Self {
            root: fs::read_to_string(directory.join("root"))?,
            logs: Vec::new(),
        };
        while let Ok(log) = fs::read(directory.join(format!("log.{}", recording.logs.len()))) {
            recording.add(log);
        }
        Ok(recording)
    }

    pub(crate) fn steps(&self) -> Vec<Step<'_>> {
        let mut steps = Vec::new();
        for log in &self.logs {
            steps.push(Step::Process);
            steps.extend(entries(log).into_iter().map(Step::Entry));
        }
        steps
    }
}

/// The entries of a log.
pub(crate) fn entries(mut log: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    while let Some(entry) = format::decode(&mut log) {
        entries.push(entry);
    }
    entries
}

/// The calls of a log: all but what was said and that calls have ended.
pub(crate) fn calls(log: &[u8]) -> usize {
    let entries = entries(log).into_iter();
    entries
        .filter(|entry| !matches!(entry.kind, Kind::Said | Kind::Ended))
        .count()
}

/// What was said in a log, line by line.
pub(crate) fn said(entry: &Entry<'_>) -> Vec<String> {
    if entry.kind != Kind::Said {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(entry.data);
    text.lines().map(str::to_owned).collect()
}
