//! Metrics over load, as drawings.

use super::super::charts::{Axis, Tick, apart};
use super::super::number;
use super::super::svg::Drawing;
use super::{at, median, metrics};
use crate::capacity::{Capacity, Finding, Quantity, Statistics};
use crate::gate::{Expectation, GateResult, Statistic};
use crate::record::{Metric, Unit, reading};

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 150.0;
/// Room above the greatest value, as a share of it.
const HEADROOM: f64 = 1.08;

/// One metric over load.
pub(super) struct Curve {
    pub(super) title: String,
    /// The names of its lines: solid, then dashed.
    pub(super) lines: Vec<&'static str>,
    /// The limit of a gate or of `[health]`, if it has one.
    pub(super) limit: Option<String>,
    pub(super) chart: String,
    /// From the bottom.
    pub(super) rows: Vec<Tick>,
    pub(super) ticks: Vec<Tick>,
}

/// A number that is drawn, of the runs at a load.
type Line<'a> = (&'static str, Box<dyn Fn(f64) -> Option<f64> + 'a>);

/// A curve for every metric that matters, then for the machine.
pub(super) fn curves(capacity: &Capacity) -> Vec<Curve> {
    if capacity.probes.is_empty() {
        return Vec::new();
    }
    let of_metrics = metrics(capacity).into_iter().map(|metric| of_metric(capacity, metric));
    of_metrics.chain(machine(capacity)).collect()
}

fn of_metric(capacity: &Capacity, metric: Metric) -> Curve {
    let of = |of: fn(&Statistics) -> f64| -> Box<dyn Fn(f64) -> Option<f64> + '_> {
        Box::new(move |load| at(capacity, load, metric, of))
    };
    let lines: Vec<Line<'_>> = match metric.unit() {
        Unit::Ratio => vec![("mean", of(|statistics| statistics.mean))],
        Unit::Milliseconds | Unit::BitsPerSecond | Unit::PerSecond => {
            vec![("p95", of(|statistics| statistics.p95)), ("median", of(|statistics| statistics.p50))]
        }
    };
    let limit = capacity.probes[0].gates.iter().find_map(|result| limit(result, metric));
    draw(capacity, metric.name().to_owned(), &lines, limit, &|value| number::value(value, metric.unit()))
}

/// The number that a gate compares with, if it is about all samples and of a kind that is drawn.
fn limit(result: &GateResult, metric: Metric) -> Option<(f64, String)> {
    let gate = &result.gate;
    if gate.metric != metric || gate.group.is_some() || gate.set.is_some() {
        return None;
    }
    let expectation = Expectation::parse(&gate.expect, metric).ok()?;
    (expectation.statistic != Statistic::Count).then(|| (expectation.limit, format!("gate: {}", gate.expect)))
}

/// The CPU of the machine, which says how far the generator is from being the limit.
fn machine(capacity: &Capacity) -> Option<Curve> {
    let of = |load| {
        median(capacity, load, |probe| {
            probe.health.iter().find(|reading| reading.name == reading::MACHINE_CPU_RATIO)?.observed
        })
    };
    let known = capacity.probes[0].health.iter().find(|reading| reading.name == reading::MACHINE_CPU_RATIO)?;
    let limit = (known.limit, "limit of [health]".to_owned());
    let lines: Vec<Line<'_>> = vec![("median of the seconds", Box::new(of))];
    Some(draw(capacity, "CPU of this machine".into(), &lines, Some(limit), &|value| number::value(value, Unit::Ratio)))
}

