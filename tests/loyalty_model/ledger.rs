//! The model: what each item does, written from the contract and from the rules of the module's documentation.

use crate::account::{Customer, Entry, Expiry, Kind, No, Part, Writer, sum};
use crate::dates::{DAY_MS, MINUTE_MS, day_of, written};
use crate::decimal::Decimal;
use crate::items::{Item, Size};
use crate::json::{array, object, quoted};
use crate::rules::Rules;
use crate::shown::entry_json;
use std::collections::BTreeMap;

/// What an item must come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// With this output.
    Done(String),
    Failed(Fault),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) field: &'static str,
    pub(crate) details: Option<String>,
    /// What the message must say.
    pub(crate) says: Vec<String>,
}

pub(crate) fn fault(code: &'static str, field: &'static str) -> Fault {
    Fault {
        code,
        field,
        details: None,
        says: Vec::new(),
    }
}

const SKEW_MS: i64 = 5 * MINUTE_MS;

/// What was done under an id.
#[derive(Debug, Clone)]
pub(crate) struct Transaction {
    number: u64,
    item: Item,
    entries: Vec<Entry>,
    pub(crate) nature: Nature,
}

impl Transaction {
    pub(crate) fn customer(&self) -> Option<&str> {
        self.item.customer()
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Nature {
    Cashback {
        paid: Decimal,
        rate: Decimal,
        points: i64,
        from: Option<i64>,
        expiry: Expiry,
        /// What was refunded of it, and the points taken back for that.
        refunded: Decimal,
        taken_back: i64,
    },
    Redemption {
        factor: Decimal,
        /// Its points that have not come back: what expires last is the last.
        out: Vec<Part>,
        left: Decimal,
    },
    Other,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) custom: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) customers: BTreeMap<String, Customer>,
    /// All entries of a customer, oldest first.
    pub(crate) entries: BTreeMap<String, Vec<Entry>>,
    /// Under `t` and a transaction's id, `o` and an order's, `n` and the number of a transaction without an id.
    pub(crate) transactions: BTreeMap<String, Transaction>,
    pub(crate) profiles: BTreeMap<String, Profile>,
    /// By customer and number.
    pub(crate) events: BTreeMap<String, BTreeMap<u64, (i64, Vec<String>)>>,
}

/// Where and when an item runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) batch: u64,
    pub(crate) index: usize,
    pub(crate) now: i64,
}

impl Place<'_> {
    pub(crate) fn number(&self) -> u64 {
        self.batch * 65_536 + self.index as u64
    }
}

/// The ids under which holds and transactions without an id can be found.
fn key(id: &Option<String>, number: u64) -> String {
    match id {
        Some(id) => format!("t{id}"),
        None => format!("n{number}"),
    }
}

pub(crate) fn whole(field: &'static str, amount: Decimal, factor: Decimal) -> Result<i64, Fault> {
    amount.whole_points(factor).map_err(|nearest| Fault {
        says: nearest
            .into_iter()
            .flatten()
            .map(|near| near.to_string())
            .collect(),
        ..fault("3003", field)
    })
}

impl Ledger {
    /// What the item comes to; when it fails, nothing has changed.
    pub(crate) fn run(&mut self, item: &Item, at: Place<'_>) -> Outcome {
        let done = match item {
            Item::Customer { .. } => Ok(self.customer(item)),
            Item::Order { .. } => self.order(item, at),
            Item::OrderTransactions { order } => self.order_transactions(order),
            Item::Balance { customer } => match self.balance(customer, at.rules, at.now) {
                Some(balance) => Ok(balance),
                None => Err(fault("7000", "customerId")),
            },
            Item::Adjustment { .. } => self.adjustment(item, at),
            Item::Cashback { .. } => self.cashback(item, at),
            Item::Redeem { .. } => self.redeem(item, at),
            Item::Events { .. } => self.append(item, at),
            Item::Hold { .. } => self.hold(item, at),
            Item::Refund { .. } => self.refund(item, at),
        };
        match done {
            Ok(output) => Outcome::Done(output),
            Err(fault) => Outcome::Failed(fault),
        }
    }

