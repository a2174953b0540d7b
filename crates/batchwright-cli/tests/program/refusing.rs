//! What is refused, and that nothing is left behind by it.

use crate::sandbox::{Sandbox, purchases, redemption};
use batchwright::{Context, ExactlyOnce, Table};
use serde_json::Value;
use std::fs;
use std::io;
use std::process::{self, Stdio};

#[test]
fn every_bad_item_is_listed_with_its_line_and_nothing_is_stored() {
    let sandbox = Sandbox::new();
    let items = redemption("r1", "c1", 1)
        + "{\"customerId\":\"c1\"}\n"
        + "{nonsense\n"
        + &redemption("r2", "c1", 0)
        + &redemption("r3", "c1", 1).replace("00Z", "00");
    sandbox.write("bad.jsonl", &items);
    let ran = sandbox.run(&["run", "redeem", "bad.jsonl"]).expect(3);
    let ran = ran
        .says("bad.jsonl: line 2: 3000: transactionId")
        .says("bad.jsonl: line 3: not JSON")
        .says("bad.jsonl: line 4: 3003: points")
        .says("bad.jsonl: line 5: 9007: transactionTime")
        .says("4 of 5 items of bad.jsonl are not acceptable; nothing is stored");
    assert_eq!(ran.out, "");
    assert!(!sandbox.has_store());
}

#[test]
fn of_many_problems_the_first_hundred_are_shown_and_the_others_counted() {
    let sandbox = Sandbox::new();
    sandbox.write("bad.jsonl", &"{}\n".repeat(250));
    let ran = sandbox.run(&["run", "cashback", "bad.jsonl"]).expect(3);
    let ran = ran.says("line 100: 3000").says("and 150 more");
    assert!(!ran.err.contains("line 101:"), "{ran:#?}");
}

#[test]
fn an_item_that_is_too_large_to_be_stored_is_refused_by_its_line() {
    let sandbox = Sandbox::new();
    let large = "x".repeat(61 << 10);
    sandbox.write(
        "large.jsonl",
        &format!("{{\"customerId\":\"c\",\"events\":{{\"visit\":{{\"page\":\"{large}\"}}}}}}\n"),
    );
    sandbox
        .run(&["run", "events", "large.jsonl"])
        .expect(3)
        .says("line 1");
    assert!(!sandbox.has_store());
}

#[test]
fn what_is_no_file_of_items_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("empty.jsonl", "");
    sandbox.write("none.json", "[]");
    sandbox.write("cut.json", "[{\"customerId\":\"c1\"},");
    sandbox.write("columns.csv", "customerId,colour\nc1,red\n");
    let files = [
        "missing.jsonl",
        ".",
        "empty.jsonl",
        "none.json",
        "cut.json",
        "columns.csv",
    ];
    for file in files {
        sandbox
            .run(&["run", "customers", file])
            .expect(3)
            .says(file);
    }
    assert!(!sandbox.has_store());
}

#[test]
fn an_unknown_operation_is_refused_with_those_that_are_known() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    let ran = sandbox.run(&["run", "cashbacks", "purchases.jsonl"]);
    ran.expect(3).says("cashbacks").says("order-transactions");
    assert!(!sandbox.has_store());
}

#[test]
fn wrong_usage_ends_with_2() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["run"][..],
        &["nonsense"],
        &["prune", "--older-than", "old"],
        &["status", "first"],
        &["run", "cashback", "f", "--format", "xml"],
    ] {
        sandbox.run(arguments).expect(2);
    }
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_looking() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["status"][..],
        &["status", "1"],
        &["list"],
        &["outcomes", "1"],
        &["balance", "ada"],
        &["history", "ada"],
        &["audit"],
        &["stats"],
        &["stop", "1"],
        &["resume", "1"],
        &["retry", "1"],
        &["prune", "--older-than", "0s"],
    ] {
        sandbox.run(arguments).expect(3).says("there is no store");
    }
    assert!(!sandbox.has_store());
    // Neither in a directory that is there.
    fs::create_dir(sandbox.store()).unwrap();
    sandbox.run(&["status"]).expect(3);
    assert_eq!(fs::read_dir(sandbox.store()).unwrap().count(), 0);
}

