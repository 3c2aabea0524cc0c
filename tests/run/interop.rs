//! Foreign stacks, each a client of `docs/signaling.md`, call simulated peers and are called by them: on both stacks of
//! simulated peers, with certificates of either kind, and with several fingerprints in a description.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::common::{Lab, Run, repository, text};
use serde_json::{Value, json};

/// The role of a foreign client that offers a data channel, which nobody uses, and once that is connected, media.
const LATER: &str = "offer-later";

/// A call of a foreign client with a simulated peer.
#[derive(Clone, Copy, Debug)]
struct Call {
    stack: &'static str,
    /// That of the foreign client.
    role: &'static str,
    key: &'static str,
    /// The lines of the foreign client's description.
    fingerprints: &'static str,
}

impl Call {
    fn room(&self) -> String {
        format!("{}-{}-{}-{}", self.stack, self.role, self.key, self.fingerprints)
    }

    /// The simulated peer.
    fn peer(&self) -> String {
        format!("us-{}/0", self.room())
    }
}

/// What came of a run.
struct Outcome {
    run: Run,
    report: Value,
    /// What the foreign client of each call says it got.
    said: Vec<(Call, Value)>,
}

impl Outcome {
    /// All that a call carries has arrived at its simulated peer, and is what was sent.
    fn assert_verified(&self, call: &Call) {
        let peer = call.peer();
        let media = self.report["media"].as_array().expect("media").iter().filter(|media| media["peer"] == *peer);
        let mut kinds: Vec<&str> =
            media.filter(|it| it["verified"] == true).filter_map(|it| it["kind"].as_str()).collect();
        kinds.sort_unstable();
        let expected: &[&str] = if call.role == LATER { &["audio", "video"] } else { &["audio", "data_echo", "video"] };
        assert_eq!(kinds, expected, "{call:?}: {:#}", self.report["media"]);
    }

    /// Each call of the run connected and carried everything to its simulated peer.
    fn assert_all_verified(&self) {
        self.run.assert_code(0);
        assert_eq!(self.report["calls"]["connected"], self.said.len());
        self.said.iter().for_each(|(call, _)| self.assert_verified(call));
    }
}

/// A number that a foreign client says.
fn number(call: &Call, said: &Value, what: &str) -> u64 {
    said[what].as_u64().unwrap_or_else(|| panic!("{call:?}: no {what} in {said}"))
}

/// Each of these is more than none.
fn assert_some(call: &Call, said: &Value, whats: &[&str]) {
    for what in whats {
        assert!(number(call, said, what) > 0, "{call:?}: no {what} in {said}");
    }
}

fn every(keys: &[&'static str], fingerprints: &[&'static str]) -> Vec<Call> {
    let mut calls = Vec::new();
    for stack in ["async", "dense"] {
        for role in ["offer", "answer"] {
            for key in keys {
                calls.extend(fingerprints.iter().map(|fingerprints| Call { stack, role, key, fingerprints }));
            }
        }
    }
    calls
}

fn scenario(calls: &[Call]) -> String {
    let mut scenario = "name = \"interop\"\n[load]\nhold = \"2s\"\n".to_owned();
    if calls.iter().any(|call| call.role == LATER) {
        scenario += "[media.data]\nenabled = false\n";
    }
    for call in calls {
        let (room, stack) = (call.room(), call.stack);
        let (offerer, answerer) = if call.role == "answer" { ("us", "them") } else { ("them", "us") };
        // Who gets media with a later offer has none to send with the first one.
        let direction = if call.role == LATER { "recvonly" } else { "sendrecv" };
        scenario += &format!(
            r#"
[[peers]]
name = "us-{room}"
stack = "{stack}"
direction = "{direction}"
[[peers]]
name = "them-{room}"
engine = "external"
[[topology.calls]]
offerer = "{offerer}-{room}"
answerer = "{answerer}-{room}"
room = "{room}"
"#
        );
    }
    scenario
}

/// Makes all calls at once, in one run. `clients` makes the command lines from the port of the server and the CA's file;
/// together they say one line of JSON for each call, in its order.
fn run(calls: &[Call], clients: impl FnOnce(u16, &Path) -> Vec<Command>) -> Outcome {
    let lab = Lab::new();
    let child = lab.start(&lab.scenario("interop", &scenario(calls)));
    let (port, ca) = lab.bundled_server(&child);
    let clients: Vec<Child> = clients(port, &ca).into_iter().map(start).collect();
    let run = Run::new(child.wait_with_output().expect("the run ends"), &lab.out());
    let mut said = String::new();
    for client in clients {
        let output = client.wait_with_output().expect("the client ends");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaints}\nthe run said:\n{}", output.status, run.stderr);
        eprint!("{complaints}");
        said += &String::from_utf8_lossy(&output.stdout);
    }
    let said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(said.len(), calls.len(), "{said:?}");
    Outcome { report: run.report(), run, said: calls.iter().copied().zip(said).collect() }
}

/// A client ends once its input is closed, which waiting for it does.
fn start(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; run ci/install"))
}

/// Node with a program and the packages that `ci/install` sets up.
fn node(program: &str) -> Command {
    let packages = repository("target/tools/node/node_modules");
    assert!(packages.exists(), "{} is missing: run ci/install", packages.display());
    let mut command = Command::new("node");
    command.arg(repository(&format!("tests/foreign/{program}"))).env("NODE_PATH", packages);
    command
}

