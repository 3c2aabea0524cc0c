//! Who calls whom: fills in the calls and counts that a scenario leaves open, and checks that all peers are used.

use std::collections::{BTreeMap, BTreeSet};

use super::check::identifier;
use super::error::suggest;
use super::format::{Calls, Peers, Scenario, TopologyKind};
use super::report::Report;
use super::{rooms, served};
use crate::plan::{Engine, room};

/// The record keeps some kilobytes of each call until the end of the run, which bounds how many a run can have in all. How
/// many may be up at a time is up to the machine.
pub(super) const MOST_CALLS: u64 = 200_000;

/// Afterwards every group has a name, an engine and a count, and every set of calls a name, unless errors were found.
///
/// `arrivals` is how many calls the load makes, if it says so itself.
pub(super) fn complete(scenario: &mut Scenario, arrivals: Option<u64>, report: &mut Report<'_>) {
    rooms::check_absent(scenario, report);
    // What is wrong with the load is found already, and nothing can be said of rooms without it.
    let load_is_right = arrivals.is_some() || !scenario.load.is_timed();
    match scenario.topology.kind {
        TopologyKind::Pairs => complete_pairs(scenario, arrivals, report),
        TopologyKind::Rooms if load_is_right => rooms::complete(scenario, report),
        TopologyKind::Sfu | TopologyKind::Mcu if load_is_right => served::complete(scenario, report),
        _ => {}
    }
    for group in &mut scenario.peers {
        (group.name, group.engine) = (Some(group.name().to_owned()), Some(group.engine()));
    }
    for calls in &mut scenario.topology.calls {
        calls.name = Some(calls.name());
    }
}

fn complete_pairs(scenario: &mut Scenario, arrivals: Option<u64>, report: &mut Report<'_>) {
    let uncounted = check_uncounted(scenario, report);
    if scenario.topology.calls.is_empty() && scenario.matrix.is_none() {
        scenario.topology.calls.extend(implied_calls(&scenario.peers, report));
    }
    if let Some(arrivals) = arrivals {
        share(scenario, arrivals, report);
    }
    let names_are_known = check_names(scenario, report);
    if names_are_known && uncounted && !scenario.topology.calls.is_empty() {
        complete_counts(scenario, report);
        check_engines(scenario, report);
    }
}

/// With a load that says how many calls there are, nothing else may; returns whether that is so.
fn check_uncounted(scenario: &Scenario, report: &mut Report<'_>) -> bool {
    if !scenario.load.is_timed() || scenario.matrix.is_some() {
        return true;
    }
    let sets = (0..scenario.topology.calls.len())
        .flat_map(|index| ["count", "start"].map(|key| (key, format!("topology.calls.{index}.{key}"))));
    let groups = (0..scenario.peers.len()).map(|index| ("count", format!("peers.{index}.count")));
    let written: Vec<_> = sets.chain(groups).filter(|(_, path)| report.is_written(path)).collect();
    for (key, path) in &written {
        let message = match *key {
            "count" => "how many there are follows from [load], whose calls arrive for a given time",
            _ => "when calls start follows from [load], whose calls arrive for a given time",
        };
        let help = format!("remove `{key}`, or `duration` and the stages of [load]");
        report.wrong(path, message, help);
    }
    written.is_empty()
}

/// The sets take turns with the calls that arrive.
fn share(scenario: &mut Scenario, arrivals: u64, report: &mut Report<'_>) {
    let sets = scenario.topology.calls.len() as u64;
    if sets > arrivals {
        let message = format!("only {arrivals} calls arrive, and there are {sets} sets of calls");
        report.wrong("topology.calls", message, "raise the rate of arrivals or the duration of [load]");
        return;
    }
    for (index, set) in (0..).zip(&mut scenario.topology.calls) {
        set.count = u32::try_from((arrivals - index).div_ceil(sets)).unwrap_or(u32::MAX);
    }
}

/// The calls of a scenario that does not list them.
fn implied_calls(peers: &[Peers], report: &mut Report<'_>) -> Option<Calls> {
    let pair = |offerer: &Peers, answerer: &Peers, count| {
        Some(Calls { offerer: offerer.name().into(), answerer: answerer.name().into(), count, ..Calls::default() })
    };
    match peers {
        [] => None,
        [group] => {
            let count = group.count.unwrap_or(2);
            if count % 2 == 1 {
                let message = format!("{count} peers cannot be paired: one is left over");
                report.wrong("peers.0.count", message, "use an even number");
                return None;
            }
            pair(group, group, count / 2)
        }
        [first, second] => {
            let counts = (first.count.or(second.count).unwrap_or(1), second.count.or(first.count).unwrap_or(1));
            if counts.0 != counts.1 {
                let message = format!(
                    "{} `{}` peers cannot be paired with {} `{}` peers",
                    counts.0,
                    first.name(),
                    counts.1,
                    second.name()
                );
                report.wrong("peers.1.count", message, "use equal counts, or say who calls whom as [[topology.calls]]");
                return None;
            }
            pair(first, second, counts.0)
        }
        _ => {
            let message = format!("it is not said which of the {} groups call each other", peers.len());
            report.wrong("peers", message, "add [[topology.calls]] with `offerer` and `answerer`");
            None
        }
    }
}

