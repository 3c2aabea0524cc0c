//! The client that native peers use, whatever the server speaks.

mod error;
mod http;
mod shared;
mod target;

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::sleep_until;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, InvalidHeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{self as messages, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

pub use error::ClientError;
pub(crate) use error::excerpt;
pub use shared::{Directory, Member, Seat};

use self::error::shown;
use self::target::Target;
use super::Endpoint;
use super::dialect::{Attendance, Dialect, Meeting, Opening, Place, Request, Response};
use super::protocol::{ClientMessage, ServerMessage};
use crate::plan::Layer;

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
    sender: Sender,
    receiver: Receiver,
    /// If the connection is that of a person with several calls, the place of this one.
    seat: Option<Seat>,
    /// Where peers of the run find each other if the server does not tell.
    meeting: Meeting,
    /// The peer whose media it wants, from a server that passes media on.
    feed: Option<String>,
    pings: u64,
}

impl Client {
    /// Connects, and returns once the server's greeting has come.
    ///
    /// # Errors
    ///
    /// Each way in which this can fail has its own [`ClientError`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ClientError> {
        Self::connect_for(endpoint, Place::default(), |_| {}).await
    }

    /// As [`connect`](Self::connect), for servers that want to know beforehand where the client is going to be. Its room still
    /// has to be joined. `reached` hears how far the opening is.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub async fn connect_for(
        endpoint: &Endpoint,
        place: Place<'_>,
        mut reached: impl FnMut(Reached<'_>),
    ) -> Result<Self, ClientError> {
        let Opening { url, subprotocol, bearer, dialect } = endpoint.protocol.connect(&endpoint.url, place)?;
        if endpoint.protocol.is_http() {
            let (requests, answers) = http::start(endpoint.tls.clone());
            return Self::greeted(endpoint, place, dialect, Sink::Http(requests), Source::Http(answers), |_| {}).await;
        }
        let target = Target::parse(&url)?;
        let tcp = target.connect().await?;
        reached(Reached::Tcp);
        let tls = TlsConnector::from(endpoint.tls.clone())
            .connect(target.name.clone(), tcp)
            .await
            .map_err(|error| ClientError::from_tls(&target.host, error))?;
        reached(Reached::Tls);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_message_size(Some(MESSAGE_LIMIT))
            .max_frame_size(Some(MESSAGE_LIMIT));
        let request = request(&url, subprotocol, bearer.as_deref())?;
        let upgrade = tokio_tungstenite::client_async_with_config(request, tls, Some(config));
        let (socket, _) = upgrade
            .await
            .map_err(|error| target.not_upgraded(ClientError::from_upgrade(&url, error, bearer.as_deref())))?;

        let (sink, stream) = socket.split();
        let (sink, source) = (Sink::Socket(Mutex::new(sink)), Source::Socket(stream));
        Self::greeted(endpoint, place, dialect, sink, source, |sender| reached(Reached::WebSocket(sender))).await
    }

    /// Returns once the server's greeting has come.
    async fn greeted(
        endpoint: &Endpoint,
        place: Place<'_>,
        dialect: Box<dyn Dialect>,
        sink: Sink,
        source: Source,
        opened: impl FnOnce(&Sender),
    ) -> Result<Self, ClientError> {
        let line = Arc::new(Line { sink, dialect: std::sync::Mutex::new(dialect), wake: Notify::new() });
        let meeting = endpoint.meeting.clone();
        let publisher =
            place.peer.map(|peer| Publisher { peer: peer.to_owned(), meeting: meeting.clone(), is_answered: false });
        let mut receiver = Receiver::new(Link::Own { source, line: Arc::clone(&line), attendance: None, publisher });
        let sender = Sender { line: Arc::clone(&line), is_shared: false };
        opened(&sender);
        // Some servers are spoken to first.
        line.flush().await?;
        let id = match receiver.next().await? {
            ServerMessage::Welcome { id, .. } => id,
            other => {
                let detail = "the greeting must come first".to_owned();
                return Err(ClientError::Protocol { detail, quote: excerpt(&format!("{other:?}")) });
            }
        };
        Ok(Self { id, sender, receiver, seat: None, meeting, feed: place.feed.map(str::to_owned), pings: 0 })
    }

    /// The id that this client has for others, for the life of the connection.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The sending direction.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Waits until the peer whose media it wants publishes that; others want none. To be called before joining.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unpublished`]: that peer has failed.
    pub async fn find_feed(&mut self) -> Result<(), ClientError> {
        let Some(publisher) = &self.feed else { return Ok(()) };
        let why = |why| ClientError::Unpublished { publisher: publisher.clone(), why };
        let feed = self.meeting.feed(publisher).await.map_err(why)?;
        self.sender.line.dialect().follow(feed);
        Ok(())
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
        let present = reply.await??;
        match &mut self.receiver.link {
            Link::Own { line, attendance, .. } if !line.dialect().tells_who_is_there() => {
                let (own, present) = self.meeting.enter(room, &self.id);
                *attendance = Some(own);
                Ok(present)
            }
            _ => Ok(present),
        }
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

/// How far the opening of a connection is.
#[derive(Debug)]
pub enum Reached<'a> {
    /// The server accepted TCP.
    Tcp,
    /// The handshake of TLS is complete.
    Tls,
    /// The WebSocket is open; a greeting has still to come.
    WebSocket(&'a Sender),
}

/// Where what is said goes.
#[derive(Debug)]
enum Sink {
    Socket(Mutex<SplitSink<Socket, Message>>),
    Http(mpsc::UnboundedSender<Request>),
}

/// Where what is heard comes from.
#[derive(Debug)]
enum Source {
    Socket(SplitStream<Socket>),
    Http(mpsc::UnboundedReceiver<Result<Response, ClientError>>),
}

/// What came.
enum Input {
    Frame(Message),
    Response(Response),
}

impl Source {
    async fn next(&mut self) -> Result<Input, ClientError> {
        let closed = || ClientError::Closed { code: None, reason: String::new() };
        match self {
            Self::Socket(stream) => {
                let frame = stream.next().await.ok_or_else(closed)?.map_err(ClientError::from_socket)?;
                match frame {
                    Message::Close(Some(frame)) => {
                        Err(ClientError::Closed { code: Some(frame.code.into()), reason: excerpt(&frame.reason) })
                    }
                    Message::Close(None) => Err(closed()),
                    frame => Ok(Input::Frame(frame)),
                }
            }
            Self::Http(answers) => answers.recv().await.ok_or_else(closed)?.map(Input::Response),
        }
    }
}

/// A connection, as both directions use it.
#[derive(Debug)]
struct Line {
    sink: Sink,
    dialect: std::sync::Mutex<Box<dyn Dialect>>,
    /// There is something to hear that did not come from the server.
    wake: Notify,
}

impl Line {
    fn dialect(&self) -> MutexGuard<'_, Box<dyn Dialect>> {
        self.dialect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what waits for it, in its order.
    async fn flush(&self) -> Result<(), ClientError> {
        let sink = match &self.sink {
            Sink::Socket(sink) => sink,
            Sink::Http(requests) => {
                // Answers, and what went wrong, come to the receiver.
                self.dialect().waiting().requests.drain(..).for_each(|request| drop(requests.send(request)));
                return Ok(());
            }
        };
        if self.dialect().waiting().frames.is_empty() {
            return Ok(());
        }
        let mut sink = sink.lock().await;
        loop {
            let Some(frame) = self.dialect().waiting().frames.pop_front() else { return Ok(()) };
            sink.send(frame).await.map_err(ClientError::from_socket)?;
        }
    }
}

/// The sending direction. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sender {
    line: Arc<Line>,
    /// Whether the connection is not this sender's to close.
    is_shared: bool,
}

