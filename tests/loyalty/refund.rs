//! Refund: a cashback or a redemption reversed, in whole or in parts.

use crate::harness::{DAY, NOW, Shop, Tested, money, now, number};
use batchwright::loyalty::{
    Adjustment, Cashback, CashbackItem, Customers, Events, Hold, HoldItem, Orders, Redeem,
    RedeemItem, Refund, RefundItem, RefundOutput, codes,
};
use proptest::prelude::*;

fn refund(id: &str, reverse: &str, members: &str) -> String {
    format!(
        r#"{{"customerId":"ada","refundTransactionId":"{id}","reverseTransactionId":"{reverse}","transactionTime":"{NOW}"{members}}}"#
    )
}

fn item(id: &str, reverse: &str, amount: Option<&str>) -> RefundItem {
    let mut item = RefundItem::new("ada", id, reverse, now());
    item.refund_amount = amount.map(money);
    item
}

/// Refunds so much, and says how many points moved.
#[track_caller]
fn part(shop: &Shop, id: &str, reverse: &str, amount: &str) -> i64 {
    let output: RefundOutput = shop.succeeds::<Refund>(item(id, reverse, Some(amount)));
    assert_eq!(output.refund_amount, money(amount));
    output.refund_equivalent_points
}

#[test]
fn a_cashback_is_taken_back() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "150.75");
    assert_eq!(
        shop.output::<Refund>(&refund("r-1", "t-1", "")),
        format!(
            r#"{{"customerId":"ada","refundTransactionId":"r-1","gameballTransactionId":{},"refundAmount":150.75,"refundEquivalentPoints":150}}"#,
            number(2, 0)
        )
    );
    assert_eq!(shop.points("ada"), (0, 0, 0));
    let earned = shop.balance("ada").map(|b| b.total_earned_points);
    assert_eq!(earned, Some(0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_redemption_is_given_back() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 40);
    assert_eq!(
        shop.output::<Refund>(&refund("r-1", "t-2", r#","refundAmount":1.50"#)),
        format!(
            r#"{{"customerId":"ada","refundTransactionId":"r-1","gameballTransactionId":{},"refundAmount":1.5,"refundEquivalentPoints":15}}"#,
            number(3, 0)
        )
    );
    assert_eq!(shop.points("ada"), (75, 75, 0));
    assert_eq!(
        shop.output::<Refund>(&refund("r-2", "t-2", r#","refundAmount":null"#)),
        format!(
            r#"{{"customerId":"ada","refundTransactionId":"r-2","gameballTransactionId":{},"refundAmount":2.5,"refundEquivalentPoints":25}}"#,
            number(4, 0)
        )
    );
    assert_eq!(shop.points("ada"), (100, 100, 0));
    // They were earned before.
    let earned = shop.balance("ada").map(|b| b.total_earned_points);
    assert_eq!(earned, Some(100));
    shop.assert_audited();
    Ok(())
}

#[test]
fn parts_of_a_cashback_take_what_the_rest_does_not_award() -> Tested {
    let shop = Shop::with(|p| p.earn_rate = "1.5".parse().unwrap_or(p.earn_rate))?;
    shop.earn("ada", "t-1", "10.01"); // 15 points
    // floor(1.5 x 10) = 15: nothing to take yet.
    assert_eq!(part(&shop, "r-1", "t-1", "0.01"), 0);
    // floor(1.5 x 9.99) = 14.
    assert_eq!(part(&shop, "r-2", "t-1", "0.01"), 1);
    // floor(1.5 x 5) = 7.
    assert_eq!(part(&shop, "r-3", "t-1", "4.99"), 7);
    assert_eq!(part(&shop, "r-4", "t-1", "5"), 7);
    assert_eq!(shop.points("ada"), (0, 0, 0));
    shop.fails::<Refund>(
        &refund("r-5", "t-1", r#","refundAmount":0.01"#),
        codes::ALREADY_REFUNDED,
        "reverseTransactionId",
    );
    shop.assert_audited();
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn parts_of_any_size_take_exactly_what_was_awarded(
        cents in proptest::collection::vec(1_u32..500_000, 1..12),
        rate in 1_u32..99_999,
    ) {
        let amount = |cents: u32| format!("{}.{:02}", cents / 100, cents % 100);
        let rate_text = format!("{}.{:03}", rate / 1_000, rate % 1_000);
        let shop = Shop::with(|p| p.earn_rate = rate_text.parse().unwrap_or(p.earn_rate));
        let shop = shop.map_err(|error| TestCaseError::fail(error.to_string()))?;
        let all: u32 = cents.iter().sum();
        let points = |cents: u32| i64::from(cents) * i64::from(rate) / 100_000;
        shop.earn("ada", "t-1", &amount(all));
        shop.earn("ada", "other", "1000");
        let others = shop.points("ada").0 - points(all);
        let mut left = all;
        for (n, cents) in cents.into_iter().enumerate() {
            let moved = part(&shop, &format!("r-{n}"), "t-1", &amount(cents));
            prop_assert_eq!(moved, points(left) - points(left - cents));
            left -= cents;
            prop_assert_eq!(shop.points("ada").0 - others, points(left));
        }
        prop_assert_eq!(shop.points("ada").0, others);
        shop.assert_audited();
    }
}

#[test]
fn a_refund_goes_by_the_rates_of_its_transaction() -> Tested {
    let mut shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn("ada", "t-2", "100");
    shop.redeem("ada", "t-3", 50);
    shop.change(|p| {
        p.earn_rate = "7".parse().unwrap_or(p.earn_rate);
        p.redemption_factor = "3".parse().unwrap_or(p.redemption_factor);
    })?;
    assert_eq!(part(&shop, "r-1", "t-1", "30"), 30);
    assert_eq!(part(&shop, "r-2", "t-1", "70"), 70);
    // 5 of money then.
    assert_eq!(part(&shop, "r-3", "t-3", "1"), 10);
    assert_eq!(part(&shop, "r-4", "t-3", "4"), 40);
    assert_eq!(shop.points("ada").0, 100);
    shop.assert_audited();
    Ok(())
}

#[test]
fn more_than_is_left_is_refused_and_what_is_left_is_named() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 50);
    part(&shop, "r-1", "t-1", "30");
    part(&shop, "r-2", "t-2", "1");
    for (reverse, amount, left) in [("t-1", "70.01", "70"), ("t-2", "4.1", "4")] {
        let members = format!(r#","refundAmount":{amount}"#);
        let failure = shop.fails::<Refund>(
            &refund("r-3", reverse, &members),
            codes::INVALID_VALUE,
            "refundAmount",
        );
        assert_eq!(
            failure.message,
            format!(
                r#"refundAmount is {amount}, expected at most {left}, which is left of transaction "{reverse}""#
            )
        );
    }
    Ok(())
}

#[test]
fn part_of_a_redemption_must_be_whole_points() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 50);
    let failure = shop.fails::<Refund>(
        &refund("r-1", "t-2", r#","refundAmount":1.25"#),
        codes::INVALID_VALUE,
        "refundAmount",
    );
    assert_eq!(
        failure.message,
        "refundAmount is 1.25, expected a multiple of 0.1, which a point is worth; the nearest are 1.2 and 1.3"
    );
    Ok(())
}

#[test]
fn all_of_a_transaction_is_refunded_once() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 50);
    for reverse in ["t-2", "t-1"] {
        let id = format!("r-{reverse}");
        shop.succeeds::<Refund>(item(&id, reverse, None));
        let failure = shop.fails::<Refund>(
            &refund("again", reverse, ""),
            codes::ALREADY_REFUNDED,
            "reverseTransactionId",
        );
        assert_eq!(
            failure.message,
            format!(r#"all of transaction "{reverse}" was refunded before"#)
        );
    }
    assert_eq!(shop.points("ada").0, 0);
    Ok(())
}

#[test]
fn only_cashbacks_and_redemptions_of_the_customer_are_reversed() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn("bob", "t-bob", "100");
    shop.output::<Adjustment>(r#"{"customerId":"ada","transactionId":"t-add","points":5}"#);
    shop.output::<Adjustment>(r#"{"customerId":"ada","transactionId":"t-less","points":-5}"#);
    let mut hold = HoldItem::points("ada", now(), 5);
    hold.transaction_id = Some("t-hold".to_owned());
    shop.succeeds::<Hold>(hold);
    shop.output::<Events>(
        r#"{"customerId":"ada","transactionId":"t-events","events":{"visit":{}}}"#,
    );
    shop.output::<Orders>(&format!(
        r#"{{"customerId":"ada","orderId":"o-1","orderDate":"{NOW}","totalPaid":5}}"#
    ));
    shop.succeeds::<Refund>(item("t-refund", "t-1", Some("50")));
    for reverse in [
        "nothing", "t-bob", "t-add", "t-less", "t-hold", "t-events", "o-1", "T-1", "t-refund",
    ] {
        for members in ["", r#","refundAmount":0.1"#, r#","refundAmount":99999"#] {
            let failure = shop.fails::<Refund>(
                &refund("r-1", reverse, members),
                codes::TRANSACTION_NOT_FOUND,
                "reverseTransactionId",
            );
            let other = ["nothing", "t-bob", "o-1", "T-1"].contains(&reverse);
            let expected = if other {
                format!("this customer has no transaction {reverse:?}")
            } else {
                format!("transaction {reverse:?} is neither a cashback nor a redemption")
            };
            assert_eq!(failure.message, expected);
        }
    }
    Ok(())
}

#[test]
fn an_unknown_customer_gets_no_refund() -> Tested {
    let shop = Shop::open()?;
    shop.earn("bob", "t-1", "100");
    shop.fails::<Refund>(
        &refund("r-1", "t-1", ""),
        codes::CUSTOMER_NOT_FOUND,
        "customerId",
    );
    Ok(())
}

#[test]
fn an_amount_that_is_not_above_zero_is_refused() -> Tested {
    let shop = Shop::open()?;
    for amount in ["0", "-1"] {
        let members = format!(r#","refundAmount":{amount}"#);
        let json = refund("r-1", "t-1", &members);
        shop.refuses::<Refund>(&json, codes::INVALID_VALUE, "refundAmount");
    }
    Ok(())
}

#[test]
fn a_refund_takes_the_awards_own_points_then_pending_ones_then_available_ones() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(30))?;
    shop.earn("ada", "t-1", "100");
    shop.advance(DAY);
    shop.earn("ada", "t-2", "100");
    shop.earn_later("ada", "t-3", "50", 7);
    shop.succeeds::<Refund>(item("r-1", "t-3", Some("20")));
    assert_eq!(shop.points("ada"), (230, 200, 30));
    // Its own points are there: nothing else is touched.
    shop.succeeds::<Refund>(item("r-2", "t-1", Some("20")));
    assert_eq!(shop.points("ada"), (210, 180, 30));
    // They are spent.
    shop.redeem("ada", "t-4", 80);
    shop.succeeds::<Refund>(item("r-3", "t-1", Some("20")));
    assert_eq!(shop.points("ada"), (110, 100, 10));
    shop.succeeds::<Refund>(item("r-4", "t-1", Some("40")));
    assert_eq!(shop.points("ada"), (70, 70, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_award_that_is_pending_is_taken_back_before_other_pending_ones() -> Tested {
    let shop = Shop::open()?;
    shop.earn_later("ada", "t-1", "10", 1);
    shop.earn_later("ada", "t-2", "10", 3);
    shop.earn_later("ada", "t-3", "10", 2);
    shop.succeeds::<Refund>(item("r-1", "t-2", None));
    shop.advance(DAY);
    assert_eq!(shop.points("ada"), (20, 10, 10));
    shop.advance(DAY);
    assert_eq!(shop.points("ada"), (20, 20, 0));
    Ok(())
}

#[test]
fn points_that_are_spent_or_held_cannot_be_taken_back() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 30);
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 30));
    let failure = shop.fails::<Refund>(
        &refund("r-1", "t-1", r#","refundAmount":41"#),
        codes::INSUFFICIENT_POINTS,
        "refundAmount",
    );
    assert_eq!(
        failure.message,
        "41 points are to be taken back, 40 are there"
    );
    // The refund that failed has left all of it to be refunded.
    assert_eq!(part(&shop, "r-1", "t-1", "40"), 40);
    shop.assert_audited();
    Ok(())
}

#[test]
fn points_that_have_expired_cannot_be_taken_back() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(1))?;
    shop.earn("ada", "t-1", "100");
    shop.advance(DAY * 3);
    shop.fails::<Refund>(
        &refund("r-1", "t-1", ""),
        codes::INSUFFICIENT_POINTS,
        "refundAmount",
    );
    Ok(())
}

