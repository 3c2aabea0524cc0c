//! When calls start and how long they last: the load's curve and distributions, spelled out call by call.
//!
//! Arrivals are the points where the integral of the rate passes given values: whole numbers for even spacing, sums of
//! exponential variates of mean 1 for a Poisson process (the time-rescaling theorem). So one piece of arithmetic serves a
//! constant rate, ramps, jumps and both spacings.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::derive_seed;
use crate::scenario::{Hold, HoldDistribution, HoldTable, Load, Spacing};

const SECOND_US: f64 = 1e6;
/// Two halves of a trapezoid, an hour in microseconds, thousandths: what areas under the curve are divided by.
const AREA_UNIT: u128 = 2 * 3_600_000_000 * 1_000;

/// A stretch of time over which the rate changes in a straight line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Segment {
    /// How long it lasts, in microseconds; 0 for a jump.
    pub(crate) duration_us: u64,
    /// The rate at its beginning, in thousandths of an arrival per hour.
    pub(crate) from: u64,
    /// The rate at its end.
    pub(crate) to: u64,
}

/// The rate of arrivals over time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ArrivalCurve {
    segments: Vec<Segment>,
}

impl Segment {
    /// The arrivals under it, in [`AREA_UNIT`]s.
    fn area(self) -> u128 {
        (u128::from(self.from) + u128::from(self.to)) * u128::from(self.duration_us)
    }

    /// When so many arrivals have passed since its beginning, in microseconds.
    fn time_of(self, arrivals: f64) -> f64 {
        let per_second = |rate: u64| rate as f64 / 3.6e6;
        let (from, seconds) = (per_second(self.from), self.duration_us as f64 / SECOND_US);
        let slope = (per_second(self.to) - from) / seconds;
        // The root of from·t + slope·t²/2 = arrivals in the form that loses no digits when the slope is small.
        let root = (from * from + 2.0 * slope * arrivals).max(0.0).sqrt();
        let time = if from + root > 0.0 { 2.0 * arrivals / (from + root) } else { 0.0 };
        time.min(seconds) * SECOND_US
    }
}

impl ArrivalCurve {
    pub(crate) fn new(segments: Vec<Segment>) -> Self {
        Self { segments }
    }

    /// How many arrivals there are with even spacing, and on average with any: one at the beginning, and one whenever the
    /// integral of the rate passes a whole number before the end.
    pub(crate) fn mean_count(&self) -> u64 {
        let area: u128 = self.segments.iter().map(|segment| segment.area()).sum();
        u64::try_from(area.div_ceil(AREA_UNIT)).unwrap_or(u64::MAX)
    }

    /// The times, in microseconds, at which the integral of the rate passes these ascending values, as far as it does.
    fn times(&self, values: impl Iterator<Item = f64>) -> Vec<u64> {
        let mut segments = self.segments.iter().copied().filter(|segment| segment.duration_us > 0);
        let (mut current, mut begins_us, mut passed) = (segments.next(), 0, 0_u128);
        let mut times = Vec::new();
        for value in values {
            while let Some(segment) = current
                && value >= (passed + segment.area()) as f64 / AREA_UNIT as f64
            {
                passed += segment.area();
                begins_us += segment.duration_us;
                current = segments.next();
            }
            let Some(segment) = current else { break };
            let into = segment.time_of(value - passed as f64 / AREA_UNIT as f64);
            times.push(begins_us + into.round() as u64);
        }
        times
    }
}

/// The arrivals of a load that says itself how many there are.
pub(crate) fn timed(load: &Load, seed: u64) -> Vec<u64> {
    let curve = load.curve();
    match load.spacing {
        Spacing::Even => curve.times((0..curve.mean_count()).map(|number| number as f64)),
        Spacing::Poisson => curve.times(poisson(seed, "arrivals")),
    }
}

