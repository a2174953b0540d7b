//! Redeem: points spent.

use crate::harness::{DAY, NOW, Shop, Tested, money, now, number};
use batchwright::loyalty::{Hold, HoldItem, Redeem, RedeemItem, codes};

fn redeem(id: &str, members: &str) -> String {
    format!(r#"{{"customerId":"ada","transactionId":"{id}","transactionTime":"{NOW}"{members}}}"#)
}

#[test]
fn points_or_an_amount_are_taken_and_told_both_ways() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1000");
    assert_eq!(
        shop.output::<Redeem>(&redeem("r-1", r#","points":25"#)),
        format!(
            r#"{{"customerId":"ada","transactionId":"r-1","gameballTransactionId":{},"redeemAmount":2.5,"redeemEquivalentPoints":25}}"#,
            number(2, 0)
        )
    );
    assert_eq!(
        shop.output::<Redeem>(&redeem("r-2", r#","amount":10.10"#)),
        format!(
            r#"{{"customerId":"ada","transactionId":"r-2","gameballTransactionId":{},"redeemAmount":10.1,"redeemEquivalentPoints":101}}"#,
            number(3, 0)
        )
    );
    let item = RedeemItem::amount("ada", "r-3", now(), money("87.4"));
    assert_eq!(shop.succeeds::<Redeem>(item).redeem_equivalent_points, 874);
    assert_eq!(shop.points("ada"), (0, 0, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn exactly_one_of_amount_points_and_hold_must_be_there() -> Tested {
    let shop = Shop::open()?;
    for (members, code, field) in [
        ("", codes::MISSING, "amount"),
        (r#","points":null"#, codes::MISSING, "amount"),
        (r#","points":1,"amount":1"#, codes::INVALID_VALUE, "points"),
        (
            r#","points":1,"holdReference":"hold-1""#,
            codes::INVALID_VALUE,
            "holdReference",
        ),
        (
            r#","amount":1,"holdReference":"hold-1""#,
            codes::INVALID_VALUE,
            "holdReference",
        ),
        (r#","points":0"#, codes::INVALID_VALUE, "points"),
        (r#","points":-1"#, codes::INVALID_VALUE, "points"),
        (r#","amount":0"#, codes::INVALID_VALUE, "amount"),
        (r#","amount":-1"#, codes::INVALID_VALUE, "amount"),
    ] {
        let message = shop.refuses::<Redeem>(&redeem("r-1", members), code, field);
        if members.is_empty() {
            assert_eq!(
                message,
                "exactly one of amount, points, holdReference is required, none is there"
            );
        }
    }
    Ok(())
}

#[test]
fn an_amount_that_is_no_whole_number_of_points_fails_and_names_the_nearest() -> Tested {
    let shop = Shop::with(|p| p.redemption_factor = "0.3".parse().unwrap_or(p.redemption_factor))?;
    shop.earn("ada", "t-1", "1000");
    for (amount, lower, upper) in [
        ("10", "9.9", "10.2"),
        ("0.1", "0", "0.3"),
        ("0.000001", "0", "0.3"),
        ("0.899999", "0.6", "0.9"),
    ] {
        let item = redeem("r-1", &format!(r#","amount":{amount}"#));
        let failure = shop.fails::<Redeem>(&item, codes::INVALID_VALUE, "amount");
        assert_eq!(
            failure.message,
            format!(
                "amount is {amount}, expected a multiple of 0.3, which a point is worth; the nearest are {lower} and {upper}"
            )
        );
    }
    shop.output::<Redeem>(&redeem("r-1", r#","amount":9.9"#));
    assert_eq!(shop.points("ada").0, 1_000 - 33);
    Ok(())
}

#[test]
fn too_few_available_points_are_an_error_whatever_is_pending_or_held() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn_later("ada", "t-2", "1000", 1);
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 30));
    for (members, field) in [
        (r#","points":71"#, "points"),
        (r#","amount":7.1"#, "amount"),
    ] {
        let item = redeem("r-1", members);
        let failure = shop.fails::<Redeem>(&item, codes::INSUFFICIENT_POINTS, field);
        assert_eq!(failure.message, "71 points are wanted, 70 are available");
    }
    // An item that failed has used no id.
    shop.output::<Redeem>(&redeem("r-1", r#","points":70"#));
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_unknown_customer_has_nothing_to_redeem() -> Tested {
    let shop = Shop::open()?;
    shop.fails::<Redeem>(
        &redeem("r-1", r#","points":1"#),
        codes::CUSTOMER_NOT_FOUND,
        "customerId",
    );
    Ok(())
}

#[test]
fn a_redemption_takes_what_expires_first_and_what_never_expires_last() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1000");
    shop.add("ada", 10, Some(30));
    shop.add("ada", 10, Some(10));
    shop.add("ada", 10, Some(20));
    shop.redeem("ada", "r-1", 15);
    // 10 of the first and 5 of the second are gone.
    shop.advance(DAY * 11);
    assert_eq!(shop.points("ada").0, 1_015);
    shop.advance(DAY * 10);
    assert_eq!(shop.points("ada").0, 1_010);
    shop.redeem("ada", "r-2", 12);
    shop.advance(DAY * 10);
    assert_eq!(shop.points("ada").0, 998);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_hold_is_redeemed_whole_and_once() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let reference = shop
        .succeeds::<Hold>(HoldItem::points("ada", now(), 60))
        .hold_reference;
    let members = format!(r#","holdReference":"{reference}""#);
    assert_eq!(
        shop.output::<Redeem>(&redeem("r-1", &members)),
        format!(
            r#"{{"customerId":"ada","transactionId":"r-1","gameballTransactionId":{},"redeemAmount":6,"redeemEquivalentPoints":60}}"#,
            number(3, 0)
        )
    );
    assert_eq!(shop.points("ada"), (40, 40, 0));
    let failure = shop.fails::<Redeem>(
        &redeem("r-2", &members),
        codes::HOLD_NOT_FOUND,
        "holdReference",
    );
    assert_eq!(
        failure.message,
        format!(
            r#"there is no hold "{reference}" of this customer, or it has expired or was redeemed"#
        )
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_hold_is_found_by_its_own_reference_alone() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn("bob", "t-2", "100");
    let hold = |customer: &str| {
        shop.succeeds::<Hold>(HoldItem::points(customer, now(), 10))
            .hold_reference
    };
    let (own, other) = (hold("ada"), hold("bob"));
    let digits = own.trim_start_matches("hold-");
    let others = [
        other,
        digits.to_owned(),
        format!("hold-0{digits}"),
        format!("hold-+{digits}"),
        format!("HOLD-{digits}"),
        "hold-".to_owned(),
        "hold-99999999999999999999999".to_owned(),
        String::new(),
    ];
    for reference in others {
        let members = format!(r#","holdReference":"{reference}""#);
        let item = redeem("r-1", &members);
        shop.fails::<Redeem>(&item, codes::HOLD_NOT_FOUND, "holdReference");
    }
    shop.output::<Redeem>(&redeem("r-1", &format!(r#","holdReference":"{own}""#)));
    Ok(())
}

#[test]
fn the_reason_is_in_the_history() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.output::<Redeem>(&redeem("r-1", r#","points":1,"reason":"a mug""#));
    let entry = shop.entries("ada")?.pop().ok_or("no entry")?;
    assert_eq!(entry.reason.as_deref(), Some("a mug"));
    assert_eq!(entry.transaction_id.as_deref(), Some("r-1"));
    assert_eq!(entry.amount, Some(money("0.1")));
    Ok(())
}
