//! People whom a run has invited. Each keeps a page open, in which the run calls functions as it does in a browser of its own.
//!
//! The page says `{"join": {"agent": …, "camera": …}}` once the person wants to take part, and then answers each
//! `{"id": …, "call": …, "args": […]}` with `{"id": …, "result": …}` or `{"id": …, "error": …}`. It hears
//! `{"place": {"run": …, "peer": …}}` first, or `{"refused": …}`. Whoever has a token counts as hostile all the same: see
//! [`conversation`].

mod conversation;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(super) use conversation::serve;

use crate::signaling::certificate::random;
use crate::signaling::hex;

/// How long a page may take to answer a call, the way to it included.
const CALL_DEADLINE: Duration = Duration::from_secs(12);
/// Calls that may wait to be sent to one page.
const QUEUE: usize = 8;

/// What brings a person to a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invitation {
    /// The name of the place.
    pub place: String,
    /// The page with the secret of the place, relative to the root of the server.
    pub path: String,
}

/// Where people come in, for as long as the run waits for them. Dropping it sends them home.
#[derive(Debug)]
pub struct Reception {
    door: Arc<Door>,
}

impl Reception {
    /// Opens a door for the run of this name, with places that are all free.
    pub(super) fn open(run: &str, places: Vec<String>) -> io::Result<Self> {
        let place = |name| {
            let mut bits = [0; 16];
            random(&mut bits).map_err(io::Error::other)?;
            Ok(Place { name, token: hex(&bits), state: State::Free })
        };
        let places = places.into_iter().map(place).collect::<io::Result<_>>()?;
        let changed = watch::Sender::default();
        let door = Door { run: run.to_owned(), places: Mutex::new(places), changed, closed: CancellationToken::new() };
        Ok(Self { door: Arc::new(door) })
    }

    pub(super) fn door(&self) -> Arc<Door> {
        self.door.clone()
    }

    /// One for each place.
    pub fn invitations(&self) -> Vec<Invitation> {
        let invitation =
            |place: &Place| Invitation { place: place.name.clone(), path: format!("join/?{}", place.token) };
        self.door.places().iter().map(invitation).collect()
    }

    /// Returns once somebody has joined at every place. `told` hears how many have, each time that it changes.
    pub async fn all_joined(&self, mut told: impl FnMut(usize)) {
        let mut changed = self.door.changed.subscribe();
        let mut before = 0;
        loop {
            changed.mark_unchanged();
            let (joined, places) = self.door.joined();
            if joined != before {
                told(joined);
                before = joined;
            }
            // The door has the other end.
            if joined == places || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets nobody in any more, and gives those who have joined, by their places.
    pub fn close(self) -> BTreeMap<String, Guest> {
        self.door.close()
    }
}

impl Drop for Reception {
    fn drop(&mut self) {
        self.door.close();
    }
}

/// Why a call of a page's function has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GuestError {
    /// There is no page any more.
    #[error("{0}")]
    Gone(String),
    /// The function failed.
    #[error("{0}")]
    Failed(String),
}

/// Somebody who has joined. Dropping it ends the connection with a good-bye.
#[derive(Debug)]
pub struct Guest {
    /// What the browser calls itself.
    pub agent: String,
    /// Whether the person sends a camera and a microphone in place of a picture and a tone.
    pub camera: bool,
    calls: mpsc::Sender<Call>,
    line: Line,
}

impl Guest {
    /// Calls a function of the page, and waits for what it returns.
    ///
    /// # Errors
    ///
    /// The function failed; or the page is gone, which one that does not answer within twelve seconds counts as.
    pub async fn call(&self, function: &str, args: Vec<Value>) -> Result<Value, GuestError> {
        let (answer, answered) = oneshot::channel();
        let call = Call { function: function.to_owned(), args, answer };
        let called = async {
            self.calls.send(call).await.ok()?;
            answered.await.ok()
        };
        match timeout(CALL_DEADLINE, called).await {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(Some(Err(reason))) => Err(GuestError::Failed(reason)),
            Ok(None) => Err(GuestError::Gone(self.line.reason())),
            Err(_) => {
                let seconds = CALL_DEADLINE.as_secs();
                self.hang_up(&format!("the page does not answer `{function}` within {seconds} s"));
                Err(GuestError::Gone(self.line.reason()))
            }
        }
    }

