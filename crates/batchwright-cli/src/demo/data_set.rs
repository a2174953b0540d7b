//! The demo's data: made up, and the same each time, so that a store knows it again.
//!
//! Nothing in it depends on the clock or on chance. Ids have the number of customers in them: data sets of different
//! sizes do not meet.

use super::report::Expected;
use batchwright::loyalty::{
    AdjustmentItem, BalanceItem, CashbackConfigurations, CashbackItem, CustomerItem, Document,
    EventsItem, HoldItem, Money, OrderId, OrderItem, OrderRedemption, RedeemItem, RefundItem, Time,
    codes,
};
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};

/// 2025-01-01T00:00:00Z, when the first purchase is made.
const FIRST_SECOND: u64 = 1_735_689_600;
/// All purchases are made within a year, which has passed.
const SECONDS: u64 = 365 * 24 * 3600;

const PURCHASES: u64 = 10;
/// Of a customer's purchases every fifth can be returned for so many days: its points are pending.
const LONG_RETURN_WINDOW_DAYS: u32 = 7_300;
const WELCOME_POINTS: i64 = 100;
const HELD_POINTS: i64 = 20;
/// How long holds last, in minutes: the longest that is allowed by default, for who interrupts the demo.
const HOLD_MINUTES: u32 = 15 * 24 * 60;
const REDEEMED_POINTS: i64 = 25;
/// More than anybody has.
const TOO_MANY_POINTS: i64 = 1_000_000_000;

#[derive(Debug)]
pub(crate) struct DataSet {
    customers: u64,
}

impl DataSet {
    pub(crate) fn new(customers: u32) -> Self {
        Self {
            customers: customers.into(),
        }
    }

    /// How many items there are, of all operations.
    pub(crate) fn items(&self) -> u64 {
        let n = self.customers;
        let (holds, orders, refunds) = (self.every(5), self.every(2), self.every(5));
        n * (4 + PURCHASES) + n + holds + 2 * orders + refunds
    }

    /// What the engine knows its imports by; it adds the operation.
    pub(crate) fn import_key(&self) -> String {
        format!("batchwright demo, {} customers", self.customers)
    }

    pub(crate) fn customers(&self) -> impl Iterator<Item = CustomerItem> {
        (0..self.customers).map(move |n| {
            let mut item = CustomerItem::new(self.customer(n));
            item.email = Some(format!("customer-{n}@example.com"));
            item.name = Some(format!("Customer {n}"));
            item.join_date = Some("2024-12-31".to_owned());
            item
        })
    }

    pub(crate) fn purchases(&self) -> impl Iterator<Item = CashbackItem> {
        (0..self.customers * PURCHASES).map(move |n| {
            let customer = self.customer(n % self.customers);
            let cents = 100 + scattered(n) % 30_000;
            let mut item =
                CashbackItem::new(customer, self.id("purchase", n), time(n), money(cents));
            let days = match (n / self.customers) % 5 {
                0 => Some(LONG_RETURN_WINDOW_DAYS),
                1 | 2 => Some(14),
                _ => None,
            };
            item.configurations = days.map(CashbackConfigurations::return_window);
            item
        })
    }

    pub(crate) fn adjustments(&self) -> impl Iterator<Item = AdjustmentItem> {
        (0..self.customers).map(move |n| {
            let mut item = AdjustmentItem::points(self.customer(n), WELCOME_POINTS);
            item.reason = Some("welcome".to_owned());
            item.transaction_id = Some(self.id("welcome", n));
            item
        })
    }

    pub(crate) fn holds(&self) -> impl Iterator<Item = HoldItem> {
        (0..self.every(5)).map(move |n| {
            let mut item = HoldItem::points(self.customer(n), time(n), HELD_POINTS);
            item.transaction_id = Some(self.id("hold", n));
            item.hold_duration = Some(HOLD_MINUTES);
            item
        })
    }

