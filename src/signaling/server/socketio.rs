//! socket.io: what clients of such an application say and hear.
//!
//! | event | from the client | to the client |
//! |---|---|---|
//! | `newUser` | | id, and to the newcomer itself a list of who is there |
//! | `userLeft` | | id |
//! | `join` | name of a room; before, it is in that of its URL's query (`room`), or in a common one | |
//! | `offer`, `answer`, `candidate` | `{offer, to}` | `{offer, from}` |
//! | `refused` | | why |
//!
//! What clients of socket.io tell each other beside a description stays with it, in a member of its own, so that they get it as
//! it was sent, and others pass over it.

use std::borrow::Cow;
use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use socketioxide::extract::{Event, SocketRef, TryData};
use socketioxide::layer::SocketIoLayer;
use socketioxide::{SendError, SocketIo};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::http::App;
use super::hub::{Hub, Id};
use super::incoming::{Incoming, Refusal, borrowed_string, push_member};
use super::limits::{Allowance, RateLimit};
use super::metrics::CutOff;
use super::outbox::{End, Outbox};
use super::tongue::Scene;
use crate::signaling::dialect::read_description;
use crate::signaling::protocol::ErrorCode;

/// Where it is served, without the slash at the end.
pub(super) const PATH: &str = "/socket.io";

/// The room of clients that ask for none.
const COMMON_ROOM: &str = "socket.io";
/// The member that carries what only applications of socket.io know.
const MEMBER: &str = "socketio";
/// How long to wait for a client to read, before its queue is looked at again.
const BUSY: Duration = Duration::from_millis(5);
/// How long a client may take to connect to the namespace.
const CONNECT: Duration = Duration::from_secs(10);

/// What an event brings, as it stands there. (Alone, a `RawValue` would count as a list of all arguments.)
type Argument = Option<Box<RawValue>>;

/// Serves it beside the other routes, until `stop`.
pub(super) fn layer(app: &Arc<App>, stop: CancellationToken) -> SocketIoLayer {
    let limits = &app.hub.limits;
    let (layer, io) = SocketIo::builder()
        .req_path(PATH)
        .ping_interval(limits.ping_interval)
        .ping_timeout(limits.ping_interval)
        .connect_timeout(CONNECT)
        .max_payload(limits.message_bytes as u64)
        .build_layer();
    let served = io.clone();
    app.tasks.spawn(app.kill.clone().run_until_cancelled_owned(async move {
        stop.cancelled().await;
        // Whose client has left the namespace still has the connection.
        served.close().await;
    }));
    let app = Arc::clone(app);
    // What a handler awaits runs on a task of its own, which would let events overtake each other: nothing is awaited.
    io.ns("/", move |socket: SocketRef| {
        attend(&app, socket);
        ready(())
    });
    layer
}

/// Takes a client in.
fn attend(app: &Arc<App>, socket: SocketRef) {
    let hub = Arc::clone(&app.hub);
    let id: Id = socket.id.to_string().into();
    let outbox = Arc::new(Outbox::new(&hub.limits));
    if !hub.register(id.clone(), outbox.clone(), true) {
        let _ = socket.disconnect();
        return;
    }
    let (leaving, gone, unheard) = (Arc::clone(&hub), id.clone(), outbox.clone());
    socket.on_disconnect(move || {
        leaving.unregister(&gone);
        unheard.shut_down();
        ready(())
    });
    let client = Arc::new(Client {
        hub,
        id: id.clone(),
        outbox: outbox.clone(),
        rate: Mutex::new(RateLimit::new(&app.hub.limits, Instant::now())),
    });
    client.enter(&room_of(socket.req_parts().uri.query().unwrap_or_default()));
    socket.on_fallback(move |socket: SocketRef, Event(event): Event, TryData(argument): TryData<Argument>| {
        client.hear(&socket, &event, argument.ok().flatten().as_deref());
        ready(())
    });
    app.tasks.spawn(app.kill.clone().run_until_cancelled_owned(forward(Arc::clone(&app.hub), id, socket, outbox)));
}

fn room_of(query: &str) -> String {
    let room = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "room");
    room.map_or_else(|| COMMON_ROOM.to_owned(), |(_, room)| room.into_owned())
}

/// One client.
struct Client {
    hub: Arc<Hub>,
    id: Id,
    outbox: Arc<Outbox>,
    rate: Mutex<RateLimit>,
}

impl Client {
    fn enter(&self, room: &str) {
        if let Err(refusal) = self.hub.join(&self.id, room) {
            self.refuse(&refusal);
        }
    }

