//! `harness report`: Render a record again.

use super::Exit;

/// Render a record again.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Exit {
    Exit::Error
}
