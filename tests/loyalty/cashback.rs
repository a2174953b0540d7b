//! Cashback: points for a purchase.

use crate::harness::{DAY, MINUTE, NOW, Shop, Tested, money, now, number};
use batchwright::loyalty::{self, Cashback, CashbackConfigurations, CashbackItem, Document, codes};
use batchwright::testing::Assertions;
use batchwright::{Outcome, Table};
use serde_json::json;

#[test]
fn a_cashback_awards_points_and_says_what_they_are_worth() -> Tested {
    let shop = Shop::open()?;
    let output = shop.output::<Cashback>(&format!(
        r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":150.75}}"#
    ));
    assert_eq!(
        output,
        format!(
            r#"{{"customerId":"ada","gameballTransactionId":{},"rewardAmount":15,"rewardEquivalentPoints":150}}"#,
            number(1, 0)
        )
    );
    assert_eq!(shop.points("ada"), (150, 150, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn an_item_as_a_value_does_what_it_does_in_json() -> Tested {
    let (typed, json) = (Shop::open()?, Shop::open()?);
    let mut item = CashbackItem::new("ada", "t-1", now(), money("99.99"));
    item.email = Some("ada@example.com".to_owned());
    item.mobile = Some("+4912345".to_owned());
    item.merchant = Some(Document::from(json!({"uniqueId": "m-1"})));
    item.configurations = Some(CashbackConfigurations::return_window(3));
    typed.run::<Cashback>([item])?.assert_all_succeeded();
    json.output::<Cashback>(&format!(
        r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":99.99,
            "email":"ada@example.com","mobile":"+4912345","merchant":{{"uniqueId":"m-1"}},
            "configurations":{{"returnWindow":3}}}}"#
    ));
    assert_eq!(typed.rows(), json.rows());
    Ok(())
}

#[test]
fn points_are_rounded_down() -> Tested {
    let shop = Shop::with(|p| p.earn_rate = "1.5".parse().unwrap_or(p.earn_rate))?;
    for (n, (amount, points)) in [("0.66", 0), ("0.67", 1), ("9.99", 14), ("10", 15)]
        .into_iter()
        .enumerate()
    {
        let item = CashbackItem::new("ada", format!("t-{n}"), now(), money(amount));
        let output = shop.succeeds::<Cashback>(item);
        assert_eq!(output.reward_equivalent_points, points, "{amount}");
    }
    assert_eq!(shop.points("ada").0, 30);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_cashback_creates_its_customer_with_address_and_number() -> Tested {
    let shop = Shop::open()?;
    let item = |id: &str, email: &str| {
        let mut item = CashbackItem::new("ada", id, now(), money("1"));
        item.email = Some(email.to_owned());
        item.mobile = Some("1".to_owned());
        item
    };
    shop.succeeds::<Cashback>(item("t-1", "ada@example.com"));
    // Of a customer who exists they change nothing.
    shop.succeeds::<Cashback>(item("t-2", "other@example.com"));
    let profile = loyalty::profile(&shop.queue, "ada")?.ok_or("no customer")?;
    assert_eq!(profile.email.as_deref(), Some("ada@example.com"));
    assert_eq!(profile.mobile.as_deref(), Some("1"));
    Ok(())
}

#[test]
fn a_customer_of_whom_nothing_is_said_has_an_empty_profile() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    let profile = loyalty::profile(&shop.queue, "ada")?;
    assert_eq!(profile, Some(loyalty::Profile::default()));
    Ok(())
}

#[test]
fn a_programme_may_say_that_customers_come_first() -> Tested {
    let shop = Shop::with(|p| p.cashback_creates_customers = false)?;
    let item = format!(
        r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":1}}"#
    );
    let failure = shop.fails::<Cashback>(&item, codes::CUSTOMER_NOT_FOUND, "customerId");
    assert_eq!(failure.message, r#"there is no customer "ada""#);
    assert_eq!(shop.balance("ada"), None);
    shop.json::<loyalty::Customers>(r#"[{"customerId":"ada"}]"#)?
        .assert_all_succeeded();
    shop.output::<Cashback>(&item);
    Ok(())
}

#[test]
fn the_merchant_is_kept_to_the_letter() -> Tested {
    const ROWS: Table<str, Document> = Table::new("loyalty.transactions");
    let shop = Shop::open()?;
    let merchant = r#"{ "id": 123456789012345678901234567890.10, "name": "Käse",  "a":[1.0, 1e2]}"#;
    shop.output::<Cashback>(&format!(
        r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":1,"merchant":{merchant}}}"#
    ));
    // Also after the row was written again.
    shop.output::<loyalty::Refund>(&format!(
        r#"{{"customerId":"ada","refundTransactionId":"r-1","reverseTransactionId":"t-1","transactionTime":"{NOW}"}}"#
    ));
    let row = shop.queue.read(|tables| tables.get(&ROWS, "tt-1"))?;
    let row = row.ok_or("no row")?;
    assert!(row.as_str().contains(merchant), "{row:?}");
    Ok(())
}

#[test]
fn points_are_pending_for_the_programmes_return_window_from_the_time_of_the_transaction() -> Tested
{
    let shop = Shop::with(|p| p.return_window_days = 14)?;
    // Bought two days ago.
    shop.output::<Cashback>(
        r#"{"customerId":"ada","transactionId":"t-1","transactionTime":"2025-03-12T08:00:00+02:00","amount":10}"#,
    );
    assert_eq!(shop.points("ada"), (10, 0, 10));
    shop.at("2025-03-26T05:59:59.999Z");
    assert_eq!(shop.points("ada"), (10, 0, 10));
    shop.at("2025-03-26T06:00:00Z");
    assert_eq!(shop.points("ada"), (10, 10, 0));
    Ok(())
}

#[test]
fn an_items_own_return_window_overrides_that_of_the_programme() -> Tested {
    let shop = Shop::with(|p| p.return_window_days = 14)?;
    shop.earn_later("ada", "t-1", "1", 0);
    shop.earn_later("ada", "t-2", "10", 1);
    shop.earn_later("ada", "t-3", "100", 7_300);
    shop.earn("ada", "t-4", "1000");
    assert_eq!(shop.points("ada"), (1_111, 1, 1_110));
    shop.advance(DAY);
    assert_eq!(shop.points("ada"), (1_111, 11, 1_100));
    shop.advance(DAY * 13);
    assert_eq!(shop.points("ada"), (1_111, 1_011, 100));
    shop.advance(DAY * (7_300 - 14) - MINUTE);
    assert_eq!(shop.points("ada"), (1_111, 1_011, 100));
    shop.advance(MINUTE);
    assert_eq!(shop.points("ada"), (1_111, 1_111, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_return_window_past_20_years_is_refused() -> Tested {
    let shop = Shop::open()?;
    let item = |days: &str| {
        format!(
            r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":1,"configurations":{{"returnWindow":{days}}}}}"#
        )
    };
    let field = "configurations.returnWindow";
    for days in ["7301", "-1", "1.5", "5000000000", "\"1\""] {
        shop.refuses::<Cashback>(&item(days), codes::INVALID_VALUE, field);
    }
    let message = shop.refuses::<Cashback>(&item("7301"), codes::INVALID_VALUE, field);
    assert_eq!(
        message,
        "configurations.returnWindow is 7301, expected 0 to 7300"
    );
    shop.output::<Cashback>(&item("7300"));
    Ok(())
}

#[test]
fn an_amount_that_is_not_above_zero_is_refused() -> Tested {
    let shop = Shop::open()?;
    for amount in ["0", "-0.01", "0.0", "-5"] {
        let item = format!(
            r#"{{"customerId":"ada","transactionId":"t-1","transactionTime":"{NOW}","amount":{amount}}}"#
        );
        let message = shop.refuses::<Cashback>(&item, codes::INVALID_VALUE, "amount");
        assert!(
            message.ends_with(", expected an amount above 0"),
            "{message}"
        );
    }
    Ok(())
}

#[test]
fn one_items_failure_stops_no_other() -> Tested {
    let shop = Shop::with(|p| p.cashback_creates_customers = false)?;
    shop.json::<loyalty::Customers>(r#"[{"customerId":"ada"}]"#)?;
    let item = |customer: &str, id: &str| CashbackItem::new(customer, id, now(), money("7"));
    let batch = shop.run::<Cashback>([
        item("nobody", "t-1"),
        item("ada", "t-2"),
        item("ada", "t-2"),
        item("ada", "t-3"),
    ])?;
    let codes: Vec<_> = batch
        .outcomes()?
        .map(|item| {
            item.map(|item| match item.outcome {
                Outcome::Failed(failure) => failure.code,
                _ => "fine".to_owned(),
            })
        })
        .collect::<Result<_, _>>()?;
    assert_eq!(codes, ["7000", "fine", "9004", "fine"]);
    assert_eq!(shop.points("ada").0, 14);
    shop.assert_audited();
    Ok(())
}
