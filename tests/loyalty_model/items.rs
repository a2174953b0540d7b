//! Items of the ten operations, and how they are written.

use crate::dates::{written, written_with_offset};
use crate::decimal::Decimal;
use crate::json::{object, quoted};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Customers,
    Orders,
    OrderTransactions,
    Balance,
    Adjustment,
    Cashback,
    Redeem,
    Events,
    Hold,
    Refund,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Orders => "orders",
            Self::OrderTransactions => "order-transactions",
            Self::Balance => "balance",
            Self::Adjustment => "adjustment",
            Self::Cashback => "cashback",
            Self::Redeem => "redeem",
            Self::Events => "events",
            Self::Hold => "hold",
            Self::Refund => "refund",
        }
    }
}

/// How many points an item is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Size {
    Amount(Decimal),
    Points(i64),
    /// Those of a hold.
    Hold(String),
}

/// An item. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Customer {
        customer: String,
        email: Option<String>,
        name: Option<String>,
        /// Members, and names of members to remove.
        custom: BTreeMap<String, Option<u8>>,
    },
    Order {
        customer: String,
        order: String,
        time: i64,
        paid: Decimal,
        hold: Option<String>,
        window: Option<u32>,
    },
    OrderTransactions {
        order: String,
    },
    Balance {
        customer: String,
    },
    Adjustment {
        customer: String,
        size: Size,
        id: Option<String>,
        days: Option<u32>,
        reason: Option<String>,
    },
    Cashback {
        customer: String,
        id: String,
        time: i64,
        amount: Decimal,
        email: Option<String>,
        window: Option<u32>,
    },
    Redeem {
        customer: String,
        id: String,
        time: i64,
        size: Size,
        reason: Option<String>,
    },
    Events {
        customer: String,
        names: Vec<String>,
        id: Option<String>,
    },
    Hold {
        customer: String,
        time: i64,
        size: Size,
        id: Option<String>,
        minutes: Option<u32>,
    },
    Refund {
        customer: String,
        id: String,
        reverses: String,
        time: i64,
        amount: Option<Decimal>,
    },
}

