//! From seeds to items, by what the ledger has: so that refunds find transactions, and redemptions points.

use crate::account::Kind;
use crate::decimal::{Decimal, POINTS_MAX};
use crate::items::{Item, Operation, Size};
use crate::ledger::{Ledger, Nature, Transaction};
use crate::plan::Seed;
use crate::rules::Rules;
use std::collections::BTreeMap;

pub(crate) const CUSTOMERS: [&str; 4] = ["ann", "bo", "Ann", "nobody"];

pub(crate) struct Resolver<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) rules: &'a Rules,
    pub(crate) now: i64,
}

fn id(seed: &Seed) -> String {
    format!("{}", seed.id)
}

fn optional_id(seed: &Seed) -> Option<String> {
    seed.with_id.then(|| id(seed))
}

fn text(seed: &Seed) -> Option<String> {
    seed.text.map(|n| format!("text {n}"))
}

fn order(seed: &Seed) -> String {
    // Upper and lower case are different.
    let ids = ["1", "2", "3", "a", "A", "b"];
    ids[usize::from(seed.id) % ids.len()].to_owned()
}

fn customer(seed: &Seed) -> String {
    let index = match seed.customer {
        0..20 => 0,
        20..34 => 1,
        34..39 => 2,
        _ => 3,
    };
    CUSTOMERS[index].to_owned()
}

impl Resolver<'_> {
    pub(crate) fn item(&self, operation: Operation, seed: &Seed) -> Item {
        let customer = customer(seed);
        let time = self.now + seed.after_ms;
        match operation {
            Operation::Customers => Item::Customer {
                customer,
                email: seed.with_id.then(|| format!("{}@example.com", seed.id)),
                name: text(seed),
                custom: BTreeMap::from([
                    ("size".to_owned(), (seed.form > 60).then_some(seed.form)),
                    (format!("n{}", seed.form % 3), seed.text),
                ]),
            },
            Operation::Orders => Item::Order {
                hold: (seed.form < 110).then(|| self.hold_reference(&customer, seed)),
                customer,
                order: order(seed),
                time,
                paid: if seed.form % 16 == 1 {
                    Decimal::ZERO
                } else {
                    seed.amount
                },
                window: seed.window,
            },
            Operation::OrderTransactions => Item::OrderTransactions { order: order(seed) },
            Operation::Balance => Item::Balance { customer },
            Operation::Adjustment => self.adjustment(customer, seed),
            Operation::Cashback => Item::Cashback {
                customer,
                id: id(seed),
                time,
                amount: seed.amount,
                email: text(seed),
                window: seed.window,
            },
            Operation::Redeem => Item::Redeem {
                size: match seed.form % 8 {
                    0..3 => Size::Hold(self.hold_reference(&customer, seed)),
                    _ => self.taken(&customer, seed),
                },
                customer,
                id: id(seed),
                time,
                reason: text(seed),
            },
            Operation::Events => Item::Events {
                customer,
                names: (0..=seed.form % 3).map(|n| format!("event-{n}")).collect(),
                id: optional_id(seed),
            },
            Operation::Hold => Item::Hold {
                size: self.taken(&customer, seed),
                customer,
                time,
                id: optional_id(seed),
                minutes: seed.minutes,
            },
            Operation::Refund => self.refund(customer, seed),
        }
    }

    /// Points to take: part of what is available, all, more, or anything.
    fn taken(&self, customer: &str, seed: &Seed) -> Size {
        let available = self.ledger.settled(customer, self.now).available();
        let part = available / 4 * seed.quarters + seed.quarters / 4;
        // One item takes no more, whoever may own more.
        let part = part.min(POINTS_MAX);
        let part = if part > 0 { part } else { seed.points };
        match seed.form % 16 {
            0..7 => Size::Points(part),
            7..12 => Size::Amount(Decimal::worth(part, self.rules.factor)),
            12..14 => Size::Amount(seed.amount),
            _ => Size::Points(seed.points),
        }
    }

    fn adjustment(&self, customer: String, seed: &Seed) -> Item {
        let deducts = seed.form % 8 < 3;
        let size = match (deducts, seed.form % 3) {
            (true, _) => match self.taken(&customer, seed) {
                Size::Amount(Decimal(money)) => Size::Amount(Decimal(-money)),
                Size::Points(points) => Size::Points(-points),
                Size::Hold(_) => unreachable!("no hold is taken"),
            },
            (false, 0) => Size::Amount(seed.amount),
            (false, 1) => Size::Amount(Decimal::worth(seed.points, self.rules.factor)),
            (false, _) => Size::Points(seed.points),
        };
        Item::Adjustment {
            customer,
            size,
            id: optional_id(seed),
            days: seed.days.filter(|_| !deducts),
            reason: text(seed),
        }
    }

    /// A hold of the customer, or another one, or one that is over, or none.
    fn hold_reference(&self, customer: &str, seed: &Seed) -> String {
        let own = self.ledger.customers.get(customer);
        let live: Vec<_> = own
            .iter()
            .flat_map(|own| own.holds.iter().map(|hold| hold.number))
            .collect();
        if !live.is_empty() && seed.form % 16 > 2 {
            return format!("hold-{}", seed.pick.get(&live));
        }
        let entries = self.ledger.entries.values().flatten();
        let ever: Vec<_> = entries
            .filter(|entry| entry.kind == Kind::Hold)
            .filter_map(|entry| entry.hold)
            .collect();
        match seed.form % 16 {
            0 if !live.is_empty() => format!("hold-0{}", seed.pick.get(&live)),
            1 => "my hold".to_owned(),
            _ if !ever.is_empty() => format!("hold-{}", seed.pick.get(&ever)),
            _ => "hold-17".to_owned(),
        }
    }

    fn refund(&self, customer: String, seed: &Seed) -> Item {
        let can_be = |transaction: &&Transaction| !matches!(transaction.nature, Nature::Other);
        let all = self.ledger.transactions.iter();
        let reversible: Vec<_> = all.filter(|(_, done)| can_be(done)).collect();
        let any_id = format!("{}", seed.pick.index(60));
        let mut refund = (customer, any_id, (seed.amount, Decimal(1)));
        if !reversible.is_empty() && seed.form % 16 > 1 {
            let (key, done) = seed.pick.get(&reversible);
            if let Some(owner) = done.customer().filter(|_| seed.form % 16 > 2) {
                refund.0 = owner.to_owned();
            }
            refund.1 = key.trim_start_matches('t').to_owned();
            refund.2 = match &done.nature {
                Nature::Cashback { paid, refunded, .. } => {
                    (Decimal(paid.0 - refunded.0), Decimal(1))
                }
                Nature::Redemption { left, factor, .. } => (*left, *factor),
                Nature::Other => refund.2,
            };
        }
        let (customer, reverses, (left, unit)) = refund;
        let part = left.0 / 4 * i128::from(seed.quarters);
        let amount = match seed.form / 16 {
            0..6 => None,
            // Whole points of it.
            6..12 => Some(Decimal(part / unit.0 * unit.0)),
            12..14 => Some(Decimal(part)),
            14 => Some(Decimal(left.0 + unit.0)),
            _ => Some(seed.amount),
        };
        Item::Refund {
            customer,
            id: id(seed),
            reverses,
            time: self.now + seed.after_ms,
            amount: amount.filter(|amount| amount.0 > 0 && *amount <= Decimal::LARGEST),
        }
    }
}
