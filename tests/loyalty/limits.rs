//! An account has its limits, and stays small whatever it has seen.

use crate::harness::{ACCOUNTS, DAY, MINUTE, NOW, Shop, Tested, money, now};
use batchwright::Outcome;
use batchwright::loyalty::{
    Adjustment, AdjustmentItem, Cashback, CashbackConfigurations, CashbackItem, HOLDS_MAX, Hold,
    HoldItem, LOTS_MAX, Money, Redeem, codes,
};
use batchwright::testing::Assertions;

/// An account's row is smaller than this.
const ROW_BYTES: usize = 48 << 10;

fn row_bytes(shop: &Shop, customer: &str) -> Result<usize, Box<dyn std::error::Error>> {
    let row = shop.queue.read(|tables| tables.get(&ACCOUNTS, customer))?;
    Ok(row.ok_or("no account")?.to_string().len())
}

/// Awards of so much each in batches of a thousand; how many failed with the limit.
fn award(
    shop: &Shop,
    amount: Money,
    dates: impl Iterator<Item = (String, u32)>,
) -> Result<usize, Box<dyn std::error::Error>> {
    let mut failed = 0;
    let items: Vec<_> = dates
        .enumerate()
        .map(|(n, (time, window))| {
            let mut item =
                CashbackItem::new("ada", format!("t-{n}"), crate::harness::time(&time), amount);
            item.configurations = Some(CashbackConfigurations::return_window(window));
            item
        })
        .collect();
    for thousand in items.chunks(1_000) {
        let batch = shop.run::<Cashback>(thousand.iter().cloned())?;
        for item in batch.outcomes()? {
            if let Outcome::Failed(failure) = item?.outcome {
                assert_eq!(failure.code, codes::LIMIT_EXCEEDED, "{failure}");
                assert_eq!(failure.field.as_deref(), Some("customerId"));
                failed += 1;
            }
        }
    }
    Ok(failed)
}

#[test]
fn ten_thousand_awards_with_different_dates_and_windows_are_a_small_row() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(365))?;
    // Every two minutes of two weeks, each with one of 60 windows.
    let dates = (0..10_000_u64).map(|n| {
        let ms = 1_741_946_400_000 - n * 2 * 60_000;
        (rfc3339(ms), (n * 7 % 60) as u32)
    });
    assert_eq!(award(&shop, Money::from(1), dates)?, 0);
    assert_eq!(shop.points("ada").0, 10_000);
    let bytes = row_bytes(&shop, "ada")?;
    assert!(bytes < ROW_BYTES, "{bytes}");
    assert_eq!(shop.entries("ada")?.len(), 10_000);
    // Nothing is pending for longer than the longest window, a day's rounding aside.
    shop.advance(DAY * 61);
    assert_eq!(shop.points("ada"), (10_000, 10_000, 0));
    shop.earn("ada", "last", "1");
    shop.assert_audited();
    Ok(())
}

fn rfc3339(ms: u64) -> String {
    let instant = jiff::Timestamp::from_millisecond(ms as i64);
    instant.map_or_else(|_| NOW.to_owned(), |instant| instant.to_string())
}

#[test]
fn points_have_a_limited_number_of_dates_and_the_row_stays_small_at_the_limit() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(36_500))?;
    // So many points each that together they are the most that one customer may have.
    let amount = money("780000000000");
    let dates = (0..LOTS_MAX as u32 + 5).map(|n| (NOW.to_owned(), 7_300 - 5 * n));
    let failed = award(&shop, amount, dates)?;
    assert_eq!(failed, 5);
    assert_eq!(shop.points("ada").0, 780_000_000_000 * LOTS_MAX as i64);
    let bytes = row_bytes(&shop, "ada")?;
    assert!(bytes < ROW_BYTES, "{bytes}");
    // A date that is there already is no new one.
    shop.earn_later("ada", "same", "1", 7_300);
    let failure = shop.fails::<Cashback>(
        &format!(
            r#"{{"customerId":"ada","transactionId":"other","transactionTime":"{NOW}","amount":1,"configurations":{{"returnWindow":6}}}}"#
        ),
        codes::LIMIT_EXCEEDED,
        "customerId",
    );
    assert_eq!(
        failure.message,
        "customerId has points with 1281 different dates, the limit is 1280"
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn with_all_dates_and_all_holds_the_row_stays_small() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", &"\"".repeat(255), "1");
    let lots = (LOTS_MAX - 1) as u32;
    let items: Vec<_> = (0..lots)
        .map(|n| {
            let mut item = AdjustmentItem::points("ada", 780_000_000_000);
            item.expiry_after = Some(36_500 - n);
            item
        })
        .collect();
    for thousand in items.chunks(1_000) {
        shop.run::<Adjustment>(thousand.iter().cloned())?
            .assert_all_succeeded();
    }
    // Each takes a date whole, so that their number stays.
    let holds = (0..HOLDS_MAX).map(|_| HoldItem::points("ada", now(), 780_000_000_000));
    shop.run::<Hold>(holds)?.assert_all_succeeded();
    let bytes = row_bytes(&shop, "ada")?;
    assert!(bytes < ROW_BYTES, "{bytes}");
    shop.advance(MINUTE * 10);
    // All of them lapse in one transaction.
    shop.add("ada", 1, None);
    assert_eq!(shop.entries("ada")?.len(), 1 + LOTS_MAX + 2 * HOLDS_MAX);
    assert!(row_bytes(&shop, "ada")? < ROW_BYTES);
    // And all points expire in one.
    shop.advance(DAY * 36_600);
    shop.add("ada", 1, None);
    assert_eq!(shop.points("ada").0, 3);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_redemption_of_many_lots_is_one_transaction() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1");
    let items = (0..1_000).map(|n| {
        let mut item = AdjustmentItem::points("ada", 10);
        item.expiry_after = Some(10 + n);
        item
    });
    shop.run::<Adjustment>(items)?.assert_all_succeeded();
    shop.redeem("ada", "r-1", 9_995);
    assert_eq!(shop.points("ada").0, 6);
    shop.succeeds::<batchwright::loyalty::Refund>(batchwright::loyalty::RefundItem::new(
        "ada",
        "f-1",
        "r-1",
        now(),
    ));
    assert_eq!(shop.points("ada").0, 10_001);
    shop.advance(DAY * 11);
    assert_eq!(shop.points("ada").0, 9_991);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_customer_has_a_limited_number_of_holds_at_once() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "1000");
    shop.earn("bob", "t-2", "1000");
    let holds = (0..HOLDS_MAX).map(|_| HoldItem::points("ada", now(), 1));
    let first = shop.run::<Hold>(holds)?.assert_all_succeeded();
    let item = format!(r#"{{"customerId":"ada","transactionTime":"{NOW}","pointsToHold":1}}"#);
    let failure = shop.fails::<Hold>(&item, codes::LIMIT_EXCEEDED, "customerId");
    assert_eq!(
        failure.message,
        "customerId has 64 holds already, the limit is 64"
    );
    shop.output::<Hold>(&item.replace("ada", "bob"));
    shop.output::<Redeem>(&format!(
        r#"{{"customerId":"ada","transactionId":"r-1","transactionTime":"{NOW}","holdReference":"{}"}}"#,
        first[5].hold_reference
    ));
    shop.output::<Hold>(&item);
    shop.fails::<Hold>(&item, codes::LIMIT_EXCEEDED, "customerId");
    shop.advance(MINUTE * 10);
    shop.output::<Hold>(&item);
    shop.assert_audited();
    Ok(())
}
