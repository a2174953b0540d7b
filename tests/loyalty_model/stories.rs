//! Courses of events that chance alone takes too long to find.

use crate::dates::{DAY_MS, MINUTE_MS};
use crate::decimal::{Decimal, POINTS_MAX};
use crate::items::{Item, Operation, Size};
use crate::plan::{End, Jump, Seed};
use crate::resolve::CUSTOMERS;
use crate::rules::Rules;
use crate::run::{Held, Run};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Story {
    /// The points of a purchase are spent, then the purchase is refunded. The debt is paid by what comes next.
    Debt(Payment),
    /// A redemption and a purchase are refunded in parts.
    Parts,
    /// Several things are due at one moment, or a millisecond apart.
    Moments,
    /// There is no room for points that come back.
    Full,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Payment {
    Redemption,
    Adjustment,
    /// A purchase whose points become available later.
    Purchase,
    /// That one is refunded, too, when no debt is allowed any more.
    None,
}

impl Run {
    pub(crate) fn tell(&mut self, story: Story, customer: usize, seeds: &[Seed]) -> Held {
        self.stories += 1;
        let teller = Teller {
            customer: CUSTOMERS[customer],
            story: self.stories,
        };
        match story {
            Story::Debt(payment) => self.tell_debt(&teller, payment, seeds),
            Story::Parts => self.tell_parts(&teller, seeds),
            Story::Moments => self.tell_moments(&teller, seeds),
            Story::Full => self.tell_full(&teller, seeds),
        }
    }

    fn tell_debt(&mut self, teller: &Teller, payment: Payment, seeds: &[Seed]) -> Held {
        let (first, second) = (&seeds[0], &seeds[1]);
        self.one(teller.purchase("a", self.now(), first, Some(0)))?;
        let available = self.available(teller.customer);
        self.one(teller.redemption("r", self.now(), available))?;
        self.one(teller.refund("ra", "a", self.now(), None))?;
        match payment {
            Payment::Redemption => {
                let half = Decimal::worth(available / 2, self.rules.factor);
                self.one(teller.refund("rr", "r", self.now(), Some(half)))?;
                self.one(teller.refund("rr2", "r", self.now(), None))
            }
            Payment::Adjustment => self.one(teller.adjustment(first.points, second.days)),
            Payment::Purchase => {
                self.one(teller.purchase("b", self.now(), second, Some(2)))?;
                self.advance(&Jump::By(2 * DAY_MS + second.quarters));
                self.check(false)?;
                self.one(teller.adjustment(1, None))
            }
            Payment::None => {
                self.one(teller.purchase("b", self.now(), second, Some(2)))?;
                let strict = Rules {
                    allow_negative: false,
                    ..self.rules.clone()
                };
                self.reopen(End::PowerCut, Some(&strict))?;
                let part = second.amount.0 / 4 * i128::from(second.quarters);
                // No item names more.
                let part = Decimal(part.min(Decimal::LARGEST.0));
                self.one(teller.refund("rb", "b", self.now(), Some(part)))?;
                self.one(teller.refund("rb2", "b", self.now(), None))
            }
        }
    }

    fn tell_parts(&mut self, teller: &Teller, seeds: &[Seed]) -> Held {
        for seed in seeds {
            self.one(teller.adjustment(seed.points % 1_000 + 1, seed.days.map(|days| days % 9)))?;
        }
        self.one(teller.purchase("a", self.now(), &seeds[0], seeds[0].window))?;
        // Before anything else has become of it.
        let part = Decimal(seeds[0].amount.0 / 7);
        self.one(teller.refund("ra-first", "a", self.now(), Some(part)))?;
        let available = self.available(teller.customer);
        self.one(teller.redemption("r", self.now(), available))?;
        let factor = self.rules.factor;
        if seeds[3].with_id {
            // What was moved stays what it was.
            let other = |rate: Decimal| {
                Decimal(if rate.0 == 500_000 {
                    1_000_000
                } else {
                    500_000
                })
            };
            let changed = Rules {
                factor: other(factor),
                earn_rate: other(self.rules.earn_rate),
                ..self.rules.clone()
            };
            self.reopen(End::Shutdown, Some(&changed))?;
        }
        for (n, seed) in seeds.iter().enumerate() {
            let part = Decimal(seeds[0].amount.0 / 7 * i128::from(seed.quarters));
            let id = format!("ra{n}");
            self.one(teller.refund(&id, "a", self.now(), Some(part)))?;
            let part = Decimal::worth(available / 7 * seed.quarters, factor);
            let id = format!("rr{n}");
            self.one(teller.refund(&id, "r", self.now(), Some(part)))?;
            self.advance(&Jump::By(seed.after_ms.abs() % (2 * DAY_MS)));
        }
        self.one(teller.refund("ra", "a", self.now(), None))?;
        self.one(teller.refund("rr", "r", self.now(), None))
    }

    fn tell_moments(&mut self, teller: &Teller, seeds: &[Seed]) -> Held {
        let hold_ms = i64::from(self.rules.hold_minutes) * MINUTE_MS;
        let to_midnight = |run: &Self| DAY_MS - run.now() % DAY_MS;
        // Points expire at midnight, when a hold does.
        self.advance(&Jump::By(to_midnight(self)));
        self.one(teller.adjustment(40, Some(0)))?;
        self.one(teller.adjustment(30, Some(seeds[0].quarters.unsigned_abs() as u32)))?;
        self.advance(&Jump::By(to_midnight(self) - hold_ms));
        self.one(teller.hold(self.now(), 10 * seeds[1].quarters))?;
        for beside_ms in [-1, 0, 1] {
            // Points become available one millisecond after the other.
            let time = self.now() + hold_ms - DAY_MS + beside_ms;
            let name = format!("a{beside_ms}");
            self.one(teller.purchase(&name, time, &seeds[2], Some(1)))?;
        }
        self.advance(&Jump::By(hold_ms - 2));
        // These are held when they would expire.
        self.one(teller.hold(self.now(), 5))?;
        for _ in 0..4 {
            self.check(false)?;
            self.advance(&Jump::By(1));
        }
        self.one(teller.adjustment(1, None))
    }

    fn tell_full(&mut self, teller: &Teller, seeds: &[Seed]) -> Held {
        self.one(teller.adjustment(100, None))?;
        self.one(teller.redemption("r", self.now(), 100))?;
        let room = POINTS_MAX - self.balance(teller.customer) - seeds[0].quarters * 30;
        // Somebody in debt has more room than one item may fill.
        let room = room.min(POINTS_MAX);
        self.one(teller.adjustment(room, None))?;
        self.one(teller.refund("rr", "r", self.now(), None))?;
        self.one(teller.adjustment(-room, None))
    }

    /// A batch of one item, which runs at once.
    fn one(&mut self, (operation, item): (Operation, Item)) -> Held {
        let is_valid = match &item {
            Item::Redeem { size, .. } | Item::Hold { size, .. } => *size != Size::Points(0),
            Item::Refund { amount, .. } => *amount != Some(Decimal::ZERO),
            Item::Adjustment { size, .. } => *size != Size::Points(0),
            _ => true,
        };
        if !is_valid {
            return Ok(());
        }
        self.submit(operation, vec![item])?;
        self.drain(u64::MAX)
    }

    fn available(&self, customer: &str) -> i64 {
        self.settled(customer).available().max(0)
    }

    fn balance(&self, customer: &str) -> i64 {
        self.settled(customer).balance()
    }
}

/// Makes items of a story.
struct Teller {
    customer: &'static str,
    story: usize,
}

impl Teller {
    fn id(&self, name: &str) -> String {
        format!("story-{}-{name}", self.story)
    }

    fn purchase(
        &self,
        name: &str,
        time: i64,
        seed: &Seed,
        window: Option<u32>,
    ) -> (Operation, Item) {
        let item = Item::Cashback {
            customer: self.customer.to_owned(),
            id: self.id(name),
            time,
            amount: seed.amount,
            email: None,
            window,
        };
        (Operation::Cashback, item)
    }

    fn redemption(&self, name: &str, time: i64, points: i64) -> (Operation, Item) {
        let item = Item::Redeem {
            customer: self.customer.to_owned(),
            id: self.id(name),
            time,
            size: Size::Points(points),
            reason: None,
        };
        (Operation::Redeem, item)
    }

    fn refund(
        &self,
        name: &str,
        reverses: &str,
        time: i64,
        amount: Option<Decimal>,
    ) -> (Operation, Item) {
        let item = Item::Refund {
            customer: self.customer.to_owned(),
            id: self.id(name),
            reverses: self.id(reverses),
            time,
            amount,
        };
        (Operation::Refund, item)
    }

    fn hold(&self, time: i64, points: i64) -> (Operation, Item) {
        let item = Item::Hold {
            customer: self.customer.to_owned(),
            time,
            size: Size::Points(points),
            id: None,
            minutes: None,
        };
        (Operation::Hold, item)
    }

    fn adjustment(&self, points: i64, days: Option<u32>) -> (Operation, Item) {
        let item = Item::Adjustment {
            customer: self.customer.to_owned(),
            size: Size::Points(points),
            id: None,
            days: days.filter(|_| points > 0),
            reason: None,
        };
        (Operation::Adjustment, item)
    }
}
