//! Lines that GitHub Actions shows at the gate's place in the scenario file.

use std::fmt::Write as _;

use crate::gate::{GateVerdict, Judgement, Verdict};
use crate::record::Record;

/// Workflow commands: one error per gate that did not hold, at its line, and the verdict's reasons if no gate has one.
pub fn render(record: &Record, judgement: &Judgement) -> String {
    let mut out = String::new();
    for result in judgement.gates.iter().filter(|result| result.verdict != GateVerdict::Pass) {
        let at = place(&result.gate.place).map_or_else(String::new, |(file, line, column)| {
            format!(" file={},line={line},col={column},title=gate", property(file))
        });
        let _ = writeln!(out, "::error{at}::{}", message(&result.message));
    }
    if out.is_empty() && judgement.verdict != Verdict::Pass {
        let file = record.plan().map_or_else(String::new, |plan| format!(" file={}", property(&plan.scenario)));
        let reasons = judgement.reasons.join("; ");
        let _ = writeln!(out, "::error{file}::{}: {}", judgement.verdict.name(), message(&reasons));
    }
    out
}

/// `file:line:column`; a file name may hold colons.
fn place(place: &str) -> Option<(&str, u32, u32)> {
    let (rest, column) = place.rsplit_once(':')?;
    let (file, line) = rest.rsplit_once(':')?;
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

/// Escapes the text of a workflow command.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a workflow command.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
