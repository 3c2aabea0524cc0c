//! Numbers as people read them: three significant digits and a unit.

use crate::record::Unit;

/// A value of a metric, such as `34.2 ms`, `1.62 Mbit/s` or `99.8 %`.
pub(super) fn value(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Milliseconds if value >= 10_000.0 => format!("{} s", digits(value / 1e3)),
        Unit::Milliseconds => format!("{} ms", digits(value)),
        Unit::BitsPerSecond => rate(value),
        Unit::PerSecond => format!("{}/s", digits(value)),
        Unit::Ratio => format!("{} %", digits(value * 100.0)),
    }
}

/// A value that may be absent; an absent one is a dash.
pub(super) fn optional(number: Option<f64>, unit: Unit) -> String {
    number.map_or_else(|| "–".into(), |number| value(number, unit))
}

/// Bits per second with a decimal prefix.
pub(super) fn rate(bps: f64) -> String {
    match bps {
        bps if bps >= 1e9 => format!("{} Gbit/s", digits(bps / 1e9)),
        bps if bps >= 1e6 => format!("{} Mbit/s", digits(bps / 1e6)),
        bps if bps >= 1e3 => format!("{} kbit/s", digits(bps / 1e3)),
        bps => format!("{} bit/s", digits(bps)),
    }
}

/// Bytes with a binary prefix.
pub(super) fn bytes(bytes: f64) -> String {
    match bytes {
        bytes if bytes >= 1_073_741_824.0 => format!("{} GiB", digits(bytes / 1_073_741_824.0)),
        bytes if bytes >= 1_048_576.0 => format!("{} MiB", digits(bytes / 1_048_576.0)),
        bytes => format!("{} KiB", digits(bytes / 1024.0)),
    }
}

/// A duration in microseconds, as seconds or minutes.
pub fn duration(us: u64) -> String {
    let seconds = us as f64 / 1e6;
    if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} min {:02} s", us / 60_000_000, us / 1_000_000 % 60)
    }
}

/// Three significant digits, none of them a trailing zero after the point.
pub(super) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        magnitude if magnitude >= 99.95 => 0,
        magnitude if magnitude >= 9.995 => 1,
        magnitude if magnitude >= 0.0995 => 2,
        magnitude if magnitude > 0.0 => 3,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// `1 call`, `2 calls`.
pub(super) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_unit() {
        for (number, unit, text) in [
            (0.0, Unit::Milliseconds, "0 ms"),
            (0.0312, Unit::Milliseconds, "0.031 ms"),
            (34.249, Unit::Milliseconds, "34.2 ms"),
            (9.999, Unit::Milliseconds, "10 ms"),
            (1234.4, Unit::Milliseconds, "1234 ms"),
            (61_000.0, Unit::Milliseconds, "61 s"),
            (1_620_000.0, Unit::BitsPerSecond, "1.62 Mbit/s"),
            (999.0, Unit::BitsPerSecond, "999 bit/s"),
            (1.0, Unit::Ratio, "100 %"),
            (0.998, Unit::Ratio, "99.8 %"),
        ] {
            assert_eq!(value(number, unit), text);
        }
        assert_eq!(optional(None, Unit::Ratio), "–");
        assert_eq!((duration(1_540_000), duration(125_000_000)), ("1.5 s".into(), "2 min 05 s".into()));
    }
}
