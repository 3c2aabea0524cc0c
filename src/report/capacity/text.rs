//! A search as text: on a terminal, in Markdown, as a line of GitHub Actions.

use std::fmt::Write as _;

use super::super::terminal::{Colour, Text};
use super::super::{Style, number};
use super::{at, finding, metrics, standing, typical};
use crate::capacity::{Capacity, Finding, Probe};
use crate::gate::Verdict;
use crate::record::Metric;

/// Columns of metrics in the table of a terminal.
const COLUMNS: usize = 3;

/// One line about the newest run.
pub fn line(capacity: &Capacity) -> String {
    let Some(probe) = capacity.probes.last() else { return "no run yet".into() };
    let why = probe.reasons.first().map(|reason| format!(": {reason}")).unwrap_or_default();
    let known = match (capacity.holds, capacity.fails) {
        (None, None) => String::new(),
        (Some(holds), None) => format!("; {} or more", capacity.show(holds)),
        (None, Some(fails)) => format!("; less than {}", capacity.show(fails)),
        (Some(holds), Some(fails)) => format!("; between {holds} and {}", capacity.show(fails)),
    };
    format!("run {} at {}: {}{why}{known}", probe.number, capacity.show(probe.load), finding(probe.finding))
}

/// The result for people at a terminal.
pub fn terminal(capacity: &Capacity, style: Style) -> String {
    let mut text = Text { out: String::new(), style };
    let shown = columns(capacity);
    let mut rows = vec![head(&shown)];
    rows.extend(capacity.loads().into_iter().map(|load| row(capacity, load, &shown)));
    if rows.len() > 1 {
        text.line("");
        text.table(&rows);
        text.line("");
    }
    for limit in &capacity.limits {
        text.labelled("first  ", &format!("{} ({})", limit.what, of_runs(limit.runs)), Colour::Red);
        text.labelled("       ", &limit.said, Colour::None);
    }
    if let Some(nearest) = nearest(capacity) {
        text.labelled("machine", &nearest, Colour::Dim);
    }
    for probe in left_open(capacity) {
        text.labelled("warning", &probe, Colour::Yellow);
    }
    text.line("");
    for said in capacity.explanation() {
        text.prose("  ", &said, Colour::None);
    }
    let colour = match capacity.verdict {
        Verdict::Pass => Colour::Green,
        Verdict::Invalid | Verdict::Interrupted => Colour::Yellow,
        Verdict::Fail | Verdict::Error => Colour::Red,
    };
    let runs = number::count(capacity.probes.len() as u64, "run");
    let took = number::duration((capacity.duration_ms * 1e3) as u64);
    let headline = format!("capacity: {} ({runs} in {took}, exit code {})", capacity.headline(), capacity.exit_code);
    text.coloured(&headline, colour);
    text.out
}

