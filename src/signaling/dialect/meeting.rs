//! Where peers of a run learn each other's ids if the server does not tell who is there: PeerServer, and socket.io
//! applications whose users pass their ids on by other means.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::signaling::protocol::ServerMessage;

/// Who is in which room, as far as this process knows.
#[derive(Clone, Debug, Default)]
pub struct Meeting {
    rooms: Arc<Mutex<HashMap<String, Vec<Attendee>>>>,
    /// What to follow to get a peer's media, in the words of the server that passes it on, or why there is none.
    feeds: Arc<Mutex<HashMap<String, watch::Sender<Option<Result<Value, String>>>>>>,
}

#[derive(Debug)]
struct Attendee {
    id: String,
    inbox: mpsc::UnboundedSender<ServerMessage>,
}

/// A client's presence in a room, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Attendance {
    meeting: Meeting,
    room: String,
    id: String,
    /// Who comes.
    pub(crate) news: mpsc::UnboundedReceiver<ServerMessage>,
}

impl Meeting {
    /// Enters a room; gives the ids of those who are there.
    pub(crate) fn enter(&self, room: &str, id: &str) -> (Attendance, Vec<String>) {
        let (inbox, news) = mpsc::unbounded_channel();
        let mut rooms = self.lock();
        let attendees = rooms.entry(room.to_owned()).or_default();
        let present = attendees.iter().map(|other| other.id.clone()).collect();
        for other in &*attendees {
            let _ = other.inbox.send(ServerMessage::PeerJoined { id: id.to_owned() });
        }
        attendees.push(Attendee { id: id.to_owned(), inbox });
        drop(rooms);
        (Attendance { meeting: self.clone(), room: room.to_owned(), id: id.to_owned(), news }, present)
    }

    /// Says what others have to follow to get a peer's media.
    pub(crate) fn announce(&self, peer: &str, feed: Value) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.entry(peer.to_owned()).or_default().send_replace(Some(Ok(feed)));
    }

    /// Says that a peer has failed: who waits for its media does not get any.
    pub(crate) fn give_up(&self, peer: &str, why: &str) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let feed = feeds.entry(peer.to_owned()).or_default();
        feed.send_if_modified(|feed| feed.is_none().then(|| *feed = Some(Err(why.to_owned()))).is_some());
    }

    /// Waits until a peer publishes, and tells what to follow.
    ///
    /// # Errors
    ///
    /// Why it never will.
    pub(crate) async fn feed(&self, peer: &str) -> Result<Value, String> {
        let mut feed = {
            let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
            feeds.entry(peer.to_owned()).or_default().subscribe()
        };
        let announced = feed.wait_for(Option::is_some).await.ok().and_then(|feed| feed.clone());
        match announced {
            Some(feed) => feed,
            // The sender is gone only with the meeting.
            None => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Attendee>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// That somebody has left is for the server to tell.
impl Drop for Attendance {
    fn drop(&mut self) {
        let mut rooms = self.meeting.lock();
        if let Some(attendees) = rooms.get_mut(&self.room) {
            attendees.retain(|other| other.id != self.id);
            if attendees.is_empty() {
                rooms.remove(&self.room);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_wants_a_feed_waits_for_its_publisher() {
        let meeting = Meeting::default();
        let later = meeting.clone();
        let wanted = tokio::spawn(async move { later.feed("bot/0").await });
        tokio::task::yield_now().await;
        meeting.announce("bot/0", 42.into());
        assert_eq!(wanted.await.unwrap(), Ok(42.into()));
        meeting.give_up("bot/0", "it broke later");
        assert_eq!(meeting.feed("bot/0").await, Ok(42.into()));
        meeting.give_up("bot/1", "refused");
        assert_eq!(meeting.feed("bot/1").await, Err("refused".into()));
    }

    #[test]
    fn who_comes_finds_who_is_there_and_is_told_of() {
        let meeting = Meeting::default();
        let (mut a, present) = meeting.enter("r", "a");
        assert!(present.is_empty());
        let (b, present) = meeting.enter("r", "b");
        assert_eq!(present, ["a"]);
        assert_eq!(a.news.try_recv(), Ok(ServerMessage::PeerJoined { id: "b".into() }));
        assert!(meeting.enter("s", "c").1.is_empty());
        drop(b);
        assert_eq!(meeting.enter("r", "d").1, ["a"]);
        drop(a);
        assert!(meeting.lock().is_empty());
    }
}
