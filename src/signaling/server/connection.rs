//! One client's WebSocket, from the greeting to the good-bye.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message, Utf8Bytes};

use super::hub::{Hub, Id};
use super::incoming::Refusal;
use super::limits::{Allowance, RateLimit};
use super::metrics::CutOff;
use super::outbox::{End, Outbox};
use super::tongue::{Own, Scene, Tongue};
use crate::signaling::certificate::random;
use crate::signaling::protocol::ErrorCode;

/// The default of 128 KiB, allocated at once, would be most of a client's memory.
const READ_BUFFER: usize = 4 << 10;
/// As much as fits one TLS record (RFC 8446, section 5.1): what is queued goes out in as few as possible.
const WRITE_BUFFER: usize = 16 << 10;

pub(super) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Serves one client of the hub's own protocol until its connection ends.
pub(super) async fn serve(hub: Arc<Hub>, stream: TlsStream<TcpStream>, already_read: Bytes) {
    let mut random_bits = [0; 16];
    if random(&mut random_bits).is_err() {
        return;
    }
    let id: Id = crate::signaling::hex(&random_bits).into();
    let socket = open(&hub, stream, already_read).await;
    let _ = attend(hub, id, socket, Own).await;
}

/// Takes a connection over from HTTP.
pub(super) async fn open(hub: &Hub, stream: TlsStream<TcpStream>, already_read: Bytes) -> Socket {
    open_for(hub.limits.message_bytes, stream, already_read).await
}

/// The same, for messages of up to this many bytes.
pub(super) async fn open_for(message_bytes: usize, stream: TlsStream<TcpStream>, already_read: Bytes) -> Socket {
    let limit = Some(message_bytes);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(limit)
        .max_frame_size(limit);
    WebSocketStream::from_partially_read(stream, already_read.into(), Role::Server, Some(config)).await
}

/// Serves one client under this id until its connection ends; gives the connection back if somebody has the id.
pub(super) async fn attend(hub: Arc<Hub>, id: Id, socket: Socket, tongue: impl Tongue) -> Result<(), Box<Socket>> {
    let now = Instant::now();
    let outbox = Arc::new(Outbox::new(&hub.limits));
    if !hub.register(id.clone(), outbox.clone(), tongue.wants_to_know_who_is_there(), tongue.token()) {
        return Err(Box::new(socket));
    }
    let _registration = Registration { hub: &hub, id: &id, outbox: outbox.clone() };
    let mut connection = Connection {
        hub: &hub,
        id: &id,
        tongue,
        due: None,
        socket,
        outbox,
        rate: RateLimit::new(&hub.limits, now),
        unflushed: false,
        heard: now,
        pinged: false,
        timer: Box::pin(sleep(hub.limits.ping_interval)),
    };
    connection.converse(|tongue, scene| tongue.greet(scene));
    let close = connection.run().await;
    // The others in the room need not wait for the good-bye.
    let waiting: Vec<_> =
        connection.outbox.take().into_iter().filter_map(|text| connection.tongue.hear(text)).collect();
    let socket = connection.socket;
    drop(_registration);
    if let Some(close) = close {
        let _ = timeout(hub.limits.farewell, say_goodbye(socket, waiting, close)).await;
    }
    Ok(())
}

/// Tells a client why it cannot be served, and ends its connection.
pub(super) async fn turn_away(hub: &Hub, socket: Socket, why: serde_json::Value) {
    let farewell = say_goodbye(socket, [why.to_string().into()], frame(CloseCode::Normal, ""));
    let _ = timeout(hub.limits.farewell, farewell).await;
}

/// Takes the client out of the hub, also when its task is cancelled.
struct Registration<'a> {
    hub: &'a Hub,
    id: &'a Id,
    outbox: Arc<Outbox>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.hub.unregister(self.id, &self.outbox);
    }
}

struct Connection<'a, T> {
    hub: &'a Hub,
    id: &'a Id,
    tongue: T,
    /// When the tongue wants to be asked.
    due: Option<Pin<Box<Sleep>>>,
    socket: Socket,
    outbox: Arc<Outbox>,
    rate: RateLimit,
    /// Something was written to the socket's buffer that has not all left it.
    unflushed: bool,
    /// The last sign of life.
    heard: Instant,
    /// Whether a ping has been sent since.
    pinged: bool,
    timer: Pin<Box<Sleep>>,
}

/// What a connection's task wakes up for.
enum Event {
    Frame(Message),
    /// The client closed, or the connection broke.
    Gone,
    /// The client sent what is no WebSocket message, or too large a one.
    Unreadable(WsError),
    End(End),
    Timer,
    /// It is time for the tongue.
    Due,
}

/// The close frame that a client gets, and what it is counted as.
type Close = Option<CloseFrame>;

