//! `harness compare --interleave`: runs two sides by turns on this machine, so that what the machine does meets both.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Exit;
use super::compare::{Files, How, PAGE, read_side, show};
use super::repeat::WARM_UP;
use crate::gate::compare::Allowed;
use crate::record::RunDirectory;

/// Set for the harness that makes one run of a comparison: it makes one only, and ends with the one that started it.
const RUN_OF_COMPARISON: &str = "HARNESS_RUN_OF_COMPARISON";

/// Two sides that are not run yet.
pub(super) struct Sides<'a> {
    /// Scenarios, or binaries of the harness.
    pub(super) sides: [&'a Path; 2],
    /// What binaries run.
    pub(super) scenario: Option<&'a Path>,
    pub(super) repeat: u32,
    pub(super) seed: u64,
    pub(super) out: &'a Path,
    pub(super) how: &'a How,
    /// Where the comparison goes; its page goes beside the runs unless this says another place.
    pub(super) files: Files<'a>,
}

/// Runs both, each once to warm up, then by turns in the order A B B A, and compares them.
pub(super) fn run(both: Sides<'_>) -> Exit {
    let commands = match both.sides.map(|side| what_runs(side, both.scenario)) {
        [Ok(a), Ok(b)] => [a, b],
        [Err(error), _] | [_, Err(error)] => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    let directory = match RunDirectory::create(both.out, "interleaved", jiff::Timestamp::now()) {
        Ok(directory) => directory,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Error;
        }
    };
    eprintln!("records: {}", directory.path().display());
    let homes = ["a", "b"].map(|name| directory.path().join(name));
    for turn in 0..=both.repeat {
        // A is first in every other turn, so that a drift of the machine favours neither.
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let home = if turn == 0 { homes[side].join(WARM_UP) } else { homes[side].clone() };
            let name = ["A", "B"][side];
            match once(&commands[side], &home, both.seed) {
                Ok(Exit::Pass | Exit::Fail | Exit::Invalid) if turn == 0 => eprintln!("{WARM_UP}: {name} done"),
                Ok(Exit::Pass | Exit::Fail | Exit::Invalid) => eprintln!("{turn} of {}: {name} done", both.repeat),
                Ok(exit) => {
                    eprintln!("error: the run of {name} ended with exit code {}; nothing is compared", exit.code());
                    return exit;
                }
                Err(error) => {
                    eprintln!("error: {name}: {error}");
                    return Exit::Error;
                }
            }
        }
    }
    match (read_side(&homes[0]), read_side(&homes[1])) {
        (Ok(base), Ok(new)) => {
            // The machine is one, and what differs is what is asked about.
            let html = both.files.html.unwrap_or_else(|| directory.path().join(PAGE));
            let files = Files { html: Some(html), ..both.files };
            let allowed = Allowed { any_host: true, any_plan: true, ..both.how.allowed() };
            show(&base, &new, both.how, allowed, &files)
        }
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("error: {error}");
            Exit::Error
        }
    }
}

/// A program and the scenario that it runs.
struct Runs {
    program: PathBuf,
    scenario: PathBuf,
}

fn what_runs(side: &Path, scenario: Option<&Path>) -> Result<Runs, String> {
    let absolute = |path: &Path| path.canonicalize().map_err(|error| format!("{}: {error}", path.display()));
    let own = || std::env::current_exe().map_err(|error| format!("this program's own path: {error}"));
    let is_scenario = side.extension().is_some_and(|extension| extension == "toml");
    match (is_scenario, scenario) {
        (true, None) => Ok(Runs { program: own()?, scenario: absolute(side)? }),
        (false, Some(scenario)) => Ok(Runs { program: absolute(side)?, scenario: absolute(scenario)? }),
        (true, Some(_)) => Err(format!("{} is a scenario already; leave --scenario out", side.display())),
        (false, None) => {
            Err(format!("{} is no scenario; say with --scenario what this binary is to run", side.display()))
        }
    }
}

fn once(runs: &Runs, home: &Path, seed: u64) -> Result<Exit, String> {
    let output = Command::new(&runs.program)
        .arg("run")
        .arg(&runs.scenario)
        .args(["--seed", &seed.to_string(), "--out"])
        .arg(home)
        .env(RUN_OF_COMPARISON, "1")
        .env_remove("GITHUB_STEP_SUMMARY")
        .output()
        .map_err(|error| format!("{} does not start: {error}", runs.program.display()))?;
    let exit = Exit::from_status(output.status);
    if !matches!(exit, Exit::Pass | Exit::Fail | Exit::Invalid) {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(exit)
}

/// Whether this process makes one run of a comparison.
pub(super) fn is_run_of_comparison() -> bool {
    std::env::var_os(RUN_OF_COMPARISON).is_some()
}

/// Ends this process when the one that started it does, if that asked for it.
#[cfg(target_os = "linux")]
pub(super) fn end_with_parent() {
    if is_run_of_comparison() {
        // Without it the run goes on to its end, which is bounded.
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    }
}
