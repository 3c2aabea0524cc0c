//! `harness check`: Validate a scenario and show the resolved plan; touches nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use super::Exit;
use super::scenario::ScenarioArgs;
use crate::net::oracle::Route;
use crate::plan::{CellPlan, NetworkDriver, Plan};
use crate::scenario::{Loaded, Setting};

/// Validate a scenario and show the resolved plan; touches nothing.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Print every value and where it comes from, and every call
    #[arg(long)]
    explain: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let loaded = match args.scenario.load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    if args.explain {
        // Nobody reads on when the pipe is closed.
        let _ = std::io::stdout().lock().write_all(explanation(&loaded).as_bytes());
    }
    eprint!("{}", summary(&loaded.plan));
    Exit::Pass
}

/// Groups, calls, load and gates, a line each.
fn summary(plan: &Plan) -> String {
    let mut text = format!("{}: the scenario is valid\n", plan.scenario);
    let mut peers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sets: Vec<(&str, usize)> = Vec::new();
    for call in &plan.calls {
        for peer in [&call.offerer, &call.answerer] {
            *peers.entry(&peer.group).or_default() += 1;
        }
        if call.cell.is_some() {
            continue;
        }
        match sets.iter_mut().find(|(set, _)| *set == call.set) {
            Some((_, count)) => *count += 1,
            None => sets.push((&call.set, 1)),
        }
    }
    for group in &plan.groups {
        let count = peers.get(group.name.as_str()).copied().unwrap_or(0);
        let optional = if group.optional { ", optional" } else { "" };
        line(&mut text, "group", &format!("{} ({count} peers, {}{optional})", group.name, group.engine.name()));
    }
    networks(&mut text, plan);
    for (set, count) in &sets {
        line(&mut text, "calls", &format!("{set} ({count})"));
    }
    let last = plan.calls.last();
    let (arrivals, hold) = last.map_or((0, 0), |call| (call.start_us, call.hold_us));
    let load = format!("{} calls within {}, {} of media each", plan.calls.len(), seconds(arrivals), seconds(hold));
    line(&mut text, "load", &load);
    for gate in &plan.gates {
        let of = [("group", &gate.group), ("calls", &gate.set)];
        let of: String = of.iter().filter_map(|(what, of)| of.as_ref().map(|of| format!(" of {what} {of}"))).collect();
        line(&mut text, "gate", &format!("{}{of}: {} ({})", gate.metric.name(), gate.expect, gate.place));
    }
    text
}

/// The networks, and how many pairs of a matrix must find which kind of path.
fn networks(text: &mut String, plan: &Plan) {
    let Some(network) = &plan.network else { return };
    let driver = match network.driver {
        NetworkDriver::InProcess => "in-process",
        NetworkDriver::Kernel => "kernel",
    };
    let turn = network.turn.as_ref().map_or_else(
        || "no TURN".to_owned(),
        |turn| format!("TURN over {}", turn.transports.iter().map(|way| way.name()).collect::<Vec<_>>().join(", ")),
    );
    line(text, "lab", &format!("{} networks, {driver} driver, {turn}", network.sites.len()));
    for program in &network.programs {
        let place = program.site.as_deref().map_or_else(|| "on the internet".to_owned(), |site| format!("in {site}"));
        line(text, "runs", &format!("{} ({place}): {}", program.name, program.command.join(" ")));
    }
    let mut cells: BTreeMap<&str, &CellPlan> = BTreeMap::new();
    for call in &plan.calls {
        if let Some(cell) = &call.cell {
            cells.insert(&call.set, cell);
        }
    }
    let count = |kind: fn(&Route) -> bool| cells.values().filter(|cell| kind(&cell.expected)).count();
    let direct = count(|route| *route == Route::Direct);
    let relayed = count(|route| matches!(route, Route::Relayed { .. }));
    let none = count(|route| *route == Route::None);
    if !cells.is_empty() {
        let lost = if none > 0 { format!(", {none} that cannot connect") } else { String::new() };
        line(text, "matrix", &format!("{} pairs: {direct} direct, {relayed} relayed{lost}", cells.len()));
    }
}

/// Every value with its origin, then every call.
fn explanation(loaded: &Loaded) -> String {
    let mut text = String::new();
    let width = loaded.settings.iter().map(|setting| setting.to_string().chars().count()).max().unwrap_or(0).min(70);
    for setting in &loaded.settings {
        let Setting { place, .. } = setting;
        let origin = place.as_ref().map_or_else(|| "default".into(), ToString::to_string);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:width$}  # {origin}", setting.to_string());
    }
    text.push('\n');
    for call in &loaded.plan.calls {
        let start = seconds(call.start_us);
        let (id, offerer, answerer, room) = (&call.id, &call.offerer.id, &call.answerer.id, &call.room);
        let _ = writeln!(text, "at {start}  call {id}: {offerer} offers to {answerer} in room {room}");
        if let Some(cell) = &call.cell {
            let _ = writeln!(text, "            expected: {}, since {}", cell.expected, cell.reason);
        }
    }
    text
}

fn line(text: &mut String, what: &str, value: &str) {
    let _ = writeln!(text, "  {what:<6} {value}");
}

fn seconds(us: u64) -> String {
    format!("{:.3} s", us as f64 / 1e6)
}
