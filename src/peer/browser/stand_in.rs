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
    /// Until it begins, with who was in the room of the call.
    relay: Option<(Relay, Vec<String>)>,
    task: Option<JoinHandle<()>>,
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
        Ok(Self { room, page, troubles, relay: Some((relay, present)), task: None })
    }

    /// Passes messages on from now on: the page is in the room of the two.
    pub(super) fn begin(&mut self) {
        if let Some((relay, present)) = self.relay.take() {
            self.task = Some(tokio::spawn(relay.run(present)));
        }
    }

    /// What went wrong since the last time.
    pub(super) fn troubles(&self) -> Vec<Trouble> {
        std::mem::take(&mut *self.troubles.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Relays nothing any more, and says good-bye to the bundled server. Has no deadline of its own.
    pub(super) async fn leave(self) {
        self.stop();
        self.page.close().await;
    }

    fn stop(&self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stop();
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::signaling::{Identity, Limits, Server, ServerConfig};

    async fn server() -> Server {
        let (listen, identity) = ("127.0.0.1:0".parse().unwrap(), Identity::generate(&[]).unwrap());
        Server::start(ServerConfig { listen, identity, pages: Vec::new(), limits: Limits::default() }).await.unwrap()
    }

    /// A server under test, a bundled one, and a page with its stand-in.
    struct Scene {
        tested: Server,
        bundled: Server,
        /// The peer's id on the server under test.
        peer: String,
        stand_in: StandIn,
        page: Client,
    }

    impl Scene {
        async fn of(role: Role) -> Self {
            let (tested, bundled) = (server().await, server().await);
            let mut client = Client::connect(&tested.endpoint()).await.unwrap();
            let (peer, present) = (client.id().to_owned(), client.join("call").await.unwrap());
            let (sender, receiver) = client.split();
            let joined = Joined { sender, receiver, present };
            let mut stand_in = StandIn::start(&bundled.endpoint(), role, joined).await.unwrap();
            let mut page = Client::connect(&bundled.endpoint()).await.unwrap();
            assert_eq!(page.join(&stand_in.room).await.unwrap(), Vec::<String>::new(), "there is nobody to call yet");
            stand_in.begin();
            Self { tested, bundled, peer, stand_in, page }
        }

        /// The other end, in the room of the call.
        async fn other(&self) -> Client {
            let mut other = Client::connect(&self.tested.endpoint()).await.unwrap();
            assert_eq!(other.join("call").await.unwrap(), [self.peer.as_str()]);
            other
        }
    }

    async fn trouble(stand_in: &StandIn) -> Trouble {
        let found = async {
            loop {
                if let Some(trouble) = stand_in.troubles().pop() {
                    return trouble;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), found).await.unwrap()
    }

    async fn next(receiver: &mut Receiver) -> ServerMessage {
        timeout(Duration::from_secs(10), receiver.next()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_page_that_calls_sees_the_other_end_come_answer_and_go() {
        let scene = Scene::of(Role::Offerer).await;
        let (id, (other, mut at_other)) = (scene.peer.clone(), scene.other().await.split());
        let Scene { tested, bundled, stand_in, page, .. } = scene;
        let (page, mut at_page) = page.split();

        let ServerMessage::PeerJoined { id: to } = next(&mut at_page).await else { panic!("nobody came") };
        page.send(&ClientMessage::Offer { to: to.clone(), sdp: "o".into() }).await.unwrap();
        page.send(&ClientMessage::Candidate { to: to.clone(), candidate: None }).await.unwrap();
        assert_eq!(next(&mut at_other).await, ServerMessage::Offer { from: id.clone(), sdp: "o".into() });
        assert_eq!(next(&mut at_other).await, ServerMessage::Candidate { from: id.clone(), candidate: None });
        other.send(&ClientMessage::Answer { to: id, sdp: "a".into() }).await.unwrap();
        assert_eq!(next(&mut at_page).await, ServerMessage::Answer { from: to.clone(), sdp: "a".into() });
        other.close().await;
        assert_eq!(next(&mut at_page).await, ServerMessage::PeerLeft { id: to });
        assert_eq!(stand_in.troubles(), []);
        stand_in.leave().await;
        tested.shutdown().await;
        bundled.shutdown().await;
    }

    #[tokio::test]
    async fn a_page_that_is_called_gets_every_offer_of_who_called_first() {
        let scene = Scene::of(Role::Answerer).await;
        let (other, mut at_other) = scene.other().await.split();
        let mut stranger = Client::connect(&scene.tested.endpoint()).await.unwrap();
        stranger.join("call").await.unwrap();
        let id = scene.peer.clone();
        let (page, mut at_page) = scene.page.split();

        other.send(&ClientMessage::Offer { to: id.clone(), sdp: "1".into() }).await.unwrap();
        let ServerMessage::PeerJoined { id: to } = next(&mut at_page).await else { panic!("nobody came") };
        assert_eq!(next(&mut at_page).await, ServerMessage::Offer { from: to.clone(), sdp: "1".into() });
        page.send(&ClientMessage::Answer { to: to.clone(), sdp: "a".into() }).await.unwrap();
        assert!(matches!(next(&mut at_other).await, ServerMessage::PeerJoined { .. }), "the stranger");
        assert_eq!(next(&mut at_other).await, ServerMessage::Answer { from: id.clone(), sdp: "a".into() });
        stranger.sender().send(&ClientMessage::Offer { to: id.clone(), sdp: "stray".into() }).await.unwrap();
        stranger.ping().await.unwrap();
        other.send(&ClientMessage::Offer { to: id, sdp: "2".into() }).await.unwrap();
        assert_eq!(next(&mut at_page).await, ServerMessage::Offer { from: to, sdp: "2".into() });
    }

    #[tokio::test]
    async fn a_connection_that_ends_is_told_of_whichever_side_it_is_on() {
        let Scene { tested, bundled: _bundled, stand_in, page: _page, .. } = Scene::of(Role::Offerer).await;
        tested.shutdown().await;
        let Trouble { reason, is_refusal } = trouble(&stand_in).await;
        assert!(reason.starts_with("signaling: the signaling server closed the connection"), "{reason}");
        assert!(!is_refusal);

        let Scene { tested: _tested, bundled, stand_in, page: _page, .. } = Scene::of(Role::Answerer).await;
        bundled.shutdown().await;
        let reason = trouble(&stand_in).await.reason;
        assert!(reason.starts_with("the connection to the bundled server"), "{reason}");
    }
}
