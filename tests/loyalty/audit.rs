//! The audit is clean after everything, and tells whatever is wrong with the rows.

use crate::harness::{ACCOUNTS, DAY, MINUTE, NOW, Shop, TRANSACTIONS, Tested, Write, money, now};
use batchwright::loyalty::{
    self, Audit, Events, Hold, HoldItem, OrderItem, Orders, Refund, RefundItem,
};
use batchwright::testing::Assertions;
use serde_json::{Value, json};

/// A ledger with something of everything.
fn ledger() -> Result<Shop, Box<dyn std::error::Error>> {
    let shop = Shop::with(|p| {
        p.points_expiry_days = Some(30);
        p.allow_negative = true;
    })?;
    shop.earn("ada", "t-1", "100");
    shop.earn_later("ada", "t-2", "50", 3);
    shop.earn("bob", "t-3", "10");
    shop.redeem("ada", "t-4", 30);
    shop.succeeds::<Hold>(HoldItem::points("ada", now(), 20));
    shop.succeeds::<Refund>(RefundItem::new("ada", "f-1", "t-2", now()));
    shop.add("bob", 5, Some(0));
    shop.output::<Events>(r#"{"customerId":"bob","transactionId":"e-1","events":{"visit":{}}}"#);
    shop.succeeds::<Orders>(OrderItem::new("ada", "o-1", now(), money("7")));
    Ok(shop)
}

fn audit(shop: &Shop) -> Result<Audit, Box<dyn std::error::Error>> {
    Ok(loyalty::audit(&shop.queue)?)
}

fn write(shop: &Shop, table: &str, key: &str, row: Option<Value>) -> Tested {
    let item = (table.to_owned(), key.to_owned(), row);
    shop.run::<Write>([item])?.assert_all_succeeded();
    Ok(())
}

/// Changes a row; the audit then tells all of these, and nothing when the row is as it was again.
fn corrupt(table: &str, key: &str, change: impl FnOnce(&mut Value), told: &[&str]) -> Tested {
    let shop = ledger()?;
    shop.assert_audited();
    let rows = if table == "accounts" {
        &ACCOUNTS
    } else {
        &TRANSACTIONS
    };
    let row = shop.queue.read(|tables| tables.get(rows, key))?;
    let good = row.ok_or_else(|| format!("no row {key}"))?;
    let mut bad = good.clone();
    change(&mut bad);
    assert_ne!(bad, good, "nothing was changed");
    write(&shop, table, key, Some(bad))?;
    let found = audit(&shop)?;
    assert_told(&found, told);
    write(&shop, table, key, Some(good))?;
    shop.assert_audited();
    Ok(())
}

#[track_caller]
fn assert_told(found: &Audit, told: &[&str]) {
    assert!(!found.is_clean());
    assert_eq!(found.difference_count as usize, found.differences.len());
    let text = found.to_string();
    for told in told {
        assert!(text.contains(told), "{told:?} is not in: {text}");
    }
}

#[test]
fn a_ledger_with_everything_is_clean_and_counted() -> Tested {
    let shop = ledger()?;
    let found = audit(&shop)?;
    assert_eq!(
        (
            found.customers,
            found.transactions,
            found.entries,
            found.points
        ),
        (2, 8, 8, 92)
    );
    assert_eq!(
        found.to_string(),
        "2 customers, 8 transactions, 8 entries, 92 points: everything adds up"
    );
    shop.advance(MINUTE * 30 + DAY * 40);
    // Due, not yet written down.
    assert!(audit(&shop)?.is_clean());
    shop.earn("ada", "t-9", "1");
    shop.earn("bob", "t-10", "1");
    let found = audit(&shop)?;
    assert!(found.is_clean());
    // The hold's lapse and the expiries among them.
    assert_eq!(
        (found.transactions, found.entries, found.points),
        (10, 13, 2)
    );
    Ok(())
}

#[test]
fn an_empty_ledger_is_clean() -> Tested {
    let found = audit(&Shop::open()?)?;
    assert!(found.is_clean() && found.strays_counted);
    assert_eq!(found, {
        let mut empty = Audit::default();
        empty.strays_counted = true;
        empty
    });
    Ok(())
}

#[test]
fn an_entrys_points_are_checked() -> Tested {
    corrupt(
        "transactions",
        "tt-1",
        |row| row["e"][0]["p"] = json!(101),
        &[
            r#"customer "ada": a cashback of transaction "tt-1" has 0 before, 101 moved, 100 after"#,
            "the balance are 77, the entries come to 78",
            "the earned points are 107, the entries come to 108",
        ],
    )
}

#[test]
fn an_entrys_balance_before_is_checked() -> Tested {
    corrupt(
        "transactions",
        "tt-4",
        |row| row["e"][0]["b"] = json!(149),
        &[
            r#"a redemption of transaction "tt-4" has 149 before, -30 moved, 120 after"#,
            r#"after a cashback of transaction "tt-2" the balance is 150, 149 follows"#,
        ],
    )
}

#[test]
fn an_entrys_balance_after_is_checked() -> Tested {
    corrupt(
        "transactions",
        "tt-1",
        |row| row["e"][0]["a"] = json!(99),
        &[r#"after a cashback of transaction "tt-1" the balance is 99, 100 follows"#],
    )
}

#[test]
fn entries_that_agree_with_each_other_must_begin_at_nothing() -> Tested {
    corrupt(
        "transactions",
        "tt-1",
        |row| {
            row["e"][0]["b"] = json!(40);
            row["e"][0]["p"] = json!(60);
        },
        &[
            "the first entry has 40 points before it",
            "the balance are 77, the entries come to 37",
        ],
    )
}

#[test]
fn an_entry_that_was_left_out_is_missed() -> Tested {
    corrupt(
        "transactions",
        "tt-4",
        |row| row["e"] = json!([]),
        &[
            r#"after a cashback of transaction "tt-2" the balance is 150, 120 follows"#,
            "the entries come to 107",
        ],
    )
}

#[test]
fn held_points_are_checked() -> Tested {
    corrupt(
        "transactions",
        "n327680",
        |row| row["e"][0]["h"] = json!(19),
        &["the held points are 20, the entries come to 19"],
    )?;
    corrupt(
        "accounts",
        "ada",
        |row| row["h"] = json!([]),
        &[
            "the held points are 0, the entries come to 20",
            "the balance are 57",
        ],
    )
}

#[test]
fn an_accounts_lots_debt_and_earnings_are_checked() -> Tested {
    corrupt(
        "accounts",
        "ada",
        |row| {
            let points = row["l"][0][2].as_i64().unwrap_or(0);
            row["l"][0][2] = json!(points + 1);
        },
        &["the balance are 78, the entries come to 77", "78 follows"],
    )?;
    corrupt(
        "accounts",
        "ada",
        |row| row["d"] = json!(1),
        &["the balance are 76, the entries come to 77"],
    )?;
    corrupt(
        "accounts",
        "bob",
        |row| row["e"] = json!(16),
        &[r#"customer "bob": the earned points are 16, the entries come to 15"#],
    )
}

#[test]
fn a_transaction_of_another_customer_is_told() -> Tested {
    corrupt(
        "transactions",
        "tt-1",
        |row| row["c"] = json!("bob"),
        &[r#"customer "ada": transaction "tt-1" is of customer "bob""#],
    )
}

#[test]
fn the_places_on_the_chain_are_checked() -> Tested {
    corrupt(
        "transactions",
        "tt-2",
        |row| row["n"] = json!(3),
        &[r#"transaction "tt-2" has number 3, 2 was due"#],
    )?;
    corrupt(
        "transactions",
        "tt-2",
        |row| row["p"] = Value::Null,
        &["1 transactions are missing at the beginning"],
    )?;
    // Round in circles.
    corrupt(
        "transactions",
        "tt-1",
        |row| row["p"] = json!("tt-2"),
        &[r#"transaction "tt-2" has number 2, 0 was due"#],
    )?;
    corrupt(
        "accounts",
        "ada",
        |row| row["p"] = json!("tt-4"),
        &[r#"transaction "tt-4" has number 3, 6 was due"#],
    )?;
    corrupt(
        "accounts",
        "bob",
        |row| row["p"] = Value::Null,
        &["2 transactions are missing at the beginning"],
    )
}

#[test]
fn a_removed_transaction_is_missed() -> Tested {
    for key in ["tt-1", "tt-2", "tf-1", "oo-1"] {
        let shop = ledger()?;
        write(&shop, "transactions", key, None)?;
        let missing = format!(r#"transaction "{key}" is missing, which another one follows"#);
        assert_told(&audit(&shop)?, &[&missing]);
    }
    Ok(())
}

#[test]
fn a_removed_account_leaves_transactions_of_nobody() -> Tested {
    let shop = ledger()?;
    write(&shop, "accounts", "bob", None)?;
    let told = "8 transactions are stored, of 6 on chains";
    assert_told(&audit(&shop)?, &[told]);
    Ok(())
}

#[test]
fn a_transaction_on_no_chain_is_told() -> Tested {
    let shop = ledger()?;
    let row = shop
        .queue
        .read(|tables| tables.get(&TRANSACTIONS, "tt-3"))?;
    write(&shop, "transactions", "tstray", row)?;
    let told = "9 transactions are stored, of 8 on chains";
    assert_told(&audit(&shop)?, &[told]);
    Ok(())
}

#[test]
fn a_row_that_cannot_be_read_is_told_and_hides_no_other() -> Tested {
    corrupt(
        "accounts",
        "ada",
        |row| *row = json!({"n": "six"}),
        &[r#"customer "ada": the account cannot be read: "#],
    )?;
    corrupt(
        "transactions",
        "tt-2",
        |row| *row = json!([NOW]),
        &[r#"customer "ada": "#, "loyalty.transactions"],
    )?;
    let shop = ledger()?;
    write(&shop, "accounts", "ada", Some(json!(5)))?;
    let mut account = shop
        .queue
        .read(|tables| tables.get(&ACCOUNTS, "bob"))?
        .ok_or("no bob")?;
    account["e"] = json!(0);
    write(&shop, "accounts", "bob", Some(account))?;
    let told = ["the account cannot be read", "the earned points are 0"];
    assert_told(&audit(&shop)?, &told);
    Ok(())
}

#[test]
fn a_row_that_cannot_be_read_and_that_nobody_follows_is_told_too() -> Tested {
    // An id that events have used, or another one: it moves no points, so that no chain has it.
    for key in ["te-1", "tnew"] {
        let shop = ledger()?;
        write(&shop, "transactions", key, Some(json!({"broken": true})))?;
        let told = format!(r#"transaction "{key}" cannot be read: missing field"#);
        assert_told(&audit(&shop)?, &[&told]);
    }
    Ok(())
}
