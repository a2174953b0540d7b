//! The commands that read, as text and as JSON.

use crate::sandbox::{Sandbox, purchases, redemption};
use batchwright::loyalty::Time;
use serde_json::json;

/// Batch 1: 20 purchases. Batch 2: a redemption that succeeds and one that fails.
fn with_two_batches() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(20));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    let items = redemption("r1", "c1", 1) + &redemption("r2", "c1", 100);
    sandbox.write("redeem.jsonl", &items);
    sandbox.run(&["run", "redeem", "redeem.jsonl"]).expect(4);
    sandbox
}

#[test]
fn a_batch_is_shown_with_its_counts_and_its_times_in_utc() {
    let sandbox = with_two_batches();
    sandbox
        .run(&["status", "2"])
        .expect(0)
        .shows("completed")
        .shows("9008");
    let status = sandbox.run(&["status", "2", "--json"]).expect(0).json();
    assert_eq!(status["operation"], "redeem");
    assert_eq!(status["state"], "completed");
    assert_eq!(status["succeeded"], 1);
    assert_eq!(status["failures"], json!({"9008": 1}));
    for time in ["createdAt", "startedAt", "endedAt"] {
        let text = status[time].as_str().unwrap();
        assert!(
            text.ends_with('Z') && text.parse::<Time>().is_ok(),
            "{text}"
        );
    }
}

#[test]
fn the_overview_has_what_is_unfinished_and_looking_processes_nothing() {
    let sandbox = with_two_batches();
    let id = sandbox.queue_purchases(&["ada"]);
    sandbox
        .run(&["status"])
        .expect(0)
        .shows("1 unfinished batches, 2 ended")
        .shows("queued");
    for _ in 0..2 {
        let overview = sandbox.run(&["status", "--json"]).expect(0).json();
        assert_eq!(overview["unfinished"][0]["id"], u64::from(id));
        assert_eq!(overview["unfinished"][0]["state"], "queued");
        assert_eq!(overview["endedBatches"], 2);
    }
    sandbox.run(&["balance", "ada"]).expect(3);
}

