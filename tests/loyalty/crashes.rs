//! Crashes: outcome and points always agree, and what ran when the power went runs again, once.

use crate::harness::{MINUTE, NOW, Shop, Tested, builder, money, now};
use batchwright::loyalty::{
    self, Adjustment, AdjustmentItem, Cashback, CashbackItem, Customers, EntryKind, Hold, Orders,
    Program, Redeem, Refund,
};
use batchwright::testing::{Assertions, CommitFault, ManualClock, MemoryDisk};
use batchwright::{BatchId, Context, ExactlyOnce, Failure, Operation, Outcome};

/// Batches of every operation that moves points, for two customers; some items fail.
fn batches() -> Vec<(&'static str, String)> {
    let head = |customer: &str| format!(r#""customerId":"{customer}","transactionTime":"{NOW}""#);
    let cashback = |customer: &str, id: &str, amount: u32| {
        format!(
            r#"{{{},"transactionId":"{id}","amount":{amount}}}"#,
            head(customer)
        )
    };
    let redeem = |customer: &str, id: &str, points: u32| {
        format!(
            r#"{{{},"transactionId":"{id}","points":{points}}}"#,
            head(customer)
        )
    };
    let refund = |customer: &str, id: &str, reverse: &str, amount: &str| {
        format!(
            r#"{{{},"refundTransactionId":"{id}","reverseTransactionId":"{reverse}","refundAmount":{amount}}}"#,
            head(customer)
        )
    };
    vec![
        (
            Cashback::NAME,
            [
                cashback("ada", "t-1", 100),
                cashback("bob", "t-2", 50),
                cashback("ada", "t-1", 100),
                cashback("ada", "t-3", 7),
            ]
            .join(","),
        ),
        (
            Hold::NAME,
            format!(
                r#"{{{},"pointsToHold":20}},{{{},"pointsToHold":60}}"#,
                head("ada"),
                head("bob")
            ),
        ),
        (
            Redeem::NAME,
            [
                redeem("ada", "r-1", 30),
                redeem("bob", "r-2", 51),
                redeem("bob", "r-2", 10),
            ]
            .join(","),
        ),
        (
            Adjustment::NAME,
            r#"{"customerId":"ada","points":11},{"customerId":"bob","points":-3}"#.to_owned(),
        ),
        (
            Orders::NAME,
            format!(
                r#"{{"customerId":"bob","orderId":"o-1","orderDate":"{NOW}","totalPaid":9}},{{"customerId":"bob","orderId":"o-1","orderDate":"{NOW}","totalPaid":9}}"#
            ),
        ),
        (
            Refund::NAME,
            [
                refund("ada", "f-1", "t-1", "40"),
                refund("ada", "f-2", "r-1", "1"),
                refund("bob", "f-3", "t-1", "1"),
                refund("ada", "f-4", "t-1", "61"),
            ]
            .join(","),
        ),
    ]
}

const ITEMS: u64 = 17;

fn submit(shop: &Shop) -> Result<Vec<BatchId>, Box<dyn std::error::Error>> {
    let batches = batches().into_iter();
    batches
        .map(|(operation, items)| {
            Ok(shop
                .queue
                .submit_json(operation, format!("[{items}]"))?
                .id())
        })
        .collect()
}

/// The outcomes so far, by batch and index, as JSON.
fn outcomes(shop: &Shop, ids: &[BatchId]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut found = Vec::new();
    for id in ids {
        for item in shop.queue.batch(*id)?.outcomes()? {
            let item = item?;
            let outcome = match item.outcome {
                Outcome::Succeeded(output) => output.to_string(),
                Outcome::Failed(failure) => failure.to_string(),
                _ => "?".to_owned(),
            };
            found.push(format!("{id}.{}: {outcome}", item.index));
        }
    }
    Ok(found)
}

/// Every success that moves points has its entries, and every entry a success.
fn assert_agreement(shop: &Shop, ids: &[BatchId]) -> Tested {
    let mut succeeded = Vec::new();
    for id in ids {
        for item in shop.queue.batch(*id)?.outcomes()? {
            let item = item?;
            if item.outcome.is_success() {
                succeeded.push(crate::harness::number(u64::from(*id), item.index as u64));
            }
        }
    }
    let mut moved = Vec::new();
    for customer in ["ada", "bob"] {
        if shop.balance(customer).is_some() {
            let entries = shop.entries(customer)?;
            let own = |kind: EntryKind| kind != EntryKind::HoldExpiry && kind != EntryKind::Expiry;
            let own = entries.iter().filter(|entry| own(entry.kind));
            moved.extend(own.map(|entry| entry.gameball_transaction_id));
        }
    }
    moved.sort_unstable();
    succeeded.sort_unstable();
    assert_eq!(moved, succeeded);
    shop.assert_audited();
    Ok(())
}

#[test]
fn a_crash_after_any_number_of_items_changes_nothing_of_the_end() -> Tested {
    let whole = Shop::open()?;
    let ids = submit(&whole)?;
    assert_eq!(whole.queue.drain()?, ITEMS);
    let (rows, expected) = (whole.rows(), outcomes(&whole, &ids)?);
    assert_eq!(expected.len() as u64, ITEMS);
    assert_eq!(
        (whole.points("ada"), whole.points("bob")),
        ((58, 38, 0), (46, 46, 0))
    );
    for crash_at in 0..=ITEMS {
        let mut shop = Shop::open()?;
        let ids = submit(&shop)?;
        shop.queue.drain_at_most(crash_at)?;
        let before = (shop.rows(), outcomes(&shop, &ids)?);
        shop.restart()?;
        // What was durable is there, and nothing else.
        assert_eq!((shop.rows(), outcomes(&shop, &ids)?), before, "{crash_at}");
        assert_eq!(before.1.len() as u64, crash_at);
        assert_agreement(&shop, &ids)?;
        // Only the rest runs.
        assert_eq!(shop.queue.drain()?, ITEMS - crash_at);
        assert_agreement(&shop, &ids)?;
        // A turn that was cut short ends behind the others: so only the same order comes to the same rows.
        if outcomes(&shop, &ids)? == expected {
            assert_eq!(shop.rows(), rows, "{crash_at}");
        }
    }
    Ok(())
}

#[test]
fn a_crash_after_every_item_comes_to_an_end_that_agrees() -> Tested {
    let mut shop = Shop::open()?;
    let ids = submit(&shop)?;
    let mut attempts = 0;
    while shop.queue.drain_at_most(1)? == 1 {
        attempts += 1;
        shop.restart()?;
        assert_agreement(&shop, &ids)?;
    }
    assert_eq!(attempts, ITEMS);
    for id in &ids {
        assert!(shop.queue.batch(*id)?.status()?.state.has_ended());
    }
    Ok(())
}

#[test]
fn after_a_commit_of_unknown_outcome_the_points_moved_once() -> Tested {
    for fault in [CommitFault::NotDone, CommitFault::Done] {
        let mut shop = Shop::open()?;
        shop.earn("ada", "t-1", "100");
        let id = shop
            .queue
            .submit_json(
                Redeem::NAME,
                format!(
                    r#"[{{"customerId":"ada","transactionId":"r-1","transactionTime":"{NOW}","points":30}}]"#
                ),
            )?
            .id();
        shop.disk.fail_next_commit(fault);
        assert!(shop.queue.drain().is_err());
        shop.restart()?;
        let has_outcome = outcomes(&shop, &[id])?.len() == 1;
        let points = if has_outcome { 70 } else { 100 };
        assert_eq!(shop.points("ada").0, points);
        shop.assert_audited();
        shop.queue.drain()?;
        shop.queue.batch(id)?.assert_succeeded(0);
        assert_eq!(shop.points("ada").0, 70);
        shop.assert_audited();
    }
    Ok(())
}

/// Awards points with the ledger's own handler, and then the power goes, when there is a disk to cut.
struct CashbackThenDark {
    cashback: Cashback,
    disk: Option<MemoryDisk>,
}

impl Operation for CashbackThenDark {
    const NAME: &'static str = Cashback::NAME;
    type Item = CashbackItem;
    type Output = loyalty::CashbackOutput;
    type Guarantee = ExactlyOnce;

    fn run(
        &self,
        item: CashbackItem,
        cx: &mut Context<ExactlyOnce>,
    ) -> Result<Self::Output, Failure> {
        let dark = item.transaction_id == "dark";
        let output = self.cashback.run(item, cx)?;
        if let Some(disk) = self.disk.as_ref().filter(|_| dark) {
            disk.cut_power();
        }
        Ok(output)
    }
}

#[test]
fn an_item_that_runs_when_the_power_goes_moves_nothing_and_runs_again_once() -> Tested {
    let (disk, clock) = (
        MemoryDisk::new(),
        ManualClock::at(crate::harness::instant(NOW)),
    );
    let program = Program::default();
    let open = |cut: bool| {
        batchwright::Queue::builder("unused")
            .clock(clock.clone())
            .register(CashbackThenDark {
                cashback: Cashback::new(program.clone()),
                disk: cut.then(|| disk.clone()),
            })
            .open_to_drain(&disk)
    };
    let item = |id: &str| CashbackItem::new("ada", id, now(), money("10"));
    let queue = open(true)?;
    let id = queue
        .submit::<CashbackThenDark>([item("t-1"), item("dark"), item("t-2")])?
        .id();
    queue.drain_at_most(1)?;
    assert!(queue.drain().is_err());
    drop(queue);
    let queue = open(false)?;
    let batch = queue.batch(id)?.typed::<CashbackThenDark>()?;
    batch.assert_succeeded(0);
    batch.assert_unfinished(1);
    batch.assert_unfinished(2);
    let points = |queue: &batchwright::Queue| -> Result<Option<i64>, Box<dyn std::error::Error>> {
        let balance = loyalty::balance(queue, &program, "ada")?;
        Ok(balance.map(|balance| balance.total_points_balance))
    };
    assert_eq!(points(&queue)?, Some(10));
    assert!(loyalty::audit(&queue)?.is_clean());
    assert_eq!(queue.drain()?, 2);
    batch.assert_all_succeeded();
    assert_eq!(points(&queue)?, Some(30));
    assert!(loyalty::audit(&queue)?.is_clean());
    Ok(())
}

#[test]
fn two_workers_lose_no_points_of_one_customer() -> Tested {
    let (disk, clock) = (
        MemoryDisk::new(),
        ManualClock::at(crate::harness::instant(NOW)),
    );
    let program = Program::default();
    let queue = builder(&clock, &program)?
        .workers(2)
        .open_in_memory(&disk)?;
    queue
        .submit_json(Customers::NAME, r#"[{"customerId":"ada"}]"#)?
        .wait()?;
    let cashbacks = |from: u32| {
        (from..from + 300).map(|n| CashbackItem::new("ada", format!("t-{n}"), now(), money("2")))
    };
    let batches = [
        queue.submit::<Cashback>(cashbacks(0))?,
        queue.submit::<Cashback>(cashbacks(300))?,
    ];
    let more = queue.submit::<Adjustment>((0..300).map(|_| AdjustmentItem::points("ada", 1)))?;
    for batch in batches {
        batch.wait()?;
        batch.assert_all_succeeded();
    }
    more.wait()?;
    more.assert_all_succeeded();
    let balance = loyalty::balance(&queue, &program, "ada")?.ok_or("no customer")?;
    assert_eq!(balance.total_points_balance, 1_500);
    assert!(loyalty::audit(&queue)?.is_clean());
    queue.shutdown(MINUTE)?;
    Ok(())
}

#[test]
fn items_that_failed_are_retried_under_their_new_numbers() -> Tested {
    let shop = Shop::open()?;
    let items = r#"[{"customerId":"ada","points":5},{"customerId":"ada","points":7}]"#;
    let batch = shop.json::<Adjustment>(items)?;
    batch.assert_failed(1, loyalty::codes::CUSTOMER_NOT_FOUND);
    shop.output::<Customers>(r#"{"customerId":"ada"}"#);
    let again = batch.retry_failed()?;
    shop.queue.drain()?;
    again.assert_all_succeeded();
    assert_eq!(shop.points("ada").0, 12);
    let numbers: Vec<_> = shop
        .entries("ada")?
        .iter()
        .map(|e| e.gameball_transaction_id)
        .collect();
    let id = u64::from(again.id());
    assert_eq!(
        numbers,
        [crate::harness::number(id, 0), crate::harness::number(id, 1)]
    );
    shop.assert_audited();
    Ok(())
}
