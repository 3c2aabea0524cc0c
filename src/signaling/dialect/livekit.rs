//! LiveKit over its WebSocket: messages in protobuf, in a room that an access token names. The server is the other end of
//! the call, and passes media on.
//!
//! | who | says | and hears |
//! |---|---|---|
//! | both | nothing: the token says who comes, and where | `join` |
//! | who publishes | `add_track` for each section of its offer | `track_published` |
//! | | then `offer` | `answer` |
//! | who subscribes | `subscription` to the publisher's tracks, and `answer` to each offer | `offer`, as often as tracks come |
//!
//! The first offer to a subscriber may hold no more than data channels: media comes with a later one.

mod messages;
mod token;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prost::Message as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use self::messages::{
    AUDIO, AddTrack, CAMERA, CLIENT_INITIATED, HIGH, Heard, Join, Leave, MICROPHONE, PUBLISHER, Ping, Request,
    SUBSCRIBER, SessionDescription, SignalRequest, SignalResponse, TrackPublished, Trickle, UpdateSubscription, VIDEO,
    VideoLayer,
};
use self::token::Grant;
use super::template::{read_candidate, resolve_text};
use super::{Dialect, Opening, Place, Waiting};
use crate::signaling::client::{ClientError, excerpt};
use crate::signaling::protocol::{ClientMessage, ErrorCode, IceCandidate, ServerMessage};

/// The server as the other end of the call.
const LIVEKIT: &str = "livekit";
/// Of the protocol: a server with this one gives the reason of a `leave`, and an answer to each request that fails.
const VERSION: u32 = 15;

/// How a LiveKit server is used.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveKit {
    /// The API key that access tokens are made with. Default: `devkey`, that of `livekit-server --dev`.
    pub key: String,
    /// Its secret, as `${NAME}` of the environment. Without it, that of `livekit-server --dev`, which everybody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl Default for LiveKit {
    fn default() -> Self {
        Self { key: "devkey".into(), secret: None }
    }
}

impl LiveKit {
    /// With the values of the environment in place of `${NAME}`.
    pub(super) fn resolve(&mut self) -> Result<(), String> {
        if let Some(secret) = &mut self.secret {
            *secret = resolve_text(secret)?;
        }
        Ok(())
    }
}

/// A connection that is about to be opened.
pub(super) fn open(settings: &LiveKit, url: &str, place: Place<'_>) -> Opening {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/rtc").unwrap_or(url);
    // What a viewer gets must not depend on how the server thinks of its screen or its network.
    let wanted = "auto_subscribe=0&adaptive_stream=0&subscriber_allow_pause=0";
    let url = format!("{url}/rtc?{wanted}&protocol={VERSION}&sdk=harness&version={}", env!("CARGO_PKG_VERSION"));
    let (identity, room) = (place.peer.unwrap_or("harness"), place.room.unwrap_or("harness"));
    let follows = place.feed.is_some();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let grant = Grant { identity, room, publishes: !follows };
    let token = token::sign(&settings.key, settings.secret.as_deref().unwrap_or("secret"), grant, now);
    let connection = Connection { follows, ..Connection::default() };
    Opening { bearer: Some(token), ..Opening::new(url, Box::new(connection)) }
}

/// One client's connection.
#[derive(Debug, Default)]
struct Connection {
    /// Whether it subscribes to somebody.
    follows: bool,
    waiting: Waiting,
    publication: Publication,
    /// The tracks that it subscribes to, or those that others can subscribe to.
    tracks: Vec<String>,
    /// Candidates that came before the description that they belong to.
    early: Vec<ServerMessage>,
    is_described: bool,
    /// Of descriptions: that of the server's last one, and how many the client has made.
    heard: u32,
    said: u32,
    heartbeat: Option<Heartbeat>,
    /// The last that means nothing here.
    unexpected: Option<String>,
}

