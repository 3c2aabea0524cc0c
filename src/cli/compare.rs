//! `harness compare` and `harness baseline`: the regression gate on records that are there.

use std::io;
use std::path::{Path, PathBuf};

use super::Exit;
use super::interleave::{self, Sides};
use super::report::read_record;
use super::run::{append_step_summary, write_json};
use crate::gate::Verdict;
use crate::gate::compare::{Allowed, Comparison, Policy, Side, compare};
use crate::record::{Record, RunDirectory, write_whole};
use crate::report;

/// How deep records lie in a directory that is given for a side.
const DEPTH: usize = 3;

/// Compare two sets of runs: what got better, what got worse, and what the runs cannot tell
///
/// A side is the directory of a run, a directory with the directories of several runs of the same plan (as
/// `harness run --repeat` makes it), or a baseline file. A metric has regressed only if the whole confidence interval of its
/// shift is beyond the tolerance, the shift is beyond a floor, and chance is ruled out. Exit code 0: nothing regressed; 1:
/// something did; 2: the sides cannot be compared; 3: some of the runs were invalid.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// What it was
    base: PathBuf,
    /// What it is now
    new: PathBuf,
    /// Run both sides here, by turns: BASE and NEW are scenarios, or two binaries of the harness that run --scenario
    #[arg(long)]
    interleave: bool,
    /// What binaries run
    #[arg(long, value_name = "SCENARIO", requires = "interleave")]
    scenario: Option<PathBuf>,
    /// How often each side runs, after a run to warm up
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000), requires = "interleave")]
    repeat: u32,
    /// The seed of all runs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64), requires = "interleave")]
    seed: u64,
    /// Folder of the records
    #[arg(long, value_name = "DIR", default_value = "reports", env = "HARNESS_OUT")]
    out: PathBuf,
    #[command(flatten)]
    how: How,
    /// Write the comparison as JSON to this file; `-` is standard output, and silences the text
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the comparison as a page for people to this file: no network, no JavaScript [default: with --interleave,
    /// comparison.html beside the runs]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The page of a comparison beside the runs that were made for it.
pub(super) const PAGE: &str = "comparison.html";

/// When a change counts.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct How {
    /// A shift within this share of the base's level is none
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    tolerance: f64,
    /// Compare runs from different machines all the same
    #[arg(long)]
    any_host: bool,
    /// Compare runs of different scenarios, settings or seeds all the same
    #[arg(long)]
    any_scenario: bool,
    /// Compare records of different schema versions all the same
    #[arg(long)]
    any_schema: bool,
}

/// Keep runs as a baseline: one file to compare later runs with, small enough for review
#[derive(clap::Args, Debug)]
pub(super) struct BaselineArgs {
    #[command(subcommand)]
    command: BaselineCommand,
}

#[derive(clap::Subcommand, Debug)]
enum BaselineCommand {
    /// Write the baseline of a run, or of several of the same plan
    Accept {
        /// The directory of a run, or one with the directories of several
        dir: PathBuf,
        /// The file [default: reports/baselines/SCENARIO.json]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(args: &Args) -> Exit {
    if args.interleave {
        return interleave::run(Sides {
            sides: [&args.base, &args.new],
            scenario: args.scenario.as_deref(),
            repeat: args.repeat,
            seed: args.seed,
            out: &args.out,
            how: &args.how,
            files: Files { json: args.json.as_deref(), html: args.html.clone() },
        });
    }
    let sides = read_side(&args.base).and_then(|base| Ok((base, read_side(&args.new)?)));
    let (base, new) = match sides {
        Ok(sides) => sides,
        Err(error) => return usage(&error),
    };
    let files = Files { json: args.json.as_deref(), html: args.html.clone() };
    show(&base, &new, &args.how, args.how.allowed(), &files)
}

/// Where a comparison is written to.
pub(super) struct Files<'a> {
    pub(super) json: Option<&'a Path>,
    pub(super) html: Option<PathBuf>,
}

impl How {
    /// For a command that compares only where there is a `--baseline`: without one, none of these says anything.
    pub(super) fn needs_baseline() -> clap::ArgGroup {
        let all = ["tolerance", "any_host", "any_scenario", "any_schema"];
        clap::ArgGroup::new("comparison").args(all).multiple(true).requires("baseline")
    }

    /// What may differ between sides that were run apart.
    pub(super) fn allowed(&self) -> Allowed {
        Allowed { any_host: self.any_host, any_plan: self.any_scenario, any_schema: self.any_schema }
    }
}

