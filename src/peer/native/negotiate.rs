//! Offer, answer and trickled candidates between a native peer and the other end of its call.
//!
//! | waits for | offerer | answerer |
//! |---|---|---|
//! | `Offer` | the other peer in the room, then offers | the offer, then answers |
//! | `Answer` | the answer | – |
//! | `Ice` | a working pair | a working pair |
//! | `Dtls` … `Media` | see [`Tracker`] | see [`Tracker`] |
//!
//! Later offers to the answerer change what the connection carries (RFC 9429, section 5.3.2): servers that pass media on add it
//! as it comes. They are answered on the connection that is there, and are no phase of the call.
//!
//! Candidates of the other end that come before its description wait for it (RFC 8838, section 12).

use std::sync::Arc;
use std::time::Instant;

use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::RTCIceCandidateInit;
use tokio::sync::mpsc;

use super::candidates::LocalTransport;
use super::connection::{Connection, answer_to_dtls_client, offer_to_be_dtls_client};
use super::events::StackEvent;
use super::fingerprints::Fingerprints;
use super::media::Media;
use super::relays::Relays;
use super::state::Tracker;
use super::strangers::Strangers;
use super::with_faults;
use crate::plan::Role;
use crate::record::{Mark, Phase};
use crate::signaling::ClientError;
use crate::signaling::client::{Receiver, Sender, excerpt};
use crate::signaling::protocol::{ClientMessage, IceCandidate, ServerMessage};

/// One end of a negotiation.
pub(super) struct Negotiation {
    pub(super) role: Role,
    pub(super) connection: Arc<dyn Connection>,
    pub(super) sender: Sender,
    pub(super) tracker: Tracker,
    pub(super) media: Arc<Media>,
    pub(super) relays: Arc<Relays>,
    pub(super) strangers: Arc<Strangers>,
    /// The id of the other end, once known.
    pub(super) other: Option<String>,
    local: LocalTransport,
    /// Candidates of the other end that wait for its description.
    early: Vec<RTCIceCandidateInit>,
    remote_described: bool,
    /// The own offer leaves no other role.
    is_dtls_client: bool,
    /// Of the other end's description.
    fingerprints: Fingerprints,
}

impl Negotiation {
    pub(super) fn new(
        role: Role,
        connection: Arc<dyn Connection>,
        sender: Sender,
        tracker: Tracker,
        media: Arc<Media>,
        relays: Arc<Relays>,
        strangers: Arc<Strangers>,
    ) -> Self {
        let (other, early, remote_described) = (None, Vec::new(), false);
        Self {
            role,
            connection,
            sender,
            tracker,
            media,
            relays,
            strangers,
            other,
            local: LocalTransport::default(),
            early,
            remote_described,
            is_dtls_client: false,
            fingerprints: Fingerprints::default(),
        }
    }

    /// Negotiates, then watches over the call, until the task is aborted or the call has failed.
    pub(super) async fn run(
        mut self,
        present: Vec<String>,
        mut messages: Receiver,
        mut events: mpsc::UnboundedReceiver<StackEvent>,
    ) {
        let outcome = async {
            match self.role {
                Role::Offerer => self.tracker.enter(Phase::Offer, "the other peer to join the room"),
                Role::Answerer => self.tracker.enter(Phase::Offer, "the offer"),
            }
            if self.role == Role::Offerer
                && let Some(other) = present.into_iter().next()
            {
                self.offer(other).await?;
            }
            // Local candidates that come before the other end is known wait in the queue.
            loop {
                tokio::select! {
                    message = messages.next() => self.on_message(message).await?,
                    Some(event) = events.recv(), if self.other.is_some() => self.on_event(event).await?,
                }
            }
        };
        let outcome: Result<(), String> = outcome.await;
        if let Err(reason) = outcome {
            self.tracker.fail(reason);
        }
    }

