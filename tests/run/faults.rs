//! Faults: each gives one clear message with phase and reason, the right exit code, and a record that can be rendered.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use crate::common::{Lab, Run, text};
use harness::signaling::protocol::{ClientMessage, ServerMessage};
use harness::signaling::{Client, Identity, Limits, Server, ServerConfig};

const PAIR: &str = "[load]\nhold = \"1s\"\n[[peers]]\ncount = 2\n";

/// A native peer and one that somebody else was to start.
fn waiting_call(role: &str, more: &str) -> String {
    let (offerer, answerer) = if role == "offerer" { ("us", "them") } else { ("them", "us") };
    format!(
        "schema = 1\nname = \"waiting\"\n{more}\n[deadlines]\nconnect = \"3s\"\n[[peers]]\nname = \"us\"\n\
         [[peers]]\nname = \"them\"\nengine = \"external\"\n[[topology.calls]]\nofferer = \"{offerer}\"\n\
         answerer = \"{answerer}\"\nroom = \"lobby\"\n"
    )
}

fn assert_failed(run: &Run, phase: &str, words: &str) {
    run.assert_code(1).assert_says(words);
    let failures = run.report()["failures"].clone();
    assert_eq!(failures[0]["phase"], phase, "{failures}");
}

#[test]
fn a_port_in_use_is_named() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = format!("schema = 1\nname = \"port\"\n[signaling]\nlisten = \"{address}\"\n{PAIR}");
    let run = lab.run(&lab.scenario("port", &text), &[]);
    run.assert_code(4).assert_says(&address).assert_says("in use");
}

#[test]
fn an_unreachable_signaling_server_fails_the_call_in_the_signaling_phase() {
    let lab = Lab::new();
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!("schema = 1\nname = \"gone\"\n[signaling]\nurl = \"wss://{unused}/ws\"\n{PAIR}");
    assert_failed(&lab.run_calmly(&lab.scenario("gone", &text), &[]), "signaling", "refuses the connection");
}

#[test]
fn a_peer_that_never_comes_is_waited_for_until_the_deadline() {
    let lab = Lab::new();
    let run = lab.run_calmly(&lab.scenario("waiting", &waiting_call("offerer", "")), &[]);
    assert_failed(&run, "offer", "the other peer to join the room");
}

#[test]
fn an_offer_that_never_comes_is_waited_for_until_the_deadline() {
    let lab = Lab::new();
    let run = lab.run_calmly(&lab.scenario("waiting", &waiting_call("answerer", "")), &[]);
    assert_failed(&run, "offer", "the offer");
}

/// A server of the test's own, and the lines of a scenario that use it.
async fn own_server(lab: &Lab) -> (Server, String) {
    let server = Server::start(ServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        identity: Identity::generate(&[]).unwrap(),
        pages: vec![],
        limits: Limits::default(),
    })
    .await
    .expect("the server starts");
    let ca = lab.dir.path().join("ca.pem");
    std::fs::write(&ca, server.identity().ca_pem().expect("its own CA")).unwrap();
    let lines = format!("[signaling]\nurl = \"{}\"\nca = \"{}\"", server.endpoint().url, text(&ca));
    (server, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_sdp_fails_the_call_in_the_answer_phase() {
    let lab = Lab::new();
    let (server, lines) = own_server(&lab).await;
    let child = lab.start(&lab.scenario("waiting", &waiting_call("offerer", &lines)));
    let mut client = Client::connect(&server.endpoint()).await.expect("the test's client");
    client.join("lobby").await.expect("joined");
    let (sender, mut receiver) = client.split();
    let from = loop {
        if let ServerMessage::Offer { from, .. } = receiver.next().await.expect("an offer") {
            break from;
        }
    };
    sender.send(&ClientMessage::Answer { to: from, sdp: "garbage".into() }).await.expect("sent");
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    assert_failed(&Run::new(output, &lab.out()), "answer", "the answer of the other end cannot be used");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_in_the_middle_of_an_offer_fails_the_call() {
    let lab = Lab::new();
    let (server, lines) = own_server(&lab).await;
    let child = lab.start(&lab.scenario("waiting", &waiting_call("offerer", &lines)));
    let mut client = Client::connect(&server.endpoint()).await.expect("the test's client");
    client.join("lobby").await.expect("joined");
    let (_sender, mut receiver) = client.split();
    while !matches!(receiver.next().await.expect("an offer"), ServerMessage::Offer { .. }) {}
    server.shutdown().await;
    let output = tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap();
    assert_failed(&Run::new(output, &lab.out()), "answer", "signaling");
}

#[test]
fn a_report_directory_that_cannot_be_written_is_named() {
    let lab = Lab::new();
    let scenario = lab.scenario("out", &format!("schema = 1\nname = \"out\"\n{PAIR}"));
    let output = lab.command(&["run", text(&scenario), "--out", "/proc/nowhere"]).output().unwrap();
    let run = Run::new(output, &lab.out());
    run.assert_code(4).assert_says("/proc/nowhere");
}

#[test]
fn a_full_disk_ends_the_run_with_an_error_and_keeps_what_is_there() {
    let lab = Lab::new();
    let hold = PAIR.replace("\"1s\"", "\"2min\"").replace("count = 2", "count = 20");
    let scenario = lab.scenario("full", &format!("schema = 1\nname = \"full\"\n{hold}"));
    let small = lab.dir.path().join("small");
    std::fs::create_dir(&small).unwrap();
    // A namespace of its own, so that the file system is gone when the run is.
    let script = format!(
        "mount -t tmpfs -o size=48k none {0} && {1} run {2} --out {0}; code=$?; head -c 200 {0}/full/*/events.ndjson; exit $code",
        text(&small),
        env!("CARGO_BIN_EXE_harness"),
        text(&scenario),
    );
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .env("CI", "true")
        .output()
        .expect("unshare is missing: run ci/install");
    let run = Run::new(output, &lab.out());
    run.assert_code(4).assert_says("No space left");
    assert!(run.stdout.contains("run_started"), "the record up to then is on disk: {}", run.stdout);
}

#[test]
fn a_second_interrupt_ends_the_run_at_once() {
    let lab = Lab::new();
    let text = waiting_call("offerer", "").replace("\"3s\"", "\"10min\"");
    let mut child = lab.start(&lab.scenario("waiting", &text));
    lab.wait_for_event("joined");
    for _ in 0..2 {
        let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
