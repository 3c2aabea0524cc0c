//! `harness run --repeat`: the same plan several times, as one side of a comparison.

use std::path::{Path, PathBuf};

use super::Exit;
use super::compare::{Files, How, PAGE, read_side, show};
use super::guests;
use super::progress::{self, Progress};
use super::run::keep;
use crate::gate::{Judgement, judge};
use crate::plan::Plan;
use crate::record::RunDirectory;
use crate::report;
use crate::run::{self, Options};

/// The directory of the run before the first that counts.
pub(super) const WARM_UP: &str = "warm-up";

/// What is repeated, and what it is compared with.
pub(super) struct Repeats {
    pub(super) plan: Plan,
    /// Absent: one run, without warm-up.
    pub(super) repeat: Option<u32>,
    pub(super) out: PathBuf,
    pub(super) baseline: Option<PathBuf>,
    pub(super) how: How,
    pub(super) json: Option<PathBuf>,
    /// Whether every peer's connection is dumped.
    pub(super) rtcstats: bool,
}

/// Runs the plan once to warm up, then as often as asked for, and compares all with the baseline, if there is one.
///
/// The exit code is the worst of the runs' and the comparison's: a broken harness, then a result that is not to be
/// trusted, then a failure.
pub(super) async fn run(repeats: Repeats) -> Exit {
    let base = match repeats.baseline.as_deref().map(read_side).transpose() {
        Ok(base) => base,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    let directory = match RunDirectory::create(&repeats.out, &repeats.plan.name, jiff::Timestamp::now()) {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Error;
        }
    };
    let quiet = repeats.json.as_deref() == Some(Path::new("-"));
    if !quiet {
        eprintln!("records: {}", directory.path().display());
    }
    let mut worst = Exit::Pass;
    let numbers = repeats.repeat.map_or(1..=1, |count| 0..=count);
    for number in numbers {
        let name = if number == 0 { WARM_UP.to_owned() } else { format!("run-{number:03}") };
        let judgement = match once(&repeats, &directory, &name, quiet).await {
            Ok(judgement) => judgement,
            Err(error) => {
                eprintln!("error: {error}");
                return Exit::Error;
            }
        };
        if !quiet {
            let why = judgement.reasons.first().map_or(String::new(), |reason| format!(": {reason}"));
            eprintln!("{name}: {}{why}", judgement.verdict.name());
        }
        let exit = Exit::from(&judgement);
        if matches!(exit, Exit::Interrupted | Exit::Terminated) {
            return exit;
        }
        // What a cold machine does is no finding, unless it breaks the harness.
        if number > 0 || exit == Exit::Error {
            worst = worse(worst, exit);
        }
    }
    let Some(base) = base else { return worst };
    match read_side(directory.path()) {
        Ok(new) => {
            let files = Files { json: repeats.json.as_deref(), html: Some(directory.path().join(PAGE)) };
            worse(worst, show(&base, &new, &repeats.how, repeats.how.allowed(), &files))
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Error
        }
    }
}

async fn once(repeats: &Repeats, directory: &RunDirectory, name: &str, quiet: bool) -> Result<Judgement, String> {
    let display = progress::display();
    let mut progress = (!quiet && display.live).then(|| Progress::new(display));
    let options = Options {
        out: directory.path().to_owned(),
        command: report::redact_command_line(std::env::args()),
        rtcstats: repeats.rtcstats,
        observe: Box::new(move |record| {
            if let Some(progress) = &mut progress {
                progress.show(record);
            }
        }),
        announce: Box::new(|_, _| {}),
        tell_guests: guests::teller(),
    };
    let within = directory.create_within(name).map_err(|error| error.to_string())?;
    let finished = run::run_in(repeats.plan.clone(), within, options).await.map_err(|error| error.to_string())?;
    let judgement = judge(&finished.record);
    keep(&finished, &judgement).map_err(|error| error.to_string())?;
    Ok(judgement)
}

fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Pass => 0,
        Exit::Fail => 1,
        Exit::Invalid => 2,
        Exit::Usage => 3,
        Exit::Error | Exit::Interrupted | Exit::Terminated => 4,
    };
    if rank(b) > rank(a) { b } else { a }
}
