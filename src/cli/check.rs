//! `harness check`: Validate a scenario and show the resolved plan; touches nothing.

use super::Exit;

/// Validate a scenario and show the resolved plan; touches nothing.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Exit {
    Exit::Error
}
