//! PeerServer: what clients of PeerJS say and hear.
//!
//! A client brings its id, and its key is its room. What clients of PeerJS tell each other beside a description stays with
//! it, in a member of its own, so that they get it as they would from a PeerServer, and others pass over it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::hub::ROOM_NAME_BYTES;
use super::incoming::Refusal;
use super::tongue::{Scene, Tongue};
use crate::signaling::dialect::kind_of;
use crate::signaling::protocol::ErrorCode;

/// How long a message waits for its recipient to come, as PeerServer's do.
const EXPIRES_AFTER: Duration = Duration::from_secs(5);
/// So many messages of a client may wait.
const WAITING: usize = 64;
/// The member that carries what only PeerJS knows.
const MEMBER: &str = "peerjs";
const LONGEST_ID: usize = 64;

/// What a client asks to be, in the query of its URL.
#[derive(Debug, Default)]
pub(super) struct Claim {
    /// The server's key, which is the client's room.
    pub(super) key: String,
    /// The id that others know it by.
    pub(super) id: String,
    /// What it made up for itself, by which its next connection is known as its own.
    pub(super) token: String,
}

impl Claim {
    /// # Errors
    ///
    /// What PeerServer says to a claim that is none.
    pub(super) fn parse(query: &str) -> Result<Self, Value> {
        let mut claim = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "key" => claim.key = value.into_owned(),
                "id" => claim.id = value.into_owned(),
                "token" => claim.token = value.into_owned(),
                _ => {}
            }
        }
        let refused = |message: &str| json!({"type": "ERROR", "payload": {"msg": message}});
        if claim.id.is_empty() || claim.token.is_empty() || claim.key.is_empty() {
            return Err(refused("No id, token, or key supplied to websocket server"));
        }
        if claim.key.len() > ROOM_NAME_BYTES || claim.key.chars().any(char::is_control) {
            return Err(refused("Invalid key provided"));
        }
        if !is_id(&claim.id) {
            return Err(refused(&format!("the id is not 1 to {LONGEST_ID} letters, digits, - and _")));
        }
        Ok(claim)
    }
}

