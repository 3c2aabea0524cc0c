//! The verdict on each metric.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shift::{least_p, median, shift};
use super::side::MetricSummary;
use super::{Policy, Side, all_metrics};
use crate::record::{Direction, Metric, Scope, Unit};

/// A side that has less than this share of the other's samples lacks what would be compared.
const ENOUGH: f64 = 0.9;
/// More repeats than this are not advice.
const MOST_REPEATS: usize = 200;

/// What has become of a metric.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Better than before, beyond the tolerance and beyond chance.
    Improved,
    /// Within the tolerance.
    Unchanged,
    /// Worse than before, beyond the tolerance and beyond chance.
    Regressed,
    /// The runs do not tell.
    Inconclusive,
}

impl Change {
    /// The word in every report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Improved => "improved",
            Self::Unchanged => "unchanged",
            Self::Regressed => "regressed",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A metric on both sides, as one statistic of each run.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct MetricChange {
    /// The metric.
    pub metric: Metric,
    /// What is taken of each run: `p50`, `p95` or `mean`.
    pub statistic: String,
    /// What has become of it.
    pub change: Change,
    /// The median of the base's runs, in the metric's unit; absent if none has it.
    pub base: Option<f64>,
    /// The median of the new runs.
    pub new: Option<f64>,
    /// By how much the new runs lie above the base, in the metric's unit; absent if one side lacks the metric.
    pub shift: Option<f64>,
    /// The interval of the shift; absent if there are too few runs for one.
    pub interval: Option<(f64, f64)>,
    /// The probability of the shift by chance, corrected for the number of metrics (Holm).
    pub p: Option<f64>,
    /// The least shift that counts, in the metric's unit.
    pub threshold: Option<f64>,
    /// The smallest shift that so many runs would have shown; absent if none.
    pub smallest: Option<f64>,
    /// How many runs a side would tell, where these do not; absent if that would be too many to name.
    pub repeats: Option<usize>,
    /// All of it in words.
    pub sentence: String,
}

/// Every metric of both sides, in the order of a call's life.
pub(super) fn metrics(base: &Side, new: &Side, policy: &Policy) -> Vec<MetricChange> {
    let pairs: Vec<(Metric, Statistic)> = all_metrics(base, new)
        .into_iter()
        .flat_map(|metric| Statistic::of(metric).iter().map(move |it| (metric, *it)))
        .collect();
    let mut looks: Vec<Look> =
        pairs.into_iter().map(|(metric, statistic)| Look::at(base, new, metric, statistic, policy)).collect();
    correct(&mut looks);
    let tests = looks.iter().filter(|look| look.p.is_some()).count();
    looks.into_iter().map(|look| look.decide(policy, tests)).collect()
}

/// What is taken of each run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Statistic {
    P50,
    P95,
    Mean,
}

impl Statistic {
    fn of(metric: Metric) -> &'static [Self] {
        match metric.unit() {
            Unit::Milliseconds => &[Self::P50, Self::P95],
            Unit::BitsPerSecond | Unit::PerSecond | Unit::Ratio => &[Self::Mean],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::Mean => "mean",
        }
    }

    fn take(self, summary: &MetricSummary) -> f64 {
        match self {
            Self::P50 => summary.p50,
            Self::P95 => summary.p95,
            Self::Mean => summary.mean,
        }
    }
}

/// Below this, in the metric's unit, nobody cares: a tick of the clocks that media and timers follow.
fn floor(unit: Unit) -> f64 {
    match unit {
        Unit::Milliseconds => 1.0,
        Unit::BitsPerSecond => 1_000.0,
        Unit::PerSecond => 0.01,
        Unit::Ratio => 0.002,
    }
}

/// A metric before it is decided on.
struct Look {
    metric: Metric,
    statistic: Statistic,
    values: (Vec<f64>, Vec<f64>),
    levels: (Option<f64>, Option<f64>),
    shift: Option<super::Shift>,
    /// Of the shift; corrected in place.
    p: Option<f64>,
    threshold: f64,
    /// Why the samples of the new side are no basis.
    lacks: Option<String>,
}

impl Look {
    fn at(base: &Side, new: &Side, metric: Metric, statistic: Statistic, policy: &Policy) -> Self {
        let values = |side: &Side| -> Vec<f64> {
            side.runs.iter().filter_map(|run| run.metrics.get(&metric)).map(|it| statistic.take(it)).collect()
        };
        let level = |values: &[f64]| {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            median(&sorted)
        };
        let values = (values(base), values(new));
        let levels = (level(&values.0), level(&values.1));
        let shift = shift(&values.0, &values.1, policy.confidence);
        let threshold = (levels.0.unwrap_or(0.0).abs() * policy.tolerance).max(floor(metric.unit()));
        let p = shift.map(|shift| shift.p);
        Self { metric, statistic, values, levels, shift, p, threshold, lacks: lacks(base, new, metric) }
    }

