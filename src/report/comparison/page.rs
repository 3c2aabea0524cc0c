//! `comparison.html`: one page, no network, readable without JavaScript; `templates/comparison.html` is its form.

use std::collections::BTreeSet;
use std::path::Path;

use askama::Template;

use super::super::charts::Tick;
use super::super::html::shell;
use super::super::{RenderError, number};
use super::forest::Forest;
use super::sides::{EnvironmentRow, SideView, environment, side_view};
use super::spread::{Card, cards};
use super::{signed, tally};
use crate::gate::Verdict;
use crate::gate::compare::{Change, Comparison, MetricChange, Policy, Side, range};

/// Reasons that are told at once; the others unfold.
const TOLD: usize = 8;
/// What needs attention comes first.
const ORDER: [Change; 4] = [Change::Regressed, Change::Inconclusive, Change::Improved, Change::Unchanged];

/// Where a comparison comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The command line that made it, without secrets.
    pub command: &'a [String],
    /// The directory that the page will lie in, which links to records start from.
    pub folder: &'a Path,
}

/// The page of a comparison of these two sides.
///
/// # Errors
///
/// The template failed.
pub fn render(comparison: &Comparison, base: &Side, new: &Side, origin: Origin<'_>) -> Result<String, RenderError> {
    let forest = Forest::over(&comparison.metrics);
    let of = |change: Change| comparison.metrics.iter().filter(move |it| it.change == change);
    let in_order: Vec<&MetricChange> = ORDER.into_iter().flat_map(of).collect();
    let group = |change: Change| Group {
        sign: sign(change),
        rows: of(change).map(|it| row(it, comparison.runs, &forest)).collect(),
    };
    let scenario = if base.scenario == new.scenario {
        base.scenario.clone()
    } else {
        format!("{} and {}", base.scenario, new.scenario)
    };
    let page = Page {
        scenario,
        verdict: comparison.verdict,
        headline: headline(comparison),
        reasons: comparison.reasons.split_at(comparison.reasons.len().min(TOLD)),
        tally: tally(comparison, ORDER),
        sides: [("base", base), ("new", new)].map(|(word, side)| side_view(word, side, origin.folder)),
        facts: facts(comparison, base, new),
        groups: ORDER.into_iter().map(group).filter(|group| !group.rows.is_empty()).collect(),
        ticks: forest.ticks(),
        cards: cards(&in_order, base, new),
        environment: environment(base, new),
        policy: comparison.policy,
        command: shell(origin.command),
    };
    Ok(page.render()?)
}

#[derive(Template)]
#[template(path = "comparison.html")]
struct Page<'a> {
    scenario: String,
    verdict: Verdict,
    headline: String,
    /// Those that are told at once, and the others.
    reasons: (&'a [String], &'a [String]),
    tally: String,
    sides: [SideView<'a>; 2],
    facts: Facts<'a>,
    groups: Vec<Group>,
    ticks: Vec<Tick>,
    cards: Vec<Card>,
    environment: Vec<EnvironmentRow<'a>>,
    policy: Policy,
    command: String,
}

/// A change as a symbol, a word and a class of the style sheet, so that no colour is needed to tell it.
#[derive(Clone, Copy)]
pub(super) struct Sign {
    pub(super) symbol: &'static str,
    pub(super) word: &'static str,
}

pub(super) fn sign(change: Change) -> Sign {
    let symbol = match change {
        Change::Regressed => "✗",
        Change::Inconclusive => "?",
        Change::Improved => "✓",
        Change::Unchanged => "=",
    };
    Sign { symbol, word: change.name() }
}

/// The metrics that the same has become of.
struct Group {
    sign: Sign,
    rows: Vec<MetricRow>,
}

struct MetricRow {
    metric: &'static str,
    statistic: String,
    base: String,
    new: String,
    shift: String,
    interval: String,
    bar: Option<String>,
    smallest: String,
    /// What the numbers do not say.
    note: String,
}

