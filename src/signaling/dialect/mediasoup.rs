//! mediasoup, which has no signaling of its own, with the two that its applications use: protoo, as in mediasoup-demo, and
//! socket.io with acknowledgements. The server is the other end of the call, and speaks ORTC: what a peer describes becomes
//! parameters, and the server's parameters become a description.
//!
//! | who | asks for | and gets |
//! |---|---|---|
//! | both | `getRouterRtpCapabilities`, `createWebRtcTransport`, `join` | a transport |
//! | who publishes, with its offer | `connectWebRtcTransport`, `produce` for each section | an answer |
//! | who subscribes, by protoo | nothing: `newConsumer` comes, and is accepted with the answer | an offer |
//! | who subscribes, by socket.io | `consume` for each producer, and with its answer `resumeConsumer` | an offer |
//! | who subscribes, with its answer | `connectWebRtcTransport` | |

mod link;
mod ortc;
mod sdp;

use std::collections::BTreeMap;
use std::time::Instant;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use self::link::{Heard, Link};
use self::ortc::{Capabilities, RtpParameters, Transport};
use self::sdp::{Description, Stream};
use super::template::encode;
use super::{Dialect, Opening, Place, Waiting, engineio};
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, ErrorCode, ServerMessage};

/// The server as the other end of the call.
const MEDIASOUP: &str = "mediasoup";
/// Of protoo's WebSocket.
const SUBPROTOCOL: &str = "protoo";
/// The requests of a client, in the order in which they are made, and what the server asks a subscriber of protoo for.
pub(crate) const METHODS: [&str; 8] = [
    "getRouterRtpCapabilities",
    "createWebRtcTransport",
    "join",
    "connectWebRtcTransport",
    "produce",
    "newConsumer",
    "consume",
    "resumeConsumer",
];

/// How an application of mediasoup is used.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mediasoup {
    /// How requests are exchanged. Default: `protoo`.
    pub form: Form,
    /// The path of the WebSocket. Default: `/` with protoo, `/socket.io/` with socket.io.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the application calls a method that is called otherwise than in mediasoup-demo, by its name there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub methods: BTreeMap<String, String>,
}

/// A form of signaling.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// That of mediasoup-demo, where the server makes consumers and announces them.
    #[default]
    Protoo,
    /// Events of socket.io with acknowledgements, where clients ask for consumers.
    SocketIo,
}

/// A connection that is about to be opened.
pub(super) fn open(settings: &Mediasoup, url: &str, place: Place<'_>) -> Opening {
    let is_protoo = settings.form == Form::Protoo;
    let name = place.peer.unwrap_or("harness").to_owned();
    let default = if is_protoo { "/" } else { "/socket.io/" };
    let path = settings.path.as_deref().unwrap_or(default).trim_start_matches('/');
    let mut url = format!("{}/{path}?", url.trim_end_matches('/'));
    if !is_protoo {
        url += &format!("EIO={}&transport=websocket&", engineio::VERSION);
    }
    url += &format!("roomId={}&peerId={}", encode(place.room.unwrap_or("harness")), encode(&name));
    let mut connection = Connection {
        settings: settings.clone(),
        name,
        follows: place.feed.is_some(),
        link: Link::new(is_protoo),
        waiting: Waiting::default(),
        asked: BTreeMap::new(),
        room: String::new(),
        capabilities: Capabilities::default(),
        transport: None,
        publication: None,
        producers: Vec::new(),
        consumers: Vec::new(),
        unexpected: None,
    };
    if is_protoo {
        // protoo has no greeting: who is let in is there.
        connection.greet();
    }
    Opening { subprotocol: is_protoo.then_some(SUBPROTOCOL), ..Opening::new(url, Box::new(connection)) }
}

/// What an answer is to.
#[derive(Debug)]
enum Asked {
    Capabilities,
    Transport,
    Join,
    Connect,
    /// For the media section with this index.
    Produce(usize),
    /// For the producer with this index.
    Consume(usize),
    Resume,
}

