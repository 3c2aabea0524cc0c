//! `harness init`: Write a first scenario.

use super::Exit;

/// Write a first scenario.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args) -> Exit {
    Exit::Error
}
