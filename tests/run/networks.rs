//! Scenarios with networks: the right path is a pass, and each thing that is wrong fails just where it must, in the right
//! words.

use std::collections::BTreeSet;
use std::process::Command;

use crate::common::{Lab, NOISE_ALLOWED, Run, repository};
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

/// The pair of the strictest network with a symmetric NAT: every way that was tried, in words, and what was waited for.
#[test]
fn a_fallback_to_tls_says_why_each_earlier_path_failed_and_how_long_it_took() {
    let lab = Lab::new();
    let run = run(
        &lab,
        TLS_ONLY,
        "",
        &["--set", "matrix.sites=[\"tls-443-only\"]", "--set", "matrix.against=[\"symmetric\"]"],
    );
    run.assert_code(0);
    let report = run.report();
    assert_eq!(outcomes(&report, "ok"), ["tls-443-only>symmetric"]);
    let media = report["media"].as_array().expect("media");
    assert!(media.len() >= 4 && media.iter().all(|media| media["verified"] == true), "{media:?}");

    let fallbacks = report["fallbacks"].as_array().expect("fallbacks");
    let [fallback] = &fallbacks[..] else { panic!("one end has a relay of its own: {fallbacks:?}") };
    assert_eq!((&fallback["site"], &fallback["relay"]), (&"tls-443-only".into(), &"tls".into()));
    let ways = fallback["ways"].as_array().expect("ways");
    let detail = |name: &str| {
        let way = ways.iter().find(|way| way["way"] == name).unwrap_or_else(|| panic!("no {name}: {ways:?}"));
        way["detail"].as_str().expect("words").to_owned()
    };
    for (way, words) in [
        ("direct", "no answer, and none of the other end's arrived; no outside address: STUN gave no answer in"),
        ("TURN over UDP", "no answer to Allocate in"),
        ("TURN over TCP", "; tls-443-only does not let it through"),
        ("TURN over TLS", "after the first check, nominated"),
    ] {
        assert!(detail(way).contains(words), "{way}: {}", detail(way));
    }
    assert_eq!(ways.iter().filter(|way| way["taken"] == true).count(), 1);

    let waits = fallback["waits"].as_array().expect("waits");
    let ms = |value: &Value| value.as_f64().expect("milliseconds");
    let sum: f64 = waits.iter().map(|wait| ms(&wait["ms"])).sum();
    assert!((sum - ms(&fallback["total_ms"])).abs() < 1e-6, "{waits:?}");
    let told: Vec<_> = waits.iter().map(|wait| wait["for"][0].as_str().expect("a name")).collect();
    assert_eq!(told, ["gathering", "signaling", "pacing", "permission", "checks", "nomination"]);
    // The relay waits for half a second before it is nominated, counted from the first check.
    let [fallback_ms, nomination_ms] =
        ["time_to_fallback_ms", "fallback_nomination_ms"].map(|metric| ms(&report["metrics"][metric]["max"]));
    assert!(fallback_ms < nomination_ms && nomination_ms >= 450.0, "{fallback_ms} ms, {nomination_ms} ms");
    assert!(run.record.as_ref().is_some_and(|record| !record.join("cells").exists()), "nothing is wrong");
}

#[test]
fn a_network_that_rejects_udp_tells_so_with_icmp() {
    let lab = Lab::new();
    let site = "[[network.site]]\nname = \"udp-rejected\"\nfirewall = \"udp-rejected\"\n";
    let run =
        run(&lab, site, "", &["--set", "matrix.sites=[\"udp-rejected\"]", "--set", "matrix.against=[\"symmetric\"]"]);
    run.assert_code(0);
    let report = run.report();
    let ways = report["fallbacks"][0]["ways"].to_string();
    assert_eq!(ways.matches("(ICMP: administratively prohibited)").count(), 3, "{ways}");
}

#[test]
fn a_failing_pair_has_its_seed_its_timeline_and_its_packets() {
    let lab = Lab::new();
    let run = run(
        &lab,
        TLS_ONLY,
        "transports = [\"udp\", \"tcp\"]",
        &[
            "--set",
            "matrix.sites=[\"symmetric\", \"tls-443-only\"]",
            "--set",
            "matrix.against=[\"symmetric\"]",
            "--set",
            "deadlines.connect=4s",
        ],
    );
    run.assert_code(1);
    let report = run.report();
    let record = run.record.as_ref().expect("a record");
    let cells = report["matrix"]["cells"].as_array().expect("cells");
    let packets: Vec<_> = cells.iter().map(|cell| cell["packets"].as_str()).collect();
    assert_eq!(packets, [None, Some("cells/tls-443-only--symmetric.pcap")]);

    // What the two peers of the cell sent and received, and nobody else.
    let file = record.join("cells/tls-443-only--symmetric.pcap");
    let shown =
        Command::new("tcpdump").args(["-n", "-r"]).arg(&file).output().expect("tcpdump is missing: run ci/install");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8_lossy(&shown.stdout);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() > 50, "{shown}");
    let hosts: BTreeSet<String> = lines
        .iter()
        .filter_map(|line| {
            let from = line.split_whitespace().nth(2)?;
            // ICMP errors have no port behind the address.
            let host = from.split('.').take(4).collect::<Vec<_>>().join(".");
            host.starts_with("127.").then_some(host)
        })
        .collect();
    assert_eq!(hosts.len(), 2, "{hosts:?}");
    // What tcpdump makes of a datagram depends on its port; TCP has flags.
    let allocate = |line: &&str| line.contains("> 11.0.0.1.3478: ") && !line.contains("Flags");
    assert!(lines.iter().any(allocate), "Allocate is there: {shown}");

    let page = std::fs::read_to_string(record.join("report.html")).expect("report.html");
    let cell = page
        .split("id=\"cell-tls-443-only--symmetric\"")
        .nth(1)
        .expect("the cell")
        .split("<h2>")
        .next()
        .expect("its part");
    for words in [
        "href=\"cells/tls-443-only--symmetric.pcap\"",
        "seed 1, calls",
        "<td>TURN over UDP: Allocate</td>",
        "<td>failed in phase ICE</td>",
        "tls-443-only does not let it through",
    ] {
        assert!(cell.contains(words), "{words} is not in {cell}");
    }
    // The deadline of 4 s is over in the phase of ICE, give or take how the parts are rounded.
    assert!(["ICE: 39", "ICE: 40"].iter().any(|part| cell.contains(part)), "{cell}");
    run.assert_says("tried native").assert_says("packets cells/tls-443-only--symmetric.pcap");
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
