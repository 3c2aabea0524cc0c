//! The client that native peers use.

mod error;
mod shared;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

pub use error::ClientError;
pub use shared::{Directory, Member, Seat};

use super::Endpoint;
use super::protocol::{ClientMessage, PROTOCOL, ServerMessage, WelcomeLimits};
use error::excerpt;

/// Descriptions with many codecs and candidates take some 10 kB; more than this is no signaling.
const MESSAGE_LIMIT: usize = 1 << 20;
/// The default of 128 KiB, allocated at once, would be most of a peer's memory.
const READ_BUFFER: usize = 4 << 10;
/// Messages are flushed one by one, so that nothing waits in this buffer.
const WRITE_BUFFER: usize = 4 << 10;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// A connection to a signaling server that has been greeted. Dropping it ends the connection.
///
/// No method has a deadline of its own: the caller sets one around it.
#[derive(Debug)]
pub struct Client {
    id: String,
    limits: WelcomeLimits,
    sender: Sender,
    receiver: Receiver,
    /// If the connection is that of a person with several calls, the place of this one.
    seat: Option<Seat>,
    pings: u64,
}

impl Client {
    /// Connects, and returns once the server's greeting has come.
    ///
    /// # Errors
    ///
    /// Each way in which this can fail has its own [`ClientError`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        let target = Target::parse(&endpoint.url)?;
        let tcp = target.connect().await?;
        let tls = TlsConnector::from(endpoint.tls.clone())
            .connect(target.name.clone(), tcp)
            .await
            .map_err(|error| ClientError::from_tls(&target.host, error))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let upgrade = tokio_tungstenite::client_async_with_config(endpoint.url.as_str(), tls, Some(config));
        let (socket, _) = upgrade.await.map_err(|error| ClientError::from_upgrade(&endpoint.url, error))?;

        let (sink, stream) = socket.split();
        let sender = Sender { sink: Arc::new(Mutex::new(sink)), is_shared: false };
        let mut receiver = Receiver::new(Link::Own(stream));
        match receiver.next().await? {
            ServerMessage::Welcome { protocol: PROTOCOL, id, limits } => {
                Ok(Self { id, limits, sender, receiver, seat: None, pings: 0 })
            }
            other => Err(ClientError::Protocol {
                detail: format!("the first message must be a welcome of protocol {PROTOCOL}"),
                quote: excerpt(&format!("{other:?}")),
            }),
        }
    }

    /// The id that this client has for others, for the life of the connection.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the server allows.
    pub fn limits(&self) -> WelcomeLimits {
        self.limits
    }

    /// Enters a room and returns the ids of the clients that were there already. On a connection that calls of one person
    /// share, the person is who enters, and only the other one of the call is told of.
    ///
    /// # Errors
    ///
    /// [`ClientError::Server`] if the server does not let it in; otherwise a broken connection.
    pub async fn join(&mut self, room: &str) -> Result<Vec<String>, ClientError> {
        if let Some(seat) = &self.seat {
            return seat.join().await;
        }
        self.sender.send(&ClientMessage::Join { room: room.to_owned() }).await?;
        let reply = self.receiver.find(|message| match message {
            ServerMessage::Joined { peers, .. } => Ok(Ok(peers)),
            ServerMessage::Error { code, message, about, .. }
                if about.as_deref().is_none_or(|about| about == "join") =>
            {
                Ok(Err(ClientError::Server { code, message }))
            }
            other => Err(other),
        });
        reply.await?
    }

    /// Measures the round trip to the server and back. Messages that arrive meanwhile stay for [`Receiver::next`].
    ///
    /// # Errors
    ///
    /// As of [`join`](Self::join).
    pub async fn ping(&mut self) -> Result<Duration, ClientError> {
        self.pings += 1;
        let nonce = match &self.seat {
            Some(seat) => seat.nonce().into(),
            None => serde_json::Value::from(self.pings),
        };
        let start = Instant::now();
        self.sender.send(&ClientMessage::Ping { nonce: nonce.clone() }).await?;
        let reply = self.receiver.find(|message| match message {
            ServerMessage::Pong { nonce: came } if came == nonce => Ok(Ok(start.elapsed())),
            ServerMessage::Error { code, message, about, .. } if about.as_deref() == Some("ping") => {
                Ok(Err(ClientError::Server { code, message }))
            }
            other => Err(other),
        });
        reply.await?
    }

    /// The two directions, for two tasks. The connection ends when both are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// The sending direction. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    sink: Arc<Mutex<SplitSink<Socket, Message>>>,
    /// Whether the connection is not this sender's to close.
    is_shared: bool,
}

impl Sender {
    /// The same connection for somebody who may not close it.
    fn shared(&self) -> Self {
        Self { sink: Arc::clone(&self.sink), is_shared: true }
    }

    /// Sends a message: returns once it has been handed to the operating system.
    ///
    /// # Errors
    ///
    /// The connection is closed or broken; why, the [`Receiver`] knows better.
    pub async fn send(&self, message: &ClientMessage) -> Result<(), ClientError> {
        let text = serde_json::to_string(message).map_err(|error| ClientError::Io(error.into()))?;
        self.sink.lock().await.send(Message::text(text)).await.map_err(ClientError::from_socket)
    }

