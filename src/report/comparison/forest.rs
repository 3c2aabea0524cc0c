//! The intervals of all shifts under each other, on one axis: multiples of the least shift that counts, worse to the right.

use super::super::charts::{Tick, apart};
use super::super::number;
use super::super::svg::Drawing;
use super::signed;
use crate::gate::compare::MetricChange;
use crate::record::Direction;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 22.0;
/// The axis reaches as far as this many times the least shift that counts, or farther.
const LEAST_REACH: f64 = 3.0;
/// Room beyond the farthest end of an interval.
const ROOM: f64 = 1.15;

/// An axis for shifts of any metric. Around zero it is about linear and far out logarithmic, so that a shift of a hundred
/// times what counts is drawn without making the tolerance invisible.
pub(super) struct Forest {
    /// Half of its length.
    reach: f64,
}

impl Forest {
    /// Wide enough for every interval of these.
    pub(super) fn over(metrics: &[MetricChange]) -> Self {
        let ends = metrics.iter().filter_map(Multiples::of).flat_map(|it| {
            let (best, worst) = it.interval.unwrap_or((it.shift, it.shift));
            [best.abs(), worst.abs(), it.shift.abs()]
        });
        let farthest = ends.filter(|end| end.is_finite()).fold(LEAST_REACH, f64::max);
        Self { reach: (farthest * ROOM).asinh() }
    }

    /// The tolerance and powers of ten of it.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let tick = |multiple: f64| {
            let sign = if multiple < 0.0 { "−" } else { "+" };
            let label =
                if multiple == 0.0 { "0".to_owned() } else { format!("{sign}{}×", number::digits(multiple.abs())) };
            Tick { percent: self.position(multiple) * 100.0, anchor: "middle", label }
        };
        let powers = (0..=6).map(|power| 10_f64.powi(power)).filter(|power| power.asinh() < self.reach * 0.92);
        // Only where it does not cover the zero, which says more.
        let powers = powers.filter(|power| power.asinh() > self.reach * 0.18);
        let both = powers.flat_map(|power| [power, -power]);
        apart(std::iter::once(0.0).chain(both).map(tick).collect())
    }

    /// The tolerance, the interval and the estimate of a metric; absent where one side lacks the metric.
    pub(super) fn bar(&self, change: &MetricChange) -> Option<String> {
        let multiples = Multiples::of(change)?;
        let unit = change.metric.unit();
        let mut drawing = Drawing::new(WIDTH, HEIGHT);
        let place = |multiple: f64| self.position(multiple) * WIDTH;
        let threshold = change.threshold.unwrap_or_default();
        let tolerance = format!("within the tolerance: up to {}", number::value(threshold, unit));
        drawing.rect("tolerated", place(-1.0), 0.0, place(1.0) - place(-1.0), HEIGHT, &tolerance);
        drawing.vertical("zero", place(0.0));
        let middle = Some(0.5);
        let said = match (multiples.interval, change.interval) {
            (Some((best, worst)), Some((low, high))) => {
                let said = format!("{} to {}", signed(low, unit), signed(high, unit));
                // An interval of no length must be seen too.
                let (from, to) = (place(best), place(worst).max(place(best) + 2.0));
                drawing.rect(change.change.name(), from, HEIGHT * 0.18, to - from, HEIGHT * 0.64, &said);
                said
            }
            _ => {
                drawing.line("anywhere", &[(0.0, middle), (1.0, middle)]);
                "too few runs for an interval".to_owned()
            }
        };
        drawing.line("estimate", &[(self.position(multiples.shift), middle)]);
        let shift = signed(change.shift.unwrap_or_default(), unit);
        let label = format!("{} of {}: shift {shift}, {said}; {tolerance}", change.statistic, change.metric.name());
        Some(drawing.finish("forest", &label))
    }

    fn position(&self, multiple: f64) -> f64 {
        ((multiple.asinh() / self.reach + 1.0) / 2.0).clamp(0.0, 1.0)
    }
}

/// A shift in multiples of the least that counts; above zero is worse.
struct Multiples {
    shift: f64,
    /// The better end, then the worse.
    interval: Option<(f64, f64)>,
}

impl Multiples {
    fn of(change: &MetricChange) -> Option<Self> {
        let threshold = change.threshold.filter(|threshold| *threshold > 0.0)?;
        let worse_is = if change.metric.direction() == Direction::SmallerIsBetter { 1.0 } else { -1.0 };
        let multiple = |value: f64| value * worse_is / threshold;
        let interval = change.interval.map(|(low, high)| {
            let (a, b) = (multiple(low), multiple(high));
            (a.min(b), a.max(b))
        });
        Some(Self { shift: multiple(change.shift?), interval })
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::testing::change;
    use super::*;
    use crate::gate::compare::Change;
    use crate::record::Metric;

    #[test]
    fn worse_is_to_the_right_whichever_way_is_better() {
        let slower = change(Metric::ConnectionTimeMs, Change::Regressed, 50.0, 20.0);
        let fewer = change(Metric::GoodputBps, Change::Regressed, 1e6, -4e5);
        for it in [slower, fewer] {
            let multiples = Multiples::of(&it).unwrap();
            assert_eq!(multiples.shift, 4.0);
            assert!(multiples.interval.is_some_and(|(best, worst)| best > 1.0 && best < 4.0 && worst > 4.0));
        }
    }

    #[test]
    fn every_interval_lies_within_the_axis_however_far_it_reaches() {
        let far = change(Metric::ConnectionTimeMs, Change::Regressed, 10.0, 60_000.0);
        let near = change(Metric::CallSetupMs, Change::Unchanged, 10.0, 0.1);
        let forest = Forest::over(&[far.clone(), near.clone()]);
        assert!(forest.position(Multiples::of(&far).unwrap().interval.unwrap().1) < 1.0);
        assert!(forest.position(1.0) - forest.position(-1.0) > 0.05, "the tolerance is still seen");
        assert!(forest.ticks().iter().all(|tick| (1.0..=99.0).contains(&tick.percent)));
        assert!(forest.bar(&near).unwrap().contains("class=\"unchanged\""));
    }

    #[test]
    fn too_few_runs_have_no_interval_and_one_side_alone_has_no_bar() {
        let mut few = change(Metric::ConnectionTimeMs, Change::Inconclusive, 50.0, 20.0);
        few.interval = None;
        assert!(Forest::over(&[few.clone()]).bar(&few).unwrap().contains("too few runs for an interval"));
        few.shift = None;
        assert_eq!(Forest::over(&[few.clone()]).bar(&few), None);
    }
}
