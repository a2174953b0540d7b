//! The ledger's tables and the keys of its transactions.
//!
//! | table | key | row |
//! |---|---|---|
//! | `loyalty.accounts` | customer | [`Account`]: also says that the customer exists |
//! | `loyalty.transactions` | `t` transaction id, `o` order id, or `n` number | [`Transaction`] |
//! | `loyalty.profiles` | customer | [`Profile`] |
//! | `loyalty.events` | customer, 0, number | [`StoredEvents`] |
//! | `loyalty.orders` | order id | an order too large for its transaction's row |
//!
//! A key is what costs the store time. So an item that moves points adds one, its transaction's, which has all its
//! entries and the key of the customer's transaction before it: history and audit follow that chain. The
//! account's row is written once for all items of a commit.

use super::account::Account;
use super::document::Document;
use super::events::StoredEvents;
use super::profile::Profile;
use super::transaction::Transaction;
use crate::Table;

pub(super) const ACCOUNTS: Table<str, Account> = Table::new("loyalty.accounts");
pub(super) const TRANSACTIONS: Table<str, Transaction> = Table::new("loyalty.transactions");
pub(super) const PROFILES: Table<str, Profile> = Table::new("loyalty.profiles");
pub(super) const EVENTS: Table<str, StoredEvents> = Table::new("loyalty.events");
pub(super) const ORDERS: Table<str, Document> = Table::new("loyalty.orders");

/// The key of the transaction with this id.
pub(super) fn transaction_key(id: &str) -> String {
    format!("t{id}")
}

/// The key of the transaction of this order.
pub(super) fn order_key(id: &str) -> String {
    format!("o{id}")
}

/// The key of a transaction that was given no id.
pub(super) fn numbered_key(number: u64) -> String {
    format!("n{number}")
}

/// The key of a transaction that may have been given an id.
pub(super) fn optional_key(id: Option<&str>, number: u64) -> String {
    id.map_or_else(|| numbered_key(number), transaction_key)
}

/// What all keys of a customer's events begin with. A customer's id has no control characters.
pub(super) fn events_prefix(customer: &str) -> String {
    format!("{customer}\0")
}

pub(super) fn events_key(customer: &str, number: u64) -> String {
    format!("{customer}\0{number:016x}")
}
