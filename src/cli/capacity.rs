//! `harness run --find-capacity`: plans at any load, the files of the search, and its end on the terminal.

use std::path::{Path, PathBuf};

use super::Exit;
use super::progress::{self, Progress};
use super::run::{append_step_summary, github_shows_lines, keep, write_json};
use super::scenario::ScenarioArgs;
use crate::capacity::{AnswerKind, Capacity, Quantity, Range, Search};
use crate::gate::{Judgement, Verdict, judge};
use crate::plan::Plan;
use crate::record::RunDirectory;
use crate::report::{self, Display, Format, Style};
use crate::run::{self, Finished, Options, Prober};
use crate::scenario::{Loaded, Overrides, Sizing, load_file};

/// What is searched, and where the record goes.
pub(super) struct Target {
    pub(super) range: Range,
    pub(super) scenario: ScenarioArgs,
    pub(super) out: PathBuf,
    pub(super) json: Option<PathBuf>,
}

/// Searches for the capacity of a scenario; `loaded` is the scenario as it stands.
pub(super) async fn find(target: Target, loaded: &Loaded) -> Exit {
    let quiet = target.json.as_deref() == Some(Path::new("-"));
    let display = progress::display();
    let started_at = jiff::Timestamp::now();
    let usage = |error: String| {
        eprintln!("error: {error}");
        Exit::Usage
    };
    let sizing = match &loaded.sizing {
        Ok(sizing) => sizing.clone(),
        Err(error) => return usage(format!("--find-capacity: {error}")),
    };
    let Plan { name, scenario: file, digest, seed, .. } = &loaded.plan;
    let range = target.range;
    let plans = Plans { args: target.scenario, sizing, range, digest: digest.clone() };
    // What cannot be planned at an end must not come out after an hour.
    let ends = [range.low, range.high].map(|load| plans.at(load, *seed));
    let [Ok(_), Ok(high)] = ends else {
        let [low, high] = ends.map(Result::err);
        return usage(low.or(high).unwrap_or_default());
    };
    let directory = match RunDirectory::create(&target.out, name, started_at) {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Error;
        }
    };
    let most_runs = Search::new(range).most_runs();
    if !quiet {
        eprintln!("record: {}", directory.path().display());
        eprintln!("{}", announcement(range, most_runs, &high));
        if loaded.repeat.is_some() {
            eprintln!("[repeat] is left out: how often each load is run is up to the search");
        }
    }
    let capacity = Capacity {
        schema_version: Capacity::SCHEMA_VERSION,
        scenario: name.clone(),
        scenario_file: file.clone(),
        scenario_digest: digest.clone(),
        seed: *seed,
        command: report::redact_command_line(std::env::args()),
        started_at: started_at.to_string(),
        duration_ms: 0.0,
        range: range.to_string(),
        quantity: range.quantity,
        low: range.quantity.value(range.low),
        high: range.quantity.value(range.high),
        most_runs,
        answer: AnswerKind::Unfinished,
        holds: None,
        fails: None,
        settled: false,
        limits: Vec::new(),
        verdict: Verdict::Error,
        exit_code: Exit::Error.code(),
        cut_short: None,
        probes: Vec::new(),
    };
    let mut probing = Probing { plans, directory: directory.clone(), display, quiet, most_runs };
    let capacity = run::find_capacity(range, &directory, capacity, &mut probing).await;
    conclude(&capacity, &directory, target.json.as_deref(), display, quiet)
}

/// What will happen, said before it does.
fn announcement(range: Range, most_runs: u32, high: &Plan) -> String {
    let longest_us = high.load_us();
    let in_all = report::duration(longest_us.saturating_mul(most_runs.into()));
    let each = report::duration(longest_us);
    format!(
        "searching {range}: at most {most_runs} runs of at most {each} each, {in_all} in all, and what setting up and hanging up take; usually about half"
    )
}

