//! The curve: a row for each turn, and what the rows together say.

use crate::memory::Memory;
use batchwright::Stats;
use std::fmt;
use std::time::Duration;

/// What a queue has done since it was opened, or several ones one after another.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    pub(crate) items: u64,
    pub(crate) commits: u64,
    pub(crate) deleted: u64,
}

impl Work {
    pub(crate) fn of(stats: &Stats) -> Self {
        let items =
            |operation: &batchwright::OperationStats| operation.succeeded + operation.failed;
        Self {
            items: stats.operations.iter().map(items).sum(),
            commits: stats.writer.commits,
            deleted: stats.deleted_batches,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.commits += other.commits;
        self.deleted += other.deleted;
    }
}

/// The highest figures that were seen in a turn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peaks {
    pub(crate) resident_bytes: u64,
    pub(crate) anonymous_bytes: u64,
    pub(crate) disk_bytes: u64,
}

impl Peaks {
    pub(crate) fn see_memory(&mut self) {
        if let Some(memory) = Memory::now() {
            self.resident_bytes = self.resident_bytes.max(memory.resident_bytes);
            self.anonymous_bytes = self.anonymous_bytes.max(memory.anonymous_bytes);
        }
    }

    pub(crate) fn see_disk(&mut self, bytes: u64) {
        self.disk_bytes = self.disk_bytes.max(bytes);
    }
}

pub(crate) struct Row {
    /// Since the start of the run.
    pub(crate) at: Duration,
    pub(crate) items_per_second: f64,
    pub(crate) batches: u64,
    pub(crate) unfinished: u64,
    /// Since the start of the run.
    pub(crate) work: Work,
    pub(crate) peaks: Peaks,
    pub(crate) open: Duration,
}

impl Row {
    pub(crate) const HEAD: &'static str = "\
        | minute | items/s | batches | unfinished | deleted | resident MiB | anonymous MiB | disk MiB | commits | open ms |\n\
        |---|---|---|---|---|---|---|---|---|---|";
    pub(crate) const CSV_HEAD: &'static str = "minute,items_per_second,batches,unfinished,deleted,\
        resident_bytes,anonymous_bytes,disk_bytes,commits,open_ms";

    pub(crate) fn csv(&self) -> String {
        let Work {
            commits, deleted, ..
        } = self.work;
        let Peaks {
            resident_bytes,
            anonymous_bytes,
            disk_bytes,
        } = self.peaks;
        format!(
            "{:.2},{:.0},{},{},{deleted},{resident_bytes},{anonymous_bytes},{disk_bytes},{commits},{:.1}",
            self.at.as_secs_f64() / 60.0,
            self.items_per_second,
            self.batches,
            self.unfinished,
            self.open.as_secs_f64() * 1e3,
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "| {:.2} | {:.0} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {} | {:.0} |",
            self.at.as_secs_f64() / 60.0,
            self.items_per_second,
            self.batches,
            self.unfinished,
            self.work.deleted,
            mib(self.peaks.resident_bytes),
            mib(self.peaks.anonymous_bytes),
            mib(self.peaks.disk_bytes),
            self.work.commits,
            self.open.as_secs_f64() * 1e3,
        )
    }
}

/// Growth that is not taken for growth.
const TOLERANCE: f64 = 1.15;

/// Whether something has stopped growing: its highest in the last third of the rows, by its highest in the
/// second. The first third is for caches to fill and for retention to begin.
pub(crate) struct Verdict {
    what: &'static str,
    /// `None` where the system does not tell.
    growth: Option<f64>,
}

impl Verdict {
    pub(crate) fn all(rows: &[Row]) -> [Self; 2] {
        [
            Self::new("memory flat", rows, |peaks| peaks.resident_bytes),
            Self::new("disk bounded", rows, |peaks| peaks.disk_bytes),
        ]
    }

    fn new(what: &'static str, rows: &[Row], figure: impl Fn(&Peaks) -> u64) -> Self {
        let third = rows.len() / 3;
        let highest = |rows: &[Row]| rows.iter().map(|row| figure(&row.peaks)).max().unwrap_or(0);
        let (before, last) = rows.split_at(rows.len() - third);
        let second = highest(&before[third..]);
        Self {
            what,
            growth: (second > 0).then(|| highest(last) as f64 / second as f64),
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.growth.is_none_or(|growth| growth <= TOLERANCE)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what;
        let Some(growth) = self.growth else {
            return write!(f, "{what}: not measured");
        };
        let answer = if self.holds() { "yes" } else { "NO" };
        write!(
            f,
            "{what}: {answer}, highest of the last third / highest of the second third = {growth:.3} (at most {TOLERANCE})"
        )
    }
}
