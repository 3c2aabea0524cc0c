//! How an application uses socket.io, which carries events but says nothing of calls.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The events of an application, and where in them is what a call needs. Without any, what the bundled server does.
///
/// What is sent is JSON with words in braces: `{room}`, `{id}` (the client's own), `{to}`, `{type}`, `{sdp}`,
/// `{description}` (`type` and `sdp`), `{candidate}` (in the form of the W3C), `{line}`, `{mid}`, `{index}` (its parts), and
/// `{signal}` (either, as simple-peer has them).
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SocketIo {
    /// The path of the server's Engine.IO, with or without slashes around it. Default: `/socket.io/`.
    #[serde(default = "path")]
    pub path: String,
    /// The namespace. Default: `/`.
    #[serde(default = "namespace")]
    pub namespace: String,
    /// What the URL's query says beside Engine.IO's own: `{room}` stands for the room.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// What is given on connecting to the namespace, such as `{ token = "${TOKEN}" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Value>,
    /// Where the client hears which id others know it by. Without it, that is the id of its socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Hear>,
    /// How the client enters a room. Without it, it is there as soon as it is connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Say>,
    /// Where it hears who is in the room: a list of ids, or of objects with an `id`, or an object of objects whose keys are the
    /// ids. Without it, the peers of a run find each other without the server's help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Hear>,
    /// Where it hears who comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_joined: Option<Hear>,
    /// Where it hears who leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_left: Option<Hear>,
    /// Where it hears that it is refused something; nothing there, `null` or `false` is no refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Hear>,
    /// Offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offer: Option<Exchange>,
    /// Answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Exchange>,
    /// Candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Exchange>,
    /// All three by one event, as applications of simple-peer have it; replaces the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Exchange>,
}

/// An event that the client emits.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// Its name.
    pub event: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<Value>,
    /// Whether the server acknowledges it. What it acknowledges it with counts as an event of the same name.
    #[serde(default)]
    pub ack: bool,
}

/// An event that the client hears, and where in its arguments something stands.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hear {
    /// Its name.
    pub event: String,
    /// A JSON pointer (RFC 6901) into the list of its arguments, such as `/0/id`.
    pub at: String,
}

/// An event that goes from peer to peer.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Its name where it is emitted.
    pub event: String,
    /// Its arguments where it is emitted.
    pub args: Vec<Value>,
    /// Its name where it is heard, if that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_as: Option<String>,
    /// Where in the arguments that are heard the sender's id stands. Without it there is only one other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where in the arguments that are heard the description or the candidate stands.
    pub at: String,
}

impl Exchange {
    /// The name of the event where it is heard.
    pub(super) fn heard_as(&self) -> &str {
        self.heard_as.as_ref().unwrap_or(&self.event)
    }
}

fn path() -> String {
    "/socket.io/".into()
}

fn namespace() -> String {
    "/".into()
}

impl Default for SocketIo {
    fn default() -> Self {
        let hear = |event: &str, at: &str| Some(Hear { event: event.into(), at: at.into() });
        let exchange = |event: &str, word: &str| {
            Some(Exchange {
                event: event.into(),
                args: vec![json!({ event: word, "to": "{to}" })],
                heard_as: None,
                from: Some("/0/from".into()),
                at: format!("/0/{event}"),
            })
        };
        Self {
            path: path(),
            namespace: namespace(),
            query: BTreeMap::from([("room".into(), "{room}".into())]),
            auth: None,
            id: None,
            join: None,
            peers: hear("newUser", "/1"),
            peer_joined: hear("newUser", "/0"),
            peer_left: hear("userLeft", "/0"),
            refused: hear("refused", "/0"),
            offer: exchange("offer", "{description}"),
            answer: exchange("answer", "{description}"),
            candidate: exchange("candidate", "{candidate}"),
            signal: None,
        }
    }
}

impl SocketIo {
    /// Every event that goes from peer to peer, with what it is.
    pub(crate) fn exchanges(&self) -> impl Iterator<Item = (&'static str, &Exchange)> {
        let all = match &self.signal {
            Some(signal) => [Some(("signal", signal)), None, None],
            None => [
                self.offer.as_ref().map(|it| ("offer", it)),
                self.answer.as_ref().map(|it| ("answer", it)),
                self.candidate.as_ref().map(|it| ("candidate", it)),
            ],
        };
        all.into_iter().flatten()
    }

    /// The event that carries this.
    pub(super) fn said_as(&self, what: &str) -> Option<&Exchange> {
        self.exchanges().find(|(it, _)| *it == what || *it == "signal").map(|(_, exchange)| exchange)
    }

    /// Every event that is only heard, with what it is.
    pub(crate) fn hearings(&self) -> impl Iterator<Item = (&'static str, &Hear)> {
        let all = [
            ("id", &self.id),
            ("peers", &self.peers),
            ("peer_joined", &self.peer_joined),
            ("peer_left", &self.peer_left),
            ("refused", &self.refused),
        ];
        all.into_iter().filter_map(|(what, hear)| Some((what, hear.as_ref()?)))
    }
}
