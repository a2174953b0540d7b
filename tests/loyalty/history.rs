//! History: every movement, newest first, each from the balance that the one before it left.

use crate::harness::{DAY, MINUTE, NOW, Shop, Tested, money, now, number, to_json};
use batchwright::loyalty::{
    self, Adjustment, Cashback, CashbackItem, Customers, Hold, HoldItem, OrderItem,
    OrderRedemption, Orders, Refund, RefundItem,
};
use batchwright::testing::Assertions;

#[test]
fn every_movement_is_an_entry_from_the_balance_before_to_the_one_after() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "100");
    shop.earn("bob", "t-bob", "5");
    shop.earn_later("ada", "t-2", "50", 3);
    shop.add("ada", -10, None);
    let hold = shop.succeeds::<Hold>(HoldItem::points("ada", now(), 40));
    let mut order = OrderItem::new("ada", "o-1", now(), money("7"));
    order.redemption = Some(OrderRedemption::hold(hold.hold_reference));
    shop.succeeds::<Orders>(order);
    shop.succeeds::<Refund>(RefundItem::new("ada", "f-1", "t-2", now()));
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 5));
    shop.advance(MINUTE * 11);
    shop.redeem("ada", "r-1", 57);
    assert_eq!(
        shop.moves("ada")?,
        [
            ("cashback".into(), 100, 0, 100),
            ("cashback".into(), 50, 100, 150),
            ("adjustment".into(), -10, 150, 140),
            ("hold".into(), 0, 140, 140),
            ("redemption".into(), -40, 140, 100),
            ("cashback".into(), 7, 100, 107),
            ("refund".into(), -50, 107, 57),
            ("hold".into(), 0, 57, 57),
            ("hold expiry".into(), 0, 57, 57),
            ("redemption".into(), -57, 57, 0),
        ]
    );
    let numbers: Vec<_> = shop
        .entries("ada")?
        .iter()
        .map(|entry| entry.transaction_number)
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 5, 6, 7, 8, 8]);
    assert_eq!(shop.points("ada"), (0, 0, 0));
    assert_eq!(shop.moves("bob")?.len(), 1);
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_entry_has_what_its_item_said() -> Tested {
    let shop = Shop::with(|p| {
        p.return_window_days = 2;
        p.points_expiry_days = Some(3);
    })?;
    shop.output::<Cashback>(
        r#"{"customerId":"ada","transactionId":"t-1","transactionTime":"2025-03-14T09:00:00Z","amount":12.50}"#,
    );
    shop.output::<Adjustment>(r#"{"customerId":"ada","points":3,"reason":"sorry"}"#);
    shop.output::<Hold>(&format!(
        r#"{{"customerId":"ada","transactionId":"h-1","transactionTime":"{NOW}","pointsToHold":2}}"#
    ));
    let entries: Vec<_> = shop.entries("ada")?.iter().map(to_json).collect();
    let n = |batch| number(batch, 0);
    assert_eq!(
        entries,
        [
            format!(
                r#"{{"type":"cashback","points":12,"balanceBefore":0,"balanceAfter":12,"at":"{NOW}","availableFrom":"2025-03-16T09:00:00Z","expiresAt":"2025-03-20T00:00:00Z","transactionNumber":1,"transactionId":"t-1","gameballTransactionId":{},"transactionTime":"2025-03-14T09:00:00Z","amount":12.5}}"#,
                n(1)
            ),
            format!(
                r#"{{"type":"adjustment","points":3,"balanceBefore":12,"balanceAfter":15,"at":"{NOW}","expiresAt":"2025-03-18T00:00:00Z","transactionNumber":2,"gameballTransactionId":{},"amount":0.3,"reason":"sorry"}}"#,
                n(2)
            ),
            format!(
                r#"{{"type":"hold","points":0,"balanceBefore":15,"balanceAfter":15,"held":2,"holdReference":"hold-{}","at":"{NOW}","transactionNumber":3,"transactionId":"h-1","gameballTransactionId":{},"transactionTime":"{NOW}","amount":0.2}}"#,
                n(3),
                n(3)
            ),
        ]
    );
    Ok(())
}

#[test]
fn history_is_newest_first_over_many_pages_and_batches() -> Tested {
    let shop = Shop::open()?;
    for batch in 0..3_u32 {
        let items = (0..300).map(|n| {
            let id = format!("t-{}", batch * 300 + n);
            CashbackItem::new("ada", id, now(), money("1"))
        });
        shop.run::<Cashback>(items)?.assert_all_succeeded();
    }
    let history = loyalty::history(&shop.queue, "ada")?.ok_or("no customer")?;
    let ids: Vec<_> = history
        .map(|entry| entry.map(|entry| entry.transaction_id))
        .collect::<Result<_, _>>()?;
    let expected: Vec<_> = (0..900).rev().map(|n| Some(format!("t-{n}"))).collect();
    assert_eq!(ids, expected);
    Ok(())
}

#[test]
fn a_history_stays_what_it_was_when_it_was_made() -> Tested {
    let shop = Shop::open()?;
    let items = (0..600).map(|n| CashbackItem::new("ada", format!("t-{n}"), now(), money("1")));
    shop.run::<Cashback>(items)?.assert_all_succeeded();
    let mut history = loyalty::history(&shop.queue, "ada")?.ok_or("no customer")?;
    let first = history.next().ok_or("no entry")??;
    assert_eq!(first.balance_after, 600);
    shop.earn("ada", "later", "1");
    let rest = history.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(rest.len(), 599);
    assert_eq!(rest[0].balance_after, 599);
    Ok(())
}

#[test]
fn a_customer_without_movements_has_an_empty_history() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    assert_eq!(shop.moves("ada")?, []);
    assert!(loyalty::history(&shop.queue, "bob")?.is_none());
    Ok(())
}

#[test]
fn history_and_ids_outlive_their_batches() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "5");
    shop.redeem("ada", "r-1", 3);
    let before = shop.entries("ada")?;
    shop.advance(DAY);
    assert_eq!(shop.queue.prune(MINUTE)?, 2);
    assert_eq!(shop.entries("ada")?, before);
    shop.assert_audited();
    Ok(())
}
