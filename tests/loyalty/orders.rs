//! Orders: stored, with the hold they redeem and the cashback they award.

use crate::harness::{DAY, NOW, Shop, Tested, money, now, number};
use batchwright::Table;
use batchwright::loyalty::{
    self, CashbackConfigurations, Customers, Document, Hold, OrderItem, OrderRedemption,
    OrderTransactions, Orders, codes,
};
use batchwright::testing::Assertions;

const ROWS: Table<str, Document> = Table::new("loyalty.transactions");
const LARGE: Table<str, Document> = Table::new("loyalty.orders");

/// An order in JSON with these members more.
fn order(id: &str, paid: &str, more: &str) -> String {
    format!(
        r#"{{"customerId":"ada","orderId":"{id}","orderDate":"{NOW}","totalPaid":{paid}{more}}}"#
    )
}

/// A hold of ada's points.
fn hold(shop: &Shop, points: i64) -> String {
    let item = batchwright::loyalty::HoldItem::points("ada", now(), points);
    shop.succeeds::<Hold>(item).hold_reference
}

#[test]
fn an_order_awards_points_on_what_was_paid() -> Tested {
    let shop = Shop::open()?;
    assert_eq!(
        shop.output::<Orders>(&order("o-1", "99.99", r#","totalPrice":500"#)),
        r#"{"customerId":"ada","orderId":"o-1","rewardedPoints":99,"redeemedPoints":0}"#
    );
    assert_eq!(shop.points("ada"), (99, 99, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_order_redeems_the_hold_it_names() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let reference = hold(&shop, 60);
    let redemption = format!(r#","redemption":{{"pointsHoldReference":"{reference}"}}"#);
    assert_eq!(
        shop.output::<Orders>(&order("o-1", "7", &redemption)),
        r#"{"customerId":"ada","orderId":"o-1","rewardedPoints":7,"redeemedPoints":60}"#
    );
    assert_eq!(shop.points("ada"), (47, 47, 0));
    let kinds: Vec<_> = shop.moves("ada")?.into_iter().map(|m| (m.0, m.1)).collect();
    assert_eq!(
        kinds,
        [
            ("cashback".to_owned(), 100),
            ("hold".to_owned(), 0),
            ("redemption".to_owned(), -60),
            ("cashback".to_owned(), 7),
        ]
    );
    // The hold is used up.
    let failure = shop.fails::<Orders>(
        &order("o-2", "7", &redemption),
        codes::HOLD_NOT_FOUND,
        "redemption.pointsHoldReference",
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
fn a_redemption_without_a_reference_redeems_nothing() -> Tested {
    let shop = Shop::open()?;
    for (id, redemption) in [
        ("o-1", r#","redemption":{}"#),
        ("o-2", r#","redemption":null"#),
        ("o-3", r#","redemption":{"pointsHoldReference":null}"#),
    ] {
        let output = shop.output::<Orders>(&order(id, "1", redemption));
        assert!(output.ends_with(r#""redeemedPoints":0}"#), "{output}");
    }
    Ok(())
}

#[test]
fn an_order_that_was_paid_with_points_alone_awards_none() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let reference = hold(&shop, 100);
    let mut item = OrderItem::new("ada", "o-1", now(), money("0"));
    item.redemption = Some(OrderRedemption::hold(reference));
    let output = shop.succeeds::<Orders>(item);
    assert_eq!((output.rewarded_points, output.redeemed_points), (0, 100));
    assert_eq!(shop.points("ada"), (0, 0, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_total_paid_below_zero_is_refused() -> Tested {
    let shop = Shop::open()?;
    let message = shop.refuses::<Orders>(
        &order("o-1", "-0.01", ""),
        codes::INVALID_VALUE,
        "totalPaid",
    );
    assert_eq!(
        message,
        "totalPaid is -0.01, expected an amount that is not below 0"
    );
    Ok(())
}

#[test]
fn points_of_an_order_are_pending_from_its_date_for_the_programmes_or_its_own_window() -> Tested {
    let shop = Shop::with(|p| p.return_window_days = 10)?;
    shop.output::<Orders>(
        r#"{"customerId":"ada","orderId":"o-1","orderDate":"2025-03-10T10:00:00Z","totalPaid":1}"#,
    );
    let mut item = OrderItem::new("ada", "o-2", now(), money("10"));
    item.cashback_configurations = Some(CashbackConfigurations::return_window(1));
    shop.succeeds::<Orders>(item);
    let own = r#","cashbackConfigurations":{"returnWindow":0}"#;
    shop.output::<Orders>(&order("o-3", "100", own));
    assert_eq!(shop.points("ada"), (111, 100, 11));
    shop.advance(DAY);
    assert_eq!(shop.points("ada"), (111, 110, 1));
    shop.advance(DAY * 5);
    assert_eq!(shop.points("ada"), (111, 111, 0));
    let field = "cashbackConfigurations.returnWindow";
    let long = r#","cashbackConfigurations":{"returnWindow":7301}"#;
    shop.refuses::<Orders>(&order("o-4", "1", long), codes::INVALID_VALUE, field);
    Ok(())
}

#[test]
fn each_channel_is_taken_and_no_other() -> Tested {
    let shop = Shop::open()?;
    for channel in ["mobile", "pos", "web", "callcenter"] {
        let more = format!(r#","channel":"{channel}""#);
        shop.output::<Orders>(&order(channel, "1", &more));
    }
    let message = shop.refuses::<Orders>(
        &order("o-1", "1", r#","channel":"POS""#),
        codes::INVALID_VALUE,
        "channel",
    );
    assert_eq!(
        message,
        r#"channel is "POS", expected one of mobile, pos, web, callcenter"#
    );
    Ok(())
}

/// What is kept as it came; the rest is written in one way.
const KEPT: &str = r#""totalPrice":123456789012345.67,"totalDiscount":0.1,"totalShipping":0.2,"totalTax":19,"lineItems":[{"sku": "a",  "price":1.0, "n":123456789012345678901234567890},5],"merchant":{"id" :1e3},"channel":"web","guest":true,"cartId":"c-1","extra":[1.50, {"x": null}]"#;

#[test]
fn an_order_is_kept_to_the_letter() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Orders>(&order("o-1", "1", &format!(",{KEPT}")));
    let row = shop.queue.read(|tables| tables.get(&ROWS, "oo-1"))?;
    let row = row.ok_or("no row")?;
    let kept = order("o-1", "1", &format!(",{KEPT}"));
    assert!(row.as_str().contains(&kept), "{row:?}");
    let read = loyalty::order(&shop.queue, "o-1")?.ok_or("no order")?;
    assert_eq!(serde_json::to_string(&read)?, kept);
    Ok(())
}

#[test]
fn a_large_order_is_kept_to_the_letter_too() -> Tested {
    let mut shop = Shop::open()?;
    let large = format!(
        r#","extra":{{ "note": "{}", "n": 1.00 }}"#,
        "é".repeat(20_000)
    );
    shop.output::<Orders>(&order("o-1", "1", &large));
    shop.restart()?;
    let kept = shop.queue.read(|tables| tables.get(&LARGE, "o-1"))?;
    assert_eq!(
        kept.as_ref().map(Document::as_str),
        Some(order("o-1", "1", &large).as_str())
    );
    let read = loyalty::order(&shop.queue, "o-1")?.ok_or("no order")?;
    assert_eq!(serde_json::to_string(&read)?, order("o-1", "1", &large));
    for unknown in ["O-1", "o-2", "", "t-1"] {
        assert_eq!(loyalty::order(&shop.queue, unknown)?, None, "{unknown}");
    }
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_programme_may_say_that_customers_come_first() -> Tested {
    let shop = Shop::with(|p| p.orders_create_customers = false)?;
    shop.fails::<Orders>(
        &order("o-1", "1", ""),
        codes::CUSTOMER_NOT_FOUND,
        "customerId",
    );
    shop.earn("ada", "t-1", "1");
    shop.output::<Orders>(&order("o-1", "1", ""));
    Ok(())
}

#[test]
fn the_second_order_with_an_id_fails_and_the_case_of_ids_counts() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Orders>(&order("o-1", "5", ""));
    let failure = shop.fails::<Orders>(&order("o-1", "6", ""), codes::DUPLICATE, "orderId");
    assert_eq!(
        failure.message,
        "orderId was used before, by item 0 of batch 1"
    );
    shop.output::<Orders>(&order("O-1", "6", ""));
    assert_eq!(shop.points("ada").0, 11);
    Ok(())
}

#[test]
fn a_hold_of_another_customer_cannot_be_redeemed_with_an_order() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    let reference = hold(&shop, 60);
    let item = format!(
        r#"{{"customerId":"bob","orderId":"o-1","orderDate":"{NOW}","totalPaid":1,"redemption":{{"pointsHoldReference":"{reference}"}}}}"#
    );
    let field = "redemption.pointsHoldReference";
    shop.fails::<Orders>(&item, codes::HOLD_NOT_FOUND, field);
    // The order that failed has not created its customer either.
    assert_eq!(shop.balance("bob"), None);
    Ok(())
}

#[test]
fn what_an_order_moved_can_be_read() -> Tested {
    let shop = Shop::with(|p| {
        p.return_window_days = 1;
        p.points_expiry_days = Some(30);
    })?;
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    shop.add("ada", 100, None);
    let reference = hold(&shop, 60);
    let redemption = format!(r#","redemption":{{"pointsHoldReference":"{reference}"}}"#);
    shop.output::<Orders>(&order("o-1", "7.5", &redemption));
    let number = number(4, 0);
    let own = format!(
        r#""at":"{NOW}","transactionNumber":3,"orderId":"o-1","gameballTransactionId":{number},"transactionTime":"{NOW}","amount":7.5"#
    );
    let own_cashback = format!(
        r#""at":"{NOW}","availableFrom":"2025-03-15T10:00:00Z","expiresAt":"2025-04-15T00:00:00Z",{}"#,
        own.split_once(',').ok_or("no comma")?.1
    );
    assert_eq!(
        shop.output::<OrderTransactions>("\"o-1\""),
        format!(
            r#"{{"orderId":"o-1","transactions":[{{"type":"redemption","points":-60,"balanceBefore":100,"balanceAfter":40,"held":-60,"holdReference":"{reference}",{own}}},{{"type":"cashback","points":7,"balanceBefore":40,"balanceAfter":47,{own_cashback}}}],"count":2}}"#
        )
    );
    Ok(())
}

#[test]
fn what_was_due_when_an_order_came_is_not_among_its_transactions() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    shop.add("ada", 100, Some(0));
    hold(&shop, 10);
    shop.advance(DAY);
    shop.output::<Orders>(&order("o-1", "5", ""));
    // The points that expired and the hold that lapsed are written down with the order.
    assert_eq!(shop.entries("ada")?.len(), 5);
    let output = shop.output::<OrderTransactions>("\"o-1\"");
    assert!(output.ends_with(r#""count":1}"#), "{output}");
    assert!(!output.contains("xpiry\""), "{output}");
    Ok(())
}

#[test]
fn an_unknown_order_has_no_transactions() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    shop.output::<Orders>(&order("o-1", "1", ""));
    // Neither has a transaction that is no order, nor one in another case.
    for id in ["o-2", "t-1", "O-1", "o-1 "] {
        let failure =
            shop.fails::<OrderTransactions>(&format!("\"{id}\""), codes::NOT_FOUND, "orderId");
        assert_eq!(failure.message, format!("there is no order {id:?}"));
    }
    Ok(())
}

#[test]
fn reading_an_orders_transactions_changes_nothing() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Orders>(&order("o-1", "1", ""));
    let before = shop.rows();
    let batch = shop.json::<OrderTransactions>(r#"["o-1","o-1"]"#)?;
    let outputs = batch.assert_all_succeeded();
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(shop.rows(), before);
    Ok(())
}
