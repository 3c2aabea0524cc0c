//! One client's WebSocket, from the greeting to the good-bye.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message, Utf8Bytes};

use super::hub::{Hub, Id, encode};
use super::incoming::{Incoming, Refusal};
use super::limits::{Allowance, RateLimit};
use super::metrics::CutOff;
use super::outbox::{End, Outbox};
use crate::signaling::certificate::random;
use crate::signaling::protocol::{ErrorCode, PROTOCOL, ServerMessage, WelcomeLimits};

/// The default of 128 KiB, allocated at once, would be most of a client's memory.
const READ_BUFFER: usize = 4 << 10;
/// As much as fits one TLS record (RFC 8446, section 5.1): what is queued goes out in as few as possible.
const WRITE_BUFFER: usize = 16 << 10;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Serves one client until its connection ends.
pub(super) async fn serve(hub: Arc<Hub>, stream: TlsStream<TcpStream>, already_read: Bytes) {
    let mut random_bits = [0; 16];
    if random(&mut random_bits).is_err() {
        return;
    }
    let id: Id = crate::signaling::hex(&random_bits).into();
    let limit = Some(hub.limits.message_bytes);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(limit)
        .max_frame_size(limit);
    let socket = WebSocketStream::from_partially_read(stream, already_read.into(), Role::Server, Some(config)).await;
    let now = Instant::now();
    let outbox = Arc::new(Outbox::new(&hub.limits));
    outbox.push(encode(&ServerMessage::Welcome {
        protocol: PROTOCOL,
        id: id.to_string(),
        limits: WelcomeLimits {
            message_bytes: hub.limits.message_bytes,
            messages_per_second: hub.limits.messages_per_second,
            burst: hub.limits.burst,
        },
    }));
    hub.register(id.clone(), outbox.clone());
    let _registration = Registration { hub: &hub, id: &id };
    let mut connection = Connection {
        hub: &hub,
        id: &id,
        socket,
        outbox,
        rate: RateLimit::new(&hub.limits, now),
        unflushed: false,
        heard: now,
        pinged: false,
        timer: Box::pin(sleep(hub.limits.ping_interval)),
    };
    let close = connection.run().await;
    let socket = connection.socket;
    // The others in the room need not wait for the good-bye.
    let waiting = connection.outbox.take();
    drop(_registration);
    if let Some(close) = close {
        let _ = timeout(hub.limits.farewell, say_goodbye(socket, waiting, close)).await;
    }
}

/// Takes the client out of the hub, also when its task is cancelled.
struct Registration<'a> {
    hub: &'a Hub,
    id: &'a Id,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.hub.unregister(self.id);
    }
}

struct Connection<'a> {
    hub: &'a Hub,
    id: &'a Id,
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
}

/// The close frame that a client gets, and what it is counted as.
type Close = Option<CloseFrame>;

impl Connection<'_> {
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
                Event::End(End::Overflow) => {
                    self.cut_off(CutOff::SlowReader);
                    return None;
                }
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
        self.timer.as_mut().poll(cx).map(|()| Event::Timer)
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
            for text in queued {
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
                self.refuse(&Refusal::new(ErrorCode::TooManyMessages, text), None);
                return None;
            }
            Allowance::Exhausted => {
                self.cut_off(CutOff::TooManyMessages);
                return Some(frame(CloseCode::Policy, "too many messages"));
            }
        }
        match message {
            Message::Text(text) => {
                let incoming = Incoming::parse(text);
                let outcome = match &incoming {
                    Ok(incoming) => self.act(incoming, text.len()),
                    Err(refusal) => Err(Refusal::new(refusal.code, refusal.message.clone())),
                };
                if let Err(refusal) = outcome {
                    self.refuse(&refusal, incoming.as_ref().ok());
                }
            }
            Message::Binary(_) => {
                self.refuse(&Refusal::new(ErrorCode::Malformed, "messages are text frames, not binary"), None);
            }
            // The library answers pings and closes; a close is followed by the end of the stream.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {}
        }
        None
    }

    fn act(&self, incoming: &Incoming<'_>, length: usize) -> Result<(), Refusal> {
        let kind = incoming.string("type")?;
        match kind.as_ref() {
            "offer" | "answer" | "candidate" => {
                let to = incoming.string("to")?;
                self.hub.relay(self.id, &to, || incoming.relayed(&kind, self.id, length))
            }
            "join" => self.hub.join(self.id, &incoming.string("room")?),
            "leave" => self.hub.leave(self.id),
            "ping" => {
                let missing = || Refusal::new(ErrorCode::Malformed, "the member \"nonce\" is missing");
                let nonce = incoming.raw("nonce").ok_or_else(missing)?;
                self.outbox.push(format!("{{\"type\":\"pong\",\"nonce\":{}}}", nonce.get()).into());
                Ok(())
            }
            _ => Err(Refusal::new(
                ErrorCode::UnknownType,
                "the types are join, leave, offer, answer, candidate and ping",
            )),
        }
    }

    fn refuse(&self, refusal: &Refusal, incoming: Option<&Incoming<'_>>) {
        self.hub.metrics.error(refusal.code);
        self.outbox.push(encode(&ServerMessage::Error {
            code: refusal.code,
            message: refusal.message.to_string(),
            about: incoming.and_then(|incoming| incoming.echo("type")),
            to: incoming.and_then(|incoming| incoming.echo("to")),
        }));
    }

    fn unreadable(&self, error: &WsError) -> Close {
        match error {
            WsError::Capacity(_) => {
                let limit = self.hub.limits.message_bytes;
                let text = format!("a message may have {limit} bytes");
                self.refuse(&Refusal::new(ErrorCode::TooLarge, text), None);
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
async fn say_goodbye(
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

fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: Utf8Bytes::from_static(reason) }
}

fn is_absence(fault: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    matches!(fault, tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)
}