impl Sender {
    /// The same connection for somebody who may not close it.
    fn shared(&self) -> Self {
        Self { line: Arc::clone(&self.line), is_shared: true }
    }

    /// Sends a message: returns once it has been handed to the operating system.
    ///
    /// # Errors
    ///
    /// The connection is closed or broken; why, the [`Receiver`] knows better.
    pub async fn send(&self, message: &ClientMessage) -> Result<(), ClientError> {
        let answers_itself = {
            let mut dialect = self.line.dialect();
            dialect.say(message)?;
            !dialect.waiting().messages.is_empty()
        };
        if answers_itself {
            self.line.wake.notify_one();
        }
        self.line.flush().await
    }

    /// Asks for this layer of simulcast, of the media that the server passes on: returns as [`send`](Self::send) does.
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub async fn ask_for(&self, layer: Layer) -> Result<(), ClientError> {
        self.line.dialect().ask_for(layer);
        self.line.flush().await
    }

    /// What came of the server that nobody could make anything of, or what it refused, for whoever waits in vain.
    pub fn unexpected(&self) -> Option<String> {
        self.line.dialect().unexpected()
    }

    /// Says good-bye (close code 1000); what it cannot say any more does not matter. A connection that calls share stays
    /// open.
    pub async fn close(&self) {
        if self.is_shared {
            return;
        }
        if self.line.dialect().says_goodbye() {
            let _ = self.send(&ClientMessage::Leave).await;
        }
        if let Sink::Socket(sink) = &self.line.sink {
            let farewell = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::from_static("") };
            let _ = sink.lock().await.send(Message::Close(Some(farewell))).await;
        }
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
    Own {
        source: Source,
        line: Arc<Line>,
        /// If the server does not tell who comes.
        attendance: Option<Attendance>,
        /// Until others have been told what to follow to get its media.
        publisher: Option<Publisher>,
    },
    Shared(Inbox),
}

