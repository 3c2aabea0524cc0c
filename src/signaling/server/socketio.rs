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

use std::future::ready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use socketioxide::extract::{Event, SocketRef, TryData};
use socketioxide::layer::SocketIoLayer;
use socketioxide::{SendError, SocketIo};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::http::App;
use super::hub::{Hub, Id};
use super::incoming::Refusal;
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
    socket.on_fallback(move |socket: SocketRef, Event(event): Event, TryData(data): TryData<Value>| {
        client.hear(&socket, &event, data.ok());
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

    fn hear(&self, socket: &SocketRef, event: &str, data: Option<Value>) {
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
        if let Err(refusal) = self.act(event, data) {
            self.refuse(&refusal);
        }
    }

    fn act(&self, event: &str, data: Option<Value>) -> Result<(), Refusal> {
        let malformed = |what: &str| Refusal::new(ErrorCode::Malformed, format!("{event}: {what}"));
        match (event, data) {
            ("join", Some(Value::String(room))) => {
                self.hub.leave(&self.id)?;
                self.hub.join(&self.id, &room)
            }
            ("join", _) => Err(malformed("its argument must be the name of a room")),
            ("offer" | "answer" | "candidate", Some(Value::Object(mut data))) => {
                let to = data.remove("to");
                let to = to.as_ref().and_then(Value::as_str).ok_or_else(|| malformed("\"to\" must be a string"))?;
                let message = relayed(event, &self.id, data).map_err(malformed)?;
                self.hub.relay(&self.id, to, || message)
            }
            ("offer" | "answer" | "candidate", _) => Err(malformed("its argument must be an object")),
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

/// An event in the hub's words. What they have no place for goes along as it is.
fn relayed(event: &str, from: &str, data: Map<String, Value>) -> Result<Utf8Bytes, &'static str> {
    let content = data.get(event).ok_or("its member of the same name is missing")?;
    let mut message = Map::from_iter([("type".to_owned(), Value::from(event)), ("from".to_owned(), Value::from(from))]);
    let is_plain = if event == "candidate" {
        message.insert(event.into(), content.clone());
        data.len() == 1
    } else {
        let sdp = read_description(content).ok_or("its member of the same name has no session description")?;
        let is_plain = data.len() == 1 && *content == json!({"type": event, "sdp": sdp});
        message.insert("sdp".into(), sdp.into());
        is_plain
    };
    if !is_plain {
        message.insert(MEMBER.into(), data.into());
    }
    Ok(Value::from(message).to_string().into())
}

/// Passes on what the hub has for a client, until either ends.
async fn forward(hub: Arc<Hub>, id: Id, socket: SocketRef, outbox: Arc<Outbox>) {
    loop {
        let end = match outbox.next().await {
            Ok(texts) => {
                for text in texts {
                    let Some((event, data)) = heard(&id, &text) else { continue };
                    // A client that does not read is waited for here, while its queue fills up.
                    while let Err(SendError::Socket(_)) = emit(&socket, event, &data) {
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

/// An event with one argument, or with two for a list of two.
fn emit(socket: &SocketRef, event: &str, arguments: &Arguments) -> Result<(), SendError> {
    match arguments {
        Arguments::One(argument) => socket.emit(event, argument),
        Arguments::Two(first, second) => socket.emit(event, &(first, second)),
    }
}

#[derive(Debug, PartialEq)]
enum Arguments {
    One(Value),
    Two(Value, Value),
}

/// A message of the hub as an event; `None` if there is none for it.
fn heard(own: &str, text: &str) -> Option<(&'static str, Arguments)> {
    let mut message: Map<String, Value> = serde_json::from_str(text).ok()?;
    let kind = message.get("type")?.as_str()?.to_owned();
    let one = |event, argument| Some((event, Arguments::One(argument)));
    match kind.as_str() {
        "joined" => Some(("newUser", Arguments::Two(own.into(), message.remove("peers")?))),
        "peer-joined" => one("newUser", message.remove("id")?),
        "peer-left" => one("userLeft", message.remove("id")?),
        "error" => one("refused", message.remove("message")?),
        "offer" | "answer" | "candidate" => {
            let event = match kind.as_str() {
                "offer" => "offer",
                "answer" => "answer",
                _ => "candidate",
            };
            let mut data = match message.remove(MEMBER) {
                Some(Value::Object(data)) => data,
                _ if event == "candidate" => Map::from_iter([(kind, message.remove("candidate")?)]),
                _ => Map::from_iter([(kind, json!({"type": event, "sdp": message.remove("sdp")?}))]),
            };
            data.insert("from".into(), message.remove("from")?);
            one(event, data.into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(event: &str, data: Value) -> (String, Option<(&'static str, Arguments)>) {
        let Value::Object(data) = data else { panic!("no object") };
        let text = relayed(event, "a", data).unwrap().to_string();
        let heard = heard("b", &text);
        (text, heard)
    }

    #[test]
    fn an_offer_is_the_same_for_all() {
        let (text, heard) = passed("offer", json!({"offer": {"type": "offer", "sdp": "v=0"}}));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"type": "offer", "from": "a", "sdp": "v=0"}));
        let arrived = json!({"offer": {"type": "offer", "sdp": "v=0"}, "from": "a"});
        assert_eq!(heard, Some(("offer", Arguments::One(arrived))));
    }

    #[test]
    fn what_an_application_adds_goes_along() {
        let data = json!({"candidate": {"candidate": "candidate:1"}, "name": "Ada"});
        let (text, heard) = passed("candidate", data);
        assert!(text.contains(r#""candidate":{"candidate":"candidate:1"},"from""#), "{text}");
        let arrived = json!({"candidate": {"candidate": "candidate:1"}, "name": "Ada", "from": "a"});
        assert_eq!(heard, Some(("candidate", Arguments::One(arrived))));
    }

    #[test]
    fn a_newcomer_hears_who_is_there() {
        let joined = r#"{"type":"joined","room":"r","peers":["a"]}"#;
        assert_eq!(heard("b", joined), Some(("newUser", Arguments::Two("b".into(), json!(["a"])))));
        assert_eq!(heard("b", r#"{"type":"left","room":"r"}"#), None);
    }

    #[test]
    fn a_room_can_be_asked_for_in_the_url() {
        assert_eq!(room_of("EIO=4&transport=websocket&room=r%201"), "r 1");
        assert_eq!(room_of("EIO=4"), COMMON_ROOM);
    }
}
