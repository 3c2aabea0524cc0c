//! socket.io, version 4 (its protocol 5), over a WebSocket of Engine.IO 4.
//!
//! What the events mean is the application's affair: a [`SocketIo`] says which of them are offers, answers and candidates.

mod content;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Number, Value};
use tokio_tungstenite::tungstenite::Message;

use self::content::{messages, plain_id, read_id, read_people, sort_out};
use super::engineio::{self, Heartbeat, Packet};
use super::template::{Words, brings_signaling, encode};
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
    // As clients of socket.io do: servers of it know no path without a slash at its end.
    let path = match mapping.path.trim_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    };
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
    /// Whether ids came as numbers, and so have to be sent as numbers.
    ids_are_numbers: bool,
    /// Who was there, if the application said so before it was asked.
    present: Option<Vec<String>>,
    /// The room that is being entered.
    joining: Option<String>,
    /// Who is in the room, once it is entered.
    members: Option<BTreeSet<String>>,
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
            ids_are_numbers: false,
            present: None,
            joining: None,
            members: None,
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
        let place = Place { room: self.room.as_deref(), role: self.role, ..Place::default() };
        let words = Words::new(None, place);
        match &self.id {
            Some(id) => words.with("id", self.id_as_heard(id)),
            None => words,
        }
    }

    /// An id in the type in which the application has it.
    fn id_as_heard(&self, id: &str) -> Value {
        let number = id.parse::<Number>().ok().filter(|number| self.ids_are_numbers && number.to_string() == id);
        number.map_or_else(|| id.into(), Value::Number)
    }

    fn read_id(&mut self, value: &Value) -> Option<String> {
        self.ids_are_numbers |= plain_id(value).is_some_and(Value::is_number);
        read_id(value)
    }

    fn read_people(&mut self, value: &Value) -> Option<Vec<String>> {
        self.ids_are_numbers |=
            value.as_array().is_some_and(|people| people.iter().filter_map(plain_id).any(Value::is_number));
        read_people(value)
    }

    /// A packet of socket.io for the namespace.
    fn packet(&mut self, kind: &str, content: &str) {
        // A server of socket.io gives names of namespaces a slash at their beginning.
        let namespace = match self.mapping.namespace.trim_start_matches('/') {
            "" => String::new(),
            name => format!("/{name},"),
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
        let words = self.words().with("to", self.id_as_heard(to)).of(message);
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
        let peers: Vec<_> = peers.into_iter().filter(|id| Some(id) != own.as_ref()).collect();
        self.members = Some(peers.iter().cloned().collect());
        self.waiting.messages.push_back(ServerMessage::Joined { room, peers });
    }

    /// An event, or the acknowledgement of one.
    fn hear(&mut self, name: &str, arguments: &Value, is_acknowledgement: bool) -> Result<(), ClientError> {
        let known = self.hear_of_room(name, arguments, is_acknowledgement) | self.hear_exchange(name, arguments)?;
        if known {
            return Ok(());
        }
        let mapping = Arc::clone(&self.mapping);
        if brings_signaling(arguments) {
            let (places, heard): (Vec<_>, Vec<_>) =
                mapping.exchanges().map(|(_, it)| (&it.at, it.heard_as())).partition(|(_, heard)| *heard == name);
            let expected = match places.as_slice() {
                [] => {
                    let heard: Vec<_> = heard.iter().map(|(_, heard)| format!("`{heard}`")).collect();
                    format!("the mapping of [signaling.socketio] waits for {}", heard.join(", "))
                }
                places => {
                    let places: Vec<_> = places.iter().map(|(at, _)| at.as_str()).collect();
                    format!("the mapping of [signaling.socketio] looks for it at {}", places.join(", "))
                }
            };
            return Err(ClientError::Protocol {
                detail: format!("the event `{name}` brings a description or a candidate, and {expected}"),
                quote: excerpt(&self.redacted(arguments)),
            });
        }
        let kind = if is_acknowledgement { format!("acknowledgement of {name}") } else { name.to_owned() };
        let content = self.redacted(arguments);
        self.unexpected.note(&kind, &content);
        Ok(())
    }

    /// What the server said, without what only the client knows.
    fn redacted(&self, content: &Value) -> String {
        let text = redacted_answer(&content.to_string(), &self.url);
        self.auth.iter().fold(text, without)
    }

    /// Who one is, who is there, who comes and goes; returns whether the event says any of this.
    fn hear_of_room(&mut self, name: &str, arguments: &Value, is_acknowledgement: bool) -> bool {
        let mapping = Arc::clone(&self.mapping);
        let heard = |hear: &Option<Hear>| {
            let content = hear.as_ref().filter(|hear| hear.event == name).and_then(|hear| arguments.pointer(&hear.at));
            content.filter(|content| !content.is_null()).cloned()
        };
        let id = heard(&mapping.id).and_then(|id| self.read_id(&id));
        let people = heard(&mapping.peers).and_then(|people| self.read_people(&people));
        let came = heard(&mapping.peer_joined).and_then(|id| self.read_id(&id));
        let left = heard(&mapping.peer_left).and_then(|id| self.read_id(&id));
        // An event that does nothing but refuse need not say why.
        let only_refuses = !is_acknowledgement && arguments.as_array().is_some_and(Vec::is_empty);
        let refuses = mapping.refused.as_ref().is_some_and(|refused| refused.event == name);
        let refused = match heard(&mapping.refused) {
            Some(Value::Bool(false)) => None,
            None if refuses && only_refuses => Some("no reason is given".to_owned()),
            why => why.map(|why| readable(&why)),
        };
        let known = [id.is_some(), people.is_some(), came.is_some(), left.is_some(), refused.is_some()].contains(&true);

        if let (None, Some(id)) = (&self.id, id) {
            self.greet(id);
        }
        if let Some(people) = people {
            self.hear_who_is_there(people);
        }
        for id in came.into_iter().filter(|id| Some(id) != self.id.as_ref()).collect::<Vec<_>>() {
            self.came(id);
        }
        for id in left.into_iter().filter(|id| Some(id) != self.id.as_ref()).collect::<Vec<_>>() {
            self.left(id);
        }
        self.waiting.messages.extend(refused.map(|why| ServerMessage::Error {
            code: ErrorCode::Unknown,
            message: format!("{name}: {why}"),
            about: None,
            to: None,
        }));
        known
    }

    /// The whole list of people, on entering the room or whenever it changes.
    fn hear_who_is_there(&mut self, people: Vec<String>) {
        if let Some(room) = self.joining.take() {
            return self.joined(room, people);
        }
        let Some(members) = self.members.clone() else {
            self.present = Some(people);
            return;
        };
        let own = self.id.clone();
        for id in people.iter().filter(|id| Some(*id) != own.as_ref() && !members.contains(*id)) {
            self.came(id.clone());
        }
        // An application that tells of those who leave by an event of its own may have shorter lists for other reasons.
        if self.mapping.peer_left.is_none() {
            for id in members.into_iter().filter(|id| !people.contains(id)) {
                self.left(id);
            }
        }
    }

    fn came(&mut self, id: String) {
        if let Some(members) = &mut self.members {
            members.insert(id.clone());
        }
        self.waiting.messages.push_back(ServerMessage::PeerJoined { id });
    }

    fn left(&mut self, id: String) {
        if let Some(members) = &mut self.members {
            members.remove(&id);
        }
        self.waiting.messages.push_back(ServerMessage::PeerLeft { id });
    }

    /// Offers, answers and candidates; returns whether the event brings one.
    fn hear_exchange(&mut self, name: &str, arguments: &Value) -> Result<bool, ClientError> {
        let mapping = Arc::clone(&self.mapping);
        let exchanges: Vec<_> = mapping.exchanges().filter(|(_, it)| it.heard_as() == name).collect();
        let broken = |detail: String| ClientError::Protocol { detail, quote: excerpt(&arguments.to_string()) };
        let (kind, exchange, content) = match exchanges.as_slice() {
            [] => return Ok(false),
            [(kind, exchange)] if *kind != "signal" => {
                let content = arguments.pointer(&exchange.at);
                let content =
                    content.ok_or_else(|| broken(format!("the event `{name}` has nothing at {}", exchange.at)))?;
                (*kind, *exchange, content)
            }
            several => match sort_out(several, arguments) {
                Some(found) => found,
                // Such as simple-peer's `renegotiate` and `transceiverRequest`: what they ask for is in the call from its start.
                None => return Ok(false),
            },
        };
        let from = match &exchange.from {
            Some(at) => {
                let from = arguments.pointer(at).and_then(|id| self.read_id(id));
                from.ok_or_else(|| broken(format!("the event `{name}` has no id of its sender at {at}")))?
            }
            None => self.other.clone().unwrap_or_else(|| THE_OTHER.into()),
        };
        let what = if kind == "candidate" { kind } else { "description" };
        let messages = messages(kind, &from, content)
            .ok_or_else(|| broken(format!("the event `{name}` has no {what} at {}", exchange.at)))?;
        self.waiting.messages.extend(messages);
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
                self.hear(name, &Vec::from(arguments).into(), false)
            }
            "3" | "6" => {
                let event = ack.and_then(|number| self.unacknowledged.remove(&number));
                let arguments: Value =
                    serde_json::from_str(content).map_err(|_| broken("an acknowledgement is a JSON array"))?;
                event.map_or(Ok(()), |event| self.hear(&event, &arguments, true))
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
