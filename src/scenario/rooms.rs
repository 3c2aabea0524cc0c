//! `[topology] kind = "rooms"`: what rooms need, and how many people and calls they come to.

use super::format::{Scenario, TopologyKind};
use super::report::Report;
use super::topology::MOST_CALLS;
use crate::plan::{Engine, Overfull, size_of_rooms};

/// Checks the rooms and fills in how many peers each group has.
pub(super) fn complete(scenario: &mut Scenario, report: &mut Report<'_>) {
    if scenario.topology.size.is_none() {
        let help = "add size = 4";
        report.wrong("topology.kind", "it is not said how many people a room has room for", help);
        return;
    }
    if !fits(scenario, report) {
        return;
    }
    let (people, calls) = match size_of_rooms(scenario) {
        Ok(size) => size,
        Err(full) => {
            overfull(full, report);
            return;
        }
    };
    if calls == 0 {
        let help = "lengthen `hold`, raise the rate of arrivals, or use fewer rooms";
        report.wrong("topology", "nobody ever meets anybody in these rooms", help);
    }
    if calls > MOST_CALLS {
        let message = format!("{calls} calls are more than one run can keep a record of");
        report.wrong("topology", message, format!("use fewer or smaller rooms: at most {MOST_CALLS} calls in all"));
    }
    fill_counts(scenario, &people, report);
}

/// More people come than fit.
pub(super) fn overfull(full: Overfull, report: &mut Report<'_>) {
    let message = format!(
        "{:.3} s after the start somebody finds all {} seats of the rooms taken",
        full.at_us as f64 / 1e6,
        full.seats
    );
    let help = "raise `count` or `size`, or lower the rate of arrivals or `hold` of [load]";
    report.wrong("topology", message, help);
}

/// Says how many people each group has, which nothing else may say otherwise.
pub(super) fn fill_counts(scenario: &mut Scenario, people: &[u32], report: &mut Report<'_>) {
    let timed = scenario.load.is_timed();
    for (index, (group, people)) in scenario.peers.iter_mut().zip(people.iter().copied()).enumerate() {
        if let Some(count) = group.count.filter(|count| *count != people) {
            let name = group.name();
            let why = if timed { "that many arrive" } else { "the rooms have seats for that many" };
            let message = format!("{count} `{name}` people are given, and {people} needed: {why}");
            report.wrong(&format!("peers.{index}.count"), message, "leave `count` out: it follows from the rooms");
        }
        group.count = Some(people);
    }
}

/// Whether the rest of the scenario goes together with rooms.
fn fits(scenario: &Scenario, report: &mut Report<'_>) -> bool {
    let mut fits = true;
    let mut wrong = |path: &str, message: String, help: &str| {
        fits = false;
        report.wrong(path, message, help);
    };
    if !scenario.topology.calls.is_empty() {
        let help = "remove [[topology.calls]], or use kind = \"pairs\"";
        wrong("topology.calls", "in rooms everybody calls everybody: there are no sets of calls".into(), help);
    }
    if scenario.matrix.is_some() {
        wrong("topology.kind", "the matrix says who calls whom".into(), "remove [matrix], or the rooms");
    }
    for (index, group) in scenario.peers.iter().enumerate() {
        let path = format!("peers.{index}");
        let engine = group.engine();
        if engine != Engine::Native {
            let message = format!("peers of the engine `{}` cannot be in rooms", engine.name());
            let help = "use engine = \"native\" in rooms, or kind = \"pairs\" for calls with browsers";
            wrong(&format!("{path}.engine"), message, help);
        }
        if group.site.is_some() {
            let help = "remove `site` and [network], or use kind = \"pairs\"";
            wrong(&format!("{path}.site"), "rooms use the networks of this machine".into(), help);
        }
    }
    fits
}

/// Keys of rooms in a scenario without any.
pub(super) fn check_absent(scenario: &Scenario, report: &mut Report<'_>) {
    let (keys, help): (&[&str], _) = match scenario.topology.kind {
        TopologyKind::Rooms => return,
        TopologyKind::Sfu if scenario.load.is_timed() => return,
        TopologyKind::Sfu => (&["size"], "add `duration` to [load], for people who come and leave, or remove it"),
        TopologyKind::Mcu => (&["size"], "remove it"),
        TopologyKind::Pairs => (&["size", "count"], "add kind = \"rooms\", or remove it"),
    };
    for key in keys {
        let path = format!("topology.{key}");
        if report.is_written(&path) {
            let message = match scenario.topology.kind {
                TopologyKind::Pairs => format!("`{key}` is for rooms"),
                _ => format!("`{key}` is for rooms into which people come over time"),
            };
            report.wrong(&path, message, help);
        }
    }
}
