//! What broke first: the gates, failures and limits of the runs at one load, by how often they were met.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, Probe};
use crate::gate::GateVerdict;

/// Something that kept a load from holding.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Limit {
    /// A gate (`connection_time_ms p95 < 200ms`), a limit of `[health]` (`machine_cpu_ratio`), or `calls`.
    pub what: String,
    /// How many runs at the load it kept from holding.
    pub runs: u32,
    /// What one of them said of it.
    pub said: String,
}

/// Those of runs at one load, the most frequent first.
pub(super) fn limits<'a>(probes: impl Iterator<Item = &'a Probe>) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for (what, said) in probes.flat_map(of) {
        match limits.iter_mut().find(|limit| limit.what == what) {
            Some(limit) => limit.runs += 1,
            None => limits.push(Limit { what, runs: 1, said }),
        }
    }
    limits.sort_by_key(|limit| std::cmp::Reverse(limit.runs));
    limits
}

/// What kept one run from holding.
fn of(probe: &Probe) -> Vec<(String, String)> {
    let reason = || probe.reasons.first().cloned().unwrap_or_default();
    let found: Vec<(String, String)> = match probe.finding {
        Finding::Held => return Vec::new(),
        Finding::Broke => probe
            .gates
            .iter()
            .filter(|result| result.verdict != GateVerdict::Pass)
            .map(|result| {
                let gate = &result.gate;
                (format!("{} {}", gate.metric.name(), gate.expect), result.message.clone())
            })
            .collect(),
        Finding::Unfit => probe
            .health
            .iter()
            .filter(|reading| reading.is_past())
            .map(|reading| {
                let said = probe.reasons.iter().find(|reason| reason.contains(&reading.name));
                (reading.name.clone(), said.cloned().unwrap_or_else(reason))
            })
            .collect(),
    };
    let other = if probe.finding == Finding::Broke { "calls" } else { "trustworthy result" };
    if found.is_empty() { vec![(other.into(), reason())] } else { found }
}
