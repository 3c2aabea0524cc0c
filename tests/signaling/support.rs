//! What the tests of the signaling server share: a server of their own, and a client that can misbehave.
#![allow(dead_code, unreachable_pub, missing_docs)]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use harness::signaling::{Endpoint, Identity, Limits, Page, Server, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Far beyond what anything here takes: a test that runs into it has failed.
const DEADLINE: Duration = Duration::from_secs(30);

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

pub async fn server(limits: Limits) -> Server {
    let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let identity = Identity::generate(&[]).unwrap();
    let pages =
        vec![Page { path: "/".into(), content_type: "text/html; charset=utf-8".into(), body: "<p>hello".into() }];
    Server::start(ServerConfig { listen, identity, pages, limits }).await.unwrap()
}

/// A TLS connection to the server.
pub async fn tls(server: &Server) -> TlsStream<TcpStream> {
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let connector = TlsConnector::from(server.endpoint().tls);
    within("TLS", connector.connect("127.0.0.1".try_into().unwrap(), tcp)).await.unwrap()
}

/// Sends a request as it stands, and returns head and body of the answer.
pub async fn http(server: &Server, request: &str) -> (String, String) {
    let mut stream = tls(server).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Some servers' peers skip the close_notify; what came is what counts.
    let _ = within("an HTTP answer", stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
    (head.to_owned(), body.to_owned())
}

pub async fn get(server: &Server, path: &str) -> (String, String) {
    http(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

/// The value of a metric of the server; `name` with its labels.
pub async fn metric(server: &Server, name: &str) -> u64 {
    let (_, body) = get(server, "/metrics").await;
    let line = body.lines().find_map(|line| line.strip_prefix(&format!("harness_signaling_{name} ")));
    line.unwrap_or_else(|| panic!("no metric {name} in {body}")).parse().unwrap()
}

/// A client that sends whatever it is told to.
pub struct Raw {
    pub id: String,
    pub socket: WebSocketStream<TlsStream<TcpStream>>,
}

impl Raw {
    pub async fn connect(server: &Server) -> Self {
        let Endpoint { url, .. } = server.endpoint();
        let stream = tls(server).await;
        let (socket, _) = within("the upgrade", tokio_tungstenite::client_async(url, stream)).await.unwrap();
        let mut raw = Self { id: String::new(), socket };
        let welcome = raw.next().await;
        assert_eq!(welcome["type"], "welcome");
        raw.id = welcome["id"].as_str().unwrap().to_owned();
        raw
    }

    /// Connects and joins; returns once that is confirmed.
    pub async fn join(server: &Server, room: &str) -> Self {
        let mut raw = Self::connect(server).await;
        raw.send(&json!({"type": "join", "room": room})).await;
        assert_eq!(raw.next().await["type"], "joined");
        raw
    }

    /// Two clients in one room, neither with anything left to read.
    pub async fn pair(server: &Server) -> (Self, Self) {
        let mut a = Self::join(server, "room").await;
        let b = Self::join(server, "room").await;
        assert_eq!(a.next().await, json!({"type": "peer-joined", "id": b.id}));
        (a, b)
    }

    pub async fn send(&mut self, message: &Value) {
        self.send_text(message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: impl Into<String>) {
        within("sending", self.socket.send(Message::text(text.into()))).await.unwrap();
    }

    /// The next JSON message.
    pub async fn next(&mut self) -> Value {
        loop {
            match within("a message", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("no message but {other:?}"),
            }
        }
    }

    /// The close code, past any messages; `None` if the connection ended without one.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match within("the end", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(Error::Io(_) | Error::Protocol(_))) | None => return None,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// Proves that nothing is in the way to this client and that nothing else is on it: the next message is the pong.
    pub async fn is_undisturbed(&mut self) {
        self.send(&json!({"type": "ping", "nonce": "still here"})).await;
        assert_eq!(self.next().await, json!({"type": "pong", "nonce": "still here"}));
    }
}
