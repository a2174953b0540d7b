//! `batchwright`: loyalty operations from files, on a store that survives everything.
//!
//! Results go to standard output, all else to standard error. What the exit codes mean is in `error.rs`.

mod arguments;
mod batch_document;
mod check;
mod closed_pipe;
mod columns;
mod command;
mod demo;
mod ending;
mod error;
mod examples;
mod failed_items;
mod input;
mod interrupt;
mod members;
mod operation_kind;
mod progress;
mod store;
mod summary;
mod work;

use arguments::{Arguments, Command, Global};
use clap::Parser;
use closed_pipe::ClosedPipe;
use ending::Ending;
use error::Error;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use store::Store;

fn main() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    let ended = run(&global, command, &mut out).and_then(|ending| match out.flush() {
        // Nobody reads it, but the exit code is known.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ending),
    });
    let code = match ended {
        Ok(ending) => ending.exit_code(),
        Err(error) if error.is_closed_pipe() => 0,
        Err(error) => {
            progress::say(&error.to_string());
            error.exit_code()
        }
    };
    ExitCode::from(code)
}

fn run(global: &Global, command: Command, out: &mut dyn Write) -> Result<Ending, Error> {
    let store = || Store::of(global);
    let json = global.json;
    // Of those whose exit code says what they found: they go on to it, also when nobody reads them.
    let mut to_the_end = ClosedPipe(&mut *out);
    match command {
        Command::Run(arguments) => command::run(&store()?, &arguments, json, &mut to_the_end),
        Command::Status { id: Some(id) } => command::status(&store()?.look()?, id, json, out),
        Command::Status { id: None } => command::overview(&store()?, json, out),
        Command::List(arguments) => command::list(&store()?, &arguments, json, out),
        Command::Outcomes(arguments) => command::outcomes(&store()?, &arguments, json, out),
        Command::Stop { id } => command::stop(&store()?, id, json, out),
        Command::Resume { id } => command::resume(&store()?, id, json, &mut to_the_end),
        Command::Retry { id } => command::retry(&store()?, id, json, &mut to_the_end),
        Command::Resolve(arguments) => command::resolve(&store()?, arguments, json, out),
        Command::Balance { customer } => command::balance(&store()?, customer, json, out),
        Command::History { customer, limit } => {
            command::history(&store()?, customer, limit, json, out)
        }
        Command::Audit => command::audit(&store()?, json, &mut to_the_end),
        Command::Verify => command::verify(&store()?, json, &mut to_the_end),
        Command::Backup { to } => command::backup(&store()?, &to, json, &mut to_the_end),
        Command::Salvage { dir, to } => command::salvage(&dir, &to, json, &mut to_the_end),
        Command::Stats => command::stats(&store()?, json, out),
        Command::Prune { older_than } => command::prune(&store()?, older_than, json, out),
        Command::Operations { operation } => command::operations(operation.as_deref(), json, out),
        Command::Demo { customers } => demo::demo(global, customers, &mut to_the_end),
        Command::Completions { shell } => command::completions(shell, out),
    }
}