/// The result for a pull request or the step summary of a CI job.
pub(in crate::report) fn markdown(capacity: &Capacity) -> String {
    let sign = match capacity.verdict {
        Verdict::Pass => "✅",
        Verdict::Fail | Verdict::Error => "❌",
        Verdict::Invalid | Verdict::Interrupted => "⚠️",
    };
    let mut out = format!("## {sign} {}: capacity {}\n\n", escape(&capacity.scenario), capacity.headline());
    for said in capacity.explanation() {
        let _ = writeln!(out, "{}\n", escape(&said));
    }
    if !capacity.limits.is_empty() {
        out.push_str("What broke first:\n\n");
        for limit in &capacity.limits {
            let _ = writeln!(out, "- `{}` ({}): {}", limit.what, of_runs(limit.runs), escape(&limit.said));
        }
        out.push('\n');
    }
    let all: Vec<(Metric, &'static str)> =
        metrics(capacity).into_iter().map(|metric| (metric, typical(metric).0)).collect();
    let shown: Vec<Metric> = all.iter().map(|(metric, _)| *metric).collect();
    let head = head(&shown);
    if !capacity.probes.is_empty() {
        let _ = writeln!(out, "| {} |", head.join(" | "));
        let _ = writeln!(out, "|--:|---|{}", "--:|".repeat(head.len() - 2));
        for load in capacity.loads() {
            let _ = writeln!(out, "| {} |", row(capacity, load, &shown).join(" | "));
        }
        out.push('\n');
    }
    for said in nearest(capacity).into_iter().chain(left_open(capacity)) {
        let _ = writeln!(out, "- {}", escape(&said));
    }
    let _ = writeln!(
        out,
        "\n{} of at most {} in {}; searched `{}`; seed {}; exit code {}.",
        number::count(capacity.probes.len() as u64, "run"),
        capacity.most_runs,
        number::duration((capacity.duration_ms * 1e3) as u64),
        capacity.range,
        capacity.seed,
        capacity.exit_code
    );
    out
}

/// The workflow command that GitHub Actions shows; empty where there is a capacity.
pub fn annotation(capacity: &Capacity) -> String {
    if capacity.verdict == Verdict::Pass {
        return String::new();
    }
    let text = format!("capacity: {}. {}", capacity.headline(), capacity.explanation().join(" "));
    let text = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    format!("::error title=capacity::{text}\n")
}

/// How near the generator was to its own limits at the load that held.
pub(super) fn nearest(capacity: &Capacity) -> Option<String> {
    let load = capacity.holds?;
    let reading = capacity.nearest_limit(load)?;
    Some(format!(
        "of the generator's own limits, {} was the nearest at {}: {} of {}",
        reading.name,
        capacity.show(load),
        number::digits(reading.observed?),
        number::digits(reading.limit)
    ))
}

/// Runs that began while sockets of the one before were open.
pub(super) fn left_open(capacity: &Capacity) -> Vec<String> {
    let warning = |probe: &Probe| {
        let sockets = number::count(probe.left_open?, "socket");
        Some(format!("run {} left {sockets} open, so that the next one may have been disturbed", probe.number))
    };
    capacity.probes.iter().filter_map(warning).collect()
}

pub(super) fn of_runs(runs: u32) -> String {
    format!("in {}", number::count(runs.into(), "run"))
}

fn columns(capacity: &Capacity) -> Vec<Metric> {
    metrics(capacity).into_iter().take(COLUMNS).collect()
}

fn head(shown: &[Metric]) -> Vec<String> {
    let metrics = shown.iter().map(|metric| format!("{} {}", metric.name(), typical(*metric).0));
    ["load".to_owned(), "runs that held".into()].into_iter().chain(metrics).collect()
}

fn row(capacity: &Capacity, load: f64, shown: &[Metric]) -> Vec<String> {
    let held = capacity.at(load).filter(|probe| probe.finding == Finding::Held).count();
    let runs = format!("{held} of {} ({})", capacity.at(load).count(), standing(capacity, load));
    let value = |metric: &Metric| number::optional(at(capacity, load, *metric, typical(*metric).1), metric.unit());
    [load.to_string(), runs].into_iter().chain(shown.iter().map(value)).collect()
}

/// What would be markup in Markdown.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('<', "&lt;").replace('|', "\\|").replace('`', "\\`").replace('*', "\\*")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::testing::{interrupted, search};

    #[test]
    fn the_end_on_a_terminal() {
        let capacity = search("calls 4..64", 25, 100);
        let said = terminal(&capacity, Style { colour: false, width: 100 });
        for line in [
            "24      3 of 3 (holds)",
            "25    0 of 2 (did not hold)",
            "first    connection_time_ms p95 < 200ms (in 2 runs)",
            "machine  of the generator's own limits, machine_cpu_ratio was the nearest at 24 calls: 0.22 of 0.9",
            "So the capacity is at least 24 calls and below 25 calls, a gap of 4.0 %.",
            "capacity: 24 calls (14 runs in 61.5 s, exit code 0)",
        ] {
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(&said).contains(&words(line)), "{line} in:\n{said}");
        }
        let said = markdown(&capacity);
        assert!(said.starts_with("## ✅ capacity: capacity 24 calls\n"), "{said}");
        assert!(said.contains("| 25 | 0 of 2 (did not hold) | 665 ms |"), "{said}");
        assert_eq!(annotation(&capacity), "");
    }

    #[test]
    fn every_run_is_a_line() {
        let capacity = interrupted("calls 4..64", 25, 5);
        let said = line(&capacity);
        assert!(said.starts_with("run 5 at 32 calls: broke: connection_time_ms p95 < 200ms"), "{said}");
        assert!(said.ends_with("; between 16 and 32 calls"), "{said}");
    }

    #[test]
    fn no_passing_point_is_an_annotation() {
        let said = annotation(&search("calls 4..64", 1, u64::MAX));
        assert!(said.starts_with("::error title=capacity::capacity: no passing point. Already at 4 calls"), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}
