//! A histogram of durations that many threads record in at once, without a lock.
//!
//! Buckets are log-linear: each power of two of nanoseconds is split into 16. So a duration is known to a
//! sixteenth of itself, from a nanosecond to centuries, in 8 KiB.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Each power of two is split into `1 << SPLIT_BITS` buckets.
const SPLIT_BITS: u32 = 4;
const SPLIT: usize = 1 << SPLIT_BITS;

/// Below `SPLIT` a bucket is one value; each of the other powers of two up to `2^63` has `SPLIT` of them.
const BUCKETS: usize = SPLIT + (u64::BITS - SPLIT_BITS) as usize * SPLIT;

/// What has been recorded since it was made.
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64; BUCKETS]>,
    /// Nanoseconds. Has room for 584 years, which all workers together fill.
    sum: AtomicU64,
    max: AtomicU64,
}

/// A histogram at one moment. What others record meanwhile may be in one of its figures and not in another.
#[derive(Debug)]
pub(crate) struct Snapshot {
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// Records durations that belong together, at the price of one addition each.
    pub(crate) fn record(&self, durations: impl IntoIterator<Item = Duration>) {
        let (mut sum, mut max) = (0_u64, 0);
        for duration in durations {
            let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            self.buckets[bucket_of(nanos)].fetch_add(1, Ordering::Relaxed);
            sum = sum.saturating_add(nanos);
            max = max.max(nanos);
        }
        self.sum.fetch_add(sum, Ordering::Relaxed);
        self.max.fetch_max(max, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts: Vec<u64> = self.buckets.iter().map(load).collect();
        Snapshot {
            count: counts.iter().sum(),
            counts,
            sum: load(&self.sum),
            max: load(&self.max),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: Box::new([const { AtomicU64::new(0) }; BUCKETS]),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot {
            count, sum, max, ..
        } = self.snapshot();
        f.debug_struct("Histogram")
            .field("count", &count)
            .field("sum", &sum)
            .field("max", &max)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Zero when nothing was recorded, as all the figures.
    pub(crate) fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum.checked_div(self.count).unwrap_or(0))
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// What `percent` of the durations do not exceed: never too short, at most a sixteenth too long.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let mut passed = 0;
        let found = self.counts.iter().position(|count| {
            passed += count;
            passed >= rank
        });
        let nanos = found.map_or(0, longest_of);
        Duration::from_nanos(nanos.min(self.max))
    }
}

fn bucket_of(nanos: u64) -> usize {
    if nanos < SPLIT as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - SPLIT_BITS;
    let part = (nanos >> shift) as usize - SPLIT;
    SPLIT + shift as usize * SPLIT + part
}

/// The longest duration of a bucket, in nanoseconds.
fn longest_of(bucket: usize) -> u64 {
    if bucket < SPLIT {
        return bucket as u64;
    }
    let shift = bucket / SPLIT - 1;
    let first = ((SPLIT + bucket % SPLIT) as u64) << shift;
    first + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::thread;

    #[test]
    fn buckets_follow_each_other_without_gap_or_overlap() {
        let mut first = 0;
        for bucket in 0..BUCKETS {
            let last = longest_of(bucket);
            assert_eq!((bucket_of(first), bucket_of(last)), (bucket, bucket));
            assert!(last - first <= first / SPLIT as u64, "bucket {bucket}");
            first = last.wrapping_add(1);
        }
        assert_eq!(first, 0, "the last bucket ends with the last number");
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        let empty = Histogram::default().snapshot();
        let figures = [empty.mean(), empty.max(), empty.percentile(99)];
        assert_eq!((empty.count(), figures), (0, [Duration::ZERO; 3]));
    }

    #[test]
    fn what_threads_record_at_once_is_all_there() {
        let histogram = Histogram::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for nanos in 1..=1_000 {
                        histogram.record([Duration::from_nanos(nanos)]);
                    }
                });
            }
        });
        let all = histogram.snapshot();
        assert_eq!(all.count(), 4_000);
        assert_eq!(all.mean(), Duration::from_nanos(500));
        assert_eq!(all.max(), Duration::from_nanos(1_000));
    }

    /// Durations of all sizes, not mostly huge ones.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let nanos = (0..64_u32, any::<u64>()).prop_map(|(bits, n)| n >> bits);
        prop::collection::vec(nanos, 1..300)
    }

    proptest! {
        #[test]
        fn figures_are_those_of_the_sorted_durations(nanos in durations(), percent in 1..=100_u64) {
            let histogram = Histogram::default();
            // As slices do it: some at a time.
            for part in nanos.chunks(7) {
                histogram.record(part.iter().copied().map(Duration::from_nanos));
            }
            let found = histogram.snapshot();
            let mut sorted = nanos;
            sorted.sort_unstable();
            let rank = (sorted.len() * percent as usize).div_ceil(100);
            let exact = sorted[rank - 1];
            let shown = found.percentile(percent).as_nanos() as u64;
            prop_assert!(shown >= exact, "{shown} for {exact}");
            prop_assert!(shown - exact <= exact / SPLIT as u64, "{shown} for {exact}");
            prop_assert_eq!(found.count(), sorted.len() as u64);
            prop_assert_eq!(found.max().as_nanos() as u64, sorted[sorted.len() - 1]);
            let sum: u128 = sorted.iter().copied().map(u128::from).sum();
            if let Ok(sum) = u64::try_from(sum) {
                let mean = sum / sorted.len() as u64;
                prop_assert_eq!(found.mean().as_nanos() as u64, mean);
            }
        }
    }
}
