//! A program that is built with `panic = "abort"`: it submits a batch whose second item panics, and so ends.
//!
//! Started by `abort.rs` with the store's directory, the kind of operation, and a file in which handlers note
//! what they do.

use batchwright::{AtLeastOnce, Context, ExactlyOnce, Failure, Operation, Queue, Table};
use std::error::Error;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

/// As `abort.rs` has it.
const SUMS: Table<str, u64> = Table::new("sums");

/// Notes its keys, and panics at item 2.
struct Call(PathBuf);

impl Operation for Call {
    const NAME: &'static str = "call";
    type Item = u64;
    type Output = u64;
    type Guarantee = AtLeastOnce;

    fn run(&self, n: u64, cx: &mut Context<AtLeastOnce>) -> Result<u64, Failure> {
        note(&self.0, &format!("{n} {}", cx.idempotency_key()));
        assert_ne!(n, 2, "the process ends here");
        Ok(n)
    }
}

/// Writes its item to a table, and panics at item 2 when it has.
struct Post(PathBuf);

impl Operation for Post {
    const NAME: &'static str = "post";
    type Item = u64;
    type Output = u64;
    type Guarantee = ExactlyOnce;

    fn run(&self, n: u64, cx: &mut Context<ExactlyOnce>) -> Result<u64, Failure> {
        let sum = cx.get(&SUMS, "sum")?.unwrap_or(0) + n;
        cx.put(&SUMS, "sum", &sum)?;
        note(&self.0, &format!("{n}"));
        assert_ne!(n, 2, "the process ends here");
        Ok(n)
    }
}

/// A line that outlives the process.
fn note(file: &PathBuf, line: &str) {
    let file = OpenOptions::new().create(true).append(true).open(file);
    let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    // Nobody finds the line then, which fails the test.
    drop(written);
}

fn main() -> Result<(), Box<dyn Error>> {
    if !cfg!(panic = "abort") {
        return Err("this program is to be built with panic = abort".into());
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [dir, kind, notes] = &arguments[..] else {
        return Err("a directory, an operation and a file are needed".into());
    };
    let queue = Queue::builder(dir)
        .workers(1)
        .register(Call(notes.into()))
        .register(Post(notes.into()))
        .open()?;
    match kind.as_str() {
        "call" => queue.submit::<Call>([1, 2, 3])?.wait()?,
        _ => queue.submit::<Post>([1, 2, 3])?.wait()?,
    };
    Err("a batch has ended though its handler panicked".into())
}
