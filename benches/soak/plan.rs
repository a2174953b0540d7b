//! How long, how much, and how often.

use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// Loads a queue for a time and watches its memory and its size on disk.
#[derive(Debug, Parser)]
#[command(name = "soak")]
pub(crate) struct Arguments {
    /// Minutes of load. Batches are kept for a tenth of it.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    minutes: f64,
    /// Where the choices come from; what they meet depends on the time too.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Submissions a second, of 1 to 600 items.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    batches_per_second: f64,
    /// Where to write the curve as comma-separated values too.
    #[arg(long)]
    csv: Option<PathBuf>,
    /// A run of six seconds, whose curve is not judged.
    #[arg(long)]
    test: bool,
    /// Said by `cargo bench`; makes no difference.
    #[arg(long, hide = true)]
    bench: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "this is not a number".to_owned())?;
    if number.is_finite() && number > 0.0 {
        Ok(number)
    } else {
        Err("it must be above 0".to_owned())
    }
}

pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) batches_per_second: f64,
    /// The queue is opened again after each.
    pub(crate) turns: u32,
    pub(crate) turn: Duration,
    /// How long ended batches and idempotency keys are kept.
    pub(crate) keep: Duration,
    /// Whether growth is a failure.
    pub(crate) judged: bool,
    pub(crate) csv: Option<PathBuf>,
}

impl Plan {
    pub(crate) fn read() -> Self {
        let arguments = Arguments::parse();
        let _ = arguments.bench;
        let (turns, run, batches_per_second) = if arguments.test {
            (6, Duration::from_secs(6), 40.0)
        } else {
            let run = Duration::from_secs_f64(arguments.minutes * 60.0);
            (60, run, arguments.batches_per_second)
        };
        Self {
            seed: arguments.seed,
            batches_per_second,
            turns,
            turn: run / turns,
            keep: run / 10,
            judged: !arguments.test,
            csv: arguments.csv,
        }
    }
}
