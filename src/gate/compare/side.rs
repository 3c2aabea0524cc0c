//! One side of a comparison: what is kept of each of its runs. A baseline file is one, written down.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::fact;
use crate::gate::{Verdict, judge};
use crate::plan::Plan;
use crate::record::{Distribution, Metric, Record, RunStarted, Selection};

/// What makes a machine the same machine for a comparison.
pub(super) const HOST_KEYS: &[&str] = &["host", "cpu", "cores", "kernel"];

/// Runs of one plan on one machine.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[schemars(title = "harness baseline")]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// What it is called in messages: a directory, or a baseline file.
    pub name: String,
    /// The record's schema version.
    pub schema_version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// SHA-256 of the scenario file, in hexadecimal.
    pub scenario_digest: String,
    /// SHA-256 of what the runs did: the plan but for its gates and places.
    pub plan_digest: String,
    /// The machine and the versions of everything that took part.
    pub environment: BTreeMap<String, String>,
    /// The seed of every run; not known of baselines from before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The command line of the first run, without secrets; empty where it is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The runs.
    pub runs: Vec<RunSummary>,
}

/// What is kept of a run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RunSummary {
    /// Wall-clock time in RFC 3339, UTC.
    pub started_at: String,
    /// What the run itself came to.
    pub verdict: Verdict,
    /// Every metric with samples.
    pub metrics: BTreeMap<Metric, MetricSummary>,
    /// What does not depend on time, and how often it occurred.
    pub facts: BTreeMap<String, u64>,
    /// The directory of its record; a baseline does not have it.
    #[serde(skip)]
    pub record: Option<PathBuf>,
}

/// What is kept of a metric of one run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MetricSummary {
    /// How many samples there are.
    pub count: u64,
    /// The mean, in the metric's unit.
    pub mean: f64,
    /// The median, in the metric's unit.
    pub p50: f64,
    /// The 95th percentile, in the metric's unit.
    pub p95: f64,
    /// How often each value occurred: an HdrHistogram (V2, deflated, base64).
    pub histogram: String,
}

/// Why records do not make a side.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SummaryError {
    /// A record does not say what was run.
    #[error("{0}: the record has no start, so that nobody knows what was run")]
    NoStart(String),
    /// Its runs are not of one plan, or not from one machine.
    #[error("{0}: its runs differ in their {1}; a side is made of repeats of one plan on one machine")]
    Mixed(String, &'static str),
    /// There is nothing.
    #[error("{0}: there are no records")]
    Empty(String),
}

impl Side {
    /// The JSON Schema (2020-12) of a baseline file.
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// A side of these records.
    pub fn of(name: &str, records: &[Record]) -> Result<Self, SummaryError> {
        let mut side: Option<Self> = None;
        for record in records {
            let run = record.run().ok_or_else(|| SummaryError::NoStart(name.to_owned()))?;
            let new = Self::begin(name, run);
            let side = side.get_or_insert_with(|| new.clone());
            let mixed = |what| Err(SummaryError::Mixed(name.to_owned(), what));
            if side.scenario_digest != new.scenario_digest || side.plan_digest != new.plan_digest {
                return mixed("plans");
            }
            if HOST_KEYS.iter().any(|key| side.environment.get(*key) != new.environment.get(*key)) {
                return mixed("machines");
            }
            side.runs.push(RunSummary::of(run, record));
        }
        side.ok_or_else(|| SummaryError::Empty(name.to_owned()))
    }

    /// How often a fact occurred in a run: the fewest and the most; absent without runs.
    pub fn fact(&self, name: &str) -> Option<(u64, u64)> {
        let counts = self.runs.iter().map(|run| run.facts.get(name).copied().unwrap_or(0));
        counts.fold(None, |range: Option<(u64, u64)>, count| {
            Some(range.map_or((count, count), |(low, high)| (low.min(count), high.max(count))))
        })
    }

    fn begin(name: &str, run: &RunStarted) -> Self {
        Self {
            name: name.to_owned(),
            schema_version: run.schema_version,
            scenario: run.plan.name.clone(),
            scenario_digest: run.plan.digest.clone(),
            plan_digest: plan_digest(&run.plan),
            environment: run.environment.clone(),
            seed: Some(run.plan.seed),
            command: run.command.clone(),
            runs: Vec::new(),
        }
    }
}

impl RunSummary {
    fn of(run: &RunStarted, record: &Record) -> Self {
        let metrics = record.metrics().filter_map(|metric| {
            let values = record.distribution(metric, Selection::ALL);
            Some((metric, MetricSummary::of(&values)?))
        });
        Self {
            started_at: run.started_at.clone(),
            verdict: judge(record).verdict,
            metrics: metrics.collect(),
            facts: fact::facts(record),
            record: None,
        }
    }
}

impl MetricSummary {
    fn of(values: &Distribution) -> Option<Self> {
        Some(Self {
            count: values.count(),
            mean: values.mean()?,
            p50: values.quantile(0.5)?,
            p95: values.quantile(0.95)?,
            histogram: values.encode(),
        })
    }
}

/// Of what a plan makes happen: its gates and the places in its files change nothing.
fn plan_digest(plan: &Plan) -> String {
    let plan = Plan { gates: Vec::new(), scenario: String::new(), digest: String::new(), ..plan.clone() };
    // A plan has no maps with keys that are not text, and no numbers that JSON cannot hold.
    let text = serde_json::to_vec(&plan).unwrap_or_default();
    Sha256::digest(text).iter().fold(String::new(), |mut digest, byte| {
        let _ = write!(digest, "{byte:02x}");
        digest
    })
}
