//! Stores that are verified, backed up, damaged and salvaged.

use crate::sandbox::{Sandbox, purchases, redemption};
use serde_json::Value;
use std::fs;

/// Batch 1: 40 purchases. Batch 2: redemptions, one of which failed. Batch 3: nobody has worked it.
fn worked() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(40));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let items = redemption("r1", "c1", 1) + &redemption("r2", "c1", 100);
    sandbox.write("redeem.jsonl", &items);
    sandbox.run(&["run", "redeem", "redeem.jsonl"]).expect(4);
    sandbox.queue_purchases(&["ada"]);
    sandbox
}

#[test]
fn a_sound_store_is_verified_with_its_ledger() {
    let sandbox = worked();
    sandbox
        .run(&["verify"])
        .expect(0)
        .shows("3 batches")
        .shows("nothing is wrong")
        .shows("everything adds up");
    let found = sandbox.run(&["verify", "--json"]).expect(0).json();
    assert_eq!(found["isClean"], true);
    assert_eq!(found["batches"], 3);
    assert_eq!(found["findings"], serde_json::json!([]));
    assert_eq!(found["audit"]["isClean"], true);
}

#[test]
fn a_damaged_store_ends_verify_with_6_and_what_is_wrong() {
    let sandbox = worked();
    fs::remove_file(sandbox.store().join("seal")).unwrap();
    sandbox
        .run(&["verify"])
        .expect(6)
        .shows("seal")
        .says("batchwright salvage");
    let found = sandbox.run(&["verify", "--json"]).expect(6).json();
    assert_eq!(found["isClean"], false);
    assert_eq!(found["findings"][0]["kind"], "seal");
    assert_eq!(found["audit"], Value::Null);
}

#[test]
fn a_store_that_is_missing_or_in_use_is_not_judged() {
    let sandbox = Sandbox::new();
    sandbox.run(&["verify"]).expect(3).says("no store");
    sandbox.run(&["salvage", "nothing", "new"]).expect(3);
    let queue = sandbox.builder().open().unwrap();
    sandbox.run(&["verify"]).expect(5).says("in use by process");
    sandbox.run(&["backup", "copy"]).expect(5);
    sandbox
        .run(&["salvage", "batchwright-data", "new"])
        .expect(5);
    drop(queue);
}

#[test]
fn a_backup_is_a_store_that_goes_on() {
    let sandbox = worked();
    let backup = sandbox.run(&["backup", "copy", "--json"]).expect(0).json();
    assert!(backup["sequence"].as_u64().unwrap() > 3, "{backup}");
    sandbox.run(&["verify", "--store", "copy"]).expect(0);
    for store in ["batchwright-data", "copy"] {
        let balance = ["balance", "c1", "--json", "--store", store];
        let balance = sandbox.run(&balance).expect(0).json();
        assert_eq!(
            balance,
            sandbox.run(&["balance", "c1", "--json"]).expect(0).json()
        );
    }
    // The file is known there too.
    sandbox
        .run(&["run", "cashback", "purchases.jsonl", "--store", "copy"])
        .expect(0)
        .shows("ended before");
    sandbox.run(&["backup", "copy"]).expect(3).says("not empty");
}

#[test]
fn a_salvaged_store_is_sound_and_nothing_runs_in_it_by_itself() {
    let sandbox = worked();
    fs::remove_file(sandbox.store().join("seal")).unwrap();
    sandbox.run(&["status"]).expect(1).says("damaged");
    let ran = sandbox
        .run(&["salvage", "batchwright-data", "new", "--json"])
        .expect(6)
        .says("batchwright audit --store new");
    let salvaged = ran.json();
    assert_eq!(salvaged["isWhole"], false);
    assert_eq!(salvaged["batches"], 3);
    let losses = salvaged["losses"].as_array().unwrap();
    assert!(losses.iter().any(|loss| loss["batch"] == 3), "{losses:?}");
    sandbox.run(&["verify", "--store", "new"]).expect(0);
    sandbox.run(&["audit", "--store", "new"]).expect(0);
    let status = ["status", "3", "--json", "--store", "new"];
    assert_eq!(sandbox.run(&status).expect(0).json()["state"], "stopped");
    sandbox
        .run(&["salvage", "batchwright-data", "new"])
        .expect(3)
        .says("not empty");
    sandbox
        .run(&["salvage", "batchwright-data", "batchwright-data/new"])
        .expect(3);
}

#[test]
fn a_sound_store_is_salvaged_whole() {
    let sandbox = worked();
    sandbox
        .run(&["salvage", "batchwright-data", "new"])
        .expect(0)
        .shows("nothing is lost");
    let status = ["status", "3", "--json", "--store", "new"];
    assert_eq!(sandbox.run(&status).expect(0).json()["state"], "queued");
}
