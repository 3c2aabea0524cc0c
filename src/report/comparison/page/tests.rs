use std::collections::BTreeMap;

use super::*;
use crate::gate::compare::{Allowed, MetricSummary, RunSummary, compare};
use crate::record::{Distribution, Metric};

const HOSTILE: &str = "<script>alert('x')</script>";

/// Runs with twenty samples of each metric around its level.
fn side(name: &str, runs: usize, levels: &[(Metric, f64)]) -> Side {
    let run = |run: usize| {
        let metrics = levels.iter().map(|(metric, level)| {
            let mut values = Distribution::new(metric.unit());
            (0..20).for_each(|sample| values.record(level * (1.0 + (run * 7 % 5 + sample) as f64 / 500.0)));
            let summary = MetricSummary {
                count: values.count(),
                mean: values.mean().unwrap(),
                p50: values.quantile(0.5).unwrap(),
                p95: values.quantile(0.95).unwrap(),
                histogram: values.encode(),
            };
            (*metric, summary)
        });
        RunSummary {
            started_at: format!("2026-01-02T03:04:{:02}.123456789Z", run % 60),
            verdict: Verdict::Pass,
            metrics: metrics.collect(),
            facts: BTreeMap::from([("calls connected".to_owned(), 20), ("path direct over udp".to_owned(), 40)]),
            record: Some(format!("reports/lan/one/run-{run:03}").into()),
        }
    };
    Side {
        name: name.to_owned(),
        schema_version: 1,
        scenario: "lan".into(),
        scenario_digest: "d1gest".into(),
        plan_digest: "p1an".into(),
        environment: BTreeMap::from([("host".to_owned(), "bench-1".to_owned())]),
        seed: Some(7),
        command: vec!["harness".into(), "run".into(), "lan.toml".into()],
        runs: (0..runs).map(run).collect(),
    }
}

fn page(base: &Side, new: &Side) -> String {
    let allowed = Allowed { any_host: true, any_plan: true, any_schema: false };
    let comparison = compare(base, new, Policy::default(), allowed).unwrap();
    let command = ["harness".to_owned(), "compare".to_owned(), "two words".to_owned()];
    render(&comparison, base, new, Origin { command: &command, folder: Path::new("reports/lan/one") }).unwrap()
}

fn assert_whole(page: &str) {
    for forbidden in ["<script", "src=", "http:", "https:", "url(", "@import", "NaN", "inf ", "<link"] {
        assert!(!page.contains(forbidden), "{forbidden} is in the page");
    }
    assert!(page.len() < 1_000_000, "{}", page.len());
}

#[test]
fn a_regression_is_told_first_with_its_interval_its_samples_and_its_runs() {
    let base = side("reports/base.json", 10, &[(Metric::ConnectionTimeMs, 50.0), (Metric::CallSetupMs, 80.0)]);
    let new = side("reports/lan/one", 10, &[(Metric::ConnectionTimeMs, 70.0), (Metric::CallSetupMs, 80.0)]);
    let page = page(&base, &new);
    assert_whole(&page);
    for words in [
        "lan: comparison <strong>fail</strong>",
        "The new runs are worse than those of the base:",
        "p50 of connection_time_ms regressed: 71.",
        "2 regressed, 0 inconclusive, 0 improved, 2 unchanged",
        "✗ regressed",
        "= unchanged",
        "class=\"shares\"",
        "class=\"run base\"",
        "class=\"run new\"",
        "href=\"./run-003/report.html\"",
        "harness compare &#39;two words&#39;",
        "harness run lan.toml",
        "d1gest",
        "2026-01-02 03:04:05 UTC",
    ] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    let at = |text: &str| page.find(text).unwrap();
    assert!(at("href=\"#connection_time_ms\"") < at("href=\"#call_setup_ms\""), "what regressed comes first");
    assert!(at("id=\"connection_time_ms\"") < at("id=\"call_setup_ms\""));
}

#[test]
fn nothing_that_runs_or_people_say_becomes_markup() {
    let mut base = side(HOSTILE, 3, &[(Metric::ConnectionTimeMs, 50.0)]);
    base.scenario = HOSTILE.into();
    base.scenario_digest = HOSTILE.into();
    base.environment.insert(HOSTILE.into(), HOSTILE.into());
    base.command.push(HOSTILE.into());
    base.runs[0].started_at = HOSTILE.into();
    base.runs[0].facts.insert(HOSTILE.into(), 3);
    base.runs[1].record = Some(Path::new("reports/lan/one").join("\"><b>javascript:x?#%"));
    base.runs[2].metrics.values_mut().for_each(|summary| summary.histogram = HOSTILE.into());
    let mut new = base.clone();
    new.scenario = "other".into();
    new.runs[0].facts.clear();
    new.environment.clear();
    let page = page(&base, &new);
    assert_whole(&page);
    assert!(!page.contains("<b>javascript") && page.contains("./%22%3E%3Cb%3Ejavascript%3Ax%3F%23%25/report.html"));
    assert!(page.contains("The histogram of 2 runs cannot be read."));
}

#[test]
fn single_runs_have_no_interval_and_say_how_many_repeats_would_tell() {
    let base = side("a", 1, &[(Metric::ConnectionTimeMs, 50.0)]);
    let new = side("b", 1, &[(Metric::ConnectionTimeMs, 70.0)]);
    let page = page(&base, &new);
    assert_whole(&page);
    for words in ["too few runs for an interval", "more repeats a side would tell", "no shift at all", "1 run)"] {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
    assert!(page.contains("Nothing regressed. Of 2 statistics the runs do not tell."));
}

#[test]
fn a_metric_of_one_side_and_a_side_without_metrics_are_said_to_be_so() {
    let base = side("a", 8, &[(Metric::ConnectionTimeMs, 50.0)]);
    let mut new = side("b", 8, &[(Metric::CallSetupMs, 50.0)]);
    let one_each = page(&base, &new);
    assert_whole(&one_each);
    assert!(one_each.contains("only the new side has it"));
    assert!(one_each.contains("0.0 samples in a run, before 20.0: what is missing cannot have become better"));
    assert!(one_each.contains("Only the base has samples.") && one_each.contains("Only the new runs have samples."));
    new.runs.iter_mut().for_each(|run| run.metrics.clear());
    let mut nothing = base.clone();
    nothing.runs.iter_mut().for_each(|run| run.metrics.clear());
    assert_whole(&page(&base, &new));
    let empty = page(&nothing, &new);
    assert_whole(&empty);
    assert!(empty.contains("No metric was measured."));
}

#[test]
fn facts_environments_and_unfit_runs_are_told_where_they_differ() {
    let base = side("a", 3, &[]);
    let mut new = base.clone();
    new.runs[1].facts.insert("calls failed".into(), 2);
    new.runs[2].verdict = Verdict::Invalid;
    new.environment.insert("host".into(), "bench-2".into());
    new.seed = None;
    let page = page(&base, &new);
    assert_whole(&page);
    for words in ["0 to 2", "✗ worse", "≠", "bench-2", "Nothing follows from these runs:", "2 failed", "not known"]
    {
        assert!(page.contains(words), "{words} is not in\n{page}");
    }
}

#[test]
fn every_metric_of_hundreds_of_runs_stays_below_a_megabyte() {
    let all: Vec<(Metric, f64)> = Metric::ALL.iter().map(|metric| (*metric, 0.9)).collect();
    let base = side("a", 300, &all);
    let page = page(&base, &side("b", 300, &all));
    assert_whole(&page);
    assert!(page.contains("and 200 more"));
}