#[test]
fn batches_are_listed_newest_first_and_picked() {
    let sandbox = with_two_batches();
    sandbox.queue_purchases(&["ada"]);
    let ids = |arguments: &[&str]| -> Vec<u64> {
        let ran = sandbox
            .run(&[&["list", "--json"], arguments].concat())
            .expect(0);
        let ids = ran.json_lines();
        ids.iter()
            .map(|batch| batch["id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(ids(&[]), [3, 2, 1]);
    assert_eq!(ids(&["--limit", "2"]), [3, 2]);
    assert_eq!(ids(&["--below", "3"]), [2, 1]);
    assert_eq!(ids(&["--state", "queued"]), [3]);
    assert_eq!(ids(&["--operation", "cashback"]), [3, 1]);
    assert_eq!(
        ids(&["--operation", "cashback", "--state", "completed"]),
        [1]
    );
    sandbox
        .run(&["list"])
        .expect(0)
        .shows("OPERATION")
        .shows("redeem");
    sandbox
        .run(&["list", "--limit", "1"])
        .expect(0)
        .says("there are more");
    sandbox
        .run(&["list", "--state", "stopped"])
        .expect(0)
        .says("no batches");
}

#[test]
fn outcomes_come_as_a_table_as_lines_of_json_and_as_csv() {
    let sandbox = with_two_batches();
    let table = sandbox.run(&["outcomes", "2"]).expect(0);
    table
        .shows("redeemEquivalentPoints=1")
        .shows("9008: 100 points are wanted");

    let lines = sandbox
        .run(&["outcomes", "2", "--format", "json"])
        .expect(0)
        .json_lines();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["outcome"], "succeeded");
    assert_eq!(lines[0]["output"]["redeemEquivalentPoints"], 1);
    assert_eq!(lines[1]["outcome"], "failed");
    assert_eq!(lines[1]["failure"]["code"], "9008");
    let same = sandbox.run(&["outcomes", "2", "--json"]).json_lines();
    assert_eq!(same, lines);
    let failed = sandbox
        .run(&["outcomes", "2", "--json", "--failed"])
        .json_lines();
    assert_eq!(failed, lines[1..]);

    let csv = sandbox
        .run(&["outcomes", "2", "--format", "csv"])
        .expect(0)
        .out;
    let rows: Vec<&str> = csv.lines().collect();
    assert!(
        rows[0].starts_with("index,outcome,attempts,endedAt,code,error,field,output.customerId,")
    );
    assert!(rows[1].starts_with("0,succeeded,1,") && rows[1].contains(",c1,r1,"));
    assert!(rows[2].contains(",9008,\"100 points are wanted,"));
}

#[test]
fn money_is_printed_to_the_last_digit() {
    let sandbox = Sandbox::new();
    let amount = "123456789012345.12";
    sandbox.write("purchase.jsonl", &purchases(1).replace("1.00", amount));
    sandbox
        .run(&["run", "cashback", "purchase.jsonl"])
        .expect(0);
    sandbox
        .run(&["history", "c0", "--json"])
        .expect(0)
        .shows(amount);
    let worth = "12345678901234.5";
    sandbox
        .run(&["outcomes", "1", "--json"])
        .expect(0)
        .shows(&format!("{worth},"));
    sandbox
        .run(&["outcomes", "1", "--format", "csv"])
        .expect(0)
        .shows(worth);
    sandbox
        .run(&["balance", "c0", "--json"])
        .expect(0)
        .shows(&format!("{worth},"));
}

#[test]
fn a_customer_has_a_balance_and_a_history_newest_first() {
    let sandbox = with_two_batches();
    sandbox
        .run(&["balance", "c1"])
        .expect(0)
        .shows("totalPointsBalance");
    let balance = sandbox.run(&["balance", "c1", "--json"]).expect(0).json();
    assert_eq!(balance["availablePointsBalance"], 1);

    let history = sandbox
        .run(&["history", "c1", "--json"])
        .expect(0)
        .json_lines();
    let points: Vec<_> = history
        .iter()
        .map(|entry| entry["points"].as_i64().unwrap())
        .collect();
    assert_eq!(points, [-1, 1, 1]);
    let limited = sandbox.run(&["history", "c1", "--limit", "1"]).expect(0);
    let limited = limited.shows("redemption").says("there are more");
    assert!(!limited.out.contains("cashback"));
}

#[test]
fn figures_count_the_batches_of_each_operation() {
    let sandbox = with_two_batches();
    sandbox.run(&["stats"]).expect(0).shows("cashback");
    let stats = sandbox.run(&["stats", "--json"]).expect(0).json();
    assert_eq!(stats["operations"]["cashback"]["succeeded"], 20);
    assert_eq!(stats["operations"]["redeem"]["failed"], 1);
    assert!(stats["sizeOnDiskBytes"].as_u64().unwrap() > 0);
}

#[test]
fn operations_are_listed_with_their_fields_and_need_no_store() {
    let sandbox = Sandbox::new();
    let all = sandbox.run(&["operations", "--json"]).expect(0).json();
    assert_eq!(all.as_array().unwrap().len(), 10);
    let one = sandbox
        .run(&["operations", "balance-inquiry", "--json"])
        .expect(0)
        .json();
    assert_eq!(one[0]["name"], "balance");
    assert_eq!(
        one[0]["fields"][0],
        json!({"name": "customerId", "required": true, "expected": "a text"})
    );
    sandbox
        .run(&["operations", "cashback"])
        .expect(0)
        .shows("customerId*");
    sandbox.run(&["operations", "nonsense"]).expect(3);
    assert!(!sandbox.has_store());
}

#[test]
fn every_command_has_help_and_shells_have_completions() {
    let sandbox = Sandbox::new();
    for command in [
        "run",
        "status",
        "list",
        "outcomes",
        "stop",
        "resume",
        "retry",
        "balance",
        "history",
        "audit",
        "stats",
        "prune",
        "operations",
        "demo",
        "completions",
    ] {
        sandbox.run(&[command, "--help"]).expect(0).shows("Example");
    }
    for shell in ["bash", "fish", "zsh"] {
        sandbox
            .run(&["completions", shell])
            .expect(0)
            .shows("batchwright");
    }
    sandbox
        .run(&["--version"])
        .expect(0)
        .shows(env!("CARGO_PKG_VERSION"));
}
