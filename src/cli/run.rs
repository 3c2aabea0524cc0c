//! `harness run`: run a scenario and judge it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Exit;
use super::capacity::{self, Target};
use super::compare::How;
use super::guests;
use super::interleave;
use super::progress::{self, Progress};
use super::repeat::{self, Repeats};
use super::report::write_files;
use super::scenario::ScenarioArgs;
use crate::capacity::Range;
use crate::gate::{Judgement, judge};
#[cfg(target_os = "linux")]
use crate::lab::kernel;
#[cfg(target_os = "linux")]
use crate::plan::NetworkDriver;
use crate::record::write_whole;
use crate::report::{self, Format, Style};
use crate::run::{self, Finished, Options};
use crate::signaling::redacted;

/// Run a scenario and judge it
///
/// The record goes to OUT/NAME/TIME/ while the run proceeds; OUT/NAME/latest points at the newest.
#[derive(clap::Args, Debug)]
#[command(group(How::needs_baseline()))]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Search for the largest load at which all gates hold, such as "calls 10..2000" or "arrivals 10/s..500/s"
    ///
    /// Runs the scenario again and again, each time with another number of calls, or with another rate of arrivals that
    /// lasts as long as the scenario's own; how many runs there will be at most is said in advance. The report has the
    /// capacity, its uncertainty, what broke first, and the curve. Exit code 0: there is an answer; 1: the gates do not
    /// hold at the low end; 3: the generator is too weak for the low end.
    #[arg(long, value_name = "RANGE")]
    find_capacity: Option<Range>,
    /// Run the scenario this often with the same plan, after a run to warm up that does not count
    ///
    /// The runs lie in one directory, which `harness compare` and `harness baseline accept` take as one side. Default: as
    /// `[repeat]` of the scenario says, or a single run.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000), conflicts_with = "find_capacity")]
    repeat: Option<u32>,
    /// Compare with this baseline, or with the runs in this directory, as `harness compare` does
    ///
    /// The comparison is printed, and written as a page beside the runs: comparison.html.
    #[arg(long, value_name = "FILE", conflicts_with = "find_capacity")]
    baseline: Option<PathBuf>,
    #[command(flatten)]
    how: How,
    /// Folder of all records
    #[arg(long, value_name = "DIR", default_value = "reports", env = "HARNESS_OUT")]
    out: PathBuf,
    /// Dump what each peer does and counts for the viewers of rtcstats and webrtc-internals: rtcstats/PEER.jsonl
    ///
    /// Each dump has the calls to the peer's connection with their SDP and candidates, its events, the instants of the
    /// report, and the statistics about once a second; no password of a TURN server.
    #[arg(long, conflicts_with = "find_capacity")]
    rtcstats: bool,
    /// Write report.json to this file too, or with --baseline the comparison; `-` is standard output, and silences the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> Exit {
    let loaded = match args.scenario.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    #[cfg(target_os = "linux")]
    if loaded.plan.network.as_ref().is_some_and(|network| network.driver == NetworkDriver::Kernel) && !kernel::inside()
    {
        // The run goes inside as a whole, and this process with it.
        let error = kernel::enter();
        eprintln!("error: the kernel driver cannot be used: {error}\n{:5}→ {}", "", error.remedy());
        return Exit::Invalid;
    }
    if let Some(range) = args.find_capacity {
        let target = Target { range, scenario: args.scenario, out: args.out, json: args.json };
        return capacity::find(target, &loaded).await;
    }
    let plan = loaded.plan;
    // A comparison counts the runs itself.
    let repeat = args.repeat.or_else(|| loaded.repeat.filter(|_| !interleave::is_run_of_comparison()));
    if plan.people().next().is_some() && (repeat.is_some() || interleave::is_run_of_comparison()) {
        eprintln!("error: people are invited to one run, and would have to come again for each");
        eprintln!("{:5}→ run the scenario without --repeat, or put browsers in the place of its people", "");
        return Exit::Usage;
    }
    if repeat.is_some() && args.baseline.is_none() && args.json.is_some() {
        eprintln!(
            "error: --json has nothing to write: of several runs it is the comparison with --baseline, which is not given"
        );
        eprintln!("{:5}→ add --baseline, or take the report.json of each run's directory", "");
        return Exit::Usage;
    }
    if repeat.is_some() || args.baseline.is_some() {
        let Args { baseline, how, out, json, rtcstats, .. } = args;
        return repeat::run(Repeats { plan, repeat, baseline, how, out, json, rtcstats }).await;
    }
    let quiet = args.json.as_deref() == Some(Path::new("-"));
    let display = progress::display();
    let mut progress = (!quiet).then(|| Progress::new(display));
    let options = Options {
        out: args.out,
        command: report::redact_command_line(std::env::args()),
        rtcstats: args.rtcstats,
        observe: Box::new(move |record| {
            if let Some(progress) = &mut progress {
                progress.show(record);
            }
        }),
        announce: Box::new(move |directory, endpoint| {
            if !quiet {
                eprintln!("record: {}", directory.display());
                eprintln!("signaling: {}", redacted(&endpoint.url));
            }
        }),
        tell_guests: guests::teller(),
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
    let Finished { record, directory, .. } = finished;
    let judgement = judge(record);
    let mut exit = Exit::from(&judgement);
    if let Err(error) = keep(finished, &judgement) {
        eprintln!("error: {error}");
        exit = Exit::Error;
    }
    if let Some(path) = json
        && let Err(error) =
            Format::Json.render(record, &judgement).map_err(io::Error::other).and_then(|text| write_json(path, &text))
    {
        eprintln!("error: {}: {error}", path.display());
        exit = Exit::Error;
    }
    if !quiet {
        eprint!("{}", report::terminal(record, &judgement, style));
        eprintln!("report: {}", directory.path().join("report.html").display());
        if github_shows_lines() {
            eprint!("{}", report::github_annotations(record, &judgement));
        }
    }
    append_step_summary(|| Format::Md.render(record, &judgement).map_err(io::Error::other));
    exit
}

/// Writes what a run leaves: its packets, and every file that follows from its record.
pub(super) fn keep(finished: &Finished, judgement: &Judgement) -> Result<(), super::report::Error> {
    let Finished { record, directory, packets } = finished;
    packets.as_ref().map_or(Ok(()), |packets| packets.write(record, directory))?;
    write_files(directory, record, judgement)
}

/// Writes the result where `--json` says.
pub(super) fn write_json(path: &Path, text: &str) -> io::Result<()> {
    if path == Path::new("-") {
        io::stdout().lock().write_all(text.as_bytes())
    } else {
        write_whole(path, text).map_err(io::Error::other)
    }
}

/// Whether GitHub Actions reads standard error.
pub(super) fn github_shows_lines() -> bool {
    std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true")
}

/// Adds to the summary of a step of GitHub Actions, if this is one.
pub(super) fn append_step_summary(text: impl FnOnce() -> io::Result<String>) {
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").map(PathBuf::from)
        && let Err(error) =
            text().and_then(|text| File::options().append(true).create(true).open(&path)?.write_all(text.as_bytes()))
    {
        eprintln!("warning: {}: {error}", path.display());
    }
}
