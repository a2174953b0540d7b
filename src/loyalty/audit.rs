//! The audit: every balance, from its entries.

use super::account::Account;
use super::document::Document;
use super::entry::{Entry, Kind};
use super::history::Chain;
use super::tables::{ACCOUNTS, TRANSACTIONS};
use super::transaction::Transaction;
use crate::{Queue, ReadError, Table, TableError};
use std::fmt;

/// What an audit found: from [`audit`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// Customers looked at.
    pub customers: u64,
    /// Transactions on their chains.
    pub transactions: u64,
    /// Entries of these.
    pub entries: u64,
    /// What all customers have together: available, pending and held points, less debts. Points that have expired
    /// since an account was touched last are among them.
    pub points: i128,
    /// What does not add up; the first [`DIFFERENCES`] only.
    pub differences: Vec<Difference>,
    /// All that does not add up.
    pub difference_count: u64,
    /// Whether it was looked for transactions that are on no customer's chain: not when points were moved meanwhile.
    pub strays_counted: bool,
}

/// Differences that an audit tells, at most; the others it counts.
pub const DIFFERENCES: usize = 1_000;

/// Something that does not add up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The customer; `None` when it is about the tables as a whole.
    pub customer_id: Option<String>,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(customer) = &self.customer_id {
            write!(f, "customer {customer:?}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl Audit {
    /// Whether everything adds up.
    pub fn is_clean(&self) -> bool {
        self.difference_count == 0
    }

    fn differs(&mut self, customer: Option<&str>, what: String) {
        self.difference_count += 1;
        if self.differences.len() < DIFFERENCES {
            self.differences.push(Difference {
                customer_id: customer.map(str::to_owned),
                what,
            });
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            customers,
            transactions,
            entries,
            points,
            difference_count,
            ..
        } = self;
        write!(
            f,
            "{customers} customers, {transactions} transactions, {entries} entries, {points} points: "
        )?;
        match difference_count {
            0 => f.write_str("everything adds up")?,
            1 => f.write_str("1 difference")?,
            n => write!(f, "{n} differences")?,
        }
        for difference in &self.differences {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

/// Accounts, or transactions, that are read in one view. Commits wait meanwhile.
const PAGE: usize = 256;

/// Computes every balance anew from its entries, and tells each difference: entries whose balances do not follow from
/// each other, accounts that have another balance, other holds or other earnings than their entries come to,
/// transactions that are missing, or that belong to nobody.
///
/// It may run beside a working queue: each customer is looked at as of one moment. In memory it needs as much for
/// ten million entries as for ten.
///
/// # Errors
/// As [`Queue::read`]. A row that cannot be read is a difference.
pub fn audit(queue: &Queue) -> Result<Audit, ReadError> {
    let mut audit = Audit::default();
    let mut on_chains = Sum::default();
    each_row(
        queue,
        &RAW_ACCOUNTS,
        |customer, row| match serde_json::from_str(row.as_str()) {
            Ok(account) => audit_account(queue, customer, &account, &mut audit, &mut on_chains),
            Err(error) => {
                audit.differs(
                    Some(customer),
                    format!("the account cannot be read: {error}"),
                );
                Ok(())
            }
        },
    )?;
    count_strays(queue, &mut audit, on_chains)?;
    Ok(audit)
}

/// Rows as they are stored: one that cannot be read must not hide the others.
const RAW_ACCOUNTS: Table<str, Document> = Table::new(ACCOUNTS.name());
const RAW_TRANSACTIONS: Table<str, Document> = Table::new(TRANSACTIONS.name());

fn each_row(
    queue: &Queue,
    table: &Table<str, Document>,
    mut look: impl FnMut(&str, &Document) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let mut from = String::new();
    loop {
        let page: Vec<_> = queue.read(|tables| {
            let rows = tables.range(table, from.as_str()..);
            rows.take(PAGE).collect()
        })?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        // The next key after it.
        from = format!("{last}\0");
        for (key, row) in &page {
            look(key, row)?;
        }
    }
}

/// What a customer's entries come to, newest first.
#[derive(Default)]
struct Totals {
    balance: i128,
    held: i128,
    earned: i128,
}

fn audit_account(
    queue: &Queue,
    customer: &str,
    account: &Account,
    audit: &mut Audit,
    on_chains: &mut Sum,
) -> Result<(), ReadError> {
    audit.customers += 1;
    audit.points += i128::from(account.balance());
    let mut totals = Totals::default();
    // What the entry before must come to.
    let mut expected = account.balance();
    let mut place = account.number;
    for transaction in Chain::new(queue, account) {
        let (key, transaction) = match transaction {
            Ok(read) => read,
            Err(ReadError::Table(error @ TableError::Undecodable { .. })) => {
                audit.differs(Some(customer), error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        on_chains.add(&key);
        audit.transactions += 1;
        if transaction.customer != customer {
            let whose = &transaction.customer;
            audit.differs(
                Some(customer),
                format!("transaction {key:?} is of customer {whose:?}"),
            );
        }
        place -= 1;
        for entry in transaction.entries.iter().rev() {
            audit.entries += 1;
            audit_entry(customer, &key, entry, expected, audit);
            expected = entry.before;
            totals.add(entry);
        }
    }
    if place > 0 {
        audit.differs(
            Some(customer),
            format!("{place} transactions are missing at the beginning"),
        );
    }
    if expected != 0 {
        audit.differs(
            Some(customer),
            format!("the first entry has {expected} points before it"),
        );
    }
    let found = [
        ("balance", i128::from(account.balance()), totals.balance),
        ("held points", i128::from(account.held()), totals.held),
        ("earned points", i128::from(account.earned), totals.earned),
    ];
    for (what, account, entries) in found {
        if account != entries {
            audit.differs(
                Some(customer),
                format!("the {what} are {account}, the entries come to {entries}"),
            );
        }
    }
    Ok(())
}

fn audit_entry(customer: &str, key: &str, entry: &Entry, expected: i64, audit: &mut Audit) {
    let Entry {
        kind,
        points,
        before,
        after,
        ..
    } = entry;
    if before.checked_add(*points) != Some(*after) {
        let text = format!(
            "a {kind} of transaction {key:?} has {before} before, {points} moved, {after} after"
        );
        audit.differs(Some(customer), text);
    }
    if *after != expected {
        let text = format!(
            "after a {kind} of transaction {key:?} the balance is {after}, {expected} follows"
        );
        audit.differs(Some(customer), text);
    }
}

impl Totals {
    fn add(&mut self, entry: &Entry) {
        let points = i128::from(entry.points);
        self.balance += points;
        self.held += i128::from(entry.held.unwrap_or(0));
        let is_award = match entry.kind {
            Kind::Cashback => true,
            Kind::Adjustment => points > 0,
            // A reversed award; what comes back of a redemption was earned before.
            Kind::Refund => points < 0,
            _ => false,
        };
        if is_award {
            self.earned += points;
        }
    }
}

/// How many keys, and a sum of their hashes, which does not depend on their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    keys: u64,
    hashes: u64,
}

impl Sum {
    fn add(&mut self, key: &str) {
        self.keys += 1;
        self.hashes = self
            .hashes
            .wrapping_add(twox_hash::XxHash3_64::oneshot(key.as_bytes()));
    }
}

/// Looks for transactions on no chain.
fn count_strays(queue: &Queue, audit: &mut Audit, on_chains: Sum) -> Result<(), ReadError> {
    let mut stored = Sum::default();
    each_row(queue, &RAW_TRANSACTIONS, |key, row| {
        match serde_json::from_str::<Transaction>(row.as_str()) {
            Ok(transaction) if transaction.place > 0 => stored.add(key),
            Ok(_) => {}
            // There may be nobody who follows it.
            Err(error) => {
                audit.differs(None, format!("transaction {key:?} cannot be read: {error}"))
            }
        }
        Ok(())
    })?;
    // What was moved since the chains were followed is on none that was.
    let mut numbers = 0;
    each_row(queue, &RAW_ACCOUNTS, |_, row| {
        let account: serde_json::Result<Account> = serde_json::from_str(row.as_str());
        numbers += account.map_or(0, |account| account.number);
        Ok(())
    })?;
    audit.strays_counted = numbers == on_chains.keys;
    if audit.strays_counted && stored != on_chains {
        let (found, followed) = (stored.keys, on_chains.keys);
        let text = format!("{found} transactions are stored, of {followed} on chains");
        audit.differs(None, text);
    }
    Ok(())
}
