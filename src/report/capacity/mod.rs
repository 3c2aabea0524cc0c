//! The reports of a search for the capacity: what it came to, the curve, and every run.

mod curve;
mod junit;
mod page;
mod text;

pub(super) use junit::render as junit;
pub(super) use page::render as html;
pub(super) use text::markdown;
pub use text::{annotation, line, terminal};

use crate::capacity::{Capacity, Finding, HELD_NEEDED, Probe, Statistics};
use crate::record::{Metric, Unit};

/// Metrics whose curves are shown whatever the gates are about: latency and loss.
const ALWAYS: [Metric; 7] = [
    Metric::ConnectionTimeMs,
    Metric::CallSetupMs,
    Metric::DataChannelLatencyMs,
    Metric::RttMs,
    Metric::SetupSuccessRatio,
    Metric::FrameIntegrityRatio,
    Metric::PacketLossRatio,
];

/// The metrics of the curve: those of the gates, then latency and loss.
fn metrics(capacity: &Capacity) -> Vec<Metric> {
    let gated = capacity.probes.first().into_iter().flat_map(|probe| &probe.gates).map(|result| result.gate.metric);
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in gated.chain(ALWAYS) {
        let measured = capacity.probes.iter().any(|probe| probe.metrics.contains_key(metric.name()));
        if measured && !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    metrics
}

/// The number that a table shows of a metric, and what it is called: of a share its mean, of all else its p95.
fn typical(metric: Metric) -> (&'static str, fn(&Statistics) -> f64) {
    match metric.unit() {
        Unit::Ratio => ("mean", |statistics| statistics.mean),
        Unit::Milliseconds | Unit::BitsPerSecond | Unit::PerSecond => ("p95", |statistics| statistics.p95),
    }
}

/// The median over the runs at a load.
fn median(capacity: &Capacity, load: f64, value: impl Fn(&Probe) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = capacity.at(load).filter_map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A number of a metric at a load, over its runs.
fn at(capacity: &Capacity, load: f64, metric: Metric, of: fn(&Statistics) -> f64) -> Option<f64> {
    median(capacity, load, |probe| probe.metrics.get(metric.name()).map(of))
}

/// The word for what the runs at a load say of it.
fn standing(capacity: &Capacity, load: f64) -> &'static str {
    let held = capacity.at(load).filter(|probe| probe.finding == Finding::Held).count();
    match capacity.fails {
        Some(fails) if load > fails => "above",
        Some(fails) if load.total_cmp(&fails).is_eq() => "did not hold",
        _ if held >= HELD_NEEDED as usize => "holds",
        _ if held > 0 => "passed by",
        _ => "in doubt",
    }
}

/// The word for a finding.
fn finding(finding: Finding) -> &'static str {
    match finding {
        Finding::Held => "held",
        Finding::Broke => "broke",
        Finding::Unfit => "no trustworthy result",
    }
}
