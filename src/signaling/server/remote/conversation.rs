//! The connection to one page, whose other end counts as hostile: it may say little, nothing unasked, and nothing that a
//! terminal would act upon. Whatever it does ends this connection only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::super::connection::{Socket, frame, open_for, say_goodbye, turn_away};
use super::super::hub::Hub;
use super::super::limits::{Allowance, RateLimit};
use super::{Call, Door, Guest, Line, QUEUE, Seat};

/// Bytes of one message: the statistics of a call are some ten thousand, with a dump of its descriptions more.
const MESSAGE_BYTES: usize = 1 << 20;
/// Bytes that a page may say at once, and per second in the long run: several times what the busiest call takes.
const BURST_BYTES: f64 = 8e6;
const BYTES_PER_SECOND: f64 = 500e3;
/// How long a call may take to be written.
const SEND_DEADLINE: Duration = Duration::from_secs(10);
/// Characters of what a browser calls itself, and of the reason of a failure.
const LONGEST_AGENT: usize = 300;
const LONGEST_REASON: usize = 500;

/// What a page says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    join: Option<Join>,
    id: Option<u64>,
    #[serde(default)]
    result: Value,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    agent: String,
    camera: bool,
}

/// How a conversation ends.
enum End {
    /// The page is gone: why, for the run.
    Left(String),
    /// The run needs the page no more.
    Over,
    /// The page is sent away: why, for the person and for the run.
    Refused(String),
}

/// Serves who comes with this token until the connection ends.
pub(in super::super) async fn serve(
    door: Arc<Door>,
    hub: Arc<Hub>,
    token: String,
    stream: TlsStream<TcpStream>,
    already_read: Bytes,
) {
    let socket = open_for(MESSAGE_BYTES, stream, already_read).await;
    let seat = match door.enter(&token) {
        Ok(seat) => seat,
        Err(why) => return turn_away(&hub, socket, json!({"refused": why})).await,
    };
    let (sender, calls) = mpsc::channel(QUEUE);
    let line = Line::default();
    let guest = Guest { agent: String::new(), camera: false, calls: sender, line: line.clone() };
    let now = Instant::now();
    let mut conversation = Conversation {
        hub: &hub,
        seat,
        guest: Some(guest),
        socket,
        calls,
        line: line.clone(),
        pending: BTreeMap::new(),
        made: 0,
        rate: RateLimit::new(&hub.limits, now),
        volume: Volume { left: BURST_BYTES, filled: now },
        heard: now,
    };
    let end = conversation.run().await;
    let (text, close) = match &end {
        End::Left(reason) => {
            line.end(reason);
            return;
        }
        End::Over => ("the call is over", None),
        End::Refused(reason) => (reason.as_str(), Some(json!({"refused": reason}).to_string())),
    };
    line.end(text);
    let Conversation { seat, socket, calls, pending, .. } = conversation;
    drop((seat, calls, pending));
    let code = if close.is_some() { CloseCode::Policy } else { CloseCode::Normal };
    let farewell = say_goodbye(socket, close.map(Into::into), frame(code, ""));
    let _ = timeout(hub.limits.farewell, farewell).await;
}

struct Conversation<'a> {
    hub: &'a Hub,
    seat: Seat,
    /// Until the person joins.
    guest: Option<Guest>,
    socket: Socket,
    calls: mpsc::Receiver<Call>,
    line: Line,
    /// Calls without an answer, by their ids.
    pending: BTreeMap<u64, oneshot::Sender<Result<Value, String>>>,
    /// How many calls were made.
    made: u64,
    rate: RateLimit,
    volume: Volume,
    /// The last sign of life.
    heard: Instant,
}

