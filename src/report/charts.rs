//! The distributions of metrics, as the page shows them.

use super::number;
use super::svg::Drawing;
use crate::record::{Direction, Distribution, Metric, Record, Selection, Unit};

const BINS: usize = 60;
/// From this ratio of greatest to least value the axis is logarithmic.
const LOG_FROM: f64 = 30.0;

/// The width of an axis on a narrow screen, in pixels.
const NARROWEST: f64 = 280.0;
/// The width of a letter of a label, in pixels.
const LETTER: f64 = 7.5;

/// The range of a chart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    min: f64,
    max: f64,
    log: bool,
}

impl Axis {
    /// From 0 to `max`.
    pub(super) fn from_zero(max: f64) -> Self {
        Self { min: 0.0, max: if max > 0.0 { max } else { 1.0 }, log: false }
    }

    /// Between two values above 0.
    pub(super) fn between(min: f64, max: f64) -> Self {
        Self { min, max: if max > min { max } else { min * 2.0 }, log: max / min >= LOG_FROM }
    }

    /// Around values that differ, with room on both sides.
    pub(super) fn across(min: f64, max: f64) -> Self {
        if min > 0.0 && max / min >= LOG_FROM {
            return Self { min: min / 1.2, max: max * 1.2, log: true };
        }
        let room = (max - min) * 0.06;
        Self { min: (min - room).max(0.0), max: max + room, log: false }
    }

    pub(super) fn around(values: &Distribution) -> Self {
        let (min, max) = (values.min().unwrap_or(0.0), values.max().unwrap_or(1.0));
        if values.unit() == Unit::Ratio {
            return if min >= 0.9 { Self { min: 0.9, max: 1.0, log: false } } else { Self::from_zero(1.0) };
        }
        if min > 0.0 && max / min >= LOG_FROM { Self { min, max, log: true } } else { Self::from_zero(max) }
    }

    /// Where a value lies, as a share of the width.
    pub(super) fn position(self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.min) / self.min).ln() / (self.max / self.min).ln()
        } else {
            (value - self.min) / (self.max - self.min)
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// What is to be said of the axis beside its labels.
    pub(super) fn scale(self) -> &'static str {
        if self.log { ", logarithmic axis" } else { "" }
    }

    /// Round values with their places in percent of the width, none of which covers another.
    pub(super) fn ticks(self, unit: Unit) -> Vec<Tick> {
        apart(self.labelled_ticks(&|value| number::value(value, unit)))
    }

    /// The same, labelled by the caller.
    pub(super) fn labelled_ticks(self, label: &dyn Fn(f64) -> String) -> Vec<Tick> {
        let values: Vec<f64> = if self.log {
            let factors: &[f64] = if self.max / self.min < 1000.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
            let decades = self.min.log10().floor() as i32..=self.max.log10().floor() as i32;
            decades
                .flat_map(|decade| factors.iter().map(move |factor| factor * 10_f64.powi(decade)))
                .filter(|value| (self.min..=self.max).contains(value))
                .collect()
        } else {
            let step = round_step((self.max - self.min) / 5.0);
            let first = (self.min / step).ceil() as i64;
            let last = (self.max / step + 1e-9).floor() as i64;
            (first..=last).map(|index| index as f64 * step).collect()
        };
        let tick = |value: &f64| {
            let percent = self.position(*value) * 100.0;
            let anchor = match percent {
                percent if percent < 4.0 => "start",
                percent if percent > 94.0 => "end",
                _ => "middle",
            };
            Tick { percent, anchor, label: label(*value) }
        };
        values.iter().map(tick).collect()
    }
}

/// A labelled place on an axis.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) percent: f64,
    /// Which side of the label stands at the place, so that none reaches beyond the axis.
    pub(super) anchor: &'static str,
    pub(super) label: String,
}

impl Tick {
    /// From where to where the label reaches, in percent of the narrowest axis.
    fn extent(&self) -> (f64, f64) {
        let width = (self.label.chars().count() as f64 * LETTER + 1.0) / NARROWEST * 100.0;
        match self.anchor {
            "start" => (self.percent, self.percent + width),
            "end" => (self.percent - width, self.percent),
            _ => (self.percent - width / 2.0, self.percent + width / 2.0),
        }
    }
}

/// Those that stand beside each other without touching, powers of ten before others.
pub(super) fn apart(ticks: Vec<Tick>) -> Vec<Tick> {
    let is_round = |tick: &Tick| tick.label.trim_start_matches(['0', '.']).starts_with('1');
    let (round, others): (Vec<Tick>, Vec<Tick>) = ticks.into_iter().partition(is_round);
    let mut kept: Vec<Tick> = Vec::new();
    for tick in round.into_iter().chain(others) {
        let (from, to) = tick.extent();
        let free = kept.iter().all(|other| {
            let (other_from, other_to) = other.extent();
            (to < other_from || from > other_to) && tick.label != other.label
        });
        if free {
            kept.push(tick);
        }
    }
    kept.sort_by(|a, b| a.percent.total_cmp(&b.percent));
    kept
}