#[test]
fn what_is_not_in_the_store_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    for arguments in [
        &["status", "9"][..],
        &["outcomes", "9"],
        &["stop", "9"],
        &["resume", "9"],
        &["retry", "9"],
    ] {
        sandbox.run(arguments).expect(3).says("there is no batch 9");
    }
    for arguments in [&["balance", "nobody"], &["history", "nobody"]] {
        sandbox.run(arguments).expect(3).says("\"nobody\"");
    }
    sandbox.run(&["resume", "1"]).expect(3).says("completed");
    sandbox.run(&["retry", "1"]).expect(3).says("no item");
    sandbox.run(&["list", "--operation", "nonsense"]).expect(3);
}

#[test]
fn a_bad_programme_is_refused_with_its_file_and_setting() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    for (program, setting) in [
        ("earn_rate = 0.1", "earn_rate"),
        ("earn_rat = \"1\"", "earn_rat"),
        ("hold_minutes = 0", "hold_minutes"),
        ("currency = ", "currency"),
    ] {
        sandbox.write("program.toml", program);
        let ran = sandbox.run(&[
            "run",
            "cashback",
            "purchases.jsonl",
            "--program",
            "program.toml",
        ]);
        ran.expect(3).says("program.toml").says(setting);
    }
    let ran = sandbox.run(&["audit", "--program", "missing.toml"]);
    ran.expect(3).says("missing.toml");
    assert!(!sandbox.has_store());
}

#[test]
fn the_input_is_not_overwritten_with_its_errors() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    let ran = sandbox.run(&[
        "run",
        "cashback",
        "purchases.jsonl",
        "--errors",
        "./purchases.jsonl",
    ]);
    ran.expect(3);
    assert_eq!(sandbox.read("purchases.jsonl"), purchases(1));
}

#[test]
fn a_store_in_use_ends_with_5_and_names_the_process() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    let _queue = sandbox.builder().open().unwrap();
    let pid = format!("process {}", process::id());
    for arguments in [
        &["status"][..],
        &["balance", "ada"],
        &["stop", "1"],
        &["resume", "1"],
        &["run", "cashback", "purchases.jsonl"],
    ] {
        sandbox.run(arguments).expect(5).says(&pid);
    }
}

#[test]
fn a_directory_of_other_files_is_not_taken_for_a_store() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(1));
    // The directory that has the purchases.
    let ran = sandbox.run(&["run", "cashback", "purchases.jsonl", "--store", "."]);
    ran.expect(1).says("purchases.jsonl");
}

#[test]
fn an_audit_that_finds_a_difference_ends_with_4() {
    const ACCOUNTS: Table<str, Value> = Table::new("loyalty.accounts");
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(10));
    sandbox
        .run(&["run", "cashback", "purchases.jsonl"])
        .expect(0);
    sandbox
        .run(&["audit"])
        .expect(0)
        .shows("everything adds up");

    let swap = |customer: String, cx: &mut Context<ExactlyOnce>| {
        // An account that its entries do not come to.
        let rich = cx.get(&ACCOUNTS, "c1")?.unwrap();
        cx.put(&ACCOUNTS, customer.as_str(), &rich)?;
        Ok(())
    };
    let queue = sandbox.builder().register_fn("swap", swap).open().unwrap();
    let batch = queue.submit_named("swap", ["c2".to_owned()]).unwrap();
    assert_eq!(batch.wait().unwrap().status.succeeded, 1);
    drop(queue);

    sandbox
        .run(&["audit"])
        .expect(4)
        .shows("c2")
        .says("does not add up");
    let audit = sandbox.run(&["audit", "--json"]).expect(4).json();
    assert_eq!(audit["isClean"], false);
    assert_eq!(audit["differences"][0]["customerId"], "c2");
}

#[test]
fn a_reader_of_the_output_who_leaves_is_no_failure() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["operations"][..],
        &["completions", "bash"],
        &["demo", "--customers", "10"],
    ] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = sandbox.command(arguments);
        let output = command
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}
