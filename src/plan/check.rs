//! What must agree within a plan that was read from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Engine, MediaPlan, NetworkPlan, Plan};
use crate::gate::Expectation;
use crate::scenario::{Report, check_credential, check_programs, check_secrets};

/// Checks a plan of the right shape. One that a run wrote passes unless it was edited or moved to another machine.
pub(crate) fn check(plan: &Plan, report: &mut Report<'_>) {
    if plan.plan != Plan::VERSION {
        let message = format!("plans of version {} are not known", plan.plan);
        report.wrong("plan", message, format!("this version reads plans of version {}", Plan::VERSION));
    }
    for (index, server) in plan.ice.servers.iter().enumerate() {
        if let Some(credential) = &server.credential {
            check_credential(report, &format!("ice.servers.{index}.credential"), credential);
        }
    }
    check_secrets(&plan.signaling.protocol, "signaling.protocol", report);
    check_media(&plan.media, "media", report);
    if let Some(network) = &plan.network {
        check_network(network, report);
    }
    check_members(plan, report);
    check_calls(plan, report);
    for (index, gate) in plan.gates.iter().enumerate() {
        if let Err(error) = Expectation::parse(&gate.expect, gate.metric) {
            let part = error.column..error.column + error.length;
            report.wrong_within(&format!("gates.{index}.expect"), part, error.to_string(), error.help);
        }
        if let Some(group) = gate.group.as_deref().filter(|group| plan.group(group).is_none()) {
            report.wrong(
                &format!("gates.{index}.group"),
                format!("there is no group `{group}`"),
                "name a group of the plan",
            );
        }
        if let Some(set) = gate.set.as_ref().filter(|set| plan.calls.iter().all(|call| call.set != **set)) {
            report.wrong(
                &format!("gates.{index}.set"),
                format!("there is no set of calls `{set}`"),
                "name a set of the plan",
            );
        }
    }
}

fn check_calls(plan: &Plan, report: &mut Report<'_>) {
    if plan.calls.is_empty() {
        report.wrong("calls", "the plan has no calls", "take the plan.toml of a run as it was written");
    }
    let (mut calls, mut peers) = (BTreeSet::new(), BTreeSet::new());
    for (index, call) in plan.calls.iter().enumerate() {
        let path = format!("calls.{index}");
        if !calls.insert(&call.id) {
            report.wrong(
                &format!("{path}.id"),
                format!("there is a call `{}` already", call.id),
                "give each an id of its own",
            );
        }
        for (role, peer) in [("offerer", &call.offerer), ("answerer", &call.answerer)] {
            if !peers.insert(&peer.id) {
                let message = format!("the peer `{}` is in another call already", peer.id);
                report.wrong(&format!("{path}.{role}.id"), message, "give each peer one call");
            }
            if let Some(site) =
                peer.site.as_deref().filter(|site| plan.network.as_ref().and_then(|of| of.end(site)).is_none())
            {
                let message = format!("there is no network `{site}`");
                report.wrong(&format!("{path}.{role}.site"), message, "name a site of the plan");
            }
            if plan.network.is_some() && peer.site.is_none() {
                let message = format!("the peer `{}` is in no network", peer.id);
                report.wrong(&format!("{path}.{role}"), message, "name a site of the plan as its `site`");
            }
            if plan.group(&peer.group).is_none() {
                let message = format!("there is no group `{}`", peer.group);
                report.wrong(&format!("{path}.{role}.group"), message, "name a group of the plan");
            }
        }
        if let Some(media) = &call.media {
            check_media(media, &format!("{path}.media"), report);
        }
    }
}

/// People in rooms, and the peers that share the signaling connection of one.
fn check_members(plan: &Plan, report: &mut Report<'_>) {
    let mut rooms = BTreeMap::new();
    for (index, member) in plan.members.iter().enumerate() {
        if rooms.insert(&member.id, &member.room).is_some() {
            let message = format!("there is a person `{}` already", member.id);
            report.wrong(&format!("members.{index}.id"), message, "give each an id of its own");
        }
    }
    for (index, call) in plan.calls.iter().enumerate() {
        let ends = [("offerer", &call.offerer), ("answerer", &call.answerer)];
        for (role, peer) in ends {
            let path = format!("calls.{index}.{role}");
            if let Some(person) = peer.person.as_ref().filter(|person| rooms.get(person) != Some(&&call.room)) {
                let message = format!("there is no person `{person}` in the room `{}`", call.room);
                report.wrong(&format!("{path}.person"), message, "name a person of the plan's `members` in that room");
            }
            if peer.person.is_some() && plan.group(&peer.group).is_some_and(|group| group.engine != Engine::Native) {
                let message = format!("the peer `{}` cannot share a signaling connection", peer.id);
                report.wrong(&path, message, "only native peers can be in rooms");
            }
        }
        if call.offerer.person.is_some() != call.answerer.person.is_some() {
            let message = format!("only one end of the call `{}` is in a room", call.id);
            report.wrong(&format!("calls.{index}"), message, "name the `person` of both ends, or of none");
        }
    }
}

fn check_network(network: &NetworkPlan, report: &mut Report<'_>) {
    let mut names = BTreeSet::new();
    let carriers = network.carriers.iter().map(|carrier| ("carriers", &carrier.name, carrier.problem(), None));
    let carriers: Vec<_> = carriers.enumerate().collect();
    let sites = network.sites.iter().map(|site| ("sites", &site.name, site.problem(), site.behind.as_ref()));
    for (index, (kind, name, problem, behind)) in carriers.into_iter().chain(sites.enumerate()) {
        let path = format!("network.{kind}.{index}");
        if !names.insert(name) {
            let message = format!("there is a network or carrier `{name}` already");
            report.wrong(&format!("{path}.name"), message, "give each a name of its own");
        }
        if let Some(problem) = problem {
            report.wrong(&path, format!("the network `{name}` cannot be made: {problem}"), "correct it");
        }
        if let Some(carrier) = behind.filter(|carrier| network.carriers.iter().all(|known| known.name != **carrier)) {
            let message = format!("there is no carrier `{carrier}`");
            report.wrong(&format!("{path}.behind"), message, "name a carrier of the plan");
        }
    }
    let sites: Vec<&str> = network.sites.iter().map(|site| site.name.as_str()).collect();
    check_programs(report, "network.programs", &network.programs, network.driver, &sites);
}

fn check_media(media: &MediaPlan, path: &str, report: &mut Report<'_>) {
    let Some(video) = &media.video else { return };
    if video.frame_rate == 0 {
        report.wrong(&format!("{path}.video.frame_rate"), "`frame_rate` cannot be 0", "at least 1 is accepted");
    }
    if let Some(directory) = &video.fixtures {
        let files = video.codec.fixture_files(video.simulcast).into_iter().map(|name| Path::new(directory).join(name));
        for file in files.filter(|file| !(report.surroundings.has_file)(file)) {
            let message = format!("the fixture {} is missing", file.display());
            report.wrong(
                &format!("{path}.video.fixtures"),
                message,
                "run from the directory that the plan was made in",
            );
        }
    }
}
