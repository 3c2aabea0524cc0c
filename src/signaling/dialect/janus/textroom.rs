//! Janus's textroom: what is said on the data channel, in JSON. Everybody in the room hears a message, its sender too.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Janus, number_of, refusal};
use crate::signaling::client::excerpt;

/// The label of the channel that Janus speaks on.
pub(crate) const LABEL: &str = "JanusDataChannel";
/// Somebody has made the room already.
const ROOM_EXISTS: u64 = 418;

/// One client's way into a room, and what it says there. Messages are passed in; what is to be sent waits to be taken.
#[derive(Debug)]
pub(crate) struct TextRoom {
    room: u64,
    name: String,
    settings: Janus,
    joining: bool,
    joined: bool,
    waiting: VecDeque<String>,
}

/// What a message of Janus means.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// The client is in the room.
    Joined,
    /// What the client said itself.
    Own(Vec<u8>),
    /// Janus refuses something, in its words.
    Refused(String),
    /// What concerns others.
    Nothing,
}

impl TextRoom {
    /// A client that is about to enter the room of a call.
    pub(super) fn new(settings: &Janus, room: &str, name: &str) -> Self {
        let room = settings.room.unwrap_or_else(|| number_of(room));
        let mut entering = Self {
            room,
            name: name.to_owned(),
            settings: settings.clone(),
            joining: false,
            joined: false,
            waiting: VecDeque::new(),
        };
        match entering.settings.create.clone() {
            Some(create) => entering.request("create", Value::from(create)),
            None => entering.join(),
        }
        entering
    }

    /// The next text to be sent.
    pub(crate) fn poll(&mut self) -> Option<String> {
        self.waiting.pop_front()
    }

    /// Whether something is to be sent.
    pub(crate) fn has_more(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the client is in the room.
    pub(crate) fn is_joined(&self) -> bool {
        self.joined
    }

    /// What says this to everybody in the room.
    pub(crate) fn message(&self, content: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(content);
        json!({"textroom": "message", "transaction": "say", "room": self.room, "text": text, "ack": false}).to_string()
    }

    /// Takes what Janus sent.
    pub(crate) fn handle(&mut self, message: &[u8]) -> Heard {
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return Heard::Refused(format!(
                "no message of Janus's textroom: {}",
                excerpt(&String::from_utf8_lossy(message))
            ));
        };
        let of = |member: &str| message.get(member).and_then(Value::as_str).unwrap_or_default();
        match of("textroom") {
            "success" if self.joining && of("transaction") == "join" => {
                self.joined = true;
                Heard::Joined
            }
            "success" if of("transaction") == "create" => {
                self.join();
                Heard::Nothing
            }
            "error" => {
                let code = message.get("error_code");
                if code.and_then(Value::as_u64) == Some(ROOM_EXISTS) && !self.joining {
                    self.join();
                    return Heard::Nothing;
                }
                Heard::Refused(refusal(code, message.get("error"), &message.to_string()))
            }
            "message" if of("from") == self.name => {
                // What is no Base64 is not what was said.
                Heard::Own(BASE64_STANDARD.decode(of("text")).unwrap_or_default())
            }
            _ => Heard::Nothing,
        }
    }

    fn join(&mut self) {
        self.joining = true;
        let mut more = self.settings.join.clone().unwrap_or_default();
        more.insert("username".into(), self.name.clone().into());
        self.request("join", more.into());
    }

    fn request(&mut self, what: &str, more: Value) {
        let mut request = json!({"textroom": what, "transaction": what, "room": self.room});
        if let (Some(request), Value::Object(more)) = (request.as_object_mut(), more) {
            request.extend(more);
        }
        self.waiting.push_back(request.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(room: &mut TextRoom) -> Value {
        serde_json::from_str(&room.poll().expect("something to send")).unwrap()
    }

    fn hears(room: &mut TextRoom, message: Value) -> Heard {
        room.handle(message.to_string().as_bytes())
    }

    fn settings(create: bool) -> Janus {
        let create = create.then(|| serde_json::Map::from_iter([("post".to_owned(), Value::from("x"))]));
        Janus { room: Some(7), create, ..Janus::default() }
    }

    #[test]
    fn a_room_is_made_and_entered_and_what_is_said_comes_back() {
        let mut room = TextRoom::new(&settings(true), "r", "bot/0");
        assert_eq!(said(&mut room), json!({"textroom": "create", "transaction": "create", "room": 7, "post": "x"}));
        assert!(!room.has_more() && !room.is_joined());
        assert_eq!(
            hears(&mut room, json!({"textroom": "success", "transaction": "create", "room": 7})),
            Heard::Nothing
        );
        let join = json!({"textroom": "join", "transaction": "join", "room": 7, "username": "bot/0"});
        assert_eq!(said(&mut room), join);
        let joined = json!({"textroom": "success", "transaction": "join", "participants": []});
        assert_eq!(hears(&mut room, joined), Heard::Joined);
        assert!(room.is_joined());
        let message: Value = serde_json::from_str(&room.message(b"hello")).unwrap();
        let broadcast = |from: &str| json!({"textroom": "message", "room": 7, "from": from, "text": message["text"]});
        assert_eq!(hears(&mut room, broadcast("bot/1")), Heard::Nothing);
        assert_eq!(hears(&mut room, broadcast("bot/0")), Heard::Own(b"hello".to_vec()));
    }

    #[test]
    fn a_room_that_somebody_made_before_is_entered() {
        let mut room = TextRoom::new(&settings(true), "r", "bot/0");
        said(&mut room);
        let exists = json!({"textroom": "error", "transaction": "create", "error_code": 418, "error": "Room 7 exists"});
        assert_eq!(hears(&mut room, exists), Heard::Nothing);
        assert_eq!(said(&mut room)["textroom"], "join");
    }

    #[test]
    fn what_janus_refuses_is_quoted() {
        let mut room = TextRoom::new(&settings(false), "r", "bot/0");
        assert_eq!(said(&mut room)["textroom"], "join");
        let error = json!({"textroom": "error", "transaction": "join", "error_code": 417, "error": "No such room (7)"});
        assert_eq!(hears(&mut room, error), Heard::Refused("417: No such room (7)".into()));
        let junk = room.handle(b"junk");
        assert!(matches!(&junk, Heard::Refused(why) if why.contains("junk")), "{junk:?}");
    }
}
