//! Money is exact from the text in the JSON on, and points have their limit.

use crate::harness::{NOW, Shop, Tested, money, now};
use batchwright::loyalty::{
    Adjustment, AdjustmentItem, Cashback, CashbackItem, POINTS_MAX, Program, Redeem, RedeemItem,
    Refund, RefundItem, codes,
};
use batchwright::testing::Assertions;

fn with_rate(rate: &str) -> impl FnOnce(&mut Program) {
    let rate = rate.parse();
    move |program| program.earn_rate = rate.unwrap_or(program.earn_rate)
}

fn cashback(id: &str, amount: &str) -> String {
    format!(
        r#"{{"customerId":"ada","transactionId":"{id}","transactionTime":"{NOW}","amount":{amount}}}"#
    )
}

#[test]
fn a_product_that_floats_get_wrong_is_right() -> Tested {
    // As floats: 1150 - epsilon, 290 - epsilon, 58 - epsilon.
    for (rate, amount, points) in [
        ("1000", "1.15", 1_150),
        ("100", "2.9", 290),
        ("100", "0.58", 58),
        ("0.1", "30", 3),
        ("0.000001", "1000000", 1),
        ("0.000001", "999999.999999", 0),
    ] {
        let shop = Shop::with(with_rate(rate))?;
        let output = shop.output::<Cashback>(&cashback("t-1", amount));
        assert!(
            output.ends_with(&format!(r#""rewardEquivalentPoints":{points}}}"#)),
            "{amount} x {rate}: {output}"
        );
    }
    Ok(())
}

#[test]
fn a_tenth_and_two_tenths_are_three_tenths() -> Tested {
    let shop = Shop::with(with_rate("10"))?;
    shop.output::<Cashback>(&cashback("t-1", "0.3"));
    for (id, amount, points) in [("r-1", "0.1", 1), ("r-2", "0.2", 2)] {
        let mut item = RefundItem::new("ada", id, "t-1", now());
        item.refund_amount = Some(money(amount));
        let output = shop.succeeds::<Refund>(item);
        assert_eq!(output.refund_equivalent_points, points);
    }
    // 0.1 + 0.2 is all of it, and not a little more.
    let item = format!(
        r#"{{"customerId":"ada","refundTransactionId":"r-3","reverseTransactionId":"t-1","transactionTime":"{NOW}"}}"#
    );
    shop.fails::<Refund>(&item, codes::ALREADY_REFUNDED, "reverseTransactionId");
    Ok(())
}

#[test]
fn fifteen_digits_and_six_more_are_kept() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Cashback>(&cashback("t-1", "123456789012345.678901"));
    assert_eq!(shop.points("ada").0, 123_456_789_012_345);
    let entry = shop.entries("ada")?.pop().ok_or("no entry")?;
    assert_eq!(entry.amount, Some(money("123456789012345.678901")));
    let mut item = RefundItem::new("ada", "r-1", "t-1", now());
    item.refund_amount = Some(money("0.678901"));
    let output = shop.succeeds::<Refund>(item);
    assert_eq!(output.refund_equivalent_points, 0);
    let mut item = RefundItem::new("ada", "r-2", "t-1", now());
    item.refund_amount = Some(money("0.000001"));
    let output = shop.succeeds::<Refund>(item);
    assert_eq!(output.refund_equivalent_points, 1);
    shop.assert_audited();
    Ok(())
}

#[test]
fn amounts_may_be_texts_and_may_have_exponents() -> Tested {
    let shop = Shop::open()?;
    for (n, amount) in ["1500", "1500.00", "\"1500\"", "1.5e3", "15E+2", "150000e-2"]
        .into_iter()
        .enumerate()
    {
        let output = shop.output::<Cashback>(&cashback(&format!("t-{n}"), amount));
        assert!(
            output.ends_with(r#""rewardEquivalentPoints":1500}"#),
            "{amount}"
        );
    }
    for amount in [
        "1e16", "1e-7", "1e99", "1e-99", "\"1,5\"", "\"\"", "true", "[1]", "\" 1\"",
    ] {
        shop.refuses::<Cashback>(&cashback("t-x", amount), codes::INVALID_VALUE, "amount");
    }
    Ok(())
}

#[test]
fn one_award_is_at_most_the_limit_of_points() -> Tested {
    let shop = Shop::with(with_rate("2"))?;
    let failure = shop.fails::<Cashback>(
        &cashback("t-1", "500000000000000"),
        codes::INVALID_VALUE,
        "amount",
    );
    assert_eq!(
        failure.message,
        format!(
            "amount is 500000000000000, expected an amount for at most {POINTS_MAX} points at 2 a unit"
        )
    );
    shop.output::<Cashback>(&cashback("t-1", "499999999999999.5"));
    assert_eq!(shop.points("ada").0, POINTS_MAX);
    Ok(())
}

#[test]
fn a_customer_has_at_most_the_limit_of_points() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", &(POINTS_MAX - 5).to_string());
    shop.fails::<Cashback>(&cashback("t-2", "6"), codes::LIMIT_EXCEEDED, "customerId");
    let failure = shop.fails::<Adjustment>(
        r#"{"customerId":"ada","points":6}"#,
        codes::LIMIT_EXCEEDED,
        "customerId",
    );
    assert_eq!(
        failure.message,
        format!("6 points more would be past the limit of {POINTS_MAX} for one customer")
    );
    // What comes back counts, too.
    shop.redeem("ada", "r-1", 10);
    shop.add("ada", 10, None);
    let refund = format!(
        r#"{{"customerId":"ada","refundTransactionId":"f-1","reverseTransactionId":"r-1","transactionTime":"{NOW}"}}"#
    );
    shop.fails::<Refund>(&refund, codes::LIMIT_EXCEEDED, "customerId");
    shop.redeem("ada", "r-2", 5);
    shop.output::<Refund>(&refund);
    assert_eq!(shop.points("ada").0, POINTS_MAX);
    // Another customer has limits of their own.
    shop.earn("bob", "t-3", "6");
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_debt_has_the_limit_too() -> Tested {
    let shop = Shop::with(|p| p.allow_negative = true)?;
    let all = POINTS_MAX.to_string();
    for n in 0..2 {
        shop.earn("ada", &format!("t-{n}"), &all);
        shop.redeem("ada", &format!("r-{n}"), POINTS_MAX);
    }
    shop.succeeds::<Refund>(RefundItem::new("ada", "f-0", "t-0", now()));
    assert_eq!(shop.points("ada").0, -POINTS_MAX);
    let refund = format!(
        r#"{{"customerId":"ada","refundTransactionId":"f-1","reverseTransactionId":"t-1","transactionTime":"{NOW}","refundAmount":1}}"#
    );
    shop.fails::<Refund>(&refund, codes::LIMIT_EXCEEDED, "customerId");
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_amount_of_more_points_than_there_can_be_is_invalid() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    for amount in ["100000000000000", "-100000000000000"] {
        let item = format!(r#"{{"customerId":"ada","amount":{amount}}}"#);
        let failure = shop.fails::<Adjustment>(&item, codes::INVALID_VALUE, "amount");
        assert_eq!(
            failure.message,
            format!(
                "amount is 100000000000000, expected an amount of at most {POINTS_MAX} points of 0.1"
            )
        );
    }
    Ok(())
}

#[test]
fn points_may_be_worth_more_money_than_an_item_can_name() -> Tested {
    let shop = Shop::with(|p| {
        p.redemption_factor = "1000000".parse().unwrap_or(p.redemption_factor);
    })?;
    let item = CashbackItem::new("ada", "t-1", now(), money(&POINTS_MAX.to_string()));
    let batch = shop.run::<Cashback>([item])?;
    let output = batch.assert_succeeded(0);
    assert_eq!(
        output.reward_amount.to_string(),
        format!("{POINTS_MAX}000000")
    );
    let output = shop.succeeds::<Redeem>(RedeemItem::points("ada", "r-1", now(), POINTS_MAX));
    assert_eq!(
        output.redeem_amount.to_string(),
        format!("{POINTS_MAX}000000")
    );
    shop.assert_audited();
    shop.succeeds::<Refund>(RefundItem::new("ada", "f-1", "r-1", now()));
    let output = shop.succeeds::<Adjustment>(AdjustmentItem::points("ada", -POINTS_MAX));
    assert_eq!(output.points_balance_after, 0);
    assert_eq!(shop.entries("ada")?.len(), 4);
    shop.assert_audited();
    Ok(())
}
