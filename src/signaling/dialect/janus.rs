//! Janus over a WebSocket: a session with one handle of a plugin, which is the other end of the call.
//!
//! | plugin | who offers | what comes back |
//! |---|---|---|
//! | echotest | the client | its own media |
//! | videoroom | who publishes | nothing |
//! | videoroom | Janus, to who subscribes | the media of one publisher |
//! | audiobridge | the client | what all others in the room say, mixed |
//! | textroom | Janus | what the client says on its data channel |

pub(crate) mod textroom;

use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio_tungstenite::tungstenite::Message;

use self::textroom::TextRoom;
use super::template::{read_candidate, resolve_text};
use super::{Dialect, Opening, Place, Waiting, read_json};
use crate::plan::Layer;
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, ErrorCode, IceCandidate, ServerMessage};

/// Without it the server refuses the WebSocket.
const SUBPROTOCOL: &str = "janus-protocol";
/// How often a client says that it is there: well within the 60 s after which a session is given up by default.
const KEEPALIVE: Duration = Duration::from_secs(25);
/// Janus as the other end of the call.
const JANUS: &str = "janus";
/// Somebody has made the room already (`videoroom`, `audiobridge`).
const ROOM_EXISTS: [u64; 2] = [427, 486];

/// How a Janus server is used.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Janus {
    /// The plugin. Default: `echotest`.
    pub plugin: Plugin,
    /// The number of the room. Without it, it follows from the room of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<u64>,
    /// What the room is made with beside its number, such as `{ bitrate = 512000 }`. Without it the room has to be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<Map<String, Value>>,
    /// What the room is joined with beside its number, such as `{ pin = "…" }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Map<String, Value>>,
    /// The API's secret, as `${NAME}` of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apisecret: Option<String>,
    /// The token of a client, as `${NAME}` of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A plugin of Janus.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plugin {
    /// Sends back what it gets.
    #[default]
    EchoTest,
    /// Passes each publisher's media on to subscribers (SFU).
    VideoRoom,
    /// Mixes what is said in a room (MCU).
    AudioBridge,
    /// Passes text on that comes on data channels.
    TextRoom,
}

impl Plugin {
    fn package(self) -> &'static str {
        match self {
            Self::EchoTest => "janus.plugin.echotest",
            Self::VideoRoom => "janus.plugin.videoroom",
            Self::AudioBridge => "janus.plugin.audiobridge",
            Self::TextRoom => "janus.plugin.textroom",
        }
    }
}

impl Janus {
    /// What the peer of this name says in the room of a call, if it is on a data channel.
    pub(crate) fn text_room(&self, room: &str, name: &str) -> Option<TextRoom> {
        (self.plugin == Plugin::TextRoom).then(|| TextRoom::new(self, room, name))
    }

    /// With the values of the environment in place of `${NAME}`.
    pub(super) fn resolve(&mut self) -> Result<(), String> {
        for secret in [&mut self.apisecret, &mut self.token].into_iter().flatten() {
            *secret = resolve_text(secret)?;
        }
        Ok(())
    }
}

/// A connection that is about to be opened.
pub(super) fn open(settings: &Janus, url: &str, place: Place<'_>) -> Opening {
    let mut connection = Connection {
        settings: settings.clone(),
        name: place.peer.unwrap_or("harness").to_owned(),
        follows: place.feed.is_some(),
        waiting: Waiting::default(),
        state: State::Creating,
        session: None,
        handle: None,
        feed: None,
        is_up: false,
        room: 0,
        early: Some(Vec::new()),
        joining: None,
        transactions: 0,
        next_keepalive: None,
        video: None,
        asked: None,
        refused: None,
        unexpected: None,
    };
    connection.request("create", Map::new());
    Opening { subprotocol: Some(SUBPROTOCOL), ..Opening::new(url.to_owned(), Box::new(connection)) }
}

/// What the next answer of the server is to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Creating,
    Attaching,
    /// Of a room.
    Making,
    Joining,
    Ready,
}

