//! Simulated peers, on one of two stacks over the same protocol core (`rtc` 0.21.1): `async_stack` is `webrtc` 0.21.1
//! behind our own [`Runtime`](webrtc::runtime::Runtime), `dense` drives the core from our own loop. Everything that is
//! not moving packets is the same for both.
//!
//! Each work-around of the core stands in `candidates`, `connection`, `fingerprints`, `handshake` and
//! `strangers`, each of `webrtc` in `runtime`.

mod async_stack;
mod candidates;
mod channels;
mod connection;
mod data;
pub mod dense;
mod divert;
mod events;
mod fingerprints;
mod first_media;
mod handshake;
mod interceptor;
mod key_frame;
mod layers;
mod media;
mod mix;
mod modelled;
mod negotiate;
mod observe;
mod planned;
mod relays;
mod runtime;
mod search;
mod source;
mod state;
mod stats;
mod strangers;
mod traced;
mod tracks;
#[cfg(test)]
mod upstream;
mod wire;

pub(crate) use connection::host_addresses;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::async_stack::AsyncConnection;
use self::connection::{Connection, Setup, Statistics};
use self::dense::DenseConnection;
pub use self::dense::Shards;
use self::events::Events;
use self::media::Media;
use self::negotiate::Negotiation;
use self::observe::Observer;
use self::relays::Relays;
use self::runtime::HarnessRuntime;
use self::state::{Expected, Tracker};
use self::strangers::Strangers;
use self::traced::Traced;
use self::wire::Wire;
use super::network::PeerNetwork;
use super::{Joined, Peer, PeerContext, Sent, Snapshot, WaitingFor};
use crate::plan::{NativeStack, Role};
use crate::record::{Failure, Lateness, Mark, Metric, Phase};
use crate::signaling::client::Sender;

/// How long hanging up may take: the stack's own limit for its driver is well below.
const LEAVE: Duration = Duration::from_secs(2);

/// A simulated peer.
pub(super) struct NativePeer {
    context: PeerContext,
    tracker: Tracker,
    wire: Arc<Wire>,
    relays: Arc<Relays>,
    strangers: Arc<Strangers>,
    media: Arc<Media>,
    connection: Arc<dyn Connection>,
    /// The stack's events, until `connect` takes them.
    events: Option<tokio::sync::mpsc::UnboundedReceiver<events::StackEvent>>,
    /// The signaling connection and who was in the room on joining, until `connect` takes them.
    joined: Option<Joined>,
    sender: Option<Sender>,
    negotiation: Option<JoinHandle<()>>,
    reported: bool,
}

impl NativePeer {
    /// Makes the peer, its sockets included, on the stack of its group.
    pub(super) async fn create(
        context: PeerContext,
        send_lateness: Lateness,
        shards: &Shards,
    ) -> Result<Self, Failure> {
        let expected = expected(&context);
        let recorder = &context.recorder;
        let tracker = Tracker::new(recorder.clone(), expected);
        let wire = Arc::new(Wire::new(recorder.clone()));
        let (told, events) = Events::new(recorder.clone());
        let failure = |error: &dyn std::fmt::Display| {
            context.failure(Phase::Start, format!("the peer connection cannot be made: {error}"))
        };
        let PeerNetwork { host, ice, .. } = &context.network;
        let relays = Arc::new(Relays::new(ice, host.place()).map_err(|error| failure(&error))?);
        let strangers = Arc::new(Strangers::new(context.role));
        let observer = Observer {
            wire: Arc::clone(&wire),
            relays: Arc::clone(&relays),
            strangers: Arc::clone(&strangers),
            handshake: Arc::default(),
        };
        let media = Media::new(&context, tracker.clone(), send_lateness).map_err(|error| failure(&error))?;
        let media = Arc::new(media);
        let (media_plan, key_frames) = (context.plan.media_of(&context.call), media.key_frames.clone());
        let stack = context.group.stack.unwrap_or_default();
        if let Some(dump) = recorder.dump() {
            let name = match stack {
                NativeStack::Async => "async",
                NativeStack::Dense => "dense",
            };
            dump.begin(&format!("harness/{} (simulated peer, {name} stack)", env!("CARGO_PKG_VERSION")));
            dump.tell(Instant::now(), "create", context.traced_configuration());
        }
        // A browser adapts its rate to feedback that only the core gives.
        let bypass = stack == NativeStack::Dense && media::other_is_native(&context);
        let setup = Setup::new(context.ice_policy(), host, &relays, media_plan, key_frames, bypass)
            .map_err(|error| failure(&error))?;
        let connection: Arc<dyn Connection> = match stack {
            NativeStack::Async => {
                let runtime = HarnessRuntime::new(host.clone(), observer, true);
                let connection = AsyncConnection::new(setup, runtime, &relays, Arc::clone(&media), told).await;
                Arc::new(connection.map_err(|error| failure(&error))?)
            }
            NativeStack::Dense => {
                let connection = DenseConnection::new(shards, setup, host, observer, Arc::clone(&media), told).await;
                Arc::new(connection.map_err(|error| failure(&error))?)
            }
        };
        let connection = match recorder.dump() {
            Some(dump) => Arc::new(Traced::new(connection, dump.clone())),
            None => connection,
        };
        Ok(Self {
            context,
            tracker,
            wire,
            relays,
            strangers,
            media,
            connection,
            events: Some(events),
            joined: None,
            sender: None,
            negotiation: None,
            reported: false,
        })
    }