#[test]
fn a_programme_may_let_customers_owe_points_which_the_next_ones_pay() -> Tested {
    let shop = Shop::with(|p| p.allow_negative = true)?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 90);
    shop.succeeds::<Refund>(item("r-1", "t-1", None));
    assert_eq!(shop.points("ada"), (-90, -90, 0));
    let balance = shop.balance("ada").ok_or("no customer")?;
    assert_eq!(balance.total_points_value, money("-9"));
    let redeem = format!(
        r#"{{"customerId":"ada","transactionId":"t-3","transactionTime":"{NOW}","points":1}}"#
    );
    let failure = shop.fails::<Redeem>(&redeem, codes::INSUFFICIENT_POINTS, "points");
    assert_eq!(failure.message, "1 points are wanted, -90 are available");

    shop.earn("ada", "t-4", "40");
    assert_eq!(shop.points("ada"), (-50, -50, 0));
    // Pending points pay when they become available.
    shop.earn_later("ada", "t-5", "70", 1);
    assert_eq!(shop.points("ada"), (20, -50, 70));
    shop.advance(DAY);
    assert_eq!(shop.points("ada"), (20, 20, 0));
    shop.assert_audited();
    // Points that come back pay, too.
    shop.succeeds::<Refund>(item("r-4", "t-5", None));
    assert_eq!(shop.points("ada"), (-50, -50, 0));
    shop.succeeds::<Refund>(item("r-2", "t-2", None));
    assert_eq!(shop.points("ada"), (40, 40, 0));
    shop.redeem("ada", "t-6", 40);
    shop.assert_audited();
    Ok(())
}

