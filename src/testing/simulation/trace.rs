//! What happened in a run, in order: a hash of it for every run, the text for one that is looked at.

use super::checker::{Answer, Ask};
use std::fmt;
use std::hash::{Hash, Hasher};
use twox_hash::XxHash3_64;

/// Something that happened.
#[derive(Debug, Hash)]
pub(super) enum Event<'a> {
    /// A process opened the store.
    Opened {
        opening: u64,
    },
    NotOpened(&'a str),
    /// The process ended, with all it had in memory.
    Killed,
    /// The system did, with all that was not synced.
    PowerCut,
    Failed(&'a str),
    Closing,
    Closed,
    Clock {
        now_ms: u64,
    },
    ClockSetBack {
        by_ms: u64,
    },
    Asked {
        request: u64,
        what: &'a Ask,
    },
    Answered {
        request: u64,
        answer: Answer,
    },
    /// A handler began.
    Began {
        worker: usize,
        batch: u64,
        index: u16,
        attempt: u32,
    },
    Returned {
        batch: u64,
        index: u16,
        attempt: u32,
        how: &'a str,
    },
    /// The writer received what a worker had to say.
    Delivered {
        worker: usize,
        what: &'a str,
    },
    Committed {
        sequence: u64,
        rows: usize,
        /// Of the rows.
        hash: u64,
        fault: &'a str,
    },
    Looked {
        batch: u64,
        state: &'a str,
        succeeded: u64,
        failed: u64,
        in_doubt: u64,
    },
}

/// What happened in a run: equal for equal seeds. Its text is one line an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The hash of all that happened, with the rows of every commit.
    pub hash: u64,
    /// How much happened.
    pub events: u64,
    text: Option<String>,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_deref().unwrap_or_default())
    }
}

pub(super) struct Recorder {
    hasher: XxHash3_64,
    events: u64,
    text: Option<String>,
}

impl Recorder {
    pub(super) fn new(with_text: bool) -> Self {
        Self {
            hasher: XxHash3_64::new(),
            events: 0,
            text: with_text.then(String::new),
        }
    }

    pub(super) fn note(&mut self, depth: usize, event: &Event<'_>) {
        event.hash(&mut self.hasher);
        self.events += 1;
        if let Some(text) = &mut self.text {
            let indent = "  ".repeat(depth);
            text.push_str(&format!("{:>4} {indent}{event:?}\n", self.events));
        }
    }

    pub(super) fn trace(&self) -> Trace {
        Trace {
            hash: self.hasher.finish(),
            events: self.events,
            text: self.text.clone(),
        }
    }
}
