//! How the samples and the runs of both sides are distributed, metric by metric.

use std::collections::BTreeSet;

use super::super::charts::{Axis, Tick};
use super::super::number;
use super::super::svg::Drawing;
use super::page::{Sign, sign};
use crate::gate::compare::{MetricChange, Side};
use crate::record::{Direction, Distribution, Metric};

const WIDTH: f64 = 600.0;
/// Steps of a curve.
const STEPS: usize = 200;
/// Heights at which the dots of runs lie, so that equal runs do not hide each other.
const LANES: usize = 5;
/// Places across at which they lie: a thousand runs take no more room than that.
const PLACES: f64 = 200.0;

/// A metric: the samples of both sides over each other, and every run of both.
pub(super) struct Card {
    pub(super) metric: Metric,
    pub(super) better: &'static str,
    /// What has become of each of its statistics.
    pub(super) signs: Vec<(String, Sign)>,
    /// How many samples each side has.
    pub(super) samples: [u64; 2],
    pub(super) curve: Option<Curve>,
    /// What is said in place of a curve, or beside it.
    pub(super) note: String,
    pub(super) strips: Vec<Strip>,
}

/// The share of samples up to each value, of both sides.
pub(super) struct Curve {
    pub(super) chart: String,
    pub(super) scale: &'static str,
    pub(super) ticks: Vec<Tick>,
}

/// One statistic of every run of both sides.
pub(super) struct Strip {
    pub(super) statistic: String,
    /// Of the base, then of the new runs: median, and dots where the runs differ.
    pub(super) rows: [StripRow; 2],
    pub(super) ticks: Vec<Tick>,
}

pub(super) struct StripRow {
    pub(super) name: &'static str,
    pub(super) median: String,
    pub(super) chart: Option<String>,
}

/// A card for each metric, in the order in which they come first in `changes`.
pub(super) fn cards(changes: &[&MetricChange], base: &Side, new: &Side) -> Vec<Card> {
    let mut metrics: Vec<Metric> = Vec::new();
    for change in changes {
        if !metrics.contains(&change.metric) {
            metrics.push(change.metric);
        }
    }
    metrics
        .into_iter()
        .map(|metric| {
            let mut of_it: Vec<&MetricChange> = changes.iter().copied().filter(|it| it.metric == metric).collect();
            of_it.sort_by(|a, b| a.statistic.cmp(&b.statistic));
            card(metric, &of_it, base, new)
        })
        .collect()
}

fn card(metric: Metric, changes: &[&MetricChange], base: &Side, new: &Side) -> Card {
    let sides = [base, new].map(|side| pooled(side, metric));
    let unreadable: usize = sides.iter().map(|(_, unreadable)| unreadable).sum();
    let (curve, mut note) = curve(metric, &sides[0].0, &sides[1].0);
    if unreadable > 0 {
        let runs = number::count(unreadable as u64, "run");
        note += &format!("{}The histogram of {runs} cannot be read.", if note.is_empty() { "" } else { " " });
    }
    let better = match metric.direction() {
        Direction::SmallerIsBetter => "smaller is better",
        Direction::BiggerIsBetter => "bigger is better",
    };
    let samples = |side: &Side| side.runs.iter().filter_map(|run| run.metrics.get(&metric)).map(|it| it.count).sum();
    Card {
        metric,
        better,
        signs: changes.iter().map(|it| (it.statistic.clone(), sign(it.change))).collect(),
        samples: [samples(base), samples(new)],
        curve,
        note,
        strips: changes.iter().map(|change| strip(change, base, new)).collect(),
    }
}

/// The samples of all runs of a side together, and how many runs have none that can be read.
fn pooled(side: &Side, metric: Metric) -> (Distribution, usize) {
    let mut all = Distribution::new(metric.unit());
    let mut unreadable = 0;
    for summary in side.runs.iter().filter_map(|run| run.metrics.get(&metric)) {
        match Distribution::decode(metric.unit(), &summary.histogram) {
            Ok(run) => all.add(&run),
            Err(_) => unreadable += 1,
        }
    }
    (all, unreadable)
}

fn curve(metric: Metric, base: &Distribution, new: &Distribution) -> (Option<Curve>, String) {
    let mut both = base.clone();
    both.add(new);
    let (Some(min), Some(max)) = (both.min(), both.max()) else { return (None, String::new()) };
    let side = match (base.is_empty(), new.is_empty()) {
        (false, false) => "",
        (false, true) => "Only the base has samples.",
        _ => "Only the new runs have samples.",
    };
    // A curve of one value is a line at the edge.
    if min.total_cmp(&max).is_eq() {
        let note = format!("Every sample is {}. {side}", number::value(min, metric.unit()));
        return (None, note.trim_end().to_owned());
    }
    let axis = Axis::around(&both);
    let mut drawing = Drawing::new(WIDTH, 120.0);
    for share in [0.5, 0.95] {
        drawing.line("share", &[(0.0, Some(share)), (1.0, Some(share))]);
    }
    for (values, class) in [(base, "base"), (new, "new")] {
        if !values.is_empty() {
            drawing.line(class, &shares(values, axis));
        }
    }
    let median = |values: &Distribution| number::optional(values.quantile(0.5), metric.unit());
    let label = format!(
        "share of the samples of {} up to each value; median of the base {}, of the new runs {}",
        metric.name(),
        median(base),
        median(new)
    );
    let chart = drawing.finish("shares", &label);
    (Some(Curve { chart, scale: axis.scale(), ticks: axis.ticks(metric.unit()) }), side.to_owned())
}

