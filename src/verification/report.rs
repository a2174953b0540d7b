//! What a verification found.

use crate::kernel::BatchId;
use std::fmt;

/// Findings that a verification tells, at most; the others it counts.
pub const FINDINGS: usize = 1_000;

/// What a verification found: from [`verify`](super::verify).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// The last commit in the store; `None` when its meta record cannot be read.
    pub sequence: Option<u64>,
    /// Rows of the store that were read, of the engine and of tables.
    pub rows: u64,
    /// Rows of tables among them.
    pub table_rows: u64,
    /// Batches that were recounted.
    pub batches: u64,
    /// Items of these.
    pub items: u64,
    /// Items with a final outcome.
    pub outcomes: u64,
    /// What is wrong; the first [`FINDINGS`] only.
    pub findings: Vec<Finding>,
    /// All that is wrong.
    pub finding_count: u64,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// The batch, when it is about one.
    pub batch: Option<BatchId>,
    /// The item of the batch, when it is about one.
    pub item: Option<u32>,
    /// The record, in words, when it is about one. Never the content of an application's key.
    pub record: Option<String>,
    /// What is wrong.
    pub what: String,
}

/// What a [`Finding`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FindingKind {
    /// The seal cannot be read, or says that more was acknowledged than there is.
    Seal,
    /// A file is missing, too short or too many.
    File,
    /// The storage engine cannot open the files, or cannot read a part of them.
    Engine,
    /// The meta record.
    Meta,
    /// A record is damaged, or is not what its key says.
    Record,
    /// A key that this library does not make.
    Key,
    /// Rows are missing, too many, or not what was written.
    Rows,
    /// The records of a batch do not fit together.
    Batch,
    /// What is recorded of an item.
    Item,
    /// An idempotency key.
    IdempotencyKey,
    /// Which items another batch runs again.
    Retry,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Seal => "seal",
            Self::File => "file",
            Self::Engine => "engine",
            Self::Meta => "meta",
            Self::Record => "record",
            Self::Key => "key",
            Self::Rows => "rows",
            Self::Batch => "batch",
            Self::Item => "item",
            Self::IdempotencyKey => "idempotency key",
            Self::Retry => "retry",
        })
    }
}

impl Finding {
    pub(super) fn new(kind: FindingKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            batch: None,
            item: None,
            record: None,
            what: what.into(),
        }
    }

    pub(super) fn of_batch(mut self, batch: BatchId) -> Self {
        self.batch = Some(batch);
        self
    }

    pub(super) fn of_item(mut self, item: impl Into<u32>) -> Self {
        self.item = Some(item.into());
        self
    }

    pub(super) fn of_record(mut self, key: &[u8]) -> Self {
        self.record = Some(crate::store::keys::name(key));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(batch) = self.batch {
            write!(f, ", batch {batch}")?;
        }
        if let Some(item) = self.item {
            write!(f, ", item {item}")?;
        }
        if let Some(record) = &self.record {
            write!(f, ", {record}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.finding_count == 0
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.finding_count += 1;
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        }
    }

    /// The first findings in one line.
    pub(crate) fn first_findings(&self) -> String {
        const SHOWN: usize = 3;
        let shown = self.findings.iter().take(SHOWN);
        let mut text = shown
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let more = self.finding_count.saturating_sub(SHOWN as u64);
        if more > 0 {
            text.push_str(&format!("; and {more} more"));
        }
        text
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rows,
            batches,
            items,
            outcomes,
            finding_count,
            ..
        } = self;
        write!(
            f,
            "{rows} rows, {batches} batches, {items} items, {outcomes} outcomes: "
        )?;
        match finding_count {
            0 => f.write_str("nothing is wrong")?,
            1 => f.write_str("1 finding")?,
            n => write!(f, "{n} findings")?,
        }
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}
