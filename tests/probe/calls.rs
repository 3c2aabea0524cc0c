//! Calls of native peers through coturn: over TCP and TLS, with verified media, and with a server that cannot be used.

use super::common::{Lab, Run, text as path_text};
use super::coturn::{Coturn, PASSWORD, USER, free_port};

/// Two native peers that may use nothing but this server.
fn scenario(server: &Coturn, urls: &[&str]) -> String {
    let urls = urls.iter().map(|url| format!("{url:?}")).collect::<Vec<_>>().join(", ");
    format!(
        r#"
schema = 1
name = "relayed"

[ice]
policy = "relay"
ca = "{}"

[[ice.servers]]
urls = [{urls}]
username = "{USER}"
credential = "${{TURN_PASSWORD}}"

[[peers]]
count = 2

[load]
hold = "2s"

[deadlines]
connect = "10s"

[health]
machine_cpu = "100%"
scheduling_lag_p99 = "200ms"
send_lateness_p99 = "200ms"
steal = "100%"

# One frame of some sixty may be missing: on a busy machine one was once, with no packet lost.
[[gate]]
metric = "frame_integrity_ratio"
expect = "min >= 98%"
min_samples = 2
"#,
        server.ca().display()
    )
}

/// Runs it; once more if noise on the machine made the result invalid. The directory lives as long as the first.
fn run(text: &str) -> (Lab, Run) {
    let lab = Lab::new();
    let path = lab.scenario("relayed", text);
    let out = lab.out();
    let arguments = ["run", path_text(&path), "--out", path_text(&out)];
    let once = || lab.command(&arguments).env("TURN_PASSWORD", PASSWORD).output().expect("the binary runs");
    let run = Run::new(once(), &out);
    let run = if run.code == 3 { Run::new(once(), &out) } else { run };
    (lab, run)
}

#[test]
fn native_peers_reach_their_relay_over_udp_tcp_and_tls() {
    let server = Coturn::start(&[]);
    for (url, protocol) in [(server.udp(), "udp"), (server.tcp(), "tcp"), (server.tls(), "tls")] {
        let (_lab, run) = run(&scenario(&server, &[&url]));
        run.assert_code(0);
        let report = run.report();
        let paths = report["paths"].as_array().expect("paths");
        assert_eq!(paths.len(), 2, "{url}: {paths:?}");
        for path in paths {
            assert_eq!(path["local"]["candidate_type"], "relay", "{url}: {path}");
            assert_eq!(path["relay_protocol"], protocol, "{url}: {path}");
            assert_eq!(path["protocol"], "udp", "{url}: {path}");
        }
        for metric in ["ice_connect_ms", "time_to_first_rtp_ms", "first_relay_ms"] {
            assert!(report["metrics"][metric]["count"].as_u64() > Some(0), "{url}: {metric}");
        }
    }
}

#[test]
fn with_several_servers_the_relay_is_attributed_to_its_own() {
    let server = Coturn::start(&[]);
    // The first cannot be reached: nothing listens there.
    let closed = format!("turn:127.0.0.1:{}?transport=tcp", free_port());
    let (_lab, run) = run(&scenario(&server, &[&closed, &server.tls()]));
    run.assert_code(0);
    for path in run.report()["paths"].as_array().expect("paths") {
        assert_eq!(path["relay_protocol"], "tls", "{path}");
    }
}

#[test]
fn a_call_that_fails_names_what_is_wrong_with_each_server() {
    let server = Coturn::start_with_name("turn.example");
    let closed = format!("turn:127.0.0.1:{}?transport=tcp", free_port());
    let (_lab, run) = run(&scenario(&server, &[&server.tls(), &closed]));
    run.assert_code(1);
    run.assert_says("certificate is for another name (turn.example), not for 127.0.0.1");
    run.assert_says("refuses the connection");
}

#[test]
fn a_wrong_password_is_named_in_the_failure() {
    let server = Coturn::start(&[]);
    let text = scenario(&server, &[&server.udp(), &server.tcp()]).replace(USER, "mallory");
    let (_lab, run) = run(&text);
    run.assert_code(1);
    run.assert_says("Allocate is refused with 401");
}

#[test]
fn a_server_that_native_peers_cannot_use_is_refused_before_the_run() {
    let server = Coturn::start(&[]);
    let (_lab, run) = run(&scenario(&server, &[&server.tls(), "stuns:127.0.0.1"]));
    run.assert_code(2).assert_says("native peers ask STUN servers");
}
