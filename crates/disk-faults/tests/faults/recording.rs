//! What the recorder has written down, of one process after the other.

use crate::format::{self, Entry, Kind};

/// Logs, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recording {
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
