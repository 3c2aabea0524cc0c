//! Peers: the ends of a call. `run/` knows of a peer only what [`Peer`] says.
//!
//! A peer joins a room of the signaling server, makes or takes one call, carries its media, and says what arrived. It
//! reports the instants of its life as [`Mark`]s; it never decides what to test, and never judges.

pub mod browser;
mod external;
pub mod native;
pub mod network;
mod signaling;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use self::browser::{BrowserPool, People};
use self::external::ExternalPeer;
use self::native::NativePeer;
pub use self::native::Shards;
pub(crate) use self::native::host_addresses;
use self::network::PeerNetwork;
use self::signaling::SignalingPeer;
use crate::plan::{CallPlan, Engine, GroupPlan, IceTransportPolicy, Plan, Role};
use crate::record::{Failure, Lateness, Mark, MediaKind, MediaReport, Metric, PeerRecorder, Phase};
use crate::signaling::client::{Reached, Receiver, Seat, Sender};
use crate::signaling::dialect::Place;
use crate::signaling::{Client, ClientError};

/// One end of one call, of any kind.
///
/// The methods are called in the order in which they stand here, by one task, and each may be cut short by the run
/// (a deadline, Ctrl-C): dropping the future must leave the peer able to [`leave`](Self::leave), and dropping the peer
/// must free everything that it holds.
#[async_trait]
pub trait Peer: Send {
    /// Connects to the signaling server and joins the call's room.
    async fn join(&mut self) -> Result<(), Failure>;

    /// Makes or takes the call: returns once `connectionState` is `connected` and, if the call has one, the data
    /// channel is open. Media starts to flow by itself.
    async fn connect(&mut self) -> Result<(), Failure>;

    /// Returns once the first media of every kind that this peer is to receive has arrived.
    async fn first_media(&mut self) -> Result<(), Failure>;

    /// The counters so far; called about once a second while media flows.
    async fn snapshot(&mut self) -> Result<Snapshot, Failure>;

    /// Stops sending, and says what was sent.
    async fn stop_media(&mut self) -> Result<Sent, Failure>;

    /// Records what arrived, given what the other end says it sent (`None` if it cannot say): media reports, the path,
    /// samples of the stream metrics, absences with their reasons, and the raw statistics.
    async fn report(&mut self, sent_by_other: Option<&Sent>) -> Result<(), Failure>;

    /// Why the peer has gone by itself, if it has and can tell: that the other end then fails follows from that. Bounded in
    /// time.
    async fn gone(&mut self) -> Option<Failure> {
        None
    }

    /// Hangs up, leaves the room and frees everything. Never fails; bounded in time.
    async fn leave(&mut self);

    /// The phase that the peer is in: where a deadline that passes now has caught it, and what it was waiting for.
    fn waiting_for(&self) -> WaitingFor;
}

/// What a peer waits for.
#[derive(Debug)]
pub struct WaitingFor {
    /// The phase that the peer is in.
    pub phase: Phase,
    /// In words that end the sentence "timed out waiting for …".
    pub what: String,
    /// What came instead.
    pub heard: Option<String>,
}

/// A peer's place in the room of its call.
struct Joined {
    sender: Sender,
    receiver: Receiver,
    /// Who was there before.
    present: Vec<String>,
}

impl WaitingFor {
    fn new(phase: Phase, what: impl Into<String>) -> Self {
        Self { phase, what: what.into(), heard: None }
    }

    /// As [`new`](Self::new), with what came instead while the peer was signaling.
    fn with_unexpected(phase: Phase, what: impl Into<String>, sender: Option<&Sender>) -> Self {
        let heard = match phase {
            Phase::Signaling | Phase::Offer | Phase::Answer => sender.and_then(Sender::unexpected),
            _ => None,
        };
        Self { heard, ..Self::new(phase, what) }
    }
}

/// Everything that a peer needs to know to take part in its call.
#[derive(Clone)]
pub struct PeerContext {
    /// The whole plan: media, ICE servers, deadlines.
    pub plan: Arc<Plan>,
    /// The group that the peer belongs to.
    pub group: Arc<GroupPlan>,
    /// Its call.
    pub call: Arc<CallPlan>,
    /// Which end of the call it is.
    pub role: Role,
    /// Where it is on the network, with its servers.
    pub network: PeerNetwork,
    /// Its place at the signaling connection of the person whose call it is one of; absent: it connects by itself.
    pub seat: Option<Seat>,
    /// Where to report.
    pub recorder: PeerRecorder,
}

