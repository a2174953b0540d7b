//! What can happen in a run.

use crate::dates::{DAY_MS, HOUR_MS, MINUTE_MS};
use crate::decimal::{Decimal, POINTS_MAX};
use crate::items::Operation;
use crate::rules::Rules;
use crate::stories::{Payment, Story};
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What an item is made of, once it is known what the ledger has: see `resolve`.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    pub(crate) customer: u8,
    pub(crate) id: u8,
    /// Where it is optional.
    pub(crate) with_id: bool,
    pub(crate) text: Option<u8>,
    /// From the queue's time on.
    pub(crate) after_ms: i64,
    pub(crate) amount: Decimal,
    pub(crate) points: i64,
    /// Of four quarters of what there is; five are too much.
    pub(crate) quarters: i64,
    pub(crate) form: u8,
    pub(crate) pick: Index,
    pub(crate) window: Option<u32>,
    pub(crate) days: Option<u32>,
    pub(crate) minutes: Option<u32>,
}

/// How far the clock is moved.
#[derive(Debug, Clone)]
pub(crate) enum Jump {
    By(i64),
    /// To one of the next moments at which time changes something, or beside it.
    Moment {
        which: Index,
        beside_ms: i64,
    },
    /// As long before one as a hold lasts.
    HoldBefore {
        which: Index,
    },
}

/// How the queue ends before it is opened again.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Shutdown,
    PowerCut,
    /// With a commit that fails, and is on the disk or not, while so many items are to run.
    FailedCommit {
        done: bool,
        most: u64,
    },
    /// In the middle of what is run, when the clock is looked at for the n-th time.
    CutAtReading {
        reading: i64,
        most: u64,
    },
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Submit {
        operation: Operation,
        seeds: Vec<Seed>,
        /// Items to run at once.
        most: u64,
    },
    Tell {
        story: Story,
        customer: usize,
        seeds: Vec<Seed>,
    },
    /// Items of an earlier batch again, as they were or changed.
    Again {
        which: Index,
        changed: bool,
    },
    Retry {
        which: Index,
    },
    Drain {
        most: u64,
    },
    Stop {
        which: Index,
    },
    Resume {
        which: Index,
    },
    Delete {
        which: Index,
    },
    Advance(Jump),
    Reopen {
        end: End,
        rules: Option<Rules>,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) customer: usize,
    pub(crate) points: i64,
    pub(crate) days: Option<u32>,
}

#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) rules: Rules,
    /// Points that customers have before anything happens.
    pub(crate) start: Vec<Start>,
    pub(crate) actions: Vec<Action>,
}

impl Plan {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let start = prop::collection::vec(any_points(), 0..6);
        let actions = prop::collection::vec(Action::any(), 4..20);
        (Rules::any(), start, actions).prop_map(|(rules, start, actions)| Self {
            rules,
            start,
            actions,
        })
    }
}

impl Action {
    pub(crate) fn reopens(&self) -> bool {
        matches!(self, Self::Reopen { .. })
    }

    fn any() -> impl Strategy<Value = Self> {
        let which = any::<Index>();
        let reopen = (end(), prop::option::weighted(0.4, Rules::any()));
        prop_oneof![
            1000 => submit(),
            120 => tell(),
            120 => (which.clone(), any::<bool>())
                .prop_map(|(which, changed)| Self::Again { which, changed }),
            60 => which.clone().prop_map(|which| Self::Retry { which }),
            250 => most().prop_map(|most| Self::Drain { most }),
            100 => which.clone().prop_map(|which| Self::Stop { which }),
            120 => which.clone().prop_map(|which| Self::Resume { which }),
            80 => which.prop_map(|which| Self::Delete { which }),
            450 => Jump::any().prop_map(Self::Advance),
            250 => reopen.prop_map(|(end, rules)| Self::Reopen { end, rules }),
        ]
    }
}

pub(crate) fn any_points() -> impl Strategy<Value = Start> {
    let customer = prop_oneof![3 => Just(0), 2 => Just(1), 1 => Just(2)];
    (customer, 1..500i64, prop::option::of(0..20u32)).prop_map(|(customer, points, days)| Start {
        customer,
        points,
        days,
    })
}

