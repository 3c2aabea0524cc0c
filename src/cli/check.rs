//! `harness check`: Validate a scenario and show the resolved plan; touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;

use super::Exit;
use super::scenario::ScenarioArgs;
use crate::net::oracle::Route;
use crate::plan::{CellPlan, NetworkDriver, Plan, load_curve};
use crate::scenario::{Loaded, Setting};

/// In how many lines, of which width at most, the load over time is drawn.
const CURVE_LINES: u64 = 12;
const CURVE_WIDTH: u64 = 40;

/// Validate a scenario and show the resolved plan; touches nothing.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Print every value and where it comes from, the load over time, and every call
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
    if !plan.members.is_empty() {
        let rooms: BTreeSet<&str> = plan.members.iter().map(|member| member.room.as_str()).collect();
        line(&mut text, "rooms", &format!("{} rooms, {} people", rooms.len(), plan.members.len()));
    }
    line(&mut text, "load", &load(plan));
    for gate in &plan.gates {
        let of = [("group", &gate.group), ("calls", &gate.set)];
        let of: String = of.iter().filter_map(|(what, of)| of.as_ref().map(|of| format!(" of {what} {of}"))).collect();
        line(&mut text, "gate", &format!("{}{of}: {} ({})", gate.metric.name(), gate.expect, gate.place));
    }
    text
}

/// How many calls, for how long, and how many at once.
fn load(plan: &Plan) -> String {
    let arrivals = plan.calls.last().map_or(0, |call| call.start_us);
    let holds = plan.calls.iter().map(|call| call.hold_us);
    let (shortest, longest) = (holds.clone().min().unwrap_or(0), holds.max().unwrap_or(0));
    let hold = match shortest == longest {
        true => seconds(longest),
        false => format!("{} to {}", seconds(shortest), seconds(longest)),
    };
    let (calls, at_once) = (plan.calls.len(), plan.calls_at_once());
    format!("{calls} calls within {}, {hold} of media each, {at_once} at once", seconds(arrivals))
}

/// The load over time, if calls do not all start together.
fn curve(text: &mut String, plan: &Plan) {
    let curve = load_curve(plan, CURVE_LINES);
    let most = curve.iter().map(|stretch| stretch.at_once).max().unwrap_or(0).max(1);
    if plan.calls.iter().all(|call| call.start_us == 0) {
        return;
    }
    for stretch in curve {
        let length = (stretch.until_us - stretch.from_us) as f64 / 1e6;
        let per_second = |count: u64| count as f64 / length;
        let bar = "#".repeat(usize::try_from(stretch.at_once * CURVE_WIDTH / most).unwrap_or(0));
        let _ = writeln!(
            text,
            "from {:>10}  {:>8.1} start/s {:>8.1} end/s {:>7} calls at once  {bar}",
            seconds(stretch.from_us),
            per_second(stretch.starts),
            per_second(stretch.ends),
            stretch.at_once,
        );
    }
    text.push('\n');
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

/// Every value with its origin, then the load over time, then every call.
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
    curve(&mut text, &loaded.plan);
    for member in &loaded.plan.members {
        let (join, leave) = (seconds(member.join_us), seconds(member.leave_us));
        let _ = writeln!(text, "at {join}  person {} comes into room {} until {leave}", member.id, member.room);
    }
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
