//! Values with their unit in a string: `"10s"`, `"16 KiB"`, `"50/s"`, `"2%"`, `"1.5 Mbit/s"`. Parsed exactly, never through a float.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is not a value with a unit.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {reason}")]
pub struct UnitError {
    text: String,
    kind: &'static str,
    reason: String,
    kind_help: &'static str,
}

impl UnitError {
    /// What would be accepted.
    pub fn help(&self) -> &'static str {
        self.kind_help
    }
}

/// A duration in whole microseconds, at most 24 hours.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Time {
    /// Microseconds.
    pub us: u64,
}

/// An amount of data in bytes, at most 1 GiB.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Size {
    /// Bytes.
    pub bytes: u64,
}

/// How often something happens: never, or at least once a day and at most a million times per second.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// Thousandths of an event per period.
    milli_events: u64,
    /// The period: one second, minute or hour, in microseconds.
    period_us: u64,
}

/// A share between 0 and 100 %, in whole parts per million.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Share {
    /// Parts per million.
    pub ppm: u32,
}

/// Bits per second, at least 1 and at most 1 Tbit/s.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct BitRate {
    /// Bits per second.
    pub bps: u64,
}

const SECOND_US: u64 = 1_000_000;
const DAY_US: u64 = 86_400 * SECOND_US;

impl Time {
    const UNITS: &'static [(&'static str, u64)] =
        &[("us", 1), ("µs", 1), ("ms", 1_000), ("s", SECOND_US), ("min", 60 * SECOND_US), ("h", 3_600 * SECOND_US)];

    /// A duration of whole milliseconds.
    pub(crate) const fn from_millis(ms: u64) -> Self {
        Self { us: ms * 1_000 }
    }

    /// Milliseconds.
    pub(crate) fn as_millis(self) -> f64 {
        self.us as f64 / 1e3
    }
}

impl Size {
    const UNITS: &'static [(&'static str, u64)] =
        &[("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("KiB", 1 << 10), ("MiB", 1 << 20)];
}

impl Rate {
    const UNITS: &'static [(&'static str, u64)] =
        &[("/s", SECOND_US), ("/min", 60 * SECOND_US), ("/h", 3_600 * SECOND_US)];

    /// Whether it never happens.
    pub fn is_zero(self) -> bool {
        self.milli_events == 0
    }

    /// Thousandths of an event per hour: a whole number, whatever the period.
    pub(crate) fn milli_events_per_hour(self) -> u64 {
        self.milli_events * (3_600 * SECOND_US / self.period_us)
    }

    /// When the event with this number (from 0) happens, in microseconds after the first; never, at a rate of zero.
    pub fn offset_us(self, number: u64) -> u64 {
        if self.is_zero() {
            return u64::MAX;
        }
        let offset = u128::from(number) * u128::from(self.period_us) * 1_000 / u128::from(self.milli_events);
        u64::try_from(offset).unwrap_or(u64::MAX)
    }
}

impl BitRate {
    const UNITS: &'static [(&'static str, u64)] =
        &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];
}

impl Share {
    /// Between 0 and 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.ppm) / 1e6
    }
}

impl FromStr for Time {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, (_, factor)) = split::<Self>(text, Self::UNITS)?;
        let us = number.times(factor).ok_or_else(|| fail::<Self>(text, "finer than 1 us, or too large"))?;
        if us > DAY_US {
            return Err(fail::<Self>(text, "longer than 24h"));
        }
        Ok(Self { us })
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, (_, factor)) = split::<Self>(text, Self::UNITS)?;
        let bytes = number.times(factor).ok_or_else(|| fail::<Self>(text, "not a whole number of bytes"))?;
        if bytes > 1 << 30 {
            return Err(fail::<Self>(text, "larger than 1024 MiB"));
        }
        Ok(Self { bytes })
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, (_, period_us)) = split::<Self>(text, Self::UNITS)?;
        let milli_events =
            number.times(1_000).ok_or_else(|| fail::<Self>(text, "more than three decimals, or too large"))?;
        let rate = Self { milli_events, period_us };
        // Both bounds keep every offset of a run within an hour's arithmetic: no overflow, no call that never starts.
        if milli_events > 0 && rate.offset_us(1) > DAY_US {
            return Err(fail::<Self>(text, "less than once a day"));
        }
        if milli_events / (period_us / SECOND_US) > 1_000_000_000 {
            return Err(fail::<Self>(text, "more than a million per second"));
        }
        Ok(rate)
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, (_, factor)) = split::<Self>(text, &[("%", 10_000)])?;
        let ppm = number.times(factor).ok_or_else(|| fail::<Self>(text, "finer than 0.0001%, or too large"))?;
        match u32::try_from(ppm) {
            Ok(ppm) if ppm <= 1_000_000 => Ok(Self { ppm }),
            _ => Err(fail::<Self>(text, "more than 100%")),
        }
    }
}