impl<T: Tongue> Connection<'_, T> {
    /// Returns how to say good-bye, or `None` if there is nobody to say it to.
    async fn run(&mut self) -> Close {
        loop {
            match std::future::poll_fn(|cx| self.poll(cx)).await {
                Event::Frame(message) => {
                    self.heard = Instant::now();
                    self.pinged = false;
                    if let Some(close) = self.receive(&message) {
                        return Some(close);
                    }
                }
                Event::Gone => return None,
                Event::Unreadable(error) => return self.unreadable(&error),
                Event::End(End::Shutdown) => return Some(frame(CloseCode::Away, "the server is shutting down")),
                Event::End(End::Superseded) => return Some(frame(CloseCode::Normal, "connected again")),
                Event::End(End::Overflow) => {
                    self.cut_off(CutOff::SlowReader);
                    return None;
                }
                Event::Due => self.converse(|tongue, scene| tongue.lapse(scene, Instant::now())),
                Event::Timer => {
                    if let Some(close) = self.check_life() {
                        return Some(close);
                    }
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if let Poll::Ready(end) = self.outbox.poll_end(cx) {
            return Poll::Ready(Event::End(end));
        }
        if let Poll::Ready(Err(_)) = self.poll_send(cx) {
            return Poll::Ready(Event::Gone);
        }
        if let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(cx) {
            return Poll::Ready(match message {
                Some(Ok(message)) => Event::Frame(message),
                None | Some(Err(WsError::Io(_))) => Event::Gone,
                Some(Err(error)) => Event::Unreadable(error),
            });
        }
        if let Some(due) = &mut self.due
            && due.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Event::Due);
        }
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
    }

    /// Lets the tongue do something, after which it may be due at another time.
    fn converse(&mut self, what: impl FnOnce(&mut T, Scene<'_>)) {
        what(&mut self.tongue, Scene { hub: self.hub, id: self.id, outbox: &self.outbox });
        self.due = self.tongue.due().map(|due| Box::pin(sleep_until(due.into())));
    }

    /// Moves all that is queued into the socket's buffer, then flushes once; takes more only after that.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WsError>> {
        loop {
            if self.unflushed {
                ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
                self.unflushed = false;
            }
            let queued = self.outbox.take();
            if queued.is_empty() {
                return Poll::Ready(Ok(()));
            }
            for text in queued.into_iter().filter_map(|text| self.tongue.hear(text)) {
                Pin::new(&mut self.socket).start_send(Message::Text(text))?;
            }
            self.unflushed = true;
        }
    }

    fn receive(&mut self, message: &Message) -> Close {
        match self.rate.judge(&self.hub.limits, self.heard) {
            Allowance::Granted => {}
            Allowance::Dropped => {
                let limits = &self.hub.limits;
                let (rate, burst) = (limits.messages_per_second, limits.burst);
                let text = format!("dropped: more than {rate} messages/s after a burst of {burst}");
                self.refuse(&Refusal::new(ErrorCode::TooManyMessages, text));
                return None;
            }
            Allowance::Exhausted => {
                self.cut_off(CutOff::TooManyMessages);
                return Some(frame(CloseCode::Policy, "too many messages"));
            }
        }
        match message {
            Message::Text(text) => self.converse(|tongue, scene| tongue.act(scene, text)),
            Message::Binary(_) => {
                self.refuse(&Refusal::new(ErrorCode::Malformed, "messages are text frames, not binary"));
            }
            // The library answers pings and closes; a close is followed by the end of the stream.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
        None
    }

    fn refuse(&self, refusal: &Refusal) {
        Scene { hub: self.hub, id: self.id, outbox: &self.outbox }.refuse(refusal, None, None);
    }

    fn unreadable(&self, error: &WsError) -> Close {
        match error {
            WsError::Capacity(_) => {
                let limit = self.hub.limits.message_bytes;
                let text = format!("a message may have {limit} bytes");
                self.refuse(&Refusal::new(ErrorCode::TooLarge, text));
                self.cut_off(CutOff::TooLarge);
                Some(frame(CloseCode::Size, "message too large"))
            }
            WsError::Utf8(_) => {
                self.cut_off(CutOff::Malformed);
                Some(frame(CloseCode::Invalid, "a text frame is not UTF-8"))
            }
            // The client went without a closing handshake: nobody is there to hear it.
            WsError::Protocol(fault) if is_absence(fault) => None,
            WsError::Protocol(_) => {
                self.cut_off(CutOff::Malformed);
                Some(frame(CloseCode::Protocol, "broken WebSocket frame"))
            }
            _ => None,
        }
    }

    /// Pings a silent client, and gives one up that stays silent.
    fn check_life(&mut self) -> Close {
        let interval = self.hub.limits.ping_interval;
        let quiet = self.heard.elapsed();
        if quiet < interval {
            self.rearm(interval - quiet);
            return None;
        }
        if self.pinged {
            self.cut_off(CutOff::Silent);
            return Some(frame(CloseCode::Policy, "no answer to ping"));
        }
        self.pinged = true;
        // A failure shows at the next flush.
        let _ = Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new()));
        self.unflushed = true;
        self.rearm(interval);
        None
    }

    fn rearm(&mut self, delay: std::time::Duration) {
        self.timer.as_mut().reset(tokio::time::Instant::now() + delay);
    }

    fn cut_off(&self, reason: CutOff) {
        tracing::debug!(client = %self.id, ?reason, "cut off");
        self.hub.metrics.cut_off(reason);
    }
}

/// Sends what is waiting and the close frame, then reads on until the client has closed its side: a socket that is
/// closed with unread data resets the connection, and the client would lose the explanation.
pub(super) async fn say_goodbye(
    mut socket: Socket,
    waiting: impl IntoIterator<Item = Utf8Bytes>,
    close: CloseFrame,
) -> Result<(), WsError> {
    for text in waiting {
        socket.feed(Message::Text(text)).await?;
    }
    socket.send(Message::Close(Some(close))).await?;
    let mut stream = socket.into_inner();
    stream.shutdown().await?;
    let mut sink = vec![0; 16 << 10];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

pub(super) fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

fn is_absence(fault: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    matches!(fault, tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
}
