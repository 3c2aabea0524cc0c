//! What must agree within a plan that was read from a file.

use std::collections::BTreeSet;
use std::path::Path;

use super::{MediaPlan, Plan};
use crate::gate::Expectation;
use crate::scenario::{Report, check_credential};

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
    check_media(&plan.media, "media", report);
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

fn check_media(media: &MediaPlan, path: &str, report: &mut Report<'_>) {
    let Some(video) = &media.video else { return };
    if video.frame_rate == 0 {
        report.wrong(&format!("{path}.video.frame_rate"), "`frame_rate` cannot be 0", "at least 1 is accepted");
    }
    if let Some(directory) = &video.fixtures {
        let file = Path::new(directory).join(video.codec.fixture_file());
        if !(report.surroundings.has_file)(&file) {
            let message = format!("the fixture {} is missing", file.display());
            report.wrong(
                &format!("{path}.video.fixtures"),
                message,
                "run from the directory that the plan was made in",
            );
        }
    }
}