/// What a client offers to send.
#[derive(Debug, Default)]
struct Publication {
    /// The ids of its tracks in the offer, in the order of their sections, each with the server's once it has one.
    tracks: Vec<(String, Option<String>)>,
    /// The offer and its candidates, until the server knows of all tracks.
    held: Vec<Request>,
}

impl Connection {
    fn send(&mut self, request: Request) {
        let message = SignalRequest { message: Some(request) };
        self.waiting.frames.push_back(Message::binary(message.encode_to_vec()));
    }

    fn publish(&mut self, sdp: &str) -> Result<(), ClientError> {
        let tracks = tracks(sdp);
        if tracks.is_empty() {
            let detail = "an offer without a track (a=msid) cannot be published".to_owned();
            return Err(ClientError::Protocol { detail, quote: excerpt(sdp) });
        }
        for (kind, cid) in tracks {
            let is_video = kind == "video";
            self.send(Request::AddTrack(AddTrack {
                cid: cid.to_owned(),
                name: cid.to_owned(),
                kind: if is_video { VIDEO } else { AUDIO },
                source: if is_video { CAMERA } else { MICROPHONE },
                layers: if is_video { vec![VideoLayer { quality: HIGH }] } else { Vec::new() },
                disable_red: true,
            }));
            self.publication.tracks.push((cid.to_owned(), None));
        }
        self.said += 1;
        let (kind, sdp, id) = ("offer".into(), sdp.to_owned(), self.said);
        self.publication.held.push(Request::Offer(SessionDescription { kind, sdp, id }));
        Ok(())
    }

    /// Offers, once the server knows of all tracks.
    fn published(&mut self, TrackPublished { cid, track }: TrackPublished) {
        let sid = track.map(|track| track.sid);
        match self.publication.tracks.iter_mut().find(|(own, _)| *own == cid) {
            Some((_, known)) => *known = sid,
            None => self.unexpected = Some(format!("the server publishes the track {cid:?}, which was not offered")),
        }
        let sids: Option<Vec<_>> = self.publication.tracks.iter().map(|(_, sid)| sid.clone()).collect();
        if let Some(sids) = sids {
            self.tracks = sids;
            std::mem::take(&mut self.publication.held).into_iter().for_each(|request| self.send(request));
        }
    }

    fn candidate(&mut self, candidate: Option<&IceCandidate>) {
        let candidate = candidate.filter(|candidate| !candidate.candidate.is_empty());
        let trickle = Request::Trickle(Trickle {
            candidate_init: candidate.map_or_else(String::new, |candidate| json!(candidate).to_string()),
            target: self.target(),
            is_final: candidate.is_none(),
        });
        if self.publication.held.is_empty() {
            self.send(trickle);
        } else {
            self.publication.held.push(trickle);
        }
    }

    /// Which of a participant's two connections the client has.
    fn target(&self) -> i32 {
        if self.follows { SUBSCRIBER } else { PUBLISHER }
    }

