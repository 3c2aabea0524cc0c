//! What the server counts, as OpenMetrics text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::signaling::protocol::ErrorCode;

/// Why the server ended a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum CutOff {
    SlowReader,
    TooManyMessages,
    TooLarge,
    Silent,
    Malformed,
}

impl CutOff {
    const ALL: [(Self, &str); 5] = [
        (Self::SlowReader, "slow-reader"),
        (Self::TooManyMessages, "too-many-messages"),
        (Self::TooLarge, "too-large"),
        (Self::Silent, "silent"),
        (Self::Malformed, "malformed-frame"),
    ];
}

/// Counters since the start of the server.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) tls_failures: AtomicU64,
    pub(super) relayed: AtomicU64,
    errors: [AtomicU64; ErrorCode::ALL.len()],
    cut_off: [AtomicU64; CutOff::ALL.len()],
}

/// What there is at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Levels {
    pub(super) connections: usize,
    pub(super) clients: usize,
    pub(super) rooms: usize,
}

impl Metrics {
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn error(&self, code: ErrorCode) {
        if let Some(index) = ErrorCode::ALL.iter().position(|known| *known == code) {
            Self::count(&self.errors[index]);
        }
    }

    pub(super) fn cut_off(&self, reason: CutOff) {
        Self::count(&self.cut_off[reason as usize]);
    }

    /// The exposition (OpenMetrics 1.0).
    pub(super) fn render(&self, levels: Levels) -> String {
        let mut text = String::new();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        gauge(&mut text, "connections", "TCP connections that are open.", levels.connections);
        gauge(&mut text, "clients", "Clients that have been greeted and are connected.", levels.clients);
        gauge(&mut text, "rooms", "Rooms with at least one client.", levels.rooms);
        counter(&mut text, "connections_accepted", "TCP connections accepted.", get(&self.accepted));
        let help = "TCP connections refused because there were too many.";
        counter(&mut text, "connections_refused", help, get(&self.refused));
        counter(&mut text, "tls_failures", "TLS handshakes that failed or took too long.", get(&self.tls_failures));
        let help = "Offers, answers and candidates handed on to their recipient.";
        counter(&mut text, "messages_relayed", help, get(&self.relayed));
        let errors = ErrorCode::ALL.iter().zip(&self.errors).map(|(code, count)| (code.name(), get(count)));
        counter_by(&mut text, "errors", "Errors sent to clients.", "code", errors);
        let cut_off = CutOff::ALL.iter().zip(&self.cut_off).map(|((_, name), count)| (*name, get(count)));
        counter_by(&mut text, "clients_cut_off", "Clients whose connection the server ended.", "reason", cut_off);
        text.push_str("# EOF\n");
        text
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: usize) {
    head(text, name, "gauge", help);
    let _ = writeln!(text, "harness_signaling_{name} {value}");
}

fn counter(text: &mut String, name: &str, help: &str, value: u64) {
    head(text, name, "counter", help);
    let _ = writeln!(text, "harness_signaling_{name}_total {value}");
}

fn counter_by<'a>(
    text: &mut String,
    name: &str,
    help: &str,
    label: &str,
    samples: impl Iterator<Item = (&'a str, u64)>,
) {
    head(text, name, "counter", help);
    for (value_of_label, value) in samples {
        let _ = writeln!(text, "harness_signaling_{name}_total{{{label}=\"{value_of_label}\"}} {value}");
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# TYPE harness_signaling_{name} {kind}\n# HELP harness_signaling_{name} {help}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_names_every_error_and_ends_as_it_must() {
        let metrics = Metrics::default();
        metrics.error(ErrorCode::WrongRoom);
        metrics.cut_off(CutOff::SlowReader);
        let text = metrics.render(Levels { connections: 3, clients: 2, rooms: 1 });
        assert!(text.contains("\nharness_signaling_clients 2\n"), "{text}");
        assert!(text.contains("harness_signaling_errors_total{code=\"wrong-room\"} 1\n"), "{text}");
        assert!(text.contains("harness_signaling_errors_total{code=\"malformed\"} 0\n"), "{text}");
        assert!(text.contains("harness_signaling_clients_cut_off_total{reason=\"slow-reader\"} 1\n"), "{text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }

    #[test]
    fn each_reason_counts_for_itself() {
        for (index, (reason, _)) in CutOff::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
