//! The instants of one call in order: what each end did when, down to each server that it asked.

use super::fallback::leg_name;
use super::number;
use crate::plan::{CallPlan, Role};
use crate::record::{CallRecord, Mark, PathSearch, Record, Unit};

/// Something that one end of a call did, or that happened to it.
pub(super) struct Instant<'a> {
    /// Since the call's intended start.
    pub(super) at: String,
    pub(super) peer: &'a str,
    pub(super) what: String,
}

/// The instants of the call of a set that tells most: the first that failed, or else the first that was begun.
pub(super) fn instants<'a>(record: &'a Record, set: &str) -> Vec<Instant<'a>> {
    let calls = || record.calls().filter(|(plan, call)| plan.set == set && call.attempted());
    let told = calls().find(|(_, call)| call.failed.is_some()).or_else(|| calls().next());
    told.map_or_else(Vec::new, |(plan, call)| of_call(record, plan, call))
}

fn of_call<'a>(record: &'a Record, plan: &'a CallPlan, call: &CallRecord) -> Vec<Instant<'a>> {
    let mut instants: Vec<(u64, &str, String)> = Vec::new();
    for (role, peer) in [(Role::Offerer, &plan.offerer.id), (Role::Answerer, &plan.answerer.id)] {
        instants.extend(call.end(role).iter().map(|(mark, at)| (at, peer.as_str(), words(mark))));
    }
    for search in record.searches().iter().filter(|search| search.call == plan.id) {
        instants.extend(steps(search).into_iter().map(|(at, what)| (at, search.peer.as_str(), what)));
    }
    for failure in record.failures().iter().filter(|failure| failure.what.call == plan.id) {
        let what = format!("failed in phase {}", failure.what.phase.name());
        instants.push((failure.at_us, &failure.what.peer, what));
    }
    instants.sort_by_key(|(at, ..)| *at);
    let origin = instants.first().map_or(0, |(at, ..)| *at);
    let ms = |at: u64| number::value((at - origin) as f64 / 1e3, Unit::Milliseconds);
    instants.into_iter().map(|(at, peer, what)| Instant { at: ms(at), peer, what }).collect()
}

/// What a peer did to find its path.
fn steps(search: &PathSearch) -> Vec<(u64, String)> {
    let mut steps = vec![
        (search.stun_asked_us, "asks STUN".to_owned()),
        (search.stun_answered_us, "STUN answers".to_owned()),
        (search.direct.first_us, "first direct check".to_owned()),
        (search.direct.worked_us, "first direct pair works".to_owned()),
        (search.to_relay.first_us, "first check to a relay of the other end".to_owned()),
        (search.to_relay.worked_us, "first pair with a relay of the other end works".to_owned()),
    ];
    for relay in &search.relays {
        let leg = leg_name(relay.transport);
        let fault = relay.fault.as_deref().unwrap_or("cannot be used");
        steps.extend([
            (relay.asked_us, format!("{leg}: Allocate")),
            (relay.reached_us, format!("{leg}: connected")),
            (relay.allocated_us, format!("{leg}: relay given")),
            (relay.permission_asked_us, format!("{leg}: CreatePermission")),
            (relay.permitted_us, format!("{leg}: permission given")),
            (relay.checks.first_us, format!("{leg}: first check")),
            (relay.checks.worked_us, format!("{leg}: first pair works")),
            (relay.fault_us, format!("{leg}: {fault}")),
        ]);
    }
    steps.into_iter().filter_map(|(at, what)| Some((at?, what))).collect()
}

/// The name of a mark with spaces.
fn words(mark: Mark) -> String {
    let name = serde_json::to_value(mark).ok();
    name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().replace('_', " ")
}