/// One client's connection.
#[derive(Debug)]
struct Connection {
    settings: Mediasoup,
    name: String,
    /// Whether it subscribes to somebody.
    follows: bool,
    link: Link,
    waiting: Waiting,
    /// What has not been answered, by the number of the request.
    asked: BTreeMap<u64, Asked>,
    /// That is being joined.
    room: String,
    /// Of the router.
    capabilities: Capabilities,
    transport: Option<Transport>,
    publication: Option<Publication>,
    /// Whose media it wants, or its own ones, in the order of their sections.
    producers: Vec<String>,
    /// Those of `producers`, as far as they are there.
    consumers: Vec<Consumer>,
    /// The last news that mean nothing here.
    unexpected: Option<String>,
}

/// What a client offers to send.
#[derive(Debug)]
struct Publication {
    offer: Description,
    /// What the server takes of it.
    accepted: Vec<RtpParameters>,
    /// Ids of producers, by section, as they come.
    made: BTreeMap<usize, String>,
    is_connected: bool,
}

/// What a client gets of a producer.
#[derive(Debug)]
struct Consumer {
    id: String,
    producer: String,
    stream: Stream,
    /// The server's request, which is accepted once the client is ready.
    request: Option<u64>,
}

/// A consumer in the words of the server.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewConsumer {
    id: String,
    #[serde(default)]
    producer_id: Option<String>,
    kind: String,
    rtp_parameters: RtpParameters,
}

impl Connection {
    fn greet(&mut self) {
        let welcome = ServerMessage::Welcome { protocol: 0, id: self.name.clone(), limits: None };
        self.waiting.messages.push_back(welcome);
    }

    fn request(&mut self, method: &str, data: &Value, asked: Asked) {
        let method = self.settings.methods.get(method).map_or(method, String::as_str);
        let number = self.link.request(&mut self.waiting, method, data);
        self.asked.insert(number, asked);
    }

    fn transport(&self) -> Result<&Transport, ClientError> {
        let detail = || "a description before there is a transport".to_owned();
        self.transport.as_ref().ok_or_else(|| ClientError::Protocol { detail: detail(), quote: "nothing".into() })
    }

    fn connect(&mut self, description: &Description) -> Result<(), ClientError> {
        let data = json!({"transportId": self.transport()?.id, "dtlsParameters": description.dtls});
        self.request("connectWebRtcTransport", &data, Asked::Connect);
        Ok(())
    }

    fn publish(&mut self, sdp: &str) -> Result<(), ClientError> {
        let offer = parse(sdp)?;
        let accept = |section: &sdp::Section| self.capabilities.sendable(&section.kind, &section.rtp);
        let accepted = offer.sections.iter().map(accept).collect::<Result<Vec<_>, _>>();
        let accepted = accepted.map_err(|message| ClientError::Refusal { message })?;
        self.connect(&offer)?;
        let transport = self.transport()?.id.clone();
        for (index, (section, rtp)) in offer.sections.iter().zip(&accepted).enumerate() {
            let data = json!({"transportId": transport, "kind": section.kind, "rtpParameters": rtp, "appData": {}});
            self.request("produce", &data, Asked::Produce(index));
        }
        self.publication = Some(Publication { offer, accepted, made: BTreeMap::new(), is_connected: false });
        Ok(())
    }

    /// Answers who publishes, once the server has all.
    fn answer(&mut self) -> Result<(), ClientError> {
        let Some(publication) = &self.publication else { return Ok(()) };
        let Publication { offer, accepted, made, is_connected } = publication;
        if !is_connected || made.len() < accepted.len() {
            return Ok(());
        }
        let sdp = sdp::answer(self.transport()?, &offer.sections, accepted);
        self.producers = made.values().cloned().collect();
        self.waiting.messages.push_back(ServerMessage::Answer { from: MEDIASOUP.into(), sdp });
        Ok(())
    }

    /// Offers to who subscribes, once all consumers are there.
    fn offer(&mut self) -> Result<(), ClientError> {
        let of = |producer: &String| self.consumers.iter().find(|consumer| consumer.producer == *producer);
        let streams: Option<Vec<_>> = self.producers.iter().map(|it| Some(of(it)?.stream.clone())).collect();
        if let Some(streams) = streams.filter(|streams| !streams.is_empty()) {
            let sdp = sdp::offer(self.transport()?, &streams);
            self.waiting.messages.push_back(ServerMessage::Offer { from: MEDIASOUP.into(), sdp });
        }
        Ok(())
    }

