//! PeerJS: the protocol of PeerServer, which knows ids and no rooms.
//!
//! A call is a connection with an id of its own, made by its offer; what follows names it.

pub(crate) mod serialization;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use self::serialization::Serialization;
use super::template::{Words, encode, read_candidate};
use super::unexpected::Unexpected;
use super::{Dialect, Opening, Place, Waiting, read_json};
use crate::plan::Role;
use crate::signaling::certificate::random;
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, ErrorCode, IceCandidate, ServerMessage};

/// The version of the PeerJS client that this speaks like.
const VERSION: &str = "1.5.5";
/// How often a client says that it is there: as PeerJS does. A server gives up who is silent for its `alive_timeout`.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How a PeerServer is used.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerJs {
    /// The server's key. Default: `peerjs`.
    pub key: String,
    /// The id of each end of a call, from `{room}` and `{role}` (`offerer` or `answerer`), such as `{room}-{role}`: for calls
    /// with clients that are not of this run. Without it ids are random, and peers of the run find each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How the offerer of a data connection writes messages. Default: `raw`.
    pub serialization: Serialization,
}

impl Default for PeerJs {
    fn default() -> Self {
        Self { key: "peerjs".into(), id: None, serialization: Serialization::default() }
    }
}

/// A connection that is about to be opened, under an id of the client's own choice.
pub(super) fn open(settings: &PeerJs, url: &str, place: Place<'_>) -> Result<Opening, ClientError> {
    let named = |role| settings.id.as_ref().map(|id| Words::new(None, Place { role: Some(role), ..place }).text(id));
    let (id, other) = match place.role {
        Some(Role::Offerer) => (named(Role::Offerer), named(Role::Answerer)),
        // Who answers hears from the other first.
        Some(Role::Answerer) => (named(Role::Answerer), None),
        None => (None, None),
    };
    let is_named = id.is_some();
    let id = id.map_or_else(|| token().map(|token| format!("harness{token}")), Ok)?;
    let root = url.trim_end_matches('/');
    let (key, token) = (encode(&settings.key), token()?);
    let url = format!("{root}/peerjs?key={key}&id={}&token={token}&version={VERSION}", encode(&id));
    let serialization = settings.serialization;
    let connection = Connection { is_named, other, serialization, ..Connection::new(id) };
    Ok(Opening::new(url, Box::new(connection)))
}

fn token() -> Result<String, ClientError> {
    let mut bits = [0; 12];
    random(&mut bits).map_err(|_| ClientError::Io(std::io::Error::other("no random numbers")))?;
    Ok(crate::signaling::hex(&bits))
}

/// What the server sends, and relays.
#[derive(Debug, Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    src: Option<String>,
    #[serde(default)]
    payload: Value,
}

/// A connection to another client.
#[derive(Clone, Debug)]
struct Peering {
    id: String,
    kind: &'static str,
}

/// One client's connection to the server.
#[derive(Debug)]
struct Connection {
    id: String,
    /// Whether its id, and that of the other end, follow from the call.
    is_named: bool,
    /// Whom it is going to call, if that is known.
    other: Option<String>,
    serialization: Serialization,
    waiting: Waiting,
    /// By the id of the other client.
    peerings: HashMap<String, Peering>,
    next_heartbeat: Option<Instant>,
    unexpected: Unexpected,
}

impl Connection {
    fn new(id: String) -> Self {
        Self {
            id,
            is_named: false,
            other: None,
            serialization: Serialization::default(),
            waiting: Waiting::default(),
            peerings: HashMap::new(),
            next_heartbeat: None,
            unexpected: Unexpected::default(),
        }
    }

    fn send(&mut self, kind: &str, to: &str, payload: &Value) {
        self.waiting.text(json!({"type": kind, "dst": to, "payload": payload}).to_string());
    }

