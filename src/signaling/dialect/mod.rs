//! What clients and signaling servers say to each other, one file per protocol.
//!
//! A peer speaks and hears [`ClientMessage`] and [`ServerMessage`] whatever the server is. A `Dialect` is the translation
//! for one connection: sans-IO, so that every protocol is tested without a socket, and measured the same way.

mod engineio;
mod janus;
mod kurento;
mod livekit;
mod mapping;
mod mediasoup;
mod meeting;
mod own;
mod peerjs;
mod socketio;
mod template;
mod unexpected;
mod whip;
mod wording;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

pub(crate) use janus::textroom::Heard;
pub use janus::{Janus, Plugin};
pub use livekit::LiveKit;
pub use mapping::{Exchange, Hear, Say, SocketIo};
pub(crate) use mediasoup::METHODS;
pub use mediasoup::{Form, Mediasoup};
pub(crate) use meeting::Attendance;
pub use meeting::Meeting;
pub use peerjs::PeerJs;
pub(crate) use peerjs::kind_of;
pub(crate) use peerjs::serialization::LONGEST as LONGEST_SERIALIZED;
pub use peerjs::serialization::Serialization;
pub(crate) use template::{
    check_arguments, check_pointer, has_any, known_words, read_description, resolve_text, secrets, secrets_of_query,
    variables,
};
pub use whip::Whip;
pub(crate) use wording::{Said, Wording};

use super::client::{ClientError, excerpt};
use super::protocol::{ClientMessage, ServerMessage};
use crate::plan::{Layer, Role};

/// The signaling protocol of a server, with how an application uses it.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// That of `docs/signaling.md`.
    #[default]
    Harness,
    /// socket.io, version 4, with the events of an application.
    SocketIo(Arc<SocketIo>),
    /// That of PeerServer.
    PeerJs(PeerJs),
    /// That of Janus, with one of its plugins.
    Janus(Arc<Janus>),
    /// WHIP to publish, WHEP to play.
    Whip(Arc<Whip>),
    /// That of an application of mediasoup.
    Mediasoup(Arc<Mediasoup>),
    /// That of Kurento Media Server, with an endpoint that sends back what it gets.
    Kurento,
    /// That of LiveKit.
    LiveKit(Arc<LiveKit>),
}

