//! The expression of a gate: a statistic, an operator, and a number with a unit, such as `p95 < 400ms`.

use std::fmt;

use crate::record::{Metric, Unit};

/// What must hold of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// What is compared.
    pub statistic: Statistic,
    /// How it is compared.
    pub operator: Operator,
    /// With what: in the metric's unit (milliseconds, bits per second, or a ratio of 1); a plain number for a count.
    pub limit: f64,
    /// The metric's unit, which the limit is shown in.
    unit: Unit,
}

/// A number that sums up the samples of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The smallest sample.
    Min,
    /// The arithmetic mean.
    Mean,
    /// The largest sample.
    Max,
    /// How many samples there are.
    Count,
    /// The value that this share of the samples, above 0 and at most 1, does not exceed.
    Quantile(f64),
}

/// A comparison.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operator {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `==`
    Equal,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message} at column {} of the expectation", .column + 1)]
pub struct ExpectError {
    /// What is wrong.
    pub message: String,
    /// Where in the expression, in bytes from 0.
    pub column: usize,
    /// How many bytes are wrong; 0 where something is missing.
    pub length: usize,
    /// What to do.
    pub help: String,
}

impl Expectation {
    /// Parses an expression about a metric. Blanks between the parts are optional.
    ///
    /// # Errors
    ///
    /// Says which part cannot be understood, and what would be.
    pub fn parse(text: &str, metric: Metric) -> Result<Self, ExpectError> {
        let start = text.len() - text.trim_start().len();
        let operator_at = start
            + text[start..].find(['<', '>', '=', '!']).ok_or_else(|| {
                fail(text.trim_end().len(), 0, "an operator is missing", "write one of <, <=, >, >=, ==")
            })?;
        let name = text[start..operator_at].trim_end();
        let statistic = Statistic::parse(name).ok_or_else(|| {
            let help = "write one of min, mean, max, count, median, or a percentile such as p95 or p99.9";
            let message =
                if name.is_empty() { "a statistic is missing".into() } else { format!("unknown statistic `{name}`") };
            fail(start, name.len(), &message, help)
        })?;
        let length = text[operator_at..].bytes().take_while(|byte| b"<>=!".contains(byte)).count();
        let symbol = &text[operator_at..operator_at + length];
        let operator = Operator::parse(symbol).ok_or_else(|| {
            fail(operator_at, length, &format!("unknown operator `{symbol}`"), "write one of <, <=, >, >=, ==")
        })?;
        let rest = &text[operator_at + length..];
        let value_at = text.len() - rest.trim_start().len();
        let limit = parse_limit(rest.trim(), value_at, statistic, metric)?;
        Ok(Self { statistic, operator, limit, unit: metric.unit() })
    }

    /// Whether an observed value, in the unit of [`limit`](Self::limit), meets the expectation. NaN never does.
    pub fn holds(&self, observed: f64) -> bool {
        match self.operator {
            Operator::Less => observed < self.limit,
            Operator::LessOrEqual => observed <= self.limit,
            Operator::Greater => observed > self.limit,
            Operator::GreaterOrEqual => observed >= self.limit,
            Operator::Equal => observed == self.limit,
        }
    }
}

impl Statistic {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "min" => Self::Min,
            "mean" => Self::Mean,
            "max" => Self::Max,
            "count" => Self::Count,
            "median" => Self::Quantile(0.5),
            _ => {
                let percent = name.strip_prefix('p')?;
                if !(f64::MIN_POSITIVE..=100.0).contains(&decimal(percent)?) {
                    return None;
                }
                // Not divided by 100, so that p99.9 is exactly the share 0.999.
                Self::Quantile(format!("{percent}e-2").parse().ok()?)
            }
        })
    }
}

impl Operator {
    fn parse(symbol: &str) -> Option<Self> {
        Some(match symbol {
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "==" => Self::Equal,
            _ => return None,
        })
    }

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Equal => "==",
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Min => f.write_str("min"),
            Self::Mean => f.write_str("mean"),
            Self::Max => f.write_str("max"),
            Self::Count => f.write_str("count"),
            // Back to the percentage that was written: a share has at most 12 digits that mean something.
            Self::Quantile(share) => write!(f, "p{}", (share * 100.0 * 1e10).round() / 1e10),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.statistic, self.operator.symbol(), self.limit)?;
        match (self.statistic, self.unit) {
            (Statistic::Count, _) | (_, Unit::Ratio) => Ok(()),
            (_, Unit::PerSecond) => f.write_str("/s"),
            (_, unit) => write!(f, " {}", unit.symbol()),
        }
    }
}

fn parse_limit(text: &str, at: usize, statistic: Statistic, metric: Metric) -> Result<f64, ExpectError> {
    let (units, accepted) = if statistic == Statistic::Count {
        (&[("", 1.0)][..], "a whole number without unit, such as 20")
    } else {
        units(metric.unit())
    };
    let help = || format!("`{statistic}` of `{}` is compared with {accepted}", metric.name());
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim_start());
    let Some(value) = decimal(number) else {
        let message =
            if text.is_empty() { "a number is missing".into() } else { format!("`{text}` is not a number with unit") };
        return Err(fail(at, text.len(), &message, &help()));
    };
    let unit_at = at + text.len() - unit.len();
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) if *factor < 1.0 => Ok(value / (1.0 / factor).round()),
        Some((_, factor)) => Ok(value * factor),
        None if unit.is_empty() => Err(fail(unit_at, 0, "a unit is missing", &help())),
        None => Err(fail(unit_at, unit.len(), &format!("unknown unit `{unit}`"), &help())),
    }
}

