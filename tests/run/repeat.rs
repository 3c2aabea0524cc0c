//! Repeats, baselines and comparisons, with real runs.

use std::path::PathBuf;

use crate::common::{Lab, NOISE_ALLOWED, Run, text};
use serde_json::Value;

const CALLS: &str = "schema = 1\nname = \"repeated\"\n[media]\nvideo = \"none\"\naudio = \"none\"\n\
                     [[peers]]\ncount = 4\n[load]\nhold = \"300ms\"\n";

fn repeat(lab: &Lab, scenario: &str, more: &[&str]) -> Run {
    let path = lab.scenario("repeated", scenario);
    lab.run(&path, &[&NOISE_ALLOWED[..], more].concat())
}

fn harness(lab: &Lab, arguments: &[&str]) -> Run {
    Run::new(lab.command(arguments).output().expect("the binary runs"), &lab.out())
}

fn runs_in(record: &PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(record).expect("the directory of the repeats").filter_map(Result::ok);
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn equals_pass_and_one_failed_call_does_not() {
    let lab = Lab::new();
    let first = repeat(&lab, CALLS, &["--repeat", "3"]);
    first.assert_code(0).assert_says("run-003: pass");
    let base = first.record.clone().expect("records");
    assert_eq!(runs_in(&base), ["run-001", "run-002", "run-003", "warm-up"]);

    let file = lab.dir.path().join("base.json");
    harness(&lab, &["baseline", "accept", text(&base), "--out", text(&file)]).assert_code(0).assert_says("3 runs");
    let second = repeat(&lab, CALLS, &["--repeat", "3", "--baseline", text(&file)]);
    second.assert_code(0).assert_says("verdict: pass (0 regressed, 0 improved").assert_says("repeats would tell");
    let page = second.record.clone().expect("records").join("comparison.html");
    second.assert_says(&format!("page: {}", page.display()));
    let words =
        ["Nothing regressed.", "connection_time_ms", "too few runs", "href=\"./run-002/report.html\"", "--repeat 3"];
    assert_page(&page, &words);

    // One call of one run that failed is a fact, for which a single run is enough.
    let new = second.record.clone().expect("records").join("run-002");
    let events = std::fs::read_to_string(new.join("events.ndjson")).expect("events");
    let end = events.lines().position(|line| line.contains("\"run_ended\"")).expect("an end");
    let failure =
        r#"{"at_us":1000,"type":"failure","peer":"native/0","call":"native-native/0","phase":"dtls","reason":"x"}"#;
    let mut lines: Vec<&str> = events.lines().collect();
    lines.insert(end, failure);
    std::fs::write(new.join("events.ndjson"), lines.join("\n") + "\n").expect("events");
    let json = lab.dir.path().join("comparison.json");
    let page = lab.dir.path().join("comparison.html");
    let more = ["--json", text(&json), "--html", text(&page)];
    let compared = harness(&lab, &[&["compare", text(&file), text(&new)], &more[..]].concat());
    compared.assert_code(1).assert_says("calls failed: 1 times in a run, before 0").assert_says("failed in DTLS");
    let comparison: Value = serde_json::from_str(&std::fs::read_to_string(json).expect("JSON")).expect("JSON");
    assert_eq!(comparison["verdict"], "fail");
    assert_page(&page, &["calls failed: 1 times in a run, before 0", "✗ worse", "run-002/report.html"]);
}

#[test]
fn samples_that_are_missing_are_a_regression_that_the_page_names() {
    let lab = Lab::new();
    let base = repeat(&lab, CALLS, &["--repeat", "1"]).record.expect("records").join("run-001");
    let new = lab.dir.path().join("new");
    std::fs::create_dir(&new).expect("a directory");
    let events = std::fs::read_to_string(base.join("events.ndjson")).expect("events");
    let is_left_out = |line: &&str| {
        let metrics = ["\"ice_connect_ms\"", "\"first_host_ms\""];
        line.contains("\"type\":\"sample\"") && metrics.iter().any(|metric| line.contains(metric))
    };
    let fewer: String = events.lines().filter(|line| !is_left_out(line)).map(|line| format!("{line}\n")).collect();
    assert_ne!(fewer, events);
    std::fs::write(new.join("events.ndjson"), fewer).expect("events");
    let page = lab.dir.path().join("page.html");
    let compared = harness(&lab, &["compare", text(&base), text(&new), "--html", text(&page)]);
    compared.assert_code(1).assert_says("what is missing cannot have become better").assert_says("page: ");
    compared.assert_says("peers with a host candidate: 0 times in a run, before 4");
    assert_page(&page, &["ice_connect_ms: 0.0 samples in a run", "✗ regressed", "Only the base has samples."]);
}

/// The page is one file that loads nothing, and says this.
fn assert_page(path: &PathBuf, words: &[&str]) {
    let page = std::fs::read_to_string(path).expect("the page");
    for word in words {
        assert!(page.contains(word), "{word} is not in\n{page}");
    }
    for load in ["<script", "src=", "href=\"http", "url(", "@import", "<link"] {
        assert!(!page.contains(load), "the page has {load}");
    }
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn a_scenario_says_itself_how_often_it_runs_and_each_run_can_be_run_again_alone() {
    let lab = Lab::new();
    let runs = repeat(&lab, &format!("{CALLS}[repeat]\nruns = 2\n"), &[]);
    runs.assert_code(0);
    let record = runs.record.clone().expect("records");
    assert_eq!(runs_in(&record), ["run-001", "run-002", "warm-up"]);
    let again = lab.run(&record.join("run-002/plan.toml"), &[]);
    again.assert_code(0).assert_says("2 of 2 calls connected");
    let plan = |record: &std::path::Path| std::fs::read_to_string(record.join("plan.toml")).expect("a plan");
    assert_eq!(
        plan(again.record.as_ref().expect("a record")),
        plan(&record.join("run-002")),
        "the same peers, times and seeds"
    );
}

#[test]
fn what_cannot_be_compared_is_a_usage_error() {
    let lab = Lab::new();
    let base = repeat(&lab, CALLS, &["--repeat", "1"]).record.expect("records");
    let longer = repeat(&lab, &CALLS.replace("300ms", "400ms"), &["--repeat", "1"]).record.expect("records");
    harness(&lab, &["compare", text(&base), text(&longer)]).assert_code(2).assert_says("are not of the same plan");
    let other = repeat(&lab, CALLS, &["--repeat", "1", "--set", "load.hold=200ms"]).record.expect("records");
    harness(&lab, &["compare", text(&base), text(&other)]).assert_code(2).assert_says("plans (settings, seed");
    repeat(&lab, CALLS, &["--repeat", "1", "--json", "-"]).assert_code(2).assert_says("add --baseline");
    for useless in [&["--tolerance", "5%"][..], &["--any-host"], &["--any-scenario"], &["--any-schema"]] {
        repeat(&lab, CALLS, useless).assert_code(2).assert_says("--baseline <FILE>");
    }
    let nothing = lab.dir.path().join("nothing");
    harness(&lab, &["compare", text(&base), text(&nothing)]).assert_code(2).assert_says("nothing");
    harness(&lab, &["compare", text(&base), text(&lab.dir.path().join("repeated.toml"))])
        .assert_code(2)
        .assert_says("is no baseline");
}
