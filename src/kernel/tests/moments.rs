//! The numbers of batches, and moments.

use crate::kernel::{BatchId, Timestamp};
use std::time::Duration;

#[test]
fn moments_are_milliseconds_and_do_not_overflow() {
    let (noon, last) = (Timestamp(1_000), Timestamp(u64::MAX));
    let second = Duration::from_millis(1_000);
    assert_eq!(noon.plus(second), Timestamp(2_000));
    assert_eq!(noon.plus_ms(500), Timestamp(1_500));
    assert_eq!(last.plus(second), last);
    assert_eq!(noon.plus(Duration::MAX), last);
    assert_eq!(Timestamp(2_500).minus(second), Timestamp(1_500));
    assert_eq!(Timestamp(999).minus(second), Timestamp(0));
    assert_eq!(Timestamp(2_500).since(noon), Duration::from_millis(1_500));
    assert_eq!(noon.since(last), Duration::ZERO);
}

#[test]
fn the_number_of_a_batch_is_written_as_it_is_read() {
    let batch = BatchId::from(1_204);
    assert_eq!(batch.to_string(), "1204");
    assert_eq!("1204".parse(), Ok(batch));
    assert_eq!(u64::from(batch), 1_204);
    assert_eq!(format!("{batch:>6}"), "  1204");
}