pub(crate) fn submit() -> impl Strategy<Value = Action> {
    let operation = prop_oneof![
        2 => Just(Operation::Customers),
        3 => Just(Operation::Orders),
        1 => Just(Operation::OrderTransactions),
        1 => Just(Operation::Balance),
        5 => Just(Operation::Adjustment),
        7 => Just(Operation::Cashback),
        5 => Just(Operation::Redeem),
        1 => Just(Operation::Events),
        5 => Just(Operation::Hold),
        6 => Just(Operation::Refund),
    ];
    let seeds = prop_oneof![
        20 => prop::collection::vec(Seed::any(), 1..6),
        1 => prop::collection::vec(Seed::any(), 17..40),
    ];
    let most = prop_oneof![1 => Just(0), 1 => 1..10u64, 3 => Just(u64::MAX)];
    (operation, seeds, most).prop_map(|(operation, seeds, most)| Action::Submit {
        operation,
        seeds,
        most,
    })
}

fn tell() -> impl Strategy<Value = Action> {
    let payment = select(vec![
        Payment::Redemption,
        Payment::Adjustment,
        Payment::Purchase,
        Payment::None,
    ]);
    let story = prop_oneof![
        4 => payment.prop_map(Story::Debt),
        3 => Just(Story::Parts),
        2 => Just(Story::Moments),
        1 => Just(Story::Full),
    ];
    let seeds = prop::collection::vec(Seed::any(), 4);
    (story, 0..2usize, seeds).prop_map(|(story, customer, seeds)| Action::Tell {
        story,
        customer,
        seeds,
    })
}

/// Items to run: all, or some.
fn most() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(u64::MAX), 1 => 1..6u64, 1 => 6..40u64]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        1 => Just(End::Shutdown),
        1 => Just(End::PowerCut),
        2 => (any::<bool>(), most()).prop_map(|(done, most)| End::FailedCommit { done, most }),
        2 => (1..40i64, most()).prop_map(|(reading, most)| End::CutAtReading { reading, most }),
    ]
}

impl Jump {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let moment = (any::<Index>(), -1..=1i64);
        prop_oneof![
            1 => (0..MINUTE_MS).prop_map(Self::By),
            1 => (0..HOUR_MS).prop_map(Self::By),
            2 => (0..3 * DAY_MS).prop_map(Self::By),
            1 => (0..90 * DAY_MS).prop_map(Self::By),
            5 => moment.prop_map(|(which, beside_ms)| Self::Moment { which, beside_ms }),
            1 => any::<Index>().prop_map(|which| Self::HoldBefore { which }),
        ]
    }
}

impl Seed {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        let who = (0..40u8, 0..60u8, any::<bool>(), prop::option::of(0..4u8));
        let after_ms = prop_oneof![
            8 => Just(0),
            4 => -HOUR_MS..=0,
            8 => -20 * DAY_MS..=0,
            2 => -200 * DAY_MS..=0,
            1 => Just(5 * MINUTE_MS),
            1 => Just(5 * MINUTE_MS + 1),
            1 => 0..2 * DAY_MS,
        ];
        let much = (amount(), points(), 0..=5i64);
        let how = (any::<u8>(), any::<Index>());
        let terms = (
            prop::option::weighted(0.3, prop_oneof![Just(0), 1..10u32, 1..=7_300u32]),
            prop::option::weighted(0.3, prop_oneof![Just(0), 1..10u32, 0..=36_500u32]),
            prop::option::weighted(0.25, prop_oneof![1..40u32, 1..=21_600u32]),
        );
        (who, after_ms, much, how, terms).prop_map(|(who, after_ms, much, how, terms)| Self {
            customer: who.0,
            id: who.1,
            with_id: who.2,
            text: who.3,
            after_ms,
            amount: much.0,
            points: much.1,
            quarters: much.2,
            form: how.0,
            pick: how.1,
            window: terms.0,
            days: terms.1,
            minutes: terms.2,
        })
    }
}

fn amount() -> impl Strategy<Value = Decimal> {
    let Decimal(largest) = Decimal::LARGEST;
    prop_oneof![
        6 => (1..300i128).prop_map(|units| units * 1_000_000),
        6 => (1..30_000i128).prop_map(|hundredths| hundredths * 10_000),
        3 => 1..500_000_000i128,
        1 => Just(1),
        1 => select(vec![largest, largest / 100, largest / 1000]),
    ]
    .prop_map(Decimal)
}

fn points() -> impl Strategy<Value = i64> {
    prop_oneof![
        20 => 1..200i64,
        5 => 1..5_000i64,
        1 => select(vec![1, POINTS_MAX, POINTS_MAX / 2]),
    ]
}
