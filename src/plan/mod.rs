//! A scenario resolved: every peer, call, arrival time and seed spelled out. Pure: no I/O, no clock.
//!
//! A plan says what will be done without reference to anything outside it. It is written to `plan.toml` of the run
//! directory, from which `harness run` repeats the run exactly.

mod arrivals;
mod check;
mod curve;
mod expand;
mod matrix;
mod mcu;
mod needs;
mod network;
mod rooms;
mod sfu;
mod simulcast;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::gate::{Gate, Resource};
use crate::scenario::Health;
use crate::signaling::Protocol;

pub(crate) use arrivals::{ArrivalCurve, Segment, timed as timed_arrivals};
pub(crate) use check::check;
pub use curve::{Stretch, load_curve};
pub(crate) use expand::{expand, protocol, room};
pub use mcu::{MixPlan, SpeakerPlan};
pub(crate) use mcu::{SET as MCU_SET, size as size_of_mcu};
pub(crate) use needs::{Needs, PeerNeeds, peers_of_descriptors, peers_of_memory};
pub use network::{CellPlan, CredentialFault, NetworkDriver, NetworkPlan, ProgramPlan, TurnPlan, TurnServer};
pub(crate) use rooms::{Overfull, SET as ROOMS, size_of_rooms};
pub use sfu::FeedPlan;
pub(crate) use sfu::{SERVER, SETS as SFU_SETS, size as size_of_sfu};
pub use simulcast::Layer;

/// What a run will do.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Version of the plan's format; also tells a plan file from a scenario file.
    pub plan: u32,
    /// The scenario's name: letters, digits, `-` and `_`.
    pub name: String,
    /// The scenario's file as it was given on the command line.
    pub scenario: String,
    /// SHA-256 of the scenario's text, in hex.
    pub digest: String,
    /// The seed that everything random in the run derives from.
    pub seed: u64,
    /// Which signaling server is used.
    pub signaling: SignalingPlan,
    /// How candidates are gathered.
    pub ice: IcePlan,
    /// The networks between the peers; absent: those of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkPlan>,
    /// What flows in the calls that have no media of their own; [`media_of`](Self::media_of) tells for each call.
    pub media: MediaPlan,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// When a result cannot be trusted.
    pub health: HealthLimits,
    /// Peer groups, in the order of the scenario.
    pub groups: Vec<GroupPlan>,
    /// Microseconds after its intended start when a call that could not be started is dropped; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_within_us: Option<u64>,
    /// People in rooms, by the time at which they come; none in a plan of calls between two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberPlan>,
    /// Calls, by intended start.
    pub calls: Vec<CallPlan>,
    /// What must hold.
    pub gates: Vec<Gate>,
}

impl Plan {
    /// The version that this binary writes and reads.
    pub const VERSION: u32 = 1;

    /// The group with this name.
    pub fn group(&self, name: &str) -> Option<&GroupPlan> {
        self.groups.iter().find(|group| group.name == name)
    }

    /// What flows in a call.
    pub fn media_of<'a>(&'a self, call: &'a CallPlan) -> &'a MediaPlan {
        call.media.as_ref().unwrap_or(&self.media)
    }

    /// How long the load lasts: until the media of the last call ends, in microseconds.
    pub fn load_us(&self) -> u64 {
        self.calls.iter().map(|call| call.start_us.saturating_add(call.hold_us)).max().unwrap_or(0)
    }

    /// The most calls that are planned to be there at the same time.
    pub fn calls_at_once(&self) -> u64 {
        load_curve(self, 1).first().map_or(0, |all| all.at_once)
    }

