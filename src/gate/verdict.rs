//! The words of a judgement.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Gate;

/// What a run is worth.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every gate held.
    Pass,
    /// The system under test fell short: a call, an expectation, a threshold.
    Fail,
    /// No trustworthy result: the generator was saturated, or something required was missing.
    Invalid,
    /// The harness or the run broke before it could judge.
    Error,
    /// A signal ended the run; the record is partial.
    Interrupted,
}

impl Verdict {
    /// The word in every report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Invalid => "invalid",
            Self::Error => "error",
            Self::Interrupted => "interrupted",
        }
    }
}

/// How a gate ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// The expectation holds.
    Pass,
    /// The expectation does not hold.
    Fail,
    /// There are no samples, or fewer than the gate asks for. Counts as a failure.
    NoData,
}

impl GateVerdict {
    /// The word in every report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::NoData => "no data",
        }
    }
}

/// A gate, and how it ended.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct GateResult {
    /// The gate.
    #[serde(flatten)]
    pub gate: Gate,
    /// The statistic that the gate is about, in the metric's unit; absent without samples.
    pub observed: Option<f64>,
    /// How many samples there were.
    pub samples: u64,
    /// How the gate ended.
    pub verdict: GateVerdict,
    /// All of it in one sentence.
    pub message: String,
}

/// What a run is worth, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The exit code of `harness run`: 0, 1, 3, 4, 130 or 143.
    pub exit_code: u8,
    /// Every gate, in the order of the plan.
    pub gates: Vec<GateResult>,
    /// Why the verdict is not `pass`, most important first; empty if it is.
    pub reasons: Vec<String>,
}
