//! The operation: what happens to one purchase, and where the result is kept.

use crate::purchase::Purchase;
use batchwright::{Context, ExactlyOnce, Failure, Operation, Table};

/// Points of each customer.
pub(crate) const BALANCES: Table<str, u64> = Table::new("balances");

/// Adds a purchase's points to its customer's balance.
///
/// Exactly once: the new balance and the item's outcome are one commit, so no crash can leave one without
/// the other.
pub(crate) struct AwardPoints;

impl Operation for AwardPoints {
    const NAME: &'static str = "award_points";
    type Item = Purchase;
    /// The customer's balance after the purchase.
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, purchase: Purchase, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let customer = purchase.customer.as_str();
        let balance = cx.get(&BALANCES, customer)?.unwrap_or(0);
        let balance = balance.checked_add(purchase.points()).ok_or_else(|| {
            let text = format!("line {}: the balance would be too large", purchase.line);
            Failure::permanent("balance_overflow", text).field("amount")
        })?;
        cx.put(&BALANCES, customer, &balance)?;
        Ok(balance)
    }
}
