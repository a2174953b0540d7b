//! How fast a batch goes, and so how long it still takes.

use crate::kernel::Timestamp;

/// The pace of a batch since it started, or went on after a stop or a pause, in this opening of the queue.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    /// When its first slice started, and the items that had ended by then.
    began: Option<(Timestamp, u32)>,
    /// The items that had ended when the estimate was made.
    processed: u32,
    left_ms: Option<u64>,
}

impl Pace {
    /// Items of the batch start; `processed` have ended.
    pub(crate) fn start(&mut self, processed: u32, now: impl FnOnce() -> Timestamp) {
        if self.began.is_none() {
            self.began = Some((now(), processed));
            self.processed = processed;
        }
    }

    /// Milliseconds until all of `total` items have ended, as estimated when the last item ended.
    pub(crate) fn left_ms(
        &mut self,
        processed: u32,
        total: u32,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<u64> {
        let (since, before) = self.began?;
        if processed != self.processed {
            self.processed = processed;
            let elapsed_ms = now().0.saturating_sub(since.0);
            let done = u64::from(processed.saturating_sub(before));
            let left = u64::from(total.saturating_sub(processed));
            self.left_ms = left
                .saturating_mul(elapsed_ms)
                .checked_div(done)
                // Within the first millisecond there is no pace to speak of.
                .filter(|_| elapsed_ms > 0);
        }
        self.left_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_stays_until_another_item_ends() {
        let mut pace = Pace::default();
        let mut left_ms = |processed, now| pace.left_ms(processed, 10, || Timestamp(now));
        assert_eq!(left_ms(3, 100), None);
        pace.start(3, || Timestamp(1_000));
        pace.start(3, || Timestamp(5_000));
        let mut left_ms = |processed, now| pace.left_ms(processed, 10, || Timestamp(now));
        assert_eq!(left_ms(3, 1_500), None);
        // Within a millisecond there is no pace.
        assert_eq!(left_ms(4, 1_000), None);
        // 2 items in 2 s, 5 to go.
        assert_eq!(left_ms(5, 3_000), Some(5_000));
        assert_eq!(left_ms(5, 9_000), Some(5_000));
        assert_eq!(left_ms(6, 10_000), Some(12_000));
        assert_eq!(left_ms(10, 20_000), Some(0));
    }
}
