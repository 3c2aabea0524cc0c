//! Progress while a run goes on: one line that says who is where.

use super::number;
use crate::record::{Record, reading};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Display {
    /// One line that is drawn again and again; otherwise a plain line every few seconds.
    pub live: bool,
    /// Whether ANSI colours are used.
    pub colour: bool,
}

/// How to show progress, given whether standard error is a terminal, whether a CI system runs us (`CI` is set to anything
/// but `false` or nothing), and whether the user wants no colour (`NO_COLOR` is set to anything but nothing).
pub fn resolve(is_terminal: bool, ci: bool, no_color: bool) -> Display {
    Display { live: is_terminal && !ci, colour: is_terminal && !no_color }
}

/// The line: elapsed time, calls, peers by phase, rates, and the machine when it is busy.
pub fn line(record: &Record) -> String {
    let counts = record.call_counts();
    let mut parts = vec![
        number::duration(record.duration_us()),
        format!("{}/{} calls connected", counts.connected, counts.planned),
    ];
    if counts.failed > 0 {
        parts.push(format!("{} FAILED", counts.failed));
    }
    if let Some(second) = record.intervals().last() {
        let second = &second.what;
        let peers: Vec<String> = second
            .peers
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(phase, count)| format!("{} {count}", phase.name()))
            .collect();
        if !peers.is_empty() {
            parts.push(format!("peers: {}", peers.join(", ")));
        }
        if second.send_bps > 0.0 || second.recv_bps > 0.0 {
            parts.push(format!("sent {}, received {}", number::rate(second.send_bps), number::rate(second.recv_bps)));
        }
        if let Some(busy) = second.health.get(reading::MACHINE_CPU_RATIO) {
            parts.push(format!("cpu {:.0} %", busy * 100.0));
        }
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_live_unless_ci_runs_us() {
        for (is_terminal, ci, no_color, live, colour) in [
            (true, false, false, true, true),
            (true, false, true, true, false),
            (true, true, false, false, true),
            (false, false, false, false, false),
            (false, true, false, false, false),
        ] {
            assert_eq!(resolve(is_terminal, ci, no_color), Display { live, colour });
        }
    }

    #[test]
    fn the_line_of_an_empty_record_says_nothing_that_was_not_measured() {
        assert_eq!(line(&Record::default()), "0.0 s · 0/0 calls connected");
    }
}
