//! Adjustment: points added or deducted by hand.

use crate::harness::{DAY, Shop, Tested, money, now};
use batchwright::loyalty::{Adjustment, AdjustmentItem, Hold, HoldItem, POINTS_MAX, codes};

#[test]
fn points_are_added_and_deducted() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    assert_eq!(
        shop.output::<Adjustment>(r#"{"customerId":"ada","points":25}"#),
        r#"{"customerId":"ada","points":25,"amount":2.5,"pointsBalanceAfter":125}"#
    );
    assert_eq!(
        shop.output::<Adjustment>(r#"{"customerId":"ada","points":-125}"#),
        r#"{"customerId":"ada","points":-125,"amount":-12.5,"pointsBalanceAfter":0}"#
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_amount_is_as_many_points_as_are_worth_it() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    assert_eq!(
        shop.output::<Adjustment>(r#"{"customerId":"ada","amount":2.50}"#),
        r#"{"customerId":"ada","points":25,"amount":2.5,"pointsBalanceAfter":125}"#
    );
    assert_eq!(
        shop.output::<Adjustment>(r#"{"customerId":"ada","amount":-0.3}"#),
        r#"{"customerId":"ada","points":-3,"amount":-0.3,"pointsBalanceAfter":122}"#
    );
    let item = AdjustmentItem::amount("ada", money("-12.2"));
    assert_eq!(shop.succeeds::<Adjustment>(item).points_balance_after, 0);
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_amount_that_is_no_whole_number_of_points_fails_and_names_the_nearest() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    for (amount, lower, upper) in [("0.25", "0.2", "0.3"), ("-0.05", "0", "0.1")] {
        let item = format!(r#"{{"customerId":"ada","amount":{amount}}}"#);
        let failure = shop.fails::<Adjustment>(&item, codes::INVALID_VALUE, "amount");
        let size = amount.trim_start_matches('-');
        assert_eq!(
            failure.message,
            format!(
                "amount is {size}, expected a multiple of 0.1, which a point is worth; the nearest are {lower} and {upper}"
            )
        );
    }
    Ok(())
}

#[test]
fn exactly_one_of_amount_and_points_must_be_there() -> Tested {
    let shop = Shop::open()?;
    let message = shop.refuses::<Adjustment>(r#"{"customerId":"ada"}"#, codes::MISSING, "amount");
    assert_eq!(
        message,
        "exactly one of amount, points is required, none is there"
    );
    shop.refuses::<Adjustment>(
        r#"{"customerId":"ada","points":null,"amount":null}"#,
        codes::MISSING,
        "amount",
    );
    let both = r#"{"customerId":"ada","points":1,"amount":0.1}"#;
    let message = shop.refuses::<Adjustment>(both, codes::INVALID_VALUE, "points");
    assert_eq!(
        message,
        "exactly one of amount, points is required, points is one more"
    );
    Ok(())
}

#[test]
fn nothing_and_too_much_are_no_adjustments() -> Tested {
    let shop = Shop::open()?;
    let past = POINTS_MAX + 1;
    for (member, field) in [
        ("\"points\":0".to_owned(), "points"),
        ("\"amount\":0.00".to_owned(), "amount"),
        (format!("\"points\":{past}"), "points"),
        (format!("\"points\":-{past}"), "points"),
        (format!("\"points\":{}", i64::MIN), "points"),
        ("\"points\":9223372036854775808".to_owned(), "points"),
        ("\"points\":1.0".to_owned(), "points"),
        ("\"points\":\"1\"".to_owned(), "points"),
        ("\"amount\":1000000000000000".to_owned(), "amount"),
        ("\"amount\":0.0000001".to_owned(), "amount"),
    ] {
        let item = format!(r#"{{"customerId":"ada",{member}}}"#);
        shop.refuses::<Adjustment>(&item, codes::INVALID_VALUE, field);
    }
    Ok(())
}

#[test]
fn a_deduction_past_the_available_points_fails_and_moves_nothing() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn_later("ada", "t-2", "1000", 1);
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 30));
    for (member, field) in [("\"points\":-71", "points"), ("\"amount\":-7.1", "amount")] {
        let item = format!(r#"{{"customerId":"ada",{member}}}"#);
        let failure = shop.fails::<Adjustment>(&item, codes::INSUFFICIENT_POINTS, field);
        assert_eq!(failure.message, "71 points are wanted, 70 are available");
    }
    shop.output::<Adjustment>(r#"{"customerId":"ada","points":-70}"#);
    assert_eq!(shop.points("ada"), (1_030, 0, 1_000));
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_unknown_customer_is_not_adjusted() -> Tested {
    let shop = Shop::open()?;
    for points in [5, -5] {
        let item = format!(r#"{{"customerId":"nobody","points":{points}}}"#);
        shop.fails::<Adjustment>(&item, codes::CUSTOMER_NOT_FOUND, "customerId");
    }
    Ok(())
}

#[test]
fn added_points_are_available_at_once_and_expire_as_the_programme_says() -> Tested {
    let shop = Shop::with(|p| {
        p.return_window_days = 30;
        p.points_expiry_days = Some(10);
    })?;
    shop.earn("ada", "t-1", "1");
    shop.add("ada", 20, None);
    assert_eq!(shop.points("ada"), (21, 20, 1));
    shop.at("2025-03-24T23:59:59.999Z");
    assert_eq!(shop.points("ada"), (21, 20, 1));
    shop.at("2025-03-25T00:00:00Z");
    assert_eq!(shop.points("ada"), (1, 0, 1));
    Ok(())
}

#[test]
fn expiry_after_overrides_the_programme() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(10))?;
    shop.earn("ada", "t-1", "1");
    shop.output::<Adjustment>(r#"{"customerId":"ada","points":20,"expiryAfter":0}"#);
    shop.output::<Adjustment>(r#"{"customerId":"ada","points":300,"expiryAfter":36500}"#);
    assert_eq!(shop.points("ada").0, 321);
    shop.at("2025-03-15T00:00:00Z");
    assert_eq!(shop.points("ada").0, 301);
    shop.advance(DAY * 20_000);
    assert_eq!(shop.points("ada").0, 300);
    Ok(())
}

#[test]
fn what_is_deducted_does_not_expire() -> Tested {
    let shop = Shop::open()?;
    for member in ["\"points\":-1", "\"amount\":-0.1"] {
        let item = format!(r#"{{"customerId":"ada",{member},"expiryAfter":5}}"#);
        let message = shop.refuses::<Adjustment>(&item, codes::INVALID_VALUE, "expiryAfter");
        assert_eq!(
            message,
            "expiryAfter is 5, expected nothing: points that are deducted do not expire"
        );
    }
    let late = r#"{"customerId":"ada","points":1,"expiryAfter":36501}"#;
    let message = shop.refuses::<Adjustment>(late, codes::INVALID_VALUE, "expiryAfter");
    assert_eq!(message, "expiryAfter is 36501, expected 0 to 36500");
    let negative = r#"{"customerId":"ada","points":1,"expiryAfter":-1}"#;
    shop.refuses::<Adjustment>(negative, codes::INVALID_VALUE, "expiryAfter");
    Ok(())
}

#[test]
fn the_reason_and_the_id_are_in_the_history() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    shop.output::<Adjustment>(
        r#"{"customerId":"ada","points":5,"reason":"sorry","transactionId":"a-1"}"#,
    );
    shop.output::<Adjustment>(r#"{"customerId":"ada","points":5}"#);
    let entries = shop.entries("ada")?;
    let of = |n: usize| {
        (
            entries[n].reason.as_deref(),
            entries[n].transaction_id.as_deref(),
        )
    };
    assert_eq!(of(1), (Some("sorry"), Some("a-1")));
    assert_eq!(of(2), (None, None));
    Ok(())
}

#[test]
fn without_an_id_an_adjustment_is_made_as_often_as_it_is_submitted() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    let item = || AdjustmentItem::points("ada", 5);
    shop.run::<Adjustment>([item(), item()])?;
    shop.run::<Adjustment>([item()])?;
    assert_eq!(shop.points("ada").0, 16);
    shop.assert_audited();
    Ok(())
}
