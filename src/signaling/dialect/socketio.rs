//! socket.io, version 4 (its protocol 5), over a WebSocket of Engine.IO 4.
//!
//! What the events mean is the application's affair: a [`SocketIo`] says which of them are offers, answers and candidates.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::engineio::{self, Heartbeat, Packet};
use super::template::{Words, brings_signaling, encode, read_candidate, read_description};
use super::unexpected::Unexpected;
use super::{Dialect, Exchange, Hear, Opening, Place, Say, SocketIo, Waiting};
use crate::plan::Role;
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, ErrorCode, ServerMessage};
use crate::signaling::redact::{HIDDEN, SHORTEST_SECRET, redacted_answer};

/// Who the other one is where the application does not say.
const THE_OTHER: &str = "the other";

/// A connection that is about to be opened.
pub(super) fn open(mapping: &Arc<SocketIo>, url: &str, place: Place<'_>) -> Opening {
    let words = Words::new(None, place);
    let query = mapping
        .query
        .iter()
        .fold(String::new(), |query, (name, value)| query + "&" + &encode(name) + "=" + &encode(&words.text(value)));
    let root = url.trim_end_matches('/');
    let path = mapping.path.trim_start_matches('/');
    let url = format!("{root}/{path}?EIO={}&transport=websocket{query}", engineio::VERSION);
    let connection = Connection { url: url.clone(), ..Connection::new(Arc::clone(mapping), place) };
    Opening::new(url, Box::new(connection))
}

/// One client's connection to one namespace.
#[derive(Debug)]
struct Connection {
    mapping: Arc<SocketIo>,
    room: Option<String>,
    role: Option<Role>,
    waiting: Waiting,
    heartbeat: Heartbeat,
    /// The socket's id, and the one that the application gave.
    socket_id: Option<String>,
    id: Option<String>,
    /// Who was there, if the application said so before it was asked.
    present: Option<Vec<String>>,
    /// The room that is being entered.
    joining: Option<String>,
    /// Events that wait for their acknowledgement, by number.
    unacknowledged: BTreeMap<u64, String>,
    next_ack: u64,
    /// Whom the client last spoke to.
    other: Option<String>,
    /// Events that nobody waits for.
    unexpected: Unexpected,
    /// As it was opened: its query may hold secrets, as may what is given on connecting.
    url: String,
    auth: Option<Value>,
    /// Binary attachments that are still to come; they are not read.
    attachments: usize,
}

impl Connection {
    fn new(mapping: Arc<SocketIo>, place: Place<'_>) -> Self {
        Self {
            mapping,
            room: place.room.map(str::to_owned),
            role: place.role,
            waiting: Waiting::default(),
            heartbeat: Heartbeat::default(),
            socket_id: None,
            id: None,
            present: None,
            joining: None,
            unacknowledged: BTreeMap::new(),
            next_ack: 0,
            other: None,
            unexpected: Unexpected::default(),
            url: String::new(),
            auth: None,
            attachments: 0,
        }
    }