    /// The group whose media arrives at the peers of `group` in a call with `other`; absent: nobody's that the plan knows of.
    pub fn source_of<'a>(&'a self, call: &CallPlan, group: &'a str, other: &'a str) -> Option<&'a GroupPlan> {
        let source = match &call.feed {
            Some(feed) => &feed.group,
            None if call.mix.is_some() => other,
            // The server itself is the other end, and sends back what it gets.
            None if self.signaling.protocol.ends_calls() => group,
            None => other,
        };
        self.group(source)
    }

    /// The peers that are people, by their ids.
    pub fn people(&self) -> impl Iterator<Item = &PeerPlan> {
        let is_person = |peer: &&PeerPlan| self.group(&peer.group).is_some_and(|group| group.engine == Engine::Human);
        self.calls.iter().flat_map(|call| [&call.offerer, &call.answerer]).filter(is_person)
    }

    /// Whether the bundled server is started: as the one under test, or for the pages of browsers and people, which speak the
    /// harness's own protocol only. A harness server elsewhere has the page of browsers, but invites nobody.
    pub fn has_bundled_server(&self) -> bool {
        let comes_to_it = |peer: &PeerPlan| match self.group(&peer.group).map(|group| group.engine) {
            Some(Engine::Human) => true,
            Some(engine) => engine.is_browser() && !self.signaling.protocol.is_own(),
            None => false,
        };
        let mut peers = self.calls.iter().flat_map(|call| [&call.offerer, &call.answerer]);
        self.signaling.foreign_url().is_none() || peers.any(comes_to_it)
    }

    /// Which candidates the peers of a call may use.
    pub fn policy_of(&self, call: &CallPlan) -> IceTransportPolicy {
        call.policy.unwrap_or(self.ice.policy)
    }
}

/// Which signaling server is used.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SignalingPlan {
    /// `wss://…` of a running server; absent: the bundled server is started for the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it speaks.
    #[serde(default, skip_serializing_if = "Protocol::is_own")]
    pub protocol: Protocol,
    /// Where the bundled server listens, as `address:port`, if it is the one under test or has pages; port 0 takes a free one.
    pub listen: String,
    /// PEM file of the CA that the server's certificate comes from, for a server of the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

impl SignalingPlan {
    /// Where the server under test is, if it is not the bundled one.
    pub fn foreign_url(&self) -> Option<&str> {
        self.url.as_deref().or_else(|| self.protocol.own_url())
    }
}

/// How candidates are gathered.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IcePlan {
    /// STUN and TURN servers.
    #[serde(default)]
    pub servers: Vec<IceServer>,
    /// Which candidates may be used.
    #[serde(default)]
    pub policy: IceTransportPolicy,
    /// PEM file of a CA that native peers trust for `turns:` servers, beside those that this machine trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// A STUN or TURN server (W3C `RTCIceServer`).
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:`, `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// The user name for TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password for TURN: a `${VARIABLE}` of the environment. It is resolved when it is used, so that no file of a
    /// run ever holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Which candidates may be used (W3C `RTCIceTransportPolicy`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IceTransportPolicy {
    /// Every candidate.
    #[default]
    All,
    /// Only relayed candidates.
    Relay,
}

/// What flows in a call, in the directions that the groups allow.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MediaPlan {
    /// The video stream, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoPlan>,
    /// Whether there is an Opus stream.
    pub audio: bool,
    /// The data channels, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataPlan>,
}

/// The video stream.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VideoPlan {
    /// The codec.
    pub codec: VideoCodec,
    /// Frames per second of native senders; the bit rate follows from it and the fixture's frame sizes.
    pub frame_rate: u32,
    /// A directory with fixtures of the user's own, in place of the built-in ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixtures: Option<String>,
    /// Whether native senders send every [`Layer`] at the same time (RFC 8853). Only to a server that passes media on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub simulcast: bool,
}

/// A video codec.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264 constrained baseline, packetization mode 1 (RFC 6184).
    H264,
}

impl VideoCodec {
    /// The MIME type, as in SDP and W3C statistics.
    pub fn mime_type(self) -> &'static str {
        match self {
            Self::Vp8 => "video/VP8",
            Self::H264 => "video/H264",
        }
    }

    /// The names of the files with the video in a directory of fixtures.
    pub fn fixture_files(self, simulcast: bool) -> Vec<&'static str> {
        match self {
            Self::Vp8 if simulcast => Layer::ALL.iter().map(|layer| layer.fixture_file()).collect(),
            Self::Vp8 => vec![Layer::Full.fixture_file()],
            Self::H264 => vec!["h264.h264"],
        }
    }
}

