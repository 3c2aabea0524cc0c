//! `metrics.om`: the result as OpenMetrics text 1.0, in base units, with labels of low cardinality only.
//!
//! It keeps to the types that the older text format of Prometheus has too (so no `stateset`): what takes only that format
//! reads the file as well, and sees comments in `# UNIT` and `# EOF`.

use std::fmt::Write as _;

use crate::gate::{GateVerdict, Judgement, Verdict};
use crate::record::{Metric, Record, Selection, Unit};

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 1.0];

pub(super) fn render(record: &Record, judgement: &Judgement) -> String {
    let mut out = String::new();
    let scenario = record.plan().map_or("", |plan| &plan.name);
    let label = format!("scenario=\"{}\"", escape(scenario));
    for metric in record.metrics() {
        summary(&mut out, record, metric, &label);
    }
    let counts = record.call_counts();
    family(&mut out, "harness_calls", "gauge", "Calls by how they went.", None);
    for (state, count) in [
        ("planned", counts.planned),
        ("attempted", counts.attempted),
        ("connected", counts.connected),
        ("failed", counts.failed),
        ("dropped", counts.dropped),
    ] {
        let _ = writeln!(out, "harness_calls{{{label},state=\"{state}\"}} {count}");
    }
    family(&mut out, "harness_run_duration_seconds", "gauge", "How long the run lasted.", Some("seconds"));
    let _ = writeln!(out, "harness_run_duration_seconds{{{label}}} {}", record.duration_us() as f64 / 1e6);
    family(&mut out, "harness_gates", "gauge", "Gates by how they ended.", None);
    for verdict in [GateVerdict::Pass, GateVerdict::Fail, GateVerdict::NoData] {
        let count = judgement.gates.iter().filter(|result| result.verdict == verdict).count();
        let name = verdict.name().replace(' ', "_");
        let _ = writeln!(out, "harness_gates{{{label},verdict=\"{name}\"}} {count}");
    }
    family(&mut out, "harness_verdict", "gauge", "What the run is worth: 1 for its verdict, else 0.", None);
    for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Invalid, Verdict::Error, Verdict::Interrupted] {
        let set = u8::from(judgement.verdict == verdict);
        let _ = writeln!(out, "harness_verdict{{{label},verdict=\"{}\"}} {set}", verdict.name());
    }
    out.push_str("# EOF\n");
    out
}

fn summary(out: &mut String, record: &Record, metric: Metric, label: &str) {
    let (name, unit, scale) = base_unit(metric);
    let groups =
        record.groups().into_iter().map(|group| (format!(",group=\"{}\"", escape(group)), Selection::group(group)));
    let sets = record.sets().into_iter().map(|set| (format!(",set=\"{}\"", escape(set)), Selection::set(set)));
    let views = std::iter::once((String::new(), Selection::ALL)).chain(groups).chain(sets);
    family(out, &name, "summary", metric.description(), Some(unit));
    for (more, selection) in views {
        let values = record.distribution(metric, selection);
        if values.is_empty() {
            continue;
        }
        for quantile in QUANTILES {
            let value = if quantile == 1.0 { values.max() } else { values.quantile(quantile) };
            let value = value.unwrap_or(f64::NAN) / scale;
            let _ = writeln!(out, "{name}{{{label}{more},quantile=\"{quantile}\"}} {value}");
        }
        let _ = writeln!(out, "{name}_sum{{{label}{more}}} {}", values.sum() / scale);
        let _ = writeln!(out, "{name}_count{{{label}{more}}} {}", values.count());
    }
}

/// The metric's name with its base unit, the unit, and how many of the metric's units the base unit has.
fn base_unit(metric: Metric) -> (String, &'static str, f64) {
    let stem = metric.name();
    let without = |suffix| stem.strip_suffix(suffix).unwrap_or(stem);
    match metric.unit() {
        Unit::Milliseconds => (format!("harness_{}_seconds", without("_ms")), "seconds", 1e3),
        Unit::BitsPerSecond => {
            let what = without("_bps");
            let what = what.strip_suffix("_bitrate").unwrap_or(what);
            (format!("harness_{what}_bytes_per_second"), "bytes_per_second", 8.0)
        }
        Unit::PerSecond => (format!("harness_{}_per_second", without("_per_second")), "per_second", 1.0),
        Unit::Ratio => (format!("harness_{}_ratio", without("_ratio")), "ratio", 1.0),
    }
}

fn family(out: &mut String, name: &str, kind: &str, help: &str, unit: Option<&str>) {
    let _ = writeln!(out, "# TYPE {name} {kind}");
    if let Some(unit) = unit {
        let _ = writeln!(out, "# UNIT {name} {unit}");
    }
    let _ = writeln!(out, "# HELP {name} {}", escape(help));
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