#[test]
fn points_that_paid_a_debt_are_spent_and_do_not_expire() -> Tested {
    let shop = Shop::with(|p| {
        p.allow_negative = true;
        p.points_expiry_days = Some(1);
    })?;
    shop.earn("ada", "t-1", "100");
    shop.redeem("ada", "t-2", 100);
    shop.succeeds::<Refund>(item("r-1", "t-1", None));
    shop.earn("ada", "t-3", "40");
    // Those of another award pay when they become available.
    shop.earn_later("ada", "t-4", "50", 5);
    assert_eq!(shop.points("ada"), (-10, -60, 50));
    let next = |shop: &Shop| shop.balance("ada").map(|b| b.next_expiring_points_amount);
    assert_eq!(next(&shop), Some(50));
    shop.advance(DAY * 3);
    assert_eq!(shop.points("ada"), (-10, -60, 50));
    shop.advance(DAY * 2);
    assert_eq!((shop.points("ada"), next(&shop)), ((-10, -10, 0), Some(0)));
    shop.advance(DAY * 9);
    shop.earn("ada", "t-5", "11");
    assert_eq!(shop.points("ada"), (1, 1, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn points_come_back_with_the_expiry_they_had_and_what_expires_last_first() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "10");
    shop.add("ada", 10, Some(10));
    shop.add("ada", 10, Some(20));
    shop.redeem("ada", "t-2", 25);
    // The last ones taken: 5 for ever, then 3 of the second lot.
    assert_eq!(part(&shop, "r-1", "t-2", "0.8"), 8);
    shop.advance(DAY * 11);
    assert_eq!(shop.points("ada").0, 13);
    // 7 more of the second lot, 2 of the first, which have expired.
    assert_eq!(part(&shop, "r-2", "t-2", "0.9"), 9);
    assert_eq!(shop.points("ada").0, 20);
    shop.advance(DAY * 10);
    assert_eq!(shop.points("ada").0, 10);
    shop.assert_audited();
    Ok(())
}

#[test]
fn points_that_come_back_expired_stay_expired() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    shop.add("ada", 10, Some(1));
    shop.redeem("ada", "t-2", 10);
    shop.advance(DAY * 5);
    let output = shop.succeeds::<Refund>(item("r-1", "t-2", None));
    assert_eq!(output.refund_equivalent_points, 10);
    assert_eq!(shop.points("ada"), (0, 0, 0));
    let moves: Vec<_> = shop.moves("ada")?.split_off(2);
    assert_eq!(
        moves,
        [("refund".into(), 10, 0, 10), ("expiry".into(), -10, 10, 0)]
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_programme_may_give_expired_points_that_come_back_some_days() -> Tested {
    let shop = Shop::with(|p| p.refund_grace_days = 3)?;
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    shop.add("ada", 10, Some(1));
    shop.add("ada", 10, Some(20));
    shop.redeem("ada", "t-2", 20);
    shop.advance(DAY * 5);
    shop.succeeds::<Refund>(item("r-1", "t-2", None));
    assert_eq!(shop.points("ada").0, 20);
    shop.at("2025-03-22T23:59:59.999Z");
    assert_eq!(shop.points("ada").0, 20);
    shop.at("2025-03-23T00:00:00Z");
    // Those that had not expired keep their own expiry.
    assert_eq!(shop.points("ada").0, 10);
    shop.at("2025-04-04T00:00:00Z");
    assert_eq!(shop.points("ada").0, 0);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_redemption_of_held_points_is_given_back() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let hold = shop.succeeds::<Hold>(HoldItem::points("ada", now(), 60));
    let redeem = RedeemItem::hold("ada", "t-2", now(), hold.hold_reference);
    shop.succeeds::<Redeem>(redeem);
    assert_eq!(part(&shop, "r-1", "t-2", "6"), 60);
    assert_eq!(shop.points("ada"), (100, 100, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_cashback_without_points_can_be_refunded_once_too() -> Tested {
    let shop = Shop::open()?;
    let cashback = CashbackItem::new("ada", "t-1", now(), money("0.5"));
    shop.succeeds::<Cashback>(cashback);
    assert_eq!(part(&shop, "r-1", "t-1", "0.5"), 0);
    shop.fails::<Refund>(
        &refund("r-2", "t-1", ""),
        codes::ALREADY_REFUNDED,
        "reverseTransactionId",
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn what_a_refund_reversed_is_in_the_history() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    part(&shop, "r-1", "t-1", "30");
    let entry = shop.entries("ada")?.pop().ok_or("no entry")?;
    assert_eq!(entry.reverses.as_deref(), Some("t-1"));
    assert_eq!(entry.transaction_id.as_deref(), Some("r-1"));
    assert_eq!(entry.amount, Some(money("30")));
    assert_eq!(entry.points, -30);
    Ok(())
}
