//! What the ledger shows: balances, and lines of the history.

use crate::account::Entry;
use crate::dates::{start_of, written};
use crate::decimal::Decimal;
use crate::json::{object, quoted};
use crate::ledger::Ledger;
use crate::rules::Rules;

impl Ledger {
    /// None for an unknown customer.
    pub(crate) fn balance(&self, id: &str, rules: &Rules, now: i64) -> Option<String> {
        let mut customer = self.customers.get(id)?.clone();
        customer.settle(now);
        let worth = |points| Decimal::worth(points, rules.factor).to_string();
        let (total, available) = (customer.balance(), customer.available());
        let pending = customer.pending();
        let next = customer.next_expiring();
        let next_points = next.map_or(0, |(_, points)| points);
        let date = next.map(|(day, _)| quoted(&written(start_of(day))));
        Some(object([
            ("customerId", quoted(id)),
            ("totalPointsBalance", total.to_string()),
            ("totalPointsValue", worth(total)),
            ("availablePointsBalance", available.to_string()),
            ("availablePointsValue", worth(available)),
            ("pendingPoints", pending.to_string()),
            ("pendingPointsValue", worth(pending)),
            ("currency", quoted(rules.currency)),
            ("pointsName", quoted(rules.points_name)),
            ("nextExpiringPointsAmount", next_points.to_string()),
            ("nextExpiringPointsValue", worth(next_points)),
            (
                "nextExpiringPointsDate",
                date.unwrap_or_else(|| "null".to_owned()),
            ),
            ("totalEarnedPoints", customer.earned.to_string()),
        ]))
    }
}

/// A line of the history.
pub(crate) fn entry_json(entry: &Entry) -> String {
    let by = &entry.written_by;
    let time = |ms| quoted(&written(ms));
    let some = |name, value: Option<String>| (name, value);
    let members = [
        some("type", Some(quoted(entry.kind.name()))),
        some("points", Some(entry.points.to_string())),
        some("balanceBefore", Some(entry.before.to_string())),
        some(
            "balanceAfter",
            Some((entry.before + entry.points).to_string()),
        ),
        some("held", entry.held.map(|points| points.to_string())),
        some(
            "holdReference",
            entry.hold.map(|number| quoted(&format!("hold-{number}"))),
        ),
        some("at", Some(time(entry.at))),
        some("availableFrom", entry.from.map(time)),
        some("expiresAt", entry.expiry.map(start_of).map(time)),
        some("transactionNumber", Some(by.place.to_string())),
        some("transactionId", by.transaction.as_deref().map(quoted)),
        some("orderId", by.order.as_deref().map(quoted)),
        some("gameballTransactionId", Some(by.number.to_string())),
        some("transactionTime", by.time.map(time)),
        some("amount", by.amount.map(|amount| amount.to_string())),
        some("reverses", by.reverses.as_deref().map(quoted)),
        some("reason", by.reason.as_deref().map(quoted)),
    ];
    let said = members.into_iter();
    object(said.filter_map(|(name, value)| Some((name, value?))))
}
