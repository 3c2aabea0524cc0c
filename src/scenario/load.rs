//! `[load]`: when calls start, and how long they last.
//!
//! The model is open: every arrival has its time before the run begins, whatever becomes of the calls before it. So a slow
//! service cannot slow down the load that it is measured with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::format::{Scenario, TopologyKind};
use super::report::Report;
use super::topology::MOST_CALLS;
use super::units::{Rate, Time};
use crate::plan::{ArrivalCurve, Segment, timed_arrivals};

/// The shortest and the longest that media can flow.
const SHORTEST_HOLD: Time = Time::from_millis(100);
const LONGEST: Time = Time::from_millis(86_400_000);

/// When calls start, and how long they last.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// How many calls start per second; in rooms, how many people arrive. With stages: the rate that the first of them
    /// begins with, `0/s` by default. Default without stages: all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Rate>,
    /// How arrivals follow each other at their rate: evenly, or at random as those of independent people do.
    pub spacing: Spacing,
    /// How long calls go on arriving. How many there are follows from it; without it and without stages, the calls are
    /// counted where they are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Time>,
    /// The rate of arrivals over time, stage after stage, in place of `duration`.
    #[schemars(length(max = 1_000))]
    pub stage: Vec<Stage>,
    /// How long media flows in a call, 100ms to 24h; in rooms, how long a person stays. The same for each, or a table with
    /// a distribution.
    pub hold: Hold,
    /// A call that the harness cannot start this long after its time, 1ms to 24h, is dropped and counted.
    pub start_within: Time,
}

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Spacing {
    /// At equal distances.
    #[default]
    Even,
    /// As a Poisson process.
    Poisson,
}

/// A stretch of time over which the rate of arrivals goes, in a straight line, from what it was to `target`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// How long it lasts. With `0s` the rate jumps.
    pub duration: Time,
    /// The rate at its end; may be `0/s`.
    pub target: Rate,
}

/// How long media flows in a call.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Hold {
    /// The same for each call.
    Constant(Time),
    /// Drawn for each call.
    Drawn(HoldTable),
}

/// A distribution of hold times.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HoldTable {
    /// Its form.
    pub distribution: HoldDistribution,
    /// Its mean before `min` and `max` cut it. Needed for, and only with, `exponential`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<Time>,
    /// The shortest, 100ms or more. Default with `exponential`: 100ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Time>,
    /// The longest, at most 24h. Default with `exponential`: ten times the mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Time>,
}

/// The form of a distribution of hold times.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldDistribution {
    /// Every duration between `min` and `max` is as likely as any other.
    Uniform,
    /// Many short, few long, as with calls that may end at any moment; only durations between `min` and `max`.
    Exponential,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            arrivals: None,
            spacing: Spacing::default(),
            duration: None,
            stage: Vec::new(),
            hold: Hold::Constant(Time::from_millis(5_000)),
            start_within: Time::from_millis(2_000),
        }
    }
}

impl HoldTable {
    /// The bounds, given or implied.
    pub(crate) fn bounds(&self) -> (Time, Time) {
        let ten_means = self.mean.map_or(LONGEST, |mean| Time { us: mean.us.saturating_mul(10) });
        (self.min.unwrap_or(SHORTEST_HOLD), self.max.unwrap_or_else(|| ten_means.min(LONGEST)))
    }
}

impl Load {
    /// Whether the load itself says how many calls there are.
    pub(crate) fn is_timed(&self) -> bool {
        self.duration.is_some() || !self.stage.is_empty()
    }

    /// The rate of arrivals over time.
    pub(crate) fn curve(&self) -> ArrivalCurve {
        let start = self.arrivals.map_or(0, Rate::milli_events_per_hour);
        if let (true, Some(duration)) = (self.stage.is_empty(), self.duration) {
            return ArrivalCurve::new(vec![Segment { duration_us: duration.us, from: start, to: start }]);
        }
        let mut from = start;
        let segments = self.stage.iter().map(|stage| {
            let to = stage.target.milli_events_per_hour();
            Segment { duration_us: stage.duration.us, from: std::mem::replace(&mut from, to), to }
        });
        ArrivalCurve::new(segments.collect())
    }
}

