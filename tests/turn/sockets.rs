//! What the sockets around the server owe to the rest of the machine.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use harness::turn::credentials::Key;
use harness::turn::message::{Attribute, Builder, Class, Message, Method, TransactionId};
use harness::turn::server::{Misbehaviour, RunningServer, start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::settings;

const DEADLINE: Duration = Duration::from_secs(20);

/// A client over UDP.
struct User {
    socket: tokio::net::UdpSocket,
    realm: String,
    nonce: String,
    transactions: u8,
}

impl User {
    async fn new(server: &RunningServer) -> Self {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server.addresses().udp[0]).await.unwrap();
        let (realm, nonce) = Default::default();
        Self { socket, realm, nonce, transactions: 0 }
    }

    async fn ask(&mut self, method: Method, add: impl Fn(&mut Builder)) -> Vec<u8> {
        self.transactions += 1;
        let mut builder = Builder::new(Class::Request, method, TransactionId([self.transactions; 12]));
        add(&mut builder);
        if !self.nonce.is_empty() {
            builder.text(Attribute::USERNAME, "alice").text(Attribute::REALM, &self.realm);
            builder.text(Attribute::NONCE, &self.nonce);
            builder.sign(&Key::long_term("alice", &self.realm, &"a secret".into()));
        }
        self.socket.send(&builder.finish()).await.unwrap();
        self.receive().await
    }

    async fn receive(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        let received = tokio::time::timeout(DEADLINE, self.socket.recv(&mut buffer)).await;
        buffer.truncate(received.expect("waited in vain").unwrap());
        if let Ok(message) = Message::parse(&buffer)
            && let Some(realm) = message.text(Attribute::REALM)
        {
            self.realm = realm.into();
            self.nonce = message.text(Attribute::NONCE).unwrap().into();
        }
        buffer
    }

    async fn allocate(&mut self) -> Result<SocketAddr, u16> {
        for _ in 0..2 {
            let reply = self
                .ask(Method::ALLOCATE, |builder| {
                    builder.number(Attribute::REQUESTED_TRANSPORT, 17 << 24);
                })
                .await;
            let message = Message::parse(&reply).unwrap();
            match message.error_code() {
                Some((401 | 438, _)) => {}
                Some((code, _)) => return Err(code),
                None => return Ok(message.xor_address(Attribute::XOR_RELAYED_ADDRESS).unwrap()),
            }
        }
        Err(401)
    }

    async fn refresh(&mut self, lifetime: u32) {
        let reply = self.ask(Method::REFRESH, |builder| {
            builder.number(Attribute::LIFETIME, lifetime);
        });
        assert_eq!(Message::parse(&reply.await).unwrap().class(), Class::Success);
    }
}

