//! What to do about cells that are not as they must be: one by one, and what they have in common.

use std::collections::{BTreeMap, BTreeSet};

use super::{CellOutcome, CellResult};
use crate::net::oracle::{self, Leg, RelayTransport, Route};
use crate::plan::{CallPlan, CellPlan, CredentialFault, IceTransportPolicy, NetworkPlan, Plan, TurnPlan};
use crate::record::Record;

const TRANSPORTS: [RelayTransport; 3] = [RelayTransport::Udp, RelayTransport::Tcp, RelayTransport::Tls];

/// What to do about a cell.
pub(super) fn of_cell(record: &Record, cell: &CellPlan, calls: &[&CallPlan], outcome: CellOutcome) -> Option<String> {
    let plan = record.plan()?;
    Some(match outcome {
        CellOutcome::Ok => return None,
        CellOutcome::Failed => failed(plan, cell, calls),
        CellOutcome::OverRelayed => over_relayed(plan, cell, calls),
        CellOutcome::WrongTransport if cell.policy == IceTransportPolicy::Relay => {
            "see whether the client keeps to the ICE policy, and whether the better transports of TURN can be reached".into()
        }
        CellOutcome::WrongTransport => {
            "see why the expected transport did not come up: its port, its certificate, and the URLs that clients are given".into()
        }
        CellOutcome::Flaky => {
            "run it again with the same seed and a higher `repeat`, and compare the events of calls that ended differently".into()
        }
        CellOutcome::LabLies => {
            "nothing is proved about the service; see the checks of the networks, and report this if they all hold".into()
        }
        CellOutcome::Unjudged => "see what was skipped, and the warnings".into(),
    })
}

fn failed(plan: &Plan, cell: &CellPlan, calls: &[&CallPlan]) -> String {
    let route = match cell.expected {
        Route::None => {
            return match missing(plan, cell, calls) {
                Some((transport, _)) => offer(transport),
                None => "no TURN transport would help: one of the networks lets nothing through".into(),
            };
        }
        Route::Direct => {
            return "see whether both ends get server-reflexive candidates, and whether signaling hands them over"
                .into();
        }
        route @ Route::Relayed { .. } => route,
    };
    match plan.network.as_ref().and_then(|network| network.turn.as_ref()).and_then(|turn| turn.credential_fault) {
        Some(CredentialFault::WrongPassword) => {
            "the peers were given a wrong TURN password, as the scenario asks".into()
        }
        Some(CredentialFault::Expired) => {
            "the peers were given an expired TURN credential, as the scenario asks".into()
        }
        None => match hardest(route) {
            Some(RelayTransport::Tls) => {
                "see whether TURN over TLS answers on port 443, with a certificate that clients trust".into()
            }
            Some(transport) => format!(
                "see whether TURN over {} answers on port {}, with these credentials",
                transport.name().to_uppercase(),
                TurnPlan::leg(transport).port
            ),
            None => "see whether the TURN server answers, with these credentials".into(),
        },
    }
}

fn over_relayed(plan: &Plan, cell: &CellPlan, calls: &[&CallPlan]) -> String {
    let only_relay = calls.iter().any(|call| plan.policy_of(call) == IceTransportPolicy::Relay);
    if only_relay && cell.policy == IceTransportPolicy::All {
        "the clients may use relayed candidates only: set the ICE policy to \"all\"".into()
    } else {
        "see whether both ends get server-reflexive candidates (STUN over UDP), and whether signaling hands them over"
            .into()
    }
}

/// What the cells that are not ok have in common.
pub(super) fn of(record: &Record, cells: &[CellResult]) -> Vec<String> {
    let Some(plan) = record.plan() else { return Vec::new() };
    let mut hints = missing_legs(plan, cells);
    hints.extend(dead_relays(plan, cells));
    let over: Vec<&CellResult> = cells.iter().filter(|cell| cell.outcome == CellOutcome::OverRelayed).collect();
    let direct = cells.iter().filter(|cell| cell.cell.expected == Route::Direct).count();
    if over.len() > 1 && over.len() == direct {
        let hint = over.first().and_then(|cell| cell.hint.clone()).unwrap_or_default();
        hints.push(format!("no pair of networks went direct, although {direct} could; {hint}"));
    }
    hints
}