    /// Orders of half of the customers, the first of which spend what they hold.
    pub(crate) fn orders(&self, holds: &[String]) -> impl Iterator<Item = OrderItem> {
        (0..self.every(2)).map(move |n| {
            let paid = money(500 + scattered(n) % 20_000);
            let mut item = OrderItem::new(self.customer(n), self.id("order", n), time(n), paid);
            item.channel = Some("web".to_owned());
            let hold = usize::try_from(n).ok().and_then(|n| holds.get(n));
            item.redemption = hold.map(OrderRedemption::hold);
            item
        })
    }

    /// A redemption of each customer; every tenth asks for more than it has.
    pub(crate) fn redemptions(&self) -> impl Iterator<Item = RedeemItem> {
        (0..self.customers).map(move |n| {
            let points = if asks_for_too_much(n) {
                TOO_MANY_POINTS
            } else {
                REDEEMED_POINTS
            };
            RedeemItem::points(self.customer(n), self.id("redemption", n), time(n), points)
        })
    }

    pub(crate) fn expected_of_redemptions(&self) -> Expected {
        let count = (0..self.customers)
            .filter(|n| asks_for_too_much(*n))
            .count();
        Expected::failures(codes::INSUFFICIENT_POINTS, count as u64)
    }

    /// Half of them of purchases whose points are pending, half of redemptions.
    pub(crate) fn refunds(&self) -> impl Iterator<Item = RefundItem> {
        (0..self.every(5)).map(move |n| {
            // The customer's first purchase, which has the long return window, or its redemption: those of even
            // customers succeed.
            let what = if n % 2 == 0 { "purchase" } else { "redemption" };
            let n = 2 * n;
            let reversed = self.id(what, n);
            let id = format!("refund-of-{reversed}");
            RefundItem::new(self.customer(n), id, reversed, time(n))
        })
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = EventsItem> {
        (0..self.customers).map(move |n| {
            let visit = json!({"page": format!("/products/{}", scattered(n) % 1_000)});
            let events = [("visit".to_owned(), Document::from(visit))];
            let mut item = EventsItem::new(self.customer(n), events);
            item.transaction_id = Some(self.id("visit", n));
            item
        })
    }

    pub(crate) fn order_ids(&self) -> impl Iterator<Item = OrderId> {
        (0..self.every(2)).map(move |n| OrderId(self.id("order", n)))
    }

    pub(crate) fn balances(&self) -> impl Iterator<Item = BalanceItem> {
        (0..self.customers).map(move |n| BalanceItem::new(self.customer(n)))
    }

    /// Some customers who differ in what they have done.
    pub(crate) fn shown_customers(&self) -> impl Iterator<Item = String> {
        (0..5).map(move |n| self.customer(n))
    }

    fn every(&self, nth: u64) -> u64 {
        self.customers / nth
    }

    fn customer(&self, n: u64) -> String {
        self.id("customer", n)
    }

    fn id(&self, what: &str, n: u64) -> String {
        format!("demo{}-{what}-{n}", self.customers)
    }
}

fn asks_for_too_much(n: u64) -> bool {
    n % 10 == 3
}

fn time(n: u64) -> Time {
    let second = FIRST_SECOND + n * 61 % SECONDS;
    Time::from(UNIX_EPOCH + Duration::from_secs(second))
}

fn money(cents: u64) -> Money {
    let text = format!("{}.{:02}", cents / 100, cents % 100);
    text.parse()
        .expect("digits, a point and two digits are an amount")
}

/// A number that looks like chance: SplitMix64.
fn scattered(n: u64) -> u64 {
    let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_bar_counts_as_many_items_as_there_are() {
        for customers in [10, 11, 25, 100] {
            let data = DataSet::new(customers);
            let holds = Vec::new();
            let items = data.customers().count()
                + data.purchases().count()
                + data.adjustments().count()
                + data.holds().count()
                + data.orders(&holds).count()
                + data.redemptions().count()
                + data.refunds().count()
                + data.events().count()
                + data.order_ids().count()
                + data.balances().count();
            assert_eq!(data.items(), items as u64, "{customers} customers");
        }
    }

    #[test]
    fn no_two_items_have_the_same_transaction_id() {
        let data = DataSet::new(100);
        let refunds: BTreeSet<_> = data
            .refunds()
            .map(|item| item.refund_transaction_id)
            .collect();
        assert_eq!(refunds.len(), data.refunds().count());
    }
}
