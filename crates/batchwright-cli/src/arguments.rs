//! The command line.

use crate::examples;
use crate::input::Format;
use batchwright::{State, limits};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

/// Works batches of loyalty operations from files: every item exactly once, through crashes and power cuts.
///
/// A store is a directory. `run` puts the items of a file into it and works them; the same command again goes on
/// where it was interrupted, and does nothing twice. One process at a time may have a store open.
#[derive(Debug, Parser)]
#[command(name = "batchwright", version, after_help = examples::PROGRAM)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EVERYWHERE: &str = "Options of every command";

#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The store's directory [default: ./batchwright-data]
    #[arg(long, value_name = "DIR", global = true, help_heading = EVERYWHERE)]
    pub(crate) store: Option<PathBuf>,
    /// The programme's settings, as TOML: currency, earn_rate = "0.1" and so on [default: a point for each unit of
    /// money, worth a tenth of it]
    #[arg(long, value_name = "FILE", global = true, help_heading = EVERYWHERE)]
    pub(crate) program: Option<PathBuf>,
    /// Print results as JSON: one document, or one a line where there are many
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit the items of a file and work them to the end
    #[command(after_help = examples::RUN)]
    Run(RunArguments),
    /// Show a batch, or what is unfinished and what came last
    #[command(after_help = examples::STATUS)]
    Status {
        /// The batch
        id: Option<u64>,
    },
    /// List batches, newest first
    #[command(after_help = examples::LIST)]
    List(ListArguments),
    /// Show how the items of a batch ended
    #[command(after_help = examples::OUTCOMES)]
    Outcomes(OutcomesArguments),
    /// Stop a batch: items without an outcome do not run until it is resumed
    #[command(after_help = examples::STOP)]
    Stop {
        /// The batch
        id: u64,
    },
    /// Let a stopped batch go on, and work it to the end
    #[command(after_help = examples::RESUME)]
    Resume {
        /// The batch
        id: u64,
    },
    /// Run the failed items of a batch again, as a new batch, and work it to the end
    #[command(after_help = examples::RETRY)]
    Retry {
        /// The batch
        id: u64,
    },
    /// Say what became of an item that is in doubt
    #[command(after_help = examples::RESOLVE)]
    Resolve(ResolveArguments),
    /// Show a customer's balance
    #[command(after_help = examples::BALANCE)]
    Balance {
        /// The customer's id
        customer: String,
    },
    /// Show what moved a customer's points, newest first
    #[command(after_help = examples::HISTORY)]
    History {
        /// The customer's id
        customer: String,
        /// How many entries at most [default: 100, and all with --json]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// Compute every balance anew from its entries, and tell each difference
    #[command(after_help = examples::AUDIT)]
    Audit,
    /// Check that nothing in the store is lost or changed: every record, every batch, every balance
    #[command(after_help = examples::VERIFY)]
    Verify,
    /// Copy the store, which nobody may have open, into a new directory
    #[command(after_help = examples::BACKUP)]
    Backup {
        /// A new or empty directory
        #[arg(value_name = "NEW")]
        to: PathBuf,
    },
    /// Copy all that can be read of a damaged store into a new one, and say what is lost
    #[command(after_help = examples::SALVAGE)]
    Salvage {
        /// The damaged store, which stays as it is
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// A new or empty directory
        #[arg(value_name = "NEW")]
        to: PathBuf,
    },
    /// Show what the store has done and has to do, by operation
    #[command(after_help = examples::STATS)]
    Stats,
    /// Delete ended batches with their items and outcomes; points, histories and transaction ids stay
    #[command(after_help = examples::PRUNE)]
    Prune {
        /// How long ago they ended at least, such as 30d, 12h or 0s
        #[arg(long, value_name = "AGE", value_parser = age)]
        older_than: Duration,
    },
    /// List the operations with the fields of their items
    #[command(after_help = examples::OPERATIONS)]
    Operations {
        /// Only this one
        operation: Option<String>,
    },
    /// Work a made-up data set through all operations, and audit it
    #[command(after_help = examples::DEMO)]
    Demo {
        /// How many customers; each makes ten purchases
        #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
        customers: u32,
    },
    /// Print a script that completes commands in a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// What to do with the items: see `batchwright operations`
    pub(crate) operation: String,
    /// JSON (an array, or an object with an array `body`), JSON lines, or CSV with a heading
    pub(crate) file: PathBuf,
    /// What the file is, when its name and its beginning do not say
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Write the items that failed to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) errors: Option<PathBuf>,
    /// Import the file anew, though it was imported before
    #[arg(long)]
    pub(crate) again: bool,
    /// A note for listings
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub(crate) label: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Only batches in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateArgument>,
    /// Only batches of this operation
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,
    /// How many at most [default: 20, and all with --json]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// Only batches with a lower id: for the next page the last id of this one
    #[arg(long, value_name = "ID")]
    pub(crate) below: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct OutcomesArguments {
    /// The batch
    pub(crate) id: u64,
    /// How to print them; json is a line an item
    #[arg(long, value_enum, default_value_t = OutcomesFormat::Table)]
    pub(crate) format: OutcomesFormat,
    /// Only the items that failed
    #[arg(long)]
    pub(crate) failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutcomesFormat {
    Json,
    Csv,
    Table,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArgument {
    Queued,
    Running,
    Completed,
    Stopped,
}

impl From<StateArgument> for State {
    fn from(state: StateArgument) -> Self {
        match state {
            StateArgument::Queued => Self::Queued,
            StateArgument::Running => Self::Running,
            StateArgument::Completed => Self::Completed,
            StateArgument::Stopped => Self::Stopped,
        }
    }
}

fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("{error}; an age is a number with a unit, such as 30d or 12h"))
}

fn label(text: &str) -> Result<String, String> {
    let most = limits::NAME_BYTES;
    if text.is_empty() || text.len() > most {
        return Err(format!("a label has 1 to {most} bytes"));
    }
    Ok(text.to_owned())
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArguments {
    /// The batch
    pub(crate) id: u64,
    /// The item, from 0
    pub(crate) item: usize,
    /// It succeeded, with this output, as JSON
    #[arg(
        long,
        value_name = "JSON",
        conflicts_with = "failed",
        required_unless_present = "failed"
    )]
    pub(crate) succeeded: Option<String>,
    /// It failed, with this code
    #[arg(long, value_name = "CODE")]
    pub(crate) failed: Option<String>,
    /// And this message
    #[arg(long, requires = "failed", default_value = "resolved by hand")]
    pub(crate) message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        Arguments::command().debug_assert();
    }
}
