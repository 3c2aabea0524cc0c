//! What `harness probe` says and writes, mostly of coturn. `faults` has all that can be wrong with a server.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Output;

use harness::turn::message::{Attribute, Builder, Class, Message, Method};
use serde_json::Value;

use super::common::{Lab, text};
use super::coturn::{Coturn, PASSWORD, USER, free_port};

/// A probe that ended.
pub(crate) struct Probe {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) report: Value,
}

/// Probes with the right password, in the environment.
fn probe(arguments: &[&str]) -> Probe {
    probe_with(&[&["--user", USER], arguments].concat(), &[("HARNESS_TURN_PASSWORD", PASSWORD)])
}

pub(crate) fn probe_with(arguments: &[&str], environment: &[(&str, &str)]) -> Probe {
    let lab = Lab::new();
    let json = lab.dir.path().join("probe.json");
    let short = if arguments.contains(&"--duration") { &[][..] } else { &["--duration", "500ms"] };
    let mut command = lab.command(&[&["probe", "--json", text(&json)], short, arguments].concat());
    command.env_remove("HARNESS_TURN_PASSWORD").env_remove("HARNESS_TURN_SECRET");
    command.envs(environment.iter().copied());
    let Output { status, stderr, .. } = command.output().expect("the binary runs");
    let report = std::fs::read_to_string(&json).ok().and_then(|text| serde_json::from_str(&text).ok());
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Probe { code: status.code(), stderr, report: report.unwrap_or_default() }
}

impl Probe {
    #[track_caller]
    pub(crate) fn passes(&self) -> &Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(self.report["verdict"], "pass");
        &self.report["servers"][0]
    }

    /// The first fault is of this class, and the text names it with its remedy.
    #[track_caller]
    pub(crate) fn fails(&self, step: &str, class: &str, code: Option<u16>) -> &Value {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        let fault = &self.report["servers"][0]["faults"][0];
        assert_eq!((fault["step"].as_str(), fault["class"].as_str()), (Some(step), Some(class)), "{}", self.stderr);
        assert_eq!(fault["code"].as_u64(), code.map(u64::from), "{fault}");
        let remedy = fault["remedy"].as_str().unwrap_or_default();
        assert!(self.stderr.contains(class) && self.stderr.contains(remedy) && !remedy.is_empty(), "{}", self.stderr);
        fault
    }
}

#[test]
fn a_working_server_passes_over_udp_tcp_and_tls() {
    let server = Coturn::start(&[]);
    for (url, transport) in [(server.udp(), "udp"), (server.tcp(), "tcp"), (server.tls(), "tls")] {
        let probe = probe(&[&url, "--ca", text(&server.ca())]);
        let found = probe.passes();
        assert_eq!(found["allocation"]["unauthorized"], 1, "{transport}: {found}");
        assert_eq!(found["allocation"]["lifetime_s"], 600);
        assert_eq!(found["allocation"]["family"], "ipv4");
        assert_eq!(found["relay"]["between"], "second-allocation");
        assert_eq!(found["relay"]["returned"], 10);
        assert_eq!(found["relay"]["direct"], true);
        assert_eq!(found["goodput"]["corrupt"], 0);
        assert!(found["goodput"]["goodput_bps"].as_f64().unwrap() > 1.8e6, "{transport}: {}", found["goodput"]);
        assert!(found["stun"]["mapped"].as_str().unwrap().starts_with("127.0.0.1:"));
        assert_eq!(found["tcp_connect_ms"].is_number(), transport != "udp");
        assert_eq!(found["tls"].is_object(), transport == "tls");
        if transport == "tls" {
            assert_eq!(found["tls"]["verified"], true);
            assert!(found["tls"]["version"].as_str().unwrap().starts_with("TLSv1."));
            assert_eq!(found["tls"]["chain"][0]["names"][0], "127.0.0.1");
            assert!(found["tls"]["chain"][0]["days_left"].as_i64().unwrap() > 300);
        }
        assert!(!probe.stderr.contains(PASSWORD) && !probe.report.to_string().contains(PASSWORD), "no secret is told");
    }
    let stun = format!("stun:127.0.0.1:{}", server.port);
    let probe = probe_with(&[&stun, &server.tcp(), "--user", USER, "--password", PASSWORD], &[]);
    probe.passes();
    assert!(probe.stderr.contains("2 of 2 servers passed"), "{}", probe.stderr);
}

#[test]
fn the_json_satisfies_the_schema_in_docs() {
    let server = Coturn::start(&[]);
    let schema = harness::turn::probe::Report::json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let good = probe(&[&server.tls(), "--ca", text(&server.ca()), "--allocations", "20/s"]);
    assert_eq!(good.passes()["allocation_rate"]["succeeded"], 10, "{}", good.stderr);
    let bad = probe(&[&server.tls()]);
    for report in [&good.report, &bad.report] {
        let errors: Vec<String> = validator.iter_errors(report).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/probe.schema.json");
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == text,
        "docs/probe.schema.json is out of date: run this test with UPDATE_SCHEMA=1 and review the change"
    );
}