    fn decide(self, policy: &Policy, tests: usize) -> MetricChange {
        let worse_is = if self.metric.direction() == Direction::SmallerIsBetter { 1.0 } else { -1.0 };
        let significant = self.p.is_some_and(|p| p < policy.false_alarms);
        let change = match self.shift {
            _ if self.lacks.is_some() => Change::Regressed,
            None => Change::Inconclusive,
            Some(shift) => {
                let (a, b) = (shift.interval.0 * worse_is, shift.interval.1 * worse_is);
                let (best, worst) = (a.min(b), a.max(b));
                if best > self.threshold && significant {
                    Change::Regressed
                } else if worst < -self.threshold && significant {
                    Change::Improved
                } else if best >= -self.threshold && worst <= self.threshold {
                    Change::Unchanged
                } else {
                    Change::Inconclusive
                }
            }
        };
        let runs = (self.values.0.len(), self.values.1.len());
        let interval = self.shift.map(|shift| shift.interval).filter(|(low, high)| low.is_finite() && high.is_finite());
        // A shift of the threshold and the width of the interval has all of its interval beyond the threshold.
        let able = tests > 0 && least_p(runs.0, runs.1) * (tests as f64) < policy.false_alarms;
        let smallest = interval.filter(|_| able).map(|(low, high)| self.threshold + (high - low));
        let repeats = (change == Change::Inconclusive).then(|| self.repeats(policy, tests, interval)).flatten();
        let sentence = self.sentence(change, interval, repeats);
        MetricChange {
            metric: self.metric,
            statistic: self.statistic.name().to_owned(),
            change,
            base: self.levels.0,
            new: self.levels.1,
            shift: self.shift.map(|shift| shift.estimate),
            interval,
            p: self.p,
            threshold: self.shift.map(|_| self.threshold),
            smallest,
            repeats,
            sentence,
        }
    }

    /// How many runs a side would tell: enough for the correction, and enough that the interval, which narrows with the
    /// square root of their number, lies on one side of the nearest threshold.
    fn repeats(&self, policy: &Policy, tests: usize, interval: Option<(f64, f64)>) -> Option<usize> {
        let runs = self.values.0.len().min(self.values.1.len());
        let least =
            (2..=MOST_REPEATS).find(|runs| least_p(*runs, *runs) * (tests.max(1) as f64) < policy.false_alarms)?;
        let narrow = match (interval, self.shift) {
            (Some((low, high)), Some(shift)) => {
                let room = (shift.estimate.abs() - self.threshold).abs();
                let half = (high - low) / 2.0;
                if room <= 0.0 { return None } else { (runs as f64 * (half / room).powi(2)).ceil() as usize }
            }
            _ => least,
        };
        Some(least.max(narrow).max(runs + 1)).filter(|repeats| *repeats <= MOST_REPEATS)
    }

    fn sentence(&self, change: Change, interval: Option<(f64, f64)>, repeats: Option<usize>) -> String {
        let name = format!("{} of {}", self.statistic.name(), self.metric.name());
        if let Some(lacks) = &self.lacks {
            return format!("{name}: {lacks}");
        }
        let (Some(base), Some(new), Some(shift)) = (self.levels.0, self.levels.1, self.shift) else {
            return format!("{name}: only one side has it");
        };
        let unit = self.metric.unit();
        let show = |value: f64| show(value, unit);
        let within = interval.map_or_else(
            || "too few runs for an interval".to_owned(),
            |(low, high)| format!("{} to {}", show(low), show(high)),
        );
        let mut said = format!(
            "{name} {}: {} instead of {}, shifted by {} ({within})",
            change.name(),
            show(new),
            show(base),
            show(shift.estimate)
        );
        if change == Change::Inconclusive {
            said += &repeats.map_or_else(
                || "; no reasonable number of repeats would tell".to_owned(),
                |repeats| format!("; {repeats} repeats a side would tell"),
            );
        }
        said
    }
}

/// Why the new side's samples are no basis for a verdict: it must not look better for lack of what went badly.
fn lacks(base: &Side, new: &Side, metric: Metric) -> Option<String> {
    let samples = |side: &Side| {
        let count: u64 = side.runs.iter().filter_map(|run| run.metrics.get(&metric)).map(|it| it.count).sum();
        count as f64 / side.runs.len().max(1) as f64
    };
    let (before, after) = (samples(base), samples(new));
    // How many samples there are while media flows depends on when it ends.
    let enough = if metric.scope() == Scope::Stream { ENOUGH / 2.0 } else { ENOUGH };
    (after < before * enough)
        .then(|| format!("{after:.1} samples in a run, before {before:.1}: what is missing cannot have become better"))
}

/// Holm's correction: the least p counts as many times as there are tests, the next one time less, and so on.
fn correct(looks: &mut [Look]) {
    let mut order: Vec<usize> = (0..looks.len()).filter(|index| looks[*index].p.is_some()).collect();
    order.sort_by(|a, b| looks[*a].p.unwrap_or(1.0).total_cmp(&looks[*b].p.unwrap_or(1.0)));
    let tests = order.len();
    let mut so_far: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        so_far = so_far.max(looks[index].p.unwrap_or(1.0) * (tests - rank) as f64).min(1.0);
        looks[index].p = Some(so_far);
    }
}

fn show(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds => format!("{value:.2} ms"),
        Unit::BitsPerSecond => format!("{:.1} kbit/s", value / 1e3),
        Unit::PerSecond => format!("{value:.2}/s"),
        Unit::Ratio => format!("{:.2} %", value * 100.0),
    }
}
