//! Reports: one file per format, each a pure function of a record and its judgement. A report never measures, and does no
//! I/O; `docs/report.md` describes what each is for.

mod capacity;
mod charts;
mod comparison;
mod fallback;
mod format;
mod github;
mod hlog;
mod html;
mod json;
mod junit;
mod markdown;
mod matrix;
mod number;
mod openmetrics;
mod progress;
mod redact;
mod series;
mod svg;
mod terminal;
mod timeline;
mod waterfall;

pub use capacity::{annotation as capacity_annotation, line as capacity_line, terminal as capacity_terminal};
pub use comparison::{markdown as comparison_markdown, text as comparison_text};
pub use format::{Format, RenderError};
pub use github::render as github_annotations;
pub use json::schema as json_schema;
pub use number::duration;
pub use progress::{Display, line as progress_line, resolve as resolve_display};
pub use redact::command_line as redact_command_line;
pub use terminal::{Style, render as terminal};

use crate::gate::{Expectation, GateResult, Statistic};
use crate::plan::CallPlan;

/// What a call is shown under where like calls are brought together: its set, or the matrix, whose sets are too many to be
/// told one by one.
fn heading(call: &CallPlan) -> &str {
    if call.cell.is_some() { "matrix" } else { &call.set }
}

/// What a gate observed, in the words of its statistic.
fn observed(result: &GateResult) -> String {
    let Some(observed) = result.observed else { return "–".into() };
    match Expectation::parse(&result.gate.expect, result.gate.metric) {
        Ok(expectation) if expectation.statistic == Statistic::Count => number::digits(observed),
        _ => number::value(observed, result.gate.metric.unit()),
    }
}
