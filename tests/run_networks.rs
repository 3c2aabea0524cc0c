//! Scenarios with networks: the right path is a pass, and each thing that is wrong fails just where it must, in the right
//! words.

mod common;

use common::{Lab, NOISE_ALLOWED, Run, repository};
use serde_json::Value;

/// Three networks against each other, with something changed.
fn run(lab: &Lab, site: &str, turn: &str, more: &[&str]) -> Run {
    let scenario = format!(
        r#"
schema = 1
name = "networks"
[network]
[network.turn]
{turn}
[[network.site]]
name = "full-cone"
nat = "full-cone"
[[network.site]]
name = "symmetric"
nat = "symmetric"
{site}
[matrix]
[load]
hold = "1s"
arrivals = "10/s"
[deadlines]
connect = "8s"
"#
    );
    let path = lab.scenario("networks", &scenario);
    lab.run(&path, &[&NOISE_ALLOWED[..], more].concat())
}

const TLS_ONLY: &str = "[[network.site]]\nname = \"tls-443-only\"\nfirewall = \"tls-443-only\"\n";

/// The pairs with each outcome, as `first>second`, in the order of the report.
fn outcomes(report: &Value, outcome: &str) -> Vec<String> {
    let cells = report["matrix"]["cells"].as_array().expect("a matrix");
    let wanted = cells.iter().filter(|cell| cell["outcome"] == outcome);
    wanted.map(|cell| format!("{}>{}", cell["first"].as_str().unwrap(), cell["second"].as_str().unwrap())).collect()
}

#[test]
fn every_pair_finds_its_path_with_its_media() {
    let lab = Lab::new();
    let run = run(&lab, TLS_ONLY, "", &[]);
    run.assert_code(0);
    let report = run.report();
    assert_eq!(outcomes(&report, "ok").len(), 9, "{}", report["matrix"]);
    let paths = report["paths"].as_array().expect("paths");
    let tls = paths.iter().filter(|path| path["relay_protocol"] == "tls").count();
    assert_eq!(tls, 6, "the network that lets only TLS out always relays over it");
    let media = report["media"].as_array().expect("media");
    assert!(!media.is_empty() && media.iter().all(|media| media["verified"] == true), "{media:?}");
    let lab_checks = report["lab"]["checks"].as_array().expect("checks");
    assert!(lab_checks.len() >= 6 && lab_checks.iter().all(|check| check["ok"] == true), "{lab_checks:?}");
}

#[test]
fn a_nat_that_lies_makes_the_result_invalid() {
    let lab = Lab::new();
    let run = run(&lab, "[[network.site]]\nname = \"naive\"\nnat = \"naive-masquerade\"\n", "", &[]);
    run.assert_code(3);
    run.assert_says("the network naive is not what was asked for").assert_says("EIM/APDF");
}

#[test]
fn a_wrong_password_fails_where_a_relay_is_needed() {
    let lab = Lab::new();
    let run = run(&lab, TLS_ONLY, "credential = \"wrong\"", &[]);
    run.assert_code(1);
    let report = run.report();
    assert_eq!(outcomes(&report, "ok"), ["full-cone>full-cone", "full-cone>symmetric", "symmetric>full-cone"]);
    assert_eq!(outcomes(&report, "failed").len(), 6);
    run.assert_says("401").assert_says("wrong user name or password");
}

#[test]
fn without_tls_the_strictest_network_cannot_connect() {
    let lab = Lab::new();
    let run = run(&lab, TLS_ONLY, "transports = [\"udp\", \"tcp\"]", &[]);
    run.assert_code(1);
    let report = run.report();
    let failed = outcomes(&report, "failed");
    assert_eq!(failed.len(), 5, "{failed:?}");
    assert!(failed.iter().all(|pair| pair.contains("tls-443-only")), "{failed:?}");
    run.assert_says("no TLS leg: 1 of 3 networks cannot connect");
}

#[test]
fn a_relay_where_direct_is_demanded_is_one_too_many() {
    let lab = Lab::new();
    let run = run(&lab, TLS_ONLY, "", &["--set", "ice.policy=relay"]);
    run.assert_code(1);
    let over = outcomes(&run.report(), "over-relayed");
    assert_eq!(over, ["full-cone>full-cone", "full-cone>symmetric", "symmetric>full-cone"]);
}

#[test]
fn a_relay_that_drops_packets_connects_nobody_who_needs_it() {
    let lab = Lab::new();
    let run = run(&lab, TLS_ONLY, "misbehave = [\"drop-relayed\"]", &[]);
    run.assert_code(1);
    assert_eq!(outcomes(&run.report(), "failed").len(), 6);
}

#[test]
fn video_survives_a_network_that_loses_packets() {
    let lab = Lab::new();
    let run = lab.run(&repository("scenarios/bad-wifi.toml"), &NOISE_ALLOWED);
    run.assert_code(0);
    let loss = run.report()["metrics"]["packet_loss_ratio"]["max"].as_f64().expect("loss");
    assert!(loss > 0.001, "the network loses packets: {loss}");
}