/// Compares and shows; the exit code is the comparison's.
pub(super) fn show(base: &Side, new: &Side, how: &How, allowed: Allowed, files: &Files<'_>) -> Exit {
    let policy = Policy { tolerance: how.tolerance, ..Policy::default() };
    let comparison = match compare(base, new, policy, allowed) {
        Ok(comparison) => comparison,
        Err(error) => return usage(&error.to_string()),
    };
    let mut exit = exit_of(&comparison);
    let quiet = files.json == Some(Path::new("-"));
    if !quiet {
        eprint!("{}", report::comparison_text(&comparison, &base.name, &new.name));
    }
    let json = files.json.map(|path| (path, write_comparison_json(path, &comparison)));
    let html = files.html.as_deref().map(|path| (path, write_page(path, &comparison, base, new)));
    for (path, written) in json.iter().chain(&html) {
        if let Err(error) = written {
            eprintln!("error: {}: {error}", path.display());
            exit = Exit::Error;
        }
    }
    if let Some((path, Ok(()))) = html
        && !quiet
    {
        eprintln!("page: {}", path.display());
    }
    append_step_summary(|| Ok(report::comparison_markdown(&comparison, &base.name, &new.name)));
    exit
}

fn write_comparison_json(path: &Path, comparison: &Comparison) -> io::Result<()> {
    let text = serde_json::to_string_pretty(comparison).map_err(io::Error::other)?;
    write_json(path, &(text + "\n"))
}

fn write_page(path: &Path, comparison: &Comparison, base: &Side, new: &Side) -> io::Result<()> {
    let command = report::redact_command_line(std::env::args());
    let origin = report::ComparisonOrigin { command: &command, folder: path.parent().unwrap_or_else(|| Path::new("")) };
    let page = report::comparison_html(comparison, base, new, origin).map_err(io::Error::other)?;
    write_whole(path, page).map_err(io::Error::other)
}

pub(super) fn baseline(args: &BaselineArgs) -> Exit {
    let BaselineCommand::Accept { dir, out } = &args.command;
    let side = match read_side(dir) {
        Ok(side) => side,
        Err(error) => return usage(&error),
    };
    if let Some(run) = side.runs.iter().find(|run| run.verdict != Verdict::Pass) {
        let name = run.verdict.name();
        return usage(&format!("the run of {} ended as {name}; only runs that passed make a baseline", run.started_at));
    }
    let out = out.clone().unwrap_or_else(|| Path::new("reports/baselines").join(format!("{}.json", side.scenario)));
    let count = side.runs.len();
    let written = serde_json::to_string_pretty(&side).map_err(|error| error.to_string()).and_then(|text| {
        if let Some(folder) = out.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        write_whole(&out, text + "\n").map_err(|error| error.to_string())
    });
    match written {
        Ok(()) => {
            eprintln!("baseline: {} ({count} runs of {})", out.display(), side.scenario);
            Exit::Pass
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Error
        }
    }
}

/// The runs that a path stands for.
pub(super) fn read_side(path: &Path) -> Result<Side, String> {
    let name = path.display().to_string();
    if path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let side: Side = serde_json::from_str(&text)
            .map_err(|error| format!("{name} is no baseline that `harness baseline accept` wrote: {error}"))?;
        return Ok(Side { name, ..side });
    }
    let mut directories = Vec::new();
    find_records(path, DEPTH, &mut directories).map_err(|error| format!("{name}: {error}"))?;
    if directories.is_empty() {
        return Err(format!("{name}: neither a record ({}) nor a directory of records", RunDirectory::EVENTS));
    }
    directories.sort();
    let records: Result<Vec<Record>, _> = directories.iter().map(|directory| read_record(directory)).collect();
    let records = records.map_err(|error| error.to_string())?;
    let mut side = Side::of(&name, &records).map_err(|error| error.to_string())?;
    for (run, directory) in side.runs.iter_mut().zip(directories) {
        run.record = Some(directory);
    }
    Ok(side)
}

/// The directories of runs here. Links such as `latest` are not followed, and a warm-up is none of the runs.
fn find_records(path: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.join(RunDirectory::EVENTS).is_file() {
        found.push(path.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.file_name() != super::repeat::WARM_UP {
            find_records(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

fn exit_of(comparison: &Comparison) -> Exit {
    match comparison.verdict {
        Verdict::Pass => Exit::Pass,
        Verdict::Fail => Exit::Fail,
        Verdict::Invalid => Exit::Invalid,
        Verdict::Error | Verdict::Interrupted => Exit::Error,
    }
}

fn usage(error: &str) -> Exit {
    eprintln!("error: {error}");
    Exit::Usage
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number
        .filter(|percent| (0.0..=1_000.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| "a percentage from 0% to 1000%, such as 10%".into())
}
