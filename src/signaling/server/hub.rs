//! Who is connected, and who is in which room.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::Limits;
use super::incoming::Refusal;
use super::metrics::{Levels, Metrics};
use super::outbox::Outbox;
use crate::signaling::protocol::{ErrorCode, ServerMessage};

pub(super) const ROOM_NAME_BYTES: usize = 128;

/// An id: 128 random bits in hex.
pub(super) type Id = Arc<str>;

/// Clients and rooms. Its lock is held for look-ups and for putting messages into outboxes only, never while something is
/// awaited; that all messages about a room are put there under it gives every client the same order of events.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    /// Connections that are open, whatever they speak.
    pub(super) connections: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    clients: HashMap<Id, Client>,
    rooms: HashMap<Arc<str>, Room>,
    /// Messages to clients that are not there yet, by whom they are for: from whom, and what.
    kept: HashMap<String, Vec<(Id, Utf8Bytes)>>,
    shut_down: bool,
}

#[derive(Debug, Default)]
struct Room {
    members: Vec<Id>,
    /// Those of them who are told who comes and who leaves.
    told: Vec<(Id, Arc<Outbox>)>,
}

#[derive(Debug)]
struct Client {
    outbox: Arc<Outbox>,
    room: Option<Arc<str>>,
    /// Whether it is told who is in its room, who comes and who leaves.
    is_told: bool,
    /// What only it knows.
    token: Option<String>,
}

