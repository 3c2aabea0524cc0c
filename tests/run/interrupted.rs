//! A run that is cut short leaves what it measured, and nothing else.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::common::{Lab, newest_record, processes_with, text};

const LONG_CALL: &str = "schema = 1\nname = \"cut\"\n[load]\nhold = \"10min\"\n[[peers]]\ncount = 2\n";

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().expect("kill");
    assert!(status.success(), "kill -{name} {pid}");
}

fn exit_code(child: &mut Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status.code().unwrap_or(-1);
        }
        assert!(Instant::now() < deadline, "the run does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_first_signal_ends_the_run_gracefully_with_a_partial_record() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let lab = Lab::new();
        let mut child = lab.start(&lab.scenario("cut", LONG_CALL));
        lab.wait_for_event("first_media");
        signal(&child, name);
        assert_eq!(exit_code(&mut child), code);
        let record = newest_record(&lab.out()).expect("a record");
        let report = std::fs::read_to_string(record.join("report.json")).expect("report.json");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["verdict"], "interrupted");
        assert_eq!(report["exit_code"], code);
        assert_eq!(report["metrics"]["connection_time_ms"]["count"], 1, "what was measured is kept");
    }
}

#[test]
fn a_killed_run_leaves_a_record_that_can_be_rendered_with_verdict_error() {
    let lab = Lab::new();
    let mut child = lab.start(&lab.scenario("cut", LONG_CALL));
    lab.wait_for_event("first_media");
    // Events reach the disk within a quarter of a second; the marks above are there already.
    signal(&child, "KILL");
    exit_code(&mut child);
    let record = newest_record(&lab.out()).expect("a record");
    let output = lab.command(&["report", text(&record)]).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    let report = std::fs::read_to_string(record.join("report.json")).expect("report.json");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["verdict"], "error");
    assert!(record.join("report.html").exists());
    assert_eq!(processes_with(text(lab.dir.path())), Vec::<String>::new());
}