/// What PeerServer says if somebody has the id.
pub(super) fn taken() -> Value {
    json!({"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}})
}

fn is_id(id: &str) -> bool {
    id.len() <= LONGEST_ID
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// One client.
#[derive(Debug)]
pub(super) struct PeerJs {
    room: String,
    id: String,
    token: String,
    /// The connection with each other client, for messages of clients that do not know of such a thing.
    connections: BTreeMap<String, (String, &'static str)>,
    /// When messages to a client that is not there are given up.
    waiting: VecDeque<(Instant, String)>,
    /// For ids of connections.
    made: u64,
}

/// What a client sends.
#[derive(Debug, Deserialize)]
struct Incoming {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    dst: Option<String>,
    #[serde(default)]
    payload: Map<String, Value>,
}

impl PeerJs {
    pub(super) fn new(claim: Claim) -> Self {
        let Claim { key, id, token } = claim;
        Self { room: key, id, token, connections: BTreeMap::new(), waiting: VecDeque::new(), made: 0 }
    }

    fn pass_on(&mut self, scene: Scene<'_>, Incoming { kind, dst, mut payload }: Incoming) -> Result<(), Refusal> {
        let malformed = |what: &str| Refusal::new(ErrorCode::Malformed, format!("{kind}: {what}"));
        let to = dst.ok_or_else(|| malformed("\"dst\" must be a string"))?;
        let mut message = Map::from_iter([("from".to_owned(), Value::from(scene.id.as_ref()))]);
        match kind.as_str() {
            "OFFER" | "ANSWER" => {
                let description = payload.remove("sdp").unwrap_or_default();
                let sdp = description.get("sdp").and_then(Value::as_str);
                let sdp = sdp.ok_or_else(|| malformed("\"payload.sdp.sdp\" must be a string"))?;
                if let Some(id) = payload.get("connectionId").and_then(Value::as_str) {
                    self.connections.insert(to.clone(), (id.to_owned(), kind_of(sdp)));
                }
                message.insert("type".into(), kind.to_lowercase().into());
                message.insert("sdp".into(), sdp.into());
            }
            "CANDIDATE" => {
                let candidate = payload.remove("candidate").unwrap_or_default();
                message.insert("type".into(), "candidate".into());
                message.insert("candidate".into(), candidate);
            }
            // Nothing that others know.
            _ => drop(message.insert("type".into(), "leave-call".into())),
        }
        message.insert(MEMBER.into(), payload.into());
        let text: Utf8Bytes = Value::from(message).to_string().into();
        let Err(refusal) = scene.hub.relay(scene.id, &to, || text.clone()) else { return Ok(()) };
        if refusal.code != ErrorCode::UnknownRecipient || self.waiting.len() >= WAITING {
            return Err(refusal);
        }
        scene.hub.keep(scene.id, &to, text);
        self.waiting.push_back((Instant::now() + EXPIRES_AFTER, to));
        Ok(())
    }

    /// The connection with another client that a message belongs to, made up for those who do not know of such a thing.
    fn connection(&mut self, with: &str, sdp: Option<&str>) -> (String, &'static str) {
        if sdp.is_none()
            && let Some(known) = self.connections.get(with)
        {
            return known.clone();
        }
        self.made += 1;
        let kind = sdp.map_or("media", kind_of);
        let made = (format!("{}_{}{}", if kind == "media" { "mc" } else { "dc" }, with, self.made), kind);
        self.connections.insert(with.to_owned(), made.clone());
        made
    }
}

impl Tongue for PeerJs {
    fn greet(&mut self, scene: Scene<'_>) {
        scene.outbox.push(r#"{"type":"open"}"#.into());
        match scene.hub.join(scene.id, &self.room) {
            // It has connected again.
            Err(refusal) if refusal.code == ErrorCode::AlreadyJoined => {}
            Err(refusal) => scene.refuse(&refusal, None, None),
            Ok(()) => {}
        }
    }

    fn act(&mut self, scene: Scene<'_>, text: &str) {
        let incoming = serde_json::from_str::<Incoming>(text);
        let outcome = match incoming {
            Ok(incoming) => match incoming.kind.as_str() {
                "HEARTBEAT" => Ok(()),
                "LEAVE" if incoming.dst.is_none() => Ok(()),
                "OFFER" | "ANSWER" | "CANDIDATE" | "LEAVE" | "EXPIRE" => self.pass_on(scene, incoming),
                _ => Err(Refusal::new(
                    ErrorCode::UnknownType,
                    "the types are HEARTBEAT, OFFER, ANSWER, CANDIDATE and LEAVE",
                )),
            },
            Err(error) => Err(Refusal::new(ErrorCode::Malformed, format!("no message of PeerJS: {error}"))),
        };
        if let Err(refusal) = outcome {
            scene.refuse(&refusal, None, None);
        }
    }

    fn hear(&mut self, text: Utf8Bytes) -> Option<Utf8Bytes> {
        let mut message: Map<String, Value> = serde_json::from_str(&text).ok()?;
        let kind = message.get("type")?.as_str()?.to_owned();
        let from = message.get("from").and_then(Value::as_str).map(str::to_owned);
        let own = message.remove(MEMBER).and_then(|own| match own {
            Value::Object(own) => Some(own),
            _ => None,
        });
        let said = match (kind.as_str(), from) {
            ("open", _) => json!({"type": "OPEN"}),
            ("offer" | "answer", Some(from)) => {
                let sdp = message.get("sdp")?.as_str()?;
                let is_offer = kind == "offer";
                let mut payload = own.unwrap_or_else(|| {
                    let (id, kind) = self.connection(&from, is_offer.then_some(sdp));
                    let mut payload = Map::from_iter([
                        ("type".to_owned(), Value::from(kind)),
                        ("connectionId".to_owned(), Value::from(id.as_str())),
                    ]);
                    if is_offer && kind == "data" {
                        payload.insert("label".into(), id.into());
                        payload.insert("serialization".into(), "raw".into());
                        payload.insert("reliable".into(), true.into());
                    }
                    payload
                });
                payload.insert("sdp".into(), json!({"type": kind, "sdp": sdp}));
                json!({"type": kind.to_uppercase(), "src": from, "dst": self.id, "payload": payload})
            }
            ("candidate", Some(from)) => {
                let candidate = message.remove("candidate")?;
                // PeerJS does not know of an end of candidates.
                if candidate.is_null() {
                    return None;
                }
                let mut payload = own.unwrap_or_else(|| {
                    let (id, kind) = self.connection(&from, None);
                    Map::from_iter([
                        ("type".to_owned(), Value::from(kind)),
                        ("connectionId".to_owned(), Value::from(id)),
                    ])
                });
                payload.insert("candidate".into(), candidate);
                json!({"type": "CANDIDATE", "src": from, "dst": self.id, "payload": payload})
            }
            ("leave-call", Some(from)) => json!({"type": "LEAVE", "src": from, "dst": self.id}),
            ("error", _) => match message.get("to").and_then(Value::as_str) {
                Some(to) => json!({"type": "EXPIRE", "src": to, "dst": self.id}),
                None => json!({"type": "ERROR", "payload": {"msg": message.get("message")?}}),
            },
            _ => return None,
        };
        Some(said.to_string().into())
    }

    /// A PeerServer tells nobody.
    fn wants_to_know_who_is_there(&self) -> bool {
        false
    }

    fn token(&self) -> Option<String> {
        Some(self.token.clone())
    }

    fn due(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }

    fn lapse(&mut self, scene: Scene<'_>, now: Instant) {
        while self.waiting.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, to)) = self.waiting.pop_front() else { return };
            if scene.hub.give_up(scene.id, &to) {
                let refusal = Refusal::new(ErrorCode::UnknownRecipient, "nobody with this id has come");
                scene.refuse(&refusal, None, Some(to));
            }
        }
    }
}

#[cfg(test)]
mod tests;