    fn hear(&mut self, heard: Heard) -> Result<(), ClientError> {
        let is_new_consumer = |method: &str| method == self.method("newConsumer");
        match heard {
            Heard::Nothing => {}
            Heard::Connected => self.greet(),
            Heard::Answer { number, data } => {
                if let Some(asked) = self.asked.remove(&number) {
                    self.answered(asked, data)?;
                }
            }
            Heard::Request { number, method, data } if is_new_consumer(&method) => self.announced(number, data)?,
            Heard::Request { number, method, .. } => {
                self.link.refuse(&mut self.waiting, number, 404, "no method of this client");
                self.unexpected = Some(format!("the last request that meant nothing: `{}`", excerpt(&method)));
            }
            Heard::News { method, data } => self.news(&method, &data),
        }
        Ok(())
    }

    /// What the application calls a method.
    fn method<'a>(&'a self, name: &'a str) -> &'a str {
        self.settings.methods.get(name).map_or(name, String::as_str)
    }

    fn answered(&mut self, asked: Asked, data: Value) -> Result<(), ClientError> {
        match asked {
            Asked::Capabilities => {
                // Some wrap them.
                let data =
                    data.get("rtpCapabilities").or_else(|| data.get("routerRtpCapabilities")).unwrap_or(&data).clone();
                self.capabilities = read(data, "the router's capabilities")?;
                let data = json!({"forceTcp": false, "producing": !self.follows, "consuming": self.follows});
                self.request("createWebRtcTransport", &data, Asked::Transport);
            }
            Asked::Transport => {
                self.transport = Some(read(data.get("params").cloned().unwrap_or(data), "a transport")?);
                let version = env!("CARGO_PKG_VERSION");
                let device = json!({"flag": "harness", "name": "harness", "version": version});
                let mut data = json!({"displayName": self.name, "device": device});
                // Who says nothing of what it can receive is sent nothing.
                if self.follows {
                    data["rtpCapabilities"] = json!(self.capabilities.receivable());
                }
                self.request("join", &data, Asked::Join);
            }
            Asked::Join => {
                let (room, peers) = (std::mem::take(&mut self.room), vec![MEDIASOUP.into()]);
                self.waiting.messages.push_back(ServerMessage::Joined { room, peers });
                if self.follows && self.settings.form == Form::SocketIo {
                    self.consume()?;
                }
            }
            Asked::Connect => match &mut self.publication {
                Some(publication) => {
                    publication.is_connected = true;
                    self.answer()?;
                }
                None => self.resume(),
            },
            Asked::Produce(index) => {
                let id =
                    data.get("id").and_then(Value::as_str).ok_or_else(|| broken("a producer without an id", &data))?;
                if let Some(publication) = &mut self.publication {
                    publication.made.insert(index, id.to_owned());
                }
                self.answer()?;
            }
            Asked::Consume(index) => {
                let data = data.get("params").cloned().unwrap_or(data);
                let consumer: NewConsumer = read(data, "a consumer")?;
                let producer = self.producers.get(index).cloned().unwrap_or_default();
                self.consumers.push(consumer.of(producer, None));
                self.offer()?;
            }
            Asked::Resume => {}
        }
        Ok(())
    }

    fn consume(&mut self) -> Result<(), ClientError> {
        let (transport, known) = (self.transport()?.id.clone(), json!(self.capabilities.receivable()));
        for (index, producer) in self.producers.clone().iter().enumerate() {
            let data = json!({"transportId": transport, "producerId": producer, "rtpCapabilities": known});
            self.request("consume", &data, Asked::Consume(index));
        }
        Ok(())
    }

    /// The server has made a consumer. Those of others than is followed are not wanted, nor is a second one.
    fn announced(&mut self, number: u64, data: Value) -> Result<(), ClientError> {
        let consumer: NewConsumer = read(data, "a consumer")?;
        let is_wanted = |producer: &String| {
            self.follows
                && self.producers.contains(producer)
                && !self.consumers.iter().any(|it| it.producer == *producer)
        };
        match consumer.producer_id.clone().filter(is_wanted) {
            Some(producer) => {
                self.consumers.push(consumer.of(producer, Some(number)));
                self.offer()?;
            }
            None => self.link.refuse(&mut self.waiting, number, 403, "I do not want to consume"),
        }
        Ok(())
    }