    fn words(&self) -> Words<'static> {
        Words::new(self.id.as_deref(), Place { room: self.room.as_deref(), role: self.role, ..Place::default() })
    }

    /// A packet of socket.io for the namespace.
    fn packet(&mut self, kind: &str, content: &str) {
        let namespace = match self.mapping.namespace.as_str() {
            "/" | "" => String::new(),
            other => format!("{other},"),
        };
        let (kind, ack) = kind.split_once('#').unwrap_or((kind, ""));
        self.waiting.text(format!("4{kind}{namespace}{ack}{content}"));
    }

    fn emit(&mut self, event: &str, args: &[Value], ack: bool, words: &Words<'_>) {
        let event_and_args: Vec<_> =
            std::iter::once(event.into()).chain(args.iter().map(|argument| words.fill(argument))).collect();
        let mut kind = "2".to_owned();
        if ack {
            kind += &format!("#{}", self.next_ack);
            self.unacknowledged.insert(self.next_ack, event.to_owned());
            self.next_ack += 1;
        }
        self.packet(&kind, &Value::from(event_and_args).to_string());
    }

    fn exchange(&mut self, exchange: Option<&Exchange>, message: &ClientMessage, to: &str) -> Result<(), ClientError> {
        let Some(Exchange { event, args, .. }) = exchange else {
            let detail = "the mapping of [signaling.socketio] has no event for it".to_owned();
            return Err(ClientError::Protocol { detail, quote: "nothing".into() });
        };
        self.other = Some(to.to_owned());
        let words = self.words().of(message);
        self.emit(event, args, false, &words);
        Ok(())
    }

    fn connected(&mut self, content: &str) -> Result<(), ClientError> {
        let sid = serde_json::from_str::<Value>(content).ok().and_then(|it| Some(it.get("sid")?.as_str()?.to_owned()));
        let Some(sid) = sid else {
            let detail = "no id for the socket: does the server speak socket.io 2?".to_owned();
            return Err(ClientError::Protocol { detail, quote: excerpt(content) });
        };
        self.socket_id = Some(sid.clone());
        if self.mapping.id.is_none() {
            self.greet(sid);
        }
        Ok(())
    }

    fn greet(&mut self, id: String) {
        self.id = Some(id.clone());
        self.waiting.messages.push_back(ServerMessage::Welcome { protocol: 0, id, limits: None });
    }

    fn joined(&mut self, room: String, peers: Vec<String>) {
        let own = self.id.clone();
        let peers = peers.into_iter().filter(|id| Some(id) != own.as_ref()).collect();
        self.waiting.messages.push_back(ServerMessage::Joined { room, peers });
    }

    /// An event, or the acknowledgement of one.
    fn hear(&mut self, name: &str, arguments: &Value) -> Result<(), ClientError> {
        let known = self.hear_of_room(name, arguments) | self.hear_exchange(name, arguments)?;
        if !known {
            if brings_signaling(arguments) {
                let heard: Vec<_> = self.mapping.exchanges().map(|(_, it)| format!("`{}`", it.heard_as())).collect();
                return Err(ClientError::Protocol {
                    detail: format!(
                        "the event `{name}` brings a description or a candidate, and the mapping of [signaling.socketio] \
                         waits for {}",
                        heard.join(", ")
                    ),
                    quote: excerpt(&arguments.to_string()),
                });
            }
            let content = self.redacted(arguments);
            self.unexpected.note(name, &content);
        }
        Ok(())
    }

    /// What the server said, without what only the client knows.
    fn redacted(&self, content: &Value) -> String {
        let text = redacted_answer(&content.to_string(), &self.url);
        self.auth.iter().fold(text, without)
    }

    /// Who one is, who is there, who comes and goes; returns whether the event is any of this.
    fn hear_of_room(&mut self, name: &str, arguments: &Value) -> bool {
        let heard = |hear: &Option<Hear>| {
            hear.as_ref().filter(|hear| hear.event == name).map(|hear| arguments.pointer(&hear.at).cloned())
        };
        let (id, peers) = (heard(&self.mapping.id), heard(&self.mapping.peers));
        let (came, left) = (heard(&self.mapping.peer_joined), heard(&self.mapping.peer_left));
        let refused = heard(&self.mapping.refused);
        let known = [&id, &peers, &came, &left, &refused].iter().any(|heard| heard.is_some());
        if let (None, Some(id)) = (&self.id, id.flatten().as_ref().and_then(read_id)) {
            self.greet(id);
        }
        if let Some(Value::Array(peers)) = peers.flatten() {
            let peers: Vec<_> = peers.iter().filter_map(read_id).collect();
            match self.joining.take() {
                Some(room) => self.joined(room, peers),
                None => self.present = Some(peers),
            }
        }
        let other = |heard: Option<Option<Value>>| {
            heard.flatten().as_ref().and_then(read_id).filter(|id| Some(id) != self.id.as_ref())
        };
        let (came, left) = (other(came), other(left));
        let came = came.map(|id| ServerMessage::PeerJoined { id });
        let left = left.map(|id| ServerMessage::PeerLeft { id });
        let refused = refused.map(|why| ServerMessage::Error {
            code: ErrorCode::Unknown,
            message: format!("{name}: {}", excerpt(&why.map_or_else(|| arguments.to_string(), |why| readable(&why)))),
            about: None,
            to: None,
        });
        self.waiting.messages.extend([came, left, refused].into_iter().flatten());
        known
    }

    /// Offers, answers and candidates; returns whether the event is one.
    fn hear_exchange(&mut self, name: &str, arguments: &Value) -> Result<bool, ClientError> {
        let Some((what, exchange)) = self.mapping.exchanges().find(|(_, it)| it.heard_as() == name) else {
            return Ok(false);
        };
        let broken = |detail: String| ClientError::Protocol { detail, quote: excerpt(&arguments.to_string()) };
        let content = arguments.pointer(&exchange.at);
        let content = content.ok_or_else(|| broken(format!("the event `{name}` has nothing at {}", exchange.at)))?;
        let from = match &exchange.from {
            Some(at) => {
                let from = arguments.pointer(at).and_then(read_id);
                from.ok_or_else(|| broken(format!("the event `{name}` has no id of its sender at {at}")))?
            }
            None => self.other.clone().unwrap_or_else(|| THE_OTHER.into()),
        };
        let kind = match what {
            "signal" => content.get("type").and_then(Value::as_str).unwrap_or_default(),
            other => other,
        };
        let message = match kind {
            "offer" | "answer" => {
                let sdp = read_description(content).filter(|sdp| !sdp.is_empty());
                let sdp =
                    sdp.ok_or_else(|| broken(format!("the event `{name}` has no description at {}", exchange.at)))?;
                if kind == "offer" { ServerMessage::Offer { from, sdp } } else { ServerMessage::Answer { from, sdp } }
            }
            "candidate" => {
                let content = if what == "signal" { content.get("candidate").unwrap_or(content) } else { content };
                let candidate = read_candidate(content);
                let candidate = candidate
                    .ok_or_else(|| broken(format!("the event `{name}` has no candidate at {}", exchange.at)))?;
                ServerMessage::Candidate { from, candidate }
            }
            other => return Err(broken(format!("the event `{name}` has a signal of the unknown type {other:?}"))),
        };
        self.waiting.messages.push_back(message);
        Ok(true)
    }

    /// A packet of socket.io.
    fn handle_packet(&mut self, text: &str) -> Result<(), ClientError> {
        let broken = |detail: &str| ClientError::Protocol { detail: detail.into(), quote: excerpt(text) };
        let Parsed { kind, attachments, namespace, ack, content } = Parsed::of(text)?;
        self.attachments = attachments;
        match kind {
            "0" => self.connected(content),
            "1" => {
                let heard = Dialect::unexpected(self).map_or(String::new(), |heard| format!("; {heard}"));
                let reason = format!("socket.io: the server disconnected the socket{heard}");
                Err(ClientError::Closed { code: None, reason })
            }
            "2" | "5" => {
                let mut arguments: VecDeque<Value> =
                    serde_json::from_str(content).map_err(|_| broken("an event of socket.io is a JSON array"))?;
                let name = arguments.pop_front().ok_or_else(|| broken("an event without a name"))?;
                let name = name.as_str().ok_or_else(|| broken("an event whose name is no text"))?;
                self.hear(name, &Vec::from(arguments).into())
            }
            "3" | "6" => {
                let event = ack.and_then(|number| self.unacknowledged.remove(&number));
                let arguments: Value =
                    serde_json::from_str(content).map_err(|_| broken("an acknowledgement is a JSON array"))?;
                event.map_or(Ok(()), |event| self.hear(&event, &arguments))
            }
            "4" => Err(ClientError::Refusal {
                message: match serde_json::from_str::<Value>(content) {
                    Ok(why) => {
                        let data = why.get("data").filter(|data| !data.is_null());
                        let data = data.map_or(String::new(), |data| format!(" ({})", excerpt(&self.redacted(data))));
                        format!("no connection to the namespace {namespace}: {}{data}", readable(&why))
                    }
                    Err(_) => format!("no connection to the namespace {namespace}: {}", excerpt(content)),
                },
            }),
            _ => Err(broken("no packet of socket.io")),
        }
    }
}

