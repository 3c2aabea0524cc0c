//! Every format of a run that went well and of one that did not, as snapshots.

use crate::support::{bad, good};
use harness::gate::judge;
use harness::record::Record;
use harness::report::{Format, Style, github_annotations, json_schema, progress_line, terminal};

fn render(record: &Record, format: Format) -> String {
    format.render(record, &judge(record)).unwrap()
}

#[test]
fn the_text_formats_of_a_good_run() {
    let record = good().record();
    for (name, format) in [
        ("junit", Format::Junit),
        ("markdown", Format::Md),
        ("openmetrics", Format::Om),
        ("terminal", Format::Terminal),
    ] {
        insta::assert_snapshot!(format!("good_{name}"), render(&record, format));
    }
    insta::assert_snapshot!("good_progress", progress_line(&record));
}

#[test]
fn the_text_formats_of_a_bad_run() {
    let record = bad().record();
    for (name, format) in
        [("junit", Format::Junit), ("markdown", Format::Md), ("terminal", Format::Terminal), ("json", Format::Json)]
    {
        insta::assert_snapshot!(format!("bad_{name}"), render(&record, format));
    }
    insta::assert_snapshot!("bad_github", github_annotations(&record, &judge(&record)));
    let narrow = terminal(&record, &judge(&record), Style { colour: true, width: 60 });
    assert!(narrow.contains("\x1b[31m") && !render(&record, Format::Terminal).contains('\x1b'));
}

#[test]
fn the_page_is_whole_without_a_network_and_cannot_be_broken_by_what_peers_say() {
    let record = bad().record();
    let page = render(&record, Format::Html);
    for word in [
        "Gates",
        "Failures",
        "Skipped",
        "Metrics",
        "Phases of the calls",
        "Media",
        "Paths",
        "Generator health",
        "p95 &#60; 1ms",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("<check>") && !page.contains("<script") && !page.contains("src=") && !page.contains("http"));
    assert!(page.contains("&#39;media.video.codec=H264 baseline&#39;"), "the command can be pasted into a shell");
}

#[test]
fn report_json_satisfies_its_schema_and_the_schema_is_the_one_in_docs() {
    let schema = json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for record in [good().record(), bad().record(), Record::default()] {
        let report = serde_json::from_str(&render(&record, Format::Json)).unwrap();
        let errors: Vec<String> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/report.schema.json is out of date: run this test with UPDATE_SCHEMA=1 and review the change"
    );
}

#[test]
fn the_histogram_log_holds_every_metric_with_its_tag() {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let record = good().record();
    let text = render(&record, Format::Hlog);
    let mut tags = Vec::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        if let LogEntry::Interval(line) = entry.unwrap() {
            let bytes =
                base64::Engine::decode(&base64::engine::general_purpose::STANDARD, line.encoded_histogram()).unwrap();
            let values: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            tags.push((line.tag().unwrap().as_str().to_owned(), values.len()));
        }
    }
    assert!(
        tags.contains(&("connection_time_ms".into(), 18)) && tags.contains(&("connection_time_ms/chromium".into(), 3)),
        "{tags:?}"
    );
}

#[test]
fn the_plan_file_is_the_plan() {
    let run = good();
    let plan: harness::plan::Plan = toml::from_str(&render(&run.record(), Format::Plan)).unwrap();
    assert_eq!(plan, run.plan);
}