    fn hear(&self, socket: &SocketRef, event: &str, argument: Option<&RawValue>) {
        let allowance =
            self.rate.lock().unwrap_or_else(PoisonError::into_inner).judge(&self.hub.limits, Instant::now());
        match allowance {
            Allowance::Granted => {}
            Allowance::Dropped => {
                let rate = self.hub.limits.messages_per_second;
                let text = format!("dropped: more than {rate} events/s");
                return self.refuse(&Refusal::new(ErrorCode::TooManyMessages, text));
            }
            Allowance::Exhausted => {
                self.hub.metrics.cut_off(CutOff::TooManyMessages);
                let _ = socket.clone().disconnect();
                return;
            }
        }
        if let Err(refusal) = self.act(event, argument) {
            self.refuse(&refusal);
        }
    }

    fn act(&self, event: &str, argument: Option<&RawValue>) -> Result<(), Refusal> {
        let malformed = |what: &str| Refusal::new(ErrorCode::Malformed, format!("{event}: {what}"));
        match (event, argument) {
            ("join", argument) => {
                let room = argument.and_then(borrowed_string);
                let room = room.ok_or_else(|| malformed("its argument must be the name of a room"))?;
                self.hub.leave(&self.id)?;
                self.hub.join(&self.id, &room)
            }
            ("offer" | "answer" | "candidate", argument) => {
                let said = argument.and_then(|argument| Incoming::parse(argument.get()).ok());
                let said = said.ok_or_else(|| malformed("its argument must be an object"))?;
                let to = said.string("to").map_err(|_| malformed("\"to\" must be a string"))?;
                let message = relayed(event, &self.id, &said).map_err(malformed)?;
                self.hub.relay(&self.id, &to, || message)
            }
            _ => Err(Refusal::new(
                ErrorCode::UnknownType,
                format!("{event:?}: the events are join, offer, answer and candidate"),
            )),
        }
    }

    fn refuse(&self, refusal: &Refusal) {
        Scene { hub: &self.hub, id: &self.id, outbox: &self.outbox }.refuse(refusal, None, None);
    }
}

/// An event in the hub's words. What they have no place for goes along as it is. Nothing is read that need not be.
fn relayed(event: &str, from: &str, said: &Incoming<'_>) -> Result<Utf8Bytes, &'static str> {
    let content = said.raw(event).ok_or("its member of the same name is missing")?;
    let mut text = format!("{{\"type\":\"{event}\",\"from\":\"{from}\",");
    let is_plain = if event == "candidate" {
        push_member(&mut text, event, content);
        true
    } else if let Some(sdp) = plain_description(event, content) {
        push_member(&mut text, "sdp", sdp);
        true
    } else {
        let content = serde_json::from_str(content.get()).unwrap_or_default();
        let sdp = read_description(&content).ok_or("its member of the same name has no session description")?;
        text += &format!("\"sdp\":{}", Value::from(sdp));
        false
    };
    if !is_plain || said.members_but(&["to", event]).next().is_some() {
        text += &format!(",\"{MEMBER}\":");
        for (number, (name, value)) in said.members_but(&["to"]).enumerate() {
            text.push(if number == 0 { '{' } else { ',' });
            push_member(&mut text, name, value);
        }
        text.push('}');
    }
    text.push('}');
    Ok(text.into())
}

/// The `sdp` of a description that has nothing else but its type.
fn plain_description<'a>(event: &str, content: &'a RawValue) -> Option<&'a RawValue> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Description<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        sdp: &'a RawValue,
    }
    let description: Description<'_> = serde_json::from_str(content.get()).ok()?;
    (description.kind == event && description.sdp.get().starts_with('"')).then_some(description.sdp)
}

/// Passes on what the hub has for a client, until either ends.
async fn forward(hub: Arc<Hub>, id: Id, socket: SocketRef, outbox: Arc<Outbox>) {
    loop {
        let end = match outbox.next().await {
            Ok(texts) => {
                for text in texts {
                    let Some((event, arguments)) = heard(&id, &text) else { continue };
                    // A client that does not read is waited for here, while its queue fills up.
                    while let Err(SendError::Socket(_)) = socket.emit(event, &arguments) {
                        if !socket.connected() {
                            return;
                        }
                        tokio::time::sleep(BUSY).await;
                    }
                }
                continue;
            }
            Err(end) => end,
        };
        if end == End::Overflow {
            hub.metrics.cut_off(CutOff::SlowReader);
        }
        let _ = socket.disconnect();
        return;
    }
}

/// What an event brings: several arguments are a tuple.
#[derive(Serialize)]
#[serde(untagged)]
enum Arguments<'a> {
    One(&'a RawValue),
    Two(&'a str, &'a RawValue),
    Relayed(Relayed<'a>),
}

/// What another client says, with who it is.
struct Relayed<'a> {
    from: &'a RawValue,
    said: Said<'a>,
}

