//! A client written from `docs/signaling.md` alone, in Python on aiortc, calls and is called by a simulated peer.

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Lab, Run, newest_record, repository, text, wait_until};
use serde_json::Value;

/// The interpreter that `ci/install` sets up.
fn python() -> PathBuf {
    let own = repository("target/tools/python/bin/python3");
    assert!(own.exists(), "{} is missing: run ci/install", own.display());
    own
}

/// The run's report, and what the client said.
fn call(role: &str) -> (Value, Value) {
    let lab = Lab::new();
    let (offerer, answerer) = if role == "offer" { ("them", "us") } else { ("us", "them") };
    let scenario = lab.scenario(
        "foreign",
        &format!(
            r#"
schema = 1
name = "foreign"
[load]
hold = "4s"
[[peers]]
name = "us"
[[peers]]
name = "them"
engine = "external"
[[topology.calls]]
offerer = "{offerer}"
answerer = "{answerer}"
room = "lobby"
"#
        ),
    );
    let child = lab.start(&scenario);
    let record = || newest_record(&lab.out());
    wait_until("the server's CA", || record().is_some_and(|record| record.join("ca.pem").exists()));
    let ca = record().expect("a record").join("ca.pem");
    let port = listening_port(child.id());
    let client = Command::new(python())
        .arg(repository("tests/foreign/client.py"))
        .args([&format!("wss://localhost:{port}/ws"), text(&ca), "lobby", role])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the foreign client starts");
    let run = Run::new(child.wait_with_output().expect("the run ends"), &lab.out());
    let client = client.wait_with_output().expect("the client ends");
    let said = String::from_utf8_lossy(&client.stdout).into_owned();
    assert!(client.status.success(), "{said}{}", String::from_utf8_lossy(&client.stderr));
    let report = run.report();
    run.assert_code(0);
    assert_eq!(report["calls"]["connected"], 1);
    (report, serde_json::from_str(said.trim()).expect("a line of JSON"))
}

/// The TCP port on which a process listens.
fn listening_port(pid: u32) -> u16 {
    let mut port = None;
    wait_until("the server to listen", || {
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
        let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .map(|fds| {
                fds.filter_map(Result::ok)
                    .filter_map(|fd| std::fs::read_link(fd.path()).ok())
                    .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        port = table.lines().skip(1).find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let listening =
                fields.get(3) == Some(&"0A") && own.iter().any(|inode| fields.get(9) == Some(&inode.as_str()));
            let (_, port) = fields.get(1)?.split_once(':')?;
            listening.then(|| u16::from_str_radix(port, 16).ok())?
        });
        port.is_some()
    });
    port.expect("the port was found")
}

#[test]
fn a_foreign_client_takes_a_call_of_a_simulated_peer() {
    let (report, client) = call("answer");
    let media = &report["media"];
    let verified = media.as_array().expect("media").iter().filter(|media| media["verified"] == true).count();
    assert_eq!(verified, 3, "video, audio and the echo are verified: {media}");
    assert!(client["messages"].as_u64().unwrap() > 0, "{client}");
    assert!(client["frames"]["video"].as_u64().unwrap() > 0, "{client}");
    assert!(client["frames"]["audio"].as_u64().unwrap() > 0, "{client}");
    assert_eq!(client["size"], serde_json::json!([640, 360]), "the fixture's size");
}

#[test]
fn a_foreign_client_calls_a_simulated_peer() {
    let (_, client) = call("offer");
    assert!(client["frames"]["video"].as_u64().unwrap() > 0, "{client}");
    assert!(client["frames"]["audio"].as_u64().unwrap() > 0, "{client}");
    assert!(client["messages"].as_u64().unwrap() > 0, "the echo comes back: {client}");
}