    fn offer(&mut self, to: &str, sdp: &str) -> Result<(), ClientError> {
        let kind = kind_of(sdp);
        let prefix = if kind == "data" { "dc" } else { "mc" };
        let peering = Peering { id: format!("{prefix}_{}", token()?), kind };
        let mut payload = json!({
            "sdp": {"type": "offer", "sdp": sdp}, "type": kind, "connectionId": peering.id,
            "browser": "harness",
        });
        if kind == "data" {
            let serialization = self.serialization.name();
            let label = json!({"label": peering.id, "reliable": true, "serialization": serialization});
            merge(&mut payload, label);
        }
        self.send("OFFER", to, &payload);
        self.peerings.insert(to.to_owned(), peering);
        Ok(())
    }

    fn peering(&self, with: &str) -> Result<Peering, ClientError> {
        self.peerings.get(with).cloned().ok_or_else(|| ClientError::Protocol {
            detail: format!("there is no connection with {with} to speak of"),
            quote: "nothing".into(),
        })
    }

    fn answer(&mut self, to: &str, sdp: &str) -> Result<(), ClientError> {
        let Peering { id, kind } = self.peering(to)?;
        let description = json!({"type": "answer", "sdp": sdp});
        self.send("ANSWER", to, &json!({"sdp": description, "type": kind, "connectionId": id, "browser": "harness"}));
        Ok(())
    }

    fn candidate(&mut self, to: &str, candidate: Option<&IceCandidate>) -> Result<(), ClientError> {
        let Peering { id, kind } = self.peering(to)?;
        // PeerJS does not tell the end of candidates; what browsers say for it, it can bear.
        let end = IceCandidate::end();
        let candidate = candidate.unwrap_or(&end);
        self.send("CANDIDATE", to, &json!({"candidate": candidate, "type": kind, "connectionId": id}));
        Ok(())
    }

    fn hear(&mut self, Incoming { kind, src, payload }: Incoming, text: &str, now: Instant) -> Result<(), ClientError> {
        let broken = |detail: &str| ClientError::Protocol { detail: format!("{kind}: {detail}"), quote: excerpt(text) };
        let sender = || src.clone().ok_or_else(|| broken("it does not say who sends it"));
        let sdp = || {
            let sdp = payload.pointer("/sdp/sdp").and_then(Value::as_str).filter(|sdp| !sdp.is_empty());
            sdp.map(str::to_owned).ok_or_else(|| broken("it has no session description at payload.sdp.sdp"))
        };
        let message = match kind.as_str() {
            "OPEN" => {
                self.next_heartbeat = Some(now + HEARTBEAT);
                ServerMessage::Welcome { protocol: 0, id: self.id.clone(), limits: None }
            }
            "OFFER" => {
                let (from, sdp) = (sender()?, sdp()?);
                let id = payload.get("connectionId").and_then(Value::as_str);
                let id = id.ok_or_else(|| broken("it has no connectionId"))?.to_owned();
                let kind = if payload.get("type").and_then(Value::as_str) == Some("media") { "media" } else { "data" };
                self.peerings.insert(from.clone(), Peering { id, kind });
                ServerMessage::Offer { from, sdp }
            }
            "ANSWER" => ServerMessage::Answer { from: sender()?, sdp: sdp()? },
            "CANDIDATE" => {
                let candidate = read_candidate(payload.get("candidate").unwrap_or(&Value::Null));
                let candidate = candidate.ok_or_else(|| broken("it has no candidate at payload.candidate"))?;
                ServerMessage::Candidate { from: sender()?, candidate }
            }
            "LEAVE" => ServerMessage::PeerLeft { id: sender()? },
            "EXPIRE" => ServerMessage::Error {
                code: ErrorCode::UnknownRecipient,
                message: format!("{} did not take a message in time (EXPIRE)", sender()?),
                about: None,
                to: src.clone(),
            },
            "ID-TAKEN" | "INVALID-KEY" | "ERROR" => {
                let why = payload.get("msg").and_then(Value::as_str).map_or_else(|| excerpt(text), excerpt);
                return Err(ClientError::Refusal { message: format!("{kind}: {why}") });
            }
            _ => {
                self.unexpected.note(&kind, text);
                return Ok(());
            }
        };
        self.waiting.messages.push_back(message);
        Ok(())
    }
}