/// The data channels.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataPlan {
    /// Microseconds between two echo messages of the offerer.
    pub echo_interval_us: u64,
    /// Bytes of an echo message.
    pub echo_bytes: u32,
    /// Bulk transfer from the offerer to the answerer, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<BulkPlan>,
}

/// Bulk transfer over a data channel of its own.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BulkPlan {
    /// Ordered and retransmitted without limit, or unordered with no retransmission.
    pub reliable: bool,
    /// Bytes of a message.
    pub message_bytes: u32,
}

/// How long each step of a call may take, in microseconds.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Deadlines {
    /// Until a browser is up, with its page loaded.
    pub start_us: u64,
    /// From the start of the signaling connection to the room.
    pub join_us: u64,
    /// From the room to connected, with open data channel.
    pub connect_us: u64,
    /// From connected to first media at both ends.
    pub first_media_us: u64,
}

/// Past one of these the verdict is invalid: the generator, not the service, may have made the numbers.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthLimits {
    /// Median over the run of the machine's busy share of CPU time, whoever used it, between 0 and 1.
    pub machine_cpu_ratio: f64,
    /// 99th percentile of how late timers of the harness fire, in milliseconds.
    pub scheduling_lag_p99_ms: f64,
    /// 99th percentile of how late media packets leave, in milliseconds.
    pub send_lateness_p99_ms: f64,
    /// Share of CPU time that the hypervisor took away, between 0 and 1.
    pub steal_ratio: f64,
    /// Share of time for which a control group's quota stopped the harness, between 0 and 1.
    pub throttled_ratio: f64,
    /// Datagrams dropped by full receive buffers of this network namespace.
    pub udp_receive_buffer_errors: u64,
    /// Datagrams that found a full send buffer in this network namespace.
    pub udp_send_buffer_errors: u64,
    /// The greatest share of the soft limit of open file descriptors that the harness used, between 0 and 1.
    pub open_files_ratio: f64,
    /// The greatest share of the memory that was in use, by whomever, between 0 and 1.
    pub memory_ratio: f64,
    /// Share by which the harness's resident memory grew while its load was steady, between 0 and 1.
    pub memory_growth_ratio: f64,
    /// Share by which its open file descriptors grew while its load was steady, between 0 and 1.
    pub open_files_growth_ratio: f64,
    /// Share by which its tasks grew while its load was steady, between 0 and 1.
    pub tasks_growth_ratio: f64,
    /// 99th percentile of how late calls are started, in milliseconds.
    pub start_lateness_p99_ms: f64,
    /// Calls that were dropped because they could not be started in time.
    pub arrivals_dropped: u64,
}

impl HealthLimits {
    /// How much of a resource there may be more of at the end of a steady time, as a share of what there was.
    pub fn growth(&self, resource: Resource) -> f64 {
        match resource {
            Resource::Memory => self.memory_growth_ratio,
            Resource::OpenFiles => self.open_files_growth_ratio,
            Resource::Tasks => self.tasks_growth_ratio,
        }
    }
}

/// The limits of a scenario without any of its own; also those that plans of earlier versions do not have.
impl Default for HealthLimits {
    fn default() -> Self {
        expand::health(&Health::default())
    }
}

/// A group of peers of one kind.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPlan {
    /// The group's name.
    pub name: String,
    /// The kind of peer.
    pub engine: Engine,
    /// Whether the run may do without it.
    pub optional: bool,
    /// Which media its peers send and receive.
    pub direction: MediaDirection,
    /// What simulated peers run on; absent for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<NativeStack>,
    /// Settings of browser groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub browser: Option<BrowserPlan>,
    /// Signaling peers: microseconds between two messages that a peer sends to the other end while its call lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_interval_us: Option<u64>,
    /// People: microseconds for which the run waits until all of them have joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_us: Option<u64>,
    /// The layers of simulcast that its peers ask for in turn, each for as long; none: they take what comes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// A kind of peer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// A simulated peer in this process.
    Native,
    /// A simulated client of the signaling server that makes calls without media: descriptions and candidates pass
    /// through the server, and nobody connects.
    Signaling,
    /// A tab of Chromium or Chrome.
    Chromium,
    /// A tab of Firefox.
    Firefox,
    /// A person in a browser of their own, which keeps a page of the harness open.
    Human,
    /// A client that somebody else starts: it joins the room by itself, and measures nothing.
    External,
}

