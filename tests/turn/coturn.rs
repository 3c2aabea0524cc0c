//! coturn's own tools as clients.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use harness::turn::server::{Counters, RunningServer, Settings, start};
use tokio::process::{Child, Command};

use super::{LOOPBACK, LOOPBACK_2, settings};

/// What `turnutils_uclient` takes at most, with all that a loaded machine adds.
const DEADLINE: Duration = Duration::from_secs(60);
const MESSAGES: u64 = 20;

#[tokio::test]
async fn clients_reach_each_other_over_udp_tcp_and_tls() {
    let server = start(settings()).unwrap();
    let legs = [&["-y"][..], &["-y", "-s"], &["-y", "-t"], &["-y", "-t", "-s"], &["-y", "-t", "-S"]];
    join_all(legs.iter().map(|legs| relays_everything(&server, legs))).await;
    assert_clean(&server.stop().await);
}

#[tokio::test]
async fn clients_reach_an_echo_server_over_udp_tcp_and_tls() {
    let server = start(settings()).unwrap();
    let echo = EchoServer::start();
    let legs = [&[][..], &["-s"], &["-t"], &["-t", "-S"], &["-t", "-S", "-s"]];
    let legs = legs.map(|legs| [legs, &["-e", "127.0.0.1", "-r", &echo.port]].concat());
    join_all(legs.iter().map(|legs| relays_everything(&server, legs))).await;
    assert_clean(&server.stop().await);
}

#[tokio::test]
async fn pairs_of_ports_and_time_limited_credentials_work() {
    let server = start(settings()).unwrap();
    // Without -c the client asks for an even port and the next one. -X names the family, -G repeats requests.
    let options = ["-y", "-X", "-G", "-W", "north", "-u", "carol"];
    let output = uclient(&server, &options).await;
    assert!(output.contains("Total lost packets 0 "), "{output}");
    assert_clean(&server.stop().await);
}

#[tokio::test]
async fn the_certificate_is_one_that_the_client_trusts() {
    let settings = settings();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, settings.identity.as_ref().unwrap().ca_pem().unwrap()).unwrap();
    let server = start(settings).unwrap();
    let ca = ca.to_str().unwrap();
    relays_everything(&server, &["-y", "-t", "-S", "-E", ca]).await;
}

#[tokio::test]
async fn a_wrong_password_is_refused() {
    let server = start(settings()).unwrap();
    let output = uclient(&server, &["-y", "-c", "-u", "alice", "-w", "wrong"]).await;
    assert!(output.contains("Cannot complete Allocation"), "{output}");
    let counters = server.stop().await;
    assert!(counters.errors[&401] >= 2, "{counters:?}");
    assert_eq!(counters.allocations_made, 0);
}

#[tokio::test]
async fn a_client_learns_its_address() {
    let server = start(settings()).unwrap();
    let port = server.addresses().udp[0].port().to_string();
    let output = run("turnutils_stunclient", &["-p", &port, "127.0.0.1"]).await;
    assert!(output.contains("UDP reflexive addr: 127.0.0.1:"), "{output}");
}

#[tokio::test]
async fn a_client_finds_out_that_it_has_no_nat() {
    let mut settings = Settings { addresses: vec![LOOPBACK, LOOPBACK_2], ..settings() };
    settings.udp_ports = vec![0, 0];
    let server = start(settings).unwrap();
    let port = server.addresses().udp[0].port().to_string();
    for padding in [&[][..], &["-P"]] {
        let arguments = [&["-m", "-f", "-p", &port][..], padding, &["127.0.0.1"]].concat();
        let output = run("turnutils_natdiscovery", &arguments).await;
        assert!(output.contains("No NAT") || output.contains("Endpoint Independent Mapping"), "{output}");
        assert!(output.contains("Endpoint Independent Filtering"), "{output}");
        assert!(output.contains("No ALG"), "{output}");
    }
    assert_clean(&server.stop().await);
}

/// Two clients (or pairs of them) send, and nothing of it is lost.
async fn relays_everything(server: &RunningServer, legs: &[&str]) {
    let before = server.counters();
    let output = uclient(server, &[&["-c", "-m", "2", "-u", "alice", "-w", "a secret"], legs].concat()).await;
    assert!(output.contains("Total lost packets 0 "), "{legs:?}: {output}");
    let packets = server.counters().to_clients.packets - before.to_clients.packets;
    assert!(packets >= 2 * MESSAGES, "{packets} packets with {legs:?}");
}

fn assert_clean(counters: &Counters) {
    assert_eq!(counters.dropped.malformed, 0, "{counters:?}");
    assert_eq!(counters.dropped.unsent, 0, "{counters:?}");
    assert_eq!(counters.dropped.rate, 0, "{counters:?}");
}

async fn uclient(server: &RunningServer, options: &[&str]) -> String {
    let addresses = server.addresses();
    let address: SocketAddr = match (options.contains(&"-t"), options.contains(&"-S")) {
        (true, true) => addresses.tls[0],
        (true, false) => addresses.tcp[0],
        _ => addresses.udp[0],
    };
    let (port, messages) = (address.port().to_string(), MESSAGES.to_string());
    run("turnutils_uclient", &[&["-n", &messages, "-p", &port][..], options, &["127.0.0.1"]].concat()).await
}

/// What a tool prints, whatever it makes of it.
async fn run(tool: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(tool);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{tool} {arguments:?} does not end"));
    let output = output.unwrap_or_else(|error| panic!("{}", missing(tool, error.kind())));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn missing(tool: &str, kind: ErrorKind) -> String {
    format!("cannot start {tool} ({kind}): install coturn, or run ci/install")
}

/// `turnutils_peer`, which sends back what it gets.
struct EchoServer {
    port: String,
    _process: Child,
}

impl EchoServer {
    fn start() -> Self {
        let port = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Command::new("turnutils_peer");
        command.args(["-L", "127.0.0.1", "-p", &port]).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("{}", missing("turnutils_peer", error.kind())));
        Self { port, _process: process }
    }
}