    /// Says good-bye (close code 1000); what it cannot say any more does not matter. A connection that calls share stays
    /// open.
    pub async fn close(&self) {
        if self.is_shared {
            return;
        }
        let farewell = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };
        let _ = self.sink.lock().await.send(Message::Close(Some(farewell))).await;
    }
}

/// The receiving direction.
#[derive(Debug)]
pub struct Receiver {
    link: Link,
    /// What came while something else was waited for.
    waiting: VecDeque<ServerMessage>,
}

/// Where messages come from.
#[derive(Debug)]
enum Link {
    Own(SplitStream<Socket>),
    Shared(Inbox),
}

/// What comes for one of the calls that share a connection.
#[derive(Debug)]
struct Inbox {
    messages: mpsc::UnboundedReceiver<ServerMessage>,
    /// Why there are no more.
    closed: Arc<OnceLock<Arc<ClientError>>>,
}

impl Receiver {
    fn new(link: Link) -> Self {
        Self { link, waiting: VecDeque::new() }
    }

    /// The next message, in the order in which the server sent them. Cancel-safe. WebSocket pings of the server are
    /// answered only while this is awaited.
    ///
    /// # Errors
    ///
    /// The connection was closed or broke, or the server broke the protocol. An `error` message of the server is a
    /// message, not an error.
    pub async fn next(&mut self) -> Result<ServerMessage, ClientError> {
        match self.waiting.pop_front() {
            Some(message) => Ok(message),
            None => self.receive().await,
        }
    }

    /// What `pick` makes of the first message that it takes; those that it gives back stay for `next`.
    async fn find<T>(&mut self, pick: impl Fn(ServerMessage) -> Result<T, ServerMessage>) -> Result<T, ClientError> {
        loop {
            match pick(self.receive().await?) {
                Ok(found) => return Ok(found),
                Err(message) => self.waiting.push_back(message),
            }
        }
    }

    async fn receive(&mut self) -> Result<ServerMessage, ClientError> {
        let closed = || ClientError::Closed { code: None, reason: String::new() };
        let stream = match &mut self.link {
            Link::Own(stream) => stream,
            Link::Shared(inbox) => {
                let message = inbox.messages.recv().await;
                return message.ok_or_else(|| inbox.closed.get().cloned().map_or_else(closed, ClientError::Shared));
            }
        };
        loop {
            match stream.next().await.ok_or_else(closed)?.map_err(ClientError::from_socket)? {
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(ServerMessage::Unknown) => {}
                    Ok(message) => return Ok(message),
                    Err(error) => {
                        return Err(ClientError::Protocol { detail: error.to_string(), quote: excerpt(&text) });
                    }
                },
                Message::Close(Some(frame)) => {
                    return Err(ClientError::Closed {
                        code: Some(frame.code.into()),
                        reason: frame.reason.as_str().to_owned(),
                    });
                }
                Message::Close(None) => return Err(closed()),
                Message::Binary(data) => {
                    let detail = "messages are text frames".to_owned();
                    return Err(ClientError::Protocol { detail, quote: format!("{} bytes of binary", data.len()) });
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

/// Where a URL leads.
struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
}

impl Target {
    fn parse(url: &str) -> Result<Self, ClientError> {
        let fault = |detail: &str| ClientError::Url { url: url.to_owned(), detail: detail.to_owned() };
        let uri: Uri = url.parse().map_err(|error| fault(&format!("{error}")))?;
        if uri.scheme_str() != Some("wss") {
            return Err(fault("its scheme is not wss"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| fault("it has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(host.clone()).map_err(|_| fault("its host is neither a name nor an address"))?;
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), name })
    }

    /// Tries the host's addresses in turn; the error is that of the last one.
    async fn connect(&self) -> Result<TcpStream, ClientError> {
        let mut last = None;
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let at = |error| ClientError::from_tcp(address.to_string(), error);
                    stream.set_nodelay(true).map_err(at)?;
                    return Ok(stream);
                }
                Err(error) => last = Some(ClientError::from_tcp(address.to_string(), error)),
            }
        }
        let nothing = || io::Error::other("the resolver gives no address");
        Err(last.unwrap_or_else(|| ClientError::Dns { host: self.host.clone(), source: nothing() }))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, ClientError> {
        // Without the blocking pool of the resolver for the common case of a run on this machine.
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await {
            Ok(addresses) => Ok(addresses.collect()),
            Err(source) => Err(ClientError::Dns { host: self.host.clone(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_host_and_port() {
        let target = Target::parse("wss://[::1]:8443/ws").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 8443));
        let target = Target::parse("wss://example.com/ws").unwrap();
        assert_eq!((target.host.as_str(), target.port), ("example.com", 443));
    }

    #[test]
    fn other_urls_are_refused_with_the_reason() {
        for (url, reason) in [
            ("ws://example.com/ws", "scheme"),
            ("https://example.com/ws", "scheme"),
            ("wss:///ws", ""),
            ("example.com", "scheme"),
            ("wss://exa mple/ws", ""),
        ] {
            let error = Target::parse(url).err().unwrap_or_else(|| panic!("{url}")).to_string();
            assert!(error.contains(reason) && error.contains(url), "{error}");
        }
    }
}
