//! `harness schema`: Print the JSON Schema of a file.

use std::io::Write as _;

use super::Exit;
use crate::capacity::Capacity;
use crate::gate::compare::{Comparison, Side};
use crate::record::Event;
use crate::report;
use crate::scenario::Scenario;
use crate::turn::probe;

/// Print the JSON Schema of a file
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
    /// `report.json`.
    Report,
    /// A line of `events.ndjson`.
    Event,
    /// `capacity.json`.
    Capacity,
    /// What `harness compare --json` writes.
    Comparison,
    /// What `harness baseline accept` writes.
    Baseline,
    /// What `harness probe --json` writes.
    Probe,
}

pub(super) fn run(args: &Args) -> Exit {
    let schema = match args.format {
        Format::Scenario => Scenario::json_schema(),
        Format::Report => report::json_schema(),
        Format::Event => Event::json_schema(),
        Format::Capacity => Capacity::json_schema(),
        Format::Comparison => Comparison::json_schema(),
        Format::Baseline => Side::json_schema(),
        Format::Probe => probe::Report::json_schema(),
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