/// Writes the files of the search, and shows what it came to.
fn conclude(capacity: &Capacity, directory: &RunDirectory, json: Option<&Path>, display: Display, quiet: bool) -> Exit {
    let mut exit = exit_of(capacity);
    let rendered = super::report::write_capacity_files(directory, capacity);
    let printed = json.map_or(Ok(()), |path| {
        let text = Format::Json.render_capacity(capacity).map_err(|error| error.to_string())?;
        write_json(path, &text).map_err(|error| format!("{}: {error}", path.display()))
    });
    for error in [rendered.map_err(|error| error.to_string()), printed].into_iter().filter_map(Result::err) {
        eprintln!("error: {error}");
        exit = Exit::Error;
    }
    if !quiet {
        eprint!("{}", report::capacity_terminal(capacity, Style { colour: display.colour, width: 100 }));
        eprintln!("report: {}", directory.path().join("report.html").display());
        if github_shows_lines() {
            eprint!("{}", report::capacity_annotation(capacity));
        }
    }
    append_step_summary(|| Format::Md.render_capacity(capacity).map_err(std::io::Error::other));
    exit
}

/// The exit code of a search.
pub(super) fn exit_of(capacity: &Capacity) -> Exit {
    match capacity.verdict {
        Verdict::Pass => Exit::Pass,
        Verdict::Fail => Exit::Fail,
        Verdict::Invalid => Exit::Invalid,
        Verdict::Error => Exit::Error,
        Verdict::Interrupted if capacity.exit_code == Exit::Terminated.code() => Exit::Terminated,
        Verdict::Interrupted => Exit::Interrupted,
    }
}

/// The scenario at any load.
struct Plans {
    args: ScenarioArgs,
    sizing: Sizing,
    range: Range,
    /// Of the scenario as it was at the start.
    digest: String,
}

impl Plans {
    fn at(&self, load: u64, seed: u64) -> Result<Plan, String> {
        let quantity = self.range.quantity;
        let sized = match quantity {
            Quantity::Calls => self.sizing.set_calls(load).ok_or(
                "--find-capacity: how many calls there are follows from [load] duration; search \"arrivals …\", or give a \
                 count of peers in place of the duration",
            )?,
            Quantity::Arrivals => self.sizing.set_arrivals(load).ok_or(
                "--find-capacity: all calls of this scenario start at once, so that it does not say how long arrivals \
                 last; set [load] arrivals and a duration or a count, such as 20/s for 10s",
            )?,
        };
        let set = self.args.set.iter().cloned().chain(sized).collect();
        let overrides = Overrides { set, seed: Some(seed), ..Overrides::default() };
        let loaded =
            load_file(&self.args.path, &overrides).map_err(|errors| format!("at {}: {errors}", quantity.show(load)))?;
        let plan = loaded.plan;
        if plan.digest != self.digest {
            return Err(format!("{} was changed while it was searched; start again", plan.scenario));
        }
        let peak = plan.calls_at_once();
        if quantity == Quantity::Calls && peak != load {
            return Err(format!(
                "--find-capacity: with {load} calls planned, {peak} are there at the same time, because the first are over \
                 before the last begin; raise [load] hold or arrivals, lower the range, or search \"arrivals …\" instead"
            ));
        }
        Ok(plan)
    }
}

/// What the search asks for.
struct Probing {
    plans: Plans,
    directory: RunDirectory,
    display: Display,
    quiet: bool,
    most_runs: u32,
}

impl Prober for Probing {
    fn plan(&mut self, load: u64, seed: u64) -> Result<Plan, String> {
        self.plans.at(load, seed)
    }

    fn options(&mut self, number: u32, load: u64) -> Options {
        if !self.quiet && self.display.live {
            eprintln!("run {number} of at most {}: {}", self.most_runs, self.plans.range.quantity.show(load));
        }
        let mut progress = (!self.quiet).then(|| Progress::new(self.display));
        Options {
            out: self.directory.path().to_owned(),
            command: report::redact_command_line(std::env::args()),
            rtcstats: false,
            observe: Box::new(move |record| {
                if let Some(progress) = &mut progress {
                    progress.show(record);
                }
            }),
            announce: Box::new(|_, _| {}),
            // No scenario with people has a size that can be searched.
            tell_guests: Box::new(|_| {}),
        }
    }

    fn judge(&mut self, finished: &Finished) -> Result<Judgement, String> {
        let judgement = judge(&finished.record);
        keep(finished, &judgement).map_err(|error| error.to_string())?;
        Ok(judgement)
    }

    fn show(&mut self, capacity: &Capacity) -> Result<(), String> {
        if !self.quiet {
            eprintln!("{}", report::capacity_line(capacity));
        }
        super::report::write_capacity_files(&self.directory, capacity).map_err(|error| error.to_string())
    }
}