impl Dialect for Connection {
    fn handle_frame(&mut self, frame: Message, now: Instant) -> Result<(), ClientError> {
        if let Message::Binary(data) = &frame {
            self.unexpected.note("binary", &format!("of {} bytes", data.len()));
        }
        match read_json(frame, "PeerServer", &mut self.waiting)? {
            Some((message, text)) => self.hear(message, &text, now),
            None => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        match message {
            ClientMessage::Join { room } => {
                self.waiting.messages.push_back(ServerMessage::Joined {
                    room: room.clone(),
                    peers: self.other.iter().cloned().collect(),
                });
            }
            ClientMessage::Offer { to, sdp } => self.offer(to, sdp)?,
            ClientMessage::Answer { to, sdp } => self.answer(to, sdp)?,
            ClientMessage::Candidate { to, candidate } => self.candidate(to, candidate.as_ref())?,
            ClientMessage::Ping { nonce } => self.waiting.ping(nonce),
            ClientMessage::Leave => {
                let others: Vec<_> = self.peerings.drain().map(|(other, _)| other).collect();
                for other in others {
                    self.waiting.text(json!({"type": "LEAVE", "dst": other}).to_string());
                }
            }
        }
        Ok(())
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_heartbeat
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.next_heartbeat.is_some_and(|due| due <= now) {
            self.next_heartbeat = Some(now + HEARTBEAT);
            self.waiting.text(r#"{"type":"HEARTBEAT"}"#);
        }
        Ok(())
    }

    fn tells_who_is_there(&self) -> bool {
        self.is_named
    }

    fn says_goodbye(&self) -> bool {
        true
    }

    fn unexpected(&self) -> Option<String> {
        self.unexpected.told().map(|messages| format!("messages that mean nothing to PeerJS: {messages}"))
    }
}

/// Which of its two kinds of connections PeerJS makes of an offer.
pub(crate) fn kind_of(sdp: &str) -> &'static str {
    if sdp.contains("m=audio") || sdp.contains("m=video") { "media" } else { "data" }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let mut connection = Connection::new("me".into());
        hear(&mut connection, json!({"type": "OPEN"})).unwrap();
        assert!(
            matches!(connection.waiting.messages.pop_front(), Some(ServerMessage::Welcome { id, .. }) if id == "me")
        );
        connection
    }

    fn hear(connection: &mut Connection, message: Value) -> Result<(), ClientError> {
        connection.handle_frame(Message::text(message.to_string()), Instant::now())
    }

    fn said(connection: &mut Connection) -> Value {
        let frame = connection.waiting.frames.pop_front().unwrap();
        serde_json::from_str(frame.to_text().unwrap()).unwrap()
    }

    #[test]
    fn the_url_has_key_id_token_and_version() {
        let opening = open(&PeerJs::default(), "wss://h:1/myapp/", Place::default()).unwrap();
        assert!(opening.url.starts_with("wss://h:1/myapp/peerjs?key=peerjs&id=harness"), "{}", opening.url);
        assert!(opening.url.contains("&token=") && opening.url.ends_with("&version=1.5.5"), "{}", opening.url);
    }

    #[test]
    fn what_means_nothing_is_named() {
        let mut connection = Connection::new("me".into());
        connection.handle_frame(Message::binary(vec![1, 2, 3]), Instant::now()).unwrap();
        hear(&mut connection, json!({"type": "HELLO", "payload": "who is there?"})).unwrap();
        let unexpected = connection.unexpected().unwrap();
        assert!(unexpected.contains("`HELLO` (1×), `binary` (1×); the last: `HELLO`"), "{unexpected}");
        assert!(unexpected.contains("who is there?"), "{unexpected}");
    }