impl PeerContext {
    /// Which candidates its call may use.
    pub fn ice_policy(&self) -> IceTransportPolicy {
        self.plan.policy_of(&self.call)
    }

    /// The group whose media the peer gets.
    fn source(&self) -> Option<&GroupPlan> {
        let (own, other) = match self.role {
            Role::Offerer => (&self.call.offerer, &self.call.answerer),
            Role::Answerer => (&self.call.answerer, &self.call.offerer),
        };
        self.plan.source_of(&self.call, &own.group, &other.group)
    }

    /// Whether the other end is a server that sends back what it gets.
    fn gets_its_own(&self) -> bool {
        let passed_on = self.call.feed.is_some() || self.call.mix.is_some();
        self.plan.signaling.protocol.ends_calls() && !passed_on
    }

    /// Connects to the signaling server, joins the room of the call and measures the round trip, each with its mark; says
    /// who is in the room. `waits` hears before each step what is waited for now, and on which connection once there is one.
    /// Has no deadline of its own.
    async fn join(&self, mut waits: impl FnMut(&'static str, Option<&Sender>)) -> Result<Joined, Failure> {
        let failure = |error: ClientError| self.failure(Phase::Signaling, error.to_string());
        waits("the signaling server to accept the connection", None);
        let mut client = self.signaling(&mut waits).await.map_err(failure)?;
        if self.call.feed.is_some() {
            waits("the publisher whose media the peer is to get: it has not come", Some(client.sender()));
            client.find_feed().await.map_err(failure)?;
        }
        waits("the signaling server to let the peer into its room", Some(client.sender()));
        let present = client.join(&self.call.room).await.map_err(failure)?;
        self.recorder.mark(Mark::Joined);
        let rtt = client.ping().await.map_err(failure)?;
        self.recorder.sample(Metric::SignalingRttMs, rtt.as_secs_f64() * 1e3);
        let (sender, receiver) = client.split();
        Ok(Joined { sender, receiver, present })
    }

    /// Connects to the signaling server, and marks when. Peers of one person in a room share a connection, whose opening is
    /// told by the first call that the person makes on coming.
    async fn signaling(&self, waits: &mut impl FnMut(&'static str, Option<&Sender>)) -> Result<Client, ClientError> {
        let Some(seat) = &self.seat else {
            self.recorder.mark(Mark::JoinStarted);
            let place = Place {
                room: Some(&self.call.room),
                role: Some(self.role),
                peer: Some(self.recorder.peer()),
                feed: self.call.feed.as_ref().map(|feed| feed.peer.as_str()),
            };
            let opening = |reached: Reached<'_>| match reached {
                Reached::Tcp => waits("the signaling server to finish the TLS handshake: it accepted TCP", None),
                Reached::Tls => waits("the signaling server to answer the WebSocket upgrade: TLS is up", None),
                Reached::WebSocket(sender) => {
                    waits("the signaling server to greet: the WebSocket is open", Some(sender));
                }
            };
            let client = Client::connect_for(&self.network.signaling, place, opening).await?;
            self.recorder.mark(Mark::SignalingConnected);
            return Ok(client);
        };
        // Who offers has just come; of their calls the first tells how the connection was opened.
        if self.role == Role::Offerer && seat.member.tells_opening() {
            self.recorder.mark_at(seat.member.begun().await?, Mark::JoinStarted);
            let (client, greeted) = seat.connect().await?;
            self.recorder.mark_at(greeted, Mark::SignalingConnected);
            return Ok(client);
        }
        self.recorder.mark(Mark::JoinStarted);
        Ok(seat.connect().await?.0)
    }

    /// What the peer's connection is made with (W3C `RTCConfiguration`), for its dump: of the servers only the URLs, since
    /// user names may be secrets as passwords are.
    fn traced_configuration(&self) -> Value {
        let servers = self.network.ice.servers.iter().map(|server| json!({"urls": server.urls}));
        let policy = match self.ice_policy() {
            IceTransportPolicy::All => "all",
            IceTransportPolicy::Relay => "relay",
        };
        json!({"iceServers": servers.collect::<Vec<_>>(), "iceTransportPolicy": policy})
    }

    /// A failure of this peer.
    pub fn failure(&self, phase: Phase, reason: impl Into<String>) -> Failure {
        let (peer, call) = (self.recorder.peer().to_owned(), self.recorder.call().to_owned());
        let reason = reason.into();
        let reason = match remedy_of_scarcity(&reason) {
            Some(remedy) => format!("{reason}; {remedy}"),
            None => reason,
        };
        Failure { peer, call, phase, reason }
    }

    /// What this peer received of a stream of which nothing is known yet: it counts as not verified.
    fn media_report(&self, kind: MediaKind, codec: &str) -> MediaReport {
        MediaReport {
            peer: self.recorder.peer().to_owned(),
            call: self.recorder.call().to_owned(),
            kind,
            codec: codec.to_owned(),
            verified: false,
            detail: String::new(),
            packets: 0,
            packets_lost: None,
            frames: 0,
            frames_intact: 0,
            frames_sent: None,
            width: None,
            height: None,
            rate: None,
            pli_count: None,
            nack_count: None,
        }
    }
}

/// What to do where this machine, not the service, has run out of something. Stacks pass errors of the system on as texts,
/// in which the number is what all have.
fn remedy_of_scarcity(reason: &str) -> Option<&'static str> {
    use rustix::io::Errno;
    let says = |errno: Errno| reason.contains(&format!("(os error {})", errno.raw_os_error()));
    if says(Errno::MFILE) || says(Errno::NFILE) {
        Some("raise the limit of open files (ulimit -n), or ask for fewer calls at once")
    } else if says(Errno::ADDRNOTAVAIL) || says(Errno::ADDRINUSE) {
        Some("this machine has no free port: widen net.ipv4.ip_local_port_range, or ask for fewer calls at once")
    } else if says(Errno::NOBUFS) || says(Errno::NOMEM) {
        Some("this machine is out of memory: ask for fewer calls at once")
    } else {
        None
    }
}