impl Protocol {
    /// Its name in scenarios.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Harness => "harness",
            Self::SocketIo(_) => "socketio",
            Self::PeerJs(_) => "peerjs",
            Self::Janus(_) => "janus",
            Self::Whip(_) => "whip",
            Self::Mediasoup(_) => "mediasoup",
            Self::Kurento => "kurento",
            Self::LiveKit(_) => "livekit",
        }
    }

    /// Whether it is the harness's own.
    pub fn is_own(&self) -> bool {
        *self == Self::Harness
    }

    /// Where the server is, if the protocol itself says so.
    pub(crate) fn own_url(&self) -> Option<&str> {
        match self {
            Self::Whip(settings) => Some(&settings.publish),
            _ => None,
        }
    }

    /// Whether it is spoken over HTTP, without a WebSocket.
    pub(crate) fn is_http(&self) -> bool {
        matches!(self, Self::Whip(_))
    }

    /// Whether its server is the other end of every call.
    pub fn ends_calls(&self) -> bool {
        matches!(self, Self::Janus(_) | Self::Whip(_) | Self::Mediasoup(_) | Self::Kurento | Self::LiveKit(_))
    }

    /// With the values of the environment in place of `${NAME}`, for use and never for a file.
    ///
    /// # Errors
    ///
    /// A variable is not set.
    pub fn with_secrets(mut self) -> Result<Self, String> {
        match &mut self {
            Self::SocketIo(mapping) => {
                let mapping = Arc::make_mut(mapping);
                let mut query = mapping.query.values_mut();
                query.try_for_each(|value| resolve_text(value).map(|resolved| *value = resolved))?;
                mapping.auth.iter_mut().try_for_each(template::resolve)?;
                mapping.join.iter_mut().flat_map(|join| &mut join.args).try_for_each(template::resolve)?;
            }
            Self::Janus(settings) => Arc::make_mut(settings).resolve()?,
            Self::Whip(settings) => Arc::make_mut(settings).resolve()?,
            Self::LiveKit(settings) => Arc::make_mut(settings).resolve()?,
            Self::Harness | Self::PeerJs(_) | Self::Mediasoup(_) | Self::Kurento => {}
        }
        Ok(self)
    }

    /// What must be `${NAME}` of the environment, by its place within the settings.
    pub(crate) fn secrets(&self) -> Vec<(String, String)> {
        let given = |name: &str, secret: &Option<String>| secret.clone().map(|secret| (name.to_owned(), secret));
        match self {
            Self::SocketIo(mapping) => {
                let query = mapping.query.iter().map(|(name, value)| (format!("query.{name}"), value.as_str().into()));
                let auth = mapping.auth.iter().map(|auth| ("auth".to_owned(), auth.clone()));
                let join = mapping.join.iter().flat_map(|join| join.args.iter().cloned().enumerate());
                let join = join.map(|(index, argument)| (format!("join.args.{index}"), argument));
                query.chain(auth).chain(join).flat_map(|(place, it)| secrets(&place, &it)).collect()
            }
            Self::Janus(settings) => [given("apisecret", &settings.apisecret), given("token", &settings.token)]
                .into_iter()
                .flatten()
                .collect(),
            Self::Whip(settings) => given("token", &settings.token).into_iter().collect(),
            Self::LiveKit(settings) => given("secret", &settings.secret).into_iter().collect(),
            Self::Harness | Self::PeerJs(_) | Self::Mediasoup(_) | Self::Kurento => Vec::new(),
        }
    }

    /// How the peer of this name words what it says on a data channel, in the room of a call.
    pub(crate) fn wording(&self, room: &str, peer: &str) -> Wording {
        match self {
            Self::PeerJs(settings) => Wording::Packed(settings.serialization),
            Self::Janus(settings) => {
                settings.text_room(room, peer).map_or(Wording::Plain, |room| Wording::Room(Box::new(room)))
            }
            _ => Wording::Plain,
        }
    }

    /// Where the bundled server speaks it, below the server's root.
    pub(crate) fn bundled_path(&self) -> &'static str {
        match self {
            Self::Harness => "/ws",
            _ => "",
        }
    }

    /// A connection to the server at `url` that is about to be opened.
    pub(crate) fn connect(&self, url: &str, place: Place<'_>) -> Result<Opening, ClientError> {
        match self {
            Self::Harness => Ok(Opening::new(url.to_owned(), Box::new(own::Own::default()))),
            Self::SocketIo(mapping) => Ok(socketio::open(mapping, url, place)),
            Self::PeerJs(settings) => peerjs::open(settings, url, place),
            Self::Janus(settings) => Ok(janus::open(settings, url, place)),
            Self::Whip(settings) => whip::open(settings, place),
            Self::Mediasoup(settings) => Ok(mediasoup::open(settings, url, place)),
            Self::Kurento => Ok(kurento::open(url)),
            Self::LiveKit(settings) => Ok(livekit::open(settings, url, place)),
        }
    }
}

/// Where a client is going to be, for servers that want to know it beforehand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place<'a> {
    /// The room that it will join.
    pub room: Option<&'a str>,
    /// Which end of its call it is.
    pub role: Option<Role>,
    /// The peer that it is.
    pub peer: Option<&'a str>,
    /// The peer whose media it wants, from a server that passes media on.
    pub feed: Option<&'a str>,
}

/// What a WebSocket is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Where.
    pub(crate) url: String,
    /// `Sec-WebSocket-Protocol`, if the server wants one.
    pub(crate) subprotocol: Option<&'static str>,
    /// The token of `Authorization: Bearer`, if the server wants one. It is in no error and no log.
    pub(crate) bearer: Option<String>,
    /// What is said over it.
    pub(crate) dialect: Box<dyn Dialect>,
}

impl Opening {
    /// With nothing but a URL.
    fn new(url: String, dialect: Box<dyn Dialect>) -> Self {
        Self { url, subprotocol: None, bearer: None, dialect }
    }
}

