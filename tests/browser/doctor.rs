//! `harness doctor` names what is missing, with a remedy, and keeps its machine output apart.

use assert_cmd::Command;

fn doctor() -> Command {
    let mut command = Command::cargo_bin("harness").unwrap();
    command.arg("doctor").timeout(std::time::Duration::from_secs(60));
    command
}

#[test]
fn without_browsers_it_says_how_to_get_them_and_native_runs_are_possible() {
    let output = doctor().env("PATH", "/nonexistent").args(["--json", "-"]).assert().success().get_output().clone();
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["native"], true);
    assert_eq!(findings["browsers"], serde_json::json!({"chromium": false, "firefox": false}));
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(table.contains("apt-get install chromium chromium-driver"), "{table}");
    assert!(table.contains("apt-get install firefox-esr"), "{table}");
}

#[test]
fn with_browsers_it_says_their_versions() {
    let output = doctor().args(["--json", "-"]).assert().success().get_output().clone();
    let findings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let wanted = serde_json::json!({"chromium": true, "firefox": true});
    assert_eq!(findings["browsers"], wanted, "install what is missing: {findings:#}");
}

#[test]
fn without_json_standard_output_stays_empty() {
    let output = doctor().env("PATH", "/nonexistent").assert().success().get_output().clone();
    assert!(output.stdout.is_empty());
}
