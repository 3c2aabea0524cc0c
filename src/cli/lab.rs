//! `harness lab`: internal; runs a program inside the namespaces of the kernel driver.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use super::Exit;
use crate::lab::kernel::{self, LabError};

/// Run a program inside namespaces of its own; all it starts ends with it.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Start a lab with one host, stop it again, and say what hindered it.
    #[arg(long)]
    check: bool,
    /// The first process inside: the id of the one outside, and where the scratch directory goes.
    #[arg(long, num_args = 2, value_names = ["PID", "DIR"])]
    inner: Option<Vec<OsString>>,
    /// The program and its arguments.
    #[arg(last = true)]
    program: Vec<OsString>,
}

/// Must be called while the process has one thread.
pub(super) fn run(args: &Args) -> ExitCode {
    if let Some([outer, mount_point]) = args.inner.as_deref() {
        let outer = outer.to_str().and_then(|id| id.parse().ok()).unwrap_or(0);
        return refused(&kernel::settle(outer, &PathBuf::from(mount_point), &args.program));
    }
    if args.check {
        let checked = if kernel::inside() { kernel::check() } else { Err(kernel::enter()) };
        return checked.map_or_else(|error| refused(&error), |()| Exit::Pass.into());
    }
    match kernel::enclose(&["lab", "--inner"], &args.program) {
        Ok(status) => ExitCode::from(kernel::exit_code(status)),
        Err(error) => refused(&error),
    }
}

fn refused(error: &LabError) -> ExitCode {
    eprintln!("error: {error}\n{:5}→ {}", "", error.remedy());
    Exit::Invalid.into()
}
