//! `harness completions`: Print a shell completion script.

use super::Exit;

/// Print a shell completion script.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Exit {
    Exit::Error
}
