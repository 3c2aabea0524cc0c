//! What joins a page to a signaling server whose protocol the page does not speak.
//!
//! The page speaks the harness's own protocol, to the server that it comes from. For it this process joins the server under
//! test, and stands in for the other end of the call in a room that only the two know: what one server brings is said to the
//! other, with the ids that hold there.
//!
//! ```text
//! page ── room of the two, bundled server ── stand-in ── room of the call, server under test ── other end
//! ```

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::peer::Joined;
use crate::plan::Role;
use crate::signaling::client::{Receiver, Sender};
use crate::signaling::protocol::{ClientMessage, ServerMessage};
use crate::signaling::{Client, ClientError, Endpoint};

/// The stand-in of one page. Dropping it ends its connection to the bundled server.
pub(super) struct StandIn {
    /// The room of the two on the bundled server: unique, and nobody else knows it.
    pub(super) room: String,
    page: Sender,
    troubles: Arc<Mutex<Vec<Trouble>>>,
    task: JoinHandle<()>,
}

/// What went wrong between the page and the other end.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Trouble {
    pub(super) reason: String,
    /// Whether the server has refused something: a call that is up needs no server, but media that has not come yet.
    pub(super) is_refusal: bool,
}

impl StandIn {
    /// Connects to the bundled server for a peer that has joined the room of its call.
    ///
    /// # Errors
    ///
    /// Those of [`Client::connect`].
    pub(super) async fn start(bundled: &Endpoint, role: Role, joined: Joined) -> Result<Self, ClientError> {
        let client = Client::connect(bundled).await?;
        let room = client.id().to_owned();
        let Joined { sender, receiver, present } = joined;
        let (page, from_page) = client.split();
        let relay = Relay {
            role,
            server: (sender, receiver),
            page: (page.clone(), from_page),
            room: room.clone(),
            ids: None,
            troubles: Arc::default(),
        };
        let troubles = Arc::clone(&relay.troubles);
        let task = tokio::spawn(relay.run(present));
        Ok(Self { room, page, troubles, task })
    }

    /// What went wrong since the last time.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        std::mem::take(&mut *self.troubles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Relays nothing any more, and says good-bye to the bundled server. Has no deadline of its own.
    pub(super) async fn leave(self) {
        self.task.abort();
        self.page.close().await;
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Says to each side what the other one says.
struct Relay {
    role: Role,
    server: (Sender, Receiver),
    page: (Sender, Receiver),
    room: String,
    /// Once there is another end.
    ids: Option<Ids>,
    troubles: Arc<Mutex<Vec<Trouble>>>,
}

/// Between whom is relayed.
#[derive(Clone)]
struct Ids {
    /// Of the other end, on the server under test.
    other: String,
    /// Of the page, on the bundled one.
    page: String,
}

impl Relay {
    async fn run(mut self, present: Vec<String>) {
        let Err(trouble) = self.relay(present).await;
        self.tell(trouble);
    }

    fn tell(&self, trouble: Trouble) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
    }

    async fn relay(&mut self, present: Vec<String>) -> Result<Infallible, Trouble> {
        if let (Role::Offerer, Some(other)) = (self.role, present.into_iter().next()) {
            self.meet(other).await?;
        }
        loop {
            tokio::select! {
                message = self.server.1.next() => self.on_server(message.map_err(of_server)?).await?,
                message = self.page.1.next() => self.on_page(message.map_err(of_page)?).await?,
            }
        }
    }

    /// There is another end: the page is to see it come. Who answers sees it by its offer.
    async fn meet(&mut self, other: String) -> Result<(), Trouble> {
        self.page.0.send(&ClientMessage::Join { room: self.room.clone() }).await.map_err(of_page)?;
        loop {
            match self.page.1.next().await.map_err(of_page)? {
                ServerMessage::Joined { peers, .. } => {
                    // Nobody, if the page has gone, which is told elsewhere.
                    self.ids = peers.into_iter().next().map(|page| Ids { other, page });
                    return Ok(());
                }
                ServerMessage::Error { code, message, .. } => {
                    return Err(of_page(ClientError::Server { code, message }));
                }
                _ => {}
            }
        }
    }

    async fn on_server(&mut self, message: ServerMessage) -> Result<(), Trouble> {
        match (&message, &self.ids, self.role) {
            (ServerMessage::PeerJoined { id }, None, Role::Offerer) => self.meet(id.clone()).await?,
            (ServerMessage::Offer { from, .. }, None, Role::Answerer) => self.meet(from.clone()).await?,
            _ => {}
        }
        let is_other = |id: &str| self.ids.as_ref().filter(|ids| ids.other == id).map(|ids| ids.page.clone());
        let message = match message {
            ServerMessage::Offer { from, sdp } if self.role == Role::Answerer => {
                is_other(&from).map(|to| ClientMessage::Offer { to, sdp })
            }
            ServerMessage::Answer { from, sdp } => is_other(&from).map(|to| ClientMessage::Answer { to, sdp }),
            ServerMessage::Candidate { from, candidate } => {
                is_other(&from).map(|to| ClientMessage::Candidate { to, candidate })
            }
            ServerMessage::PeerLeft { id } => is_other(&id).map(|_| ClientMessage::Leave),
            ServerMessage::Error { code, message, .. } => {
                let reason = format!("signaling: the server says {}: {message}", code.name());
                self.tell(Trouble { reason, is_refusal: false });
                None
            }
            _ => None,
        };
        match message {
            Some(message) => self.page.0.send(&message).await.map_err(of_page),
            None => Ok(()),
        }
    }

    async fn on_page(&mut self, message: ServerMessage) -> Result<(), Trouble> {
        let Some(Ids { other: to, .. }) = self.ids.clone() else { return Ok(()) };
        let message = match message {
            ServerMessage::Offer { sdp, .. } => ClientMessage::Offer { to, sdp },
            ServerMessage::Answer { sdp, .. } => ClientMessage::Answer { to, sdp },
            ServerMessage::Candidate { candidate, .. } => ClientMessage::Candidate { to, candidate },
            ServerMessage::Error { code, message, .. } => {
                self.tell(of_page(ClientError::Server { code, message }));
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.server.0.send(&message).await.map_err(of_server)
    }
}

fn of_server(error: ClientError) -> Trouble {
    let is_refusal = matches!(error, ClientError::Refusal { .. });
    Trouble { reason: format!("signaling: {error}"), is_refusal }
}

fn of_page(error: ClientError) -> Trouble {
    let reason = format!("the connection to the bundled server, through which the page takes part: {error}");
    Trouble { reason, is_refusal: false }
}
