//! `harness guard`: internal; keeps a driver and its browsers from outliving the harness.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Exit;
use crate::peer::browser::guard;

/// Run a program and end all it started once standard input ends.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Directory for the program's temporary files; made by the guard, and removed at the end.
    #[arg(long)]
    dir: PathBuf,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Exit {
    let Some((program, arguments)) = args.program.split_first() else { return Exit::Usage };
    // What went wrong is told on standard output, where the harness that started the guard reads it.
    match guard::watch(&args.dir, program.as_ref(), arguments) {
        Ok(()) => Exit::Pass,
        Err(_) => Exit::Error,
    }
}
