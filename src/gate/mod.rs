//! Expectations and the verdict. Pure: no I/O, no clock.

pub mod compare;
mod expect;
mod growth;
mod health;
mod hope;
mod judge;
mod matrix;
mod strain;
mod verdict;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::record::Metric;

pub use expect::{ExpectError, Expectation, Operator, Statistic};
pub use growth::{Growth, Resource, growths};
pub use health::{HealthCheck, health_checks};
pub use hope::beyond_hope;
pub use judge::{judge, judge_gate};
pub use matrix::{CellOutcome, CellResult, MatrixResult, matrix};
pub use verdict::{GateResult, GateVerdict, Judgement, Verdict};

/// Something that must hold at the end of a run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// The metric.
    pub metric: Metric,
    /// Only the samples of this peer group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only the samples of this set of calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// What must hold, such as `p95 < 400ms`.
    pub expect: String,
    /// With fewer samples than this the gate fails.
    pub min_samples: u64,
    /// Whether the run ends once it cannot hold any more.
    pub abort: bool,
    /// Where it stands, as `file:line:column`; `default` for one that the harness adds.
    pub place: String,
}
