//! What does not depend on time: who failed and where, which candidates were found, which paths and codecs were taken.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Side;
use crate::record::{MediaKind, Metric, Path, Record, Selection};

/// Facts that begin with this are the worse, the more often they occur.
const BAD: &[&str] = &["calls failed", "calls dropped", "failed in ", "streams not verified", "path through a relay"];

/// The metrics that each peer with a candidate of a type has once, and the type (RFC 8445, section 5.1.1).
const CANDIDATES: [(Metric, &str); 3] =
    [(Metric::FirstHostMs, "host"), (Metric::FirstSrflxMs, "server-reflexive"), (Metric::FirstRelayMs, "relayed")];

/// A fact that is not as it was.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct FactChange {
    /// What it is about, such as `path host to host over udp`.
    pub name: String,
    /// How often it occurred in the runs of the base: the fewest and the most.
    pub base: (u64, u64),
    /// How often it occurred in the new runs.
    pub new: (u64, u64),
    /// Whether this is a regression; otherwise it is better than before.
    pub is_worse: bool,
    /// All of it in words.
    pub sentence: String,
}

/// The facts of a run, and how often each occurred.
pub(super) fn facts(record: &Record) -> BTreeMap<String, u64> {
    let counts = record.call_counts();
    let mut facts = BTreeMap::from([
        ("calls connected".to_owned(), counts.connected),
        ("calls failed".to_owned(), counts.failed),
        ("calls dropped".to_owned(), counts.dropped),
    ]);
    for (metric, kind) in CANDIDATES {
        let peers = record.distribution(metric, Selection::ALL).count();
        if peers > 0 {
            facts.insert(format!("peers with a {kind} candidate"), peers);
        }
    }
    let mut count = |name: String| *facts.entry(name).or_default() += 1;
    for failure in record.failures() {
        count(format!("failed in {}", failure.what.phase.name()));
    }
    for path in record.paths() {
        count(path_name(path));
    }
    for media in record.media() {
        if matches!(media.kind, MediaKind::Audio | MediaKind::Video) {
            count(format!("codec {}", media.codec));
        }
        if !media.verified {
            count("streams not verified".to_owned());
        }
    }
    facts
}

/// A peer-reflexive candidate is a matter of who was first, so that it counts as what it stands for: a direct path.
fn path_name(path: &Path) -> String {
    let relayed = [&path.local, &path.remote].iter().any(|candidate| candidate.candidate_type == "relay");
    match (relayed, &path.relay_protocol) {
        (true, Some(protocol)) => format!("path through a relay over {protocol}"),
        (true, None) => "path through a relay of the other end".to_owned(),
        (false, _) => format!("path direct over {}", path.protocol),
    }
}

/// The facts that changed. Where the runs of the base agree, every other number counts; where they do not, what none of
/// them had.
pub(super) fn changes(base: &Side, new: &Side) -> Vec<FactChange> {
    let names: BTreeSet<&String> = base.runs.iter().chain(&new.runs).flat_map(|run| run.facts.keys()).collect();
    names.into_iter().filter_map(|name| change(name, base.fact(name)?, new.fact(name)?)).collect()
}

fn change(name: &str, base: (u64, u64), new: (u64, u64)) -> Option<FactChange> {
    let (fewer, more) = (new.0 < base.0, new.1 > base.1);
    if !fewer && !more {
        return None;
    }
    let bad = BAD.iter().any(|bad| name.starts_with(bad));
    // Fewer of what is bad is better; more of what connects is better; any other difference is one to look at.
    let is_worse = match (bad, name) {
        (true, _) => more,
        (false, "calls connected" | "path direct over udp") => fewer,
        (false, _) => true,
    };
    let sentence = format!("{name}: {} times in a run, before {}", range(new), range(base));
    Some(FactChange { name: name.to_owned(), base, new, is_worse, sentence })
}

/// The fewest and the most, for people.
pub(crate) fn range((low, high): (u64, u64)) -> String {
    if low == high { low.to_string() } else { format!("{low} to {high}") }
}
