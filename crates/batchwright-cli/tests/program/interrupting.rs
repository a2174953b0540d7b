//! Signals: what is interrupted goes on with the same command, and nothing is done twice.

use crate::sandbox::{Ran, Sandbox, purchases};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

const ITEMS: usize = 4_000;
const RUN: [&str; 4] = ["run", "cashback", "purchases.jsonl", "--json"];

/// Starts a run, sends it a signal when it has begun to store, and waits for its end.
fn interrupt(sandbox: &Sandbox, signal: &str) -> Ran {
    let mut command = sandbox.command(&RUN);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    // Said after the check, before the store is opened.
    err.read_line(&mut said).unwrap();
    assert!(said.contains("all acceptable"), "{said}");
    while !sandbox.store().join("seal").exists() {
        thread::yield_now();
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
    assert!(sent.success());
    err.read_to_string(&mut said).unwrap();
    let output = child.wait_with_output().unwrap();
    let mut ran = Ran::new(&RUN, &output);
    ran.err = said;
    ran
}

#[track_caller]
fn finishes_and_adds_up(sandbox: &Sandbox) {
    let ran = sandbox.run(&RUN).expect(0).json();
    assert_eq!(ran["succeeded"], ITEMS);
    assert_eq!(ran["alreadyDone"], 0);
    let audit = sandbox.run(&["audit", "--json"]).expect(0).json();
    assert_eq!(audit["points"], ITEMS);
}

#[test]
fn ctrl_c_ends_cleanly_and_the_same_command_goes_on() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(ITEMS));
    let ran = interrupt(&sandbox, "-INT").expect(130);
    let ran = ran.says("interrupted; the same command goes on");
    assert_eq!(ran.out, "");
    finishes_and_adds_up(&sandbox);
}

#[test]
fn sigterm_ends_as_cleanly_as_ctrl_c() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(ITEMS));
    interrupt(&sandbox, "-TERM").expect(130);
    finishes_and_adds_up(&sandbox);
}

#[test]
fn a_run_that_is_killed_goes_on_and_loses_and_doubles_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("purchases.jsonl", &purchases(ITEMS));
    let ran = interrupt(&sandbox, "-KILL");
    assert_eq!(ran.code, None, "{ran:#?}");
    finishes_and_adds_up(&sandbox);
}