/// The arrivals of calls that are counted, without end, in microseconds after the first may start.
///
/// `series` tells apart those that have a clock of their own.
pub(crate) fn counted(load: &Load, seed: u64, series: &str) -> Box<dyn Iterator<Item = u64>> {
    match (load.arrivals, load.spacing) {
        (None, _) => Box::new(std::iter::repeat(0)),
        (Some(rate), Spacing::Even) => Box::new((0..).map(move |number| rate.offset_us(number))),
        (Some(rate), Spacing::Poisson) => {
            let mean_us = 3.6e12 / rate.milli_events_per_hour() as f64;
            let name = if series.is_empty() { "arrivals".into() } else { format!("arrivals/{series}") };
            Box::new(poisson(seed, &name).map(move |sum| (sum * mean_us) as u64))
        }
    }
}

/// How long media flows in the call, or a person stays, with this name, in microseconds.
///
/// Each has a random number of its own, so that one more does not change the others.
pub(crate) fn hold_us(load: &Load, seed: u64, name: &str) -> u64 {
    match &load.hold {
        Hold::Constant(time) => time.us,
        Hold::Drawn(table) => draw(table, uniform(&mut rng(seed, &format!("hold/{name}")))),
    }
}

/// The value of the distribution at this quantile, at least 0 and below 1.
fn draw(table: &HoldTable, quantile: f64) -> u64 {
    let (least, most) = table.bounds();
    let (low, high) = (least.us as f64, most.us as f64);
    let value = match (table.distribution, table.mean) {
        (HoldDistribution::Exponential, Some(mean)) => {
            // The inverse of the distribution function between the bounds: values beyond them are not piled up there.
            let mean = mean.us as f64;
            let beyond = 1.0 - (-(high - low) / mean).exp();
            low - mean * (1.0 - quantile * beyond).ln()
        }
        _ => low + quantile * (high - low),
    };
    (value as u64).clamp(least.us, most.us)
}

/// The ascending sums of exponential variates of mean 1.
fn poisson(seed: u64, name: &str) -> impl Iterator<Item = f64> + use<> {
    let mut rng = rng(seed, name);
    let mut sum = 0.0;
    std::iter::repeat_with(move || {
        sum -= (1.0 - uniform(&mut rng)).ln();
        sum
    })
}

fn rng(seed: u64, name: &str) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(derive_seed(seed, name))
}

