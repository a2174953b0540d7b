//! A stand-in for the program: reads a file and says what is in it.

mod input;

use batchwright::loyalty::{CashbackItem, Fields, OrderId};
use clap::Parser;
use input::{Format, InputError, InputFile, Items};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
struct Arguments {
    file: PathBuf,
    #[arg(long)]
    format: Option<Format>,
    /// The items are order ids.
    #[arg(long)]
    texts: bool,
    /// Print the items.
    #[arg(long)]
    show: bool,
}

fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let fields = if arguments.texts {
        OrderId::FIELDS
    } else {
        CashbackItem::FIELDS
    };
    let file = arguments.file.display();
    let opened = InputFile::open(&arguments.file, arguments.format, fields);
    let read = opened.and_then(|mut input| show(input.items()?, arguments.show));
    match read {
        Ok(text) => {
            writeln!(std::io::stdout(), "{text}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            writeln!(std::io::stdout(), "{file}: {error} [{:?}]", error.line())?;
            Ok(ExitCode::from(3))
        }
    }
}

fn show(mut items: Items<'_>, all: bool) -> Result<String, InputError> {
    let mut out = std::io::stdout().lock();
    let (mut good, mut bytes, mut bad) = (0, 0, 0);
    for item in &mut items {
        match item {
            Ok(item) => {
                good += 1;
                bytes += item.json.len();
                if all {
                    let _ = writeln!(out, "{}: {}", item.line, item.json);
                }
            }
            Err(error) if error.is_of_one_item() => {
                bad += 1;
                let _ = writeln!(out, "{error}");
            }
            Err(error) => return Err(error),
        }
    }
    let sum = items.sha256()?;
    Ok(format!(
        "{good} items, {bytes} bytes of JSON, {bad} bad, {sum:02x?}"
    ))
}