impl Conversation<'_> {
    async fn run(&mut self) -> End {
        let place = json!({"place": {"run": self.seat.door.run, "peer": self.seat.name}});
        if let Err(end) = self.send(Message::text(place.to_string())).await {
            return end;
        }
        let interval = self.hub.limits.ping_interval;
        let mut pings = tokio::time::interval(interval);
        let closed = self.seat.door.closed.clone();
        loop {
            let done = tokio::select! {
                said = self.socket.next() => self.hear(said),
                call = self.calls.recv() => match call {
                    Some(call) => self.call(call).await,
                    None => Err(End::Over),
                },
                () = closed.cancelled(), if self.guest.is_some() => {
                    Err(End::Refused("The run does not wait for anybody any more.".into()))
                }
                () = self.line.ended.cancelled() => Err(End::Over),
                _ = pings.tick() => {
                    if self.heard.elapsed() > 2 * interval {
                        Err(End::Left("the page fell silent".into()))
                    } else {
                        self.send(Message::Ping(Bytes::new())).await
                    }
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_DEADLINE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(lost()),
            Err(_) => Err(End::Left("the page takes nothing any more".into())),
        }
    }

    async fn call(&mut self, Call { function, args, answer }: Call) -> Result<(), End> {
        self.made += 1;
        self.pending.insert(self.made, answer);
        let text = json!({"id": self.made, "call": function, "args": args}).to_string();
        self.send(Message::text(text)).await
    }

    fn hear(&mut self, said: Option<Result<Message, WsError>>) -> Result<(), End> {
        let message = match said {
            Some(Ok(message)) => message,
            Some(Err(WsError::Capacity(_))) => {
                return Err(End::Refused(format!("the page sent a message of more than {MESSAGE_BYTES} bytes")));
            }
            None | Some(Err(_)) => return Err(lost()),
        };
        let now = Instant::now();
        self.heard = now;
        let within = self.rate.judge(&self.hub.limits, now) == Allowance::Granted;
        if !within || !self.volume.allows(message.len(), now) {
            return Err(End::Refused("the page sent more than a call can need".into()));
        }
        match message {
            Message::Text(text) => {
                self.act(&text).map_err(|why| End::Refused(format!("the page broke the protocol: {why}")))
            }
            Message::Close(_) => Err(End::Left("the page was closed or reloaded".into())),
            Message::Binary(_) => Err(End::Refused("the page sent a binary message".into())),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    fn act(&mut self, text: &str) -> Result<(), String> {
        let said: Said = serde_json::from_str(text).map_err(|error| shortened(&error.to_string(), LONGEST_REASON))?;
        match said {
            Said { join: Some(join), id: None, result: Value::Null, error: None } => {
                let guest = self.guest.take().ok_or("it joined twice")?;
                let agent = shortened(&join.agent, LONGEST_AGENT);
                self.seat.join(Guest { agent, camera: join.camera, ..guest }).map_err(str::to_owned)
            }
            Said { join: None, id: Some(id), result, error } => {
                let waiting =
                    self.pending.remove(&id).ok_or_else(|| format!("it answered call {id}, which is none"))?;
                // Who called may have given up.
                let _ = waiting.send(match error {
                    None => Ok(printable(result)),
                    Some(reason) => Err(shortened(&reason, LONGEST_REASON)),
                });
                Ok(())
            }
            _ => Err("its message neither joins nor answers".into()),
        }
    }
}

fn lost() -> End {
    End::Left("the connection to the page is lost".into())
}

/// How much a page may still say.
struct Volume {
    left: f64,
    filled: Instant,
}

impl Volume {
    fn allows(&mut self, bytes: usize, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * BYTES_PER_SECOND;
        self.left = (self.left + gained).min(BURST_BYTES) - bytes as f64;
        self.filled = now;
        self.left >= 0.0
    }
}

/// A text for people, on one line.
fn shortened(text: &str, longest: usize) -> String {
    text.chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The value without characters that could steer a terminal. Parsing has bounded its depth.
fn printable(value: Value) -> Value {
    let harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    match value {
        Value::String(text) if !text.chars().all(harmless) => {
            Value::String(text.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(printable).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, value)| (name, printable(value))).collect())
        }
        value => value,
    }
}