impl Hub {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, metrics: Metrics::default(), connections: AtomicUsize::new(0), state: Mutex::default() }
    }

    /// Makes a client known; false if another has the id. `is_told` says whether it wants to know who is in its room.
    ///
    /// Who brings the token of the one that has the id is that client, connected again: it stays in its room, and gets what
    /// its former connection has not sent, which ends.
    #[must_use]
    pub(super) fn register(&self, id: Id, outbox: Arc<Outbox>, is_told: bool, token: Option<String>) -> bool {
        let mut state = self.lock();
        if let Some(client) = state.clients.get_mut(&id) {
            let is_same = !client.is_told && token.is_some() && client.token == token;
            if is_same {
                client.outbox.take().into_iter().for_each(|text| outbox.push(text));
                std::mem::replace(&mut client.outbox, outbox).supersede();
            }
            return is_same;
        }
        if state.shut_down {
            outbox.shut_down();
        }
        state.clients.insert(id, Client { outbox, room: None, is_told, token });
        true
    }

    /// Forgets a client whose connection has ended, and tells its room; not if it has connected again.
    pub(super) fn unregister(&self, id: &Id, outbox: &Arc<Outbox>) {
        let mut state = self.lock();
        if !state.clients.get(id).is_some_and(|client| Arc::ptr_eq(&client.outbox, outbox)) {
            return;
        }
        if let Some(Client { room: Some(room), .. }) = state.clients.remove(id) {
            state.depart(id, &room);
        }
        state.kept.retain(|_, messages| {
            messages.retain(|(from, _)| from != id);
            !messages.is_empty()
        });
    }

    /// Puts a client into a room, tells it who is there, and tells them.
    pub(super) fn join(&self, id: &Id, room: &str) -> Result<(), Refusal> {
        if room.is_empty() || room.len() > ROOM_NAME_BYTES || room.chars().any(char::is_control) {
            let message = format!("a room's name has 1 to {ROOM_NAME_BYTES} bytes and no control characters");
            return Err(Refusal::new(ErrorCode::BadRoom, message));
        }
        let mut state = self.lock();
        let State { clients, rooms, kept, .. } = &mut *state;
        let Some(client) = clients.get_mut(id) else { return Ok(()) };
        if let Some(current) = &client.room {
            let message = format!("already in the room {current:?}: leave it first");
            return Err(Refusal::new(ErrorCode::AlreadyJoined, message));
        }
        let name: Arc<str> = rooms.get_key_value(room).map_or_else(|| Arc::from(room), |(name, _)| name.clone());
        let entered = rooms.entry(name.clone()).or_default();
        // Who is told nothing costs a room nothing.
        if client.is_told && entered.members.len() >= self.limits.room_clients {
            let message = format!("the room has {} clients, as many as it may have", entered.members.len());
            return Err(Refusal::new(ErrorCode::RoomFull, message));
        }
        client.room = Some(name);
        if client.is_told {
            let peers = entered.members.iter().map(ToString::to_string).collect();
            client.outbox.push(encode(&ServerMessage::Joined { room: room.to_owned(), peers }));
        }
        for (from, text) in kept.remove(id.as_ref()).unwrap_or_default() {
            if entered.members.contains(&from) {
                client.outbox.push(text);
            }
        }
        entered.tell(&ServerMessage::PeerJoined { id: id.to_string() });
        entered.members.push(id.clone());
        if client.is_told {
            entered.told.push((id.clone(), client.outbox.clone()));
        }
        Ok(())
    }

    /// Takes a client out of its room, and tells it and the others.
    pub(super) fn leave(&self, id: &Id) -> Result<(), Refusal> {
        let mut state = self.lock();
        let Some(client) = state.clients.get_mut(id) else { return Ok(()) };
        let Some(room) = client.room.take() else { return Err(not_joined()) };
        client.outbox.push(encode(&ServerMessage::Left { room: room.to_string() }));
        state.depart(id, &room);
        Ok(())
    }

    /// Hands a message to another client of the sender's room. `text` is asked for once it is known that there is one.
    pub(super) fn relay(&self, from: &Id, to: &str, text: impl FnOnce() -> Utf8Bytes) -> Result<(), Refusal> {
        let outbox = {
            let state = self.lock();
            let room = state.clients.get(from).and_then(|client| client.room.as_ref()).ok_or_else(not_joined)?;
            let recipient = state.clients.get(to).ok_or_else(|| {
                Refusal::new(ErrorCode::UnknownRecipient, "no client has this id: it has disconnected, or never was")
            })?;
            if recipient.room.as_ref() != Some(room) {
                return Err(Refusal::new(ErrorCode::WrongRoom, "the recipient is not in your room"));
            }
            recipient.outbox.clone()
        };
        outbox.push(text());
        Metrics::count(&self.metrics.relayed);
        Ok(())
    }

    /// Keeps a message for a client that is not there yet, until it joins the sender's room, or [`give_up`](Self::give_up).
    pub(super) fn keep(&self, from: &Id, to: &str, text: Utf8Bytes) {
        self.lock().kept.entry(to.to_owned()).or_default().push((from.clone(), text));
    }

    /// Forgets what a client has been kept waiting with for another; whether there was anything.
    pub(super) fn give_up(&self, from: &Id, to: &str) -> bool {
        let mut state = self.lock();
        let Some(messages) = state.kept.get_mut(to) else { return false };
        let before = messages.len();
        messages.retain(|(sender, _)| sender != from);
        let given_up = messages.len() < before;
        if messages.is_empty() {
            state.kept.remove(to);
        }
        given_up
    }

    /// Asks every client's task, also those still to come, to say good-bye.
    pub(super) fn shut_down(&self) {
        let mut state = self.lock();
        state.shut_down = true;
        for client in state.clients.values() {
            client.outbox.shut_down();
        }
    }

    /// What there is at this moment.
    pub(super) fn levels(&self) -> Levels {
        let state = self.lock();
        let connections = self.connections.load(std::sync::atomic::Ordering::Relaxed);
        Levels { connections, clients: state.clients.len(), rooms: state.rooms.len() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn depart(&mut self, id: &Id, room: &Arc<str>) {
        let Some(left) = self.rooms.get_mut(room) else { return };
        left.members.retain(|member| member != id);
        left.told.retain(|(member, _)| member != id);
        if left.members.is_empty() {
            self.rooms.remove(room);
        } else {
            left.tell(&ServerMessage::PeerLeft { id: id.to_string() });
        }
    }
}

impl Room {
    fn tell(&self, message: &ServerMessage) {
        if self.told.is_empty() {
            return;
        }
        let text = encode(message);
        self.told.iter().for_each(|(_, outbox)| outbox.push(text.clone()));
    }
}

/// A message as it goes over the wire.
pub(super) fn encode(message: &ServerMessage) -> Utf8Bytes {
    // Strings, numbers and lists always serialise.
    serde_json::to_string(message).unwrap_or_default().into()
}

fn not_joined() -> Refusal {
    Refusal::new(ErrorCode::NotJoined, "you are in no room: join one first")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Seat {
        id: Id,
        outbox: Arc<Outbox>,
    }

    impl Seat {
        fn new(hub: &Hub, id: &str) -> Self {
            let seat = Self { id: id.into(), outbox: Arc::new(Outbox::new(&hub.limits)) };
            assert!(hub.register(seat.id.clone(), seat.outbox.clone(), true, None));
            seat
        }

        fn got(&self) -> Vec<String> {
            self.outbox.take().iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn a_room_knows_who_comes_and_goes() {
        let hub = Hub::new(Limits::default());
        let (a, b) = (Seat::new(&hub, "a"), Seat::new(&hub, "b"));
        hub.join(&a.id, "r").unwrap();
        hub.join(&b.id, "r").unwrap();
        assert_eq!(a.got(), [r#"{"type":"joined","room":"r","peers":[]}"#, r#"{"type":"peer-joined","id":"b"}"#]);
        assert_eq!(b.got(), [r#"{"type":"joined","room":"r","peers":["a"]}"#]);
        hub.leave(&a.id).unwrap();
        assert_eq!(a.got(), [r#"{"type":"left","room":"r"}"#]);
        assert_eq!(b.got(), [r#"{"type":"peer-left","id":"a"}"#]);
        hub.unregister(&b.id, &b.outbox);
        assert!(a.got().is_empty());
        assert_eq!((hub.levels().clients, hub.levels().rooms), (1, 0));
    }

    #[test]
    fn messages_stay_in_their_room() {
        let hub = Hub::new(Limits::default());
        let (a, b) = (Seat::new(&hub, "a"), Seat::new(&hub, "b"));
        let code = |to: &str| hub.relay(&a.id, to, || "x".into()).unwrap_err().code;
        assert_eq!(code("b"), ErrorCode::NotJoined);
        hub.join(&a.id, "r").unwrap();
        assert_eq!(code("b"), ErrorCode::WrongRoom);
        hub.join(&b.id, "s").unwrap();
        assert_eq!(code("b"), ErrorCode::WrongRoom);
        assert_eq!(code("c"), ErrorCode::UnknownRecipient);
        b.got();
        hub.leave(&b.id).unwrap();
        hub.join(&b.id, "r").unwrap();
        b.got();
        hub.relay(&a.id, "b", || "x".into()).unwrap();
        assert_eq!(b.got(), ["x"]);
    }

    #[test]
    fn a_room_has_room_for_so_many() {
        let hub = Hub::new(Limits { room_clients: 1, ..Limits::default() });
        let (a, b) = (Seat::new(&hub, "a"), Seat::new(&hub, "b"));
        hub.join(&a.id, "r").unwrap();
        assert_eq!(hub.join(&a.id, "s").unwrap_err().code, ErrorCode::AlreadyJoined);
        assert_eq!(hub.join(&b.id, "r").unwrap_err().code, ErrorCode::RoomFull);
        hub.join(&b.id, "s").unwrap();
        for silent in ["c", "d"] {
            assert!(hub.register(silent.into(), Arc::new(Outbox::new(&hub.limits)), false, None));
            hub.join(&silent.into(), "s").unwrap();
        }
    }

    #[test]
    fn a_message_can_wait_for_who_comes_into_the_room() {
        let hub = Hub::new(Limits::default());
        let a = Seat::new(&hub, "a");
        hub.join(&a.id, "r").unwrap();
        hub.keep(&a.id, "b", "for b".into());
        hub.keep(&a.id, "c", "for c".into());
        let b = Seat::new(&hub, "b");
        assert!(!hub.register("b".into(), Arc::new(Outbox::new(&hub.limits)), true, None));
        hub.join(&b.id, "r").unwrap();
        assert_eq!(b.got(), [r#"{"type":"joined","room":"r","peers":["a"]}"#, "for b"]);
        assert!(!hub.give_up(&a.id, "b") && hub.give_up(&a.id, "c") && !hub.give_up(&a.id, "c"));
        hub.keep(&a.id, "d", "for d".into());
        hub.unregister(&a.id, &a.outbox);
        assert!(hub.lock().kept.is_empty());
    }

    #[test]
    fn room_names_have_limits() {
        let hub = Hub::new(Limits::default());
        let a = Seat::new(&hub, "a");
        for bad in ["", "a\nb", "\u{7f}", &"x".repeat(129)] {
            assert_eq!(hub.join(&a.id, bad).unwrap_err().code, ErrorCode::BadRoom, "{bad:?}");
        }
        hub.join(&a.id, &"é".repeat(64)).unwrap();
    }
}