    #[test]
    fn ids_can_follow_from_the_call() {
        let settings = PeerJs { id: Some("{room}-{role}".into()), ..PeerJs::default() };
        let place = Place { room: Some("r"), role: Some(Role::Offerer), ..Place::default() };
        let Opening { url, mut dialect, .. } = open(&settings, "wss://h", place).unwrap();
        assert!(url.contains("&id=r-offerer&"), "{url}");
        dialect.say(&ClientMessage::Join { room: "r".into() }).unwrap();
        let joined = ServerMessage::Joined { room: "r".into(), peers: vec!["r-answerer".into()] };
        assert_eq!(dialect.waiting().messages.pop_front(), Some(joined));
        assert!(dialect.tells_who_is_there());
    }

    #[test]
    fn an_offer_makes_a_connection_that_all_else_names() {
        let mut connection = connection();
        connection.say(&ClientMessage::Offer { to: "you".into(), sdp: "v=0\r\nm=audio 9".into() }).unwrap();
        let offer = said(&mut connection);
        assert_eq!(
            (&offer["type"], &offer["dst"], &offer["payload"]["type"]),
            (&json!("OFFER"), &json!("you"), &json!("media"))
        );
        assert_eq!(offer["payload"]["sdp"]["type"], "offer");
        connection.say(&ClientMessage::Candidate { to: "you".into(), candidate: None }).unwrap();
        let candidate = said(&mut connection);
        assert_eq!(candidate["payload"]["connectionId"], offer["payload"]["connectionId"]);
        assert_eq!(candidate["payload"]["candidate"]["candidate"], "");
        let answer = json!({"type": "ANSWER", "src": "you", "payload": {"sdp": {"type": "answer", "sdp": "v=0"}, "type": "media"}});
        hear(&mut connection, answer).unwrap();
        let heard = connection.waiting.messages.pop_front();
        assert_eq!(heard, Some(ServerMessage::Answer { from: "you".into(), sdp: "v=0".into() }));
    }

    #[test]
    fn an_answer_names_the_connection_of_the_offer() {
        let mut connection = connection();
        let payload =
            json!({"sdp": {"type": "offer", "sdp": "v=0"}, "type": "data", "connectionId": "dc_x", "label": "dc_x"});
        hear(&mut connection, json!({"type": "OFFER", "src": "you", "payload": payload})).unwrap();
        connection.say(&ClientMessage::Answer { to: "you".into(), sdp: "v=0".into() }).unwrap();
        let answer = said(&mut connection);
        assert_eq!((&answer["payload"]["connectionId"], &answer["payload"]["type"]), (&json!("dc_x"), &json!("data")));
    }

    #[test]
    fn a_heartbeat_is_due_every_five_seconds() {
        let mut connection = connection();
        let due = connection.poll_timeout().unwrap();
        connection.handle_timeout(due).unwrap();
        assert_eq!(said(&mut connection), json!({"type": "HEARTBEAT"}));
        assert_eq!(connection.poll_timeout(), Some(due + HEARTBEAT));
    }

    #[test]
    fn refusals_quote_the_server() {
        let mut connection = connection();
        let error = hear(&mut connection, json!({"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}})).unwrap_err();
        assert!(error.to_string().contains("ID-TAKEN: ID is taken"), "{error}");
        let error = hear(&mut connection, json!({"type": "OFFER", "src": "you", "payload": {}})).unwrap_err();
        assert!(error.to_string().contains("payload.sdp.sdp"), "{error}");
        hear(&mut connection, json!({"type": "EXPIRE", "src": "you"})).unwrap();
        assert!(
            matches!(connection.waiting.messages.pop_front(), Some(ServerMessage::Error { message, .. }) if message.contains("EXPIRE"))
        );
        hear(&mut connection, json!({"type": "WEATHER"})).unwrap();
        assert_eq!(connection.waiting.messages.pop_front(), None);
    }
}
