//! The published samples' shapes, from the outcomes of a batch as a front-end would build them.

use crate::harness::{NOW, Shop, Tested, number};
use batchwright::loyalty::{
    Balance, Cashback, Customers, OrderItem, OrderTransactions, Orders, Redeem,
};
use batchwright::{Batch, Json, Operation, Outcome};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An entry of either list: members in the order in which they are to be written.
type Entry = Vec<(String, Box<RawValue>)>;

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Box<dyn std::error::Error>> {
    Ok(serde_json::value::to_raw_value(value)?)
}

fn object(entry: &Entry) -> String {
    let members: Vec<_> = entry
        .iter()
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// `{"successful":[...],"failed":[...]}` of a batch: each output's own fields and the index; of a failed item its
/// id, the index, the code and the text.
fn response<O>(
    shop: &Shop,
    batch: &Batch<O>,
    id_field: &str,
) -> Result<String, Box<dyn std::error::Error>>
where
    O: Operation,
    O::Output: Serialize,
{
    let as_json: Batch<Json> = shop.queue.batch(batch.id())?;
    let items = as_json.items()?.collect::<Result<Vec<Value>, _>>()?;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for item in batch.outcomes()? {
        let item = item?;
        match item.outcome {
            Outcome::Succeeded(output) => {
                let mut text = serde_json::to_string(&output)?;
                // Outputs are objects.
                text.pop();
                successful.push(format!(r#"{text},"index":{}}}"#, item.index));
            }
            Outcome::Failed(failure) => {
                let id = match &items[item.index] {
                    Value::Object(members) => members[id_field].clone(),
                    text => text.clone(),
                };
                let mut entry: Entry = vec![
                    (id_field.to_owned(), raw(&id)?),
                    ("index".to_owned(), raw(&item.index)?),
                    ("code".to_owned(), raw(&failure.code)?),
                    ("error".to_owned(), raw(&failure.message)?),
                ];
                if let Some(Value::Object(details)) = failure.details {
                    for (name, value) in details {
                        entry.push((name, raw(&value)?));
                    }
                }
                failed.push(object(&entry));
            }
            _ => return Err("an outcome of an unknown kind".into()),
        }
    }
    Ok(format!(
        r#"{{"successful":[{}],"failed":[{}]}}"#,
        successful.join(","),
        failed.join(",")
    ))
}

#[test]
fn customers_have_their_message_and_their_id() -> Tested {
    let shop = Shop::open()?;
    let large = "x".repeat(40_000);
    shop.output::<Customers>(&format!(
        r#"{{"customerId":"c-3","custom":{{"a":"{large}"}}}}"#
    ));
    let batch = shop.json::<Customers>(&format!(
        r#"{{"body":[{{"customerId":"c-1","name":"Ada"}},{{"customerId":"c-3","custom":{{"b":"{large}"}}}},{{"customerId":"c-1","email":"a@b.c"}}]}}"#
    ))?;
    assert_eq!(
        response(&shop, &batch, "customerId")?,
        r#"{"successful":[{"customerId":"c-1","message":"Customer created successfully","index":0},{"customerId":"c-1","message":"Customer updated successfully","index":2}],"failed":[{"customerId":"c-3","index":1,"code":"3011","error":"customerAttributes has 80049 bytes of JSON, the limit is 61440"}]}"#
    );
    let status = batch.status()?;
    assert_eq!((status.total, status.succeeded, status.failed), (3, 2, 1));
    Ok(())
}

#[test]
fn a_mixed_batch_of_cashbacks_has_both_lists() -> Tested {
    let shop = Shop::open()?;
    let item = |customer: &str, id: &str, time: &str| json!({"customerId": customer, "transactionId": id, "transactionTime": time, "amount": 150.75});
    let items = json!([
        item("c-1", "t-1", NOW),
        item("c-1", "t-1", NOW),
        item("c-2", "t-2", "2025-03-14T10:06:00Z"),
        item("c-2", "t-3", NOW),
    ]);
    let batch = shop.json::<Cashback>(&items.to_string())?;
    let (first, last) = (number(1, 0), number(1, 3));
    assert_eq!(
        response(&shop, &batch, "customerId")?,
        format!(
            r#"{{"successful":[{{"customerId":"c-1","gameballTransactionId":{first},"rewardAmount":15,"rewardEquivalentPoints":150,"index":0}},{{"customerId":"c-2","gameballTransactionId":{last},"rewardAmount":15,"rewardEquivalentPoints":150,"index":3}}],"failed":[{{"customerId":"c-1","index":1,"code":"9004","error":"transactionId was used before, by item 0 of batch 1","original":{{"gameballTransactionId":{first},"index":0,"jobId":1,"sameContent":true}}}},{{"customerId":"c-2","index":2,"code":"9007","error":"transactionTime is 2025-03-14T10:06:00Z, more than 5 minutes after now (2025-03-14T10:00:00Z)"}}]}}"#
        )
    );
    Ok(())
}

#[test]
fn a_mixed_batch_of_redemptions_has_both_lists() -> Tested {
    let shop = Shop::open()?;
    shop.earn("c-1", "t-1", "100");
    let item = |customer: &str, id: &str, points: u32| json!({"customerId": customer, "transactionId": id, "transactionTime": NOW, "points": points});
    let items = json!([
        item("c-1", "r-1", 60),
        item("c-1", "r-2", 60),
        item("c-9", "r-3", 60),
    ]);
    let batch = shop.json::<Redeem>(&items.to_string())?;
    assert_eq!(
        response(&shop, &batch, "customerId")?,
        format!(
            r#"{{"successful":[{{"customerId":"c-1","transactionId":"r-1","gameballTransactionId":{},"redeemAmount":6,"redeemEquivalentPoints":60,"index":0}}],"failed":[{{"customerId":"c-1","index":1,"code":"9008","error":"60 points are wanted, 40 are available"}},{{"customerId":"c-9","index":2,"code":"7000","error":"there is no customer \"c-9\""}}]}}"#,
            number(2, 0)
        )
    );
    Ok(())
}

#[test]
fn a_mixed_batch_of_balances_has_both_lists() -> Tested {
    let shop = Shop::open()?;
    shop.earn("c-1", "t-1", "100");
    let batch = shop.json::<Balance>(r#"[{"customerId":"c-9"},{"customerId":"c-1"}]"#)?;
    assert_eq!(
        response(&shop, &batch, "customerId")?,
        r#"{"successful":[{"customerId":"c-1","totalPointsBalance":100,"totalPointsValue":10,"availablePointsBalance":100,"availablePointsValue":10,"pendingPoints":0,"pendingPointsValue":0,"currency":"USD","pointsName":"Points","nextExpiringPointsAmount":0,"nextExpiringPointsValue":0,"nextExpiringPointsDate":null,"totalEarnedPoints":100,"index":1}],"failed":[{"customerId":"c-9","index":0,"code":"7000","error":"there is no customer \"c-9\""}]}"#
    );
    Ok(())
}

#[test]
fn orders_and_their_transactions_name_the_order() -> Tested {
    let shop = Shop::open()?;
    let order = |id: &str| OrderItem::new("c-1", id, crate::harness::now(), 10.into());
    let batch = shop.run::<Orders>([order("o-1"), order("o-1")])?;
    assert_eq!(
        response(&shop, &batch, "orderId")?,
        format!(
            r#"{{"successful":[{{"customerId":"c-1","orderId":"o-1","rewardedPoints":10,"redeemedPoints":0,"index":0}}],"failed":[{{"orderId":"o-1","index":1,"code":"9004","error":"orderId was used before, by item 0 of batch 1","original":{{"gameballTransactionId":{},"index":0,"jobId":1,"sameContent":true}}}}]}}"#,
            number(1, 0)
        )
    );
    let batch = shop.json::<OrderTransactions>(r#"["o-2","o-1"]"#)?;
    assert_eq!(
        response(&shop, &batch, "orderId")?,
        format!(
            r#"{{"successful":[{{"orderId":"o-1","transactions":[{{"type":"cashback","points":10,"balanceBefore":0,"balanceAfter":10,"at":"{NOW}","transactionNumber":1,"orderId":"o-1","gameballTransactionId":{},"transactionTime":"{NOW}","amount":10}}],"count":1,"index":1}}],"failed":[{{"orderId":"o-2","index":0,"code":"4004","error":"there is no order \"o-2\""}}]}}"#,
            number(1, 0)
        )
    );
    Ok(())
}