/// One metric: its distribution overall, by peer group and by call set, on one axis.
pub(super) struct MetricCard {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) better: &'static str,
    pub(super) scale: &'static str,
    pub(super) ticks: Vec<Tick>,
    pub(super) rows: Vec<Row>,
}

/// One distribution.
pub(super) struct Row {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) count: String,
    pub(super) chart: String,
    pub(super) min: String,
    pub(super) p50: String,
    pub(super) p95: String,
    pub(super) max: String,
}

/// A card for every metric that has samples.
pub(super) fn metric_cards(record: &Record) -> Vec<MetricCard> {
    record.metrics().filter_map(|metric| metric_card(record, metric)).collect()
}

fn metric_card(record: &Record, metric: Metric) -> Option<MetricCard> {
    let all = record.distribution(metric, Selection::ALL);
    if all.is_empty() {
        return None;
    }
    let axis = Axis::around(&all);
    let groups = record.groups().into_iter().map(|name| ("group", name, Selection::group(name)));
    let sets = shown_sets(record).into_iter().map(|name| ("calls", name, Selection::set(name)));
    let parts: Vec<Row> = groups
        .chain(sets)
        .filter_map(|(kind, name, selection)| row(record, metric, kind, name, selection, axis))
        .collect();
    let mut rows: Vec<Row> = row(record, metric, "", "all", Selection::ALL, axis).into_iter().collect();
    // One group in one set is the whole; to say it thrice helps nobody.
    if parts.len() > 2 {
        rows.extend(parts);
    }
    let better = match metric.direction() {
        Direction::SmallerIsBetter => "smaller is better",
        Direction::BiggerIsBetter => "bigger is better",
    };
    Some(MetricCard {
        name: metric.name(),
        description: metric.description(),
        better,
        scale: axis.scale(),
        ticks: axis.ticks(metric.unit()),
        rows,
    })
}

fn row(
    record: &Record,
    metric: Metric,
    kind: &'static str,
    name: &str,
    selection: Selection<'_>,
    axis: Axis,
) -> Option<Row> {
    let values = record.distribution(metric, selection);
    let (min, max) = (values.min()?, values.max()?);
    let (p50, p95) = (values.quantile(0.5)?, values.quantile(0.95)?);
    let mut bins = vec![0.0; BINS];
    for (value, count) in values.values() {
        let bin = (axis.position(value) * BINS as f64) as usize;
        bins[bin.min(BINS - 1)] += count as f64;
    }
    let mut drawing = Drawing::new(600.0, 24.0);
    drawing.bars("bars", &bins);
    drawing.vertical("p50", axis.position(p50) * 600.0);
    drawing.vertical("p95", axis.position(p95) * 600.0);
    let [min, p50, p95, max] = [min, p50, p95, max].map(|value| number::value(value, metric.unit()));
    let expected = record.expected_count(metric, selection);
    let count = match expected {
        Some(expected) if expected != values.count() => format!("{} of {expected}", values.count()),
        _ => values.count().to_string(),
    };
    let label = format!("{} of {name}: min {min}, p50 {p50}, p95 {p95}, max {max}", metric.name());
    Some(Row { kind, name: name.to_owned(), count, chart: drawing.finish("dist", &label), min, p50, p95, max })
}

/// The sets with a row of their own. A matrix has one for each pair of networks, too many to compare.
fn shown_sets(record: &Record) -> Vec<&str> {
    let in_matrix = record.plan().is_some_and(|plan| plan.calls.iter().any(|call| call.cell.is_some()));
    if in_matrix { Vec::new() } else { record.sets() }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= rough).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_axis() {
        let labels = |axis: Axis| axis.ticks(Unit::Milliseconds).into_iter().map(|tick| tick.label).collect::<Vec<_>>();
        assert_eq!(labels(Axis::from_zero(87.0)), ["0 ms", "20 ms", "40 ms", "60 ms", "80 ms"]);
        assert_eq!(labels(Axis::from_zero(200.0)), ["0 ms", "50 ms", "100 ms", "150 ms", "200 ms"]);
        assert_eq!(labels(Axis { min: 0.5, max: 1200.0, log: true }), ["1 ms", "10 ms", "100 ms", "1000 ms"]);
        let ticks = Axis::from_zero(f64::from(u16::MAX)).ticks(Unit::Milliseconds);
        assert!(ticks.iter().all(|tick| (0.0..=100.0).contains(&tick.percent)));
    }
}
