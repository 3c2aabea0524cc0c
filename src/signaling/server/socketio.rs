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
//! An event that asks for an acknowledgement gets it: without arguments, or with `{error}` if it is refused.
//!
//! What clients of socket.io tell each other beside a description stays with it, in a member of its own, so that they get it as
//! it was sent, and others pass over it.

mod events;

use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::json;
use serde_json::value::RawValue;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::{ConnectHandler, DisconnectHandler, FromMessageParts, MessageHandler, Value};
use socketioxide::layer::SocketIoLayer;
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide::{SendError, SocketIo};
use tokio_util::sync::CancellationToken;

use super::http::App;
use super::hub::{Hub, Id};
use super::incoming::{Incoming, Refusal, borrowed_string};
use super::limits::{Allowance, RateLimit};
use super::metrics::CutOff;
use super::outbox::{End, Outbox};
use super::tongue::Scene;
use crate::signaling::protocol::ErrorCode;
use events::{heard, relayed};

/// Where it is served, without the slash at the end.
pub(super) const PATH: &str = "/socket.io";

/// The room of clients that ask for none.
const COMMON_ROOM: &str = "socket.io";
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
    let (served, stopped) = (io.clone(), stop.clone());
    app.tasks.spawn(app.kill.clone().run_until_cancelled_owned(async move {
        stopped.cancelled().await;
        // Whose client has left the namespace still has the connection.
        served.close().await;
    }));
    io.ns("/", Door { app: Arc::clone(app), stop });
    layer
}

/// Takes clients in.
///
/// It and what it sets up are handlers of their own: the library runs each closure on a task of its own, which costs more than
/// what is done here, and lets events overtake each other.
#[derive(Clone)]
struct Door {
    app: Arc<App>,
    stop: CancellationToken,
}

/// Marks handlers that run where the library has read what they handle.
enum Inline {}

impl ConnectHandler<LocalAdapter, Inline> for Door {
    fn call(&self, socket: Arc<Socket>, _auth: Option<Value>) {
        let socket = SocketRef::from(socket);
        let hub = Arc::clone(&self.app.hub);
        let id: Id = socket.id.to_string().into();
        let outbox = outbox(&self.app, &id, &socket);
        if !hub.register(id.clone(), outbox.clone(), true, None) {
            let _ = socket.disconnect();
            return;
        }
        socket.on_disconnect(Leaving { hub: Arc::clone(&hub), id: id.clone(), outbox: outbox.clone() });
        let rate = Mutex::new(RateLimit::new(&hub.limits, Instant::now()));
        let client = Arc::new(Client { hub, id, outbox, rate });
        // Before it is told that it is in: it may answer at once.
        socket.on_fallback(Arc::clone(&client));
        client.enter(&room_of(socket.req_parts().uri.query().unwrap_or_default()));
        if self.stop.is_cancelled() || !socket.connected() {
            let _ = socket.disconnect();
        }
    }
}

/// What waits for a client. As long as it reads, nothing does, and the client needs no task.
fn outbox(app: &Arc<App>, id: &Id, socket: &SocketRef) -> Arc<Outbox> {
    Arc::new_cyclic(|outbox: &Weak<Outbox>| {
        let (outbox, is_slow) = (outbox.clone(), Once::new());
        let (server, id, socket) = (Arc::clone(app), id.clone(), socket.clone());
        Outbox::with_way(&app.hub.limits, move |text| {
            let is_sent = emit(&socket, &id, text);
            if let (false, Some(outbox)) = (is_sent, outbox.upgrade()) {
                is_slow.call_once(|| {
                    let forward = forward(Arc::clone(&server.hub), id.clone(), socket.clone(), outbox);
                    server.tasks.spawn(server.kill.clone().run_until_cancelled_owned(forward));
                });
            }
            is_sent
        })
    })
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

impl MessageHandler<LocalAdapter, Inline> for Arc<Client> {
    fn call(&self, socket: Arc<Socket>, mut said: Value, acknowledgement: Option<i64>) {
        let sender = acknowledgement.map(|id| AckSender::from_message_parts(&socket, &mut said, &Some(id)));
        // The name of an event, which the library has read to come here, and its arguments.
        let Value::Str(said, _) = said else { return };
        let said: Vec<&RawValue> = serde_json::from_str(&said).unwrap_or_default();
        if let [event, arguments @ ..] = &said[..]
            && let Some(event) = borrowed_string(event)
        {
            let refusal = self.hear(socket, &event, arguments.first().copied()).err();
            if let Some(Ok(sender)) = sender {
                // Who has left meanwhile needs none.
                let _ = match &refusal {
                    None => sender.send(&[(); 0]),
                    Some(refusal) => sender.send(&json!({"error": refusal.message})),
                };
            }
            if let Some(refusal) = refusal {
                self.refuse(&refusal);
            }
        }
    }
}

impl Client {
    fn enter(&self, room: &str) {
        if let Err(refusal) = self.hub.join(&self.id, room) {
            self.refuse(&refusal);
        }
    }

    fn hear(&self, socket: Arc<Socket>, event: &str, argument: Option<&RawValue>) -> Result<(), Refusal> {
        let allowance =
            self.rate.lock().unwrap_or_else(PoisonError::into_inner).judge(&self.hub.limits, Instant::now());
        match allowance {
            Allowance::Granted => self.act(event, argument),
            Allowance::Dropped => {
                let rate = self.hub.limits.messages_per_second;
                let text = format!("dropped: more than {rate} events/s");
                Err(Refusal::new(ErrorCode::TooManyMessages, text))
            }
            Allowance::Exhausted => {
                self.hub.metrics.cut_off(CutOff::TooManyMessages);
                let _ = socket.disconnect();
                Ok(())
            }
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

/// What is done once a client has gone.
struct Leaving {
    hub: Arc<Hub>,
    id: Id,
    outbox: Arc<Outbox>,
}

impl DisconnectHandler<LocalAdapter, Inline> for Leaving {
    fn call_with_defer(&self, socket: Arc<Socket>, _reason: DisconnectReason, defer: fn(Arc<Socket>)) {
        self.hub.unregister(&self.id, &self.outbox);
        self.outbox.shut_down();
        defer(socket);
    }
}

/// Sends a message of the hub; `false` if the client has to read before.
fn emit(socket: &Socket, own: &str, text: &str) -> bool {
    let Some((event, arguments)) = heard(own, text) else { return true };
    !matches!(socket.emit(event, &arguments), Err(SendError::Socket(_)))
}

/// Passes on what waits for a client, until either ends.
async fn forward(hub: Arc<Hub>, id: Id, socket: SocketRef, outbox: Arc<Outbox>) {
    loop {
        let end = match outbox.next().await {
            Ok(texts) => {
                for text in texts {
                    // A client that does not read is waited for here, while its queue fills up.
                    while !emit(&socket, &id, &text) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_can_be_asked_for_in_the_url() {
        assert_eq!(room_of("EIO=4&transport=websocket&room=r%201"), "r 1");
        assert_eq!(room_of("EIO=4"), COMMON_ROOM);
    }
}
