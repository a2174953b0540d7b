//! Claims about the books of one batch's items.

use crate::kernel::Timestamp;
use crate::kernel::items::Items;

#[test]
fn every_item_is_in_exactly_one_place() {
    let mut items = Items::new(4);
    assert_eq!(items.first_pending(), Some(0));
    items.take(0);
    items.take(1);
    assert_eq!((items.taken_count(), items.pending_count()), (2, 2));
    items.release(1);
    assert_eq!(items.first_pending(), Some(1), "it comes before item 2");
    items.release(0);
    assert!(items.wait(0, 1, Timestamp(9)));
    assert!(items.settle(1));
    assert_eq!(
        (
            items.waiting_count(),
            items.pending_count(),
            items.taken_count()
        ),
        (1, 2, 0)
    );
    items.wake(0);
    assert_eq!(items.first_pending(), Some(0));
    assert_eq!((items.next_attempt(0), items.next_attempt(2)), (2, 1));
    for index in [0, 2, 3] {
        assert!(items.settle(index));
    }
    assert!(items.all_settled());
    assert_eq!(items.first_pending(), None);
}

#[test]
fn an_outcome_is_final() {
    let mut items = Items::new(2);
    assert!(items.settle(0));
    assert!(!items.settle(0));
    assert!(!items.wait(0, 2, Timestamp(9)));
    assert!(!items.settle(2));
    assert!(!items.wait(2, 1, Timestamp(9)));
    assert_eq!(items.pending_count(), 1);
}
