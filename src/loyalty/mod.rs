//! Loyalty points: ten operations on a ledger inside the store. Feature `loyalty`, on by default.
//!
//! Each operation is [exactly-once](crate::ExactlyOnce): the points that an item moves and the item's outcome are one
//! commit. Items, outputs and error codes are those of the published batch API of a loyalty platform, so that its
//! clients' data works as it is.
//!
//! ```
//! use batchwright::loyalty::{self, Cashback, CashbackItem, Program, Redeem, RedeemItem, Time};
//! use batchwright::{Outcome, Queue};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let program = Program::default(); // a point a unit, worth a tenth of it
//! let queue = loyalty::register_all(Queue::builder(dir.path()), &program)?.open()?;
//!
//! let noon: Time = "2025-03-14T12:00:00Z".parse()?;
//! queue.submit::<Cashback>([CashbackItem::new("ada", "order-1", noon, "150.75".parse()?)])?.wait()?;
//! let batch = queue.submit::<Redeem>([
//!     RedeemItem::points("ada", "redeem-1", noon, 100),
//!     RedeemItem::points("ada", "redeem-2", noon, 100),
//! ])?;
//! batch.wait()?;
//! let outcomes: Vec<_> = batch.outcomes()?.collect::<Result<_, _>>()?;
//! assert!(outcomes[0].outcome.is_success());
//! let failure = outcomes[1].outcome.failure().expect("50 points are left");
//! assert_eq!(failure.code, loyalty::codes::INSUFFICIENT_POINTS);
//!
//! let balance = loyalty::balance(&queue, &program, "ada")?.expect("a cashback creates its customer");
//! assert_eq!(balance.available_points_balance, 50);
//! assert!(loyalty::audit(&queue)?.is_clean());
//! # Ok(())
//! # }
//! ```
//!
//! # The operations
//!
//! | operation | it |
//! |---|---|
//! | [`Customers`] | creates customers and updates their profiles |
//! | [`Orders`] | stores orders, redeems the holds they name, awards points for what was paid |
//! | [`OrderTransactions`] | reads what an order moved |
//! | [`Balance`] | reads balances |
//! | [`Adjustment`] | adds or deducts points |
//! | [`Cashback`] | awards points for purchases |
//! | [`Redeem`] | takes points |
//! | [`Events`] | keeps events |
//! | [`Hold`] | reserves points for a while |
//! | [`Refund`] | reverses a cashback or a redemption |
//!
//! An item that is no item of its operation is refused at submit, with everything that is wrong in the batch, and
//! nothing is stored: [`SubmitError::Invalid`](crate::SubmitError::Invalid). What only the ledger knows (an unknown
//! customer, too few points, an id that was used before) fails the item alone, when it runs. Both carry a code of
//! [`codes`], a message and the field.
//!
//! # Rules
//!
//! - **Money** is exact ([`Money`]), points are whole. `floor(amount x earn_rate)` points are awarded; a point is worth
//!   `redemption_factor`. An amount that is turned into points to take must be a whole number of them.
//! - **Ids**: cashbacks, redemptions, adjustments, holds, refunds and events share one namespace of transaction ids in a
//!   store, orders have another. An id that was used before fails with [`codes::DUPLICATE`] for ever, also when the
//!   batch of before was deleted, and moves nothing; [`Original`] says where it was used, and whether for the same
//!   content. So sending everything again is safe. An item that failed has used no id.
//! - **Balance**: what belongs to a customer, which is available, pending and held points, less a debt. Every
//!   movement is an entry with the balance before and after; [`history`] lists them, [`audit`] adds them up.
//! - **Time** is the queue's ([`Queue::now`](crate::Queue::now)). Awarded points are pending for the return window, from
//!   the time of the transaction; they expire some days after they become available, with the end of that day in
//!   UTC. What is due is seen by every read at once, and written down by the next item that moves the customer's
//!   points. Held points do not expire while they are held.
//! - **Order**: what expires first is spent first. Points of one customer with the same dates are one lot. With more than
//!   256 pending dates they are rounded up to the hour, then to the day; more than [`LOTS_MAX`] different dates are
//!   [`codes::LIMIT_EXCEEDED`].
//!
//! Reads from outside of a batch: [`balance`], [`history`], [`profile`], [`order`], [`events`], [`audit`].

mod account;
mod adjustment;
mod audit;
mod balance;
mod cashback;
pub mod codes;
mod customers;
mod document;
mod entry;
mod events;
mod fields;
mod history;
mod hold;
mod item;
mod lots;
mod money;
mod object;
mod order_transactions;
mod orders;
mod posting;
mod profile;
mod program;
mod redeem;
mod refund;
mod tables;
mod time;
mod transaction;

pub use account::{HOLDS_MAX, LOTS_MAX};
pub use adjustment::{Adjustment, AdjustmentItem, AdjustmentOutput};
pub use audit::{Audit, DIFFERENCES, Difference, audit};
pub use balance::{Balance, BalanceItem, BalanceOutput, balance};
pub use cashback::{Cashback, CashbackConfigurations, CashbackItem, CashbackOutput};
pub use customers::{CustomerItem, CustomerOutput, Customers, profile};
pub use document::Document;
pub use entry::Kind as EntryKind;
pub use events::{EVENTS_BYTES, Events, EventsItem, EventsOutput, StoredEvents, events};
pub use fields::{Field, Fields, Kind as FieldKind};
pub use history::{Entry, History, history};
pub use hold::{Hold, HoldItem, HoldOutput};
pub use item::{ID_BYTES, MERCHANT_BYTES, TEXT_BYTES};
pub use money::{InvalidNumber, Money, POINTS_MAX, Rate};
pub use order_transactions::{OrderId, OrderTransactions, OrderTransactionsOutput};
pub use orders::{OrderItem, OrderOutput, OrderRedemption, Orders, order};
pub use posting::CLOCK_SKEW;
pub use profile::{CustomerAttributes, Profile};
pub use program::{
    EXPIRY_DAYS_MAX, HOLD_MINUTES_RANGE, InvalidProgram, Program, RETURN_WINDOW_DAYS_MAX,
};
pub use redeem::{Redeem, RedeemItem, RedeemOutput};
pub use refund::{Refund, RefundItem, RefundOutput};
pub use time::{InvalidTime, Time};
pub use transaction::Original;

use crate::Builder;
use std::sync::Arc;

/// Registers all operations of the module.
///
/// # Errors
/// [`InvalidProgram`].
pub fn register_all(builder: Builder, program: &Program) -> Result<Builder, InvalidProgram> {
    program.check()?;
    let program = Arc::new(program.clone());
    Ok(builder
        .register(Customers::new(Arc::clone(&program)))
        .register(Orders::new(Arc::clone(&program)))
        .register(OrderTransactions::new(Arc::clone(&program)))
        .register(Balance::new(Arc::clone(&program)))
        .register(Adjustment::new(Arc::clone(&program)))
        .register(Cashback::new(Arc::clone(&program)))
        .register(Redeem::new(Arc::clone(&program)))
        .register(Events::new(Arc::clone(&program)))
        .register(Hold::new(Arc::clone(&program)))
        .register(Refund::new(program)))
}
