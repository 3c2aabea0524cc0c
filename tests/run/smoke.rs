//! The whole line from scenario to exit code, with two simulated peers.

use crate::common::{Lab, repository, text};

#[test]
fn two_simulated_peers_connect_and_every_file_of_the_record_is_written() {
    let lab = Lab::new();
    let run = lab.run_calmly(&repository("scenarios/smoke.toml"), &[]);
    run.assert_code(0);
    let report = run.report();
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["calls"]["attempted"], 1);
    assert_eq!(report["calls"]["connected"], 1);
    assert_eq!(report["calls"]["failed"], 0);
    assert_eq!(report["paths"].as_array().map(Vec::len), Some(2), "each end tells its path: {}", report["paths"]);
    for metric in ["connection_time_ms", "ice_connect_ms", "dtls_handshake_ms", "data_channel_open_ms", "call_setup_ms"]
    {
        assert_eq!(report["metrics"][metric]["count"], 1, "{metric}: {}", report["metrics"][metric]);
    }
    for metric in
        ["signaling_connect_ms", "signaling_rtt_ms", "ice_gathering_ms", "first_host_ms", "time_to_first_rtp_ms"]
    {
        assert_eq!(report["metrics"][metric]["count"], 2, "{metric}: {}", report["metrics"][metric]);
    }
    let record = run.record.as_ref().expect("a record");
    for file in [
        "report.json",
        "report.html",
        "junit.xml",
        "summary.md",
        "metrics.om",
        "histograms.hlog",
        "events.ndjson",
        "plan.toml",
    ] {
        let size = std::fs::metadata(record.join(file)).unwrap_or_else(|error| panic!("{file}: {error}")).len();
        assert!(size > 0, "{file} is empty");
    }
}

#[test]
fn the_phases_of_a_call_add_up_to_its_connection_time() {
    let lab = Lab::new();
    let run = lab.run_calmly(&repository("scenarios/smoke.toml"), &[]);
    let report = run.report();
    let mean = |metric: &str| report["metrics"][metric]["mean"].as_f64().unwrap_or_else(|| panic!("{metric}"));
    let sum = mean("signaling_exchange_ms") + mean("ice_connect_ms") + mean("dtls_handshake_ms");
    assert!((sum - mean("connection_time_ms")).abs() < 0.1, "{sum} and {}", mean("connection_time_ms"));
}

#[test]
fn the_plan_of_a_run_can_be_run_again() {
    let lab = Lab::new();
    let first = lab.run_calmly(&repository("scenarios/smoke.toml"), &[]);
    let plan = first.record.as_ref().expect("a record").join("plan.toml");
    let again = lab.run_calmly(&plan, &[]);
    again.assert_code(0);
    let read =
        |run: &crate::common::Run| std::fs::read_to_string(run.record.as_ref().unwrap().join("plan.toml")).unwrap();
    assert_eq!(read(&first), read(&again));
}

#[test]
fn the_summary_is_appended_to_that_of_the_workflow_step() {
    let lab = Lab::new();
    let (scenario, summary) = (repository("scenarios/smoke.toml"), lab.dir.path().join("step.md"));
    std::fs::write(&summary, "# An earlier step\n").unwrap();
    let status = lab.command(&["run", text(&scenario)]).env("GITHUB_STEP_SUMMARY", &summary).status().unwrap();
    assert!(status.code().is_some_and(|code| code == 0 || code == 3), "{status}");
    let written = std::fs::read_to_string(&summary).unwrap();
    assert!(written.starts_with("# An earlier step\n"), "{written}");
    assert!(written.contains("smoke") && written.contains("connection_time_ms"), "{written}");
}
