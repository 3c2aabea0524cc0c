//! One connection to a signaling server for all calls of one person in a room.
//!
//! A [`Member`] is the person: it connects, joins, and tells apart the messages of the others. A [`Seat`] is what one call
//! with one other person sees of it: a [`Client`] like any, in whose room there are only the two.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Client, ClientError, Inbox, Link, Receiver, Sender};
use crate::signaling::Endpoint;
use crate::signaling::dialect::{Meeting, Place};
use crate::signaling::protocol::ServerMessage;

/// Who of a room has which id on the signaling server.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Mutex<HashMap<String, Arc<str>>>>);

/// A person in a room, with one connection to the signaling server.
#[derive(Debug)]
pub struct Member {
    person: Arc<str>,
    directory: Directory,
    state: watch::Sender<State>,
    inboxes: Arc<Mutex<Inboxes>>,
    opening_is_told: AtomicBool,
    pings: AtomicU64,
}

/// One person's side of the call with one other.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Whose side it is.
    pub member: Arc<Member>,
    /// With whom.
    pub other: Arc<str>,
}

/// How far a member has come.
#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Away,
    Connecting {
        since: Instant,
    },
    Connected(Arc<Line>),
    Joined(Arc<Line>, Arc<[String]>),
    Failed(Arc<ClientError>),
    Left,
}

/// The connection once it is up.
#[derive(Debug)]
struct Line {
    id: String,
    sender: Sender,
    since: Instant,
    greeted: Instant,
    /// Ends the reader.
    _reading: DropGuard,
}

/// Messages by the person that they come from.
#[derive(Debug, Default)]
struct Inboxes {
    by_person:
        HashMap<Arc<str>, (mpsc::UnboundedSender<ServerMessage>, Option<mpsc::UnboundedReceiver<ServerMessage>>)>,
    /// Why nothing comes any more.
    closed: Arc<OnceLock<Arc<ClientError>>>,
}

impl Member {
    /// A person who has not come yet.
    pub fn new(person: &str, directory: Directory) -> Self {
        Self {
            person: person.into(),
            directory,
            state: watch::Sender::default(),
            inboxes: Arc::default(),
            opening_is_told: AtomicBool::new(false),
            pings: AtomicU64::new(0),
        }
    }

    /// Connects to the server and joins the room. Whoever waits at a [`Seat`] is told how it ends, so there is nothing to
    /// return. Has no deadline of its own.
    pub async fn enter(&self, endpoint: &Endpoint, room: &str) {
        let since = Instant::now();
        self.state.send_replace(State::Connecting { since });
        if let Err(error) = self.try_enter(endpoint, room, since).await {
            self.state.send_replace(State::Failed(Arc::new(error)));
        }
    }

    async fn try_enter(&self, endpoint: &Endpoint, room: &str, since: Instant) -> Result<(), ClientError> {
        let mut client = Client::connect_for(endpoint, Place { room: Some(room), ..Place::default() }, |_| {}).await?;
        // Before joining: nobody can send to this id earlier, so that no message comes from an unknown one.
        lock(&self.directory.0).insert(client.id().to_owned(), Arc::clone(&self.person));
        let stop = CancellationToken::new();
        let line = Arc::new(Line {
            id: client.id().to_owned(),
            sender: client.sender.clone(),
            since,
            greeted: Instant::now(),
            _reading: stop.clone().drop_guard(),
        });
        self.state.send_replace(State::Connected(Arc::clone(&line)));
        let present = client.join(room).await?;
        let (_, receiver) = client.split();
        let (directory, inboxes) = (self.directory.clone(), Arc::clone(&self.inboxes));
        tokio::spawn(stop.run_until_cancelled_owned(read(receiver, directory, inboxes)));
        self.state.send_replace(State::Joined(line, present.into()));
        Ok(())
    }

    /// The person has not come within this time, and will not: who waits at a [`Seat`] is told so.
    pub fn give_up(&self, after: Duration) {
        self.state.send_replace(State::Failed(Arc::new(ClientError::Late { after })));
    }

    /// Says good-bye. Calls of this person that still last lose their signaling.
    pub async fn leave(&self) {
        if let State::Connected(line) | State::Joined(line, _) = self.state.send_replace(State::Left) {
            line.sender.close().await;
        }
    }

    /// Whether the caller is the one to tell how long the connection took to open: true for the first who asks.
    pub fn tells_opening(&self) -> bool {
        !self.opening_is_told.swap(true, Ordering::Relaxed)
    }

    /// Waits until the person has come, and tells when the connection was begun.
    ///
    /// # Errors
    ///
    /// The person has left.
    pub async fn begun(&self) -> Result<Instant, ClientError> {
        let since = self.wait_for(|state| match state {
            State::Connecting { since } => Some(*since),
            State::Connected(line) | State::Joined(line, _) => Some(line.since),
            _ => None,
        });
        since.await
    }

