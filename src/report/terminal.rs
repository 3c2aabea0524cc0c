//! The end of a run on a terminal: a short table, what went wrong, and the verdict.

use std::fmt::Write as _;

use super::fallback::{Fallback, fallbacks, summaries};
use super::{matrix, number};
use crate::gate::{CellOutcome, GateVerdict, Judgement, Verdict, growths, health_checks};
use crate::plan::Engine;
use crate::record::{Failure, FailureCount, Record, Selection, Unit, WaitFor};

/// How the text looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Style {
    /// Whether ANSI colours are used.
    pub colour: bool,
    /// Columns of the terminal; longer lines of prose are wrapped.
    pub width: usize,
}

/// Failures that are told one by one; the rest is in the files.
const FAILURES: usize = 8;
/// Ends of the calls of a pair whose ways are told.
const TRIED: usize = 2;

/// The result for people at a terminal.
pub fn render(record: &Record, judgement: &Judgement, style: Style) -> String {
    let mut text = Text { out: String::new(), style };
    metrics(&mut text, record);
    gates(&mut text, judgement);
    let fallbacks = fallbacks(record);
    networks(&mut text, record, &fallbacks);
    relays(&mut text, &fallbacks);
    failures(&mut text, record);
    skipped(&mut text, record);
    for warning in record.warnings() {
        text.prose("  ", &format!("warning: {}; {}", warning.text, warning.advice), Colour::Yellow);
    }
    generator(&mut text, record);
    verdict(&mut text, record, judgement);
    text.out
}

fn metrics(text: &mut Text, record: &Record) {
    let mut rows = vec![["metric", "n", "min", "p50", "p95", "max"].map(String::from).to_vec()];
    for metric in record.metrics() {
        let values = record.distribution(metric, Selection::ALL);
        if values.is_empty() {
            continue;
        }
        let of = |value| number::optional(value, metric.unit());
        let [p50, p95] = [0.5, 0.95].map(|quantile| of(values.quantile(quantile)));
        let (min, max) = (of(values.min()), of(values.max()));
        rows.push(vec![metric.name().into(), values.count().to_string(), min, p50, p95, max]);
    }
    if rows.len() == 1 {
        text.line("no metric was measured");
        return;
    }
    text.table(&rows);
    text.line("");
}

fn gates(text: &mut Text, judgement: &Judgement) {
    for result in &judgement.gates {
        let (word, colour) = match result.verdict {
            GateVerdict::Pass => ("ok     ", Colour::Green),
            GateVerdict::Fail => ("FAILED ", Colour::Red),
            GateVerdict::NoData => ("NO DATA", Colour::Red),
        };
        let place =
            if result.verdict == GateVerdict::Pass { String::new() } else { format!(" at {}", result.gate.place) };
        text.labelled(word, &format!("{}{place}", result.message), colour);
    }
}