/// One client's session.
#[derive(Debug)]
struct Connection {
    settings: Janus,
    /// Who the client is, for people who look at the server.
    name: String,
    /// Whether it subscribes to somebody.
    follows: bool,
    waiting: Waiting,
    state: State,
    session: Option<u64>,
    handle: Option<u64>,
    /// Whom it subscribes to, or under which number others can subscribe to it.
    feed: Option<Value>,
    /// Whether the connection for media is.
    is_up: bool,
    room: u64,
    /// Candidates that came before the description that they belong to, until that is there.
    early: Option<Vec<ServerMessage>>,
    /// The name of the room that is being joined.
    joining: Option<String>,
    transactions: u64,
    next_keepalive: Option<Instant>,
    /// The section of the offer that brings video.
    video: Option<Value>,
    /// The last request for a layer, and what Janus said if it refused one.
    asked: Option<String>,
    refused: Option<String>,
    /// The last event that means nothing here.
    unexpected: Option<String>,
}

impl Connection {
    fn request(&mut self, what: &str, mut more: Map<String, Value>) {
        self.transactions += 1;
        more.insert("janus".into(), what.into());
        more.insert("transaction".into(), format!("t{}", self.transactions).into());
        let optional = [
            ("session_id", self.session.map(Value::from)),
            ("handle_id", self.handle.map(Value::from)),
            ("apisecret", self.settings.apisecret.clone().map(Value::from)),
            ("token", self.settings.token.clone().map(Value::from)),
        ];
        more.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        self.waiting.text(Value::from(more).to_string());
    }

    fn message(&mut self, body: Value, jsep: Option<(&str, &str)>) {
        let mut more = Map::from_iter([("body".to_owned(), body)]);
        if let Some((kind, sdp)) = jsep {
            more.insert("jsep".into(), json!({"type": kind, "sdp": sdp}));
        }
        self.request("message", more);
    }

    /// A message about the room, with what the scenario adds.
    fn about_room(&mut self, body: Value, more: Option<Map<String, Value>>) {
        let Value::Object(mut body) = body else { return };
        body.insert("room".into(), self.room.into());
        body.extend(more.unwrap_or_default());
        self.message(body.into(), None);
    }

    fn join(&mut self, room: &str) {
        self.joining = Some(room.to_owned());
        self.room = self.settings.room.unwrap_or_else(|| number_of(room));
        match (self.settings.plugin, self.settings.create.clone()) {
            (Plugin::EchoTest, _) => self.joined(),
            // The room itself is entered on the data channel.
            (Plugin::TextRoom, _) => {
                self.joined();
                self.message(json!({"request": "setup"}), None);
            }
            (_, Some(create)) if !self.follows => {
                self.state = State::Making;
                self.about_room(json!({"request": "create"}), Some(create));
            }
            _ => self.enter(),
        }
    }

    /// Into the room, which is there.
    fn enter(&mut self) {
        self.state = State::Joining;
        let mut body = json!({"request": "join", "display": self.name});
        if self.settings.plugin == Plugin::VideoRoom {
            body["ptype"] = if self.follows { "subscriber" } else { "publisher" }.into();
            if let Some(feed) = self.feed.clone().filter(|_| self.follows) {
                body["streams"] = json!([{ "feed": feed }]);
            }
        }
        let join = self.settings.join.clone();
        self.about_room(body, join);
    }

    fn joined(&mut self) {
        self.state = State::Ready;
        let room = self.joining.take().unwrap_or_default();
        // Who subscribes is offered something; the others have Janus to offer to.
        self.waiting.messages.push_back(ServerMessage::Joined { room, peers: vec![JANUS.into()] });
    }

    fn offer(&mut self, sdp: &str) {
        let has = |kind: &str| sdp.contains(&format!("m={kind} "));
        let body = match self.settings.plugin {
            Plugin::EchoTest | Plugin::TextRoom => json!({"audio": has("audio"), "video": has("video")}),
            Plugin::VideoRoom => json!({"request": "publish", "audio": has("audio"), "video": has("video")}),
            Plugin::AudioBridge => json!({"request": "configure", "muted": false}),
        };
        self.message(body, Some(("offer", sdp)));
    }

    fn candidate(&mut self, candidate: Option<&IceCandidate>) {
        let candidate = match candidate.filter(|candidate| !candidate.candidate.is_empty()) {
            Some(IceCandidate { candidate, sdp_mid, sdp_m_line_index, .. }) => {
                json!({"candidate": candidate, "sdpMid": sdp_mid, "sdpMLineIndex": sdp_m_line_index})
            }
            None => json!({"completed": true}),
        };
        self.request("trickle", Map::from_iter([("candidate".to_owned(), candidate)]));
    }

