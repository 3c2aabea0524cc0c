//! `harness schema`: Print the JSON Schema of scenarios or reports.

use super::Exit;

/// Print the JSON Schema of scenarios or reports.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Exit {
    Exit::Error
}
