//! What is no item is refused at submit, with everything that is wrong in the batch, and nothing is stored.

use crate::harness::{MINUTE, NOW, Shop, Tested, money, now, number};
use batchwright::loyalty::{
    Adjustment, AdjustmentItem, Balance, Cashback, CashbackItem, Customers, Events, Hold, HoldItem,
    ID_BYTES, MERCHANT_BYTES, OrderItem, OrderTransactions, Orders, Redeem, RedeemItem, Refund,
    RefundItem, TEXT_BYTES, Time, codes,
};
use batchwright::{BatchFilter, Operation, SubmitError};
use std::time::{Duration, UNIX_EPOCH};

fn cashback(members: &str) -> String {
    format!(r#"{{"customerId":"ada","transactionId":"t-1"{members}}}"#)
}

#[test]
fn every_wrong_item_is_told_with_its_place_and_nothing_is_stored() -> Tested {
    let shop = Shop::open()?;
    let items = format!(
        "{{\"body\":[\n{},\n{},\n  {},\n{},\n5,\n{}]}}",
        cashback(&format!(r#","transactionTime":"{NOW}","amount":10"#)),
        cashback(r#","amount":10"#),
        cashback(&format!(r#","transactionTime":"{NOW}","amount":null"#)),
        cashback(&format!(r#","transactionTime":"{NOW}","amount":"ten""#)),
        cashback(r#","transactionTime":"2025-03-14T10:00:00","amount":10"#),
    );
    let refused: Vec<_> = shop
        .refused::<Cashback>(&items)
        .into_iter()
        .map(|item| {
            let line = item.position.map(|position| position.line);
            (item.index, item.failure.code, item.failure.field, line)
        })
        .collect();
    let of = |index, code: &str, field: Option<&str>, line| {
        (index, code.to_owned(), field.map(str::to_owned), Some(line))
    };
    assert_eq!(
        refused,
        [
            of(1, codes::MISSING, Some("transactionTime"), 3),
            of(2, codes::NULL, Some("amount"), 4),
            of(3, codes::INVALID_VALUE, Some("amount"), 5),
            of(4, codes::INVALID_PAYLOAD, None, 6),
            of(5, codes::INVALID_TIME, Some("transactionTime"), 7),
        ]
    );
    assert_eq!(shop.queue.batches(BatchFilter::all()).count(), 0);
    assert_eq!(shop.rows(), []);
    Ok(())
}

#[test]
fn the_messages_name_the_field_the_value_and_what_was_expected() -> Tested {
    let shop = Shop::open()?;
    let message = |members: &str, code: &str, field: &str| {
        shop.refuses::<Cashback>(&cashback(members), code, field)
    };
    assert_eq!(
        message(r#","amount":10"#, codes::MISSING, "transactionTime"),
        "transactionTime is required and missing"
    );
    let timed = format!(r#","transactionTime":"{NOW}""#);
    assert_eq!(
        message(&format!(r#"{timed},"amount":null"#), codes::NULL, "amount"),
        "amount is null, a value is required"
    );
    assert_eq!(
        message(
            &format!(r#"{timed},"amount":1.0000001"#),
            codes::INVALID_VALUE,
            "amount"
        ),
        "amount is 1.0000001, expected a decimal number with up to 15 digits before the point and up to 6 after it"
    );
    assert_eq!(
        message(
            r#","transactionTime":"2025-03-14T10:00:00","amount":10"#,
            codes::INVALID_TIME,
            "transactionTime"
        ),
        r#"transactionTime is "2025-03-14T10:00:00", expected a time with Z or an offset, such as 2025-03-14T10:00:00Z"#
    );
    Ok(())
}

/// What a program's items hold need not come from a text: what no text can say would not be read again.
#[test]
fn amounts_and_times_that_no_text_can_say_are_refused() -> Tested {
    fn refused<O: Operation>(shop: &Shop, item: O::Item) -> (String, Option<String>, String) {
        match shop.queue.submit::<O>([item]) {
            Err(SubmitError::Invalid { items }) => {
                let failure = items[0].failure.clone();
                (failure.code, failure.field, failure.message)
            }
            other => panic!("not refused: {other:?}"),
        }
    }
    let of = |code: &str, field: &str, message: String| {
        (code.to_owned(), Some(field.to_owned()), message)
    };
    let shop = Shop::with(|p| {
        p.redemption_factor = "1000000".parse().unwrap_or(p.redemption_factor);
    })?;
    shop.earn("ada", "t-1", "1000000000000");
    // A million millions of points, at a million each.
    let worth = shop
        .balance("ada")
        .ok_or("no balance")?
        .available_points_value;
    let too_much = |field| {
        let text = format!(
            "{field} is {worth}, expected a decimal number with up to 15 digits before the point and up to 6 after it"
        );
        of(codes::INVALID_VALUE, field, text)
    };
    let cashback = CashbackItem::new("ada", "t-2", now(), worth);
    assert_eq!(refused::<Cashback>(&shop, cashback), too_much("amount"));
    let redeem = RedeemItem::amount("ada", "t-2", now(), worth);
    assert_eq!(refused::<Redeem>(&shop, redeem), too_much("amount"));
    let adjustment = AdjustmentItem::amount("ada", worth);
    assert_eq!(refused::<Adjustment>(&shop, adjustment), too_much("amount"));
    let hold = HoldItem::amount("ada", now(), worth);
    assert_eq!(refused::<Hold>(&shop, hold), too_much("amountToHold"));
    let mut refund = RefundItem::new("ada", "t-2", "t-1", now());
    refund.refund_amount = Some(worth);
    assert_eq!(refused::<Refund>(&shop, refund), too_much("refundAmount"));
    let order = OrderItem::new("ada", "o-1", now(), worth);
    assert_eq!(refused::<Orders>(&shop, order), too_much("totalPaid"));
    let mut order = OrderItem::new("ada", "o-1", now(), money("1"));
    order.total_tax = Some(worth);
    assert_eq!(refused::<Orders>(&shop, order), too_much("totalTax"));

    let never = Time::from(UNIX_EPOCH + Duration::from_secs(300_000_000_000));
    let too_late = |field| {
        let text = format!(
            "{field} is 300000000000000 ms after 1970-01-01T00:00:00Z, expected a time from the years -9999 to 9999"
        );
        of(codes::INVALID_TIME, field, text)
    };
    let one = money("1");
    let cashback = CashbackItem::new("ada", "t-2", never, one);
    assert_eq!(
        refused::<Cashback>(&shop, cashback),
        too_late("transactionTime")
    );
    let redeem = RedeemItem::points("ada", "t-2", never, 1);
    assert_eq!(
        refused::<Redeem>(&shop, redeem),
        too_late("transactionTime")
    );
    let hold = HoldItem::points("ada", never, 1);
    assert_eq!(refused::<Hold>(&shop, hold), too_late("transactionTime"));
    let refund = RefundItem::new("ada", "t-2", "t-1", never);
    assert_eq!(
        refused::<Refund>(&shop, refund),
        too_late("transactionTime")
    );
    let order = OrderItem::new("ada", "o-1", never, one);
    assert_eq!(refused::<Orders>(&shop, order), too_late("orderDate"));
    Ok(())
}

#[test]
fn what_is_no_object_is_an_invalid_payload() -> Tested {
    fn check<O: Operation>(shop: &Shop) {
        // Arrays with what the first fields may be, too.
        let cashback = r#"["ada","t","2025-03-14T10:00:00Z",10]"#;
        for json in ["5", "\"ada\"", "[]", "null", "true", r#"["ada"]"#, cashback] {
            let refused = shop.refused::<O>(&format!("[{json}]"));
            let failure = &refused[0].failure;
            assert_eq!(failure.code, codes::INVALID_PAYLOAD, "{}", O::NAME);
            assert_eq!(failure.field, None);
            let message = format!("the item is {json}, expected an object");
            assert_eq!(failure.message, message);
        }
    }
    let shop = Shop::open()?;
    check::<Customers>(&shop);
    check::<Orders>(&shop);
    check::<Balance>(&shop);
    check::<Adjustment>(&shop);
    check::<Cashback>(&shop);
    check::<Redeem>(&shop);
    check::<Events>(&shop);
    check::<Hold>(&shop);
    check::<Refund>(&shop);
    for json in ["5", "{}", "null", r#"{"orderId":"o-1"}"#] {
        let refused = shop.refused::<OrderTransactions>(&format!("[{json}]"));
        let failure = &refused[0].failure;
        assert_eq!(failure.code, codes::INVALID_PAYLOAD);
        let message = format!("the item is {json}, expected a text");
        assert_eq!(failure.message, message);
    }
    Ok(())
}

#[test]
fn a_batch_has_one_to_a_thousand_items() -> Tested {
    let shop = Shop::open()?;
    let items = |count: usize| {
        let items: Vec<_> = (0..count)
            .map(|n| format!(r#"{{"customerId":"c{n}"}}"#))
            .collect();
        format!("[{}]", items.join(","))
    };
    let commits = shop.disk.commits();
    let submit = |count: usize| {
        let batch = shop.queue.submit_json(Customers::NAME, items(count));
        batch.map(|batch| batch.id())
    };
    // What is said over HTTP as 3016 and 3011.
    assert_eq!(submit(0), Err(SubmitError::Empty));
    assert_eq!(
        submit(1_001),
        Err(SubmitError::TooManyItems { limit: 1_000 })
    );
    assert_eq!(shop.disk.commits(), commits);
    submit(1_000)?;
    shop.queue.drain()?;
    assert!(shop.balance("c999").is_some());
    Ok(())
}

/// An item of each operation that has an id in this place.
fn with_id(field: &str, id: &str) -> Vec<(&'static str, String)> {
    let id_or = |name: &str, default: &str| {
        let text = if name == field { id } else { default };
        serde_json::Value::from(text).to_string()
    };
    let customer = id_or("customerId", "ada");
    let transaction = id_or("transactionId", "t-1");
    let time = format!(r#""customerId":{customer},"transactionTime":"{NOW}""#);
    match field {
        "customerId" | "transactionId" => vec![
            (
                Cashback::NAME,
                format!(r#"{{{time},"transactionId":{transaction},"amount":1}}"#),
            ),
            (
                Redeem::NAME,
                format!(r#"{{{time},"transactionId":{transaction},"points":1}}"#),
            ),
            (
                Hold::NAME,
                format!(r#"{{{time},"transactionId":{transaction},"pointsToHold":1}}"#),
            ),
            (
                Adjustment::NAME,
                format!(r#"{{"customerId":{customer},"transactionId":{transaction},"points":1}}"#),
            ),
            (
                Events::NAME,
                format!(
                    r#"{{"customerId":{customer},"transactionId":{transaction},"events":{{"a":{{}}}}}}"#
                ),
            ),
        ],
        "orderId" => vec![(
            Orders::NAME,
            format!(
                r#"{{"customerId":"ada","orderId":{},"orderDate":"{NOW}","totalPaid":1}}"#,
                id_or("orderId", "o-1")
            ),
        )],
        _ => vec![(
            Refund::NAME,
            format!(
                r#"{{{time},"refundTransactionId":{},"reverseTransactionId":{}}}"#,
                id_or("refundTransactionId", "r-1"),
                id_or("reverseTransactionId", "t-1")
            ),
        )],
    }
}

#[track_caller]
fn refused(shop: &Shop, operation: &str, item: &str) -> (String, Option<String>, String) {
    let answer = shop.queue.submit_json(operation, format!("[{item}]"));
    match answer.map(|batch| batch.id()) {
        Err(SubmitError::Invalid { items }) => {
            let failure = items[0].failure.clone();
            (failure.code, failure.field, failure.message)
        }
        other => unreachable!("{operation} {item} was answered with {other:?}"),
    }
}

#[test]
fn an_id_has_1_to_255_bytes_and_no_control_characters() -> Tested {
    let shop = Shop::open()?;
    for field in [
        "customerId",
        "transactionId",
        "orderId",
        "refundTransactionId",
        "reverseTransactionId",
    ] {
        for (operation, item) in with_id(field, "") {
            let found = refused(&shop, operation, &item);
            let message = format!("{field} is empty, expected an id");
            assert_eq!(
                found,
                (codes::INVALID_VALUE.into(), Some(field.into()), message)
            );
        }
        for (operation, item) in with_id(field, "a\nb") {
            let found = refused(&shop, operation, &item);
            let message =
                format!(r#"{field} is "a\nb", expected an id without control characters"#);
            assert_eq!(
                found,
                (codes::INVALID_VALUE.into(), Some(field.into()), message)
            );
        }
        // Bytes, not characters.
        for id in ["x".repeat(ID_BYTES + 1), "é".repeat(ID_BYTES / 2 + 1)] {
            for (operation, item) in with_id(field, &id) {
                let found = refused(&shop, operation, &item);
                let message = format!("{field} has 256 bytes, the limit is 255");
                assert_eq!(
                    found,
                    (codes::LIMIT_EXCEEDED.into(), Some(field.into()), message)
                );
            }
        }
    }
    assert_eq!(shop.queue.batches(BatchFilter::all()).count(), 0);
    let longest = "x".repeat(ID_BYTES);
    shop.output::<Customers>(&format!(r#"{{"customerId":"{longest}"}}"#));
    shop.earn(&longest, &longest, "5");
    let order = &with_id("orderId", &longest)[0].1;
    shop.output::<Orders>(order);
    shop.output::<Events>(&format!(
        r#"{{"customerId":"{longest}","events":{{"a":{{}}}}}}"#
    ));
    let entry = shop.entries(&longest)?.pop().ok_or("no entry")?;
    assert_eq!(entry.gameball_transaction_id, number(2, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn texts_and_documents_have_their_limits() -> Tested {
    let shop = Shop::open()?;
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes));
    let items = |bytes: usize, n: usize| {
        let text = text(bytes);
        let time =
            format!(r#""customerId":"ada","transactionTime":"{NOW}","transactionId":"t-{n}""#);
        [
            (
                Cashback::NAME,
                "email",
                format!(r#"{{{time},"amount":1,"email":{text}}}"#),
            ),
            (
                Cashback::NAME,
                "mobile",
                format!(r#"{{{time},"amount":1,"mobile":{text}}}"#),
            ),
            (
                Redeem::NAME,
                "reason",
                format!(r#"{{{time},"points":1,"reason":{text}}}"#),
            ),
            (
                Redeem::NAME,
                "holdReference",
                format!(r#"{{{time},"holdReference":{text}}}"#),
            ),
            (
                Adjustment::NAME,
                "reason",
                format!(r#"{{"customerId":"ada","points":1,"reason":{text}}}"#),
            ),
            (
                Orders::NAME,
                "cartId",
                format!(
                    r#"{{"customerId":"ada","orderId":"o-{n}","orderDate":"{NOW}","totalPaid":1,"cartId":{text}}}"#
                ),
            ),
            (
                Orders::NAME,
                "redemption.pointsHoldReference",
                format!(
                    r#"{{"customerId":"ada","orderId":"p-{n}","orderDate":"{NOW}","totalPaid":1,"redemption":{{"pointsHoldReference":{text}}}}}"#
                ),
            ),
        ]
    };
    for (operation, field, item) in items(TEXT_BYTES + 1, 0) {
        let message = format!("{field} has 1025 bytes, the limit is 1024");
        let found = refused(&shop, operation, &item);
        assert_eq!(
            found,
            (codes::LIMIT_EXCEEDED.into(), Some(field.into()), message)
        );
    }
    for (operation, field, item) in items(TEXT_BYTES, 1) {
        let answer = shop.queue.submit_json(operation, format!("[{item}]"));
        assert!(answer.is_ok(), "{operation} {field}");
    }
    let merchant = |bytes: usize| {
        cashback(&format!(
            r#","transactionTime":"{NOW}","amount":1,"merchant":{}"#,
            text(bytes - 2)
        ))
    };
    let message = shop.refuses::<Cashback>(
        &merchant(MERCHANT_BYTES + 1),
        codes::LIMIT_EXCEEDED,
        "merchant",
    );
    assert_eq!(
        message,
        "merchant has 4097 bytes of JSON, the limit is 4096"
    );
    shop.json::<Cashback>(&format!("[{}]", merchant(MERCHANT_BYTES)))?;
    Ok(())
}

/// An item with this time, by its operation.
fn timed(time: &str, n: usize) -> [(&'static str, &'static str, String); 5] {
    let head = format!(r#""customerId":"ada","transactionTime":"{time}""#);
    [
        (
            Cashback::NAME,
            "transactionTime",
            format!(r#"{{{head},"transactionId":"c-{n}","amount":1}}"#),
        ),
        (
            Redeem::NAME,
            "transactionTime",
            format!(r#"{{{head},"transactionId":"r-{n}","points":1}}"#),
        ),
        (
            Hold::NAME,
            "transactionTime",
            format!(r#"{{{head},"pointsToHold":1}}"#),
        ),
        (
            Refund::NAME,
            "transactionTime",
            format!(
                r#"{{{head},"refundTransactionId":"f-{n}","reverseTransactionId":"base","refundAmount":1}}"#
            ),
        ),
        (
            Orders::NAME,
            "orderDate",
            format!(
                r#"{{"customerId":"ada","orderId":"o-{n}","orderDate":"{time}","totalPaid":1}}"#
            ),
        ),
    ]
}

#[test]
fn a_time_without_an_offset_is_refused() -> Tested {
    let shop = Shop::open()?;
    for time in [
        "2025-03-14T10:00:00",
        "2025-03-14",
        "",
        "1741946400",
        "2025-02-30T00:00:00Z",
    ] {
        for (operation, field, item) in timed(time, 0) {
            let (code, found, message) = refused(&shop, operation, &item);
            assert_eq!(
                (code.as_str(), found.as_deref()),
                (codes::INVALID_TIME, Some(field))
            );
            assert_eq!(
                message,
                format!(
                    r#"{field} is "{time}", expected a time with Z or an offset, such as 2025-03-14T10:00:00Z"#
                )
            );
        }
    }
    Ok(())
}

#[test]
fn a_time_may_be_five_minutes_in_the_queues_future_and_not_more() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "base", "1000");
    let run = |time: &str, n: usize| -> Result<Vec<_>, Box<dyn std::error::Error>> {
        let mut found = Vec::new();
        for (operation, field, item) in timed(time, n) {
            let batch = shop.queue.submit_json(operation, format!("[{item}]"))?;
            shop.queue.drain()?;
            let outcome = batch.outcomes()?.next().ok_or("no outcome")??.outcome;
            found.push((field, outcome.failure().cloned()));
        }
        Ok(found)
    };
    for (field, failure) in run("2025-03-14T10:05:00.001Z", 1)? {
        let failure = failure.ok_or("a time in the future was accepted")?;
        assert_eq!(
            (failure.code.as_str(), failure.field.as_deref()),
            (codes::INVALID_TIME, Some(field))
        );
        assert_eq!(
            failure.message,
            format!(
                "{field} is 2025-03-14T10:05:00.001Z, more than 5 minutes after now (2025-03-14T10:00:00Z)"
            )
        );
    }
    // It is the time at which it runs that counts.
    for (_, failure) in run("2025-03-14T12:05:00+02:00", 2)? {
        assert_eq!(failure, None);
    }
    shop.advance(MINUTE);
    for (_, failure) in run("2025-03-14T10:05:00.001Z", 3)? {
        assert_eq!(failure, None);
    }
    Ok(())
}

#[test]
fn an_order_id_is_checked_where_it_is_read() -> Tested {
    let shop = Shop::open()?;
    let refused = shop.refused::<OrderTransactions>(r#"["o-1",""]"#);
    let found = (refused[0].index, refused[0].failure.code.as_str());
    assert_eq!(found, (1, codes::INVALID_VALUE));
    assert_eq!(refused[0].failure.field.as_deref(), Some("orderId"));
    Ok(())
}

#[test]
fn a_field_that_is_there_twice_is_invalid() -> Tested {
    let shop = Shop::open()?;
    let item = cashback(&format!(
        r#","transactionTime":"{NOW}","amount":1,"amount":2"#
    ));
    let refused = shop.refused::<Cashback>(&format!("[{item}]"));
    assert_eq!(refused[0].failure.code, codes::INVALID_VALUE);
    assert!(
        refused[0]
            .failure
            .message
            .contains("duplicate field `amount`")
    );
    Ok(())
}

#[test]
fn the_codes_are_those_of_the_contract() {
    let found = [
        codes::MISSING,
        codes::NULL,
        codes::INVALID_VALUE,
        codes::LIMIT_EXCEEDED,
        codes::INVALID_PAYLOAD,
        codes::NOT_FOUND,
        codes::CUSTOMER_NOT_FOUND,
        codes::ALREADY_REFUNDED,
        codes::TRANSACTION_NOT_FOUND,
        codes::DUPLICATE,
        codes::HOLD_NOT_FOUND,
        codes::INVALID_TIME,
        codes::INSUFFICIENT_POINTS,
    ];
    assert_eq!(
        found,
        [
            "3000", "3001", "3003", "3011", "3016", "4004", "7000", "9001", "9002", "9004", "9006",
            "9007", "9008",
        ]
    );
}