    fn hear(&mut self, message: &Value, text: &str, now: Instant) -> Result<(), ClientError> {
        let is_foreign = |member: &str, own: Option<u64>| message.get(member).is_some_and(|it| it.as_u64() != own);
        if is_foreign("session_id", self.session) || is_foreign("sender", self.handle) {
            self.unexpected = Some(format!("for another session or handle: {}", excerpt(text)));
            return Ok(());
        }
        match message.get("janus").and_then(Value::as_str).unwrap_or_default() {
            "success" => self.succeeded(message, text, now),
            "event" => self.hear_event(message),
            "error" => {
                let (code, reason) = (message.pointer("/error/code"), message.pointer("/error/reason"));
                Err(ClientError::Refusal { message: refusal(code, reason, text) })
            }
            "trickle" => {
                let candidate = message.get("candidate").unwrap_or(&Value::Null);
                let candidate = match candidate.get("completed").and_then(Value::as_bool) {
                    Some(true) => Some(None),
                    _ => read_candidate(candidate),
                };
                if let Some(candidate) = candidate {
                    let candidate = ServerMessage::Candidate { from: JANUS.into(), candidate };
                    match &mut self.early {
                        Some(early) => early.push(candidate),
                        None => self.waiting.messages.push_back(candidate),
                    }
                }
                Ok(())
            }
            "hangup" => {
                let reason = message.get("reason").and_then(Value::as_str).unwrap_or("without a reason");
                self.tell(format!("Janus hangs up: {}", excerpt(reason)));
                Ok(())
            }
            "timeout" => Err(ClientError::Refusal { message: "the session timed out".into() }),
            "webrtcup" => {
                self.is_up = true;
                Ok(())
            }
            // Acknowledgements, and news of the media that its receiver knows better.
            "ack" | "media" | "slowlink" | "server_info" => Ok(()),
            // `detached` among them: Janus has given up the handle.
            other if !other.is_empty() => {
                self.unexpected = Some(excerpt(text));
                Ok(())
            }
            _ => Err(ClientError::Protocol { detail: "no message of Janus".into(), quote: excerpt(text) }),
        }
    }

    /// An answer to what was asked last.
    fn succeeded(&mut self, message: &Value, text: &str, now: Instant) -> Result<(), ClientError> {
        let id = || {
            let id = message.pointer("/data/id").and_then(Value::as_u64);
            id.ok_or_else(|| ClientError::Protocol { detail: "no id at /data/id".into(), quote: excerpt(text) })
        };
        match self.state {
            State::Creating => {
                self.session = Some(id()?);
                self.next_keepalive = Some(now + KEEPALIVE);
                self.state = State::Attaching;
                let plugin = self.settings.plugin.package();
                self.request("attach", Map::from_iter([("plugin".to_owned(), Value::from(plugin))]));
            }
            State::Attaching => {
                let handle = id()?;
                self.handle = Some(handle);
                self.state = State::Ready;
                let welcome = ServerMessage::Welcome { protocol: 0, id: handle.to_string(), limits: None };
                self.waiting.messages.push_back(welcome);
            }
            State::Making => {
                let data = message.pointer("/plugindata/data").unwrap_or(&Value::Null);
                let code = data.get("error_code");
                if code.is_some() && !code.and_then(Value::as_u64).is_some_and(|code| ROOM_EXISTS.contains(&code)) {
                    return Err(ClientError::Refusal { message: refusal(code, data.get("error"), text) });
                }
                self.enter();
            }
            State::Joining | State::Ready => {}
        }
        Ok(())
    }