impl FromStr for BitRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, (_, factor)) = split::<Self>(text, Self::UNITS)?;
        match number.times(factor) {
            Some(0) => Err(fail::<Self>(text, "nothing would pass")),
            Some(bps @ 1..=1_000_000_000_000) => Ok(Self { bps }),
            _ => Err(fail::<Self>(text, "not a whole number of bits per second, or more than 1000 Gbit/s")),
        }
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = largest(self.us, &[("s", SECOND_US), ("ms", 1_000), ("us", 1)]);
        write!(f, "{}{unit}", self.us / factor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = largest(self.bytes, &[("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)]);
        write!(f, "{} {unit}", self.bytes / factor)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS.iter().find(|(_, period_us)| *period_us == self.period_us).map_or("", |(unit, _)| unit);
        write!(f, "{}{unit}", Decimal { digits: self.milli_events, scale: 3 })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", Decimal { digits: self.ppm.into(), scale: 4 })
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) =
            largest(self.bps, &[("Gbit/s", 1_000_000_000), ("Mbit/s", 1_000_000), ("kbit/s", 1_000), ("bit/s", 1)]);
        write!(f, "{} {unit}", self.bps / factor)
    }
}

/// What the shared parts of parsing, serde and JSON Schema need to know of a kind of value.
pub(crate) trait Kind {
    /// Its name in messages and in the schema's `x-unit`.
    const NAME: &'static str;
    /// What is accepted.
    const HELP: &'static str;
    /// A regular expression for editors.
    const PATTERN: &'static str;
}

impl Kind for Time {
    const NAME: &'static str = "duration";
    const HELP: &'static str = "write a number and one of us, ms, s, min, h, such as \"5s\"";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?(us|µs|ms|s|min|h)$";
}

impl Kind for Size {
    const NAME: &'static str = "size";
    const HELP: &'static str = "write a number and one of B, kB, MB, KiB, MiB, such as \"16 KiB\"";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?(B|kB|MB|KiB|MiB)$";
}

impl Kind for Rate {
    const NAME: &'static str = "rate";
    const HELP: &'static str = "write a number and one of /s, /min, /h, such as \"50/s\"";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?/(s|min|h)$";
}

impl Kind for Share {
    const NAME: &'static str = "share";
    const HELP: &'static str = "write a number between 0 and 100 and %, such as \"2%\"";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?%$";
}

impl Kind for BitRate {
    const NAME: &'static str = "bit rate";
    const HELP: &'static str = "write a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as \"1.5 Mbit/s\"";
    const PATTERN: &'static str = r"^[0-9]+(\.[0-9]+)? ?(bit|kbit|Mbit|Gbit)/s$";
}

/// Checks a text against the kind of value that a schema's `x-unit` names.
pub(crate) fn check(kind: &str, text: &str) -> Result<(), UnitError> {
    match kind {
        Time::NAME => text.parse::<Time>().map(drop),
        Size::NAME => text.parse::<Size>().map(drop),
        Rate::NAME => text.parse::<Rate>().map(drop),
        Share::NAME => text.parse::<Share>().map(drop),
        BitRate::NAME => text.parse::<BitRate>().map(drop),
        _ => Ok(()),
    }
}

/// What the kind of value that a schema's `x-unit` names looks like.
pub(crate) fn help(kind: &str) -> &'static str {
    match kind {
        Time::NAME => Time::HELP,
        Size::NAME => Size::HELP,
        Rate::NAME => Rate::HELP,
        BitRate::NAME => BitRate::HELP,
        _ => Share::HELP,
    }
}

/// `digits / 10^scale`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    scale: u32,
}

impl Decimal {
    /// Digits with at most one point between them; no sign, no exponent.
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        if whole.is_empty() || fraction.is_empty() || !(whole.to_owned() + fraction).bytes().all(|b| b.is_ascii_digit())
        {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        Some(Self { digits: format!("{whole}{fraction}").parse().ok()?, scale: u32::try_from(fraction.len()).ok()? })
    }

    /// The product, if it is whole and fits.
    fn times(self, factor: u64) -> Option<u64> {
        let product = u128::from(self.digits) * u128::from(factor);
        let divisor = 10_u128.checked_pow(self.scale)?;
        (product % divisor == 0).then_some(product / divisor)?.try_into().ok()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divisor = 10_u64.pow(self.scale);
        write!(f, "{}", self.digits / divisor)?;
        let fraction = format!("{:0width$}", self.digits % divisor, width = self.scale as usize);
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            fraction => write!(f, ".{fraction}"),
        }
    }
}

