//! The distribution of a metric: an HdrHistogram beside the exact count, sum, least and greatest value.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::Unit;

/// Significant decimal digits of every histogram: quantiles are right to one part in a thousand.
const DIGITS: u8 = 3;
/// One hour in microseconds: times above it count as it.
const HOUR_US: u64 = 3_600_000_000;
/// One terabit per second: rates above it count as it.
const GREATEST_RATE: u64 = 1_000_000_000_000;
/// A ratio of 1 in parts per million: shares above it count as it.
const WHOLE_PPM: u64 = 1_000_000;

/// How the values of a metric are distributed.
///
/// Quantiles come from a histogram of three significant digits, in steps of [`Unit::scale`] with fixed bounds, so that
/// histograms of different runs and machines add up exactly. Count, sum, least and greatest value are exact: a ratio that
/// is 1 for every call has a mean of 1, not of 1.0004.
#[derive(Clone, Debug)]
pub struct Distribution {
    unit: Unit,
    histogram: Histogram<u64>,
    sum: f64,
    min: f64,
    max: f64,
}

impl Distribution {
    /// A distribution without values.
    pub fn new(unit: Unit) -> Self {
        Self { unit, histogram: empty(), sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }

    /// Adds a value in the metric's unit. Negative values count as 0; a value that is not finite does not count.
    pub fn record(&mut self, value: f64) {
        self.record_n(value, 1);
    }

    /// Adds a value so many times.
    pub fn record_n(&mut self, value: f64, count: u64) {
        if !value.is_finite() {
            return;
        }
        let value = value.max(0.0);
        let steps = ((value * self.unit.scale()).round() as u64).min(greatest_step(self.unit));
        // The histogram grows up to the greatest step. (`saturating_record` would clip to its present size instead.)
        if self.histogram.record_n(steps, count).is_err() {
            return;
        }
        self.sum += value * count as f64;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds every value of another distribution of the same unit.
    pub fn add(&mut self, other: &Self) {
        debug_assert_eq!(self.unit, other.unit, "distributions of different units do not add up");
        // The histogram resizes itself and has the same resolution, so that nothing can be out of range.
        let _ = self.histogram.add(&other.histogram);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Forgets every value, and keeps the memory for the next ones.
    pub fn clear(&mut self) {
        self.histogram.reset();
        (self.sum, self.min, self.max) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
    }

    /// What the numbers are.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The sum of the values, exact; 0 without values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The least value, exact; absent without values.
    pub fn min(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.min)
    }

    /// The greatest value, exact; absent without values.
    pub fn max(&self) -> Option<f64> {
        (!self.is_empty()).then_some(self.max)
    }

    /// The arithmetic mean, exact; absent without values.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| (self.sum / self.count() as f64).clamp(self.min, self.max))
    }

    /// The smallest value that at least the share `quantile` (0 to 1) of all values do not exceed, within the histogram's
    /// resolution; absent without values.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        (!self.is_empty()).then(|| {
            let steps = self.histogram.median_equivalent(self.histogram.value_at_quantile(quantile.clamp(0.0, 1.0)));
            (steps as f64 / self.unit.scale()).clamp(self.min, self.max)
        })
    }

    /// The values that occurred and how often each did, ascending, within the histogram's resolution.
    pub fn values(&self) -> impl Iterator<Item = (f64, u64)> {
        self.histogram.iter_recorded().map(|step| {
            let steps = self.histogram.median_equivalent(step.value_iterated_to());
            ((steps as f64 / self.unit.scale()).clamp(self.min, self.max), step.count_at_value())
        })
    }

    /// The histogram itself, in steps of [`Unit::scale`].
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// The histogram in HdrHistogram's V2 format, deflated, in base64.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        match V2DeflateSerializer::new().serialize(&self.histogram, &mut bytes) {
            Ok(_) => BASE64.encode(bytes),
            // Writing to memory cannot fail, and the counts of one run stay far below the format's limit.
            Err(_) => String::new(),
        }
    }

    /// The distribution that [`encode`](Self::encode) wrote; its sum, least and greatest value are those of the
    /// histogram's steps.
    pub fn decode(unit: Unit, histogram: &str) -> Result<Self, DistributionError> {
        let bytes = BASE64.decode(histogram).map_err(|error| DistributionError(error.to_string()))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut Cursor::new(bytes))
            .map_err(|error| DistributionError(format!("{error:?}")))?;
        let mut own = empty();
        own.add(&read).map_err(|error| DistributionError(error.to_string()))?;
        let of = |steps: f64| steps / unit.scale();
        let (sum, min, max) = match own.len() {
            0 => (0.0, f64::INFINITY, f64::NEG_INFINITY),
            count => (of(own.mean() * count as f64), of(own.min() as f64), of(own.max() as f64)),
        };
        Ok(Self { unit, histogram: own, sum, min, max })
    }

    /// The same distribution with its exact sum, least and greatest value, which a histogram alone does not keep.
    pub(super) fn with_exact(mut self, sum: f64, min: f64, max: f64) -> Self {
        if !self.is_empty() && min <= max {
            (self.sum, self.min, self.max) = (sum, min, max);
        }
        self
    }
}

