//! The regression gate: what changed between two sets of runs, and whether that counts. Pure.
//!
//! A metric has regressed only if three things hold: the whole confidence interval of its shift is worse than the
//! tolerance, the shift is greater than a floor below which nobody cares, and chance is ruled out, corrected for how many
//! metrics were looked at. What does not depend on time (who connected, which candidates, path and codec) is compared
//! exactly, from a single run on.

mod decide;
mod fact;
mod shift;
mod side;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::record::Metric;

pub use decide::{Change, MetricChange};
pub use fact::FactChange;
pub(crate) use fact::range;
pub use shift::{Shift, shift};
pub use side::{MetricSummary, RunSummary, Side, SummaryError};

/// When a change counts.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Policy {
    /// Shifts within this share of the base's level are none.
    pub tolerance: f64,
    /// The probability with which an interval holds the true shift.
    pub confidence: f64,
    /// The probability that a comparison of equals says "regressed" or "improved" of any metric at all.
    pub false_alarms: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { tolerance: 0.1, confidence: 0.95, false_alarms: 0.005 }
    }
}

/// What changed from one side to the other.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(title = "harness comparison")]
pub struct Comparison {
    /// What it comes to: `fail` if anything regressed, `invalid` if the runs cannot be judged by.
    pub verdict: Verdict,
    /// Why the verdict is not `pass`, most important first.
    pub reasons: Vec<String>,
    /// When a change counts.
    pub policy: Policy,
    /// How many runs each side has, base first.
    pub runs: (usize, usize),
    /// Every metric that either side has, in the order of a call's life.
    pub metrics: Vec<MetricChange>,
    /// What is compared exactly, if it changed.
    pub facts: Vec<FactChange>,
}

impl Comparison {
    /// The JSON Schema (2020-12) of what `harness compare --json` writes.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}

/// What may differ between two sides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allowed {
    /// The machine.
    pub any_host: bool,
    /// What was run.
    pub any_plan: bool,
    /// The version of the records' schema.
    pub any_schema: bool,
}

/// Why two sides cannot be compared.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// They did different things.
    #[error(
        "{base} and {new} are not of the same plan: their {what} differ; compare runs of one scenario with the same settings and seed, or pass --any-scenario"
    )]
    Plan {
        /// The base's name.
        base: String,
        /// The new side's name.
        new: String,
        /// What differs.
        what: &'static str,
    },
    /// Harnesses of different versions recorded them.
    #[error(
        "{base} has schema version {base_version}, {new} has {new_version}: what they measured may have changed; run both with one version, or pass --any-schema"
    )]
    Schema {
        /// The base's name.
        base: String,
        /// Its version.
        base_version: u32,
        /// The new side's name.
        new: String,
        /// Its version.
        new_version: u32,
    },
    /// They ran on different machines.
    #[error(
        "{base} and {new} are from different machines ({what}), so that a difference says nothing about what was tested; run both on one, or pass --any-host"
    )]
    Host {
        /// The base's name.
        base: String,
        /// The new side's name.
        new: String,
        /// What differs, with both values.
        what: String,
    },
    /// There is nothing on one side.
    #[error("{0} has no runs")]
    Empty(String),
}

/// Compares two sides.
///
/// # Errors
///
/// One of them is empty, or they differ in more than is allowed.
pub fn compare(base: &Side, new: &Side, policy: Policy, allowed: Allowed) -> Result<Comparison, Mismatch> {
    comparable(base, new, allowed)?;
    let metrics = decide::metrics(base, new, &policy);
    let facts = fact::changes(base, new);
    let invalid = untrusted(base, new);
    let worse = metrics.iter().filter(|it| it.change == Change::Regressed).map(|it| it.sentence.clone());
    let worse: Vec<String> = facts.iter().filter(|it| it.is_worse).map(|it| it.sentence.clone()).chain(worse).collect();
    let verdict = match (invalid.is_empty(), worse.is_empty()) {
        (false, _) => Verdict::Invalid,
        (true, false) => Verdict::Fail,
        (true, true) => Verdict::Pass,
    };
    let reasons = invalid.into_iter().chain(worse).collect();
    Ok(Comparison { verdict, reasons, policy, runs: (base.runs.len(), new.runs.len()), metrics, facts })
}

fn comparable(base: &Side, new: &Side, allowed: Allowed) -> Result<(), Mismatch> {
    if let Some(empty) = [base, new].into_iter().find(|side| side.runs.is_empty()) {
        return Err(Mismatch::Empty(empty.name.clone()));
    }
    let names = || (base.name.clone(), new.name.clone());
    if !allowed.any_schema && base.schema_version != new.schema_version {
        let ((base_version, new_version), (base, new)) = ((base.schema_version, new.schema_version), names());
        return Err(Mismatch::Schema { base, base_version, new, new_version });
    }
    let differs = [
        (!allowed.any_plan && base.scenario_digest != new.scenario_digest, "scenario files"),
        (
            !allowed.any_plan && base.plan_digest != new.plan_digest,
            "plans (settings, seed, or how the harness expands them)",
        ),
    ];
    if let Some((_, what)) = differs.into_iter().find(|(differs, _)| *differs) {
        let (base, new) = names();
        return Err(Mismatch::Plan { base, new, what });
    }
    let differing = side::HOST_KEYS.iter().find(|key| base.environment.get(**key) != new.environment.get(**key));
    if let (Some(key), false) = (differing, allowed.any_host) {
        let value = |side: &Side| side.environment.get(*key).cloned().unwrap_or_else(|| "unknown".into());
        let what = format!("{key}: {} and {}", value(base), value(new));
        let (base, new) = names();
        return Err(Mismatch::Host { base, new, what });
    }
    Ok(())
}

/// Runs that nothing follows from: of a generator that was not fit, or that broke.
fn untrusted(base: &Side, new: &Side) -> Vec<String> {
    let mut reasons = Vec::new();
    for side in [base, new] {
        let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
        for run in &side.runs {
            if !matches!(run.verdict, Verdict::Pass | Verdict::Fail) {
                *verdicts.entry(run.verdict.name()).or_default() += 1;
            }
        }
        reasons.extend(verdicts.into_iter().map(|(verdict, count)| {
            format!(
                "{count} of the {} runs of {} ended as {verdict}, so that nothing follows from them",
                side.runs.len(),
                side.name
            )
        }));
    }
    reasons
}

/// Every metric of either side.
fn all_metrics(base: &Side, new: &Side) -> BTreeSet<Metric> {
    base.runs.iter().chain(&new.runs).flat_map(|run| run.metrics.keys().copied()).collect()
}

#[cfg(test)]
mod tests;
