//! A client written from `docs/signaling.md` alone, in Python on aiortc, calls and is called by a simulated peer.

use crate::common::{Lab, Run, foreign_client};
use serde_json::Value;

/// The run's report, and what the client said.
fn call(role: &str) -> (Value, Value) {
    Lab::new().call_with_client("", role, |port, ca| foreign_client(port, ca, role, &[]))
}

/// The run of a call whose other end ends its part of it early, as `tests/foreign/client.py` says.
fn call_that_ends_early(lab: &Lab, ending: &str) -> Run {
    lab.run_with_client("", "native", "answer", |port, ca| foreign_client(port, ca, "answer", &[ending])).0
}

fn assert_verified(report: &Value) {
    let media = &report["media"];
    let verified = media.as_array().expect("media").iter().filter(|media| media["verified"] == true).count();
    assert_eq!(verified, 3, "video, audio and the echo are verified: {media}");
}

#[test]
fn a_foreign_client_takes_a_call_of_a_simulated_peer() {
    let (report, client) = call("answer");
    assert_verified(&report);
    assert_eq!(client["fingerprints"], serde_json::json!(["sha-256", "sha-384", "sha-512"]));
    assert!(client["messages"].as_u64().unwrap() > 0, "{client}");
    assert!(client["frames"]["video"].as_u64().unwrap() > 0, "{client}");
    assert!(client["frames"]["audio"].as_u64().unwrap() > 0, "{client}");
    assert_eq!(client["size"], serde_json::json!([640, 360]), "the fixture's size");
}

#[test]
fn a_foreign_client_calls_a_simulated_peer() {
    let (report, client) = call("offer");
    assert_verified(&report);
    assert!(client["frames"]["video"].as_u64().unwrap() > 0, "{client}");
    assert!(client["frames"]["audio"].as_u64().unwrap() > 0, "{client}");
    assert!(client["messages"].as_u64().unwrap() > 0, "the echo comes back: {client}");
}

#[test]
fn media_that_stops_before_the_end_of_the_call_is_frozen_and_not_verified() {
    let lab = Lab::new();
    let run = call_that_ends_early(&lab, "mute");
    run.assert_code(1);
    let report = run.report();
    assert_eq!(report["calls"]["failed"], 0, "the call stays up: {}", report["failures"]);
    for kind in ["video", "audio"] {
        let media = report["media"].as_array().expect("media").iter().find(|media| media["kind"] == kind);
        let media = media.expect("it was received");
        assert_eq!(media["verified"], false, "{media}");
        assert!(media["detail"].as_str().unwrap().contains("nothing came in the last"), "{media}");
    }
    // Of the 4 s of the call a good second has media.
    for metric in ["freeze_time_ms", "audio_gap_ms"] {
        let silent_ms = report["metrics"][metric]["max"].as_f64().expect(metric);
        assert!(silent_ms > 1000.0 && silent_ms < 4000.0, "{metric} {silent_ms}");
    }
}

#[test]
fn who_hangs_up_before_the_end_fails_the_call() {
    let lab = Lab::new();
    let run = call_that_ends_early(&lab, "hang-up");
    run.assert_code(1).assert_says("the other end hung up before the end of the call");
    let failures = run.report()["failures"].clone();
    assert_eq!(failures[0]["phase"], "media", "{failures}");
}
