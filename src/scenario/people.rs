//! People as peers: what a scenario with them must say.

use super::check::bounds;
use super::format::{Peers, Scenario};
use super::report::Report;
use super::units::Time;
use crate::plan::Engine;

/// Each is invited with a code of their own on the terminal.
const MOST_PEOPLE: u32 = 10;
/// How long a run can wait for its people.
const LEAST_WAIT: Time = Time::from_millis(1_000);
const MOST_WAIT: Time = Time::from_millis(3_600_000);

/// Checks the groups of people, whose counts are known.
pub(super) fn check(scenario: &Scenario, report: &mut Report<'_>) {
    let mut people = 0_u32;
    for (index, group) in scenario.peers.iter().enumerate() {
        let path = format!("peers.{index}");
        if group.engine() == Engine::Human {
            people = people.saturating_add(group.count.unwrap_or(0));
            if let Some(wait) = group.wait {
                bounds(report, &format!("{path}.wait"), wait, LEAST_WAIT, MOST_WAIT);
            }
            surroundings(scenario, group, &path, report);
        } else if group.wait.is_some() {
            let message = format!("`wait` is for people, and the engine here is `{}`", group.engine().name());
            report.wrong(&format!("{path}.wait"), message, "remove it, or use engine = \"human\"");
        }
    }
    if people > MOST_PEOPLE {
        let message = format!("{people} people are more than one run can invite");
        report.wrong("peers", message, format!("use at most {MOST_PEOPLE} peers with engine = \"human\""));
    }
    if people > 0 && scenario.repeat.is_some() {
        let help = "remove [repeat], or use engine = \"chromium\" or \"firefox\"";
        report.wrong("repeat", "people are invited to one run, and would have to come again for each", help);
    }
}

/// A person comes with the page of the bundled server, over the networks that there are.
fn surroundings(scenario: &Scenario, group: &Peers, path: &str, report: &mut Report<'_>) {
    let engine = format!("{path}.engine");
    if scenario.network.is_some() || scenario.matrix.is_some() {
        let help = "remove [network], or use engine = \"chromium\" or \"firefox\"";
        let message = format!("nobody can put the people of `{}` behind a modelled network", group.name());
        report.wrong(&engine, message, help);
    }
}
