//! Pages of other signaling protocols, with the public clients of npm as they are, call simulated peers and are called by
//! them, through the bundled server.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::common::{Lab, repository, text};
use serde_json::Value;

/// The packages that `ci/install` sets up.
fn packages() -> PathBuf {
    let packages = repository("target/tools/node/node_modules");
    assert!(packages.exists(), "{} is missing: run ci/install", packages.display());
    packages
}

/// What a page got.
struct Counts(Value);

impl Counts {
    fn of(&self, what: &str) -> u64 {
        self.0[what].as_u64().unwrap_or_else(|| panic!("{}", self.0))
    }
}

/// A call of a simulated peer with a page of PeerJS.
fn peerjs_call(
    serialization: &str,
    media: &str,
    role: &str,
    page: impl FnOnce(&str) -> Vec<String>,
) -> (Value, Counts) {
    let settings = format!("[signaling.peerjs]\nid = \"{{room}}-{{role}}\"\nserialization = \"{serialization}\"");
    call("peerjs", &format!("{settings}\n{media}"), role, page)
}

/// A call of a simulated peer with a page; `page` makes its command line from the server's URL.
fn call(protocol: &str, more: &str, role: &str, page: impl FnOnce(&str) -> Vec<String>) -> (Value, Counts) {
    let settings = format!("[signaling]\nprotocol = \"{protocol}\"\n{more}");
    let (report, counts) = Lab::new()
        .call_with_client(&settings, role, |port, ca| start(&page(&format!("https://localhost:{port}")), text(ca)));
    (report, Counts(counts))
}

/// A page ends once its input is closed, which waiting for it does.
fn start(arguments: &[String], ca: &str) -> Child {
    Command::new("node")
        .arg(repository(&format!("tests/foreign/{}.cjs", arguments[0])))
        .args(&arguments[1..])
        .env("NODE_PATH", packages())
        .env("NODE_EXTRA_CA_CERTS", ca)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node starts")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Streams that the simulated peer has verified.
fn verified(report: &Value) -> usize {
    let media = report["media"].as_array().expect("media");
    media.iter().filter(|media| media["verified"] == true).count()
}

/// All that a call carries arrives at both ends.
fn assert_everything(report: &Value, counts: &Counts) {
    assert!(counts.of("frames") > 0 && counts.of("samples") > 0 && counts.of("messages") > 0, "{}", counts.0);
    assert!(verified(report) >= 2, "{}", report["media"]);
}

#[test]
fn a_page_of_socket_io_is_called_over_each_transport() {
    for transport in ["", "websocket", "polling"] {
        let page = |url: &str| words(&["socketio", url, "lobby", "answer", transport]);
        let (report, counts) = call("socketio", "", "answer", page);
        assert_everything(&report, &counts);
    }
}

#[test]
fn a_page_of_socket_io_calls() {
    let (report, counts) = call("socketio", "", "offer", |url| words(&["socketio", url, "lobby", "offer"]));
    assert_everything(&report, &counts);
}

#[test]
fn a_page_of_simple_peer_calls_and_is_called() {
    for role in ["offer", "answer"] {
        let (report, counts) = call("socketio", "", role, |url| words(&["simple-peer", url, "lobby", role]));
        assert_everything(&report, &counts);
    }
}

#[test]
fn a_page_of_socket_io_calls_a_peer_of_the_harness_protocol() {
    let (report, counts) = call("harness", "", "offer", |url| words(&["socketio", url, "lobby", "offer"]));
    assert_everything(&report, &counts);
}

#[test]
fn a_page_of_peerjs_exchanges_data() {
    let media = "[media]\nvideo = \"none\"\naudio = \"none\"";
    for (role, own, other) in
        [("offer", "lobby-offerer", "lobby-answerer"), ("answer", "lobby-answerer", "lobby-offerer")]
    {
        for how in ["raw", "binary", "json"] {
            let page = |url: &str| words(&["peerjs", url, own, "data", role, other, how]);
            let (report, counts) = peerjs_call(how, media, role, page);
            assert!(counts.of("messages") > 0, "{how}: {}", counts.0);
            assert_eq!(verified(&report), 1, "{how}: {}", report["media"]);
        }
    }
}

#[test]
fn a_page_of_peerjs_exchanges_media() {
    let media = "[media.data]\nenabled = false";
    for (role, own, other) in
        [("offer", "lobby-offerer", "lobby-answerer"), ("answer", "lobby-answerer", "lobby-offerer")]
    {
        let (report, counts) =
            peerjs_call("raw", media, role, |url| words(&["peerjs", url, own, "media", role, other]));
        assert!(counts.of("frames") > 0 && counts.of("samples") > 0, "{}", counts.0);
        assert_eq!(verified(&report), 2, "{}", report["media"]);
    }
}