    /// Lets media flow, now that the client is ready for it.
    fn resume(&mut self) {
        let consumers: Vec<_> = self.consumers.iter().map(|consumer| (consumer.id.clone(), consumer.request)).collect();
        for (id, request) in consumers {
            match request {
                Some(number) => self.link.accept(&mut self.waiting, number),
                None => self.request("resumeConsumer", &json!({"consumerId": id}), Asked::Resume),
            }
        }
    }

    fn news(&mut self, method: &str, data: &Value) {
        match method {
            "consumerClosed" | "producerClosed" => {
                let of = data.get("consumerId").or_else(|| data.get("producerId")).and_then(Value::as_str);
                let is_ours = |consumer: &Consumer| of.is_some_and(|id| id == consumer.id || id == consumer.producer);
                if self.consumers.iter().any(is_ours) {
                    let message = format!("mediasoup sends {method}: {}", excerpt(&data.to_string()));
                    let error = ServerMessage::Error { code: ErrorCode::Unknown, message, about: None, to: None };
                    self.waiting.messages.push_back(error);
                }
            }
            _ => self.unexpected = Some(format!("the last news that meant nothing: `{}`", excerpt(method))),
        }
    }
}

impl NewConsumer {
    fn of(self, producer: String, request: Option<u64>) -> Consumer {
        Consumer { id: self.id, producer, stream: Stream { kind: self.kind, rtp: self.rtp_parameters }, request }
    }
}

impl Dialect for Connection {
    fn handle_frame(&mut self, frame: Message, now: Instant) -> Result<(), ClientError> {
        match frame {
            Message::Text(text) => {
                let heard = self.link.hear(&text, now, &mut self.waiting)?;
                self.hear(heard)
            }
            Message::Pong(payload) => {
                self.waiting.pong(&payload);
                Ok(())
            }
            Message::Binary(data) => {
                Err(broken("a binary frame", &Value::from(format!("{} bytes of binary", data.len()))))
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        match message {
            ClientMessage::Join { room } => {
                self.room.clone_from(room);
                self.request("getRouterRtpCapabilities", &json!({}), Asked::Capabilities);
                Ok(())
            }
            ClientMessage::Offer { sdp, .. } => self.publish(sdp),
            ClientMessage::Answer { sdp, .. } => {
                let answer = parse(sdp)?;
                self.connect(&answer)
            }
            ClientMessage::Ping { nonce } => {
                self.waiting.ping(nonce);
                Ok(())
            }
            // An ICE lite agent learns of candidates by their checks; who closes the connection has left.
            ClientMessage::Candidate { .. } | ClientMessage::Leave => Ok(()),
        }
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.link.dead_at()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        self.link.check(now)
    }

    fn follow(&mut self, feed: Value) {
        self.producers = serde_json::from_value(feed).unwrap_or_default();
    }

    fn feed(&self) -> Option<Value> {
        (!self.follows && !self.producers.is_empty()).then(|| json!(self.producers))
    }

    fn unexpected(&self) -> Option<String> {
        if self.follows && self.consumers.len() < self.producers.len() {
            let (come, all) = (self.consumers.len(), self.producers.len());
            let more = self.unexpected.as_ref().map_or(String::new(), |it| format!("; {it}"));
            return Some(format!("consumers have come for {come} of {all} producers{more}"));
        }
        self.unexpected.clone()
    }
}

fn parse(sdp: &str) -> Result<Description, ClientError> {
    let unreadable =
        |why| ClientError::Protocol { detail: format!("an unreadable description: {why}"), quote: excerpt(sdp) };
    Description::parse(sdp).map_err(unreadable)
}

fn read<T: DeserializeOwned>(data: Value, what: &str) -> Result<T, ClientError> {
    let quote = excerpt(&data.to_string());
    serde_json::from_value(data).map_err(|why| ClientError::Protocol { detail: format!("not {what}: {why}"), quote })
}

fn broken(detail: &str, data: &Value) -> ClientError {
    ClientError::Protocol { detail: detail.into(), quote: excerpt(&data.to_string()) }
}

#[cfg(test)]
mod tests;
