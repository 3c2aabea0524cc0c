//! `harness doctor` says for how many peers the limits of the machine suffice, and what to do where that is few.
#![cfg(target_os = "linux")]

use std::process::Command;

/// What the doctor finds when it may have this many descriptors, by check.
fn findings(descriptors: &str) -> Vec<serde_json::Value> {
    let doctor = format!("ulimit -n {descriptors}; exec \"$0\" doctor --json -");
    let output = Command::new("sh").args(["-c", &doctor, env!("CARGO_BIN_EXE_harness")]).output().expect("sh");
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON on standard output");
    findings["checks"].as_array().expect("checks").clone()
}

#[test]
fn few_descriptors_are_enough_for_few_peers_and_come_with_a_remedy() {
    let findings = findings("200");
    let check =
        |name: &str| findings.iter().find(|finding| finding["check"] == name).unwrap_or_else(|| panic!("{name}"));
    let files = check("open files");
    assert_eq!(files["state"], "warn");
    assert!(files["found"].as_str().is_some_and(|found| found.contains("200: enough for ")), "{files}");
    assert!(files["remedy"].as_str().is_some_and(|remedy| remedy.contains("LimitNOFILE")), "{files}");
    for name in ["ports", "udp receive buffer", "udp send buffer", "cores", "memory"] {
        assert!(check(name)["found"].is_string());
    }
    for name in ["ports", "memory"] {
        let found = check(name)["found"].as_str().unwrap_or_default();
        assert!(found.contains("enough for") || found.starts_with("unknown"), "{name}: {found}");
    }
}