/// One client's side of a connection. Frames and time are passed in; what is to be sent and heard waits to be taken.
pub(crate) trait Dialect: Send + fmt::Debug {
    /// Takes what the server sent over the WebSocket, if the protocol has one.
    ///
    /// # Errors
    ///
    /// The server refuses the client, or breaks the protocol.
    fn handle_frame(&mut self, _frame: Message, _now: Instant) -> Result<(), ClientError> {
        Ok(())
    }

    /// Takes the answer to a request, if the protocol makes any.
    ///
    /// # Errors
    ///
    /// As of `handle_frame`.
    fn handle_response(&mut self, _response: Response) -> Result<(), ClientError> {
        Ok(())
    }

    /// Takes what the client wants to say.
    ///
    /// # Errors
    ///
    /// The protocol, or its mapping, has no words for it.
    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError>;

    /// What is to be sent and heard. The first message for the client is a `welcome`.
    fn waiting(&mut self) -> &mut Waiting;

    /// When to call `handle_timeout`; absent: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time of `poll_timeout` has come.
    ///
    /// # Errors
    ///
    /// The server has been silent for too long.
    fn handle_timeout(&mut self, _now: Instant) -> Result<(), ClientError> {
        Ok(())
    }

    /// Whether the server tells who is in a room. If not, peers of a run find each other in this process.
    fn tells_who_is_there(&self) -> bool {
        true
    }

    /// Whose media the client wants, in the server's words, before it joins.
    fn follow(&mut self, _feed: Value) {}

    /// What others have to follow to get the client's media, once the server has said so.
    fn feed(&self) -> Option<Value> {
        None
    }

    /// Which layer of simulcast the client wants of what it follows, from now on. Scenarios with layers are only for protocols
    /// that have words for them.
    fn ask_for(&mut self, _layer: Layer) {}

    /// Whether the server wants to be told of the end, beyond that of the connection.
    fn says_goodbye(&self) -> bool {
        false
    }

    /// What came that the client could make nothing of, for whoever waits in vain.
    fn unexpected(&self) -> Option<String> {
        None
    }
}

/// What a server sent whose messages are JSON, with its text; a `pong` goes to the client. Other frames mean nothing.
fn read_json<T: DeserializeOwned>(
    frame: Message,
    whose: &str,
    waiting: &mut Waiting,
) -> Result<Option<(T, Utf8Bytes)>, ClientError> {
    match frame {
        Message::Text(text) => match serde_json::from_str(&text) {
            Ok(message) => Ok(Some((message, text))),
            Err(error) => {
                let detail = format!("no message of {whose}: {error}");
                Err(ClientError::Protocol { detail, quote: excerpt(&text) })
            }
        },
        Message::Pong(payload) => {
            waiting.pong(&payload);
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// A request over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// `https://…` or `http://…`.
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// Of the request, as are the next two.
    pub(crate) method: &'static str,
    pub(crate) url: String,
    pub(crate) asked: String,
    pub(crate) status: u16,
    /// The header of this name, as is the next.
    pub(crate) location: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) body: String,
}

/// What waits to be taken.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// For the server.
    pub(crate) frames: VecDeque<Message>,
    /// For a server that is spoken to over HTTP.
    pub(crate) requests: VecDeque<Request>,
    /// For the client.
    pub(crate) messages: VecDeque<ServerMessage>,
}

impl Waiting {
    fn text(&mut self, text: impl Into<String>) {
        self.frames.push_back(Message::text(text.into()));
    }

    /// A `ping` of the client as one of the WebSocket, which every server answers (RFC 6455, section 5.5.2).
    fn ping(&mut self, nonce: &Value) {
        self.frames.push_back(Message::Ping(nonce.to_string().into_bytes().into()));
    }

    /// The answer to it. Others' pongs mean nothing.
    fn pong(&mut self, payload: &[u8]) {
        if let Ok(nonce) = serde_json::from_slice(payload) {
            self.messages.push_back(ServerMessage::Pong { nonce });
        }
    }
}
