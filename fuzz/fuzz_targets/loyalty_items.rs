//! Anything may be submitted as the items of a loyalty operation. It is refused with its errors, or stored and run to
//! its end; and whatever has run, the ledger adds up.

#![no_main]

use batchwright::loyalty::{
    self, Adjustment, Balance, Cashback, Customers, Events, Hold, OrderTransactions, Orders,
    Program, Redeem, Refund,
};
use batchwright::testing::{DrainedQueue, MemoryDisk};
use batchwright::{Operation, Queue, SubmitError};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;

const OPERATIONS: [&str; 10] = [
    Customers::NAME,
    Orders::NAME,
    OrderTransactions::NAME,
    Balance::NAME,
    Adjustment::NAME,
    Cashback::NAME,
    Redeem::NAME,
    Events::NAME,
    Hold::NAME,
    Refund::NAME,
];

/// So many submissions go to one ledger, so that they find what others left.
const ROUNDS: u32 = 64;

struct Ledger {
    queue: DrainedQueue,
    rounds: u32,
}

impl Ledger {
    fn open() -> Self {
        let builder = loyalty::register_all(Queue::builder("unused"), &Program::default());
        let queue = builder
            .expect("the default program is valid")
            .open_to_drain(&MemoryDisk::new());
        let queue = queue.expect("a disk in memory opens");
        Self { queue, rounds: 0 }
    }

    fn take_in(&mut self, operation: &str, json: &[u8]) {
        match self.queue.submit_json(operation, json) {
            Ok(batch) => {
                self.queue
                    .drain()
                    .expect("the disk in memory does not fail");
                let status = batch.status().expect("the queue is open");
                assert!(status.state.has_ended(), "{status}");
                let audit = loyalty::audit(&self.queue).expect("the ledger can be read");
                assert!(audit.is_clean(), "{audit:?}");
            }
            Err(SubmitError::Invalid { items, .. }) => {
                assert!(!items.is_empty());
                for item in items {
                    assert!(!item.failure.code.is_empty());
                }
            }
            Err(refused) => drop(refused.to_string()),
        }
    }
}

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::new(Ledger::open());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((operation, json)) = bytes.split_first() else {
        return;
    };
    let operation = OPERATIONS[usize::from(*operation) % OPERATIONS.len()];
    LEDGER.with_borrow_mut(|ledger| {
        ledger.take_in(operation, json);
        ledger.rounds += 1;
        if ledger.rounds == ROUNDS {
            *ledger = Ledger::open();
        }
    });
});