    async fn on_message(&mut self, message: Result<ServerMessage, ClientError>) -> Result<(), String> {
        let message = match message {
            Ok(message) => message,
            // A call that is up does not need its signaling server any more, unless that refuses media that has not come.
            Err(error) if self.tracker.get().connected && !self.refuses_media(&error) => std::future::pending().await,
            Err(error) => return Err(format!("signaling: {error}")),
        };
        match message {
            ServerMessage::PeerJoined { id } if self.role == Role::Offerer && self.other.is_none() => {
                self.offer(id).await
            }
            ServerMessage::PeerLeft { id } if self.other.as_ref() == Some(&id) && !self.media.is_ending() => {
                Err("the other peer left the room".into())
            }
            ServerMessage::Offer { from, sdp } if self.role == Role::Answerer && self.other.is_none() => {
                self.tracker.recorder().mark(Mark::OfferReceived);
                self.answer(from, sdp).await
            }
            ServerMessage::Offer { from, sdp } if self.role == Role::Answerer && self.is_other(&from) => {
                self.answer_again(from, sdp).await
            }
            ServerMessage::Answer { from, sdp } if self.role == Role::Offerer && self.other.as_ref() == Some(&from) => {
                self.tracker.recorder().mark(Mark::AnswerReceived);
                let sdp = if self.is_dtls_client { answer_to_dtls_client(&sdp) } else { sdp };
                let description =
                    RTCSessionDescription::answer(sdp.clone()).map_err(|error| invalid("answer", &error, &sdp))?;
                self.set_remote(description, "answer").await?;
                self.tracker.enter(Phase::Ice, "a working candidate pair");
                Ok(())
            }
            ServerMessage::Candidate { from, candidate } if self.is_other(&from) => {
                self.add_candidate(candidate).await;
                Ok(())
            }
            // A candidate to somebody who has just left is nothing to a call that is up.
            ServerMessage::Error { code, message, .. } if !self.tracker.get().connected => {
                Err(format!("signaling: the server says {}: {message}", code.name()))
            }
            // Whoever waits for something else is told.
            ServerMessage::Offer { from, .. } => {
                self.tracker.pass_over(format!("an offer of {from:?} came, which nobody here waits for"));
                Ok(())
            }
            ServerMessage::Answer { from, .. } => {
                self.tracker.pass_over(format!("an answer of {from:?} came, which nobody here waits for"));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn on_event(&mut self, event: StackEvent) -> Result<(), String> {
        match event {
            StackEvent::Candidate(candidate) => {
                let Some(to) = self.other.clone() else { return Ok(()) };
                let connected = self.tracker.get().connected;
                let candidate = candidate.map(|candidate| self.local.complete(candidate));
                match self.sender.send(&ClientMessage::Candidate { to, candidate }).await {
                    Err(error) if !connected => Err(format!("signaling: the candidate is not sent: {error}")),
                    _ => Ok(()),
                }
            }
            StackEvent::IceConnected => {
                self.tracker.enter(Phase::Dtls, "the DTLS handshake");
                Ok(())
            }
            StackEvent::Connected(at) => self.connected(at).await,
            StackEvent::State(RTCPeerConnectionState::Failed) => Err(self.why_failed()),
            StackEvent::State(RTCPeerConnectionState::Disconnected) if !self.media.is_ending() => {
                Err("the connection was lost: the other end answers no connectivity checks any more".into())
            }
            StackEvent::State(_) => Ok(()),
        }
    }

    /// The handshake is complete: the call is connected if the certificate is that of the other end.
    async fn connected(&self, at: Instant) -> Result<(), String> {
        let statistics = self.connection.stats().await.map_err(|error| format!("the statistics: {error}"))?;
        if let Err(reason) = self.fingerprints.check(&statistics.report) {
            // Channels may be open already.
            self.tracker.fail_in(Phase::Dtls, reason.clone());
            return Err(reason);
        }
        // The stack has no event of its own for DTLS; it is connected when both transports are (W3C webrtc, 4.3.3), and
        // DTLS is the later of them.
        self.tracker.recorder().mark_at(at, Mark::DtlsConnected);
        self.tracker.recorder().mark_at(at, Mark::Connected);
        self.tracker.connected();
        self.connection.start_media().await
    }

    async fn offer(&mut self, to: String) -> Result<(), String> {
        let recorder = self.tracker.recorder().clone();
        recorder.mark(Mark::CreateOffer);
        let offer = self.connection.create_offer().await.map_err(|error| format!("createOffer: {error}"))?;
        recorder.mark(Mark::OfferCreated);
        let sdp = offer_to_be_dtls_client(&offer.sdp);
        self.is_dtls_client = sdp != offer.sdp;
        self.local = LocalTransport::of(&sdp);
        recorder.mark(Mark::SetLocalOffer);
        self.connection
            .set_local_description(offer)
            .await
            .map_err(|error| format!("setLocalDescription of the offer: {error}"))?;
        self.other = Some(to.clone());
        self.send(&ClientMessage::Offer { to, sdp }).await?;
        recorder.mark(Mark::OfferSent);
        self.tracker.enter(Phase::Answer, "the answer");
        Ok(())
    }

    async fn answer(&mut self, to: String, sdp: String) -> Result<(), String> {
        let description = RTCSessionDescription::offer(sdp.clone()).map_err(|error| invalid("offer", &error, &sdp))?;
        self.other = Some(to.clone());
        self.set_remote(description, "offer").await?;
        self.tracker.enter(Phase::Answer, "the answer to be made");
        let recorder = self.tracker.recorder().clone();
        recorder.mark(Mark::CreateAnswer);
        let answer = self.connection.create_answer().await.map_err(|error| format!("createAnswer: {error}"))?;
        recorder.mark(Mark::AnswerCreated);
        let sdp = answer.sdp.clone();
        self.local = LocalTransport::of(&sdp);
        recorder.mark(Mark::SetLocalAnswer);
        self.connection
            .set_local_description(answer)
            .await
            .map_err(|error| format!("setLocalDescription of the answer: {error}"))?;
        self.send(&ClientMessage::Answer { to, sdp }).await?;
        recorder.mark(Mark::AnswerSent);
        self.tracker.enter(Phase::Ice, "a working candidate pair");
        Ok(())
    }

    async fn answer_again(&mut self, to: String, sdp: String) -> Result<(), String> {
        let later = |error: &dyn std::fmt::Display| format!("a later offer cannot be answered: {error}");
        let description =
            RTCSessionDescription::offer(sdp.clone()).map_err(|error| invalid("later offer", &error, &sdp))?;
        self.set_remote(description, "later offer").await?;
        let answer = self.connection.create_answer().await.map_err(|error| later(&error))?;
        let sdp = answer.sdp.clone();
        self.local = LocalTransport::of(&sdp);
        self.connection.set_local_description(answer).await.map_err(|error| later(&error))?;
        self.send(&ClientMessage::Answer { to, sdp }).await
    }

    async fn set_remote(&mut self, description: RTCSessionDescription, what: &str) -> Result<(), String> {
        let sdp = description.sdp.clone();
        self.connection.set_remote_description(description).await.map_err(|error| invalid(what, &error, &sdp))?;
        self.strangers.introduce_all(&sdp);
        self.fingerprints = Fingerprints::of(&sdp);
        self.remote_described = true;
        for candidate in std::mem::take(&mut self.early) {
            self.apply(candidate).await;
        }
        Ok(())
    }

    async fn add_candidate(&mut self, candidate: Option<IceCandidate>) {
        // The end of candidates (null, or an empty string) asks nothing of an agent that waits for no more anyway.
        let Some(candidate) = candidate.filter(|candidate| !candidate.candidate.is_empty()) else { return };
        let candidate = RTCIceCandidateInit {
            candidate: candidate.candidate,
            sdp_mid: candidate.sdp_mid,
            sdp_mline_index: candidate.sdp_m_line_index,
            username_fragment: candidate.username_fragment,
            ..Default::default()
        };
        if self.remote_described {
            self.apply(candidate).await;
        } else {
            self.early.push(candidate);
        }
    }

    /// A candidate that the stack cannot use (an unresolvable name, a foreign protocol) is as if it had not been sent.
    ///
    /// It is introduced once the stack knows it: a check from there that came in between would still be a stranger's.
    async fn apply(&self, candidate: RTCIceCandidateInit) {
        let text = candidate.candidate.clone();
        if let Err(error) = self.connection.add_ice_candidate(candidate).await {
            tracing::debug!(%error, candidate = text, "candidate not usable");
        }
        self.strangers.introduce(&text);
    }

    async fn send(&self, message: &ClientMessage) -> Result<(), String> {
        self.sender.send(message).await.map_err(|error| format!("signaling: {error}"))
    }

    fn is_other(&self, from: &str) -> bool {
        // Candidates may overtake the offer that they belong to only on a server that reorders; ours does not.
        self.other.as_deref() == Some(from)
    }

    fn refuses_media(&self, error: &ClientError) -> bool {
        let arrived = self.tracker.get().arrived;
        matches!(error, ClientError::Refusal { .. }) && self.tracker.expected().missing(arrived).is_some()
    }

    fn why_failed(&self) -> String {
        match self.tracker.get().phase {
            Phase::Ice => with_faults("ICE failed: no candidate pair worked", &self.relays),
            Phase::Dtls => "the DTLS handshake failed".into(),
            _ => "the connection failed".into(),
        }
    }
}

/// The stack does not always say what it does not like.
fn invalid(what: &str, error: &dyn std::fmt::Display, sdp: &str) -> String {
    let why = error.to_string();
    let why = why.trim_end_matches([':', ' ']);
    format!("the {what} of the other end cannot be used: {why}; it begins: {}", excerpt(sdp))
}