/// Checks the load; returns how many arrivals it makes if it says so itself.
pub(super) fn check(scenario: &Scenario, report: &mut Report<'_>) -> Option<u64> {
    let load = &scenario.load;
    hold(&load.hold, report);
    within(report, "load.start_within", load.start_within, Time::from_millis(1), LONGEST);
    if load.arrivals.is_some_and(Rate::is_zero) && load.stage.is_empty() {
        let help = "give a rate above zero, or leave it out to start all calls at once";
        report.wrong("load.arrivals", "no call would ever start", help);
        return None;
    }
    if load.spacing == Spacing::Poisson && load.arrivals.is_none() && load.stage.is_empty() {
        let help = "add `arrivals`, such as \"10/s\", or stages";
        report.wrong("load.spacing", "calls that all start at once have no spacing", help);
    }
    if !load.is_timed() {
        return None;
    }
    if scenario.matrix.is_some() {
        let key = if load.stage.is_empty() { "load.duration" } else { "load.stage" };
        let help = "remove it, or replace [matrix] by [topology]";
        report.wrong(key, "the matrix says how many calls there are", help);
        return None;
    }
    if !load.stage.is_empty() && load.duration.is_some() {
        let help = "remove it, or the stages";
        report.wrong("load.duration", "the stages say how long calls go on arriving", help);
        return None;
    }
    if let (Some(duration), None) = (load.duration, load.arrivals) {
        let message = format!("it is not said how many calls start within the {duration}");
        report.wrong("load.duration", message, "add `arrivals`, such as \"10/s\", or give stages");
        return None;
    }
    if let Some(duration) = load.duration {
        within(report, "load.duration", duration, Time::from_millis(1), LONGEST);
    }
    let total: u64 = load.stage.iter().map(|stage| stage.duration.us).sum();
    if total > LONGEST.us {
        report.wrong("load.stage", "the stages last longer than 24h", "make them shorter");
        return None;
    }
    // Before they are drawn one by one, which takes as long as there are many.
    let mut arrivals = load.curve().mean_count();
    let people = if scenario.topology.kind == TopologyKind::Rooms { "people" } else { "calls" };
    let key = if load.stage.is_empty() { "load.duration" } else { "load.stage" };
    if arrivals == 0 {
        report.wrong(key, "no call ever starts at these rates", "give a `target` above zero and a `duration`");
        return None;
    }
    if arrivals > MOST_CALLS {
        let message = format!("{arrivals} {people} would arrive, more than one run can keep a record of");
        report.wrong(key, message, format!("lower the rates or the durations: at most {MOST_CALLS} in all"));
        return None;
    }
    if load.spacing == Spacing::Poisson {
        arrivals = timed_arrivals(load, scenario.seed).len() as u64;
        if arrivals == 0 {
            let help = "raise the rate or the duration, or use another seed or even spacing";
            report.wrong(key, "with this seed no call ever starts", help);
            return None;
        }
    }
    Some(arrivals)
}

fn hold(hold: &Hold, report: &mut Report<'_>) {
    let table = match hold {
        Hold::Constant(time) => return within(report, "load.hold", *time, SHORTEST_HOLD, LONGEST),
        Hold::Drawn(table) => table,
    };
    let HoldTable { distribution, mean, min, max } = table;
    match (distribution, mean) {
        (HoldDistribution::Exponential, None) => {
            report.wrong("load.hold", "an exponential distribution needs its mean", "add mean = \"30s\"");
        }
        (HoldDistribution::Exponential, Some(mean)) => {
            within(report, "load.hold.mean", *mean, Time::from_millis(1), LONGEST);
        }
        (HoldDistribution::Uniform, Some(_)) => {
            let help = "remove it: the mean of `min` and `max` is that of the distribution";
            report.wrong("load.hold.mean", "`mean` is for exponential distributions", help);
        }
        (HoldDistribution::Uniform, None) if min.is_none() || max.is_none() => {
            let help = "write hold = { distribution = \"uniform\", min = \"5s\", max = \"30s\" }";
            report.wrong("load.hold", "a uniform distribution needs `min` and `max`", help);
        }
        (HoldDistribution::Uniform, None) => {}
    }
    for (key, bound) in [("min", min), ("max", max)] {
        if let Some(bound) = bound {
            within(report, &format!("load.hold.{key}"), *bound, SHORTEST_HOLD, LONGEST);
        }
    }
    let (least, most) = table.bounds();
    if least >= most {
        let at = if max.is_some() { "load.hold.max" } else { "load.hold" };
        let message = format!("no duration is both longer than {least} and shorter than {most}");
        report.wrong(at, message, "raise `max` above `min`; for the same duration in each call write hold = \"10s\"");
    }
}

fn within(report: &mut Report<'_>, path: &str, value: Time, least: Time, most: Time) {
    super::check::bounds(report, path, value, least, most);
}
