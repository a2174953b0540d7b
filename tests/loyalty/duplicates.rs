//! Duplicates: an id is used once, for ever, whatever sends it again.

use crate::harness::{DAY, NOW, Shop, Tested, now, number, original};
use batchwright::loyalty::{
    Adjustment, Cashback, Customers, Events, Hold, HoldItem, Orders, Redeem, Refund, codes,
};
use batchwright::testing::Assertions;
use batchwright::{BatchId, Failure, Operation};

fn cashback(id: &str, amount: &str) -> String {
    format!(
        r#"{{"customerId":"ada","transactionId":"{id}","transactionTime":"{NOW}","amount":{amount}}}"#
    )
}

fn order(id: &str) -> String {
    format!(r#"{{"customerId":"ada","orderId":"{id}","orderDate":"{NOW}","totalPaid":10}}"#)
}

/// An item with this id of each operation of the namespace, and the field that has it.
fn items(id: &str) -> [(&'static str, String, &'static str); 6] {
    let head = format!(r#""customerId":"ada","transactionTime":"{NOW}""#);
    [
        (Cashback::NAME, cashback(id, "10"), "transactionId"),
        (
            Redeem::NAME,
            format!(r#"{{{head},"transactionId":"{id}","points":1}}"#),
            "transactionId",
        ),
        (
            Adjustment::NAME,
            format!(r#"{{"customerId":"ada","transactionId":"{id}","points":1}}"#),
            "transactionId",
        ),
        (
            Hold::NAME,
            format!(r#"{{{head},"transactionId":"{id}","pointsToHold":1}}"#),
            "transactionId",
        ),
        (
            Refund::NAME,
            format!(
                r#"{{{head},"refundTransactionId":"{id}","reverseTransactionId":"base","refundAmount":1}}"#
            ),
            "refundTransactionId",
        ),
        (
            Events::NAME,
            format!(r#"{{"customerId":"ada","transactionId":"{id}","events":{{"visit":{{}}}}}}"#),
            "transactionId",
        ),
    ]
}

/// Runs the one item, which fails as a duplicate and moves nothing.
#[track_caller]
fn again(shop: &Shop, operation: &str, item: &str, field: &str) -> Failure {
    let before = shop.rows();
    let batch = shop.queue.submit_json(operation, format!("[{item}]"));
    let batch = batch.unwrap_or_else(|error| unreachable!("{error}"));
    let drained = shop.queue.drain();
    assert!(drained.is_ok(), "{drained:?}");
    let failure = batch.assert_failed(0, codes::DUPLICATE);
    assert_eq!(failure.field.as_deref(), Some(field));
    assert!(!failure.retryable);
    assert_eq!(shop.rows(), before, "a duplicate has changed the ledger");
    failure
}

#[test]
fn an_id_that_comes_twice_in_a_batch_counts_once() -> Tested {
    let shop = Shop::open()?;
    let items = [
        cashback("t-1", "10"),
        cashback("t-2", "20"),
        cashback("t-1", "10"),
        cashback("t-1", "11"),
    ];
    let batch = shop.json::<Cashback>(&format!("[{}]", items.join(",")))?;
    let same = batch.assert_failed(2, codes::DUPLICATE);
    assert_eq!(original(&same), (1, 0, number(1, 0), true));
    let other = batch.assert_failed(3, codes::DUPLICATE);
    assert_eq!(original(&other), (1, 0, number(1, 0), false));
    assert_eq!(
        other.message,
        "transactionId was used before, by item 0 of batch 1"
    );
    assert_eq!(shop.points("ada").0, 30);
    shop.assert_audited();
    Ok(())
}

#[test]
fn the_details_of_a_duplicate_are_what_the_contract_says() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Customers>(r#"{"customerId":"bob"}"#);
    shop.json::<Cashback>(&format!(
        "[{},{}]",
        cashback("t-0", "1"),
        cashback("t-1", "1")
    ))?;
    let failure = again(
        &shop,
        Cashback::NAME,
        &cashback("t-1", "1"),
        "transactionId",
    );
    let details = failure.details.ok_or("no details")?.to_string();
    assert_eq!(
        details,
        format!(
            r#"{{"original":{{"gameballTransactionId":{},"index":1,"jobId":2,"sameContent":true}}}}"#,
            number(2, 1)
        )
    );
    Ok(())
}

#[test]
fn an_id_of_an_earlier_batch_is_known_after_a_restart_and_after_its_batch_was_deleted() -> Tested {
    let mut shop = Shop::open()?;
    shop.output::<Cashback>(&cashback("t-1", "10"));
    let expected = (1, 0, number(1, 0), true);
    let check = |shop: &Shop| {
        let failure = again(
            shop,
            Cashback::NAME,
            &cashback("t-1", "10"),
            "transactionId",
        );
        assert_eq!(original(&failure), expected);
        assert_eq!(shop.points("ada").0, 10);
        shop.assert_audited();
    };
    check(&shop);
    shop.restart()?;
    check(&shop);
    shop.queue.batch(BatchId::from(1))?.delete()?;
    check(&shop);
    shop.advance(DAY * 4_000);
    shop.queue.prune(DAY)?;
    assert!(shop.queue.batch(BatchId::from(2)).is_err());
    check(&shop);
    shop.restart()?;
    check(&shop);
    Ok(())
}

#[test]
fn the_operations_share_one_namespace() -> Tested {
    for (first, first_item, _) in items("id") {
        let shop = Shop::open()?;
        shop.earn("ada", "base", "1000");
        let batch = shop.queue.submit_json(first, format!("[{first_item}]"))?;
        shop.queue.drain()?;
        batch.assert_succeeded(0);
        for (second, item, field) in items("id") {
            let failure = again(&shop, second, &item, field);
            let same = first == second;
            assert_eq!(
                original(&failure),
                (2, 0, number(2, 0), same),
                "{first} then {second}"
            );
        }
        shop.assert_audited();
    }
    Ok(())
}

#[test]
fn an_id_is_used_for_all_customers() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Cashback>(&cashback("t-1", "10"));
    let other = cashback("t-1", "10").replace("ada", "bob");
    let failure = again(&shop, Cashback::NAME, &other, "transactionId");
    assert_eq!(original(&failure), (1, 0, number(1, 0), false));
    assert_eq!(shop.balance("bob"), None);
    Ok(())
}

#[test]
fn order_ids_are_apart_from_transaction_ids() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Orders>(&order("x"));
    shop.output::<Cashback>(&cashback("x", "10"));
    assert_eq!(shop.points("ada").0, 20);
    let failure = again(&shop, Orders::NAME, &order("x"), "orderId");
    assert_eq!(original(&failure), (1, 0, number(1, 0), true));
    let other = order("x").replace(":10}", ":11}");
    let failure = again(&shop, Orders::NAME, &other, "orderId");
    assert_eq!(original(&failure), (1, 0, number(1, 0), false));
    // Nor does an id look like what other transactions are kept under.
    for id in ["n65536", "tx", "ox", "t", "o"] {
        shop.output::<Cashback>(&cashback(id, "1"));
        shop.output::<Orders>(&order(id));
    }
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_item_that_failed_has_used_no_id() -> Tested {
    let shop = Shop::with(|p| p.cashback_creates_customers = false)?;
    for (operation, item, _) in items("id") {
        if operation != Refund::NAME {
            let batch = shop.queue.submit_json(operation, format!("[{item}]"))?;
            shop.queue.drain()?;
            batch.assert_failed(0, codes::CUSTOMER_NOT_FOUND);
        }
    }
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    let batch = shop
        .queue
        .submit_json(Redeem::NAME, format!("[{}]", items("id")[1].1))?;
    shop.queue.drain()?;
    batch.assert_failed(0, codes::INSUFFICIENT_POINTS);
    shop.output::<Cashback>(&cashback("id", "10"));
    Ok(())
}

#[test]
fn the_same_content_may_be_written_in_other_ways() -> Tested {
    let shop = Shop::open()?;
    shop.output::<Cashback>(&cashback("t-1", "10"));
    for same in [
        cashback("t-1", "10.0"),
        cashback("t-1", "1e1"),
        cashback("t-1", "\"10.00\""),
        r#"{ "amount":10, "transactionTime":"2025-03-14T11:00:00+01:00", "transactionId":"t-1","customerId":"\u0061da"}"#
            .to_owned(),
        format!(
            r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":10,"email":null,"unknown":1}}"#
        ),
    ] {
        let failure = again(&shop, Cashback::NAME, &same, "transactionId");
        assert!(original(&failure).3, "{same}");
    }
    for other in [
        cashback("t-1", "10.000001"),
        cashback("t-1", "10").replace("10:00:00Z", "10:00:00.001Z"),
        cashback("t-1", "10").replace("\"amount\"", "\"mobile\":\"1\",\"amount\""),
        cashback("t-1", "10").replace(
            "\"amount\"",
            "\"configurations\":{\"returnWindow\":0},\"amount\"",
        ),
    ] {
        let failure = again(&shop, Cashback::NAME, &other, "transactionId");
        assert!(!original(&failure).3, "{other}");
    }
    Ok(())
}

#[test]
fn a_whole_batch_sent_again_changes_nothing() -> Tested {
    let shop = Shop::open()?;
    let items: Vec<_> = (0..50).map(|n| cashback(&format!("t-{n}"), "10")).collect();
    let items = format!("[{}]", items.join(","));
    shop.json::<Cashback>(&items)?.assert_all_succeeded();
    let before = shop.rows();
    let batch = shop.json::<Cashback>(&items)?;
    for index in 0..50 {
        let failure = batch.assert_failed(index, codes::DUPLICATE);
        let index = index as u64;
        assert_eq!(original(&failure), (1, index, number(1, index), true));
    }
    assert_eq!(shop.rows(), before);
    Ok(())
}

#[test]
fn a_duplicate_is_told_before_anything_else_that_is_wrong_with_it() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "base", "1000");
    let item = HoldItem::points("ada", now(), 10);
    shop.run::<Hold>([{
        let mut item = item.clone();
        item.transaction_id = Some("h-1".to_owned());
        item
    }])?
    .assert_all_succeeded();
    for item in [
        // Of nobody, too many, and tomorrow.
        r#"{"customerId":"nobody","transactionTime":"2025-03-14T10:00:00Z","transactionId":"h-1","pointsToHold":10}"#,
        r#"{"customerId":"ada","transactionTime":"2025-03-14T10:00:00Z","transactionId":"h-1","pointsToHold":99999}"#,
        r#"{"customerId":"ada","transactionTime":"2025-03-15T10:00:00Z","transactionId":"h-1","pointsToHold":10}"#,
    ] {
        again(&shop, Hold::NAME, item, "transactionId");
    }
    Ok(())
}
