//! Sockets on both sides of modelled networks.

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::lab::place::receive;
use crate::net::spec::{Conditions, FirewallSpec, Ipv4Prefix, Layer, NatSpec, PortRule, Refusal, SiteSpec};

const DEADLINE: Duration = Duration::from_secs(20);

fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse::<Ipv4Addr>().expect("an address"))
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

fn home(layers: Vec<Layer>) -> SiteSpec {
    SiteSpec::new("home", "127.7.7.0/24".parse::<Ipv4Prefix>().expect("a prefix"), layers)
}

/// A host at home and a server on the internet.
fn lab(home: &SiteSpec) -> (InProcessLab, Host, Host) {
    let mut world = World::new(7);
    let site = world.add_site(home).expect("the site is valid");
    let (inside, outside) = ([v4("127.7.7.2")], [v4("11.0.0.1")]);
    let client = world.add_host(site, &inside).expect("a host");
    let server = world.add_public_host(&outside).expect("a server");
    let lab = InProcessLab::start(world);
    let (client, server) = (lab.host(client, inside), lab.host(server, outside));
    (lab, client, server)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("in time")
}

fn send(socket: &UdpPort, payload: &'static [u8], to: SocketAddr) {
    socket.send_to(Bytes::from_static(payload), to);
}

async fn received(socket: &UdpPort) -> (SocketAddr, Bytes) {
    let mut buffer = [0; 2048];
    let (length, from) = within(receive(socket, &mut buffer)).await.expect("a datagram");
    (from, Bytes::copy_from_slice(&buffer[..length]))
}

#[tokio::test]
async fn a_datagram_arrives_from_the_outside_address_and_is_answered() {
    let (_lab, client, server) = lab(&home(vec![Layer::Nat(NatSpec::default())]));
    let (client, server) =
        (client.bind_udp(at("127.7.7.2:5000")).unwrap(), server.bind_udp(at("11.0.0.1:3478")).unwrap());
    send(&client, b"ping", server.local_addr());
    let (from, payload) = received(&server).await;
    assert_eq!(payload, "ping");
    assert_ne!(from.ip(), v4("127.7.7.2"), "translated");
    send(&server, b"pong", from);
    assert_eq!(received(&client).await, (server.local_addr(), Bytes::from_static(b"pong")));
}

#[tokio::test]
async fn a_port_is_taken_until_its_socket_is_dropped() {
    let (_lab, client, _server) = lab(&home(vec![]));
    let first = client.bind_udp(at("127.7.7.2:5000")).unwrap();
    assert_eq!(client.bind_udp(at("127.7.7.2:5000")).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(client.bind_udp(at("127.7.7.9:5000")).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    drop(first);
    client.bind_udp(at("127.7.7.2:5000")).unwrap();
}

#[tokio::test]
async fn a_stream_carries_much_more_than_its_buffers_both_ways() {
    let (_lab, client, server) = lab(&home(vec![Layer::Nat(NatSpec::default())]));
    let mut listener = server.listen_tcp(at("11.0.0.1:443")).unwrap();
    let sent: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
    let expected = sent.clone();
    let echo = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        stream.write_all(&received).await.unwrap();
        stream.shutdown().await.unwrap();
        // The stack ends the connection in its own time, after the socket is gone.
        drop(stream);
    });
    let mut stream = within(client.connect_tcp(None, at("11.0.0.1:443"))).await.unwrap();
    let exchange = async {
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        back
    };
    assert!(within(exchange).await == expected, "what comes back is what was sent");
    within(echo).await.unwrap();
}

#[tokio::test]
async fn a_stream_survives_loss() {
    let mut lossy = home(vec![Layer::Nat(NatSpec::default())]);
    let loss = crate::net::spec::Loss::Random { ratio: 0.05 };
    lossy.up = Conditions { loss, ..Conditions::default() }.into();
    let (_lab, client, server) = lab(&lossy);
    let mut listener = server.listen_tcp(at("11.0.0.1:443")).unwrap();
    let accepted = tokio::spawn(async move {
        let mut received = Vec::new();
        listener.accept().await.unwrap().read_to_end(&mut received).await.unwrap();
        received.len()
    });
    let mut stream = within(client.connect_tcp(None, at("11.0.0.1:443"))).await.unwrap();
    stream.write_all(&vec![1; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(within(accepted).await.unwrap(), 100_000);
}

#[tokio::test]
async fn nobody_listening_refuses() {
    let (_lab, client, _server) = lab(&home(vec![Layer::Nat(NatSpec::default())]));
    let error = within(client.connect_tcp(None, at("11.0.0.1:443"))).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_firewall_that_says_so_refuses_at_once() {
    let firewall = FirewallSpec { tcp: PortRule::none(Refusal::Prohibited), ..FirewallSpec::default() };
    let (_lab, client, server) = lab(&home(vec![Layer::Firewall(firewall)]));
    let _listener = server.listen_tcp(at("11.0.0.1:443")).unwrap();
    let error = within(client.connect_tcp(None, at("11.0.0.1:443"))).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_link_delays_a_datagram() {
    let delay = Duration::from_millis(30);
    let mut far = home(vec![Layer::Nat(NatSpec::default())]);
    far.up = Conditions { delay_us: 30_000, ..Conditions::default() }.into();
    let (_lab, client, server) = lab(&far);
    let (client, server) = (client.bind_udp(at("127.7.7.2:0")).unwrap(), server.bind_udp(at("11.0.0.1:3478")).unwrap());
    let sent = Instant::now();
    send(&client, b"ping", server.local_addr());
    received(&server).await;
    assert!(sent.elapsed() >= delay, "{:?}", sent.elapsed());
}

#[tokio::test]
async fn streams_reach_each_of_many_addresses() {
    let addresses: Vec<IpAddr> = (1..=20).map(|number| IpAddr::from([11, 0, 1, number])).collect();
    let mut world = World::new(7);
    let site = world.add_site(&home(vec![Layer::Nat(NatSpec::default())])).expect("the site is valid");
    let inside = [v4("127.7.7.2")];
    let client = world.add_host(site, &inside).expect("a host");
    let server = world.add_public_host(&addresses).expect("a server");
    let lab = InProcessLab::start(world);
    let (client, server) = (lab.host(client, inside), lab.host(server, &addresses[..]));
    for address in [addresses[0], addresses[7], addresses[19]] {
        let at = SocketAddr::new(address, 443);
        let _listener = server.listen_tcp(at).unwrap();
        assert_eq!(within(client.connect_tcp(None, at)).await.unwrap().peer_addr(), at);
    }
}