/// The share of values up to each step of the axis; steps within a straight line are left out.
fn shares(values: &Distribution, axis: Axis) -> Vec<(f64, Option<f64>)> {
    let mut counts = [0_u64; STEPS];
    for (value, count) in values.values() {
        counts[((axis.position(value) * STEPS as f64) as usize).min(STEPS - 1)] += count;
    }
    let mut so_far = 0;
    let mut points = vec![(0.0, 0.0)];
    for (step, count) in counts.into_iter().enumerate() {
        so_far += count;
        let before = points[points.len() - 1].1;
        if count > 0 {
            let from = step as f64 / STEPS as f64;
            points.push((from, before));
            points.push(((step + 1) as f64 / STEPS as f64, so_far as f64 / values.count() as f64));
        }
    }
    points.push((1.0, 1.0));
    points.dedup();
    points.into_iter().map(|(x, share)| (x, Some(share))).collect()
}

fn strip(change: &MetricChange, base: &Side, new: &Side) -> Strip {
    let unit = change.metric.unit();
    let values = [base, new].map(|side| side.runs.iter().filter_map(|run| change.of(run)).collect::<Vec<f64>>());
    let least = values.iter().flatten().copied().reduce(f64::min);
    let most = values.iter().flatten().copied().reduce(f64::max);
    let axis = match (least, most) {
        (Some(least), Some(most)) if most > least => Some(Axis::across(least, most)),
        _ => None,
    };
    let row = |name: &'static str, values: &[f64], median: Option<f64>| {
        let said = number::optional(median, unit);
        let label =
            format!("{} of {} in each of the {} {name} runs", change.statistic, change.metric.name(), values.len());
        let chart = axis.map(|axis| dots(name, values, median, axis).finish("strip", &label));
        StripRow { name, median: said, chart }
    };
    Strip {
        statistic: change.statistic.clone(),
        rows: [row("base", &values[0], change.base), row("new", &values[1], change.new)],
        ticks: axis.map_or_else(Vec::new, |axis| axis.ticks(unit)),
    }
}

/// A dot for each run, the first at the top, and their median.
fn dots(name: &str, values: &[f64], median: Option<f64>, axis: Axis) -> Drawing {
    let mut drawing = Drawing::new(WIDTH, 26.0);
    if let Some(median) = median {
        drawing.vertical("median", axis.position(median) * WIDTH);
    }
    let places: BTreeSet<(usize, usize)> = values
        .iter()
        .enumerate()
        .map(|(run, value)| ((axis.position(*value) * PLACES).round() as usize, run * LANES / values.len()))
        .collect();
    let height = |lane: usize| 1.0 - (lane as f64 + 0.75) / (LANES as f64 + 0.5);
    // A gap after each point makes it a dot.
    let points: Vec<_> = places
        .into_iter()
        .map(|(place, lane)| (place as f64 / PLACES, height(lane)))
        .flat_map(|(x, y)| [(x, Some(y)), (x, None)])
        .collect();
    drawing.line(&format!("run {name}"), &points);
    if name == "base" {
        // Hollow, so that the sides differ without colours.
        drawing.line("hole", &points);
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Unit;

    fn of(values: &[f64]) -> Distribution {
        let mut distribution = Distribution::new(Unit::Milliseconds);
        values.iter().for_each(|value| distribution.record(*value));
        distribution
    }

    #[test]
    fn a_curve_climbs_from_nothing_to_all() {
        let values = of(&[10.0, 20.0, 20.0, 40.0]);
        let points = shares(&values, Axis::around(&values));
        let share = |at: f64| points.iter().rev().find(|(x, _)| *x <= at).and_then(|(_, share)| *share).unwrap();
        assert_eq!((share(0.2), share(0.3), share(0.6), share(1.0)), (0.0, 0.25, 0.75, 1.0));
        assert!(points.len() < 12, "straight stretches are two points: {points:?}");
    }

    #[test]
    fn one_value_and_one_side_are_said_in_words() {
        let metric = Metric::ConnectionTimeMs;
        let (none, note) = curve(metric, &of(&[5.0, 5.0]), &of(&[5.0]));
        assert!(none.is_none() && note == "Every sample is 5 ms.", "{note}");
        let (curve_of_base, note) = curve(metric, &of(&[5.0, 7.0]), &of(&[]));
        assert!(curve_of_base.is_some_and(|it| it.chart.contains("base") && !it.chart.contains("class=\"new\"")));
        assert_eq!(note, "Only the base has samples.");
        assert!(curve(metric, &of(&[]), &of(&[])).0.is_none());
    }

    #[test]
    fn wide_distributions_have_a_logarithmic_axis() {
        let (curve, _) = curve(Metric::ConnectionTimeMs, &of(&[1.0, 5.0]), &of(&[900.0]));
        assert_eq!(curve.unwrap().scale, ", logarithmic axis");
    }

    #[test]
    fn a_thousand_runs_take_no_more_room_than_their_places() {
        let values: Vec<f64> = (0..1_000).map(f64::from).collect();
        let axis = Axis::across(0.0, 1_000.0);
        let drawing = dots("base", &values, Some(500.0), axis).finish("strip", "");
        assert!(drawing.len() < 12_000, "{}", drawing.len());
    }
}
