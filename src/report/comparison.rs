//! A comparison of two sets of runs, as text and as Markdown.

use std::fmt::Write as _;

use super::number;
use crate::gate::compare::{Change, Comparison, MetricChange};
use crate::record::Unit;

/// What changed, for people at a terminal.
pub fn text(comparison: &Comparison, base: &str, new: &str) -> String {
    let mut out = String::new();
    let (of_base, of_new) = comparison.runs;
    let _ = writeln!(out, "base {base} ({of_base} runs), new {new} ({of_new} runs)\n");
    let rows: Vec<[String; 7]> = comparison.metrics.iter().map(row).collect();
    let heading = ["metric", "", "base", "new", "shift (interval)", "would show", ""].map(str::to_owned);
    let all: Vec<&[String; 7]> = std::iter::once(&heading).chain(&rows).collect();
    let widths: [usize; 7] =
        std::array::from_fn(|column| all.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in all {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "  {cell:<width$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    let _ = writeln!(out);
    for fact in &comparison.facts {
        let _ = writeln!(out, "  {}  {}", if fact.is_worse { "CHANGED" } else { "better " }, fact.sentence);
    }
    let _ = writeln!(out, "{}", summary(comparison));
    for reason in &comparison.reasons {
        let _ = writeln!(out, "  because {reason}");
    }
    out
}

/// What changed, for the summary of a CI job.
pub fn markdown(comparison: &Comparison, base: &str, new: &str) -> String {
    let mut out = format!("## Comparison: {}\n\n{}\n\n", comparison.verdict.name(), summary(comparison));
    for reason in &comparison.reasons {
        let _ = writeln!(out, "- {}", escape(reason));
    }
    let _ = writeln!(out, "\nBase `{base}`, new `{new}`.\n");
    let _ = writeln!(out, "| metric | | base | new | shift (interval) | would show | |\n|---|---|--:|--:|--:|--:|---|");
    for metric in &comparison.metrics {
        let _ = writeln!(out, "| {} |", row(metric).map(|cell| escape(&cell)).join(" | "));
    }
    out
}

/// How many of each, in one line.
fn summary(comparison: &Comparison) -> String {
    let count = |change: Change| comparison.metrics.iter().filter(|metric| metric.change == change).count();
    let of_each = [Change::Regressed, Change::Improved, Change::Unchanged, Change::Inconclusive]
        .map(|change| format!("{} {}", count(change), change.name()));
    format!("verdict: {} ({})", comparison.verdict.name(), of_each.join(", "))
}

fn row(metric: &MetricChange) -> [String; 7] {
    let unit = metric.metric.unit();
    let value = |value: Option<f64>| number::optional(value, unit);
    let shift = match (metric.shift, metric.interval) {
        (Some(shift), Some((low, high))) => {
            format!("{} ({} to {})", signed(shift, unit), signed(low, unit), signed(high, unit))
        }
        (Some(shift), None) => format!("{} (too few runs)", signed(shift, unit)),
        (None, _) => "–".to_owned(),
    };
    let repeats = metric.repeats.map_or(String::new(), |repeats| format!(" ({repeats} repeats would tell)"));
    [
        metric.metric.name().to_owned(),
        metric.statistic.clone(),
        value(metric.base),
        value(metric.new),
        shift,
        value(metric.smallest),
        format!("{}{repeats}", metric.change.name()),
    ]
}

fn signed(value: f64, unit: Unit) -> String {
    let sign = if value < 0.0 { "−" } else { "+" };
    format!("{sign}{}", number::value(value.abs(), unit))
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Verdict;
    use crate::gate::compare::{FactChange, Policy};
    use crate::record::Metric;

    fn comparison() -> Comparison {
        let metric = MetricChange {
            metric: Metric::ConnectionTimeMs,
            statistic: "p50".into(),
            change: Change::Regressed,
            base: Some(50.0),
            new: Some(70.0),
            shift: Some(20.0),
            interval: Some((18.5, 21.0)),
            p: Some(0.0001),
            threshold: Some(5.0),
            smallest: Some(7.5),
            repeats: None,
            sentence: "p50 of connection_time_ms regressed".into(),
        };
        let few = MetricChange {
            change: Change::Inconclusive,
            interval: None,
            smallest: None,
            repeats: Some(7),
            ..metric.clone()
        };
        let fact = FactChange {
            name: "calls failed".into(),
            base: (0, 0),
            new: (1, 1),
            is_worse: true,
            sentence: "calls failed: 1 times in a run, before 0".into(),
        };
        Comparison {
            verdict: Verdict::Fail,
            reasons: vec![fact.sentence.clone(), metric.sentence.clone()],
            policy: Policy::default(),
            runs: (10, 10),
            metrics: vec![metric, few],
            facts: vec![fact],
        }
    }

    #[test]
    fn the_text_has_every_metric_with_its_interval_and_what_would_have_shown() {
        let text = text(&comparison(), "a", "b");
        for words in [
            "base a (10 runs), new b (10 runs)",
            "50 ms",
            "+20 ms (+18.5 ms to +21 ms)",
            "7.5 ms",
            "too few runs",
            "inconclusive (7 repeats would tell)",
            "CHANGED  calls failed: 1 times",
            "verdict: fail (1 regressed, 0 improved, 0 unchanged, 1 inconclusive)",
        ] {
            assert!(text.contains(words), "{words} is not in\n{text}");
        }
    }

    #[test]
    fn the_markdown_is_a_table_that_nothing_breaks() {
        let mut comparison = comparison();
        comparison.reasons.push("a | b <script>".into());
        let text = markdown(&comparison, "a", "b");
        assert!(
            text.contains("a \\| b &lt;script>") && text.contains("| connection_time_ms | p50 | 50 ms | 70 ms |"),
            "{text}"
        );
    }
}