    pub(crate) fn refuse_duplicate(
        &self,
        key: &str,
        field: &'static str,
        item: &Item,
    ) -> Result<(), Fault> {
        let Some(original) = self.transactions.get(key) else {
            return Ok(());
        };
        let original = object([
            ("jobId", (original.number / 65_536).to_string()),
            ("index", (original.number % 65_536).to_string()),
            ("gameballTransactionId", original.number.to_string()),
            ("sameContent", (original.item == *item).to_string()),
        ]);
        Err(Fault {
            details: Some(object([("original", original)])),
            ..fault("9004", field)
        })
    }

    pub(crate) fn refuse_future(
        time: i64,
        field: &'static str,
        at: Place<'_>,
    ) -> Result<(), Fault> {
        if time > at.now + SKEW_MS {
            return Err(fault("9007", field));
        }
        Ok(())
    }

    /// The customer as of now, who need not exist.
    pub(crate) fn settled(&self, customer: &str, now: i64) -> Customer {
        let known = self.customers.get(customer).cloned();
        let mut customer = known.unwrap_or_default();
        customer.settle(now);
        customer
    }

    /// The customer as of now.
    pub(crate) fn open(&self, customer: &str, create: bool, now: i64) -> Result<Customer, Fault> {
        if !create && !self.customers.contains_key(customer) {
            return Err(fault("7000", "customerId"));
        }
        Ok(self.settled(customer, now))
    }

