//! Events: what customers did, kept with them.

use crate::harness::{MINUTE, Shop, Tested, to_json};
use batchwright::loyalty::{self, Document, EVENTS_BYTES, Events, EventsItem, StoredEvents, codes};
use batchwright::testing::Assertions;

fn shop() -> Result<Shop, Box<dyn std::error::Error>> {
    let shop = Shop::open()?;
    shop.json::<loyalty::Customers>(r#"[{"customerId":"ada"},{"customerId":"ada2"}]"#)?;
    Ok(shop)
}

fn events(shop: &Shop, customer: &str) -> Vec<StoredEvents> {
    loyalty::events(&shop.queue, customer, 0, 100).unwrap_or_else(|error| unreachable!("{error}"))
}

#[test]
fn events_are_appended_to_the_letter_and_counted() -> Tested {
    let shop = shop()?;
    assert_eq!(
        shop.output::<Events>(
            r#"{"customerId":"ada","events":{"visit":{"page" :1.0},"buy":{"n":123456789012345678901234567890}}}"#
        ),
        r#"{"customerId":"ada","accepted":2}"#
    );
    shop.advance(MINUTE);
    shop.output::<Events>(r#"{"customerId":"ada","events":{"visit":{}}}"#);
    assert_eq!(
        to_json(&events(&shop, "ada")),
        r#"[{"at":"2025-03-14T10:00:00Z","events":{"buy":{"n":123456789012345678901234567890},"visit":{"page" :1.0}}},{"at":"2025-03-14T10:01:00Z","events":{"visit":{}}}]"#
    );
    Ok(())
}

#[test]
fn events_are_in_the_order_of_batches_and_items_and_can_be_read_in_pages() -> Tested {
    let shop = shop()?;
    let item = |n: u32| {
        let event = Document::from(serde_json::json!({}));
        EventsItem::new("ada", [(format!("e{n}"), event)])
    };
    shop.run::<Events>((0..20).map(item))?
        .assert_all_succeeded();
    shop.run::<Events>((20..30).map(item))?
        .assert_all_succeeded();
    let names = |events: Vec<StoredEvents>| -> Vec<String> {
        events
            .into_iter()
            .flat_map(|e| e.events.into_keys())
            .collect()
    };
    let expected: Vec<_> = (0..30).map(|n| format!("e{n}")).collect();
    assert_eq!(names(events(&shop, "ada")), expected);
    let page = loyalty::events(&shop.queue, "ada", 18, 4)?;
    assert_eq!(names(page), expected[18..22]);
    Ok(())
}

#[test]
fn events_are_of_their_customer_alone() -> Tested {
    let shop = shop()?;
    shop.output::<Events>(r#"{"customerId":"ada2","events":{"visit":{}}}"#);
    assert_eq!(events(&shop, "ada"), []);
    assert_eq!(events(&shop, "ada2").len(), 1);
    Ok(())
}

#[test]
fn events_move_no_points_and_are_no_entries() -> Tested {
    let shop = shop()?;
    shop.earn("ada", "t-1", "5");
    shop.output::<Events>(r#"{"customerId":"ada","transactionId":"e-1","events":{"visit":{}}}"#);
    shop.earn("ada", "t-2", "5");
    assert_eq!(shop.points("ada").0, 10);
    assert_eq!(shop.entries("ada")?.len(), 2);
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_unknown_customer_has_no_events_and_the_id_stays_free() -> Tested {
    let shop = Shop::open()?;
    let item = r#"{"customerId":"ada","transactionId":"e-1","events":{"visit":{}}}"#;
    shop.fails::<Events>(item, codes::CUSTOMER_NOT_FOUND, "customerId");
    shop.output::<loyalty::Customers>(r#"{"customerId":"ada"}"#);
    shop.output::<Events>(item);
    Ok(())
}

#[test]
fn without_an_id_events_are_appended_as_often_as_they_are_submitted() -> Tested {
    let shop = shop()?;
    let item = r#"{"customerId":"ada","events":{"visit":{}}}"#;
    shop.json::<Events>(&format!("[{item},{item}]"))?
        .assert_all_succeeded();
    shop.output::<Events>(item);
    assert_eq!(events(&shop, "ada").len(), 3);
    Ok(())
}

#[test]
fn what_are_no_events_is_refused() -> Tested {
    let shop = shop()?;
    for (json, code, field) in [
        ("{}", codes::INVALID_VALUE, "events"),
        ("null", codes::NULL, "events"),
        ("[]", codes::INVALID_VALUE, "events"),
        ("\"visit\"", codes::INVALID_VALUE, "events"),
        (r#"{"":{}}"#, codes::INVALID_VALUE, "events"),
        (
            r#"{"a":{},"visit":null}"#,
            codes::INVALID_VALUE,
            "events.visit",
        ),
        (r#"{"visit":5}"#, codes::INVALID_VALUE, "events.visit"),
        (r#"{"visit":[]}"#, codes::INVALID_VALUE, "events.visit"),
    ] {
        let item = format!(r#"{{"customerId":"ada","events":{json}}}"#);
        shop.refuses::<Events>(&item, code, field);
    }
    Ok(())
}

#[test]
fn more_events_than_fit_are_refused() -> Tested {
    let shop = shop()?;
    let item = |bytes: usize| {
        let frame = r#"{"visit":{"x":""}}"#.len();
        let text = "x".repeat(bytes - frame);
        format!(r#"{{"customerId":"ada","events":{{"visit":{{"x":"{text}"}}}}}}"#)
    };
    shop.output::<Events>(&item(EVENTS_BYTES));
    let message = shop.refuses::<Events>(&item(EVENTS_BYTES + 1), codes::LIMIT_EXCEEDED, "events");
    assert_eq!(
        message,
        "events has 57345 bytes of JSON, the limit is 57344"
    );
    Ok(())
}