type Members = Vec<(&'static str, String)>;

fn time_json(ms: i64) -> String {
    // The same instants, written in one way or the other.
    quoted(&if ms % 3 == 0 {
        written_with_offset(ms)
    } else {
        written(ms)
    })
}

fn amount_json(amount: Decimal) -> String {
    let text = amount.to_string();
    if amount.0 % 7 == 0 {
        quoted(&text)
    } else {
        text
    }
}

fn text(members: &mut Members, name: &'static str, text: &Option<String>) {
    members.extend(text.as_ref().map(|text| (name, quoted(text))));
}

fn number(members: &mut Members, name: &'static str, number: &Option<u32>) {
    members.extend(number.map(|number| (name, number.to_string())));
}

fn window(members: &mut Members, name: &'static str, days: &Option<u32>) {
    if let Some(days) = days {
        members.push((name, object([("returnWindow", days.to_string())])));
    }
}

fn size(members: &mut Members, amount: &'static str, points: &'static str, size: &Size) {
    members.push(match size {
        Size::Amount(money) => (amount, amount_json(*money)),
        Size::Points(number) => (points, number.to_string()),
        Size::Hold(reference) => ("holdReference", quoted(reference)),
    });
}

impl Item {
    pub(crate) fn customer(&self) -> Option<&str> {
        match self {
            Self::OrderTransactions { .. } => None,
            Self::Customer { customer, .. }
            | Self::Order { customer, .. }
            | Self::Balance { customer }
            | Self::Adjustment { customer, .. }
            | Self::Cashback { customer, .. }
            | Self::Redeem { customer, .. }
            | Self::Events { customer, .. }
            | Self::Hold { customer, .. }
            | Self::Refund { customer, .. } => Some(customer),
        }
    }

    /// The same id, and something else.
    pub(crate) fn changed(&self) -> Self {
        let mut item = self.clone();
        match &mut item {
            Self::OrderTransactions { .. } | Self::Balance { .. } => {}
            Self::Customer { name, .. } => *name = Some("changed".to_owned()),
            Self::Order { window, .. } => *window = Some(3),
            Self::Adjustment { reason, .. } | Self::Redeem { reason, .. } => {
                *reason = Some("changed".to_owned());
            }
            Self::Cashback { amount, .. } => amount.0 = (amount.0 - 1).max(1),
            Self::Events { names, .. } => names.push("changed".to_owned()),
            Self::Hold { minutes, .. } => *minutes = Some(7),
            Self::Refund { time, .. } => *time -= 1,
        }
        item
    }

    pub(crate) fn json(&self) -> String {
        let mut members = Members::new();
        match self {
            Self::Customer {
                customer,
                email,
                name,
                custom,
            } => {
                members.push(("customerId", quoted(customer)));
                text(&mut members, "email", email);
                text(&mut members, "name", name);
                if !custom.is_empty() {
                    let value =
                        |value: &Option<u8>| value.map_or("null".to_owned(), |n| n.to_string());
                    let custom = custom.iter().map(|(name, v)| (name.as_str(), value(v)));
                    members.push(("custom", object(custom)));
                }
            }
            Self::Order {
                customer,
                order,
                time,
                paid,
                hold,
                window: days,
            } => {
                members.push(("customerId", quoted(customer)));
                members.push(("orderId", quoted(order)));
                members.push(("orderDate", time_json(*time)));
                members.push(("totalPaid", amount_json(*paid)));
                if let Some(hold) = hold {
                    let hold = object([("pointsHoldReference", quoted(hold))]);
                    members.push(("redemption", hold));
                }
                window(&mut members, "cashbackConfigurations", days);
            }
            Self::OrderTransactions { order } => return quoted(order),
            Self::Balance { customer } => members.push(("customerId", quoted(customer))),
            Self::Adjustment {
                customer,
                size: much,
                id,
                days,
                reason,
            } => {
                members.push(("customerId", quoted(customer)));
                size(&mut members, "amount", "points", much);
                text(&mut members, "transactionId", id);
                number(&mut members, "expiryAfter", days);
                text(&mut members, "reason", reason);
            }
            Self::Cashback {
                customer,
                id,
                time,
                amount,
                email,
                window: days,
            } => {
                members.push(("customerId", quoted(customer)));
                members.push(("transactionId", quoted(id)));
                members.push(("transactionTime", time_json(*time)));
                members.push(("amount", amount_json(*amount)));
                text(&mut members, "email", email);
                window(&mut members, "configurations", days);
            }
            Self::Redeem {
                customer,
                id,
                time,
                size: much,
                reason,
            } => {
                members.push(("customerId", quoted(customer)));
                members.push(("transactionId", quoted(id)));
                members.push(("transactionTime", time_json(*time)));
                size(&mut members, "amount", "points", much);
                text(&mut members, "reason", reason);
            }
            Self::Events {
                customer,
                names,
                id,
            } => {
                members.push(("customerId", quoted(customer)));
                members.push(("events", events_json(names)));
                text(&mut members, "transactionId", id);
            }
            Self::Hold {
                customer,
                time,
                size: much,
                id,
                minutes,
            } => {
                members.push(("customerId", quoted(customer)));
                members.push(("transactionTime", time_json(*time)));
                size(&mut members, "amountToHold", "pointsToHold", much);
                text(&mut members, "transactionId", id);
                number(&mut members, "holdDuration", minutes);
            }
            Self::Refund {
                customer,
                id,
                reverses,
                time,
                amount,
            } => {
                members.push(("customerId", quoted(customer)));
                members.push(("refundTransactionId", quoted(id)));
                members.push(("reverseTransactionId", quoted(reverses)));
                members.push(("transactionTime", time_json(*time)));
                members.extend(amount.map(|amount| ("refundAmount", amount_json(amount))));
            }
        }
        object(members)
    }
}

/// Events, with their number among them as metadata.
pub(crate) fn events_json(names: &[String]) -> String {
    let event = |(n, name): (usize, &'_ String)| (name.clone(), object([("n", n.to_string())]));
    let events: BTreeMap<_, _> = names.iter().enumerate().map(event).collect();
    object(
        events
            .iter()
            .map(|(name, data)| (name.as_str(), data.clone())),
    )
}