impl Engine {
    /// The name in scenarios.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Signaling => "signaling",
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::Human => "human",
            Self::External => "external",
        }
    }

    /// Whether it is a real browser that the harness starts and drives.
    pub fn is_browser(self) -> bool {
        matches!(self, Self::Chromium | Self::Firefox)
    }

    /// Whether its calls can carry media.
    pub fn carries_media(self) -> bool {
        self != Self::Signaling
    }
}

/// What simulated peers run on. They do the same on each.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NativeStack {
    /// The webrtc crate, on the async runtime that the harness runs on.
    #[default]
    Async,
    /// The core of that crate on a loop of the harness's own, one thread for each CPU core: many more peers.
    Dense,
}

/// Which media a peer sends and receives (W3C `RTCRtpTransceiverDirection`).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaDirection {
    /// Both.
    #[default]
    SendRecv,
    /// Only sends.
    SendOnly,
    /// Only receives.
    RecvOnly,
}

impl MediaDirection {
    /// Whether it sends.
    pub fn sends(self) -> bool {
        self != Self::RecvOnly
    }

    /// Whether it receives.
    pub fn receives(self) -> bool {
        self != Self::SendOnly
    }
}

/// Settings of a browser group.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BrowserPlan {
    /// A WebDriver server that runs already, such as a Grid; absent: the harness starts the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webdriver_url: Option<String>,
    /// The driver's program; absent: looked for on the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The browser's program; absent: looked for on the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// Where its media comes from.
    #[serde(default)]
    pub source: BrowserSource,
    /// How many peers share one browser, each in a tab of its own.
    pub tabs_per_browser: u32,
}

/// Where a browser's media comes from.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BrowserSource {
    /// The browser's own fake camera and microphone, through `getUserMedia`.
    #[default]
    Fake,
    /// A canvas and an oscillator; needs no permission.
    Canvas,
}

/// A person in a room: one signaling connection, shared by a peer for each call with another person.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct MemberPlan {
    /// Unique in the run, such as `native/17`.
    pub id: String,
    /// The room on the signaling server.
    pub room: String,
    /// When the person comes, in microseconds since the start of the run's load.
    pub join_us: u64,
    /// When the person leaves, unless a call of theirs still lasts.
    pub leave_us: u64,
}

/// One call between two peers.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CallPlan {
    /// Unique in the run, such as `native-chromium/3`.
    pub id: String,
    /// The set of like calls that it belongs to, such as `native-chromium`.
    pub set: String,
    /// The room on the signaling server.
    pub room: String,
    /// The peer that offers.
    pub offerer: PeerPlan,
    /// The peer that answers.
    pub answerer: PeerPlan,
    /// The intended start, in microseconds since the start of the run's load.
    pub start_us: u64,
    /// How long media flows, in microseconds.
    pub hold_us: u64,
    /// Which candidates its peers may use, in place of the plan's `ice.policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<IceTransportPolicy>,
    /// What flows, in place of the plan's `media`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaPlan>,
    /// The cell of the matrix that it belongs to, with the path that it must find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellPlan>,
    /// Whose media it brings, if its other end is a server that passes media on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feed: Option<FeedPlan>,
    /// Who speaks, if its other end is a server that mixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<MixPlan>,
}

/// One peer.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PeerPlan {
    /// Unique in the run, such as `native/17`.
    pub id: String,
    /// The name of its group.
    pub group: String,
    /// The person in the room whose signaling connection it uses; absent: it has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<String>,
    /// The name of the site that it is in; absent: it uses the networks of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Which media it sends and receives in this call, in place of what its group does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<MediaDirection>,
}

/// Which end of a call a peer is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Makes the offer.
    Offerer,
    /// Makes the answer.
    Answerer,
}

/// The seed of one thing in a run, derived by name, so that adding a thing does not shift the others.
pub fn derive_seed(seed: u64, name: &str) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    digest.iter().take(8).fold(0, |derived, byte| derived << 8 | u64::from(*byte))
}
