//! Balance: what a customer has now.

use crate::harness::{DAY, HOUR, NOW, Shop, Tested, now, number};
use batchwright::loyalty::{Balance, BalanceItem, Hold, HoldItem, codes};

#[test]
fn a_balance_has_every_figure_and_what_it_is_worth() -> Tested {
    let shop = Shop::with(|p| {
        p.currency = "EUR".to_owned();
        p.points_name = "Stars".to_owned();
        p.points_expiry_days = Some(30);
    })?;
    shop.earn("ada", "t-1", "100");
    shop.earn_later("ada", "t-2", "25", 7);
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 40));
    assert_eq!(
        shop.output::<Balance>(r#"{"customerId":"ada"}"#),
        r#"{"customerId":"ada","totalPointsBalance":125,"totalPointsValue":12.5,"availablePointsBalance":60,"availablePointsValue":6,"pendingPoints":25,"pendingPointsValue":2.5,"currency":"EUR","pointsName":"Stars","nextExpiringPointsAmount":60,"nextExpiringPointsValue":6,"nextExpiringPointsDate":"2025-04-14T00:00:00Z","totalEarnedPoints":125}"#
    );
    Ok(())
}

#[test]
fn without_points_all_is_zero_and_nothing_expires() -> Tested {
    let shop = Shop::open()?;
    shop.output::<batchwright::loyalty::Customers>(r#"{"customerId":"ada"}"#);
    assert_eq!(
        shop.output::<Balance>(r#"{"customerId":"ada"}"#),
        r#"{"customerId":"ada","totalPointsBalance":0,"totalPointsValue":0,"availablePointsBalance":0,"availablePointsValue":0,"pendingPoints":0,"pendingPointsValue":0,"currency":"USD","pointsName":"Points","nextExpiringPointsAmount":0,"nextExpiringPointsValue":0,"nextExpiringPointsDate":null,"totalEarnedPoints":0}"#
    );
    Ok(())
}

#[test]
fn an_unknown_customer_has_no_balance() -> Tested {
    let shop = Shop::open()?;
    let failure = shop.fails::<Balance>(
        r#"{"customerId":"nobody"}"#,
        codes::CUSTOMER_NOT_FOUND,
        "customerId",
    );
    assert_eq!(failure.message, r#"there is no customer "nobody""#);
    assert_eq!(shop.balance("nobody"), None);
    Ok(())
}

#[test]
fn reading_a_balance_changes_nothing() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(1))?;
    shop.earn("ada", "t-1", "10");
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 4));
    shop.advance(DAY * 3);
    let before = shop.rows();
    let batch = shop.run::<Balance>([BalanceItem::new("ada"), BalanceItem::new("ada")])?;
    let outputs = batchwright::testing::Assertions::assert_all_succeeded(&batch);
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0].total_points_balance, 0);
    assert_eq!(shop.rows(), before);
    Ok(())
}

#[test]
fn the_balance_from_outside_is_the_one_of_the_operation() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(2))?;
    shop.earn("ada", "t-1", "10");
    shop.earn_later("ada", "t-2", "20", 1);
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 4));
    for _ in 0..10 {
        let inside = shop.succeeds::<Balance>(BalanceItem::new("ada"));
        assert_eq!(shop.balance("ada"), Some(inside));
        shop.advance(HOUR * 11);
    }
    assert_eq!(shop.points("ada"), (0, 0, 0));
    Ok(())
}

#[test]
fn earned_points_are_those_ever_awarded_whatever_became_of_them() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(1))?;
    shop.earn("ada", "t-1", "100");
    shop.add("ada", 10, None);
    shop.redeem("ada", "r-1", 50);
    shop.add("ada", -5, None);
    shop.advance(DAY * 5);
    shop.earn("ada", "t-2", "1");
    let balance = shop.balance("ada").ok_or("no customer")?;
    assert_eq!(balance.total_earned_points, 111);
    assert_eq!(balance.total_points_balance, 1);
    shop.assert_audited();
    Ok(())
}

#[test]
fn the_points_that_expire_next_are_told_with_the_moment() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    let next = |shop: &Shop| {
        shop.balance("ada").map(|b| {
            let date = b.next_expiring_points_date.map(|date| date.to_string());
            (b.next_expiring_points_amount, date)
        })
    };
    assert_eq!(next(&shop), Some((0, None)));
    shop.add("ada", 20, Some(2));
    shop.add("ada", 10, Some(1));
    shop.add("ada", 5, Some(1));
    let first = Some("2025-03-16T00:00:00Z".to_owned());
    assert_eq!(next(&shop), Some((15, first.clone())));
    shop.redeem("ada", "r-1", 14);
    assert_eq!(next(&shop), Some((1, first)));
    shop.at("2025-03-16T00:00:00Z");
    let second = Some("2025-03-17T00:00:00Z".to_owned());
    assert_eq!(next(&shop), Some((20, second)));
    shop.advance(DAY);
    assert_eq!(next(&shop), Some((0, None)));
    assert_eq!(shop.points("ada"), (1, 1, 0));
    Ok(())
}

#[test]
fn a_balance_is_of_its_customer_alone() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "10");
    shop.earn("Ada", "t-2", "20");
    shop.earn("ada ", "t-3", "40");
    assert_eq!(shop.points("ada").0, 10);
    assert_eq!(shop.points("Ada").0, 20);
    assert_eq!(shop.points("ada ").0, 40);
    let transactions: Vec<_> = shop
        .entries("Ada")?
        .into_iter()
        .map(|entry| (entry.gameball_transaction_id, entry.at.to_string()))
        .collect();
    assert_eq!(transactions, [(number(2, 0), NOW.to_owned())]);
    Ok(())
}
