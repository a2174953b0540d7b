//! What the checker knows of a batch.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Running,
    Stopping,
    Completed,
    Stopped,
}

impl Stage {
    pub(super) fn may_start(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }

    pub(super) fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Stopped)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    InDoubt,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Item {
    pub(super) outcome: Option<Outcome>,
    pub(super) attempts: u32,
    /// When it runs again: as recorded, and while it waits for that.
    pub(super) due: Option<u64>,
    pub(super) until: Option<u64>,
    /// Of one that runs at most once: it may have run, as recorded.
    pub(super) started: bool,
    /// It was with a worker when a process ended, and how often while it ran alone.
    pub(super) suspect: bool,
    pub(super) crashes: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Book {
    pub(super) operation: usize,
    pub(super) position: u64,
    pub(super) keys: Option<Box<[u64]>>,
    pub(super) priority: i8,
    pub(super) not_before: Option<u64>,
    /// The commit that lets it line up is durable.
    pub(super) admitted: bool,
    /// Its time has come.
    pub(super) come: bool,
    /// It has a place in the order, if it has keys.
    pub(super) placed: bool,
    pub(super) was_started: bool,
    /// Items that cannot be decoded fail: as recorded, and as its workers know.
    pub(super) fails: bool,
    pub(super) told_fails: bool,
    pub(super) stage: Stage,
    /// A start came out that is not recorded yet.
    pub(super) started: bool,
    pub(super) closed: bool,
    pub(super) was_stopped: bool,
    /// The kernel knows the batch.
    pub(super) present: bool,
    pub(super) items: Vec<Item>,
}

impl Book {
    pub(super) fn key(&self, index: usize) -> u64 {
        self.keys.as_ref().map_or(0, |keys| keys[index])
    }

    /// When its time comes, while that is waited for.
    pub(super) fn waits_until(&self) -> Option<u64> {
        let waits = self.admitted && !self.come && self.stage.may_start();
        self.not_before.filter(|_| waits)
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.was_started || self.not_before.is_none_or(|time| time <= now)
    }

    /// What a batch is that was just submitted or resumed.
    pub(super) fn line_up_at(&mut self, now: u64) {
        self.admitted = false;
        // The place of one with keys is for good; without keys only the time counts.
        self.placed = self.keys.is_none() || self.is_due(now);
        self.come = self.keys.is_some() && self.placed;
    }

    /// Items that succeeded, that failed, and that are in doubt.
    pub(super) fn recount(&self) -> (u32, u32, u32) {
        let count = |wanted| {
            self.items
                .iter()
                .filter(|i| i.outcome == Some(wanted))
                .count() as u32
        };
        let (succeeded, failed) = (count(Outcome::Succeeded), count(Outcome::Failed));
        (succeeded, failed, count(Outcome::InDoubt))
    }

    /// What recovery and resume make of the recorded waits.
    pub(super) fn wait_again(&mut self, now: u64, longest_wait_ms: u64) {
        for item in &mut self.items {
            item.until = item
                .due
                .map(|due| due.min(now.saturating_add(longest_wait_ms)));
        }
    }
}