    /// Keeps what an item has done.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn close(
        &mut self,
        id: &str,
        mut customer: Customer,
        key: String,
        item: &Item,
        nature: Nature,
        said: Writer,
        at: Place<'_>,
    ) -> Result<(), Fault> {
        let writer = Writer {
            number: at.number(),
            transaction: key.strip_prefix('t').map(str::to_owned),
            order: key.strip_prefix('o').map(str::to_owned),
            ..said
        };
        let entries = customer
            .close(writer, at.now)
            .map_err(|_| fault("3011", "customerId"))?;
        self.customers.insert(id.to_owned(), customer);
        let history = self.entries.entry(id.to_owned()).or_default();
        history.extend(entries.iter().cloned());
        let transaction = Transaction {
            number: at.number(),
            item: item.clone(),
            entries,
            nature,
        };
        self.transactions.insert(key, transaction);
        Ok(())
    }

    fn customer(&mut self, item: &Item) -> String {
        let Item::Customer {
            customer,
            email,
            name,
            custom,
        } = item
        else {
            unreachable!("of another operation");
        };
        let is_new = !self.customers.contains_key(customer);
        self.customers.entry(customer.clone()).or_default();
        let profile = self.profiles.entry(customer.clone()).or_default();
        profile.email = email.clone().or(profile.email.take());
        profile.name = name.clone().or(profile.name.take());
        for (member, value) in custom {
            match value {
                Some(value) => profile.custom.insert(member.clone(), value.to_string()),
                None => profile.custom.remove(member),
            };
        }
        let message = if is_new {
            "Customer created successfully"
        } else {
            "Customer updated successfully"
        };
        object([
            ("customerId", quoted(customer)),
            ("message", quoted(message)),
        ])
    }

    fn order(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Order {
            customer: id,
            order,
            time,
            paid,
            hold,
            window,
        } = item
        else {
            unreachable!("of another operation");
        };
        let key = format!("o{order}");
        self.refuse_duplicate(&key, "orderId", item)?;
        Self::refuse_future(*time, "orderDate", at)?;
        let points = paid.points_at(at.rules.earn_rate);
        let points = points.ok_or_else(|| fault("3003", "totalPaid"))?;
        let mut customer = self.open(id, at.rules.orders_create, at.now)?;
        let mut redeemed = 0;
        if let Some(hold) = hold {
            let parts = customer.redeem_hold(hold, at.now);
            let field = "redemption.pointsHoldReference";
            redeemed = sum(&parts.map_err(|_| fault("9006", field))?);
        }
        let (from, expiry) = award_dates(*time, *window, at.rules);
        customer
            .award(Kind::Cashback, points, from, expiry, at.now)
            .map_err(|_| fault("3011", "customerId"))?;
        let said = Writer {
            time: Some(*time),
            amount: Some(*paid),
            ..Writer::default()
        };
        self.close(id, customer, key, item, Nature::Other, said, at)?;
        Ok(object([
            ("customerId", quoted(id)),
            ("orderId", quoted(order)),
            ("rewardedPoints", points.to_string()),
            ("redeemedPoints", redeemed.to_string()),
        ]))
    }

    fn order_transactions(&self, order: &str) -> Result<String, Fault> {
        let transaction = self.transactions.get(&format!("o{order}"));
        let transaction = transaction.ok_or_else(|| fault("4004", "orderId"))?;
        let entries = transaction.entries.iter();
        let own: Vec<_> = entries
            .filter(|entry| matches!(entry.kind, Kind::Cashback | Kind::Redemption))
            .map(entry_json)
            .collect();
        Ok(object([
            ("orderId", quoted(order)),
            ("transactions", array(own.iter().cloned())),
            ("count", own.len().to_string()),
        ]))
    }

    fn adjustment(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Adjustment {
            customer: id,
            size,
            id: transaction,
            days,
            reason,
        } = item
        else {
            unreachable!("of another operation");
        };
        let key = key(transaction, at.number());
        self.refuse_duplicate(&key, "transactionId", item)?;
        let mut customer = self.open(id, false, at.now)?;
        let (points, field) = match size {
            Size::Amount(Decimal(money)) => {
                let points = whole("amount", Decimal(money.abs()), at.rules.factor)?;
                let sign = if *money < 0 { -1 } else { 1 };
                (sign * points, "amount")
            }
            Size::Points(points) => (*points, "points"),
            Size::Hold(_) => unreachable!("no hold is adjusted"),
        };
        if points < 0 {
            customer
                .spend(Kind::Adjustment, -points, at.now)
                .map_err(|_| fault("9008", field))?;
        } else {
            let expiry = expiry_after(at.now, days.or(at.rules.expiry_days));
            customer
                .award(Kind::Adjustment, points, at.now, expiry, at.now)
                .map_err(|_| fault("3011", "customerId"))?;
        }
        let after = customer.balance();
        let amount = Decimal::worth(points, at.rules.factor);
        let said = Writer {
            amount: Some(amount),
            reason: reason.clone(),
            ..Writer::default()
        };
        self.close(id, customer, key, item, Nature::Other, said, at)?;
        Ok(object([
            ("customerId", quoted(id)),
            ("points", points.to_string()),
            ("amount", amount.to_string()),
            ("pointsBalanceAfter", after.to_string()),
        ]))
    }

    fn cashback(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Cashback {
            customer: id,
            id: transaction,
            time,
            amount,
            email,
            window,
        } = item
        else {
            unreachable!("of another operation");
        };
        let key = format!("t{transaction}");
        self.refuse_duplicate(&key, "transactionId", item)?;
        Self::refuse_future(*time, "transactionTime", at)?;
        let points = amount.points_at(at.rules.earn_rate);
        let points = points.ok_or_else(|| fault("3003", "amount"))?;
        let is_new = !self.customers.contains_key(id);
        let mut customer = self.open(id, at.rules.cashback_creates, at.now)?;
        let (from, expiry) = award_dates(*time, *window, at.rules);
        customer
            .award(Kind::Cashback, points, from, expiry, at.now)
            .map_err(|_| fault("3011", "customerId"))?;
        let nature = Nature::Cashback {
            paid: *amount,
            rate: at.rules.earn_rate,
            points,
            from: (from > at.now).then_some(from),
            expiry,
            refunded: Decimal::ZERO,
            taken_back: 0,
        };
        let said = Writer {
            time: Some(*time),
            amount: Some(*amount),
            ..Writer::default()
        };
        self.close(id, customer, key, item, nature, said, at)?;
        if is_new {
            let profile = Profile {
                email: email.clone(),
                ..Profile::default()
            };
            self.profiles.insert(id.clone(), profile);
        }
        Ok(object([
            ("customerId", quoted(id)),
            ("gameballTransactionId", at.number().to_string()),
            (
                "rewardAmount",
                Decimal::worth(points, at.rules.factor).to_string(),
            ),
            ("rewardEquivalentPoints", points.to_string()),
        ]))
    }

    fn redeem(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Redeem {
            customer: id,
            id: transaction,
            time,
            size,
            reason,
        } = item
        else {
            unreachable!("of another operation");
        };
        let key = format!("t{transaction}");
        self.refuse_duplicate(&key, "transactionId", item)?;
        Self::refuse_future(*time, "transactionTime", at)?;
        let mut customer = self.open(id, false, at.now)?;
        let mut spend = |points, field| {
            let taken = customer.spend(Kind::Redemption, points, at.now);
            taken.map_err(|_| fault("9008", field))
        };
        let mut out = match size {
            Size::Amount(amount) => {
                let points = whole("amount", *amount, at.rules.factor)?;
                spend(points, "amount")?
            }
            Size::Points(points) => spend(*points, "points")?,
            Size::Hold(reference) => customer
                .redeem_hold(reference, at.now)
                .map_err(|_| fault("9006", "holdReference"))?,
        };
        out.sort_by_key(|(expiry, _)| crate::account::late(*expiry));
        let points = sum(&out);
        let amount = Decimal::worth(points, at.rules.factor);
        let nature = Nature::Redemption {
            factor: at.rules.factor,
            out,
            left: amount,
        };
        let said = Writer {
            time: Some(*time),
            amount: Some(amount),
            reason: reason.clone(),
            ..Writer::default()
        };
        self.close(id, customer, key, item, nature, said, at)?;
        Ok(object([
            ("customerId", quoted(id)),
            ("transactionId", quoted(transaction)),
            ("gameballTransactionId", at.number().to_string()),
            ("redeemAmount", amount.to_string()),
            ("redeemEquivalentPoints", points.to_string()),
        ]))
    }

    fn append(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Events {
            customer,
            names,
            id,
        } = item
        else {
            unreachable!("of another operation");
        };
        if let Some(id) = id {
            self.refuse_duplicate(&format!("t{id}"), "transactionId", item)?;
        }
        if !self.customers.contains_key(customer) {
            return Err(fault("7000", "customerId"));
        }
        if let Some(id) = id {
            let transaction = Transaction {
                number: at.number(),
                item: item.clone(),
                entries: Vec::new(),
                nature: Nature::Other,
            };
            self.transactions.insert(format!("t{id}"), transaction);
        }
        let events = self.events.entry(customer.clone()).or_default();
        events.insert(at.number(), (at.now, names.clone()));
        Ok(object([
            ("customerId", quoted(customer)),
            ("accepted", names.len().to_string()),
        ]))
    }

    fn hold(&mut self, item: &Item, at: Place<'_>) -> Result<String, Fault> {
        let Item::Hold {
            customer: id,
            time,
            size,
            id: transaction,
            minutes,
        } = item
        else {
            unreachable!("of another operation");
        };
        let rules = at.rules;
        let key = key(transaction, at.number());
        self.refuse_duplicate(&key, "transactionId", item)?;
        Self::refuse_future(*time, "transactionTime", at)?;
        let minutes = minutes.unwrap_or(rules.hold_minutes);
        if minutes < rules.hold_minutes_min || minutes > rules.hold_minutes_max {
            return Err(fault("3003", "holdDuration"));
        }
        let mut customer = self.open(id, false, at.now)?;
        let (points, field) = match size {
            Size::Amount(amount) => {
                let field = "amountToHold";
                (whole(field, *amount, rules.factor)?, field)
            }
            Size::Points(points) => (*points, "pointsToHold"),
            Size::Hold(_) => unreachable!("no hold is held"),
        };
        let until = at.now + i64::from(minutes) * MINUTE_MS;
        customer
            .hold(at.number(), points, until, at.now)
            .map_err(|no| match no {
                No::TooMany => fault("3011", "customerId"),
                No::TooFew | No::NotHeld => fault("9008", field),
            })?;
        let amount = Decimal::worth(points, rules.factor);
        let said = Writer {
            time: Some(*time),
            amount: Some(amount),
            ..Writer::default()
        };
        self.close(id, customer, key, item, Nature::Other, said, at)?;
        Ok(object([
            ("customerId", quoted(id)),
            ("holdReference", quoted(&format!("hold-{}", at.number()))),
            ("holdAmount", amount.to_string()),
            ("holdEquivalentPoints", points.to_string()),
            ("expiresAt", quoted(&written(until))),
        ]))
    }
}

/// Points expire with the end of the day that is so many days after the one of their start.
pub(crate) fn expiry_after(from: i64, days: Option<u32>) -> Expiry {
    days.map(|days| day_of(from) + i64::from(days) + 1)
}

fn award_dates(time: i64, window: Option<u32>, rules: &Rules) -> (i64, Expiry) {
    let from = time + i64::from(window.unwrap_or(rules.window_days)) * DAY_MS;
    (from, expiry_after(from, rules.expiry_days))
}