    fn hear(&mut self, heard: Heard, data: &[u8], now: Instant) -> Result<(), ClientError> {
        match heard {
            Heard::Join(join) => return self.joined(&join, now),
            Heard::Answer(answer) if !self.follows => {
                self.described(ServerMessage::Answer { from: LIVEKIT.into(), sdp: answer.sdp });
            }
            Heard::Offer(offer) if self.follows => {
                self.heard = offer.id;
                self.described(ServerMessage::Offer { from: LIVEKIT.into(), sdp: offer.sdp });
            }
            Heard::Answer(_) => self.unexpected = Some("an answer to who subscribes meant nothing".into()),
            Heard::Offer(_) => self.unexpected = Some("an offer to who publishes meant nothing".into()),
            Heard::Trickle(trickle) if trickle.target == self.target() => self.trickled(&trickle, data)?,
            Heard::Trickle(_) => {}
            Heard::TrackPublished(published) => self.published(published),
            Heard::Leave(leave) => return Err(refusal(leave.text())),
            Heard::Subscription(response) => return Err(refusal(response.text())),
            Heard::Request(response) if response.is_refusal() => return Err(refusal(response.text())),
            Heard::Request(_) => {}
            Heard::Permission(permission) if permission.allowed => {}
            Heard::Permission(permission) => {
                return Err(refusal(format!("the subscription of {} is not allowed", permission.track_sid)));
            }
            Heard::Mute(mute) if mute.muted => self.tell(format!("the server mutes the track {}", mute.sid)),
            Heard::Mute(_) => {}
            Heard::TrackUnpublished(gone) => {
                self.tell(format!("the server has taken the track {} back", gone.track_sid));
            }
            Heard::Pong(pong) => {
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.rtt = heartbeat.milliseconds(now) - pong.last_ping_timestamp;
                }
            }
        }
        Ok(())
    }

    fn joined(&mut self, join: &Join, now: Instant) -> Result<(), ClientError> {
        if !join.alternative_url.is_empty() {
            return Err(refusal(format!("it wants clients to go to {}", excerpt(&join.alternative_url))));
        }
        self.heartbeat = Heartbeat::new(join, now);
        let id = join.participant.as_ref().map(|participant| participant.identity.clone()).unwrap_or_default();
        self.waiting.messages.push_back(ServerMessage::Welcome { protocol: 0, id, limits: None });
        Ok(())
    }

    fn described(&mut self, description: ServerMessage) {
        self.waiting.messages.push_back(description);
        self.is_described = true;
        self.waiting.messages.extend(self.early.drain(..));
    }

    fn trickled(&mut self, trickle: &Trickle, data: &[u8]) -> Result<(), ClientError> {
        let candidate = match trickle.candidate_init.as_str() {
            "" => None,
            init => {
                let init: Option<Value> = serde_json::from_str(init).ok();
                init.as_ref().and_then(read_candidate).ok_or_else(|| broken("a candidate that is none", data))?
            }
        };
        let candidate = ServerMessage::Candidate { from: LIVEKIT.into(), candidate };
        if self.is_described {
            self.waiting.messages.push_back(candidate);
        } else {
            self.early.push(candidate);
        }
        Ok(())
    }

    fn tell(&mut self, message: String) {
        let error = ServerMessage::Error { code: ErrorCode::Unknown, message, about: None, to: None };
        self.waiting.messages.push_back(error);
    }
}