/// A peer's counters since the start of its call. What a stack does not provide is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// RTP bytes sent, headers included.
    pub bytes_sent: Option<u64>,
    /// RTP bytes received, headers included.
    pub bytes_received: Option<u64>,
    /// Data-channel user bytes received.
    pub data_bytes_received: Option<u64>,
}

/// Makes peers of every kind.
pub struct Engines {
    /// Where native senders and signaling peers report how late packets and messages leave.
    pub send_lateness: Lateness,
    /// The browsers of the run.
    pub browsers: BrowserPool,
    /// The people of the run.
    pub people: People,
    /// The threads of simulated peers on the dense stack.
    pub shards: Shards,
}

impl Engines {
    /// Makes a peer of its group's engine.
    pub async fn create(&self, context: PeerContext) -> Result<Box<dyn Peer>, Failure> {
        match context.group.engine {
            Engine::Native => {
                Ok(Box::new(NativePeer::create(context, self.send_lateness.clone(), &self.shards).await?))
            }
            Engine::Signaling => Ok(Box::new(SignalingPeer::new(context, self.send_lateness.clone()))),
            Engine::Chromium | Engine::Firefox => self.browsers.create(context).await,
            Engine::Human => self.people.create(context).await,
            Engine::External => Ok(Box::new(ExternalPeer)),
        }
    }
}

/// What a peer says it sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sent {
    /// Video frames; absent with simulcast, of which no receiver gets all.
    pub video_frames: Option<u64>,
    /// Video frames per second.
    pub video_rate: Option<f64>,
    /// Size of the video in pixels.
    pub video_size: Option<(u32, u32)>,
    /// Whether the video is this project's fixture, so that a receiver can compare every frame with it.
    pub video_is_fixture: bool,
    /// Audio packets.
    pub audio_packets: Option<u64>,
    /// Bulk data-channel messages.
    pub data_messages: Option<u64>,
    /// Messages of a signaling peer, without those of the exchange.
    pub signaling_messages: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_has_run_out_of_is_said_with_the_remedy() {
        let says = |errno: rustix::io::Errno| {
            let error = std::io::Error::from_raw_os_error(errno.raw_os_error());
            remedy_of_scarcity(&format!("the peer connection cannot be made: {error}"))
        };
        assert!(says(rustix::io::Errno::MFILE).is_some_and(|remedy| remedy.contains("ulimit -n")));
        assert!(says(rustix::io::Errno::ADDRNOTAVAIL).is_some_and(|remedy| remedy.contains("ip_local_port_range")));
        assert_eq!(says(rustix::io::Errno::CONNREFUSED), None);
    }
}