/// Waits until something holds that some task is about to bring about.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[tokio::test]
async fn nothing_is_left_of_a_server_that_was_stopped() {
    let server = start(settings()).unwrap();
    let addresses = server.addresses().clone();
    let relay = User::new(&server).await.allocate().await.unwrap();
    let mut stream = TcpStream::connect(addresses.tcp[0]).await.unwrap();
    let _silent = TcpStream::connect(addresses.tls[0]).await.unwrap();
    eventually("a stream", || server.counters().streams == 1).await;

    assert_eq!(server.stop().await.allocations, 1);
    for udp in [addresses.udp[0], relay] {
        UdpSocket::bind(udp).unwrap();
    }
    for tcp in [addresses.tcp[0], addresses.tls[0]] {
        TcpListener::bind(tcp).unwrap();
    }
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_server_that_is_dropped_ends_as_well() {
    let server = start(settings()).unwrap();
    let udp = server.addresses().udp[0];
    drop(server);
    eventually("a free port", || UdpSocket::bind(udp).is_ok()).await;
}

#[tokio::test]
async fn a_relay_port_that_was_given_back_is_there_at_once() {
    let mut settings = settings();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    settings.config.relay_ports = port..=port;
    let server = start(settings).unwrap();
    let mut user = User::new(&server).await;
    for _ in 0..50 {
        assert_eq!(user.allocate().await.unwrap().port(), port);
        assert_eq!(User::new(&server).await.allocate().await, Err(508));
        user.refresh(0).await;
    }
}

#[tokio::test]
async fn an_allocation_ends_in_time_without_a_packet() {
    let mut settings = settings();
    settings.config.lifetimes.allocation = Duration::from_secs(1);
    let server = start(settings).unwrap();
    let relay = User::new(&server).await.allocate().await.unwrap();
    assert!(UdpSocket::bind(relay).is_err());
    eventually("the end of the allocation", || server.counters().allocations == 0).await;
    eventually("a free port", || UdpSocket::bind(relay).is_ok()).await;
}

#[tokio::test]
async fn a_fresh_relay_port_carries_the_first_packet() {
    let server = start(settings()).unwrap();
    let peer = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    for _ in 0..50 {
        let mut user = User::new(&server).await;
        let relay = user.allocate().await.unwrap();
        user.ask(Method::CHANNEL_BIND, |builder| {
            builder.number(Attribute::CHANNEL_NUMBER, 0x4000 << 16);
            builder.xor_address(Attribute::XOR_PEER_ADDRESS, address);
        })
        .await;
        user.socket.send(b"\x40\x00\x00\x02hi").await.unwrap();
        let mut buffer = [0; 16];
        let received = tokio::time::timeout(DEADLINE, peer.recv_from(&mut buffer)).await.expect("waited in vain");
        assert_eq!(received.unwrap(), (2, relay));
        peer.send_to(b"ho", relay).await.unwrap();
        assert_eq!(user.receive().await, b"\x40\x00\x00\x02ho");
    }
    assert_eq!(server.stop().await.dropped.unsent, 0);
}

#[tokio::test]
async fn there_are_only_so_many_streams() {
    let mut settings = settings();
    settings.streams = 2;
    let server = start(settings).unwrap();
    let tcp = server.addresses().tcp[0];
    let connect = || async { TcpStream::connect(tcp).await.unwrap() };
    let (first, mut second, mut third) = (connect().await, connect().await, connect().await);
    assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)));
    drop(first);
    eventually("the end of a stream", || server.counters().streams == 1).await;

    let request = Builder::new(Class::Request, Method::BINDING, TransactionId([1; 12])).finish();
    second.write_all(&request).await.unwrap();
    let mut answer = [0; 32];
    second.read_exact(&mut answer).await.unwrap();
    assert_eq!(Message::parse(&answer).unwrap().xor_address(Attribute::XOR_MAPPED_ADDRESS), second.local_addr().ok());
}

#[tokio::test]
async fn a_stream_of_another_protocol_is_closed() {
    let server = start(settings()).unwrap();
    let mut stream = TcpStream::connect(server.addresses().tcp[0]).await.unwrap();
    stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    let closed = tokio::time::timeout(DEADLINE, stream.read(&mut [0])).await.expect("waited in vain");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_packets_and_not_memory() {
    let server = start(settings()).unwrap();
    let mut stream = TcpStream::connect(server.addresses().tcp[0]).await.unwrap();
    // The answers are as long as the requests, and nobody reads them.
    let mut builder = Builder::new(Class::Request, Method::BINDING, TransactionId([1; 12]));
    builder.bytes(Attribute::PADDING, &[0; 1000]);
    let request = builder.finish();
    let flood = request.repeat(64);
    let sending = async {
        while server.counters().dropped.unsent == 0 {
            stream.write_all(&flood).await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, sending).await.expect("nothing was dropped");
    server.stop().await;
}

#[tokio::test]
async fn a_server_can_be_told_to_misbehave_while_it_runs() {
    let server = start(settings()).unwrap();
    let mut user = User::new(&server).await;
    server.misbehave(Misbehaviour { redirect: Some("127.0.0.9:3478".parse().unwrap()), ..Misbehaviour::default() });
    assert_eq!(user.allocate().await, Err(300));
    server.misbehave(Misbehaviour::default());
    user.allocate().await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_and_a_missing_certificate_are_told() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = UdpSocket::bind(taken).unwrap();
    let mut settings = settings();
    settings.udp_ports = vec![taken.port()];
    let error = start(settings.clone()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen at {taken}: ")), "{error}");
    drop(holder);
    settings.identity = None;
    assert_eq!(start(settings).unwrap_err().to_string(), "TURN over TLS needs a certificate");
}

#[tokio::test]
async fn nothing_secret_is_in_the_debug_output_of_a_server() {
    let settings = settings();
    let printed = format!("{settings:?}");
    let server = start(settings).unwrap();
    User::new(&server).await.allocate().await.unwrap();
    let printed = format!("{printed} {server:?}");
    assert!(!printed.contains("a secret") && !printed.contains("north"), "{printed}");
}