fn draw(
    capacity: &Capacity,
    title: String,
    lines: &[Line<'_>],
    limit: Option<(f64, String)>,
    show: &dyn Fn(f64) -> String,
) -> Curve {
    let loads = capacity.loads();
    let values = lines.iter().flat_map(|(_, of)| loads.iter().filter_map(|load| of(*load)));
    let greatest = values.fold(0.0, f64::max);
    // A limit far above all values would flatten them.
    let top = match &limit {
        Some((limit, _)) if *limit <= greatest * 4.0 => greatest.max(*limit),
        _ => greatest,
    };
    let vertical = Axis::from_zero(top * HEADROOM);
    let horizontal = across(&loads);
    let mut drawing = Drawing::new(WIDTH, HEIGHT);
    if let (Some(holds), Some(fails)) = (capacity.holds, capacity.fails) {
        let [from, to] = [holds, fails].map(|load| horizontal.position(load) * WIDTH);
        let title = format!("the capacity lies between {holds} and {}", capacity.show(fails));
        drawing.rect("gap", from, 0.0, to - from, HEIGHT, &title);
    }
    if let Some((limit, _)) = limit.as_ref().filter(|(limit, _)| *limit <= top) {
        let at = Some(vertical.position(*limit));
        drawing.line("limit", &[(0.0, at), (1.0, at)]);
    }
    for ((_, of), class) in lines.iter().zip(["first", "second"]) {
        let points: Vec<_> = loads
            .iter()
            .filter_map(|load| Some((horizontal.position(*load), Some(vertical.position(of(*load)?)))))
            .collect();
        drawing.line(class, &points);
    }
    if let Some((_, of)) = lines.first() {
        for (class, wanted) in [("held", Finding::Held), ("broke", Finding::Broke), ("unfit", Finding::Unfit)] {
            let points = loads.iter().filter(|load| usual(capacity, **load) == wanted);
            let dots =
                points.filter_map(|load| Some((horizontal.position(*load), Some(vertical.position(of(*load)?)))));
            // A gap after each point makes it a dot.
            let dots: Vec<_> = dots.flat_map(|dot| [dot, (dot.0, None)]).collect();
            if !dots.is_empty() {
                drawing.line(class, &dots);
            }
        }
    }
    let label = format!("{title} over load, at most {}", show(greatest));
    let whole = |value: f64| capacity.quantity == Quantity::Arrivals || value.fract() == 0.0;
    Curve {
        title,
        lines: lines.iter().map(|(name, _)| *name).collect(),
        limit: limit.map(|(limit, name)| if limit <= top { name } else { format!("{name}, far above") }),
        chart: drawing.finish("curve", &label),
        rows: vertical.labelled_ticks(show),
        ticks: apart(
            horizontal
                .labelled_ticks(&|value| if whole(value) { number::digits(value) } else { String::new() })
                .into_iter()
                .filter(|tick| !tick.label.is_empty())
                .collect(),
        ),
    }
}

/// The loads that were tried, from the smallest to the largest.
fn across(loads: &[f64]) -> Axis {
    let (first, last) = (loads.first().copied().unwrap_or(1.0), loads.last().copied().unwrap_or(1.0));
    Axis::between(first, last)
}

/// How most runs at a load ended.
fn usual(capacity: &Capacity, load: f64) -> Finding {
    let count = |wanted| capacity.at(load).filter(|probe| probe.finding == wanted).count();
    // Of two findings equally often, the worse.
    [Finding::Held, Finding::Broke, Finding::Unfit]
        .into_iter()
        .max_by_key(|finding| count(*finding))
        .unwrap_or(Finding::Held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::testing::search;

    #[test]
    fn gated_metrics_come_first_with_their_limit() {
        let capacity = search("calls 4..64", 25, 100);
        let curves = curves(&capacity);
        let titles: Vec<&str> = curves.iter().map(|curve| curve.title.as_str()).collect();
        let wanted = [
            "connection_time_ms",
            "data_channel_latency_ms",
            "setup_success_ratio",
            "packet_loss_ratio",
            "CPU of this machine",
        ];
        assert_eq!(titles, wanted);
        assert_eq!(curves[0].limit.as_deref(), Some("gate: p95 < 200ms"));
        assert!(curves[0].chart.contains("class=\"limit\"") && curves[0].chart.contains("class=\"broke\""));
        assert!(curves[3].limit.is_none());
        let labels: Vec<&str> = curves[0].ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["10", "20", "30"]);
    }

    #[test]
    fn one_load_alone_is_a_curve_too() {
        let capacity = search("calls 4..64", 1, u64::MAX);
        assert!(curves(&capacity).iter().all(|curve| !curve.chart.contains("NaN")));
    }
}