    /// Waits until the member is as far as `far` wants it.
    async fn wait_for<T>(&self, far: impl Fn(&State) -> Option<T>) -> Result<T, ClientError> {
        let mut state = self.state.subscribe();
        let reached = state.wait_for(|state| matches!(state, State::Failed(_) | State::Left) || far(state).is_some());
        let gone = || ClientError::Closed { code: None, reason: "the person has left the room".into() };
        let reached = reached.await.map_err(|_| gone())?.clone();
        match (&reached, far(&reached)) {
            (_, Some(value)) => Ok(value),
            (State::Failed(error), None) => Err(ClientError::Shared(Arc::clone(error))),
            _ => Err(gone()),
        }
    }
}

impl Seat {
    /// A client of the call's own, once the person is connected, and when the server's greeting came.
    ///
    /// # Errors
    ///
    /// Those of [`Client::connect`], as the person met them.
    pub async fn connect(&self) -> Result<(Client, Instant), ClientError> {
        let line = self.member.wait_for(|state| match state {
            State::Connected(line) | State::Joined(line, _) => Some(Arc::clone(line)),
            _ => None,
        });
        let line = line.await?;
        let (messages, closed) = {
            let mut inboxes = lock(&self.member.inboxes);
            let taken = inboxes.of(&self.other).1.take();
            (taken, Arc::clone(&inboxes.closed))
        };
        let taken_twice = || ClientError::Closed { code: None, reason: "two calls have the same people".into() };
        let inbox = Inbox { messages: messages.ok_or_else(taken_twice)?, closed };
        let client = Client {
            id: line.id.clone(),
            sender: line.sender.shared(),
            receiver: Receiver::new(Link::Shared(inbox)),
            seat: Some(self.clone()),
            // Who is in the room, the person knows.
            meeting: Meeting::default(),
            feed: None,
            pings: 0,
        };
        Ok((client, line.greeted))
    }

    /// The id of the other person, if they were in the room when this one came.
    pub(super) async fn join(&self) -> Result<Vec<String>, ClientError> {
        let present = self.member.wait_for(|state| match state {
            State::Joined(_, present) => Some(Arc::clone(present)),
            _ => None,
        });
        let present = present.await?;
        let directory = lock(&self.member.directory.0);
        let is_other = |id: &&String| directory.get(*id).is_some_and(|person| *person == self.other);
        Ok(present.iter().filter(is_other).cloned().collect())
    }

    /// What no other ping on the connection carries; its pong finds the way back by it.
    pub(super) fn nonce(&self) -> String {
        format!("{}#{}", self.other, self.member.pings.fetch_add(1, Ordering::Relaxed))
    }
}

impl Inboxes {
    /// The inbox for what comes from a person.
    fn of(
        &mut self,
        person: &Arc<str>,
    ) -> &mut (mpsc::UnboundedSender<ServerMessage>, Option<mpsc::UnboundedReceiver<ServerMessage>>) {
        if self.closed.get().is_some() && !self.by_person.contains_key(person) {
            // A sender that is gone: the receiver finds out at once.
            let (_, receiver) = mpsc::unbounded_channel();
            let (sender, _) = mpsc::unbounded_channel();
            return self.by_person.entry(Arc::clone(person)).or_insert((sender, Some(receiver)));
        }
        self.by_person.entry(Arc::clone(person)).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            (sender, Some(receiver))
        })
    }

    fn close(&mut self, error: ClientError) {
        let _ = self.closed.set(Arc::new(error));
        for (sender, _) in self.by_person.values_mut() {
            (*sender, _) = mpsc::unbounded_channel();
        }
    }
}

/// Sorts messages by whom they come from, until there are no more.
async fn read(mut receiver: Receiver, directory: Directory, inboxes: Arc<Mutex<Inboxes>>) {
    loop {
        let message = match receiver.next().await {
            Ok(message) => message,
            Err(error) => return lock(&inboxes).close(error),
        };
        let person = |id: &str| lock(&directory.0).get(id).cloned();
        let from = match &message {
            ServerMessage::PeerJoined { id } | ServerMessage::PeerLeft { id } => person(id),
            ServerMessage::Offer { from, .. }
            | ServerMessage::Answer { from, .. }
            | ServerMessage::Candidate { from, .. } => person(from),
            ServerMessage::Error { to: Some(to), .. } => person(to),
            ServerMessage::Pong { nonce } => {
                nonce.as_str().and_then(|nonce| nonce.rsplit_once('#')).map(|(person, _)| person.into())
            }
            _ => None,
        };
        let mut inboxes = lock(&inboxes);
        match (from, &message) {
            (Some(person), _) => drop(inboxes.of(&person).0.send(message)),
            // About the connection as a whole.
            (None, ServerMessage::Error { to: None, .. }) => {
                inboxes.by_person.values().for_each(|(sender, _)| drop(sender.send(message.clone())));
            }
            // Somebody who is not of this run.
            (None, _) => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
