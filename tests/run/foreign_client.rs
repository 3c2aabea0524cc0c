//! A client written from `docs/signaling.md` alone, in Python on aiortc, calls and is called by a simulated peer.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{Lab, repository, text};
use serde_json::Value;

/// The interpreter that `ci/install` sets up.
fn python() -> PathBuf {
    let own = repository("target/tools/python/bin/python3");
    assert!(own.exists(), "{} is missing: run ci/install", own.display());
    own
}

/// The run's report, and what the client said.
fn call(role: &str) -> (Value, Value) {
    Lab::new().call_with_client("", role, |port, ca| {
        Command::new(python())
            .arg(repository("tests/foreign/client.py"))
            .args([&format!("wss://localhost:{port}/ws"), text(ca), "lobby", role])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the foreign client starts")
    })
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
