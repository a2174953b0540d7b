//! Balance: what a customer has now.

use super::account::Account;
use super::codes;
use super::fields::{Field, Fields, Kind};
use super::item::{self, Check, ledger_operation};
use super::money::Money;
use super::object::object;
use super::program::Program;
use super::tables::ACCOUNTS;
use super::time::Time;
use crate::{Context, ExactlyOnce, Failure, Queue, ReadError};
use serde::{Deserialize, Serialize};

ledger_operation! {
    /// Reads a customer's balance as of now: points that have become available or expired, and holds that have,
    /// are counted as what they are, also when no item has touched the account since.
    ///
    /// Fails with [`CUSTOMER_NOT_FOUND`](codes::CUSTOMER_NOT_FOUND).
    Balance, "balance", BalanceItem => BalanceOutput
}

/// Whose balance to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub struct BalanceItem {
    /// The customer.
    pub customer_id: String,
}

object!(BalanceItem);

/// A customer's balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BalanceOutput {
    /// The customer.
    pub customer_id: String,
    /// All points: available, pending and held ones.
    pub total_points_balance: i64,
    /// What they are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub total_points_value: Money,
    /// Points that can be spent; below zero for a customer in debt.
    pub available_points_balance: i64,
    /// What they are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub available_points_value: Money,
    /// Points within their return window.
    pub pending_points: i64,
    /// What they are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub pending_points_value: Money,
    /// The programme's currency.
    pub currency: String,
    /// What the programme calls its points.
    pub points_name: String,
    /// Points that expire next; 0 when none will.
    pub next_expiring_points_amount: i64,
    /// What they are worth.
    #[serde(deserialize_with = "super::money::read_worth")]
    pub next_expiring_points_value: Money,
    /// When they expire; null when none will.
    pub next_expiring_points_date: Option<Time>,
    /// Points that were ever awarded, less those that refunds took back.
    pub total_earned_points: i64,
}

impl BalanceItem {
    /// The balance of this customer.
    pub fn new(customer_id: impl Into<String>) -> Self {
        Self {
            customer_id: customer_id.into(),
        }
    }
}

impl Fields for BalanceItem {
    const FIELDS: &'static [Field] = &[Field::required("customerId", Kind::Text)];
}

impl Check for BalanceItem {
    fn check(&self) -> Result<(), Failure> {
        item::check_id("customerId", &self.customer_id)
    }
}

impl Balance {
    fn post(
        &self,
        BalanceItem { customer_id }: &BalanceItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<BalanceOutput, Failure> {
        let account = cx.get(&ACCOUNTS, customer_id.as_str())?;
        let account = account.ok_or_else(|| codes::unknown_customer(customer_id))?;
        let now = Time::from(cx.now());
        Ok(balance_at(customer_id, account, &self.program, now))
    }
}

/// A customer's balance as of now, read from outside of a batch; `None` for an unknown customer.
///
/// # Errors
/// As [`Queue::read`].
pub fn balance(
    queue: &Queue,
    program: &Program,
    customer_id: &str,
) -> Result<Option<BalanceOutput>, ReadError> {
    if item::check_id("customerId", customer_id).is_err() {
        // Nobody can be called that.
        return Ok(None);
    }
    let account = queue.read(|tables| tables.get(&ACCOUNTS, customer_id))?;
    let now = Time::from(queue.now());
    Ok(account.map(|account| balance_at(customer_id, account, program, now)))
}

fn balance_at(customer: &str, mut account: Account, program: &Program, now: Time) -> BalanceOutput {
    // What the next touch will write down, seen before it does.
    account.settle(now, &mut Vec::new());
    let worth = |points| Money::worth(points, program.redemption_factor);
    let (total, available) = (account.balance(), account.available());
    let pending = account.pending();
    let next = account.lots.next_expiring();
    let next_points = next.map_or(0, |(_, points)| points);
    BalanceOutput {
        customer_id: customer.to_owned(),
        total_points_balance: total,
        total_points_value: worth(total),
        available_points_balance: available,
        available_points_value: worth(available),
        pending_points: pending,
        pending_points_value: worth(pending),
        currency: program.currency.clone(),
        points_name: program.points_name.clone(),
        next_expiring_points_amount: next_points,
        next_expiring_points_value: worth(next_points),
        next_expiring_points_date: next.map(|(time, _)| time),
        total_earned_points: account.earned,
    }
}
