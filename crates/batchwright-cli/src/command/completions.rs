//! `completions`: a script for a shell.

use crate::arguments::Arguments;
use crate::ending::Ending;
use crate::error::Error;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

pub(crate) fn completions(shell: Shell, out: &mut dyn Write) -> Result<Ending, Error> {
    // Into memory: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "batchwright", &mut script);
    out.write_all(&script)?;
    Ok(Ending::Clean)
}
