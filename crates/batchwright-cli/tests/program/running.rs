//! `run`: files that are worked.

use crate::sandbox::{Sandbox, json_lines, purchases, redemption};
use serde_json::json;

#[test]
fn a_file_is_worked_to_the_end_and_the_same_file_again_changes_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1_010));
    let first = sandbox.run(&["run", "cashback", "purchases.jsonl", "--json"]);
    let first = first.expect(0).json();
    assert_eq!(first["items"], 1_010);
    assert_eq!(first["succeeded"], 1_010);
    assert_eq!(first["endedBefore"], 0);
    assert_eq!(first["batches"], json!([1, 2]));

    let audit = sandbox.run(&["audit", "--json"]).expect(0).json();
    assert_eq!(audit["points"], 1_010);

    let again = sandbox.run(&["run", "cashback", "purchases.jsonl", "--json"]);
    let again = again.expect(0).says("nothing was changed").json();
    assert_eq!(again["endedBefore"], 1_010);
    assert_eq!(again["batches"], json!([1, 2]));
    assert_eq!(sandbox.run(&["audit", "--json"]).expect(0).json(), audit);
}

#[test]
fn importing_again_runs_every_item_and_those_with_the_same_id_and_content_are_already_done() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(20));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let again = sandbox.run(&["run", "cashback", "purchases.jsonl", "--again", "--json"]);
    let again = again.expect(0).json();
    assert_eq!(again["alreadyDone"], 20);
    assert_eq!(again["failed"], 0);
    assert_eq!(again["failures"], json!({}));
    assert_eq!(again["batches"], json!([2]));
    let audit = sandbox.run(&["audit", "--json"]).expect(0).json();
    assert_eq!(audit["points"], 20);
}

#[test]
fn an_id_that_was_used_for_other_content_fails() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(2));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let changed = purchases(2).replacen("1.00", "7.00", 1);
    sandbox.write("changed.jsonl", &changed);
    let ran = sandbox.run(&["run", "cashback", "changed.jsonl", "--json"]);
    let ran = ran.expect(4).json();
    assert_eq!(ran["alreadyDone"], 1);
    assert_eq!(ran["failures"], json!({"9004": 1}));
}

#[test]
fn items_that_fail_are_counted_by_code_and_written_with_their_lines() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(50));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let redemptions = redemption("r1", "c1", 2)
        + "\n"
        + &redemption("r2", "c1", 1_000)
        + &redemption("r3", "nobody", 1);
    sandbox.write("redeem.jsonl", &redemptions);
    let ran = sandbox.run(&["run", "redeem", "redeem.jsonl", "--errors", "failed.jsonl"]);
    ran.expect(4).shows("9008").shows("7000");

    let failed = json_lines(&sandbox.read("failed.jsonl"));
    assert_eq!(failed.len(), 2);
    assert_eq!(failed[0]["index"], 1);
    assert_eq!(failed[0]["line"], 3);
    assert_eq!(failed[0]["code"], "9008");
    assert_eq!(failed[0]["field"], "points");
    assert_eq!(failed[0]["item"]["transactionId"], "r2");
    assert_eq!(failed[1]["code"], "7000");
    assert_eq!(failed[1]["line"], 4);

    let again = sandbox.run(&["run", "redeem", "redeem.jsonl"]);
    again.expect(4).says("nothing was changed");
}

#[test]
fn failed_items_of_later_batches_keep_their_place_in_the_file() {
    let sandbox = Sandbox::new();
    let mut lines = purchases(1_005);
    // The same id as the first, with other content.
    lines.push_str(&purchases(1).replace("1.00", "2.00"));
    sandbox.write("purchases.jsonl", &lines);
    let ran = sandbox.run(&[
        "run",
        "cashback",
        "purchases.jsonl",
        "--errors",
        "failed.jsonl",
    ]);
    ran.expect(4);
    let failed = json_lines(&sandbox.read("failed.jsonl"));
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["index"], 1_005);
    assert_eq!(failed[0]["line"], 1_006);
}

#[test]
fn the_published_names_of_operations_are_known() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(10));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    sandbox.write("who.jsonl", "{\"customerId\":\"c1\"}\n");
    sandbox
        .run(&["run", "balance-inquiry", "who.jsonl"])
        .expect(0);
    sandbox.write("bonus.jsonl", "{\"customerId\":\"c1\",\"points\":5}\n");
    sandbox
        .run(&["run", "balance-adjustment", "bonus.jsonl"])
        .expect(0);
    sandbox.write("order.jsonl", "\"no-order\"\n");
    let ran = sandbox.run(&["run", "orders/transactions", "order.jsonl"]);
    ran.expect(4).shows("4004");
}

#[test]
fn tables_and_documents_are_worked_like_lines() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "who.json",
        r#"{"body": [{"customerId": "ada"}, {"customerId": "bob"}]}"#,
    );
    let ran = sandbox
        .run(&["run", "customers", "who.json", "--json"])
        .expect(0);
    assert_eq!(ran.json()["succeeded"], 2);
    let table = "customerId,transactionId,transactionTime,amount,configurations.returnWindow\r\n\
                 ada,t1,2025-03-14T10:00:00Z,150.75,7300\r\n";
    sandbox.write("purchases.csv", table);
    sandbox.run(&["run", "cashback", "purchases.csv"]).expect(0);
    let balance = sandbox.run(&["balance", "ada", "--json"]).expect(0).json();
    assert_eq!(balance["pendingPoints"], 150);
}

#[test]
fn a_batch_has_the_label_it_was_given() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    let ran = sandbox.run(&["run", "cashback", "purchases.jsonl", "--label", "spring"]);
    ran.expect(0);
    assert_eq!(
        sandbox.run(&["status", "1", "--json"]).json()["label"],
        "spring"
    );
}

#[test]
fn deleted_batches_still_count_as_imported() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(3));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let pruned = sandbox.run(&["prune", "--older-than", "0s", "--json"]);
    assert_eq!(
        pruned.expect(0).json(),
        json!({"deletedBatches": 1, "keptStoppedBatches": 0})
    );
    let again = sandbox.run(&["run", "cashback", "purchases.jsonl", "--json"]);
    let again = again.expect(0).says("nothing was changed").json();
    assert_eq!(again["deleted"], 3);
}

#[test]
fn the_programme_of_a_file_is_in_force() {
    let sandbox = Sandbox::new();
    sandbox.write("program.toml", "earn_rate = \"2.5\"\ncurrency = \"EUR\"\n");
    sandbox.write("purchases.jsonl", &purchases(10));
    let program = ["--program", "program.toml"];
    let run = [&["run", "cashback", "purchases.jsonl"], &program[..]].concat();
    sandbox.run(&run).expect(0);
    let balance = [&["balance", "c0", "--json"], &program[..]].concat();
    let balance = sandbox.run(&balance).expect(0).json();
    assert_eq!(balance["totalPointsBalance"], 2);
    assert_eq!(balance["currency"], "EUR");
}

#[test]
fn the_programme_in_the_documentation_is_acceptable() {
    let sandbox = Sandbox::new();
    let readme = include_str!("../../README.md");
    let program = readme.split("```toml\n").nth(1).unwrap();
    let program = program.split("```").next().unwrap();
    sandbox.write("program.toml", program);
    sandbox.write("purchases.jsonl", &purchases(1));
    let run = [
        "run",
        "cashback",
        "purchases.jsonl",
        "--program",
        "program.toml",
    ];
    sandbox.run(&run).expect(0);
}
