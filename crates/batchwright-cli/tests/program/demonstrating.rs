//! `demo`.

use crate::sandbox::Sandbox;
use std::fs;

#[test]
fn the_demo_runs_all_operations_and_its_audit_passes() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["demo", "--customers", "30"]).expect(0);
    let ran = ran.shows("3 x 9008 (expected)").shows("everything adds up");
    for operation in [
        "customers",
        "orders",
        "order-transactions",
        "balance",
        "adjustment",
        "cashback",
        "redeem",
        "events",
        "hold",
        "refund",
    ] {
        assert!(
            ran.out.lines().any(|line| line.starts_with(operation)),
            "{operation}: {ran:#?}"
        );
    }
    // It has cleaned up after itself.
    assert_eq!(fs::read_dir(sandbox.path(".")).unwrap().count(), 0);
}

#[test]
fn a_second_demo_in_a_store_changes_nothing_and_says_so() {
    let sandbox = Sandbox::new();
    let demo = ["demo", "--customers", "20", "--store", "data", "--json"];
    let first = sandbox.run(&demo).expect(0).json();
    let second = sandbox
        .run(&demo)
        .expect(0)
        .says("nothing was changed")
        .json();
    assert_eq!(second["audit"], first["audit"]);
    assert_eq!(second["balances"], first["balances"]);
    assert_eq!(first["steps"].as_array().unwrap().len(), 10);
    for step in second["steps"].as_array().unwrap() {
        assert_eq!(step["endedBefore"], step["items"], "{step}");
        assert_eq!(step["isAsExpected"], true, "{step}");
    }
    // Another size is another data set, and does not disturb the first.
    sandbox
        .run(&["demo", "--customers", "21", "--store", "data"])
        .expect(0);
    sandbox.run(&demo).expect(0).says("nothing was changed");
}