    async fn stats(&self) -> Result<Statistics, Failure> {
        let stats = self.connection.stats().await;
        stats.map_err(|error| self.context.failure(Phase::Media, format!("the statistics: {error}")))
    }

    /// Statistics of a call that goes on.
    ///
    /// # Errors
    ///
    /// It has failed, or the other end has hung up.
    async fn stats_of_call(&self) -> Result<Statistics, Failure> {
        if let Some(failure) = self.tracker.get().failure {
            return Err(failure);
        }
        let statistics = self.stats().await?;
        match statistics.transports.closed() {
            Some(how) => Err(self
                .context
                .failure(Phase::Media, format!("the other end hung up before the end of the call: {how}"))),
            None => Ok(statistics),
        }
    }

    /// Statistics under their W3C names.
    fn raw(&self, Statistics { report, bypassed, .. }: &Statistics) -> Vec<Value> {
        let mut raw = stats::to_w3c(report, &self.relays);
        if let Some(bypassed) = bypassed {
            bypassed.complete(&mut raw);
        }
        raw
    }
}

#[async_trait]
impl Peer for NativePeer {
    async fn join(&mut self) -> Result<(), Failure> {
        let (tracker, own) = (&self.tracker, &mut self.sender);
        let waits = |what, sender: Option<&Sender>| {
            *own = sender.cloned();
            tracker.enter(Phase::Signaling, what);
        };
        self.joined = Some(self.context.join(waits).await?);
        Ok(())
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        let (Some(Joined { sender, receiver, present }), Some(events)) = (self.joined.take(), self.events.take())
        else {
            return Err(self.context.failure(Phase::Offer, "the peer has not joined a room"));
        };
        let connection = Arc::clone(&self.connection);
        let (tracker, media, relays) = (self.tracker.clone(), Arc::clone(&self.media), Arc::clone(&self.relays));
        let strangers = Arc::clone(&self.strangers);
        let negotiation = Negotiation::new(self.context.role, connection, sender, tracker, media, relays, strangers);
        self.negotiation = Some(tokio::spawn(negotiation.run(present, receiver, events)));
        let data = self.tracker.expected().data();
        self.tracker.wait(|progress| progress.connected && (progress.data_open || !data)).await?;
        let layers = &self.context.group.layers;
        if let (Some(sender), Some(_)) = (&self.sender, self.context.call.feed.as_ref().filter(|_| !layers.is_empty()))
        {
            let (hold, media) = (Duration::from_micros(self.context.call.hold_us), Arc::clone(&self.media));
            tokio::spawn(layers::ask_in_turn(sender.clone(), media, layers.clone(), hold));
        }
        Ok(())
    }

    async fn first_media(&mut self) -> Result<(), Failure> {
        let expected = self.tracker.expected();
        if expected == Expected::default() {
            self.context.recorder.mark(Mark::FirstMedia);
        }
        self.tracker.wait(|progress| expected.missing(progress.arrived).is_none()).await?;
        self.wire.settled();
        Ok(())
    }

