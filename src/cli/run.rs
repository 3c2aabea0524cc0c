//! `harness run`: run a scenario and judge it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Exit;
use super::progress::{self, Progress};
use super::report::write_files;
use super::scenario::ScenarioArgs;
use crate::gate::judge;
#[cfg(target_os = "linux")]
use crate::lab::kernel;
#[cfg(target_os = "linux")]
use crate::plan::NetworkDriver;
use crate::record::write_whole;
use crate::report::{self, Format, Style};
use crate::run::{self, Finished, Options};

/// Run a scenario and judge it
///
/// The record goes to OUT/NAME/TIME/ while the run proceeds; OUT/NAME/latest points at the newest.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Folder of all records
    #[arg(long, value_name = "DIR", default_value = "reports", env = "HARNESS_OUT")]
    out: PathBuf,
    /// Write report.json to this file too; `-` is standard output, and silences the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> Exit {
    let plan = match args.scenario.load() {
        Ok(loaded) => loaded.plan,
        Err(exit) => return exit,
    };
    #[cfg(target_os = "linux")]
    if plan.network.as_ref().is_some_and(|network| network.driver == NetworkDriver::Kernel) && !kernel::inside() {
        // The run goes inside as a whole, and this process with it.
        let error = kernel::enter();
        eprintln!("error: the kernel driver cannot be used: {error}\n{:5}→ {}", "", error.remedy());
        return Exit::Invalid;
    }
    let quiet = args.json.as_deref() == Some(Path::new("-"));
    let display = progress::display();
    let mut progress = (!quiet).then(|| Progress::new(display));
    let options = Options {
        out: args.out,
        command: report::redact_command_line(std::env::args()),
        observe: Box::new(move |record| {
            if let Some(progress) = &mut progress {
                progress.show(record);
            }
        }),
        announce: Box::new(move |directory, endpoint| {
            if !quiet {
                eprintln!("record: {}", directory.display());
                eprintln!("signaling: {}", endpoint.url);
            }
        }),
    };
    match run::run(plan, options).await {
        Ok(finished) => conclude(&finished, args.json.as_deref(), Style { colour: display.colour, width: 100 }, quiet),
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Error
        }
    }
}

/// Judges the record, writes every file of its directory, and shows the result.
fn conclude(finished: &Finished, json: Option<&Path>, style: Style, quiet: bool) -> Exit {
    let Finished { record, directory, packets } = finished;
    let judgement = judge(record);
    let mut exit = Exit::from(&judgement);
    let written = packets.as_ref().map_or(Ok(()), |packets| packets.write(record, directory));
    if let Err(error) = written.map_err(Into::into).and_then(|()| write_files(directory, record, &judgement)) {
        eprintln!("error: {error}");
        exit = Exit::Error;
    }
    if let Some(path) = json
        && let Err(error) = Format::Json.render(record, &judgement).map_err(io::Error::other).and_then(|text| {
            if path == Path::new("-") {
                io::stdout().lock().write_all(text.as_bytes())
            } else {
                write_whole(path, &text).map_err(io::Error::other)
            }
        })
    {
        eprintln!("error: {}: {error}", path.display());
        exit = Exit::Error;
    }
    if !quiet {
        eprint!("{}", report::terminal(record, &judgement, style));
        eprintln!("report: {}", directory.path().join("report.html").display());
        if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            eprint!("{}", report::github_annotations(record, &judgement));
        }
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from)
        && let Err(error) = Format::Md
            .render(record, &judgement)
            .map_err(io::Error::other)
            .and_then(|text| File::options().append(true).create(true).open(&path)?.write_all(text.as_bytes()))
    {
        eprintln!("warning: {}: {error}", path.display());
    }
    exit
}