#[test]
fn a_quota_that_allows_one_allocation_is_told_and_the_relay_still_measured() {
    let server = Coturn::start(&["--user-quota=1"]);
    let probe = probe(&[&server.udp()]);
    probe.fails("allocation", "quota-reached", Some(486));
    let found = &probe.report["servers"][0];
    assert_eq!(found["relay"]["between"], "own-socket");
    assert_eq!(found["goodput"]["corrupt"], 0, "{found}");
    assert_eq!(found["faults"].as_array().map(Vec::len), Some(1), "{found}");
}

#[test]
fn a_relay_address_that_only_the_server_itself_reaches_is_noted() {
    // An external address that the server takes for its own, so that two allocations meet, and nobody else gets through.
    let server = Coturn::start(&["--external-ip", "203.0.113.1/127.0.0.1"]);
    let probe = probe(&[&server.udp()]);
    let found = probe.passes();
    assert_eq!((&found["relay"]["returned"], &found["relay"]["direct"]), (&10.into(), &false.into()), "{found}");
    assert!(probe.stderr.contains("straight to 203.0.113.1:"), "{}", probe.stderr);
    assert!(probe.stderr.contains("check its external address"), "{}", probe.stderr);
}

#[test]
fn a_closed_port_is_told_over_udp_and_tcp() {
    let port = free_port();
    let udp = probe(&[&format!("turn:127.0.0.1:{port}")]);
    udp.fails("stun-binding", "connection-refused", None);
    let tcp = probe(&[&format!("turn:127.0.0.1:{port}?transport=tcp")]);
    tcp.fails("tcp-connect", "connection-refused", None);
}

#[test]
fn a_server_that_does_not_answer_is_told() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let probe = probe(&[&format!("stun:{}", silent.local_addr().unwrap())]);
    probe.fails("stun-binding", "stun-no-answer", None);
}

#[test]
fn a_server_for_stun_only_is_told_apart_from_one_that_cannot_be_reached() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let url = format!("turn:{}", socket.local_addr().unwrap());
    // Ends with the test's process.
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let Ok(request) = Message::parse(&buffer[..length]) else { continue };
            if request.method() == Method::BINDING {
                let mut answer = Builder::new(Class::Success, Method::BINDING, request.transaction_id());
                answer.xor_address(Attribute::XOR_MAPPED_ADDRESS, from);
                let _ = socket.send_to(&answer.finish(), from);
            }
        }
    });
    let probe = probe(&[&url]);
    let fault = probe.fails("allocation", "stun-no-answer", None);
    assert!(fault["remedy"].as_str().unwrap().contains("a TURN server and not one for STUN only"), "{fault}");
}

#[test]
fn each_fault_of_a_certificate_is_told_and_its_chain_shown() {
    let server = Coturn::start_with_name("turn.example");
    let probe_named = probe(&[&server.tls(), "--ca", text(&server.ca())]);
    let fault = probe_named.fails("tls", "tls-name-mismatch", None);
    assert!(fault["message"].as_str().unwrap().contains("turn.example"), "{fault}");
    assert_eq!(probe_named.report["servers"][0]["tls"]["chain"][0]["names"][0], "turn.example");

    let server = Coturn::start(&[]);
    let untrusted = probe(&[&server.tls()]);
    untrusted.fails("tls", "tls-untrusted", None);
    assert_eq!(untrusted.report["servers"][0]["tls"]["verified"], false);
    assert_eq!(untrusted.report["servers"][0]["tls"]["chain"][0]["names"][0], "127.0.0.1");
}

#[test]
fn a_name_without_an_address_is_told() {
    let probe = probe(&["turn:nowhere.invalid"]);
    let class = probe.report["servers"][0]["faults"][0]["class"].as_str().unwrap_or_default().to_owned();
    // Where no name server answers, it is not the server's fault.
    let expected = if class == "dns-unavailable" { Some(3) } else { Some(1) };
    assert!(class == "dns-failed" || class == "dns-unavailable", "{}", probe.stderr);
    assert_eq!(probe.code, expected, "{}", probe.stderr);
}

#[test]
fn what_cannot_be_probed_is_a_usage_error() {
    for (arguments, words) in [
        (&["turn:a.example"][..], "needs credentials"),
        (&["turn:a.example", "--user", "alice"], "--user needs --password"),
        (&["http://a.example"], "unknown scheme"),
        (&["turns:a.example?transport=udp"], "DTLS"),
        (&["stun:a.example", "--ca", "/nowhere.pem"], "cannot read"),
        (&["stun:a.example", "--duration", "2min"], "100ms to 60s"),
        (&["stun:a.example", "--allocations", "20"], "the unit is missing; write a number and one of /s"),
        (&["turn:a.example", "--secret", "a", "--password", "b"], "leave out one of them"),
        (&["turn:a.example/x"], "more than a host and a port"),
        (&[], "required"),
    ] {
        let probe = probe_with(arguments, &[]);
        assert_eq!(probe.code, Some(2), "{arguments:?}: {}", probe.stderr);
        assert!(probe.stderr.contains(words), "{arguments:?}: {}", probe.stderr);
    }
}

#[test]
fn a_result_that_cannot_be_written_is_said_before_anything_is_sent() {
    let lab = Lab::new();
    let output = lab.command(&["probe", "stun:127.0.0.1:9", "--json", "nowhere/a.json"]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said, "error: --json: there is no directory nowhere\n");
}