    async fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        let statistics = self.stats_of_call().await?;
        if let Some(dump) = self.context.recorder.dump().filter(|dump| dump.wants_stats()) {
            dump.stats(self.raw(&statistics));
        }
        if let Some(rtt) = stats::round_trip_time(&statistics.report) {
            let tally = self.context.recorder.tally(Metric::RttMs, &self.context.group.name, &self.context.call.set);
            tally.record(rtt * 1e3);
        }
        self.media.sample_jitter();
        Ok(self.media.snapshot())
    }

    async fn stop_media(&mut self) -> Result<Sent, Failure> {
        // Both ends are asked at once, and the other one may stop while this one is about it.
        let end = Instant::now();
        self.stats_of_call().await?;
        Ok(self.media.stop(end).await)
    }

    async fn report(&mut self, sent_by_other: Option<&Sent>) -> Result<(), Failure> {
        self.media.drained(sent_by_other).await;
        let statistics = self.stats().await?;
        let raw = self.raw(&statistics);
        if let Some(path) = stats::path(&statistics.report, &self.context, &self.relays) {
            let recorder = &self.context.recorder;
            if path.relay_protocol.is_some() {
                let search = search::search(recorder, &self.wire, &self.relays, &self.strangers);
                for (metric, value) in [
                    (Metric::TimeToFallbackMs, search.time_to_fallback_ms()),
                    (Metric::FallbackNominationMs, search.time_to_nomination_ms(&recorder.marks())),
                ] {
                    if let Some(value) = value {
                        recorder.sample(metric, value);
                    }
                }
            }
            recorder.path(path);
        }
        self.context.recorder.stats(raw);
        self.reported = true;
        if let Some(unexpected) = self.sender.as_ref().and_then(Sender::unexpected) {
            self.media.layer_refused(unexpected);
        }
        self.media.report(sent_by_other);
        Ok(())
    }

    async fn leave(&mut self) {
        self.media.end();
        if let Some(task) = self.negotiation.take() {
            task.abort();
            // Before closing, which would show as faults of servers.
            let search = search::search(&self.context.recorder, &self.wire, &self.relays, &self.strangers);
            self.context.recorder.search(search);
        }
        let close = async {
            if let Some(sender) = self.sender.take() {
                sender.close().await;
            }
            // How far a call came that failed.
            if let (Some(dump), false) = (self.context.recorder.dump(), self.reported)
                && let Ok(statistics) = self.stats().await
            {
                dump.stats(self.raw(&statistics));
            }
            if let Err(error) = self.connection.close().await {
                tracing::debug!(%error, "closing the peer connection");
            }
        };
        if timeout(LEAVE, close).await.is_err() {
            tracing::warn!(peer = self.context.recorder.peer(), "hanging up took longer than {LEAVE:?}");
        }
    }

    fn waiting_for(&self) -> WaitingFor {
        let progress = self.tracker.get();
        let missing = progress.connected.then(|| self.tracker.expected().missing(progress.arrived)).flatten();
        match missing {
            Some(missing) if progress.phase == Phase::Media => WaitingFor::new(Phase::Media, missing),
            _ if progress.phase == Phase::Ice => {
                WaitingFor::new(Phase::Ice, with_faults(progress.waiting_for, &self.relays))
            }
            _ => {
                let waiting = WaitingFor::with_unexpected(progress.phase, progress.waiting_for, self.sender.as_ref());
                let heard = [waiting.heard, progress.passed_over].into_iter().flatten().collect::<Vec<_>>();
                WaitingFor { heard: (!heard.is_empty()).then(|| heard.join("; ")), ..waiting }
            }
        }
    }
}

impl Drop for NativePeer {
    fn drop(&mut self) {
        self.media.end();
        if let Some(task) = self.negotiation.take() {
            task.abort();
        }
    }
}

/// A text about ICE that does not work, with what is wrong with the TURN servers.
fn with_faults(text: &str, relays: &Relays) -> String {
    std::iter::once(text.to_owned()).chain(relays.faults()).collect::<Vec<_>>().join("; ")
}

/// What the call carries to this peer.
fn expected(context: &PeerContext) -> Expected {
    let media = context.plan.media_of(&context.call);
    let other_sends = context.source().is_none_or(|group| group.direction.sends());
    let receives = context.group.direction.receives() && other_sends;
    let bulk = media.data.as_ref().is_some_and(|data| data.bulk.is_some());
    Expected {
        video: receives && media.video.is_some(),
        audio: receives && media.audio,
        echo: media.data.is_some(),
        bulk: bulk && context.role == Role::Answerer,
    }
}
