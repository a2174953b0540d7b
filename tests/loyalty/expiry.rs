//! What time does to points: a balance knows it at once, the next item writes it down.

use crate::harness::{DAY, HOUR, Shop, Tested, money, now, time};
use batchwright::loyalty::{Cashback, CashbackItem, Customers, Entry};

/// Kind, points, balance before and after, and when.
fn shown(entry: &Entry) -> (String, i64, i64, i64, String) {
    (
        entry.kind.to_string(),
        entry.points,
        entry.balance_before,
        entry.balance_after,
        entry.at.to_string(),
    )
}

#[test]
fn points_expire_with_the_end_of_their_last_day_in_utc() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(30))?;
    // Late in the evening somewhere, and on the day after in UTC.
    let late = CashbackItem::new("ada", "t-1", time("2025-03-12T20:30:00-04:00"), money("10"));
    shop.succeeds::<Cashback>(late);
    shop.at("2025-04-12T23:59:59.999Z");
    assert_eq!(shop.points("ada").0, 10);
    shop.at("2025-04-13T00:00:00Z");
    assert_eq!(shop.points("ada").0, 0);
    Ok(())
}

#[test]
fn points_are_valid_from_when_they_become_available() -> Tested {
    let shop = Shop::with(|p| {
        p.return_window_days = 5;
        p.points_expiry_days = Some(2);
    })?;
    shop.earn("ada", "t-1", "10");
    shop.advance(DAY * 5);
    assert_eq!(shop.points("ada"), (10, 10, 0));
    shop.at("2025-03-21T23:59:59.999Z");
    assert_eq!(shop.points("ada"), (10, 10, 0));
    shop.at("2025-03-22T00:00:00Z");
    assert_eq!(shop.points("ada"), (0, 0, 0));
    Ok(())
}

#[test]
fn zero_days_are_up_to_the_end_of_the_day() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(0))?;
    shop.earn("ada", "t-1", "10");
    shop.at("2025-03-14T23:59:59.999Z");
    assert_eq!(shop.points("ada").0, 10);
    shop.at("2025-03-15T00:00:00Z");
    assert_eq!(shop.points("ada").0, 0);
    Ok(())
}

#[test]
fn without_an_expiry_points_are_for_ever() -> Tested {
    let shop = Shop::open()?;
    shop.earn("ada", "t-1", "10");
    shop.advance(DAY * 365 * 500);
    assert_eq!(shop.points("ada").0, 10);
    Ok(())
}

#[test]
fn what_expired_is_seen_at_once_and_written_down_at_the_next_touch() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(10))?;
    shop.earn("ada", "t-1", "100");
    shop.advance(DAY * 2);
    shop.earn("ada", "t-2", "20");
    shop.redeem("ada", "r-1", 30);
    shop.advance(DAY * 9 + HOUR);
    // 70 of the first are gone: nobody has touched the account since.
    assert_eq!(shop.points("ada"), (20, 20, 0));
    assert_eq!(shop.entries("ada")?.len(), 3);
    shop.assert_audited();
    shop.redeem("ada", "r-2", 5);
    let entries = shop.entries("ada")?;
    assert_eq!(
        shown(&entries[3]),
        ("expiry".into(), -70, 90, 20, "2025-03-25T00:00:00Z".into())
    );
    // It is of the transaction that wrote it down, and has none of what that one says of itself.
    assert_eq!(entries[3].transaction_number, 4);
    assert_eq!(entries[3].transaction_id.as_deref(), Some("r-2"));
    assert_eq!(
        (entries[3].amount, entries[3].transaction_time),
        (None, None)
    );
    assert_eq!(
        shown(&entries[4]),
        (
            "redemption".into(),
            -5,
            20,
            15,
            "2025-03-25T11:00:00Z".into()
        )
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_failed_item_writes_nothing_down() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(1))?;
    shop.earn("ada", "t-1", "100");
    shop.advance(DAY * 5);
    let item = format!(
        r#"{{"customerId":"ada","transactionId":"r-1","transactionTime":"{}","points":1}}"#,
        now()
    );
    shop.fails::<batchwright::loyalty::Redeem>(
        &item,
        batchwright::loyalty::codes::INSUFFICIENT_POINTS,
        "points",
    );
    assert_eq!(shop.entries("ada")?.len(), 1);
    assert_eq!(shop.points("ada").0, 0);
    Ok(())
}

#[test]
fn one_long_absence_comes_to_the_same_as_a_touch_every_day() -> Tested {
    let run = |touched: bool| -> Result<Shop, Box<dyn std::error::Error>> {
        let shop = Shop::open()?;
        shop.output::<Customers>(r#"{"customerId":"ada"}"#);
        for days in 0..10 {
            shop.add("ada", 10 + i64::from(days), Some(days * 3));
            shop.earn_later("ada", &format!("t-{days}"), "7", days);
        }
        for day in 0..40 {
            shop.advance(DAY);
            if touched {
                shop.earn("ada", &format!("touch-{day}"), "0.1");
            }
        }
        shop.earn("ada", "last", "1");
        shop.assert_audited();
        Ok(shop)
    };
    let (often, once) = (run(true)?, run(false)?);
    assert_eq!(often.points("ada"), once.points("ada"));
    assert_eq!(once.points("ada").0, 71);
    let expired = |shop: &Shop| -> Result<i64, Box<dyn std::error::Error>> {
        let entries = shop.entries("ada")?;
        let expiries = entries.iter().filter(|e| e.kind.to_string() == "expiry");
        Ok(expiries.map(|e| e.points).sum())
    };
    assert_eq!(expired(&often)?, expired(&once)?);
    assert_eq!(expired(&once)?, -145);
    Ok(())
}

#[test]
fn an_award_that_has_expired_when_it_comes_is_written_down_and_gone() -> Tested {
    let shop = Shop::with(|p| p.points_expiry_days = Some(1))?;
    let old = CashbackItem::new("ada", "t-1", time("2024-01-01T00:00:00Z"), money("10"));
    let output = shop.succeeds::<Cashback>(old);
    assert_eq!(output.reward_equivalent_points, 10);
    assert_eq!(shop.points("ada"), (0, 0, 0));
    let moves = shop.moves("ada")?;
    assert_eq!(
        moves,
        [
            ("cashback".into(), 10, 0, 10),
            ("expiry".into(), -10, 10, 0)
        ]
    );
    shop.assert_audited();
    Ok(())
}

#[test]
fn points_from_before_1970_are_points() -> Tested {
    let shop = Shop::open()?;
    let old = CashbackItem::new("ada", "t-1", time("1901-01-01T00:00:00Z"), money("10"));
    shop.succeeds::<Cashback>(old);
    assert_eq!(shop.points("ada"), (10, 10, 0));
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_clock_that_is_set_back_takes_nothing_away() -> Tested {
    let shop = Shop::open()?;
    shop.earn_later("ada", "t-1", "10", 1);
    shop.advance(DAY * 2);
    shop.earn("ada", "t-2", "5");
    assert_eq!(shop.points("ada"), (15, 15, 0));
    shop.at("2025-03-14T10:00:00Z");
    assert_eq!(shop.points("ada"), (15, 15, 0));
    shop.redeem("ada", "r-1", 15);
    shop.assert_audited();
    Ok(())
}