/// A packet of socket.io, as far as it is the same for every application.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    /// Its type, as a digit.
    pub(super) kind: &'a str,
    /// Binary attachments that will follow.
    pub(super) attachments: usize,
    pub(super) namespace: &'a str,
    /// Of an event that wants an acknowledgement, or of that.
    pub(super) ack: Option<u64>,
    /// JSON.
    pub(super) content: &'a str,
}

impl<'a> Parsed<'a> {
    /// # Errors
    ///
    /// It is no packet.
    pub(super) fn of(text: &'a str) -> Result<Self, ClientError> {
        let broken = |detail: &str| ClientError::Protocol { detail: detail.into(), quote: excerpt(text) };
        let (kind, mut rest) = text.split_at_checked(1).ok_or_else(|| broken("an empty packet"))?;
        let mut attachments = 0;
        if let ("5" | "6", Some((count, after))) = (kind, rest.split_once('-')) {
            attachments = count.parse().map_err(|_| broken("no packet of socket.io"))?;
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (ack, content) = rest.split_at(digits);
        Ok(Self { kind, attachments, namespace, ack: ack.parse().ok(), content })
    }
}

impl Dialect for Connection {
    fn handle_frame(&mut self, frame: Message, now: Instant) -> Result<(), ClientError> {
        self.heartbeat.heard(now);
        match frame {
            Message::Text(text) => match Packet::parse(&text)? {
                Packet::Open(handshake) => {
                    self.heartbeat.begin(&handshake, now);
                    self.auth = self.mapping.auth.as_ref().map(|auth| self.words().fill(auth));
                    let auth = self.auth.as_ref().map(Value::to_string);
                    self.packet("0", &auth.unwrap_or_default());
                    Ok(())
                }
                Packet::Close => Err(ClientError::Closed {
                    code: None,
                    reason: "Engine.IO: the server closed the connection".into(),
                }),
                Packet::Ping(payload) => {
                    self.waiting.text(format!("3{payload}"));
                    Ok(())
                }
                Packet::Message(message) => self.handle_packet(message),
                Packet::Other => Ok(()),
            },
            Message::Binary(data) if self.attachments == 0 => {
                let detail = "a binary frame that no packet announced".to_owned();
                Err(ClientError::Protocol { detail, quote: format!("{} bytes of binary", data.len()) })
            }
            Message::Binary(_) => {
                self.attachments -= 1;
                Ok(())
            }
            Message::Pong(payload) => {
                self.waiting.pong(&payload);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        let mapping = Arc::clone(&self.mapping);
        match message {
            ClientMessage::Join { room } => {
                self.room = Some(room.clone());
                if let Some(Say { event, args, ack }) = &mapping.join {
                    let words = self.words();
                    self.emit(event, args, *ack, &words);
                }
                match (&self.mapping.peers, self.present.take()) {
                    (Some(_), Some(present)) => self.joined(room.clone(), present),
                    (Some(_), None) => self.joining = Some(room.clone()),
                    (None, _) => self.joined(room.clone(), Vec::new()),
                }
                Ok(())
            }
            ClientMessage::Offer { to, .. } => self.exchange(mapping.said_as("offer"), message, to),
            ClientMessage::Answer { to, .. } => self.exchange(mapping.said_as("answer"), message, to),
            ClientMessage::Candidate { to, .. } => self.exchange(mapping.said_as("candidate"), message, to),
            ClientMessage::Ping { nonce } => {
                self.waiting.ping(nonce);
                Ok(())
            }
            // Whoever closes the connection has left.
            ClientMessage::Leave => Ok(()),
        }
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.heartbeat.dead_at()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        self.heartbeat.check(now)
    }

    fn tells_who_is_there(&self) -> bool {
        self.mapping.peers.is_some()
    }

    fn unexpected(&self) -> Option<String> {
        self.unexpected.told().map(|events| format!("events that came and are not in the mapping: {events}"))
    }
}

/// An id, as it is or in an object.
fn read_id(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        Value::Object(members) => {
            ["id", "socketId", "userId", "peerId"].iter().find_map(|name| read_id(members.get(*name)?))
        }
        _ => None,
    }
}

/// A text without what was given on connecting.
fn without(text: String, auth: &Value) -> String {
    match auth {
        Value::String(secret) if secret.len() >= SHORTEST_SECRET => text.replace(secret, HIDDEN),
        Value::Array(parts) => parts.iter().fold(text, without),
        Value::Object(members) => members.values().fold(text, without),
        _ => text,
    }
}

/// What an error says, for people.
fn readable(value: &Value) -> String {
    let text = value.get("message").unwrap_or(value);
    text.as_str().map_or_else(|| excerpt(&text.to_string()), excerpt)
}

#[cfg(test)]
mod tests;
