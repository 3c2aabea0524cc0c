//! What is searched: `calls 10..2000`, or `arrivals 10/s..500/s`.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a load counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Calls at the same time.
    Calls,
    /// Calls that start per second.
    Arrivals,
}

impl Quantity {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Arrivals => "arrivals",
        }
    }

    /// The unit of its numbers in `capacity.json`: `calls`, or `calls/s`.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Arrivals => "calls/s",
        }
    }

    /// The number that a load stands for, in the quantity's unit.
    pub fn value(self, load: u64) -> f64 {
        match self {
            Self::Calls => load as f64,
            Self::Arrivals => load as f64 / PER_UNIT as f64,
        }
    }

    /// A load as people read it: `24 calls`, `12.5 calls/s`.
    pub fn show(self, load: u64) -> String {
        match (self, load) {
            (Self::Calls, 1) => "1 call".into(),
            _ => format!("{} {}", self.value(load), self.unit()),
        }
    }

    fn parse(self, text: &str) -> Option<u64> {
        match self {
            Self::Calls => text.parse().ok(),
            Self::Arrivals => {
                let number = text.strip_suffix("/s")?.trim_end();
                let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
                let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
                    return None;
                }
                let fraction: u64 = format!("{fraction:0<3}").parse().ok()?;
                whole.parse::<u64>().ok()?.checked_mul(PER_UNIT)?.checked_add(fraction)
            }
        }
    }
}

/// A load of arrivals counts thousandths of a call per second.
const PER_UNIT: u64 = 1_000;

/// The greatest value of an end: no machine makes more, and no arithmetic on it overflows.
const MOST: u64 = 1_000_000;

/// A quantity and the loads between which its capacity is looked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub struct Range {
    /// What is counted.
    pub quantity: Quantity,
    /// The smallest load that is tried, first of all: whole calls, or thousandths of a call per second. At least 1.
    pub low: u64,
    /// The largest load that is tried; greater than `low`.
    pub high: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.quantity.value(self.low), self.quantity.value(self.high));
        let per = if self.quantity == Quantity::Arrivals { "/s" } else { "" };
        write!(f, "{} {low}{per}..{high}{per}", self.quantity.name())
    }
}

/// A text that is no range.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}; write \"calls 10..2000\" or \"arrivals 10/s..500/s\"")]
pub struct RangeError(String);

impl FromStr for Range {
    type Err = RangeError;

    /// # Errors
    ///
    /// The text is not a quantity and two of its values, or the second is not greater than the first.
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let fail = |message: String| Err(RangeError(message));
        let Some((word, ends)) = text.trim().split_once(char::is_whitespace) else {
            return fail(format!("{:?} is not a quantity and its range", text.trim()));
        };
        let Some(quantity) = [Quantity::Calls, Quantity::Arrivals].into_iter().find(|of| of.name() == word) else {
            return fail(format!("{word:?} is not a quantity that can be searched: `calls` and `arrivals` are"));
        };
        let Some((low, high)) = ends.split_once("..") else {
            return fail(format!("{:?} is not a range: two values with `..` between them are needed", ends.trim()));
        };
        let end = |text: &str| {
            let wanted = match quantity {
                Quantity::Calls => "a whole number of calls",
                Quantity::Arrivals => "a rate such as 10/s, with at most three decimals",
            };
            let value = quantity.parse(text.trim());
            let value = value.ok_or_else(|| RangeError(format!("{:?} is not {wanted}", text.trim())))?;
            match quantity.value(value) {
                0.0 => Err(RangeError("the range must begin above 0".into())),
                value if value > MOST as f64 => Err(RangeError(format!("{:?} is more than {MOST}", text.trim()))),
                _ => Ok(value),
            }
        };
        let (low, high) = (end(low)?, end(high)?);
        if low >= high {
            return fail(format!("{:?} is empty: its second value must be greater than its first", ends.trim()));
        }
        Ok(Self { quantity, low, high })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_quantities_have_ranges() {
        let calls = "calls 10..2000".parse::<Range>();
        assert_eq!(calls, Ok(Range { quantity: Quantity::Calls, low: 10, high: 2000 }));
        let arrivals = "  arrivals  0.5/s .. 500 /s".parse::<Range>().unwrap();
        assert_eq!(arrivals, Range { quantity: Quantity::Arrivals, low: 500, high: 500_000 });
        assert_eq!(arrivals.to_string(), "arrivals 0.5/s..500/s");
        assert_eq!(arrivals.quantity.show(12_500), "12.5 calls/s");
        assert_eq!((Quantity::Calls.show(1), Quantity::Calls.show(24)), ("1 call".into(), "24 calls".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, reason) in [
            ("", "\"\" is not a quantity and its range"),
            ("10..20", "\"10..20\" is not a quantity and its range"),
            ("peers 10..20", "\"peers\" is not a quantity that can be searched"),
            ("calls 10", "\"10\" is not a range"),
            ("calls 10..", "\"\" is not a whole number of calls"),
            ("calls 1.5..20", "\"1.5\" is not a whole number of calls"),
            ("calls 10/s..20/s", "\"10/s\" is not a whole number of calls"),
            ("calls 0..20", "the range must begin above 0"),
            ("calls 20..10", "\"20..10\" is empty"),
            ("calls 20..20", "\"20..20\" is empty"),
            ("calls 1..99999999", "\"99999999\" is more than 1000000"),
            ("arrivals 10..20", "\"10\" is not a rate such as 10/s"),
            ("arrivals 0.0001/s..20/s", "\"0.0001/s\" is not a rate"),
            ("arrivals 1./s..20/s", "\"1./s\" is not a rate"),
        ] {
            let error = text.parse::<Range>().unwrap_err().to_string();
            assert!(error.starts_with(reason), "{text}: {error}");
            assert!(error.ends_with("write \"calls 10..2000\" or \"arrivals 10/s..500/s\""), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(low in 1..1_000_000_u64, more in 1..1_000_u64, arrivals: bool) {
            let quantity = if arrivals { Quantity::Arrivals } else { Quantity::Calls };
            let range = Range { quantity, low, high: (low + more).min(MOST) };
            prop_assume!(range.low < range.high);
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            let _ = text.parse::<Range>();
        }
    }
}
