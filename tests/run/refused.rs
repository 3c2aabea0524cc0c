//! A server that refuses every second client: failures counted by phase and reason, and a run that ends.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{Lab, Run, text};
use harness::signaling::{Identity, Limits, Server, ServerConfig};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of every second client.
#[derive(Clone, Copy)]
enum Refusal {
    /// Its connection is closed.
    Closed,
    /// Its connection is taken and never answered.
    Silent,
}

/// Runs ten calls, one after the other, through a server in front of which every second client is refused.
async fn run_with(refusal: Refusal) -> Run {
    let lab = Lab::new();
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
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = door.local_addr().unwrap();
    tokio::spawn(refuse(door, server.address(), refusal));
    let scenario = format!(
        "schema = 1\nname = \"refused\"\n[signaling]\nurl = \"wss://{address}/ws\"\nca = \"{}\"\n[[peers]]\ncount = 20\n\
         [media]\nvideo = \"none\"\naudio = \"none\"\n[deadlines]\njoin = \"1s\"\nconnect = \"3s\"\n\
         [load]\narrivals = \"10/s\"\nhold = \"200ms\"\n",
        text(&ca)
    );
    let child = lab.start(&lab.scenario("refused", &scenario));
    let output = tokio::task::spawn_blocking(|| child.wait_with_output());
    let output = tokio::time::timeout(Duration::from_secs(120), output).await.expect("the run ends").unwrap().unwrap();
    let run = Run::new(output, &lab.out());
    run.assert_code(1);
    let report = run.report();
    assert_eq!(report["calls"]["attempted"], 10, "a failed call stops no other");
    assert_eq!(report["calls"]["failed"], 10, "one client of each call is refused");
    let counts = report["failure_counts"].as_array().expect("counts").clone();
    assert_eq!(counts.iter().filter_map(|count| count["count"].as_u64()).sum::<u64>(), 10);
    assert!(counts.iter().all(|count| count["phase"] == "signaling"), "{counts:?}");
    server.shutdown().await;
    run
}

/// Passes every second connection on to the server.
async fn refuse(door: TcpListener, server: SocketAddr, refusal: Refusal) {
    let mut kept = Vec::new();
    for number in 0.. {
        let Ok((mut client, _)) = door.accept().await else { return };
        match (number % 2, refusal) {
            (0, _) => {
                tokio::spawn(async move {
                    let mut served = TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut served).await
                });
            }
            (_, Refusal::Closed) => drop(client),
            (_, Refusal::Silent) => kept.push(client),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_whose_connection_is_closed_fail_in_the_signaling_phase() {
    run_with(Refusal::Closed).await.assert_says("(signaling): TLS with 127.0.0.1 fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_never_answered_fail_at_their_deadline() {
    run_with(Refusal::Silent).await.assert_says(
        "timed out after 1s waiting for the signaling server to finish the TLS handshake: it accepted TCP",
    );
}
