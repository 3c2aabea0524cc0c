//! `harness serve`: Run the bundled signaling server and its page.

use super::Exit;

/// Run the bundled signaling server and its page.
#[derive(clap::Args, Debug)]
pub(super) struct Args {}

pub(super) async fn run(_args: Args) -> Exit {
    Exit::Error
}
