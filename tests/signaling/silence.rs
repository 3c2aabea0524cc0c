//! A connection on which nothing happens ends by itself.

use std::time::Duration;

use crate::support::{Raw, metric, server, tls, within};
use futures_util::StreamExt;
use harness::signaling::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

const SHORT: Duration = Duration::from_millis(50);

#[tokio::test]
async fn a_connection_without_tls_handshake_is_closed() {
    let server = server(Limits { tls_timeout: SHORT, ..Limits::default() }).await;
    for half in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut tcp = TcpStream::connect(server.address()).await.unwrap();
        tcp.write_all(half).await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end of the connection", tcp.read_to_end(&mut rest)).await;
    }
}

#[tokio::test]
async fn a_connection_without_request_is_closed() {
    let server = server(Limits { header_timeout: SHORT, ..Limits::default() }).await;
    for half in ["", "GET / HTTP/1.1\r\nHost: "] {
        let mut stream = tls(&server).await;
        stream.write_all(half.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let _ = within("the end of the connection", stream.read_to_end(&mut rest)).await;
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
}

#[tokio::test]
async fn a_connection_that_never_becomes_a_websocket_is_closed() {
    // The header's deadline starts anew with each request; this one does not.
    let server = server(Limits { http_timeout: SHORT, ..Limits::default() }).await;
    let mut stream = tls(&server).await;
    while stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.is_ok() {
        let mut answer = vec![0; 4096];
        if !matches!(within("an answer or the end", stream.read(&mut answer)).await, Ok(1..)) {
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_pings_is_cut_off() {
    let server = server(Limits { ping_interval: SHORT, ..Limits::default() }).await;
    let deaf = Raw::connect(&server).await;
    let stream = deaf.socket.into_inner();
    let (tcp, _) = stream.into_inner();
    // Below TLS, where nobody answers a ping.
    let mut tcp = tcp;
    let mut rest = Vec::new();
    let _ = within("the end of the connection", tcp.read_to_end(&mut rest)).await;
    assert_eq!(metric(&server, "clients_cut_off_total{reason=\"silent\"}").await, 1);
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let server = server(Limits { ping_interval: 10 * SHORT, ..Limits::default() }).await;
    let mut client = Raw::connect(&server).await;
    // The second ping is sent only to a client that has answered the first.
    for _ in 0..2 {
        let message = within("a ping", client.socket.next()).await;
        assert!(matches!(message, Some(Ok(Message::Ping(_)))), "{message:?}");
    }
    client.is_undisturbed().await;
}