    /// What the plugin says.
    fn hear_event(&mut self, message: &Value) -> Result<(), ClientError> {
        let data = message.pointer("/plugindata/data").unwrap_or(&Value::Null);
        if let Some(code) = data.get("error_code") {
            let text = refusal(Some(code), data.get("error"), &data.to_string());
            if self.asked.is_some() && self.asked.as_deref() == message.get("transaction").and_then(Value::as_str) {
                // The call goes on without.
                self.refused = Some(text);
                return Ok(());
            }
            return Err(ClientError::Refusal { message: text });
        }
        let what = data.get("videoroom").or_else(|| data.get("audiobridge")).and_then(Value::as_str);
        match (self.state, what) {
            (State::Joining, Some("joined" | "attached")) => {
                if !self.follows {
                    self.feed = data.get("id").cloned();
                }
                let mut streams = data.get("streams").and_then(Value::as_array).into_iter().flatten();
                let video = streams.find(|stream| stream.get("type").and_then(Value::as_str) == Some("video"));
                self.video = video.and_then(|stream| stream.get("mid")).cloned();
                self.joined();
            }
            (_, Some("joined" | "attached" | "event" | "updated" | "slow_link" | "talking" | "stopped-talking")) => {}
            // The echotest is `done` when it has hung up.
            (_, None)
                if data.get("echotest").or_else(|| data.get("textroom")).is_some()
                    && data.get("result") != Some(&"done".into()) => {}
            _ => self.unexpected = Some(excerpt(&data.to_string())),
        }
        if let (Some(kind), Some(sdp)) = (jsep(message, "type"), jsep(message, "sdp")) {
            let (from, sdp) = (JANUS.to_owned(), sdp.to_owned());
            self.waiting.messages.push_back(match kind {
                "offer" => ServerMessage::Offer { from, sdp },
                _ => ServerMessage::Answer { from, sdp },
            });
            self.waiting.messages.extend(self.early.take().into_iter().flatten());
        }
        Ok(())
    }

    fn tell(&mut self, message: String) {
        self.waiting.messages.push_back(ServerMessage::Error {
            code: ErrorCode::Unknown,
            message,
            about: None,
            to: None,
        });
    }
}

impl Dialect for Connection {
    fn handle_frame(&mut self, frame: Message, now: Instant) -> Result<(), ClientError> {
        match read_json(frame, "Janus", &mut self.waiting)? {
            Some((message, text)) => self.hear(&message, &text, now),
            None => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        match message {
            ClientMessage::Join { room } => self.join(room),
            ClientMessage::Offer { sdp, .. } => self.offer(sdp),
            ClientMessage::Answer { sdp, .. } => {
                let request = if self.settings.plugin == Plugin::TextRoom { "ack" } else { "start" };
                self.message(json!({"request": request}), Some(("answer", sdp)));
            }
            ClientMessage::Candidate { candidate, .. } => self.candidate(candidate.as_ref()),
            ClientMessage::Ping { nonce } => self.waiting.ping(nonce),
            ClientMessage::Leave => {
                self.handle = None;
                self.request("destroy", Map::new());
            }
        }
        Ok(())
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.next_keepalive
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if self.next_keepalive.is_some_and(|due| due <= now) {
            self.next_keepalive = Some(now + KEEPALIVE);
            self.request("keepalive", Map::new());
        }
        Ok(())
    }

    fn follow(&mut self, feed: Value) {
        self.feed = Some(feed);
    }

    fn feed(&self) -> Option<Value> {
        // Before, Janus knows of no such feed.
        self.feed.clone().filter(|_| !self.follows && self.is_up)
    }

    fn ask_for(&mut self, layer: Layer) {
        // From the lowest: Janus takes the first of what a publisher offers for the highest.
        let substream = match layer {
            Layer::Quarter => 0,
            Layer::Half => 1,
            Layer::Full => 2,
        };
        let stream = json!({"mid": self.video, "substream": substream});
        self.message(json!({"request": "configure", "streams": [stream]}), None);
        self.asked = Some(format!("t{}", self.transactions));
    }

    fn says_goodbye(&self) -> bool {
        true
    }

    fn unexpected(&self) -> Option<String> {
        if let Some(refused) = &self.refused {
            return Some(format!("Janus refuses the layer: {refused}"));
        }
        self.unexpected.as_ref().map(|data| format!("the last event that meant nothing: {data}"))
    }
}

/// What a server that refuses something says.
fn refusal(code: Option<&Value>, reason: Option<&Value>, text: &str) -> String {
    match (code, reason.and_then(Value::as_str)) {
        (Some(code), Some(reason)) => format!("{code}: {}", excerpt(reason)),
        _ => excerpt(text),
    }
}

fn jsep<'a>(message: &'a Value, member: &str) -> Option<&'a str> {
    message.get("jsep")?.get(member)?.as_str()
}

/// The same number for the same name: rooms of Janus are numbered, by default.
fn number_of(room: &str) -> u64 {
    let digest = Sha256::digest(room);
    digest.iter().take(4).fold(0, |number, byte| number << 8 | u64::from(*byte)) | 1
}

#[cfg(test)]
mod tests;