enum Said<'a> {
    Description {
        kind: &'static str,
        sdp: &'a RawValue,
    },
    Candidate(&'a RawValue),
    /// As a client of socket.io said it.
    Whole(Incoming<'a>),
}

impl Serialize for Relayed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Description<'a> {
            #[serde(rename = "type")]
            kind: &'static str,
            sdp: &'a RawValue,
        }
        let mut members = serializer.serialize_map(None)?;
        match &self.said {
            Said::Description { kind, sdp } => members.serialize_entry(kind, &Description { kind, sdp })?,
            Said::Candidate(candidate) => members.serialize_entry("candidate", candidate)?,
            Said::Whole(said) => {
                for (name, value) in said.members_but(&["from"]) {
                    members.serialize_entry(name, value)?;
                }
            }
        }
        members.serialize_entry("from", self.from)?;
        members.end()
    }
}

/// A message of the hub as an event; `None` if there is none for it.
fn heard<'a>(own: &'a str, text: &'a str) -> Option<(&'static str, Arguments<'a>)> {
    let message = Incoming::parse(text).ok()?;
    let one = |event, member| Some((event, Arguments::One(message.raw(member)?)));
    let event = match message.string("type").ok()?.as_ref() {
        "joined" => return Some(("newUser", Arguments::Two(own, message.raw("peers")?))),
        "peer-joined" => return one("newUser", "id"),
        "peer-left" => return one("userLeft", "id"),
        "error" => return one("refused", "message"),
        "offer" => "offer",
        "answer" => "answer",
        "candidate" => "candidate",
        _ => return None,
    };
    let whole = message.raw(MEMBER).and_then(|whole| Incoming::parse(whole.get()).ok());
    let said = match (whole, event) {
        (Some(whole), _) => Said::Whole(whole),
        (None, "candidate") => Said::Candidate(message.raw("candidate")?),
        (None, kind) => Said::Description { kind, sdp: message.raw("sdp")? },
    };
    Some((event, Arguments::Relayed(Relayed { from: message.raw("from")?, said })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn passed(event: &str, said: &Value) -> (String, Option<(&'static str, Value)>) {
        let text = relayed(event, "a", &Incoming::parse(&said.to_string()).unwrap()).unwrap().to_string();
        let heard = as_json("b", &text);
        (text, heard)
    }

    fn as_json(own: &str, text: &str) -> Option<(&'static str, Value)> {
        heard(own, text).map(|(event, arguments)| (event, serde_json::to_value(&arguments).unwrap()))
    }

    #[test]
    fn an_offer_is_the_same_for_all() {
        let (text, heard) = passed("offer", &json!({"offer": {"type": "offer", "sdp": "v=0\r\n"}, "to": "b"}));
        assert_eq!(text, r#"{"type":"offer","from":"a","sdp":"v=0\r\n"}"#);
        let arrived = json!({"offer": {"type": "offer", "sdp": "v=0\r\n"}, "from": "a"});
        assert_eq!(heard, Some(("offer", arrived)));
    }

    #[test]
    fn what_an_application_adds_goes_along() {
        let said = json!({"candidate": {"candidate": "candidate:1"}, "name": "Ada", "from": "victim", "to": "b"});
        let (text, heard) = passed("candidate", &said);
        let init = r#"{"candidate":"candidate:1"}"#;
        let whole = format!(r#"{{"candidate":{init},"from":"victim","name":"Ada"}}"#);
        assert_eq!(text, format!(r#"{{"type":"candidate","from":"a","candidate":{init},"socketio":{whole}}}"#));
        let arrived = json!({"candidate": {"candidate": "candidate:1"}, "name": "Ada", "from": "a"});
        assert_eq!(heard, Some(("candidate", arrived)));
    }

    #[test]
    fn a_description_in_another_form_arrives_in_it_and_is_understood_by_others() {
        let (text, heard) = passed("answer", &json!({"answer": "v=0", "to": "b"}));
        assert_eq!(text, r#"{"type":"answer","from":"a","sdp":"v=0","socketio":{"answer":"v=0"}}"#);
        assert_eq!(heard, Some(("answer", json!({"answer": "v=0", "from": "a"}))));
        let wrong = Incoming::parse(r#"{"offer": 7}"#).unwrap();
        assert_eq!(relayed("offer", "a", &wrong), Err("its member of the same name has no session description"));
    }

    #[test]
    fn a_newcomer_hears_who_is_there() {
        let joined = r#"{"type":"joined","room":"r","peers":["a"]}"#;
        assert_eq!(as_json("b", joined), Some(("newUser", json!(["b", ["a"]]))));
        assert_eq!(as_json("b", r#"{"type":"left","room":"r"}"#), None);
    }

    #[test]
    fn a_room_can_be_asked_for_in_the_url() {
        assert_eq!(room_of("EIO=4&transport=websocket&room=r%201"), "r 1");
        assert_eq!(room_of("EIO=4"), COMMON_ROOM);
    }
}
