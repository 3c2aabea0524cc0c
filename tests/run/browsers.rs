//! Browsers take part in calls through servers of other protocols: this process speaks to the server in the place of their page.

use std::fs;

use crate::common::{Lab, NOISE_ALLOWED, Run, newest_record, wait_until};
use harness::signaling::protocol::ServerMessage;
use harness::signaling::{Client, Identity, Limits, Server, ServerConfig};
use serde_json::Value;

/// Calls of browsers and a simulated peer, each of which offers once and answers once. Browsers that start take all of a small machine,
/// and the first packets of other calls suffer: calls are long enough for that to be little.
const CALLS: &str = r#"
[[peers]]
engine = "native"
[[peers]]
engine = "chromium"
[[peers]]
engine = "firefox"
[[topology.calls]]
offerer = "native"
answerer = "chromium"
[[topology.calls]]
offerer = "chromium"
answerer = "firefox"
[[topology.calls]]
offerer = "firefox"
answerer = "native"
[load]
arrivals = "1/s"
hold = "6s"
"#;

fn run(name: &str, text: &str) -> (Lab, Run) {
    let lab = Lab::new();
    let scenario = lab.scenario(name, &format!("name = \"{name}\"\n{text}"));
    let run = lab.run(&scenario, &NOISE_ALLOWED);
    (lab, run)
}

#[test]
fn browsers_call_through_a_server_of_socket_io() {
    let (_lab, run) = run("socketio", &format!("[signaling]\nprotocol = \"socketio\"\n{CALLS}"));
    assert_all_arrives(&run);
}

#[test]
fn browsers_call_through_a_peer_server() {
    let (_lab, run) = run("peerjs", &format!("[signaling]\nprotocol = \"peerjs\"\n{CALLS}"));
    assert_all_arrives(&run);
}

/// Video, audio and data at both ends, and the instants of the server under test, once for each peer.
fn assert_all_arrives(run: &Run) {
    run.assert_code(0);
    let report = run.report();
    assert_eq!(report["calls"]["connected"], 3, "{}", report["calls"]);
    let media = report["media"].as_array().expect("media");
    assert_eq!(media.len(), 18, "{media:#?}");
    assert!(media.iter().all(|media| media["verified"] == true), "{media:#?}");
    for metric in ["signaling_connect_ms", "signaling_rtt_ms"] {
        assert_eq!(report["metrics"][metric]["count"], 6, "{metric}: {}", report["metrics"][metric]);
    }
}

/// Why the browser failed, in this phase.
fn reason(run: &Run, phase: &str) -> String {
    let report = run.report();
    let failure: &Value = &report["failures"][0];
    assert_eq!((failure["peer"].as_str(), failure["phase"].as_str()), (Some("chromium/0"), Some(phase)), "{failure}");
    failure["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn an_offer_that_comes_under_another_name_fails_the_browser_that_waits_for_it() {
    let mapping = r#"
[signaling.socketio]
query = { room = "{room}" }
peers = { event = "newUser", at = "/1" }
peer_joined = { event = "newUser", at = "/0" }
offer = { event = "offer", heard_as = "calling", args = [{ offer = "{description}", to = "{to}" }], from = "/0/from", at = "/0/offer" }
answer = { event = "answer", args = [{ answer = "{description}", to = "{to}" }], from = "/0/from", at = "/0/answer" }
candidate = { event = "candidate", args = [{ candidate = "{candidate}", to = "{to}" }], from = "/0/from", at = "/0/candidate" }
"#;
    let calls = r#"
[[peers]]
engine = "native"
[[peers]]
engine = "chromium"
"#;
    let (_lab, run) = run("mapping", &format!("[signaling]\nprotocol = \"socketio\"\n{mapping}{calls}"));
    run.assert_code(1);
    let reason = reason(&run, "offer");
    assert!(reason.contains("the event `offer` brings a description"), "{reason}");
    assert!(reason.contains("waits for `calling`, `answer`, `candidate`"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_fails_the_browser_that_waits_for_an_answer() {
    let lab = Lab::new();
    let (listen, identity) = ("127.0.0.1:0".parse().unwrap(), Identity::generate(&[]).unwrap());
    fs::write(lab.dir.path().join("ca.pem"), identity.ca_pem().expect("a CA")).unwrap();
    let config = ServerConfig { listen, identity, pages: Vec::new(), limits: Limits::default() };
    let server = Server::start(config).await.unwrap();
    let scenario = format!(
        r#"
name = "gone"
[signaling]
protocol = "socketio"
url = "wss://{}"
ca = "ca.pem"
[[peers]]
engine = "chromium"
[[peers]]
name = "us"
engine = "external"
[[topology.calls]]
offerer = "chromium"
answerer = "us"
room = "lobby"
"#,
        server.address()
    );
    let child = lab.start(&lab.scenario("gone", &scenario));
    let mut client = Client::connect(&server.endpoint()).await.unwrap();
    client.join("lobby").await.unwrap();
    let (_sender, mut receiver) = client.split();
    while !matches!(receiver.next().await.unwrap(), ServerMessage::Offer { .. }) {}
    // The page is asked only now and then how far it is.
    wait_until("the run knows of the offer", || {
        let events = newest_record(&lab.out()).map(|record| fs::read_to_string(record.join("events.ndjson")));
        events.is_some_and(|events| events.unwrap_or_default().contains("\"offer_sent\""))
    });
    server.shutdown().await;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap();
    let run = Run::new(output, &lab.out());
    run.assert_code(1);
    let reason = reason(&run, "answer");
    assert!(reason.contains("signaling: the signaling server closed the connection"), "{reason}");
}
