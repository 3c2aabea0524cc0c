//! One run of a search, as far as the search and its report need it. The whole of it is in the run's own record.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::gate::{GateResult, Judgement, Verdict, health_checks};
use crate::record::{Metric, Record, Selection};

/// A run of a search.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Probe {
    /// Its number, from 1.
    pub number: u32,
    /// Its load: calls, or calls per second.
    pub load: f64,
    /// How many calls it planned.
    pub calls: u64,
    /// Its seed.
    pub seed: u64,
    /// The directory of its record, relative to that of the search.
    pub record: String,
    /// What it says of its load.
    pub finding: Finding,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why the verdict is not `pass`, most important first.
    pub reasons: Vec<String>,
    /// How long it lasted, in milliseconds.
    pub duration_ms: f64,
    /// Its gates.
    pub gates: Vec<GateResult>,
    /// Every metric that has samples, by name.
    pub metrics: BTreeMap<String, Statistics>,
    /// The generator's health against its limits.
    pub health: Vec<Reading>,
    /// What was still open when the next run began, after all that can be waited for; absent if nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_open: Option<u64>,
}

/// A metric of one run, in its unit.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Statistics {
    /// How many samples there are; at least 1.
    pub count: u64,
    #[expect(missing_docs, reason = "the word says it")]
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// The 95th percentile.
    pub p95: f64,
    /// The 99th percentile.
    pub p99: f64,
    #[expect(missing_docs, reason = "the word says it")]
    pub max: f64,
}

/// A reading of the generator's health, and its limit.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Reading {
    /// The limit's name.
    pub name: String,
    /// How the intervals were brought together: `median`, `p99`, `mean`, `most`, `total` or `trend`.
    pub statistic: String,
    /// What was measured; absent where the machine does not tell, nothing was sent, or the run was too short for a trend.
    pub observed: Option<f64>,
    /// The limit.
    pub limit: f64,
}

impl Reading {
    /// Whether the limit was passed.
    pub fn is_past(&self) -> bool {
        self.observed.is_some_and(|observed| observed > self.limit)
    }

    /// What was measured as a share of the limit; absent without either.
    pub fn share(&self) -> Option<f64> {
        self.observed.filter(|_| self.limit > 0.0).map(|observed| observed / self.limit)
    }
}

impl Probe {
    /// A run that ended, with what only the search knows of it left at nothing.
    pub fn of(record: &Record, judgement: &Judgement) -> Self {
        let plan = record.plan();
        let health = plan.map_or_else(Vec::new, |plan| health_checks(record, &plan.health));
        Self {
            number: 0,
            load: 0.0,
            calls: plan.map_or(0, |plan| plan.calls.len() as u64),
            seed: plan.map_or(0, |plan| plan.seed),
            record: String::new(),
            finding: match judgement.verdict {
                Verdict::Pass => Finding::Held,
                Verdict::Fail => Finding::Broke,
                Verdict::Invalid | Verdict::Error | Verdict::Interrupted => Finding::Unfit,
            },
            verdict: judgement.verdict,
            reasons: judgement.reasons.clone(),
            duration_ms: record.duration_us() as f64 / 1e3,
            gates: judgement.gates.clone(),
            metrics: record
                .metrics()
                .filter_map(|metric| Some((metric.name().into(), statistics(record, metric)?)))
                .collect(),
            health: health
                .into_iter()
                .map(|check| Reading {
                    name: check.name.into(),
                    statistic: check.statistic.into(),
                    observed: check.observed,
                    limit: check.limit,
                })
                .collect(),
            left_open: None,
        }
    }
}

fn statistics(record: &Record, metric: Metric) -> Option<Statistics> {
    let values = record.distribution(metric, Selection::ALL);
    Some(Statistics {
        count: values.count(),
        mean: values.mean()?,
        p50: values.quantile(0.5)?,
        p95: values.quantile(0.95)?,
        p99: values.quantile(0.99)?,
        max: values.max()?,
    })
}