/// Uniform over [0, 1), with all the 53 bits that a float can tell apart.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Stage, Time};

    fn load(text: &str) -> Load {
        toml::from_str(text).unwrap()
    }

    fn stages(stages: &[(&str, &str)]) -> Load {
        let stage = stages
            .iter()
            .map(|(duration, target)| Stage { duration: duration.parse().unwrap(), target: target.parse().unwrap() });
        Load { stage: stage.collect(), ..Load::default() }
    }

    #[test]
    fn a_constant_rate_over_a_duration_starts_so_many_calls_evenly() {
        let load = load("arrivals = '250/s'\nduration = '60s'");
        let times = timed(&load, 1);
        assert_eq!((times.len(), load.curve().mean_count()), (15_000, 15_000));
        assert_eq!(times[..4], [0, 4_000, 8_000, 12_000]);
        assert!(*times.last().unwrap() < 60_000_000);
    }

    #[test]
    fn a_ramp_has_the_area_under_it() {
        // 0 to 50 per second in 20 s: 500 arrivals, half of them in the last 29 % of the time.
        let times = timed(&stages(&[("20s", "50/s")]), 1);
        assert_eq!(times.len(), 500);
        assert_eq!(times[0], 0);
        assert_eq!(times[125], 10_000_000, "t²·2.5/2 = 125 at t = 10 s");
        let first_half = times.iter().filter(|time| **time < 10_000_000).count();
        assert_eq!(first_half, 125);
    }

    #[test]
    fn stages_follow_each_other_with_ramps_jumps_and_pauses() {
        let load = stages(&[
            ("10s", "10/s"),
            ("10s", "10/s"),
            ("0s", "200/s"),
            ("1s", "200/s"),
            ("0s", "0/s"),
            ("5s", "0/s"),
            ("0s", "10/s"),
            ("10s", "0/s"),
        ]);
        let times = timed(&load, 1);
        let between = |from: u64, to: u64| times.iter().filter(|us| (from..to).contains(&(*us / 1_000_000))).count();
        assert_eq!(times.len(), 50 + 100 + 200 + 50);
        assert_eq!((between(0, 10), between(10, 20), between(20, 21)), (50, 100, 200));
        assert_eq!((between(21, 26), between(26, 36)), (0, 50));
        assert!(times.is_sorted());
    }

    #[test]
    fn a_poisson_process_has_the_rate_on_average_and_varies_as_one_does() {
        let load = load("arrivals = '100/s'\nspacing = 'poisson'\nduration = '100s'");
        let times = timed(&load, 7);
        // The standard deviation of a Poisson count of 10000 is 100.
        assert!((9_600..=10_400).contains(&times.len()), "{}", times.len());
        let mut counts = [0_u32; 100];
        times.iter().for_each(|time| counts[(time / 1_000_000) as usize] += 1);
        let mean = times.len() as f64 / 100.0;
        let variance = counts.iter().map(|count| (f64::from(*count) - mean).powi(2)).sum::<f64>() / 99.0;
        // The variance of its counts is their mean; of 100 counts it is told to within 14 % (one standard deviation).
        assert!((0.5..1.5).contains(&(variance / mean)), "{}", variance / mean);
        assert_eq!(timed(&load, 7), times, "the same seed gives the same arrivals");
        assert_ne!(timed(&load, 8), times);
    }

    #[test]
    fn a_poisson_ramp_follows_its_rate() {
        let load = Load { spacing: Spacing::Poisson, ..stages(&[("100s", "100/s")]) };
        let times = timed(&load, 3);
        assert!((4_700..=5_300).contains(&times.len()), "{}", times.len());
        let first_half = times.iter().filter(|time| **time < 50_000_000).count() as f64;
        assert!((0.22..0.28).contains(&(first_half / times.len() as f64)), "a quarter of the area: {first_half}");
    }

    #[test]
    fn counted_calls_follow_each_other_at_their_rate() {
        let even = load("arrivals = '3/s'");
        assert_eq!(counted(&even, 1, "").take(4).collect::<Vec<_>>(), [0, 333_333, 666_666, 1_000_000]);
        let random = load("arrivals = '3/s'\nspacing = 'poisson'");
        let last = counted(&random, 1, "").nth(2_999).unwrap() as f64 / 1e6;
        assert!((945.0..1_055.0).contains(&last), "{last}");
        assert_ne!(counted(&random, 1, "").next(), counted(&random, 1, "late").next());
        assert_eq!(counted(&Load::default(), 1, "").take(2).collect::<Vec<_>>(), [0, 0]);
    }

    #[test]
    fn hold_times_have_the_mean_and_the_bounds_of_their_distribution() {
        let holds = |load: &Load| -> Vec<f64> {
            (0..10_000).map(|call| hold_us(load, 5, &format!("a/{call}")) as f64 / 1e6).collect()
        };
        let mean = |holds: &[f64]| holds.iter().sum::<f64>() / holds.len() as f64;
        let uniform = holds(&load("hold = { distribution = 'uniform', min = '5s', max = '15s' }"));
        assert!(uniform.iter().all(|hold| (5.0..=15.0).contains(hold)));
        // Three standard errors of 10000 values: 0.087.
        assert!((mean(&uniform) - 10.0).abs() < 0.087, "{}", mean(&uniform));
        let exponential = holds(&load("hold = { distribution = 'exponential', mean = '10s' }"));
        assert!(exponential.iter().all(|hold| (0.1..=100.0).contains(hold)));
        assert!((mean(&exponential) - 10.1).abs() < 0.3, "{}", mean(&exponential));
        let cut = holds(&load("hold = { distribution = 'exponential', mean = '10s', min = '2s', max = '12s' }"));
        assert!(cut.iter().all(|hold| (2.0..=12.0).contains(hold)));
        // Of an exponential distribution between 0 and its mean: 1 - 1/(e-1) = 0.418 of the mean.
        assert!((mean(&cut) - 6.18).abs() < 0.09, "{}", mean(&cut));
        assert_eq!(hold_us(&Load::default(), 5, "a/0"), Time::from_millis(5_000).us);
    }
}
