//! `harness doctor`: Say what this machine can do, and what to install for the rest.

use super::Exit;

/// Say what this machine can do, and what to install for the rest.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) async fn run(_args: &Args) -> Exit {
    Exit::Error
}
