//! `harness init`: Write a first scenario.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use super::Exit;

/// Write a first scenario.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// The file to write; never overwritten
    #[arg(default_value = "scenario.toml")]
    path: PathBuf,
}

const FIRST: &str = include_str!("init.toml");

pub(super) fn run(args: &Args) -> Exit {
    let path = args.path.display();
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&args.path)
        .and_then(|mut file| file.write_all(FIRST.as_bytes()));
    match written {
        Ok(()) => {
            eprintln!("wrote {path}; run it with: harness run {path}");
            Exit::Pass
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            eprintln!("error: {path} exists already and is left as it is; name another file: harness init PATH");
            Exit::Usage
        }
        Err(error) => {
            eprintln!("error: {path} cannot be written: {error}; name a file in a directory that you may write to");
            Exit::Usage
        }
    }
}