/// A peer whose media others may want.
#[derive(Debug)]
struct Publisher {
    peer: String,
    /// Who is told what to follow to get it.
    meeting: Meeting,
    is_answered: bool,
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
        let (source, line, attendance, publisher) = match &mut self.link {
            Link::Own { source, line, attendance, publisher } => (source, line, attendance, publisher),
            Link::Shared(inbox) => {
                let message = inbox.messages.recv().await;
                return message.ok_or_else(|| inbox.closed.get().cloned().map_or_else(closed, ClientError::Shared));
            }
        };
        loop {
            let timeout = {
                let mut dialect = line.dialect();
                let message = dialect.waiting().messages.pop_front();
                if let Some(it) = publisher {
                    // Not earlier: what it publishes is complete then.
                    it.is_answered |= matches!(message, Some(ServerMessage::Answer { .. }));
                    if let Some(feed) = it.is_answered.then(|| dialect.feed()).flatten() {
                        it.meeting.announce(&it.peer, feed);
                        *publisher = None;
                    }
                }
                match message {
                    Some(ServerMessage::Error { code, message, about, to }) => {
                        return Ok(ServerMessage::Error { code, message: shown(&message), about, to });
                    }
                    Some(message) => return Ok(message),
                    None => {}
                }
                dialect.poll_timeout()
            };
            tokio::select! {
                input = source.next() => match input? {
                    Input::Frame(frame) => line.dialect().handle_frame(frame, Instant::now())?,
                    Input::Response(response) => line.dialect().handle_response(response)?,
                },
                () = due(timeout) => line.dialect().handle_timeout(Instant::now())?,
                () = line.wake.notified() => {}
                Some(news) = news(attendance) => return Ok(news),
            }
            line.flush().await?;
        }
    }
}

/// What a WebSocket is asked for with.
fn request(
    url: &str,
    subprotocol: Option<&'static str>,
    bearer: Option<&str>,
) -> Result<messages::Request<()>, ClientError> {
    let mut request = url.into_client_request().map_err(|error| ClientError::from_upgrade(url, error, None))?;
    if let Some(subprotocol) = subprotocol {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    if let Some(bearer) = bearer {
        let wrong = |error: InvalidHeaderValue| ClientError::from_url(url, error.to_string());
        let mut value = HeaderValue::from_str(&format!("Bearer {bearer}")).map_err(wrong)?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// Waits until a time that may never come.
async fn due(timeout: Option<Instant>) {
    match timeout {
        Some(timeout) => sleep_until(timeout.into()).await,
        None => std::future::pending().await,
    }
}

/// Who comes, where the server does not tell.
async fn news(attendance: &mut Option<Attendance>) -> Option<ServerMessage> {
    match attendance {
        Some(attendance) => attendance.news.recv().await,
        None => std::future::pending().await,
    }
}
