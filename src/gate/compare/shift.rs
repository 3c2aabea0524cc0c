//! How far the runs of one side lie from those of the other: the Hodges–Lehmann estimate of the shift, its confidence
//! interval, and the probability of it by chance, all from the exact distribution of Mann and Whitney's U.
//!
//! The unit is the run: its many samples share the machine and the moment, so that they are one observation. Nothing is
//! assumed of how runs are distributed, and one wild run moves little.

/// Above this many runs a side the normal approximation of U is as good as exact.
const EXACT_UP_TO: usize = 60;

/// By how much the new side lies above the base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The median of all differences between a new run and one of the base.
    pub estimate: f64,
    /// The confidence interval; from minus to plus infinity if there are too few runs for any.
    pub interval: (f64, f64),
    /// The chance of a shift as great as this, in either direction, between runs of the same kind.
    pub p: f64,
}

/// The shift from `base` to `new`, with an interval that holds it with this probability; absent without runs.
///
/// Equal values count as half above and half below, which makes the answer more cautious.
pub fn shift(base: &[f64], new: &[f64], confidence: f64) -> Option<Shift> {
    let mut differences: Vec<f64> = new.iter().flat_map(|new| base.iter().map(move |base| new - base)).collect();
    differences.sort_by(f64::total_cmp);
    let estimate = median(&differences)?;
    let null = Null::new(base.len(), new.len());
    let above = differences.iter().filter(|difference| **difference > 0.0).count() as f64;
    let equal = differences.iter().filter(|difference| **difference == 0.0).count() as f64;
    let u = above + equal / 2.0;
    // The nearer tail, rounded towards the middle where equal values leave a half.
    let p = (2.0 * null.at_most(u.min(differences.len() as f64 - u).ceil() as usize)).min(1.0);
    let cut = null.cut((1.0 - confidence) / 2.0);
    let interval = match cut {
        Some(cut) => (differences[cut], differences[differences.len() - 1 - cut]),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    };
    Some(Shift { estimate, interval, p })
}

/// The least probability by chance that this many runs a side can show.
pub(super) fn least_p(base: usize, new: usize) -> f64 {
    (2.0 * Null::new(base, new).at_most(0)).min(1.0)
}

/// The median of sorted values.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

/// How U is distributed if both sides are of the same kind.
struct Null {
    /// The probability of each value up to the middle, or what a normal distribution needs.
    shape: NullShape,
}

enum NullShape {
    Exact(Vec<f64>),
    Normal { mean: f64, deviation: f64 },
}

impl Null {
    fn new(base: usize, new: usize) -> Self {
        if base.max(new) > EXACT_UP_TO {
            let (m, n) = (base as f64, new as f64);
            let deviation = (m * n * (m + n + 1.0) / 12.0).sqrt();
            return Self { shape: NullShape::Normal { mean: m * n / 2.0, deviation } };
        }
        // Of the ways to arrange both sides, those with U = u are the partitions of u into at most `base` parts of at most
        // `new` each: coefficients of a Gaussian binomial, kept as probabilities so that nothing overflows.
        let mut ways = vec![0.0; base * new + 1];
        ways[0] = 1.0;
        for part in 1..=base {
            for u in (new + part..=base * new).rev() {
                ways[u] -= ways[u - new - part];
            }
            for u in part..=base * new {
                ways[u] += ways[u - part];
            }
        }
        let all: f64 = ways.iter().sum();
        ways.iter_mut().for_each(|ways| *ways /= all);
        Self { shape: NullShape::Exact(ways) }
    }

    /// The probability that U is at most this.
    fn at_most(&self, u: usize) -> f64 {
        match &self.shape {
            NullShape::Exact(probabilities) => probabilities.iter().take(u + 1).sum::<f64>().clamp(0.0, 1.0),
            NullShape::Normal { mean, deviation } => normal_below((u as f64 + 0.5 - mean) / deviation),
        }
    }

    /// How many of the sorted differences each tail of the interval leaves out; absent if even none is too much.
    fn cut(&self, tail: f64) -> Option<usize> {
        (self.at_most(0) <= tail).then(|| {
            let mut cut = 0;
            while self.at_most(cut + 1) <= tail {
                cut += 1;
            }
            cut
        })
    }
}

/// The standard normal distribution function, right to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn normal_below(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = series * (-x * x).exp() / 2.0;
    if z < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-6 * b.abs().max(1e-6)
    }

    #[test]
    fn probabilities_are_those_of_the_tables() {
        // Sides that do not overlap: 2 of the 252 arrangements of 5 and 5, 2 of the 184,756 of 10 and 10.
        assert!(close(least_p(5, 5), 2.0 / 252.0) && close(least_p(10, 10), 2.0 / 184_756.0));
        // Mann and Whitney's table: P(U <= 2) is 0.016 for 5 and 5, and P(U <= 23) is 0.022 for 10 and 10.
        assert!((Null::new(5, 5).at_most(2) - 4.0 / 252.0).abs() < 1e-9);
        assert!((Null::new(10, 10).at_most(23) - 0.0216).abs() < 1e-3);
        assert!((Null::new(3, 4).at_most(12) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn many_runs_are_as_the_exact_distribution_says() {
        let exact = Null::new(60, 60);
        let (mean, deviation) = (1800.0, (60.0_f64 * 60.0 * 121.0 / 12.0).sqrt());
        let normal = Null { shape: NullShape::Normal { mean, deviation } };
        for u in [1400, 1600, 1799] {
            assert!((exact.at_most(u) - normal.at_most(u)).abs() < 1e-3, "{u}");
        }
    }

    #[test]
    fn a_shift_is_found_with_its_interval() {
        let base: Vec<f64> = (0..10).map(|run| 100.0 + f64::from(run)).collect();
        let new: Vec<f64> = base.iter().map(|value| value + 20.0).collect();
        let found = shift(&base, &new, 0.95).unwrap();
        assert_eq!(found.estimate, 20.0);
        assert!(found.interval.0 > 15.0 && found.interval.1 < 25.0, "{found:?}");
        assert!(close(found.p, least_p(10, 10)), "{found:?}");
        let back = shift(&new, &base, 0.95).unwrap();
        assert_eq!((back.estimate, back.interval), (-20.0, (-found.interval.1, -found.interval.0)));
    }

    #[test]
    fn equal_sides_show_nothing_and_too_few_runs_have_no_interval() {
        let same = shift(&[1.0; 8], &[1.0; 8], 0.95).unwrap();
        assert_eq!((same.estimate, same.interval, same.p), (0.0, (0.0, 0.0), 1.0));
        let few = shift(&[1.0, 2.0, 3.0], &[11.0, 12.0, 13.0], 0.95).unwrap();
        assert_eq!(few.interval, (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!(shift(&[], &[1.0], 0.95), None);
    }

    #[test]
    fn the_interval_holds_the_shift_as_often_as_it_says() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let mut holds = 0;
        for _ in 0..2_000 {
            let mut side =
                |by: f64| -> Vec<f64> { (0..10).map(|_| by - (1.0 - random.random::<f64>()).ln()).collect() };
            let (base, new) = (side(0.0), side(0.5));
            let (low, high) = shift(&base, &new, 0.95).unwrap().interval;
            holds += u32::from((low..=high).contains(&0.5));
        }
        assert!((1_880..=1_960).contains(&holds), "{holds} of 2,000");
    }
}
