//! `summary.md`: the result for a pull request or the step summary of a CI job.

use std::fmt::Write as _;

use super::fallback::Fallback;
use super::number;
use super::{fallback, matrix};
use crate::gate::{CellOutcome, GateVerdict, Judgement, Verdict};
use crate::record::{FailureCount, Record, Selection, Unit, WaitFor};

/// Failures that are listed; a step summary may hold 1 MiB.
const FAILURES: usize = 50;
/// Ends of the calls of a pair whose ways are told.
const TRIED: usize = 2;

pub(super) fn render(record: &Record, judgement: &Judgement) -> String {
    let mut out = String::new();
    head(&mut out, record, judgement);
    let fallbacks = fallback::fallbacks(record);
    networks(&mut out, record, &fallbacks);
    relays(&mut out, &fallbacks);
    gates(&mut out, judgement);
    failures(&mut out, record);
    skipped(&mut out, record);
    metrics(&mut out, record);
    out
}

fn head(out: &mut String, record: &Record, judgement: &Judgement) {
    let sign = match judgement.verdict {
        Verdict::Pass => "✅",
        Verdict::Fail | Verdict::Error => "❌",
        Verdict::Invalid | Verdict::Interrupted => "⚠️",
    };
    let name = record.plan().map_or("unknown scenario", |plan| &plan.name);
    let counts = record.call_counts();
    let _ = writeln!(out, "## {sign} {}: {}\n", escape(name), judgement.verdict.name());
    let _ = writeln!(
        out,
        "{} of {} calls connected, {} failed, in {}; exit code {}.\n",
        counts.connected,
        counts.planned,
        counts.failed,
        number::duration(record.duration_us()),
        judgement.exit_code,
    );
    for reason in &judgement.reasons {
        let _ = writeln!(out, "- {}", escape(reason));
    }
    if !judgement.reasons.is_empty() {
        out.push('\n');
    }
}

