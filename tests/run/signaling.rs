//! Calls of signaling alone: what arrives is verified, a server that falls short fails the run, and no scenario that
//! should have media passes without.

use crate::common::Lab;
use harness::signaling::{Identity, Limits, Server, ServerConfig};

const CALLS: &str = "schema = 1\nname = \"calls\"\n[load]\nhold = \"1s\"\n\
                     [[peers]]\nengine = \"signaling\"\nmessage_interval = \"20ms\"\ncount = 8\n";

#[test]
fn peers_without_media_exchange_descriptions_and_messages() {
    let lab = Lab::new();
    let run = lab.run_calmly(&lab.scenario("calls", CALLS), &[]);
    run.assert_code(0).assert_says("4 of 4 calls connected");
    let report = run.report();
    let metric = |name: &str| report["metrics"][name].clone();
    assert_eq!(metric("signaling_delivery_ratio")["min"], 1.0);
    for (name, count) in [("signaling_connect_ms", 8), ("signaling_rtt_ms", 8), ("signaling_messages_per_second", 8)] {
        assert_eq!(metric(name)["count"], count, "{name}");
    }
    assert_eq!(metric("signaling_exchange_ms")["count"], 4);
    assert!(metric("signaling_delivery_ms")["count"].as_u64() > Some(8), "{report}");
    for absent in ["media_verified_ratio", "connection_time_ms"] {
        assert_eq!((metric(absent)["count"].clone(), metric(absent)["p50"].is_null()), (0.into(), true), "{absent}");
    }
    let gates: Vec<_> = report["gates"].as_array().unwrap().iter().map(|gate| gate["metric"].clone()).collect();
    assert_eq!(gates, ["setup_success_ratio", "signaling_delivery_ratio"]);
}

#[test]
fn calls_too_short_for_a_message_prove_no_delivery() {
    let lab = Lab::new();
    let run = lab.run_calmly(&lab.scenario("calls", &CALLS.replace("20ms", "1min")), &[]);
    run.assert_code(1).assert_says("signaling_delivery_ratio").assert_says("0 samples");
}

#[test]
fn a_gate_on_media_still_wants_media() {
    let lab = Lab::new();
    let gate = "[[gate]]\nmetric = \"media_verified_ratio\"\nexpect = \"mean >= 100%\"\n";
    let run = lab.run_calmly(&lab.scenario("calls", &format!("{CALLS}{gate}")), &[]);
    run.assert_code(1).assert_says("media_verified_ratio").assert_says("0 samples");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drops_messages_fails_the_run() {
    let limits = Limits { messages_per_second: 1, burst: 20, ..Limits::default() };
    let identity = Identity::generate(&[]).unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let server = Server::start(ServerConfig { listen, identity, pages: Vec::new(), limits }).await.unwrap();
    let lab = Lab::new();
    std::fs::write(lab.dir.path().join("ca.pem"), server.identity().ca_pem().unwrap()).unwrap();
    let signaling = format!("[signaling]\nurl = \"{}\"\nca = \"ca.pem\"\n", server.endpoint().url);
    let scenario = lab.scenario("calls", &format!("{CALLS}{signaling}"));
    let run = tokio::task::spawn_blocking(move || lab.run_calmly(&scenario, &[])).await.unwrap();
    run.assert_code(1).assert_says("the server says too-many-messages");
    server.shutdown().await;
}
