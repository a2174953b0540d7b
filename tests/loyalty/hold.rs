//! Hold: points reserved for a while.

use crate::harness::{DAY, MINUTE, NOW, Shop, Tested, money, now, number};
use batchwright::loyalty::{
    Hold, HoldItem, OrderItem, OrderRedemption, Orders, Redeem, RedeemItem, codes,
};

fn hold(members: &str) -> String {
    format!(r#"{{"customerId":"ada","transactionTime":"{NOW}"{members}}}"#)
}

#[test]
fn points_or_an_amount_are_reserved_for_ten_minutes() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    assert_eq!(
        shop.output::<Hold>(&hold(r#","pointsToHold":25"#)),
        format!(
            r#"{{"customerId":"ada","holdReference":"hold-{}","holdAmount":2.5,"holdEquivalentPoints":25,"expiresAt":"2025-03-14T10:10:00Z"}}"#,
            number(2, 0)
        )
    );
    assert_eq!(
        shop.output::<Hold>(&hold(r#","amountToHold":1.10"#)),
        format!(
            r#"{{"customerId":"ada","holdReference":"hold-{}","holdAmount":1.1,"holdEquivalentPoints":11,"expiresAt":"2025-03-14T10:10:00Z"}}"#,
            number(3, 0)
        )
    );
    // They are the customer's still.
    assert_eq!(shop.points("ada"), (100, 64, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn exactly_one_of_amount_and_points_above_zero_must_be_there() -> Tested {
    let shop = Shop::open()?;
    for (members, code, field) in [
        ("", codes::MISSING, "amountToHold"),
        (
            r#","pointsToHold":1,"amountToHold":1"#,
            codes::INVALID_VALUE,
            "pointsToHold",
        ),
        (r#","pointsToHold":0"#, codes::INVALID_VALUE, "pointsToHold"),
        (
            r#","pointsToHold":-1"#,
            codes::INVALID_VALUE,
            "pointsToHold",
        ),
        (r#","amountToHold":0"#, codes::INVALID_VALUE, "amountToHold"),
        (
            r#","amountToHold":-1"#,
            codes::INVALID_VALUE,
            "amountToHold",
        ),
    ] {
        shop.refuses::<Hold>(&hold(members), code, field);
    }
    Ok(())
}

#[test]
fn an_amount_that_is_no_whole_number_of_points_fails_and_names_the_nearest() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let item = hold(r#","amountToHold":1.25"#);
    let failure = shop.fails::<Hold>(&item, codes::INVALID_VALUE, "amountToHold");
    assert_eq!(
        failure.message,
        "amountToHold is 1.25, expected a multiple of 0.1, which a point is worth; the nearest are 1.2 and 1.3"
    );
    Ok(())
}

#[test]
fn what_is_held_is_not_available_to_another_hold() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn_later("ada", "t-2", "1000", 1);
    shop.output::<Hold>(&hold(r#","pointsToHold":60"#));
    for (members, field) in [
        (r#","pointsToHold":41"#, "pointsToHold"),
        (r#","amountToHold":4.1"#, "amountToHold"),
    ] {
        let failure = shop.fails::<Hold>(&hold(members), codes::INSUFFICIENT_POINTS, field);
        assert_eq!(failure.message, "41 points are wanted, 40 are available");
    }
    shop.output::<Hold>(&hold(r#","pointsToHold":40"#));
    assert_eq!(shop.points("ada"), (1_100, 0, 1_000));
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_unknown_customer_has_nothing_to_hold() -> Tested {
    let shop = Shop::open()?;
    shop.fails::<Hold>(
        &hold(r#","pointsToHold":1"#),
        codes::CUSTOMER_NOT_FOUND,
        "customerId",
    );
    Ok(())
}

#[test]
fn an_item_may_say_how_long_its_hold_lasts() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    for (minutes, until) in [
        ("1", "2025-03-14T10:01:00Z"),
        ("21600", "2025-03-29T10:00:00Z"),
    ] {
        let members = format!(r#","pointsToHold":1,"holdDuration":{minutes}"#);
        let output = shop.output::<Hold>(&hold(&members));
        assert!(
            output.ends_with(&format!(r#""expiresAt":"{until}"}}"#)),
            "{output}"
        );
    }
    for minutes in ["0", "21601", "-1", "1.5", "99999999999"] {
        let members = format!(r#","pointsToHold":1,"holdDuration":{minutes}"#);
        shop.refuses::<Hold>(&hold(&members), codes::INVALID_VALUE, "holdDuration");
    }
    let members = r#","pointsToHold":1,"holdDuration":21601"#;
    let message = shop.refuses::<Hold>(&hold(members), codes::INVALID_VALUE, "holdDuration");
    assert_eq!(
        message,
        "holdDuration is 21601, expected 1 to 21600 minutes"
    );
    Ok(())
}

#[test]
fn a_programme_has_its_own_duration_and_limits() -> Tested {
    let shop = Shop::with(|p| {
        p.hold_minutes = 30;
        p.hold_minutes_min = 20;
        p.hold_minutes_max = 40;
    })?;
    shop.earn("ada", "t-1", "100");
    let item = HoldItem::points("ada", now(), 1);
    let output = shop.succeeds::<Hold>(item);
    assert_eq!(output.expires_at.to_string(), "2025-03-14T10:30:00Z");
    for minutes in [19, 41] {
        let members = format!(r#","pointsToHold":1,"holdDuration":{minutes}"#);
        let failure = shop.fails::<Hold>(&hold(&members), codes::INVALID_VALUE, "holdDuration");
        assert_eq!(
            failure.message,
            format!("holdDuration is {minutes}, expected 20 to 40 minutes")
        );
    }
    for minutes in [20, 40] {
        let members = format!(r#","pointsToHold":1,"holdDuration":{minutes}"#);
        shop.output::<Hold>(&hold(&members));
    }
    Ok(())
}

#[test]
fn a_hold_lasts_from_when_it_is_made_whatever_its_time_says() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let output = shop.output::<Hold>(
        r#"{"customerId":"ada","transactionTime":"2025-03-14T03:00:00Z","pointsToHold":1}"#,
    );
    assert!(
        output.contains(r#""expiresAt":"2025-03-14T10:10:00Z""#),
        "{output}"
    );
    Ok(())
}

#[test]
fn a_hold_lapses_at_its_moment_and_not_before() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let item = || HoldItem::points("ada", now(), 10);
    let (early, late) = (
        shop.succeeds::<Hold>(item()).hold_reference,
        shop.succeeds::<Hold>(item()).hold_reference,
    );
    shop.at("2025-03-14T10:09:59.999Z");
    assert_eq!(shop.points("ada"), (100, 80, 0));
    shop.succeeds::<Redeem>(RedeemItem::hold("ada", "r-1", now(), early));
    shop.at("2025-03-14T10:10:00Z");
    assert_eq!(shop.points("ada"), (90, 90, 0));
    let item = format!(
        r#"{{"customerId":"ada","transactionId":"r-2","transactionTime":"{NOW}","holdReference":"{late}"}}"#
    );
    shop.fails::<Redeem>(&item, codes::HOLD_NOT_FOUND, "holdReference");
    let item = format!(
        r#"{{"customerId":"ada","orderId":"o-1","orderDate":"{NOW}","totalPaid":1,"redemption":{{"pointsHoldReference":"{late}"}}}}"#
    );
    let field = "redemption.pointsHoldReference";
    shop.fails::<Orders>(&item, codes::HOLD_NOT_FOUND, field);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_hold_that_lapsed_is_an_entry_of_the_next_touch() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let reference = shop
        .succeeds::<Hold>(HoldItem::points("ada", now(), 10))
        .hold_reference;
    shop.advance(MINUTE * 25);
    assert_eq!(shop.entries("ada")?.len(), 2);
    shop.redeem("ada", "r-1", 95);
    let entries = shop.entries("ada")?;
    let of = |n: usize| {
        let entry = &entries[n];
        (
            entry.kind.to_string(),
            entry.held,
            entry.hold_reference.clone(),
            entry.at.to_string(),
            (entry.balance_before, entry.balance_after),
        )
    };
    let end = "2025-03-14T10:10:00Z".to_owned();
    let reference = Some(reference);
    assert_eq!(
        of(1),
        (
            "hold".into(),
            Some(10),
            reference.clone(),
            NOW.into(),
            (100, 100)
        )
    );
    assert_eq!(
        of(2),
        ("hold expiry".into(), Some(-10), reference, end, (100, 100))
    );
    let now = "2025-03-14T10:25:00Z".to_owned();
    assert_eq!(of(3), ("redemption".into(), None, None, now, (100, 5)));
    shop.assert_audited();
    Ok(())
}

#[test]
fn held_points_do_not_expire_while_they_are_held() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1000");
    shop.add("ada", 30, Some(0));
    let hold = |minutes: u32| {
        let mut item = HoldItem::points("ada", now(), 10);
        item.hold_duration = Some(minutes);
        shop.succeeds::<Hold>(item).hold_reference
    };
    let (kept, spent) = (hold(2 * 24 * 60), hold(3 * 24 * 60));
    shop.advance(DAY);
    // The ten that are not held have expired.
    assert_eq!(shop.points("ada"), (1_020, 1_000, 0));
    shop.at("2025-03-16T10:00:00Z");
    // Those of the first hold expire with it.
    assert_eq!(shop.points("ada"), (1_010, 1_000, 0));
    shop.succeeds::<Redeem>(RedeemItem::hold("ada", "r-1", now(), spent));
    assert_eq!(shop.points("ada"), (1_000, 1_000, 0));
    let moves: Vec<_> = shop
        .entries("ada")?
        .iter()
        .skip(4)
        .map(|e| (e.kind.to_string(), e.points, e.at.to_string()))
        .collect();
    let end = "2025-03-16T10:00:00Z".to_owned();
    assert_eq!(
        moves,
        [
            ("expiry".into(), -10, "2025-03-15T00:00:00Z".into()),
            ("hold expiry".into(), 0, end.clone()),
            ("expiry".into(), -10, end.clone()),
            ("redemption".into(), -10, end),
        ]
    );
    assert!(!kept.is_empty());
    shop.assert_audited();
    Ok(())
}

#[test]
fn held_points_go_back_to_the_lots_they_came_from() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.add("ada", 10, Some(20));
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 15));
    shop.advance(MINUTE * 10);
    shop.redeem("ada", "r-1", 4);
    // The 10 that expire came back, and 4 of them were spent first.
    shop.advance(DAY * 30);
    assert_eq!(shop.points("ada").0, 100);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_hold_is_redeemed_by_an_order() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let amount = HoldItem::amount("ada", now(), money("5"));
    let reference = shop.succeeds::<Hold>(amount).hold_reference;
    let mut order = OrderItem::new("ada", "o-1", now(), money("20"));
    order.redemption = Some(OrderRedemption::hold(reference));
    let output = shop.succeeds::<Orders>(order);
    assert_eq!((output.rewarded_points, output.redeemed_points), (20, 50));
    assert_eq!(shop.points("ada"), (70, 70, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn without_an_id_a_hold_is_made_as_often_as_it_is_submitted() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let item = || HoldItem::points("ada", now(), 10);
    shop.run::<Hold>([item(), item()])?;
    shop.run::<Hold>([item()])?;
    assert_eq!(shop.points("ada"), (100, 70, 0));
    Ok(())
}