fn row(change: &MetricChange, runs: (usize, usize), forest: &Forest) -> MetricRow {
    let unit = change.metric.unit();
    let share = match (change.shift, change.base) {
        (Some(shift), Some(base)) if base != 0.0 && shift != 0.0 => {
            let percent = shift / base * 100.0;
            format!(" ({}{} %)", if percent < 0.0 { "−" } else { "+" }, number::digits(percent.abs()))
        }
        _ => String::new(),
    };
    MetricRow {
        metric: change.metric.name(),
        statistic: change.statistic.clone(),
        base: number::optional(change.base, unit),
        new: number::optional(change.new, unit),
        shift: change.shift.map_or_else(|| "–".into(), |shift| signed(shift, unit) + &share),
        interval: match (change.shift, change.interval) {
            (Some(_), Some((low, high))) => format!("{} to {}", signed(low, unit), signed(high, unit)),
            (Some(_), None) => "too few runs for an interval".into(),
            (None, _) => String::new(),
        },
        bar: forest.bar(change),
        smallest: change.smallest.map_or_else(|| "no shift at all".into(), |smallest| number::value(smallest, unit)),
        note: note(change, runs.0.min(runs.1)),
    }
}

fn note(change: &MetricChange, runs: usize) -> String {
    if let Some(lacks) = &change.lacks {
        return lacks.clone();
    }
    match (change.shift, change.change, change.repeats) {
        (None, ..) => format!("only the {} side has it", if change.base.is_some() { "base" } else { "new" }),
        (_, Change::Inconclusive, Some(repeats)) => {
            let more = number::count(repeats.saturating_sub(runs) as u64, "more repeat");
            format!("{more} a side would tell ({repeats} in all)")
        }
        (_, Change::Inconclusive, None) => "no reasonable number of repeats would tell".into(),
        _ => String::new(),
    }
}

/// The verdict in a sentence.
fn headline(comparison: &Comparison) -> String {
    let count = |change: Change| comparison.metrics.iter().filter(|it| it.change == change).count();
    let untold = match count(Change::Inconclusive) {
        0 => String::new(),
        count => format!(" Of {} the runs do not tell.", number::count(count as u64, "statistic")),
    };
    match comparison.verdict {
        Verdict::Pass => format!("Nothing regressed.{untold}"),
        Verdict::Fail => "The new runs are worse than those of the base:".into(),
        Verdict::Invalid => "Nothing follows from these runs:".into(),
        Verdict::Error | Verdict::Interrupted => "The comparison did not come to an end:".into(),
    }
}

/// What is compared exactly: what changed, and everything else.
struct Facts<'a> {
    changed: Vec<FactRow<'a>>,
    same: Vec<FactRow<'a>>,
}

struct FactRow<'a> {
    name: &'a str,
    base: String,
    new: String,
    is_worse: bool,
}

fn facts<'a>(comparison: &'a Comparison, base: &'a Side, new: &'a Side) -> Facts<'a> {
    let changed = comparison.facts.iter().map(|it| FactRow {
        name: &it.name,
        base: range(it.base),
        new: range(it.new),
        is_worse: it.is_worse,
    });
    let names: BTreeSet<&String> = base.runs.iter().chain(&new.runs).flat_map(|run| run.facts.keys()).collect();
    let same =
        names.into_iter().filter(|name| comparison.facts.iter().all(|it| it.name != **name)).map(|name| FactRow {
            name,
            base: base.fact(name).map_or_else(String::new, range),
            new: new.fact(name).map_or_else(String::new, range),
            is_worse: false,
        });
    Facts { changed: changed.collect(), same: same.collect() }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::record::Metric;

    /// A shift of a metric whose interval is a fifth of it, at a tolerance of a tenth.
    pub(in super::super) fn change(metric: Metric, change: Change, base: f64, shift: f64) -> MetricChange {
        MetricChange {
            metric,
            statistic: if metric.name().ends_with("_ms") { "p50".into() } else { "mean".into() },
            change,
            base: Some(base),
            new: Some(base + shift),
            shift: Some(shift),
            interval: Some((shift.min(shift * 0.8).min(shift * 1.2), shift.max(shift * 0.8).max(shift * 1.2))),
            p: Some(0.001),
            threshold: Some(base / 10.0),
            smallest: Some(base / 8.0),
            repeats: None,
            lacks: None,
            sentence: format!("{} {}", metric.name(), change.name()),
        }
    }
}

#[cfg(test)]
mod tests;
