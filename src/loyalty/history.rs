//! A customer's entries, newest first: the chain of transactions, followed from its end.

use super::account::Account;
use super::entry::{self, Kind};
use super::item;
use super::money::Money;
use super::tables::{ACCOUNTS, TRANSACTIONS};
use super::time::Time;
use super::transaction::Transaction;
use crate::{Queue, ReadError, TableError};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A movement of a customer's points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Entry {
    /// What moved them.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// By how many points the balance changed.
    pub points: i64,
    /// The balance before: available, pending and held points, less a debt.
    pub balance_before: i64,
    /// The balance after: `balance_before + points`.
    pub balance_after: i64,
    /// By how many the held points changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<i64>,
    /// The hold that was made, redeemed, or has expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_reference: Option<String>,
    /// When it took effect.
    pub at: Time,
    /// When awarded points become available, when that is later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_from: Option<Time>,
    /// When awarded points expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Which of the customer's transactions made it, from 1. Points that expire and holds that lapse are written
    /// down by the transaction that touches the account next.
    pub transaction_number: u64,
    /// The id that transaction was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// The order, when it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_id: Option<String>,
    /// The transaction's number in the ledger.
    pub gameball_transaction_id: u64,
    /// The time that the item gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_time: Option<Time>,
    /// The money that it is about.
    #[serde(
        default,
        deserialize_with = "super::money::read_optional_worth",
        skip_serializing_if = "Option::is_none"
    )]
    pub amount: Option<Money>,
    /// What a refund reversed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<String>,
    /// The reason that the item gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Entry {
    /// The entries of the transaction under `key`, in their order.
    pub(super) fn all(key: &str, transaction: &Transaction) -> Vec<Self> {
        transaction
            .entries
            .iter()
            .map(|entry| Self::new(key, transaction, entry))
            .collect()
    }

    fn new(key: &str, transaction: &Transaction, entry: &entry::Entry) -> Self {
        let id_after = |prefix| key.strip_prefix(prefix).map(str::to_owned);
        let terms = &transaction.terms;
        // What the item said is of its own movements, not of those that were due.
        let is_due = matches!(entry.kind, Kind::Expiry | Kind::HoldExpiry);
        let is_award = matches!(entry.kind, Kind::Cashback | Kind::Adjustment) && entry.points > 0;
        let part = entry.parts.first().filter(|_| is_award);
        Self {
            kind: entry.kind,
            points: entry.points,
            balance_before: entry.before,
            balance_after: entry.after,
            held: entry.held,
            hold_reference: entry.hold.map(super::hold::reference),
            at: entry.at_ms.map_or(transaction.at(), Time::from_ms),
            available_from: entry.from_ms.map(Time::from_ms),
            expires_at: part.and_then(|part| part.0.time()),
            transaction_number: transaction.place,
            transaction_id: id_after("t"),
            order_id: id_after("o"),
            gameball_transaction_id: transaction.number.0,
            transaction_time: terms.time_ms.filter(|_| !is_due).map(Time::from_ms),
            amount: terms.amount.filter(|_| !is_due),
            reverses: terms.reverses.clone().filter(|_| !is_due),
            reason: terms.reason.clone().filter(|_| !is_due),
        }
    }
}

/// Transactions that are read in one view. Commits wait meanwhile.
const PAGE: usize = 256;

/// A customer's entries, newest first; `None` for an unknown customer.
///
/// They are read as the iterator goes on, some hundred transactions at a time, and stay what they were when it was
/// made: what moves points meanwhile is not among them. What is due (points that have expired, holds that have
/// lapsed) is an entry from the next transaction on; [`balance`](super::balance()) knows it before.
///
/// # Errors
/// As [`Queue::read`]; also from the iterator.
pub fn history(queue: &Queue, customer_id: &str) -> Result<Option<History>, ReadError> {
    if item::check_id("customerId", customer_id).is_err() {
        return Ok(None);
    }
    let account = queue.read(|tables| tables.get(&ACCOUNTS, customer_id))?;
    Ok(account.map(|account| History {
        chain: Chain::new(queue, &account),
        entries: Vec::new(),
    }))
}

/// A customer's entries: from [`history`].
#[must_use = "entries are read as the iterator goes on"]
pub struct History {
    chain: Chain,
    /// Of the transaction that was read last, oldest first.
    entries: Vec<Entry>,
}

impl Iterator for History {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.pop() {
                return Some(Ok(entry));
            }
            match self.chain.next()? {
                Ok((key, transaction)) => self.entries = Entry::all(&key, &transaction),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

/// A customer's transactions with their keys, newest first. Ends with an error at one that is missing or not the one
/// that is due.
pub(super) struct Chain {
    queue: Queue,
    next: Option<String>,
    /// The place of the next one, so that even a damaged chain comes to an end.
    due: u64,
    /// What was read ahead, oldest first.
    page: Vec<Result<(String, Transaction), ReadError>>,
}

impl Chain {
    pub(super) fn new(queue: &Queue, account: &Account) -> Self {
        Self {
            queue: queue.clone(),
            next: account.last.clone(),
            due: account.number,
            page: Vec::new(),
        }
    }

    fn read_page(&mut self) -> Result<(), ReadError> {
        let (mut next, mut due) = (self.next.take(), self.due);
        let mut page = Vec::new();
        self.queue.read(|tables| {
            while let Some(key) = next.take_if(|_| page.len() < PAGE) {
                match tables.get(&TRANSACTIONS, key.as_str()) {
                    Ok(Some(transaction)) if transaction.place == due && due > 0 => {
                        due -= 1;
                        next.clone_from(&transaction.previous);
                        page.push(Ok((key, transaction)));
                    }
                    Ok(found) => page.push(Err(not_due(&key, due, found).into())),
                    // What was read before it can be told all the same.
                    Err(error) => page.push(Err(error.into())),
                }
            }
            Ok(())
        })?;
        page.reverse();
        self.due = due;
        self.next = next;
        self.page = page;
        Ok(())
    }
}

fn not_due(key: &str, due: u64, found: Option<Transaction>) -> TableError {
    let reason = match found {
        None => format!("transaction {key:?} is missing, which another one follows"),
        Some(Transaction { place, .. }) => {
            format!("transaction {key:?} has number {place}, {due} was due")
        }
    };
    TableError::Undecodable {
        table: TRANSACTIONS.name(),
        reason,
    }
}

impl Iterator for Chain {
    type Item = Result<(String, Transaction), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.is_empty()
            && let Err(error) = self.read_page()
        {
            return Some(Err(error));
        }
        self.page.pop()
    }
}
