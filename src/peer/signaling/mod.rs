//! Signaling peers: clients of the signaling server that make calls without media.
//!
//! Descriptions of a browser's size and candidates pass through the server, then messages at a fixed rate for as long as
//! the call lasts. Nothing is parsed and nobody connects, so that a peer costs its connection to the server and no more.
//! What arrives is compared with what was sent: a server that alters, loses or reorders messages shows.

mod conversation;
mod script;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::conversation::{Conversation, Counters};
use super::{Joined, Peer, PeerContext, Sent, Snapshot, WaitingFor};
use crate::record::{Failure, Lateness, Metric, Phase};
use crate::signaling::client::Sender;

/// How long messages on their way are waited for once the other end has stopped, unless the deadline of that step is short.
const DRAIN: Duration = Duration::from_secs(2);
/// How often is looked whether the last of them is there.
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// How long the good-bye may take.
const LEAVE: Duration = Duration::from_secs(2);

/// A client of the signaling server without media.
pub(super) struct SignalingPeer {
    context: PeerContext,
    send_lateness: Lateness,
    progress: watch::Sender<Progress>,
    counters: Arc<Counters>,
    stop: CancellationToken,
    /// Until `connect` takes it.
    joined: Option<Joined>,
    sender: Option<Sender>,
    conversation: Option<JoinHandle<()>>,
    /// Between the end of the exchange and `stop_media`.
    held: Option<(Instant, Instant)>,
}

/// How far the call is.
#[derive(Clone, Debug)]
struct Progress {
    phase: Phase,
    waiting_for: &'static str,
    /// Both ends have said all that a call needs.
    exchanged: Option<Instant>,
    /// No message is sent any more.
    stopped: bool,
    failure: Option<Failure>,
}

impl SignalingPeer {
    /// A peer that has not connected yet.
    pub(super) fn new(context: PeerContext, send_lateness: Lateness) -> Self {
        let progress = Progress {
            phase: Phase::Signaling,
            waiting_for: "the signaling server to accept the connection",
            exchanged: None,
            stopped: false,
            failure: None,
        };
        Self {
            context,
            send_lateness,
            progress: watch::Sender::new(progress),
            counters: Arc::default(),
            stop: CancellationToken::new(),
            joined: None,
            sender: None,
            conversation: None,
            held: None,
        }
    }

    /// Waits until `reached` holds, or the call has failed.
    async fn wait(&self, mut reached: impl FnMut(&Progress) -> bool) -> Result<(), Failure> {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`, so that waiting cannot end otherwise.
        match progress.wait_for(|progress| progress.failure.is_some() || reached(progress)).await {
            Ok(progress) => progress.failure.clone().map_or(Ok(()), Err),
            Err(_) => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        self.progress.borrow().failure.clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Peer for SignalingPeer {
    async fn join(&mut self) -> Result<(), Failure> {
        let (progress, own) = (&self.progress, &mut self.sender);
        let waits = |what, sender: Option<&Sender>| {
            *own = sender.cloned();
            progress.send_modify(|progress| progress.waiting_for = what);
        };
        self.joined = Some(self.context.join(waits).await?);
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let Some(Joined { sender, receiver, present }) = self.joined.take() else {
            return Err(self.context.failure(Phase::Offer, "the peer has not joined a room"));
        };
        let conversation = Conversation {
            context: self.context.clone(),
            sender,
            receiver,
            progress: self.progress.clone(),
            counters: Arc::clone(&self.counters),
            send_lateness: self.send_lateness.clone(),
            stop: self.stop.clone(),
        };
        self.conversation = Some(tokio::spawn(conversation.run(present)));
        self.wait(|progress| progress.exchanged.is_some()).await
    }

    async fn first_media(&mut self) -> Result<(), Failure> {
        self.check()
    }

    async fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        self.check()?;
        Ok(Snapshot::default())
    }

    async fn stop_media(&mut self) -> Result<Sent, Failure> {
        self.check()?;
        self.held = self.progress.borrow().exchanged.map(|from| (from, Instant::now()));
        self.stop.cancel();
        self.wait(|progress| progress.stopped).await?;
        Ok(Sent { signaling_messages: Some(self.counters.sent.load(Ordering::Relaxed)), ..Sent::default() })
    }

    async fn report(&mut self, sent_by_other: Option<&Sent>) -> Result<(), Failure> {
        let recorder = &self.context.recorder;
        recorder.absent(Metric::MediaVerifiedRatio, "a signaling peer carries no media");
        let sent = sent_by_other.and_then(|sent| sent.signaling_messages).unwrap_or(0);
        if sent == 0 {
            let reason = "the call was over before the other end's first message was due";
            recorder.absent(Metric::SignalingDeliveryRatio, reason);
            recorder.absent(Metric::SignalingMessagesPerSecond, reason);
            return Ok(());
        }
        let all_there = async {
            while self.counters.received.load(Ordering::Relaxed) < sent {
                sleep(DRAIN_STEP).await;
            }
        };
        // What has not come by then counts as lost.
        let deadline = Duration::from_micros(self.context.plan.deadlines.first_media_us);
        let _ = timeout(DRAIN.min(deadline / 2), all_there).await;
        let intact = self.counters.intact.load(Ordering::Relaxed);
        recorder.sample(Metric::SignalingDeliveryRatio, (intact as f64 / sent as f64).min(1.0));
        if let Some((from, to)) = self.held {
            let received = self.counters.received.load(Ordering::Relaxed) as f64;
            recorder.sample(Metric::SignalingMessagesPerSecond, received / (to - from).as_secs_f64());
        }
        Ok(())
    }

    async fn leave(&mut self) {
        if let Some(task) = self.conversation.take() {
            task.abort();
        }
        if let Some(sender) = self.sender.take()
            && timeout(LEAVE, sender.close()).await.is_err()
        {
            tracing::warn!(peer = self.context.recorder.peer(), "the good-bye took longer than {LEAVE:?}");
        }
    }

    fn waiting_for(&self) -> WaitingFor {
        let progress = self.progress.borrow();
        WaitingFor::with_unexpected(progress.phase, progress.waiting_for, self.sender.as_ref())
    }
}

impl Drop for SignalingPeer {
    fn drop(&mut self) {
        if let Some(task) = self.conversation.take() {
            task.abort();
        }
    }
}
