//! Calls a service that drops connections, loses answers and is busy at times, until every call is answered;
//! the idempotency key lets the service recognise what it has done already.
//!
//! ```text
//! cargo run --example http_call
//! ```
#![expect(clippy::print_stdout, reason = "an example prints what happened")]

mod send_voucher;
mod voucher_service;

use batchwright::Queue;
use send_voucher::{SendVoucher, Voucher};
use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;
use voucher_service::VoucherService;

const VOUCHERS: u32 = 100;

fn main() -> Result<(), Box<dyn Error>> {
    let service = VoucherService::start()?;
    let dir = tempfile::tempdir()?;
    // Handlers that wait for a network want more workers than there are cores.
    let queue = Queue::builder(dir.path())
        .workers(8)
        .register(SendVoucher::to(service.url()))
        .open()?;

    let vouchers = (0..VOUCHERS).map(|customer| Voucher {
        customer,
        euros: 5 + customer % 20,
    });
    let batch = queue.submit::<SendVoucher>(vouchers)?;
    println!("submitted, and durable: {}", batch.status()?);
    println!("ended: {}", batch.wait()?);

    let mut numbers = BTreeSet::new();
    let mut attempts = 0;
    for item in batch.outcomes()? {
        let item = item?;
        attempts += item.attempts;
        numbers.extend(item.outcome.into_output());
    }
    queue.shutdown(Duration::from_secs(5))?;

    let seen = service.seen();
    println!("attempts recorded by the queue: {attempts}");
    println!("what the service saw: {seen:?}");
    assert_eq!(
        numbers.len() as u32,
        VOUCHERS,
        "each has a number of its own"
    );
    assert_eq!(seen.vouchers_sent, VOUCHERS, "each was sent exactly once");
    assert!(seen.requests > VOUCHERS, "though requests were repeated");
    println!("{VOUCHERS} vouchers, each sent once");
    Ok(())
}
