//! The page of a search: `templates/capacity.html` is its form.

use askama::Template;

use super::super::{RenderError, number};
use super::curve::{Curve, curves};
use super::text::{left_open, nearest, of_runs};
use super::{at, finding, metrics, standing, typical};
use crate::capacity::{BROKE_NEEDED, Capacity, Finding, HELD_NEEDED, Limit, RESOLUTION};
use crate::record::Metric;

pub(in crate::report) fn render(capacity: &Capacity) -> Result<String, RenderError> {
    let shown = metrics(capacity);
    let page = Page {
        capacity,
        headline: capacity.headline(),
        duration: number::duration((capacity.duration_ms * 1e3) as u64),
        explanation: capacity.explanation(),
        limits: capacity.limits.iter().map(|limit| (limit, of_runs(limit.runs))).collect(),
        notes: nearest(capacity).into_iter().chain(left_open(capacity)).collect(),
        curves: curves(capacity),
        columns: shown.iter().map(|metric| format!("{} {}", metric.name(), typical(*metric).0)).collect(),
        loads: capacity.loads().into_iter().map(|load| load_row(capacity, load, &shown)).collect(),
        runs: capacity
            .probes
            .iter()
            .map(|probe| RunRow {
                number: probe.number,
                load: capacity.show(probe.load),
                record: &probe.record,
                finding: finding(probe.finding),
                held: probe.finding == Finding::Held,
                duration: number::duration((probe.duration_ms * 1e3) as u64),
                reason: probe.reasons.first().map_or("", String::as_str),
            })
            .collect(),
        command: super::super::html::shell(&capacity.command),
        held_needed: HELD_NEEDED,
        broke_needed: BROKE_NEEDED,
        resolution: number::digits(RESOLUTION * 100.0),
    };
    Ok(page.render()?)
}

#[derive(Template)]
#[template(path = "capacity.html")]
struct Page<'a> {
    capacity: &'a Capacity,
    headline: String,
    duration: String,
    explanation: Vec<String>,
    limits: Vec<(&'a Limit, String)>,
    notes: Vec<String>,
    curves: Vec<Curve>,
    columns: Vec<String>,
    loads: Vec<LoadRow>,
    runs: Vec<RunRow<'a>>,
    command: String,
    held_needed: u32,
    broke_needed: u32,
    resolution: String,
}

struct LoadRow {
    load: String,
    standing: &'static str,
    held: usize,
    of: usize,
    values: Vec<String>,
}

struct RunRow<'a> {
    number: u32,
    load: String,
    record: &'a str,
    finding: &'static str,
    held: bool,
    duration: String,
    reason: &'a str,
}

fn load_row(capacity: &Capacity, load: f64, shown: &[Metric]) -> LoadRow {
    let value = |metric: &Metric| number::optional(at(capacity, load, *metric, typical(*metric).1), metric.unit());
    LoadRow {
        load: capacity.show(load),
        standing: standing(capacity, load),
        held: capacity.at(load).filter(|probe| probe.finding == Finding::Held).count(),
        of: capacity.at(load).count(),
        values: shown.iter().map(value).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::testing::{interrupted, search};

    #[test]
    fn the_page_is_whole_without_a_network() {
        let mut capacity = search("calls 4..64", 25, 100);
        capacity.probes[0].reasons.push("<check>".into());
        let page = render(&capacity).unwrap();
        for word in ["24 calls", "What broke first", "Latency and loss over load", "Every run", "runs/01-4/report.html"]
        {
            assert!(page.contains(word), "{word}");
        }
        assert!(
            !page.contains("<check>") && !page.contains("<script") && !page.contains("src=") && !page.contains("http")
        );
    }

    #[test]
    fn a_search_that_was_cut_short_has_a_page() {
        assert!(render(&interrupted("calls 4..64", 25, 3)).unwrap().contains("SIGINT ended the search"));
        let page = render(&interrupted("calls 4..64", 25, 0)).unwrap();
        assert!(page.contains("not found"), "{page}");
    }
}