    /// Returns once the page is gone: why.
    pub async fn ended(&self) -> String {
        self.line.ended.cancelled().await;
        self.line.reason()
    }

    /// Makes no call from now on, because of `reason`.
    pub fn hang_up(&self, reason: &str) {
        self.line.end(reason);
    }
}

/// A call of a function.
#[derive(Debug)]
struct Call {
    function: String,
    args: Vec<Value>,
    answer: oneshot::Sender<Result<Value, String>>,
}

/// Whether a page is still there, and if not, why.
#[derive(Clone, Debug, Default)]
struct Line {
    reason: Arc<OnceLock<String>>,
    ended: CancellationToken,
}

impl Line {
    /// The first reason counts.
    fn end(&self, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        self.ended.cancel();
    }

    fn reason(&self) -> String {
        self.reason.get().cloned().unwrap_or_else(|| "the server has ended".to_owned())
    }
}

/// What the routes know of a reception.
#[derive(Debug)]
pub(super) struct Door {
    run: String,
    places: Mutex<Vec<Place>>,
    /// Whenever somebody joins or leaves.
    changed: watch::Sender<()>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Place {
    name: String,
    token: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Free,
    /// Somebody has the page open.
    Taken,
    /// And has joined.
    Joined(Guest),
    /// The run has the guest.
    Handed,
}

impl Door {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many have joined, of how many.
    fn joined(&self) -> (usize, usize) {
        let places = self.places();
        (places.iter().filter(|place| matches!(place.state, State::Joined(_))).count(), places.len())
    }

    /// Takes the place of this token.
    ///
    /// # Errors
    ///
    /// Why that cannot be, in words for the one who came.
    fn enter(self: &Arc<Self>, token: &str) -> Result<Seat, &'static str> {
        let mut places = self.places();
        let Some((index, place)) = places.iter_mut().enumerate().find(|(_, place)| place.token == token) else {
            return Err("This link is none of this run's. Take the one that the terminal shows.");
        };
        match place.state {
            State::Free if self.closed.is_cancelled() => Err("The run does not wait for anybody any more."),
            State::Free => {
                place.state = State::Taken;
                Ok(Seat { door: self.clone(), index, name: place.name.clone() })
            }
            State::Taken | State::Joined(_) => Err("Somebody has opened this link already: it is for one person."),
            State::Handed => Err("This link has been used: it is for one person, and for one run."),
        }
    }

    fn close(&self) -> BTreeMap<String, Guest> {
        self.closed.cancel();
        let mut guests = BTreeMap::new();
        for place in self.places().iter_mut() {
            if let State::Joined(_) = place.state
                && let State::Joined(guest) = std::mem::replace(&mut place.state, State::Handed)
            {
                guests.insert(place.name.clone(), guest);
            }
        }
        guests
    }
}

/// A place that somebody has taken; free again when dropped, unless the run has its guest.
struct Seat {
    door: Arc<Door>,
    index: usize,
    name: String,
}

impl Seat {
    /// The person takes part.
    ///
    /// # Errors
    ///
    /// The run does not wait any more.
    fn join(&self, guest: Guest) -> Result<(), &'static str> {
        {
            let mut places = self.door.places();
            if self.door.closed.is_cancelled() {
                return Err("The run does not wait for anybody any more.");
            }
            places[self.index].state = State::Joined(guest);
        }
        self.door.changed.send_replace(());
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        {
            let place = &mut self.door.places()[self.index];
            if !matches!(place.state, State::Handed) {
                place.state = State::Free;
            }
        }
        self.door.changed.send_replace(());
    }
}