/// The matrix as a grid of four letters a cell, then the cells that need attention.
fn networks(text: &mut Text, record: &Record, fallbacks: &[Fallback<'_>]) {
    let checks = record.lab_checks();
    if !checks.is_empty() {
        let broken: Vec<_> = checks.iter().filter(|check| !check.ok).collect();
        let count = number::count(checks.len() as u64, "check");
        let (message, colour) = match broken.first() {
            None => (format!("{count} of the networks, all hold"), Colour::Dim),
            Some(check) => {
                let (site, what, expected, measured) = (&check.site, &check.what, &check.expected, &check.measured);
                let first = format!("{site}: {what} is {measured} instead of {expected}");
                (format!("{count} of the networks, {} do not hold, first: {first}", broken.len()), Colour::Red)
            }
        };
        text.labelled("lab    ", &message, colour);
    }
    let Some(result) = crate::gate::matrix(record) else { return };
    for grid in matrix::grids(&result) {
        text.line("");
        if !grid.title.is_empty() {
            text.line(&format!("  {}", grid.title));
        }
        let number = |index: usize| format!("{:>2}", index + 1);
        let named: Vec<String> = grid
            .rows
            .iter()
            .map(|row| match grid.columns.iter().position(|column| column == row.name) {
                Some(index) => format!("{} {}", number(index), row.name),
                None => format!("   {}", row.name),
            })
            .collect();
        let width = named.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        // A terminal that is too narrow for all columns gets them in several pieces.
        let piece = (text.style.width.saturating_sub(width + 2) / 5).max(1);
        for from in (0..grid.columns.len()).step_by(piece) {
            let columns = from..(from + piece).min(grid.columns.len());
            let head: String = columns.clone().map(|index| format!(" {:<4}", number(index))).collect();
            text.coloured(&format!("  {:<width$}{head}", ""), Colour::Dim);
            for (row, name) in grid.rows.iter().zip(&named) {
                let mut line = format!("  {name:<width$}");
                for cell in &row.cells[columns.clone()] {
                    let letters = cell.map_or("", matrix::letters);
                    let colour = match cell {
                        None => Colour::None,
                        Some(cell) if matrix::is_ok(cell) => Colour::Green,
                        Some(cell) if cell.outcome == CellOutcome::Unjudged => Colour::Yellow,
                        Some(_) => Colour::Red,
                    };
                    let _ = write!(line, " {}", text.paint(&format!("{letters:<4}"), colour));
                }
                text.line(&line);
            }
        }
        let others = grid.columns.iter().enumerate().filter(|(_, name)| grid.rows.iter().all(|row| row.name != **name));
        let others: Vec<String> = others.map(|(index, name)| format!("{} {name}", index + 1)).collect();
        if !others.is_empty() {
            text.prose("  ", &format!("columns: {}", others.join(", ")), Colour::Dim);
        }
    }
    text.line("");
    text.prose("  ", &matrix::summary(&result), Colour::None);
    let bad: Vec<_> = result.cells.iter().filter(|cell| !matrix::is_ok(cell)).collect();
    for cell in bad.iter().take(FAILURES) {
        let hint = cell.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        text.labelled("pair   ", &format!("{}: {}{hint}", matrix::heading(cell), cell.detail), Colour::Red);
        for fallback in fallbacks.iter().filter(|fallback| fallback.set == cell.name).take(TRIED) {
            text.labelled("tried  ", &format!("{}: {}", fallback.who(), fallback.outcome()), Colour::Dim);
            for way in &fallback.ways {
                text.labelled("       ", &format!("{}: {}", way.way, way.detail), Colour::None);
            }
        }
        if let Some(packets) = &cell.packets {
            text.labelled("packets", packets, Colour::Dim);
        }
    }
    if let Some(more) = bad.len().checked_sub(FAILURES + 1) {
        text.line(&format!("  … and {} in the report", number::count(more as u64 + 1, "more pair")));
    }
}

/// What falling back took, by the kind of relay: medians.
fn relays(text: &mut Text, fallbacks: &[Fallback<'_>]) {
    let ms = |ms: &Option<f64>| number::optional(*ms, Unit::Milliseconds);
    let mut rows = vec![["fell back to", "n", "in all"].into_iter().map(String::from).collect::<Vec<_>>()];
    rows[0].extend(WaitFor::ALL.map(|what| what.name().to_owned()));
    for summary in summaries(fallbacks) {
        let mut row = vec![summary.leg(), summary.count.to_string(), ms(&summary.total)];
        row.extend(summary.waits.iter().map(ms));
        rows.push(row);
    }
    if rows.len() > 1 {
        text.line("");
        text.table(&rows);
    }
}

/// Each failure, or of many failures each phase and reason.
fn failures(text: &mut Text, record: &Record) {
    if record.failures().len() > FAILURES {
        return failure_counts(text, record);
    }
    for failure in record.failures().iter().take(FAILURES) {
        let failure = &failure.what;
        let phase = failure.phase.name();
        text.labelled(
            "failed ",
            &format!("{} ({phase}, call {}): {}", failure.peer, failure.call, failure.reason),
            Colour::Red,
        );
    }
}

fn failure_counts(text: &mut Text, record: &Record) {
    let counts = record.failure_counts();
    for FailureCount { count, example } in counts.iter().take(FAILURES) {
        let Failure { peer, call, phase, reason } = example;
        let failures = number::count(*count, "failure");
        let phase = phase.name();
        text.labelled("failed ", &format!("{failures} ({phase}): {reason}; first {peer} in call {call}"), Colour::Red);
    }
    if let Some(more) = counts.len().checked_sub(FAILURES + 1) {
        text.line(&format!("  … and {} in the report", number::count(more as u64 + 1, "more reason")));
    }
}

fn skipped(text: &mut Text, record: &Record) {
    for skip in record.skipped() {
        let kind = if skip.optional { "optional" } else { "required" };
        let calls = number::count(u64::from(skip.calls), "call");
        let message = format!("{} ({kind}, {calls}): {}; {}", skip.what, skip.reason, skip.remedy);
        text.labelled("skipped", &message, Colour::Yellow);
    }
}

fn generator(text: &mut Text, record: &Record) {
    let Some(plan) = record.plan() else { return };
    let checks = health_checks(record, &plan.health);
    let told: Vec<String> = checks
        .iter()
        .filter_map(|check| {
            let observed = number::digits(check.observed?);
            Some(format!("{} {observed} (limit {})", check.name, number::digits(check.limit)))
        })
        .collect();
    let healthy = !told.is_empty() && checks.iter().all(|check| !check.passed_limit());
    let summary = if told.is_empty() { "never measured".to_owned() } else { told.join(", ") };
    text.labelled("machine", &summary, if healthy { Colour::Dim } else { Colour::Red });
    for growth in growths(record).iter().filter(|growth| growth.is_growth()) {
        text.labelled("growth ", &growth.sentence(), Colour::Yellow);
    }
}

fn verdict(text: &mut Text, record: &Record, judgement: &Judgement) {
    let counts = record.call_counts();
    let engines =
        [Engine::Native, Engine::Signaling, Engine::Chromium, Engine::Firefox, Engine::Human, Engine::External];
    let engines: Vec<&str> = engines
        .into_iter()
        .filter(|engine| {
            record.calls().any(|(plan, call)| {
                call.attempted()
                    && [&plan.offerer, &plan.answerer].iter().any(|peer| record.engine(peer) == Some(*engine))
            })
        })
        .map(Engine::name)
        .collect();
    let with = if engines.is_empty() { String::new() } else { format!(" ({})", engines.join(", ")) };
    text.line("");
    text.line(&format!(
        "{} of {} calls connected, {} failed{with}, in {}",
        counts.connected,
        counts.planned,
        counts.failed,
        number::duration(record.duration_us()),
    ));
    let colour = match judgement.verdict {
        Verdict::Pass => Colour::Green,
        Verdict::Invalid | Verdict::Interrupted => Colour::Yellow,
        Verdict::Fail | Verdict::Error => Colour::Red,
    };
    text.coloured(&format!("verdict: {} (exit code {})", judgement.verdict.name(), judgement.exit_code), colour);
    // What stands above as a gate needs no second telling.
    let told = |reason: &&String| judgement.gates.iter().any(|result| reason.starts_with(&result.message));
    for reason in judgement.reasons.iter().filter(|reason| !told(reason)) {
        text.prose("  ", &format!("because {reason}"), Colour::None);
    }
}

#[derive(Clone, Copy)]
pub(super) enum Colour {
    None,
    Dim,
    Red,
    Green,
    Yellow,
}

/// Text that grows line by line.
pub(super) struct Text {
    pub(super) out: String,
    pub(super) style: Style,
}

impl Text {
    pub(super) fn line(&mut self, line: &str) {
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    /// The first row is the head, and the first column stands at the left.
    pub(super) fn table(&mut self, rows: &[Vec<String>]) {
        let columns = rows.first().map_or(0, Vec::len);
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
            }
            if index == 0 { self.coloured(&line, Colour::Dim) } else { self.line(&line) }
        }
    }

    pub(super) fn coloured(&mut self, line: &str, colour: Colour) {
        let painted = self.paint(line, colour);
        self.line(&painted);
    }

    pub(super) fn labelled(&mut self, label: &str, message: &str, colour: Colour) {
        let indent = label.chars().count() + 4;
        let lines = wrap(message, self.style.width.saturating_sub(indent).max(20));
        for (index, line) in lines.iter().enumerate() {
            let head = if index == 0 { self.paint(label, colour) } else { " ".repeat(indent - 4) };
            self.line(&format!("  {head}  {line}"));
        }
    }

    pub(super) fn prose(&mut self, indent: &str, message: &str, colour: Colour) {
        for line in wrap(message, self.style.width.saturating_sub(indent.len()).max(20)) {
            self.coloured(&format!("{indent}{line}"), colour);
        }
    }

    fn paint(&self, text: &str, colour: Colour) -> String {
        let code = match colour {
            Colour::None => return text.to_owned(),
            Colour::Dim => 2,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
        };
        if self.style.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Breaks at spaces; a longer word stands alone on its line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