impl Dialect for Connection {
    fn handle_frame(&mut self, frame: Message, now: Instant) -> Result<(), ClientError> {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.unanswered = None;
        }
        match frame {
            Message::Binary(data) => {
                let response = SignalResponse::decode(Bytes::clone(&data));
                let response = response.map_err(|error| broken(&format!("no message of LiveKit: {error}"), &data))?;
                match response.message {
                    Some(heard) => self.hear(heard, &data, now),
                    None if data.is_empty() => Err(broken("an empty message", &data)),
                    // News of speakers, qualities and the room.
                    None => Ok(()),
                }
            }
            Message::Text(text) => Err(broken("a text where LiveKit sends protobuf", text.as_bytes())),
            Message::Pong(payload) => {
                self.waiting.pong(&payload);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        match message {
            ClientMessage::Join { room } => {
                if self.follows {
                    let track_sids = self.tracks.clone();
                    self.send(Request::Subscription(UpdateSubscription { track_sids, subscribe: true }));
                }
                let (room, peers) = (room.clone(), vec![LIVEKIT.into()]);
                self.waiting.messages.push_back(ServerMessage::Joined { room, peers });
            }
            ClientMessage::Offer { sdp, .. } => self.publish(sdp)?,
            ClientMessage::Answer { sdp, .. } => {
                let (kind, sdp, id) = ("answer".into(), sdp.clone(), self.heard);
                self.send(Request::Answer(SessionDescription { kind, sdp, id }));
            }
            ClientMessage::Candidate { candidate, .. } => self.candidate(candidate.as_ref()),
            ClientMessage::Ping { nonce } => self.waiting.ping(nonce),
            ClientMessage::Leave => self.send(Request::Leave(Leave { reason: CLIENT_INITIATED, action: 0 })),
        }
        Ok(())
    }

    fn waiting(&mut self) -> &mut Waiting {
        &mut self.waiting
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.heartbeat.as_ref().map(Heartbeat::next)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), ClientError> {
        if let Some(ping) = self.heartbeat.as_mut().map(|heartbeat| heartbeat.beat(now)).transpose()?.flatten() {
            self.send(Request::Ping(ping));
        }
        Ok(())
    }

    fn follow(&mut self, feed: Value) {
        self.tracks = serde_json::from_value(feed).unwrap_or_default();
    }

    fn feed(&self) -> Option<Value> {
        (!self.follows && !self.tracks.is_empty()).then(|| json!(self.tracks))
    }

    fn says_goodbye(&self) -> bool {
        true
    }

    fn unexpected(&self) -> Option<String> {
        let unpublished: Vec<_> =
            self.publication.tracks.iter().filter(|(_, sid)| sid.is_none()).map(|(cid, _)| cid.as_str()).collect();
        if self.unexpected.is_none() && !unpublished.is_empty() {
            return Some(format!("the server has not published {}", unpublished.join(", ")));
        }
        self.unexpected.clone()
    }
}

/// The pings of a connection, by which server and client know of each other that they are there.
#[derive(Debug)]
struct Heartbeat {
    began: Instant,
    interval: Duration,
    timeout: Duration,
    due: Instant,
    /// When the first ping was sent after which nothing has come.
    unanswered: Option<Instant>,
    /// In milliseconds, as of the last pong.
    rtt: i64,
}

impl Heartbeat {
    /// As the server wants it; without an interval there are no pings.
    fn new(join: &Join, now: Instant) -> Option<Self> {
        let seconds = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let interval = Some(seconds(join.ping_interval)).filter(|interval| !interval.is_zero())?;
        let timeout = Some(seconds(join.ping_timeout)).filter(|timeout| !timeout.is_zero()).unwrap_or(2 * interval);
        Some(Self { began: now, interval, timeout, due: now + interval, unanswered: None, rtt: 0 })
    }

    fn next(&self) -> Instant {
        let dead_at = self.unanswered.map(|since| since + self.timeout);
        dead_at.map_or(self.due, |dead_at| self.due.min(dead_at))
    }

    fn beat(&mut self, now: Instant) -> Result<Option<Ping>, ClientError> {
        if self.unanswered.is_some_and(|since| since + self.timeout <= now) {
            return Err(ClientError::Silent { after: self.timeout });
        }
        if self.due > now {
            return Ok(None);
        }
        self.due = now + self.interval;
        self.unanswered.get_or_insert(now);
        Ok(Some(Ping { timestamp: self.milliseconds(now), rtt: self.rtt }))
    }

    fn milliseconds(&self, now: Instant) -> i64 {
        i64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(i64::MAX)
    }
}

fn refusal(message: String) -> ClientError {
    ClientError::Refusal { message }
}

/// Kind and id of the tracks in an offer (RFC 8830), in the order of their sections.
fn tracks(sdp: &str) -> Vec<(&str, &str)> {
    let mut kind = "";
    let mut tracks = Vec::new();
    for line in sdp.lines() {
        if let Some(section) = line.strip_prefix("m=") {
            kind = section.split(' ').next().unwrap_or_default();
        } else if let Some((_, track)) = line.strip_prefix("a=msid:").and_then(|msid| msid.split_once(' ')) {
            tracks.push((kind, track.trim()));
        }
    }
    tracks
}

fn broken(detail: &str, data: &[u8]) -> ClientError {
    const SHOWN: usize = 32;
    let quote = match std::str::from_utf8(data) {
        Ok(text) if !text.contains(char::is_control) => excerpt(text),
        _ => {
            let more = if data.len() > SHOWN { "…" } else { "" };
            let start: String = data.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
            format!("{start}{more} ({} bytes)", data.len())
        }
    };
    ClientError::Protocol { detail: detail.into(), quote }
}

#[cfg(test)]
mod tests;