/// "no TLS leg: 3 of 9 networks cannot connect".
fn missing_legs(plan: &Plan, cells: &[CellResult]) -> Vec<String> {
    let networks: BTreeSet<&String> = cells.iter().flat_map(|cell| [&cell.cell.first, &cell.cell.second]).collect();
    let mut lacking: BTreeMap<RelayTransport, (BTreeSet<String>, usize)> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.cell.expected == Route::None && cell.outcome == CellOutcome::Failed) {
        let calls: Vec<&CallPlan> = plan.calls.iter().filter(|call| call.set == cell.name).take(1).collect();
        if let Some((transport, names)) = missing(plan, &cell.cell, &calls) {
            let (known, count) = lacking.entry(transport).or_default();
            known.extend(names);
            *count += 1;
        }
    }
    lacking
        .into_iter()
        .map(|(transport, (names, count))| {
            let (lacking, all, name) = (names.len(), networks.len(), transport.name().to_uppercase());
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let cells = if count == 1 { "1 pair".to_owned() } else { format!("{count} pairs") };
            let help = offer(transport);
            format!("no {name} leg: {lacking} of {all} networks cannot connect ({names}; {cells}); {help}")
        })
        .collect()
}

/// A transport whose every relay is dead, while calls without it connect.
fn dead_relays(plan: &Plan, cells: &[CellResult]) -> Vec<String> {
    let mut by_leg: BTreeMap<RelayTransport, Vec<&CellResult>> = BTreeMap::new();
    for cell in cells {
        if let Some(transport) = hardest(cell.cell.expected) {
            by_leg.entry(transport).or_default().push(cell);
        }
    }
    let all_failed = |cells: &[&CellResult]| cells.iter().all(|cell| cell.outcome == CellOutcome::Failed);
    let relayed: usize = by_leg.values().map(Vec::len).sum();
    if relayed > 1 && relayed < cells.len() && by_leg.values().all(|cells| all_failed(cells)) {
        let hint = by_leg.values().flatten().find_map(|cell| cell.hint.clone()).unwrap_or_default();
        let fault =
            plan.network.as_ref().and_then(|network| network.turn.as_ref()).and_then(|turn| turn.credential_fault);
        let hint =
            if fault.is_some() { hint } else { "see whether the TURN server answers, with these credentials".into() };
        return vec![format!(
            "every pair that needs a relay failed ({relayed} of {}), and no other; {hint}",
            cells.len()
        )];
    }
    let dead = by_leg.into_iter().filter(|(_, cells)| cells.len() > 1 && all_failed(cells));
    dead.map(|(transport, cells)| {
        let hint = cells.iter().find_map(|cell| cell.hint.clone()).unwrap_or_default();
        let name = transport.name().to_uppercase();
        format!("every pair that needs TURN over {name} failed ({} of them); {hint}", cells.len())
    })
    .collect()
}

/// The transport that would let the two networks meet, if TURN offered it, and which of them lack it.
fn missing(plan: &Plan, cell: &CellPlan, calls: &[&CallPlan]) -> Option<(RelayTransport, Vec<String>)> {
    let network: &NetworkPlan = plan.network.as_ref()?;
    let call = calls.first()?;
    let first = network.end(call.offerer.site.as_deref()?)?;
    let second = network.end(call.answerer.site.as_deref()?)?;
    let means = network.means(cell.policy);
    let absent = |leg: &Leg| !means.legs.contains(leg);
    TRANSPORTS.into_iter().map(TurnPlan::leg).filter(absent).find_map(|leg| {
        let mut more = means.clone();
        more.legs.push(leg);
        more.reflexive = true;
        let helps = oracle::expect(first, second, &more).route != Route::None;
        let lacks = |(end, name): (oracle::End<'_>, &String)| {
            (end.leg(&means).is_none() && end.leg(&more).is_some()).then(|| name.clone())
        };
        let names = [(first, &cell.first), (second, &cell.second)].into_iter().filter_map(lacks).collect();
        helps.then_some((leg.transport, names))
    })
}

/// The least preferred transport that a relayed call depends on.
fn hardest(route: Route) -> Option<RelayTransport> {
    match route {
        Route::Relayed { first, second } => first.max(second),
        Route::Direct | Route::None => None,
    }
}

fn offer(transport: RelayTransport) -> String {
    let (name, port) = (transport.name().to_uppercase(), TurnPlan::leg(transport).port);
    format!("offer TURN over {name} on port {port}")
}
