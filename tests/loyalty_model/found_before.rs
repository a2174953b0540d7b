//! What the model has found, one test for each.

use crate::decimal::Decimal;
use crate::items::{Item, Operation, Size};
use crate::resolve::CUSTOMERS;
use crate::rules::Rules;
use crate::run::{Held, Run};

fn rules() -> Rules {
    Rules {
        currency: "USD",
        points_name: "Points",
        earn_rate: Decimal(1_000_000),
        factor: Decimal(100_000),
        window_days: 0,
        expiry_days: Some(30),
        grace_days: 0,
        allow_negative: false,
        cashback_creates: true,
        orders_create: true,
        hold_minutes: 10,
        hold_minutes_min: 1,
        hold_minutes_max: 20,
    }
}

fn cashback(id: &str, time: i64, window: u32) -> Item {
    Item::Cashback {
        customer: CUSTOMERS[0].to_owned(),
        id: id.to_owned(),
        time,
        amount: Decimal(10_000_000),
        email: None,
        window: Some(window),
    }
}

fn refund(id: &str, reverses: &str, time: i64, amount: Option<Decimal>) -> Item {
    Item::Refund {
        customer: CUSTOMERS[0].to_owned(),
        id: id.to_owned(),
        reverses: reverses.to_owned(),
        time,
        amount,
    }
}

fn do_all(run: &mut Run, operation: Operation, items: Vec<Item>) -> Held {
    run.submit(operation, items)?;
    run.drain(u64::MAX)?;
    run.check(true)
}

#[test]
fn what_cannot_be_reversed_is_not_found_whatever_the_amount() -> Held {
    let mut run = Run::new(&rules())?;
    let now = run.now();
    do_all(&mut run, Operation::Cashback, vec![cashback("a", now, 0)])?;
    let adjustment = Item::Adjustment {
        customer: CUSTOMERS[0].to_owned(),
        size: Size::Points(-5),
        id: Some("b".to_owned()),
        days: None,
        reason: None,
    };
    do_all(&mut run, Operation::Adjustment, vec![adjustment])?;
    // It was an amount of which no more than -0.5 is left.
    let refunds = [None, Some(Decimal(1_000_000))];
    let refunds = refunds.map(|amount| refund("c", "b", now, amount));
    do_all(&mut run, Operation::Refund, refunds.to_vec())
}

#[test]
fn points_of_a_matured_award_go_before_pending_ones_of_others() -> Held {
    let mut run = Run::new(&rules())?;
    let day = 24 * 3_600_000;
    let now = run.now();
    let awards = [
        cashback("early", now - 3 * day, 0),
        cashback("own", now, 1),
        cashback("pending", now, 5),
    ];
    do_all(&mut run, Operation::Cashback, awards.to_vec())?;
    run.advance(&crate::plan::Jump::By(2 * day));
    // Points pending of another purchase went, and then what expires first.
    let parts = ["c", "d"].map(|id| refund(id, "own", now, Some(Decimal(4_000_000))));
    do_all(&mut run, Operation::Refund, parts.to_vec())
}
