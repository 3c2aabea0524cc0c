//! The command line: one file per subcommand, arguments to calls and verdict to exit code.

mod capacity;
mod check;
mod compare;
mod completions;
mod doctor;
mod exit;
mod guard;
mod guests;
mod init;
mod interleave;
#[cfg(target_os = "linux")]
mod lab;
mod probe;
mod progress;
mod repeat;
mod report;
mod run;
mod scenario;
mod schema;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// Proves that a WebRTC service connects people and carries their media.
#[derive(Debug, Parser)]
#[command(name = "harness", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Serve(serve::Args),
    Probe(probe::Args),
    Compare(compare::Args),
    Baseline(compare::BaselineArgs),
    Report(report::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Init(init::Args),
    #[command(hide = true)]
    Guard(guard::Args),
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Lab(lab::Args),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    #[cfg(target_os = "linux")]
    interleave::end_with_parent();
    // Namespaces are entered before there is a second thread.
    #[cfg(target_os = "linux")]
    if let Command::Lab(args) = &cli.command {
        return lab::run(args);
    }
    let exit = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(cli.command)),
        Err(error) => {
            eprintln!("error: the asynchronous runtime does not start: {error}");
            Exit::Error
        }
    };
    exit.into()
}

async fn dispatch(command: Command) -> Exit {
    match command {
        Command::Run(args) => run::run(args).await,
        Command::Check(args) => check::run(&args),
        Command::Serve(args) => serve::run(args).await,
        Command::Probe(args) => probe::run(args).await,
        Command::Compare(args) => compare::run(&args),
        Command::Baseline(args) => compare::baseline(&args),
        Command::Report(args) => report::run(&args),
        Command::Doctor(args) => doctor::run(&args).await,
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Guard(args) => guard::run(&args),
        #[cfg(target_os = "linux")]
        Command::Lab(_) => Exit::Usage,
    }
}
