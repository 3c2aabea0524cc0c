//! `harness run`: Run a scenario and judge it.

use super::Exit;

/// Run a scenario and judge it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) async fn run(_args: Args) -> Exit {
    Exit::Error
}
