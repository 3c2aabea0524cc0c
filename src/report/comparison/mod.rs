//! A comparison of two sets of runs: for a terminal, for the summary of a CI job, and as a page.

mod forest;
mod page;
mod sides;
mod spread;
mod text;

pub use page::{Origin, render as html};
pub use text::{markdown, text};

use super::number;
use crate::gate::compare::{Change, Comparison};
use crate::record::Unit;

/// How many of each, most important first.
fn tally(comparison: &Comparison, order: [Change; 4]) -> String {
    let count = |change: Change| comparison.metrics.iter().filter(|metric| metric.change == change).count();
    order.map(|change| format!("{} {}", count(change), change.name())).join(", ")
}

fn signed(value: f64, unit: Unit) -> String {
    let sign = match value {
        0.0 => "",
        value if value < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{}", number::value(value.abs(), unit))
}