fn split<K: Kind>(text: &str, units: &[(&'static str, u64)]) -> Result<(Decimal, (&'static str, u64)), UnitError> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(fail::<K>(text, "negative"));
    }
    let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = (&trimmed[..end], trimmed[end..].trim());
    let number = Decimal::parse(number).ok_or_else(|| fail::<K>(text, "it must begin with a number"))?;
    if unit.is_empty() {
        return Err(fail::<K>(text, "the unit is missing"));
    }
    match units.iter().find(|(name, _)| *name == unit) {
        Some(&unit) => Ok((number, unit)),
        None => Err(fail::<K>(text, format!("unknown unit {unit:?}"))),
    }
}

fn fail<K: Kind>(text: &str, reason: impl Into<String>) -> UnitError {
    UnitError { text: text.into(), kind: K::NAME, reason: reason.into(), kind_help: K::HELP }
}

/// The largest unit that gives a whole number.
fn largest(value: u64, units: &[(&'static str, u64)]) -> (&'static str, u64) {
    let fits = units.iter().find(|(_, factor)| value.is_multiple_of(*factor) && (value > 0 || *factor == 1));
    fits.copied().unwrap_or(("", 1))
}

macro_rules! as_text {
    ($($kind:ident),*) => {$(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'_, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "pattern": Self::PATTERN, "x-unit": Self::NAME})
            }
        }
    )*};
}

as_text!(Time, Size, Rate, Share, BitRate);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn time(text: &str) -> Result<u64, String> {
        text.parse::<Time>().map(|time| time.us).map_err(|error| error.to_string())
    }

    #[test]
    fn every_unit_counts_exactly() {
        assert_eq!(time("1us"), Ok(1));
        assert_eq!(time("1 µs"), Ok(1));
        assert_eq!(time("2.5ms"), Ok(2_500));
        assert_eq!(time("0.1 s"), Ok(100_000));
        assert_eq!(time("1.50min"), Ok(90_000_000));
        assert_eq!(time("24h"), Ok(DAY_US));
        assert_eq!("16 KiB".parse::<Size>().unwrap().bytes, 16_384);
        assert_eq!("1.5kB".parse::<Size>().unwrap().bytes, 1_500);
        assert_eq!("0.07%".parse::<Share>().unwrap().ppm, 700);
        assert_eq!("1.5 Mbit/s".parse::<BitRate>().unwrap().bps, 1_500_000);
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(time("5"), Err("\"5\" is not a duration: the unit is missing".into()));
        assert_eq!(time("5 sec"), Err("\"5 sec\" is not a duration: unknown unit \"sec\"".into()));
        assert_eq!(time("-5s"), Err("\"-5s\" is not a duration: negative".into()));
        assert_eq!(time("s"), Err("\"s\" is not a duration: it must begin with a number".into()));
        assert_eq!(time("1.2.3s"), Err("\"1.2.3s\" is not a duration: it must begin with a number".into()));
        assert_eq!(time("0.5us"), Err("\"0.5us\" is not a duration: finer than 1 us, or too large".into()));
        assert_eq!(time("25h"), Err("\"25h\" is not a duration: longer than 24h".into()));
        assert!(time("99999999999999999999999s").is_err());
        assert!("0.3 B".parse::<Size>().is_err());
        assert!("101%".parse::<Share>().is_err());
        assert!("0.01/h".parse::<Rate>().is_err());
        assert!("0/s".parse::<Rate>().unwrap().is_zero());
        assert!("2000000/s".parse::<Rate>().is_err());
        assert!("0 bit/s".parse::<BitRate>().is_err());
        assert!("1 MB/s".parse::<BitRate>().is_err());
    }

    #[test]
    fn events_come_evenly() {
        let rate: Rate = "3/s".parse().unwrap();
        assert_eq!([0, 1, 2, 3].map(|number| rate.offset_us(number)), [0, 333_333, 666_666, 1_000_000]);
        assert_eq!("0.5/s".parse::<Rate>().unwrap().offset_us(1), 2_000_000);
        assert_eq!("90/min".parse::<Rate>().unwrap().offset_us(3), 2_000_000);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(us in 0..=DAY_US, bytes in 0..=1_u64 << 30, ppm in 0..=1_000_000_u32, milli in 1..1_000_000_u64) {
            let (time, size, share) = (Time { us }, Size { bytes }, Share { ppm });
            let bit_rate = BitRate { bps: milli };
            let rate = Rate { milli_events: milli - 1, period_us: SECOND_US };
            prop_assert_eq!(time.to_string().parse(), Ok(time));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            prop_assert_eq!(share.to_string().parse(), Ok(share));
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            prop_assert_eq!(bit_rate.to_string().parse(), Ok(bit_rate));
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,40}") {
            for kind in ["duration", "size", "rate", "share", "bit rate"] {
                let _ = check(kind, &text);
            }
        }
    }
}