/// Every pair of networks, then those that need attention.
fn networks(out: &mut String, record: &Record, fallbacks: &[Fallback<'_>]) {
    let broken = record.lab_checks().iter().filter(|check| !check.ok).count();
    if let checks @ 1.. = record.lab_checks().len() {
        let sign = if broken == 0 { "✅" } else { "⚠️" };
        let of = if broken == 0 { "all hold".to_owned() } else { format!("{broken} do not hold") };
        let _ = writeln!(out, "{sign} {} of the networks: {of}.\n", number::count(checks as u64, "check"));
    }
    let Some(result) = crate::gate::matrix(record) else { return };
    for grid in matrix::grids(&result) {
        if !grid.title.is_empty() {
            let _ = writeln!(out, "#### {}\n", escape(&grid.title));
        }
        let columns: Vec<String> = grid.columns.iter().map(|name| escape(name)).collect();
        let _ = writeln!(out, "| offers \\ answers | {} |", columns.join(" | "));
        let _ = writeln!(out, "|---|{}", "---|".repeat(columns.len()));
        for row in &grid.rows {
            let cell = |cell: &Option<&crate::gate::CellResult>| match cell {
                Some(cell) if matrix::is_ok(cell) => format!("✅ {}", matrix::word(cell)),
                Some(cell) if matches!(cell.outcome, CellOutcome::LabLies | CellOutcome::Unjudged) => {
                    format!("⚠️ {}", matrix::word(cell))
                }
                Some(cell) => format!("❌ {}", matrix::word(cell)),
                None => String::new(),
            };
            let cells: Vec<String> = row.cells.iter().map(cell).collect();
            let _ = writeln!(out, "| {} | {} |", escape(row.name), cells.join(" | "));
        }
        out.push('\n');
    }
    let _ = writeln!(out, "{}.\n", sentence(&matrix::summary(&result)));
    let bad: Vec<_> = result.cells.iter().filter(|cell| !matrix::is_ok(cell)).collect();
    for cell in bad.iter().take(FAILURES) {
        let hint = cell.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        let text = escape(&format!("{}{hint}", cell.detail));
        let packets = cell.packets.as_ref().map_or_else(String::new, |file| format!(" (packets: `{file}`)"));
        let _ = writeln!(out, "- **{}**, {}: {text}{packets}", escape(&matrix::heading(cell)), cell.outcome.name());
        for fallback in fallbacks.iter().filter(|fallback| fallback.set == cell.name).take(TRIED) {
            let _ = writeln!(out, "  - {}: {}", escape(&fallback.who()), escape(&fallback.outcome()));
            for way in &fallback.ways {
                let _ = writeln!(out, "    - {}: {}", way.way, escape(&way.detail));
            }
        }
    }
    if let Some(more) = bad.len().checked_sub(FAILURES).filter(|more| *more > 0) {
        let _ = writeln!(out, "- … and {more} more in `report.json`");
    }
    if !bad.is_empty() {
        out.push('\n');
    }
}

/// What falling back took, by the kind of relay.
fn relays(out: &mut String, fallbacks: &[Fallback<'_>]) {
    let summaries = fallback::summaries(fallbacks);
    if summaries.is_empty() {
        return;
    }
    let waits = WaitFor::ALL.map(WaitFor::name);
    let _ = writeln!(out, "| relay | ends | {} | in all | longest |", waits.join(" | "));
    let _ = writeln!(out, "|---|--:|{}--:|--:|", "--:|".repeat(waits.len()));
    let ms = |ms: &Option<f64>| number::optional(*ms, Unit::Milliseconds);
    for row in &summaries {
        let waits: Vec<String> = row.waits.iter().map(ms).collect();
        let (total, longest) = (ms(&row.total), ms(&row.longest));
        let _ = writeln!(out, "| {} | {} | {} | {total} | {longest} |", row.leg(), row.count, waits.join(" | "));
    }
    out.push('\n');
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn gates(out: &mut String, judgement: &Judgement) {
    if judgement.gates.is_empty() {
        return;
    }
    out.push_str("| gate | expected | observed | samples | |\n|---|---|--:|--:|---|\n");
    for result in &judgement.gates {
        let gate = &result.gate;
        let whose = [&gate.group, &gate.set].into_iter().flatten().cloned().collect::<Vec<_>>().join(", ");
        let whose = if whose.is_empty() { whose } else { format!(" ({})", escape(&whose)) };
        let sign = if result.verdict == GateVerdict::Pass { "✅ pass" } else { "❌ " };
        let sign = if result.verdict == GateVerdict::Pass {
            sign.to_owned()
        } else {
            format!("{sign}{}", result.verdict.name())
        };
        let _ = writeln!(
            out,
            "| `{}`{whose} | `{}` | {} | {} | {sign} |",
            gate.metric.name(),
            gate.expect.replace('|', "\\|"),
            super::observed(result),
            result.samples,
        );
    }
    out.push('\n');
}

fn failures(out: &mut String, record: &Record) {
    if record.failures().is_empty() {
        return;
    }
    out.push_str("### Failures\n\n");
    if record.failures().len() > FAILURES {
        return failure_counts(out, record);
    }
    for failure in record.failures().iter().take(FAILURES) {
        let failure = &failure.what;
        let (peer, call, reason) = (escape(&failure.peer), escape(&failure.call), escape(&failure.reason));
        let _ = writeln!(out, "- **{peer}** in call {call}, phase {}: {reason}", failure.phase.name());
    }
    out.push('\n');
}

/// Of many failures each phase and reason.
fn failure_counts(out: &mut String, record: &Record) {
    let counts = record.failure_counts();
    for FailureCount { count, example } in counts.iter().take(FAILURES) {
        let (phase, reason) = (example.phase.name(), escape(&example.reason));
        let _ = writeln!(out, "- **{count}** in phase {phase}: {reason} (first **{}**)", escape(&example.peer));
    }
    if let Some(more) = counts.len().checked_sub(FAILURES).filter(|more| *more > 0) {
        let _ = writeln!(out, "- … and {more} more reasons in `report.json`");
    }
    out.push('\n');
}

fn skipped(out: &mut String, record: &Record) {
    if record.skipped().is_empty() {
        return;
    }
    out.push_str("### Skipped\n\n");
    for skip in record.skipped() {
        let kind = if skip.optional { "optional" } else { "required" };
        let calls = number::count(u64::from(skip.calls), "call");
        let (what, reason, remedy) = (escape(&skip.what), escape(&skip.reason), escape(&skip.remedy));
        let _ = writeln!(out, "- **{what}** ({kind}, {calls}): {reason}; {remedy}");
    }
    out.push('\n');
}

fn metrics(out: &mut String, record: &Record) {
    let mut rows = String::new();
    for metric in record.metrics() {
        let values = record.distribution(metric, Selection::ALL);
        if values.is_empty() {
            continue;
        }
        let of = |value| number::optional(value, metric.unit());
        let quantiles = [0.5, 0.95].map(|quantile| of(values.quantile(quantile)));
        let (min, max) = (of(values.min()), of(values.max()));
        let _ = writeln!(
            rows,
            "| `{}` | {} | {min} | {} | {} | {max} |",
            metric.name(),
            values.count(),
            quantiles[0],
            quantiles[1]
        );
    }
    if !rows.is_empty() {
        out.push_str("| metric | n | min | p50 | p95 | max |\n|---|--:|--:|--:|--:|--:|\n");
        out.push_str(&rows);
    }
}

/// Text from peers and users must not become markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '>' | '~' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}