fn check_names(scenario: &Scenario, report: &mut Report<'_>) -> bool {
    let groups: Vec<&str> = scenario.peers.iter().map(Peers::name).collect();
    let (mut names, mut rooms) = (BTreeSet::new(), BTreeSet::new());
    let mut known = true;
    for (index, calls) in scenario.topology.calls.iter().enumerate() {
        let path = format!("topology.calls.{index}");
        for (key, group) in [("offerer", &calls.offerer), ("answerer", &calls.answerer)] {
            if !groups.contains(&group.as_str()) {
                known = false;
                let help = suggest("groups", group, groups.iter().copied());
                report.wrong(&format!("{path}.{key}"), format!("there is no group `{group}`"), help);
            }
        }
        if let Some(name) = &calls.name {
            identifier(report, &format!("{path}.name"), name, 81);
        }
        if !names.insert(calls.name()) {
            let help = "give it a name of its own: name = \"…\"; or raise `count` of the other";
            let at = if calls.name.is_some() { format!("{path}.name") } else { path.clone() };
            report.wrong(&at, format!("there is a set of calls named `{}` already", calls.name()), help);
        }
        if let Some(room) = &calls.room {
            identifier(report, &format!("{path}.room"), room, 81);
        }
        let taken =
            (0..calls.count).map(|number| room(&scenario.name, calls, number)).find(|room| !rooms.insert(room.clone()));
        if let Some(room) = taken {
            let message = format!("the room `{room}` is used by another set of calls");
            report.wrong(&format!("{path}.room"), message, "give each set a room of its own");
        }
    }
    let total: u64 = scenario.topology.calls.iter().map(|calls| u64::from(calls.count)).sum();
    if total > MOST_CALLS {
        let message = format!("{total} calls are more than one run can keep a record of");
        report.wrong("topology.calls", message, format!("use at most {MOST_CALLS} in all"));
    }
    known
}

fn complete_counts(scenario: &mut Scenario, report: &mut Report<'_>) {
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for calls in &scenario.topology.calls {
        for group in [&calls.offerer, &calls.answerer] {
            *needed.entry(group).or_default() += u64::from(calls.count);
        }
    }
    for (index, group) in scenario.peers.iter_mut().enumerate() {
        let path = format!("peers.{index}");
        let needed = needed.get(group.name()).copied().unwrap_or(0);
        let name = group.name();
        if needed == 0 {
            let help = "remove it, or name it as `offerer` or `answerer` of [[topology.calls]]";
            report.wrong(&path, format!("nobody calls the group `{name}`, and it calls nobody"), help);
            continue;
        }
        let count = group.count.map_or(needed, u64::from);
        if count != needed {
            let fault = if count > needed { "are never used" } else { "are not enough" };
            let message = format!("{count} peers of `{name}` {fault}: its calls take {needed}");
            let message = if count > needed {
                message.replacen(&count.to_string(), &format!("{} of {count}", count - needed), 1)
            } else {
                message
            };
            let help = format!("use count = {needed}, leave it out, or change `count` of the calls");
            report.wrong(&format!("{path}.count"), message, help);
        }
        group.count = u32::try_from(count).ok();
    }
}

fn check_engines(scenario: &Scenario, report: &mut Report<'_>) {
    let engine = |name: &str| scenario.peers.iter().find(|group| group.name() == name).map(Peers::engine);
    for (index, calls) in scenario.topology.calls.iter().enumerate() {
        let ends = [engine(&calls.offerer), engine(&calls.answerer)];
        if ends.contains(&Some(Engine::Signaling)) && ends[0] != ends[1] {
            let help = "let signaling peers call each other, and peers with media each other";
            let message = "a signaling peer makes no connection that a peer of another engine could take part in";
            report.wrong(&format!("topology.calls.{index}"), message, help);
        }
        if ends == [Some(Engine::External); 2] {
            let help = "let a native peer or a browser be one end";
            let message = "nothing can be measured of a call between two external clients";
            report.wrong(&format!("topology.calls.{index}"), message, help);
        }
    }
}