/// A text that is not an encoded distribution.
#[derive(Debug, thiserror::Error)]
#[error("not a base64 HdrHistogram in V2-deflate form: {0}")]
pub struct DistributionError(String);

fn empty() -> Histogram<u64> {
    let mut histogram =
        Histogram::new_with_bounds(1, 2, DIGITS).unwrap_or_else(|_| unreachable!("the bounds are constant"));
    // Values are clamped to the unit's bounds. Growing on demand takes 2 kB for what fixed bounds would take 188 kB for.
    histogram.auto(true);
    histogram
}

fn greatest_step(unit: Unit) -> u64 {
    match unit {
        Unit::Milliseconds => HOUR_US,
        Unit::BitsPerSecond | Unit::PerSecond => GREATEST_RATE,
        Unit::Ratio => WHOLE_PPM,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(unit: Unit, values: &[f64]) -> Distribution {
        let mut distribution = Distribution::new(unit);
        values.iter().for_each(|value| distribution.record(*value));
        distribution
    }

    #[test]
    fn a_ratio_of_one_is_exactly_one() {
        let ones = of(Unit::Ratio, &[1.0; 7]);
        assert_eq!((ones.mean(), ones.min(), ones.quantile(0.5)), (Some(1.0), Some(1.0), Some(1.0)));
        let mixed = of(Unit::Ratio, &[0.0, 1.0, 1.0, 1.0]);
        assert_eq!((mixed.mean(), mixed.min(), mixed.quantile(0.0)), (Some(0.75), Some(0.0), Some(0.0)));
    }

    #[test]
    fn without_values_every_statistic_is_absent() {
        let nothing = of(Unit::Milliseconds, &[f64::NAN, f64::INFINITY]);
        assert_eq!(nothing.count(), 0);
        assert_eq!((nothing.min(), nothing.max(), nothing.mean(), nothing.quantile(0.5)), (None, None, None, None));
    }

    #[test]
    fn values_past_the_bounds_count_as_the_bounds_in_quantiles_and_are_exact_in_the_extremes() {
        let two_hours = of(Unit::Milliseconds, &[7_200_000.0, -3.0]);
        assert_eq!((two_hours.count(), two_hours.max(), two_hours.min()), (2, Some(7_200_000.0), Some(0.0)));
        let p99 = two_hours.quantile(0.99).unwrap();
        assert!((p99 / 3_600_000.0 - 1.0).abs() < 1e-3, "{p99}");
    }

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let values: Vec<f64> = (1..=10_000).map(|value| f64::from(value) / 10.0).collect();
        let distribution = of(Unit::Milliseconds, &values);
        for (quantile, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let got = distribution.quantile(quantile).unwrap();
            assert!((got / expected - 1.0).abs() < 1e-3, "{quantile}: {got}");
        }
        assert_eq!(distribution.max(), Some(1000.0));
    }

    #[test]
    fn an_encoded_distribution_comes_back_and_adds_up() {
        let (low, high) = (of(Unit::Milliseconds, &[1.0, 2.0]), of(Unit::Milliseconds, &[900.0]));
        let mut back = Distribution::decode(Unit::Milliseconds, &low.encode()).unwrap().with_exact(3.0, 1.0, 2.0);
        back.add(&high);
        assert_eq!((back.count(), back.min(), back.max(), back.sum()), (3, Some(1.0), Some(900.0), 903.0));
        assert!(Distribution::decode(Unit::Milliseconds, "AAAA").is_err());
    }

    #[test]
    fn the_values_are_told_in_order_and_none_is_lost() {
        let values: Vec<f64> = (0..500).map(|value| f64::from(value) * 1.7).collect();
        let distribution = of(Unit::Milliseconds, &values);
        let told: Vec<(f64, u64)> = distribution.values().collect();
        assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), 500);
        assert!(told.is_sorted_by(|a, b| a.0 < b.0));
    }
}
