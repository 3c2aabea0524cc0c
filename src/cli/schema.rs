//! `harness schema`: Print the JSON Schema of scenarios or reports.

use std::io::Write as _;

use super::Exit;
use crate::scenario::Scenario;

/// Print the JSON Schema of scenarios or reports.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Of which file
    #[arg(value_enum, default_value_t = Format::Scenario)]
    format: Format,
}

/// A file format with a schema.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// What `harness run` reads.
    Scenario,
}

pub(super) fn run(args: &Args) -> Exit {
    let schema = match args.format {
        Format::Scenario => Scenario::json_schema(),
    };
    match writeln!(std::io::stdout().lock(), "{schema:#}") {
        Ok(()) => Exit::Pass,
        // A reader that has seen enough is no error.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Pass,
        Err(error) => {
            eprintln!("error: the schema cannot be written to stdout: {error}");
            Exit::Error
        }
    }
}
