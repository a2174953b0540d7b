//! `stop`, `resume`, `retry`, `resolve` and `prune`.

use crate::sandbox::{Sandbox, purchases, redemption};
use batchwright::loyalty::{Cashback, CashbackItem};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

#[test]
fn a_batch_is_stopped_and_resumed_and_a_bystander_goes_on_meanwhile() {
    let sandbox = Sandbox::new();
    let id = sandbox.queue_purchases(&["ada", "bob"]).to_string();
    let stopped = sandbox.run(&["stop", &id, "--json"]).expect(0).json();
    assert_eq!(stopped["state"], "stopped");
    assert_eq!(stopped["unfinished"], 2);
    sandbox
        .run(&["stop", &id])
        .expect(0)
        .shows("nothing to stop");

    // A command that works the store leaves it alone.
    sandbox.write("purchases.jsonl", &purchases(1));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    assert_eq!(
        sandbox.run(&["status", &id, "--json"]).json()["state"],
        "stopped"
    );
    sandbox.run(&["balance", "ada"]).expect(3);

    let resumed = sandbox.run(&["resume", &id, "--json"]).expect(0).json();
    assert_eq!(resumed["succeeded"], 2);
    sandbox.run(&["balance", "ada"]).expect(0);
    sandbox.run(&["resume", &id]).expect(3).says("completed");
}

#[test]
fn an_import_with_a_stopped_batch_says_what_was_not_run_until_it_is_resumed() {
    let sandbox = Sandbox::new();
    let content = purchases(1_002);
    sandbox.write("purchases.jsonl", &content);
    // As a run leaves it that ends before anything has run; its second batch is stopped then.
    let queue = sandbox.builder().without_workers().open().unwrap();
    let digest = Sha256::digest(content.as_bytes());
    let key: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let items = content
        .lines()
        .map(|line| serde_json::from_str::<CashbackItem>(line).unwrap());
    let import = queue.import::<Cashback>(&key, items).unwrap();
    assert_eq!(import.batches.len(), 2);
    drop((import, queue));
    sandbox.run(&["stop", "2"]).expect(0);

    let run = ["run", "cashback", "purchases.jsonl", "--json"];
    let ran = sandbox.run(&run).expect(4).says("batchwright resume");
    let ran = ran.json();
    assert_eq!(ran["batches"], json!([1, 2]));
    assert_eq!(ran["succeeded"], 1_000);
    assert_eq!(ran["notRun"], 2);

    sandbox.run(&["resume", "2"]).expect(0);
    let ran = sandbox.run(&run).expect(0).json();
    assert_eq!(ran["succeeded"], 1_002);
    assert_eq!(ran["notRun"], 0);
}

#[test]
fn what_was_resumed_and_interrupted_goes_on_with_the_same_command() {
    let sandbox = Sandbox::new();
    // As an interrupt leaves it: neither stopped nor ended.
    let id = sandbox.queue_purchases(&["ada"]).to_string();
    sandbox.run(&["resume", &id]).expect(0).says("goes on");
    sandbox.run(&["balance", "ada"]).expect(0);
}

#[test]
fn failed_items_are_run_again_as_one_new_batch() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(10));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let items = redemption("r1", "c1", 1) + &redemption("r2", "c1", 3);
    sandbox.write("redeem.jsonl", &items);
    sandbox.run(&["run", "redeem", "redeem.jsonl"]).expect(4);

    let still = sandbox.run(&["retry", "2", "--json"]).expect(4).json();
    assert_eq!(still["items"], 1);
    assert_eq!(still["failures"], json!({"9008": 1}));
    assert_eq!(still["batches"], json!([3]));
    // Not a third time under the same number.
    let again = sandbox
        .run(&["retry", "2", "--json"])
        .expect(4)
        .says("as batch 3")
        .json();
    assert_eq!(again["batches"], json!([3]));

    sandbox.write("bonus.jsonl", "{\"customerId\":\"c1\",\"points\":5}\n");
    sandbox.run(&["run", "adjustment", "bonus.jsonl"]).expect(0);
    let mended = sandbox.run(&["retry", "3", "--json"]).expect(0).json();
    assert_eq!(mended["succeeded"], 1);
    let retry_of = sandbox.run(&["status", "5", "--json"]).json()["retryOf"].clone();
    assert_eq!(retry_of, 3);
}

