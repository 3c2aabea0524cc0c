//! The formats of a report, and the files of a run directory.

use super::terminal::Style;
use super::{capacity, hlog, html, json, junit, markdown, openmetrics, terminal};
use crate::capacity::Capacity;
use crate::gate::Judgement;
use crate::record::Record;

/// A format of the report.
#[derive(clap::ValueEnum, Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One page for people: no network, no JavaScript.
    Html,
    /// The whole result for programs.
    Json,
    /// Markdown for a pull request or a step summary.
    Md,
    /// JUnit XML: one test case per gate.
    Junit,
    /// OpenMetrics text.
    Om,
    /// HdrHistogram interval log.
    Hlog,
    /// The plan, which repeats the run exactly.
    Plan,
    /// What the run printed at its end.
    Terminal,
}

/// A report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A value has no JSON form.
    #[error("the result has no JSON form: {0}")]
    Json(#[from] serde_json::Error),
    /// The page's template failed.
    #[error("the page cannot be rendered: {0}")]
    Html(#[from] askama::Error),
    /// A text has no XML form.
    #[error("the result has no XML form: {0}")]
    Junit(#[from] quick_junit::SerializeError),
    /// A histogram could not be written.
    #[error("a histogram cannot be written: {0}")]
    Hlog(String),
    /// A search for the capacity has no such form; its runs do.
    #[error(
        "a search for the capacity has no such format: html, json, md, junit and terminal it has; its runs have the others"
    )]
    OfRunsOnly,
    /// The plan has no TOML form.
    #[error("the plan has no TOML form: {0}")]
    Plan(#[from] toml::ser::Error),
}

impl Format {
    /// The formats that a run directory holds, with the names of their files.
    pub const FILES: [(Self, &'static str); 7] = [
        (Self::Plan, "plan.toml"),
        (Self::Json, "report.json"),
        (Self::Html, "report.html"),
        (Self::Junit, "junit.xml"),
        (Self::Md, "summary.md"),
        (Self::Om, "metrics.om"),
        (Self::Hlog, "histograms.hlog"),
    ];

    /// The formats that the directory of a search for the capacity holds, with the names of their files.
    pub const CAPACITY_FILES: [(Self, &'static str); 4] = [
        (Self::Json, Capacity::FILE),
        (Self::Html, "report.html"),
        (Self::Junit, "junit.xml"),
        (Self::Md, "summary.md"),
    ];

    /// The report of a search for the capacity in this format.
    pub fn render_capacity(self, found: &Capacity) -> Result<String, RenderError> {
        match self {
            Self::Html => capacity::html(found),
            Self::Json => Ok(serde_json::to_string_pretty(found)? + "\n"),
            Self::Md => Ok(capacity::markdown(found)),
            Self::Junit => capacity::junit(found),
            Self::Terminal => Ok(capacity::terminal(found, Style { colour: false, width: 100 })),
            Self::Om | Self::Hlog | Self::Plan => Err(RenderError::OfRunsOnly),
        }
    }

    /// The report in this format.
    pub fn render(self, record: &Record, judgement: &Judgement) -> Result<String, RenderError> {
        match self {
            Self::Html => html::render(record, judgement),
            Self::Json => json::render(record, judgement),
            Self::Md => Ok(markdown::render(record, judgement)),
            Self::Junit => junit::render(record, judgement),
            Self::Om => Ok(openmetrics::render(record, judgement)),
            Self::Hlog => hlog::render(record),
            Self::Plan => record.plan().map_or_else(|| Ok(String::new()), |plan| Ok(toml::to_string(plan)?)),
            Self::Terminal => Ok(terminal::render(record, judgement, Style { colour: false, width: 100 })),
        }
    }
}
