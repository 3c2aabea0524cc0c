//! Records of older harnesses are still read.

use assert_cmd::Command;

#[test]
fn a_record_of_the_first_schema_is_rendered_and_judged() {
    let directory = tempfile::tempdir().unwrap();
    let record = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/records/v1/events.ndjson");
    std::fs::copy(record, directory.path().join("events.ndjson")).unwrap();
    Command::cargo_bin("harness").unwrap().arg("report").arg(directory.path()).assert().code(0);
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let report: serde_json::Value = serde_json::from_str(&read("report.json")).unwrap();
    assert_eq!((&report["verdict"], &report["calls"]["connected"]), (&"pass".into(), &1.into()));
    assert_eq!(report["metrics"]["connection_time_ms"]["count"], 1);
    for (file, words) in [
        ("report.html", "connection_time_ms"),
        ("summary.md", "pass"),
        ("junit.xml", "connection_time_ms"),
        ("metrics.om", "# EOF"),
        ("histograms.hlog", "connection_time_ms"),
    ] {
        assert!(read(file).contains(words), "{file} lacks {words}");
    }
}