#[test]
fn only_batches_that_ended_long_enough_ago_are_deleted() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(10));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let waiting = sandbox.queue_purchases(&["ada"]).to_string();
    sandbox
        .run(&["prune", "--older-than", "30d"])
        .expect(0)
        .shows("0 batches");
    sandbox.run(&["status", "1"]).expect(0);
    sandbox
        .run(&["prune", "--older-than", "0s"])
        .expect(0)
        .shows("1 batches");
    sandbox.run(&["status", "1"]).expect(3);
    // What has not ended stays, and so do the points.
    sandbox.run(&["status", &waiting]).expect(0);
    sandbox.run(&["balance", "c1"]).expect(0);
    sandbox.run(&["audit"]).expect(0);
}

#[test]
fn a_stopped_batch_with_items_that_did_not_run_is_not_pruned() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(10));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let stopped = sandbox.queue_purchases(&["ada"]).to_string();
    sandbox.run(&["stop", &stopped]).expect(0);
    let pruned = sandbox.run(&["prune", "--older-than", "0s", "--json"]);
    assert_eq!(
        pruned.expect(0).says("1 stopped batches").json(),
        json!({"deletedBatches": 1, "keptStoppedBatches": 1})
    );
    sandbox.run(&["status", "1"]).expect(3);
    sandbox.run(&["resume", &stopped]).expect(0);
    sandbox.run(&["balance", "ada"]).expect(0);
    // Now that it has run it goes, and so does a file whose outcomes are no longer known say so.
    sandbox.run(&["prune", "--older-than", "0s"]).expect(0);
    sandbox.run(&["status", &stopped]).expect(3);
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0)
        .says("no longer known");
}

#[test]
fn the_file_of_failed_items_is_kept_until_there_is_another() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    sandbox.write("failed.jsonl", "of before\n");
    let bad = "{\"customerId\":5}\n";
    sandbox.write("bad.jsonl", bad);
    let run = |file| sandbox.run(&["run", "cashback", file, "--errors", "failed.jsonl"]);
    run("bad.jsonl").expect(3);
    assert_eq!(sandbox.read("failed.jsonl"), "of before\n");
    run("purchases.jsonl").expect(0);
    assert_eq!(sandbox.read("failed.jsonl"), "");
    // The input under another name is the input.
    std::fs::hard_link(sandbox.path("bad.jsonl"), sandbox.path("other.jsonl")).unwrap();
    sandbox
        .run(&["run", "cashback", "bad.jsonl", "--errors", "other.jsonl"])
        .expect(3)
        .says("overwrite the input");
    assert_eq!(sandbox.read("bad.jsonl"), bad);
}

/// As a salvage leaves it: an item of a batch of cashbacks of which nobody knows whether it ran.
#[test]
fn an_item_in_doubt_is_shown_and_resolved_once() {
    let sandbox = Sandbox::new();
    let pay = |_: serde_json::Value, _: &mut batchwright::Context<batchwright::AtMostOnce>| {
        std::panic::resume_unwind(Box::new("half way"));
        #[expect(unreachable_code)]
        Ok(())
    };
    let queue = batchwright::Queue::builder(sandbox.store())
        .register_fn("cashback", pay)
        .open()
        .unwrap();
    let batch = queue
        .submit_named("cashback", [serde_json::json!({})])
        .unwrap();
    batch.wait().unwrap();
    drop(queue);
    let status = sandbox.run(&["status", "1", "--json"]).expect(0).json();
    assert_eq!(status["inDoubt"], 1);
    sandbox
        .run(&["outcomes", "1"])
        .expect(0)
        .shows("inDoubt")
        .shows("half way");
    let outcome = sandbox
        .run(&["outcomes", "1", "--format", "json"])
        .expect(0)
        .json();
    assert_eq!(outcome["outcome"], "inDoubt");
    sandbox.run(&["resolve", "1", "0"]).expect(2);
    sandbox
        .run(&["resolve", "1", "0", "--succeeded", "{"])
        .expect(1);
    let failed = [
        "resolve",
        "1",
        "0",
        "--failed",
        "not_done",
        "--message",
        "no entry",
        "--json",
    ];
    let resolved = sandbox.run(&failed).expect(0).json();
    assert_eq!(
        (&resolved["failed"], &resolved["inDoubt"]),
        (&1.into(), &Value::Null)
    );
    sandbox.run(&failed).expect(3).says("not in doubt");
    sandbox.run(&["outcomes", "1"]).expect(0).shows("no entry");
}