fn libwebrtc(call: &Call, port: u16, ca: &Path) -> Command {
    let mut command = node("wrtc.cjs");
    command.args([&format!("wss://localhost:{port}/ws"), &call.room(), call.role]).env("NODE_EXTRA_CA_CERTS", ca);
    command
}

fn pion(program: &Path, call: &Call, port: u16, ca: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([&format!("wss://localhost:{port}/ws"), text(ca), &call.room(), call.role, call.key])
        .args([text(&repository("fixtures")), call.fingerprints]);
    command
}

/// The client on Pion, built once.
fn pion_client() -> &'static Path {
    static CLIENT: OnceLock<PathBuf> = OnceLock::new();
    CLIENT.get_or_init(build_pion)
}

/// Debian's sources lie without the version that imports name, which GOPATH mode takes for a directory.
fn build_pion() -> PathBuf {
    const SOURCES: &str = "/usr/share/gocode";
    let webrtc = Path::new(SOURCES).join("src/github.com/pion/webrtc");
    assert!(webrtc.is_dir(), "{} is missing: run ci/install", webrtc.display());
    let tools = repository("target/tools/pion");
    let versioned = tools.join("gopath/src/github.com/pion/webrtc");
    std::fs::create_dir_all(&versioned).expect("a directory");
    if let Err(error) = symlink(webrtc, versioned.join("v3")) {
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    }
    let program = tools.join("client");
    let output = Command::new("go")
        .args(["build", "-o", text(&program), "."])
        .current_dir(repository("tests/foreign/pion"))
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPATH", format!("{}:{SOURCES}", text(&tools.join("gopath"))))
        .env("GOCACHE", tools.join("cache"))
        .output()
        .expect("go runs: ci/install installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Everything that Pion got is of the fixtures.
fn assert_intact(call: &Call, said: &Value) {
    assert_some(call, said, &["frames", "samples", "messages"]);
    assert_eq!(said["frames"], said["intact"], "{call:?}: {said}");
    assert_eq!(said["samples"], said["known"], "{call:?}: {said}");
}

fn browser(name: &str) {
    let calls = every(&["ecdsa", "rsa"], &["one"]);
    let outcome = run(&calls, |port, _| {
        let mut command = node("browser.cjs");
        command.args([name, &port.to_string()]);
        command.args(calls.iter().map(|call| format!("{},{},{}", call.room(), call.role, call.key)));
        vec![command]
    });
    outcome.assert_all_verified();
    for (call, said) in &outcome.said {
        assert_some(call, said, &["frames", "packets", "pictures", "messages"]);
        assert_eq!(said["pictures"], said["readable"], "{call:?}: {said}");
        assert_eq!(said["complaints"], json!([]), "{call:?}");
    }
}

#[test]
fn chromium_calls_and_is_called_with_certificates_of_either_kind() {
    browser("chromium");
}

#[test]
fn firefox_calls_and_is_called_with_certificates_of_either_kind() {
    browser("firefox");
}

#[test]
fn libwebrtc_calls_and_is_called() {
    // Its package makes certificates of one kind only.
    let calls = every(&["ecdsa"], &["one"]);
    let outcome = run(&calls, |port, ca| calls.iter().map(|call| libwebrtc(call, port, ca)).collect());
    outcome.assert_all_verified();
    for (call, said) in &outcome.said {
        assert_some(call, said, &["frames", "samples", "messages"]);
        assert_eq!(said["frames"], said["readable"], "{call:?}: {said}");
    }
}

#[test]
fn pion_calls_and_is_called_with_certificates_of_either_kind() {
    let (program, calls) = (pion_client(), every(&["ecdsa", "rsa"], &["one"]));
    let outcome = run(&calls, |port, ca| calls.iter().map(|call| pion(program, call, port, ca)).collect());
    outcome.assert_all_verified();
    outcome.said.iter().for_each(|(call, said)| assert_intact(call, said));
}

/// As LiveKit does, which is built on Pion.
#[test]
fn pion_adds_media_with_a_later_offer() {
    let call = |stack| Call { stack, role: LATER, key: "ecdsa", fingerprints: "one" };
    let (program, calls) = (pion_client(), ["async", "dense"].map(call));
    let outcome = run(&calls, |port, ca| calls.iter().map(|call| pion(program, call, port, ca)).collect());
    outcome.assert_all_verified();
}

#[test]
fn any_fingerprint_of_a_description_is_enough_and_one_is_needed() {
    let (program, calls) = (pion_client(), every(&["ecdsa"], &["strongest-first", "decoy", "wrong"]));
    let outcome = run(&calls, |port, ca| calls.iter().map(|call| pion(program, call, port, ca)).collect());
    outcome.run.assert_code(1);
    let failures = outcome.report["failures"].as_array().expect("failures");
    let failed = |call: &Call| failures.iter().find(|failure| failure["peer"] == *call.peer());
    for (call, said) in &outcome.said {
        if call.fingerprints != "wrong" {
            assert!(failed(call).is_none(), "{failures:?}");
            outcome.assert_verified(call);
            assert_intact(call, said);
            continue;
        }
        let failure = failed(call).unwrap_or_else(|| panic!("{call:?} did not fail: {failures:?}"));
        assert_eq!(failure["phase"], "dtls", "{failure}");
        let reason = failure["reason"].as_str().expect("a reason");
        assert!(reason.contains("has none of the fingerprints in its description (sha-512 "), "{reason}");
        assert_eq!((&said["frames"], &said["samples"]), (&json!(0), &json!(0)), "no media goes to a stranger: {said}");
    }
}
