//! What one signaling peer says and hears: first the exchange that makes a call, then messages at a fixed rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::Progress;
use super::script::{self, Note};
use crate::peer::PeerContext;
use crate::plan::{Role, derive_seed};
use crate::record::{Lateness, Mark, Metric, Phase};
use crate::signaling::ClientError;
use crate::signaling::client::{Receiver, Sender};
use crate::signaling::protocol::{ClientMessage, IceCandidate, ServerMessage};

/// tokio rounds timers up to its millisecond wheel; that much is no delay of a message.
const TIMER: Duration = Duration::from_millis(1);

/// Messages after the exchange.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    /// Received unaltered and in order.
    pub(super) intact: AtomicU64,
}

/// One end of a call, on a task of its own.
pub(super) struct Conversation {
    pub(super) context: PeerContext,
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) counters: Arc<Counters>,
    pub(super) send_lateness: Lateness,
    pub(super) stop: CancellationToken,
}

impl Conversation {
    /// Speaks until the task is aborted or the call has failed.
    pub(super) async fn run(mut self, present: Vec<String>) {
        let outcome = match self.exchange(present).await {
            Ok(other) => self.hold(&other).await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = outcome {
            self.progress.send_modify(|progress| {
                let phase = progress.phase;
                progress.failure.get_or_insert_with(|| self.context.failure(phase, reason));
            });
        }
    }

    /// Offer, answer and candidates in both directions; returns the id of the other end.
    async fn exchange(&mut self, present: Vec<String>) -> Result<String, String> {
        let role = self.context.role;
        self.enter(Phase::Offer, if role == Role::Offerer { "the other peer to join the room" } else { "the offer" });
        let mut other = None;
        if role == Role::Offerer
            && let Some(id) = present.into_iter().next()
        {
            self.describe(&id).await?;
            other = Some(id);
        }
        let (mut described, mut candidates_ended) = (false, false);
        let mut expected = script::candidates();
        loop {
            match (self.receiver.next().await.map_err(broken)?, &other) {
                (ServerMessage::PeerJoined { id }, None) if role == Role::Offerer => {
                    self.describe(&id).await?;
                    other = Some(id);
                }
                (ServerMessage::Offer { from, sdp }, None) if role == Role::Answerer => {
                    self.context.recorder.mark(Mark::OfferReceived);
                    unaltered(&sdp, Role::Offerer)?;
                    self.describe(&from).await?;
                    (other, described) = (Some(from), true);
                }
                (ServerMessage::Answer { from, sdp }, Some(other)) if role == Role::Offerer && from == *other => {
                    self.context.recorder.mark(Mark::AnswerReceived);
                    unaltered(&sdp, Role::Answerer)?;
                    described = true;
                }
                (ServerMessage::Candidate { from, candidate }, Some(other)) if from == *other => {
                    if candidate != expected.next() {
                        return Err("a candidate of the other end arrived altered or out of order".into());
                    }
                    candidates_ended = candidate.is_none();
                }
                (message, _) => refused(message, other.as_ref())?,
            }
            if described && candidates_ended {
                break;
            }
        }
        drop(expected);
        let now = Instant::now();
        self.context.recorder.mark_at(now, Mark::FirstMedia);
        self.enter(Phase::Signaling, "messages of the other end");
        self.progress.send_modify(|progress| progress.exchanged = Some(now));
        other.ok_or_else(|| "the exchange ended before the other end was known".into())
    }

    /// Sends the description of this end, then its candidates.
    async fn describe(&self, to: &str) -> Result<(), String> {
        let sdp = script::description(self.context.role).to_owned();
        let (mark, message) = match self.context.role {
            Role::Offerer => (Mark::OfferSent, ClientMessage::Offer { to: to.to_owned(), sdp }),
            Role::Answerer => (Mark::AnswerSent, ClientMessage::Answer { to: to.to_owned(), sdp }),
        };
        self.enter(Phase::Answer, "the description and candidates of the other end");
        // Before sending: time in which the server does not read belongs to the exchange.
        self.context.recorder.mark(mark);
        self.sender.send(&message).await.map_err(broken)?;
        for candidate in script::candidates().map(Some).chain([None]) {
            self.send_candidate(to, candidate).await?;
        }
        Ok(())
    }

    /// Sends messages until told to stop, and measures those of the other end.
    async fn hold(&mut self, other: &str) -> Result<(), String> {
        let interval = Duration::from_micros(self.context.group.message_interval_us.unwrap_or_default()).max(TIMER);
        // Peers that all spoke at once would measure their own crowd.
        let seed = derive_seed(self.context.plan.seed, self.context.recorder.peer());
        let mut due = Instant::now() + Duration::from_micros(seed % interval.as_micros() as u64);
        let delivery =
            self.context.recorder.tally(Metric::SignalingDeliveryMs, &self.context.group.name, &self.context.call.set);
        let (mut sent, mut expected) = (0, 0);
        let mut wake = std::pin::pin!(sleep_until(due.into()));
        let stop = self.stop.clone();
        let mut stopping = std::pin::pin!(stop.cancelled());
        let mut stopped = false;
        loop {
            tokio::select! {
                () = &mut stopping, if !stopped => {
                    stopped = true;
                    self.progress.send_modify(|progress| progress.stopped = true);
                }
                () = &mut wake, if !stopped => {
                    let late = due.elapsed();
                    self.send_lateness.record(late.saturating_sub(TIMER));
                    let due_us = self.context.recorder.micros(due + late.min(TIMER));
                    self.send_candidate(other, Some(Note { number: sent, due_us }.write())).await?;
                    sent += 1;
                    self.counters.sent.store(sent, Ordering::Relaxed);
                    due += interval;
                    wake.as_mut().reset(due.into());
                }
                message = self.receiver.next() => match message {
                    Ok(ServerMessage::Candidate { from, candidate }) if from == other => {
                        let note = candidate.as_ref().and_then(Note::read);
                        if let Some(note) = note {
                            let now = self.context.recorder.micros(Instant::now());
                            delivery.record(now.saturating_sub(note.due_us) as f64 / 1e3);
                        }
                        let intact = note.is_some_and(|note| note.number == expected);
                        expected = note.map_or(expected, |note| note.number) + 1;
                        self.counters.intact.fetch_add(u64::from(intact), Ordering::Relaxed);
                        self.counters.received.fetch_add(1, Ordering::Relaxed);
                    }
                    // A call that is over does not mind how the other end leaves.
                    Ok(_) if stopped => {}
                    Err(_) if stopped => return Ok(()),
                    Ok(message) => refused(message, Some(&other.to_owned()))?,
                    Err(error) => return Err(broken(error)),
                },
            }
        }
    }

    async fn send_candidate(&self, to: &str, candidate: Option<IceCandidate>) -> Result<(), String> {
        self.sender.send(&ClientMessage::Candidate { to: to.to_owned(), candidate }).await.map_err(broken)
    }

    fn enter(&self, phase: Phase, waiting_for: &'static str) {
        self.progress.send_modify(|progress| (progress.phase, progress.waiting_for) = (phase, waiting_for));
    }
}

/// What ends a call among the messages that it does not wait for.
fn refused(message: ServerMessage, other: Option<&String>) -> Result<(), String> {
    match message {
        ServerMessage::PeerLeft { id } if Some(&id) == other => Err("the other peer left the room".into()),
        ServerMessage::Error { code, message, .. } => {
            Err(format!("signaling: the server says {}: {message}", code.name()))
        }
        _ => Ok(()),
    }
}

fn unaltered(sdp: &str, role: Role) -> Result<(), String> {
    let name = if role == Role::Offerer { "offer" } else { "answer" };
    if sdp == script::description(role) { Ok(()) } else { Err(format!("the {name} of the other end arrived altered")) }
}

fn broken(error: ClientError) -> String {
    format!("signaling: {error}")
}
