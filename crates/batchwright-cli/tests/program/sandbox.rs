//! A directory with a store and files in it, and the program run there.

use batchwright::loyalty::{self, CashbackItem, Program, Time};
use batchwright::{BatchId, Builder, Queue};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub(crate) struct Sandbox {
    dir: TempDir,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The program with these arguments, which works on the directory's default store.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batchwright"));
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let output = self.command(arguments).output().unwrap();
        Ran::new(arguments, &output)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("batchwright-data")
    }

    pub(crate) fn has_store(&self) -> bool {
        self.store().exists()
    }

    /// The store, as another program has it open.
    pub(crate) fn builder(&self) -> Builder {
        loyalty::register_all(Queue::builder(self.store()), &Program::default()).unwrap()
    }

    /// A batch of cashbacks that nobody has worked yet, with one point for each of these customers.
    pub(crate) fn queue_purchases(&self, customers: &[&str]) -> BatchId {
        let queue = self.builder().without_workers().open().unwrap();
        let time: Time = "2025-03-14T10:00:00Z".parse().unwrap();
        let items = customers.iter().map(|customer| {
            let id = format!("of-{customer}");
            CashbackItem::new(*customer, id, time, "1.00".parse().unwrap())
        });
        queue.submit::<loyalty::Cashback>(items).unwrap().id()
    }
}

/// Purchases of 1.00 each, of ten customers, as JSON lines.
pub(crate) fn purchases(count: usize) -> String {
    let mut lines = String::new();
    for n in 0..count {
        let customer = n % 10;
        writeln!(
            lines,
            r#"{{"customerId":"c{customer}","transactionId":"t{n}","transactionTime":"2025-03-14T10:00:00Z","amount":1.00}}"#
        )
        .unwrap();
    }
    lines
}

pub(crate) fn redemption(id: &str, customer: &str, points: u64) -> String {
    format!(
        r#"{{"customerId":"{customer}","transactionId":"{id}","transactionTime":"2025-03-14T10:00:00Z","points":{points}}}"#
    ) + "\n"
}

/// What came out of a run.
#[derive(Debug)]
pub(crate) struct Ran {
    arguments: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn new(arguments: &[&str], output: &Output) -> Self {
        Self {
            arguments: arguments.join(" "),
            code: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            err: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}: {self:#?}", self.arguments);
        self
    }

    /// Standard error has this text.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.err.contains(text),
            "{}: {text:?} is missing in {self:#?}",
            self.arguments
        );
        self
    }

    /// Standard output has this text.
    #[track_caller]
    pub(crate) fn shows(self, text: &str) -> Self {
        assert!(
            self.out.contains(text),
            "{}: {text:?} is missing in {self:#?}",
            self.arguments
        );
        self
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The JSON documents on standard output, one a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        json_lines(&self.out)
    }
}

#[track_caller]
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
