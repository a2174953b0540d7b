//! Accounts with more dates, holds and transactions than plans come to: what limits are for.

use crate::dates::DAY_MS;
use crate::decimal::Decimal;
use crate::items::{Item, Operation, Size};
use crate::plan::{Action, Jump, Seed, submit};
use crate::resolve::CUSTOMERS;
use crate::rules::Rules;
use crate::run::{Held, Run};
use proptest::prelude::*;
use proptest::sample::select;

/// What an account gets very many of, and what happens then.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    rules: Rules,
    pending: Option<Pending>,
    holds: bool,
    /// Of events.
    batches: bool,
    then: Vec<Action>,
    steps: Vec<Jump>,
}

/// Points that become available at different times, this long one after the other.
#[derive(Debug, Clone)]
struct Pending {
    apart_ms: i64,
    seed: Seed,
}

impl Crowd {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        // An hour that is rounded up must not be past the day on which points expire.
        let expiry = select(vec![None, Some(0), Some(0), Some(1), Some(20)]);
        let rules = (Rules::any(), expiry).prop_map(|(rules, expiry_days)| Rules {
            expiry_days,
            ..rules
        });
        let apart_ms = prop_oneof![
            1..100_000i64,
            100_000..2_000_000i64,
            2_000_000..30_000_000i64
        ];
        let pending = (apart_ms, Seed::any());
        let pending = pending.prop_map(|(apart_ms, seed)| Pending { apart_ms, seed });
        let crowds = (
            prop::option::weighted(0.8, pending),
            any::<bool>(),
            any::<bool>(),
        );
        let then = prop::collection::vec(submit(), 0..4);
        let steps = prop::collection::vec(Jump::any(), 1..4);
        (rules, crowds, then, steps).prop_map(|(rules, crowds, then, steps)| Self {
            rules,
            pending: crowds.0,
            holds: crowds.1,
            batches: crowds.2,
            then,
            steps,
        })
    }
}

pub(crate) fn come_to_what_the_model_says(crowd: &Crowd) -> Held {
    let mut run = Run::new(&crowd.rules)?;
    run.submit(Operation::Customers, vec![customer()])?;
    if crowd.batches {
        run.batches()?;
    }
    if let Some(pending) = &crowd.pending {
        run.pending(pending)?;
    }
    if crowd.holds {
        run.holds()?;
    }
    run.check(true)?;
    for action in &crowd.then {
        run.step(action)?;
    }
    for jump in &crowd.steps {
        run.advance(jump);
        run.check(false)?;
        run.submit(Operation::Adjustment, vec![points(1, None)])?;
        run.drain(u64::MAX)?;
    }
    run.check(true)
}

/// Points that expire on more days than a customer's points may.
pub(crate) fn too_many_dates(rules: &Rules) -> Held {
    let mut run = Run::new(rules)?;
    run.submit(Operation::Customers, vec![customer()])?;
    for from in [0, 700] {
        let days = from..from + 700;
        let each = days.map(|day| points(2, Some(day))).collect();
        run.submit(Operation::Adjustment, each)?;
    }
    run.drain(u64::MAX)?;
    run.check(true)?;
    // Held points have dates, too: one lot is cut in two.
    run.submit(Operation::Hold, vec![hold(701)])?;
    run.drain(u64::MAX)?;
    run.check(true)
}

const ID: &str = CUSTOMERS[0];

fn customer() -> Item {
    Item::Customer {
        customer: ID.to_owned(),
        email: None,
        name: None,
        custom: Default::default(),
    }
}

fn points(points: i64, days: Option<u32>) -> Item {
    Item::Adjustment {
        customer: ID.to_owned(),
        size: Size::Points(points),
        id: None,
        days,
        reason: None,
    }
}

impl Run {
    fn pending(&mut self, Pending { apart_ms, seed }: &Pending) -> Held {
        const COUNT: i64 = 280;
        let window = 1 + COUNT * apart_ms / DAY_MS;
        let now = self.now();
        let purchase = |n: i64| Item::Cashback {
            customer: ID.to_owned(),
            id: format!("crowd-{n}"),
            // In no order.
            time: now - (n * 7_919 % COUNT) * apart_ms,
            amount: Decimal(1_000_000 * i128::from(n) + seed.amount.0 % 1_000_000_000),
            email: None,
            window: u32::try_from(window).ok(),
        };
        let purchases = (1..=COUNT).map(purchase).collect();
        self.submit(Operation::Cashback, purchases)?;
        self.drain(u64::MAX)
    }

    fn holds(&mut self) -> Held {
        self.submit(Operation::Adjustment, vec![points(100, None)])?;
        self.submit(Operation::Hold, (0..70).map(|_| hold(1)).collect())?;
        self.drain(u64::MAX)
    }

    fn batches(&mut self) -> Held {
        for n in 0..20 {
            let event = Item::Events {
                customer: ID.to_owned(),
                names: vec![format!("event-{n}")],
                id: None,
            };
            self.submit(Operation::Events, vec![event])?;
        }
        self.drain(u64::MAX)
    }
}

fn hold(points: i64) -> Item {
    Item::Hold {
        customer: ID.to_owned(),
        time: 0,
        size: Size::Points(points),
        id: None,
        minutes: None,
    }
}