/// The units that fit a metric, each with its factor to the metric's own, and how to say so.
fn units(unit: Unit) -> (&'static [(&'static str, f64)], &'static str) {
    match unit {
        Unit::Milliseconds => {
            let units = &[("ms", 1.0), ("us", 1e-3), ("µs", 1e-3), ("s", 1e3), ("min", 60e3)];
            (units, "a duration in us, ms, s or min, such as 400ms")
        }
        Unit::BitsPerSecond => {
            let units = &[("bit/s", 1.0), ("kbit/s", 1e3), ("Mbit/s", 1e6), ("Gbit/s", 1e9)];
            (units, "a rate in bit/s, kbit/s, Mbit/s or Gbit/s, such as 1.5 Mbit/s")
        }
        Unit::PerSecond => (&[("/s", 1.0), ("/min", 1.0 / 60.0)], "a rate per s or min, such as 4.5/s"),
        Unit::Ratio => (&[("%", 1e-2), ("", 1.0)], "a share such as 99.5% or 0.995"),
    }
}

/// Digits with at most one point between them; no sign, no exponent.
fn decimal(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| text.parse().ok()).flatten().filter(|value: &f64| value.is_finite())
}

fn fail(column: usize, length: usize, message: &str, help: &str) -> ExpectError {
    ExpectError { message: message.into(), column, length, help: help.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Expectation {
        Expectation::parse(text, Metric::ConnectionTimeMs).unwrap()
    }

    #[test]
    fn units_become_those_of_the_metric() {
        assert_eq!(parse("p95 < 400ms").limit, 400.0);
        assert_eq!(parse("p95<1.5 s").limit, 1_500.0);
        assert_eq!(parse(" max <= 250 us ").limit, 0.25);
        assert_eq!(parse("count >= 20").limit, 20.0);
        let rate = Expectation::parse("mean > 1.5 Mbit/s", Metric::GoodputBps).unwrap();
        assert_eq!((rate.limit, rate.to_string().as_str()), (1_500_000.0, "mean > 1500000 bit/s"));
        for text in ["min >= 99.5%", "min >= 0.995"] {
            assert_eq!(Expectation::parse(text, Metric::SetupSuccessRatio).unwrap().limit, 0.995);
        }
    }

    #[test]
    fn percentiles_are_shares() {
        assert_eq!(parse("p99.9 < 1s").statistic, Statistic::Quantile(0.999));
        assert_eq!(parse("median < 1s"), parse("p50 < 1s"));
        assert_eq!(parse("p99.9 < 1s").to_string(), "p99.9 < 1000 ms");
    }

    #[test]
    fn comparisons_hold_or_not() {
        for (text, below, at, above) in [
            ("max < 2ms", true, false, false),
            ("max <= 2ms", true, true, false),
            ("max > 2ms", false, false, true),
            ("max >= 2ms", false, true, true),
            ("max == 2ms", false, true, false),
        ] {
            let expectation = parse(text);
            assert_eq!([1.9, 2.0, 2.1].map(|observed| expectation.holds(observed)), [below, at, above], "{text}");
            assert!(!expectation.holds(f64::NAN), "{text}");
        }
    }

    #[test]
    fn errors_point_at_the_part() {
        for (text, column, length, message) in [
            ("", 0, 0, "an operator is missing"),
            ("p95", 3, 0, "an operator is missing"),
            ("< 4ms", 0, 0, "a statistic is missing"),
            (" p95th < 4ms", 1, 5, "unknown statistic `p95th`"),
            ("p0 < 4ms", 0, 2, "unknown statistic `p0`"),
            ("p101 < 4ms", 0, 4, "unknown statistic `p101`"),
            ("avg < 4ms", 0, 3, "unknown statistic `avg`"),
            ("p95 = 4ms", 4, 1, "unknown operator `=`"),
            ("p95 => 4ms", 4, 2, "unknown operator `=>`"),
            ("p95 <", 5, 0, "a number is missing"),
            ("p95 < -4ms", 6, 4, "`-4ms` is not a number with unit"),
            ("p95 < 4", 7, 0, "a unit is missing"),
            ("p95 < 4 msec", 8, 4, "unknown unit `msec`"),
            ("p95 < 4%", 7, 1, "unknown unit `%`"),
            ("count > 4ms", 9, 2, "unknown unit `ms`"),
        ] {
            let error = Expectation::parse(text, Metric::ConnectionTimeMs).unwrap_err();
            assert_eq!((error.column, error.length, error.message.as_str()), (column, length, message), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(
            percent in 1..=1_000_000_u32,
            which in 0..5_usize,
            operator in 0..5_usize,
            micros in 0..10_000_000_000_u64,
            metric in 0..Metric::ALL.len(),
        ) {
            use Operator::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual};
            let quantile = Statistic::Quantile(f64::from(percent) / 1e6);
            let metric = Metric::ALL[metric];
            let expectation = Expectation {
                statistic: [Statistic::Min, Statistic::Mean, Statistic::Max, Statistic::Count, quantile][which],
                operator: [Less, LessOrEqual, Greater, GreaterOrEqual, Equal][operator],
                limit: micros as f64 / 1e3,
                unit: metric.unit(),
            };
            prop_assert_eq!(Expectation::parse(&expectation.to_string(), metric).unwrap(), expectation);
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}", metric in 0..Metric::ALL.len()) {
            if let Err(error) = Expectation::parse(&text, Metric::ALL[metric]) {
                prop_assert!(text.is_char_boundary(error.column) && text.is_char_boundary(error.column + error.length));
            }
        }
    }
}
